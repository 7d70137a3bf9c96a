//! Reading `[gateway.supervisor]`: first the kind, then the keys that this kind has.

use toml::de::DeTable;

use super::error::{Problem, Read, list};
use super::supervisor::{
    ContainerSetup, LaunchdJob, PlainSupervisor, ScheduledTask, Supervisor, SupervisorKind, SystemdUnit,
};
use super::table::{Input, Table, choice, duration, entries, in_file_order, period, statuses, whole};
use super::{Choice, supervisor_keys};

const WHAT: &str = "`supervisor`";

/// Opens the table `supervisor` inside `gateway`, and reads it.
pub(super) fn supervisor<'t>(gateway: &Table<'t>) -> Read<(Table<'t>, Supervisor)> {
    let Some(value) = gateway.value("supervisor") else {
        let kind = SupervisorKind::Systemd;
        let table = Table::empty(WHAT, gateway.span_of("supervisor"), keys(kind));
        let supervisor = of_kind(kind, &table)?;
        return Ok((table, supervisor));
    };
    let entries = entries(value, "supervisor")
        .map_err(|problem| problem.help("write it as in `supervisor = { kind = \"systemd\" }`."))?;
    let kind = match entries.get("kind") {
        Some(kind) => {
            choice(&Input { value: kind.get_ref(), span: kind.span(), key: &supervisor_keys::KIND })?
        }
        None => SupervisorKind::Systemd,
    };
    no_key_of_others(kind, entries)?;
    let table = Table::open(WHAT, value.span(), entries, keys(kind))?;
    let supervisor = of_kind(kind, &table)?;
    Ok((table, supervisor))
}

fn keys(kind: SupervisorKind) -> impl Iterator<Item = &'static super::keys::Key> {
    std::iter::once(&supervisor_keys::KIND).chain(supervisor_keys::of(kind))
}

/// A key that another kind has is no slip of the pen.
fn no_key_of_others(kind: SupervisorKind, entries: &DeTable<'_>) -> Read<()> {
    for (name, _) in in_file_order(entries) {
        let has = |kind| keys(kind).any(|key| key.name == name.get_ref().as_ref());
        let others = supervisor_keys::KINDS.iter().map(|other| other.kind).filter(|other| has(*other));
        let words: Vec<_> = others.map(Choice::word).collect();
        if has(kind) || words.is_empty() {
            continue;
        }
        let (whose, who) = match kind {
            SupervisorKind::None => ("without a supervisor".to_string(), "nobody is there"),
            _ => (format!("for `{}`", kind.word()), "this supervisor does not know how"),
        };
        return Err(Problem::at(name.span(), format!("`{name}` has no meaning {whose}"))
            .label(format!("{who} to follow this"))
            .help(format!("leave it out; it is a key of {}.", list(words.iter().copied()))));
    }
    Ok(())
}

fn of_kind(kind: SupervisorKind, table: &Table<'_>) -> Read<Supervisor> {
    Ok(match kind {
        SupervisorKind::None => Supervisor::None,
        SupervisorKind::Systemd => Supervisor::Systemd(SystemdUnit {
            restart: table.get("restart", choice)?,
            restart_delay: table.get("restart-delay", duration)?,
            stop_timeout: table.get("stop-timeout", period)?,
            kill_mode: table.get("kill-mode", choice)?,
            start_limit_burst: table.get("start-limit-burst", whole)?,
            start_limit_interval: table.get("start-limit-interval", duration)?,
            success_on: table.get("success-on", statuses)?,
            prevent_restart_on: table.get("prevent-restart-on", statuses)?,
            force_restart_on: table.get("force-restart-on", statuses)?,
            environment: table.get("environment", choice)?,
        }),
        SupervisorKind::Launchd => Supervisor::Launchd(LaunchdJob {
            keep_alive: table.get("restart", choice)?,
            throttle: table.get("throttle", period)?,
            exit_timeout: table.get("exit-timeout", period)?,
        }),
        SupervisorKind::TaskScheduler => Supervisor::TaskScheduler(ScheduledTask {
            restart_count: table.get("restart-count", whole)?,
            restart_interval: table.get("restart-interval", period)?,
            lingers: table.get("lingers", duration)?,
        }),
        SupervisorKind::Container => Supervisor::Container(ContainerSetup {
            restart: table.get("restart", choice)?,
            max_retries: table.get("max-retries", whole)?,
            stop_timeout: table.get("stop-timeout", period)?,
        }),
        SupervisorKind::Unsupported => Supervisor::Unsupported(PlainSupervisor {
            restart_delay: table.get("restart-delay", period)?,
            stop_timeout: table.get("stop-timeout", period)?,
        }),
    })
}
