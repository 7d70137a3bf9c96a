//! The gateway's service: from what a scenario says of its supervisor to the manager that the world has.
//!
//! What a scenario cannot say is as OpenClaw installs it.

use std::time::Duration;

use gateway::policy::{Policies, RestartMode, Successor};

use crate::scenario::{
    ContainerRestartWhen, KillWhom, RestartWhen, Supervisor, SystemdUnit, UnitEnvironment, UnitRestart,
};
use crate::world::supervisor::Manager;
use crate::world::supervisor::container::{ContainerRestart, ContainerSettings};
use crate::world::supervisor::launchd::{Job, KeepAlive};
use crate::world::supervisor::systemd::{KillMode, RestartPolicy, Unit};
use crate::world::supervisor::task_scheduler::Task;

/// What the gateway assumes where nobody stops it, or not by a signal: systemd's default stop timeout.
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// How long the supervisor waits for a stop.
pub(super) fn stop_timeout(supervisor: &Supervisor) -> Duration {
    match supervisor {
        Supervisor::Systemd(unit) => unit.stop_timeout,
        Supervisor::Launchd(job) => job.exit_timeout,
        Supervisor::Container(container) => container.stop_timeout,
        Supervisor::Unsupported(plain) => plain.stop_timeout,
        Supervisor::TaskScheduler(_) | Supervisor::None => DEFAULT_STOP_TIMEOUT,
    }
}

/// Whether a boot starts the service although it had been stopped.
pub(super) fn boot_starts_what_was_stopped(supervisor: &Supervisor) -> bool {
    match supervisor {
        Supervisor::Container(container) => container.restart == ContainerRestartWhen::Always,
        Supervisor::None => false,
        Supervisor::Systemd(_)
        | Supervisor::Launchd(_)
        | Supervisor::TaskScheduler(_)
        | Supervisor::Unsupported(_) => true,
    }
}

/// Whether a restart of the gateway is to happen in the same process: it is told to, or nobody would start another
/// one. Of a gateway that was started as the scenario says, and where its machine refuses nothing.
pub(super) fn restarts_in_place(supervisor: &Supervisor, policies: &Policies) -> bool {
    let nobody_else_would = match supervisor {
        Supervisor::None | Supervisor::Systemd(SystemdUnit { environment: UnitEnvironment::Cleared, .. }) => {
            policies.successor == Successor::ByExitStatus
        }
        // Whatever process 1 starts dies with it. OpenClaw 2026.3.2 did not know.
        Supervisor::Container(_) => {
            !matches!(policies.successor, Successor::KickstartOrSpawn | Successor::SpawnAfterAnyEnd)
        }
        Supervisor::Systemd(_)
        | Supervisor::Launchd(_)
        | Supervisor::TaskScheduler(_)
        | Supervisor::Unsupported(_) => false,
    };
    policies.restart_mode == RestartMode::InProcess || nobody_else_would
}

/// The manager that minds the gateway, if anybody does.
pub(super) fn manager(supervisor: &Supervisor) -> Option<Manager> {
    Some(match supervisor {
        Supervisor::None => return None,
        Supervisor::Systemd(unit) => Manager::Systemd(Unit {
            restart: match unit.restart {
                UnitRestart::Always => RestartPolicy::Always,
                UnitRestart::OnFailure => RestartPolicy::OnFailure,
                UnitRestart::OnAbnormal => RestartPolicy::OnAbnormal,
                UnitRestart::OnAbort => RestartPolicy::OnAbort,
                UnitRestart::OnSuccess => RestartPolicy::OnSuccess,
                UnitRestart::No => RestartPolicy::No,
            },
            restart_delay: unit.restart_delay,
            stop_timeout: unit.stop_timeout,
            kill_mode: match unit.kill_mode {
                KillWhom::ControlGroup => KillMode::ControlGroup,
                KillWhom::Mixed => KillMode::Mixed,
                KillWhom::Process => KillMode::Process,
            },
            success_exit_status: unit.success_on.clone(),
            prevent_restart_exit_status: unit.prevent_restart_on.clone(),
            force_restart_exit_status: unit.force_restart_on.clone(),
            start_limit_burst: unit.start_limit_burst,
            start_limit_interval: unit.start_limit_interval,
            clears_environment: unit.environment == UnitEnvironment::Cleared,
            ..Unit::openclaw()
        }),
        Supervisor::Launchd(job) => Manager::Launchd(Job {
            keep_alive: match job.keep_alive {
                RestartWhen::Always => KeepAlive::Always,
                RestartWhen::OnFailure => KeepAlive::UnlessSuccessful,
                RestartWhen::No => KeepAlive::Never,
            },
            throttle: job.throttle,
            exit_timeout: job.exit_timeout,
        }),
        Supervisor::TaskScheduler(task) => Manager::TaskScheduler(Task {
            restart_count: task.restart_count,
            restart_interval: task.restart_interval,
            lingers: task.lingers,
        }),
        Supervisor::Container(container) => Manager::Container(ContainerSettings {
            restart: match container.restart {
                ContainerRestartWhen::No => ContainerRestart::No,
                ContainerRestartWhen::OnFailure => ContainerRestart::OnFailure,
                ContainerRestartWhen::Always => ContainerRestart::Always,
                ContainerRestartWhen::UnlessStopped => ContainerRestart::UnlessStopped,
            },
            max_retries: container.max_retries,
            stop_timeout: container.stop_timeout,
        }),
        Supervisor::Unsupported(plain) => {
            Manager::Unknown(Unit::plain(plain.restart_delay, plain.stop_timeout))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gateway::env::Signal;
    use gateway::policy::HARDENED;

    use super::*;
    use crate::run;
    use crate::scenario::Scenario;
    use crate::timeline::{Event, Fact};

    const KINDS: [&str; 6] = ["systemd", "launchd", "task-scheduler", "container", "unsupported", "none"];
    const POLICIES: [&str; 6] = [
        r#"successor = "by-exit-status""#,
        r#"successor = "kickstart-or-spawn""#,
        r#"successor = "hand-off-or-spawn""#,
        r#"successor = "ask-manager""#,
        r#"successor = "spawn-after-any-end""#,
        r#"restart-mode = "in-process""#,
    ];

    /// A gateway that is asked to restart, once.
    fn scenario(kind: &str, policies: &str) -> Scenario {
        let text = format!(
            "name = \"x\"\nstorm-limit = \"30s\"\nsettle = \"30s\"\n\
             [gateway]\nsupervisor = {{ kind = \"{kind}\" }}\npolicies = {{ {policies} }}\n\
             [[steps]]\nat = \"5s\"\ndo = \"signal\"\nsignal = \"SIGUSR1\""
        );
        Scenario::parse(Path::new("case.toml"), &text).expect("a good file")
    }

    /// Whether the process that was asked took the port again before it ended.
    fn began_again(events: &[Event]) -> bool {
        let asked = events.iter().enumerate().find_map(|(index, event)| match event.fact {
            Fact::SignalDelivered { pid, signal: Signal::User1, handled: true } => Some((index, pid)),
            _ => None,
        });
        let (index, asked) = asked.expect("it was asked");
        let next = events[index..].iter().find_map(|event| match event.fact {
            Fact::PortBound { pid, .. } if pid == asked => Some(true),
            Fact::ProcessExited { pid, .. } if pid == asked => Some(false),
            _ => None,
        });
        next.expect("it began again or ended")
    }

    #[test]
    fn the_terms_say_in_place_exactly_where_it_is() {
        for kind in KINDS {
            for policies in POLICIES {
                let scenario = scenario(kind, policies);
                let setup = &scenario.gateway;
                let chosen = setup.policies_under(HARDENED).expect("exists");
                let ran = run::run(&scenario, HARDENED, 1);
                assert_eq!(
                    began_again(&ran.timeline),
                    restarts_in_place(&setup.supervisor, &chosen),
                    "{kind}, {policies}"
                );
            }
        }
    }
}
