//! What can be done to a world, one entry each: the steps that do it, as far as this world has what it takes.
//!
//! Everything here is within what the gateway promises to survive: faults end, nobody writes into its state behind its
//! back while it runs, and whoever was stopped is started again where the scenario would have nobody left to look at.

use toml::{Table, Value};

use super::cast::{Cast, one_of};
use super::dice::{Die, written};
use super::themes::Theme::{self, *};

mod accidents;
mod company;
mod platforms;

use accidents::{crash, disk_fault, leave_lock, spoil_store, squat, task_records};
use company::{down_for_hours, second_instance, service_restart, squat_port, stop_for_long, tool_held_up};

/// One kind of trouble.
pub(super) struct Fault {
    /// Its word: in the line of what was drawn, and in the weights.
    pub(super) word: &'static str,
    /// The themes to which it belongs.
    pub(super) themes: &'static [Theme],
    /// The trouble without its moment; `None`: this world has nobody it could befall.
    pub(super) trouble: fn(&Cast, &Die) -> Option<Trouble>,
}

/// Steps that belong together, without their moment: each comes so many milliseconds after it, if it has none of its own.
pub(super) type Trouble = Vec<(u64, Table)>;

/// Every kind.
pub(super) const FAULTS: &[Fault] = &[
    Fault { word: "SIGTERM", themes: &[Programs], trouble: |_, _| one(signal("SIGTERM")) },
    Fault { word: "SIGINT", themes: &[], trouble: |_, _| one(signal("SIGINT")) },
    Fault { word: "SIGQUIT", themes: &[], trouble: |_, _| one(signal("SIGQUIT")) },
    Fault {
        word: "SIGUSR1",
        themes: &[Restarts, Peers, Programs, Supervision],
        trouble: |_, _| one(signal("SIGUSR1")),
    },
    // It looks like a clean end to some supervisors, and then nobody promises a start.
    Fault {
        word: "SIGHUP",
        themes: &[],
        trouble: |cast, _| cast.restarts_always.then(|| one(signal("SIGHUP")))?,
    },
    Fault {
        word: "kill",
        themes: &[Crashes, Platforms, Jobs, Subagents, Subagents, Queues, Programs],
        trouble: |_, _| one(doing("kill", &[])),
    },
    Fault {
        word: "freeze",
        themes: &[Restarts],
        trouble: |_, die| one(doing("freeze", &[("for", die.time(10, 120_000).into())])),
    },
    Fault {
        word: "power-loss",
        themes: &[Crashes],
        trouble: |_, die| one(doing("power-loss", &[("off-for", die.time(1_000, 60_000).into())])),
    },
    Fault {
        word: "crash-at",
        themes: &[Crashes, Crashes, Platforms, Platforms, Store, Store, Jobs],
        trouble: |cast, die| one(crash(cast, die)),
    },
    Fault {
        word: "port-lingers",
        themes: &[Conflicts],
        trouble: |_, die| one(doing("port-lingers", &[("for", die.time(10, 10_000).into())])),
    },
    Fault { word: "partition", themes: &[Queues], trouble: |cast, die| one(partition(cast, die)) },
    Fault {
        word: "suspend",
        themes: &[Restarts, Supervision],
        trouble: |_, die| one(doing("suspend", &[("for", die.time(100, 300_000).into())])),
    },
    Fault { word: "name-unknown", themes: &[], trouble: |cast, die| one(name_unknown(cast, die)) },
    Fault { word: "provider-down", themes: &[Queues, Subagents], trouble: |_, die| one(provider_down(die)) },
    Fault { word: "provider-slow", themes: &[Queues, Jobs], trouble: |_, die| one(provider_slow(die)) },
    Fault {
        word: "disk-fault",
        themes: &[Store, Restarts, Supervision, Platforms, Subagents],
        trouble: disk_fault,
    },
    Fault { word: "clock-jump", themes: &[], trouble: |_, die| one(clock_jump(die)) },
    Fault { word: "squat-lock", themes: &[Store], trouble: |_, die| one(squat(die)) },
    Fault { word: "squat-port", themes: &[Conflicts], trouble: squat_port },
    Fault { word: "leave-lock", themes: &[Store, Store, Store], trouble: leave_lock },
    Fault {
        word: "service-restart",
        themes: &[Peers, Jobs, Queues, Programs, Programs],
        trouble: service_restart,
    },
    Fault { word: "service-stop", themes: &[Jobs, Subagents, Subagents], trouble: stop_for_long },
    Fault { word: "down-for-hours", themes: &[Subagents, Subagents, Queues], trouble: down_for_hours },
    Fault {
        word: "service-start",
        themes: &[],
        trouble: |cast, _| cast.is_supervised.then(|| one(doing("service-start", &[])))?,
    },
    Fault {
        word: "reload-service",
        themes: &[Supervision, Supervision],
        trouble: |cast, _| cast.can_be_asked.then(|| one(doing("reload-service", &[])))?,
    },
    Fault { word: "start-second-instance", themes: &[Conflicts, Conflicts], trouble: second_instance },
    Fault { word: "run-tool", themes: &[Store], trouble: run_tool },
    Fault { word: "hold-tool", themes: &[Store, Store], trouble: tool_held_up },
    Fault { word: "ask-for-restart", themes: &[Restarts, Restarts, Jobs], trouble: ask_for_restart },
    Fault { word: "write-config", themes: &[Restarts, Restarts], trouble: |_, die| Some(write_config(die)) },
    Fault {
        word: "abort",
        themes: &[Queues, Subagents],
        trouble: |cast, die| one(doing("abort", &[("from", cast.somebody(die)?.into())])),
    },
    Fault { word: "corrupt-state", themes: &[Store, Platforms], trouble: spoil_store },
    Fault { word: "task-records", themes: &[Restarts], trouble: |_, die| Some(task_records(die)) },
    Fault { word: "platform-down", themes: &[Platforms, Platforms], trouble: platforms::down },
    Fault {
        word: "crash-on-the-road",
        themes: &[Platforms, Platforms, Crashes],
        trouble: platforms::crash_on_the_road,
    },
    Fault { word: "platform-slow", themes: &[Platforms], trouble: platforms::slow },
    Fault { word: "platform-limits", themes: &[Platforms], trouble: platforms::limits },
    Fault { word: "platform-blocks", themes: &[Platforms], trouble: platforms::blocks },
    Fault { word: "platform-cuts-line", themes: &[Platforms], trouble: platforms::cuts_line },
    Fault {
        word: "platform-acknowledges-late",
        themes: &[Platforms, Platforms],
        trouble: platforms::acknowledges_late,
    },
    Fault {
        word: "peers-reset",
        themes: &[Peers],
        trouble: |cast, die| one(doing("peers-reset", &[("peers", one_of(&cast.peers, die)?.into())])),
    },
];

/// A single step, at its moment.
fn one(step: Table) -> Option<Trouble> {
    Some(vec![(0, step)])
}

/// A step without its moment.
pub(super) fn doing(verb: &str, entries: &[(&str, Value)]) -> Table {
    let mut step = Table::new();
    step.insert("do".into(), Value::from(verb));
    for (key, value) in entries {
        step.insert((*key).into(), value.clone());
    }
    step
}

/// A step with a moment of its own.
fn anchored(event: &str, nth: u64, step: Table) -> Table {
    let mut anchored = Table::new();
    anchored.insert("on".into(), Value::from(event));
    if nth > 1 {
        anchored.insert("nth".into(), Value::from(nth as i64));
    }
    anchored.extend(step);
    anchored
}

/// A step at an instant of its own.
fn at(ms: u64, step: Table) -> Table {
    let mut timed = Table::new();
    timed.insert("at".into(), Value::from(written(ms)));
    timed.extend(step);
    timed
}

fn signal(name: &str) -> Table {
    doing("signal", &[("signal", name.into())])
}

fn partition(cast: &Cast, die: &Die) -> Table {
    if cast.retries && die.chance(50) {
        // An acknowledgement is lost, and it takes long until anybody can ask again.
        let between = Value::Array(vec!["gateway".into(), "clients".into()]);
        let cut = doing("partition", &[("between", between), ("for", die.instant(30_000, 600_000).into())]);
        return anchored("inbox.recorded", die.between(1, 3), cut);
    }
    let others: &[&str] = match cast.platforms.is_empty() {
        true => &["clients", "provider"],
        false => &["clients", "provider", "platforms"],
    };
    let between = Value::Array(vec!["gateway".into(), (*die.pick(others)).into()]);
    doing("partition", &[("between", between), ("for", die.time(100, 90_000).into())])
}

fn name_unknown(cast: &Cast, die: &Die) -> Table {
    let others: &[&str] =
        if cast.platforms.is_empty() { &["provider"] } else { &["provider", "platforms", "platforms"] };
    doing("name-unknown", &[("machine", (*die.pick(others)).into()), ("for", die.time(1_000, 90_000).into())])
}

fn provider_down(die: &Die) -> Table {
    let how = *die.pick(&["refuses", "fails", "limits", "hangs", "cuts-line"]);
    doing("provider-down", &[("how", how.into()), ("for", die.time(1_000, 90_000).into())])
}

fn provider_slow(die: &Die) -> Table {
    let entries = [("by", die.time(500, 60_000).into()), ("for", die.time(1_000, 90_000).into())];
    doing("provider-slow", &entries)
}

fn clock_jump(die: &Die) -> Table {
    let direction = *die.pick(&["forward", "back"]);
    doing("clock-jump", &[("by", die.time(1_000, 3_600_000).into()), ("direction", direction.into())])
}

fn run_tool(cast: &Cast, die: &Die) -> Option<Trouble> {
    let count = die.between(1, 6) as i64;
    let entries = [
        ("session-of", cast.somebody(die)?.into()),
        ("label", "renamed".into()),
        ("count", count.into()),
        ("every", die.time(0, 5_000).into()),
    ];
    one(doing("run-tool", if count == 1 { &entries[..2] } else { &entries }))
}

/// Whoever asks for a restart may ask again, or ask from a conversation, with something in the way of the answer.
fn ask_for_restart(cast: &Cast, die: &Die) -> Option<Trouble> {
    if die.chance(60)
        && let Some(sender) = one_of(&cast.visited, die)
    {
        // Not before the job has had its turn there.
        let ask = doing("ask-for-restart", &[("session-of", sender.into())]);
        return Some(vec![(0, anchored("cron.answered", die.between(1, 3), ask))]);
    }
    if die.chance(35)
        && let Some(sender) = one_of(&cast.hosts, die)
    {
        let ask = doing("ask-for-restart", &[("session-of", sender.into())]);
        let full = doing(
            "disk-fault",
            &[
                ("error", "ENOSPC".into()),
                ("operation", "append".into()),
                ("file", "sessions/*.jsonl".into()),
                ("for", die.instant(20_000, 90_000).into()),
            ],
        );
        return Some(if die.chance(70) {
            vec![(0, full), (die.between(0, 2_000), ask)]
        } else {
            vec![(0, ask)]
        });
    }
    let mode = *die.pick(&["plain", "safe", "safe", "force", "wait"]);
    let mut step = doing("ask-for-restart", &[("mode", mode.into())]);
    if mode == "wait" {
        step.insert("wait".into(), Value::from(die.time(1_000, 60_000)));
    }
    let mut trouble = vec![(0, step.clone())];
    // It stands still just when it is told to go.
    let stands_still = die.chance(35);
    if stands_still {
        let freeze = doing("freeze", &[("for", die.instant(5_000, 15_000).into())]);
        trouble.push((0, anchored("restart.ordered", 1, freeze)));
    }
    if stands_still || die.chance(50) {
        step.insert("count".into(), Value::from(die.between(1, 3) as i64));
        step.insert("every".into(), Value::from(die.time(500, 60_000)));
        trouble.push((die.between(500, 90_000), step));
    }
    Some(trouble)
}

fn write_config(die: &Die) -> Trouble {
    let mut settings = Table::new();
    settings.insert("gateway.maxBufferedBytes".into(), Value::from(die.between(1, 4) as i64 * 1_048_576));
    // Whole at once: a gateway that starts from half a configuration stays down, as it says.
    let mut trouble = vec![(0, doing("write-config", &[("set", Value::Table(settings))]))];
    if die.chance(25) {
        trouble.push((die.between(100, 60_000), doing("revert-config", &[])));
    }
    trouble
}
