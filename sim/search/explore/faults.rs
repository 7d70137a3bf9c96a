//! What can be done to a world, one entry each: the steps that do it, as far as this world has what it takes.
//!
//! Everything here is within what the gateway promises to survive: faults end, nobody writes into its state behind its
//! back, and whoever was stopped is started again where the scenario would have nobody left to look at.

use toml::{Table, Value};

use super::cast::Cast;
use super::dice::Die;

/// One kind of trouble.
pub(super) struct Fault {
    /// Its word: in the line of what was drawn, and in the weights.
    pub(super) word: &'static str,
    /// The step without its moment; `None`: this world has nobody it could befall.
    pub(super) step: fn(&Cast, &Die) -> Option<Table>,
}

/// Every kind.
pub(super) const FAULTS: &[Fault] = &[
    Fault { word: "SIGTERM", step: |_, _| Some(signal("SIGTERM")) },
    Fault { word: "SIGINT", step: |_, _| Some(signal("SIGINT")) },
    Fault { word: "SIGQUIT", step: |_, _| Some(signal("SIGQUIT")) },
    Fault { word: "SIGUSR1", step: |_, _| Some(signal("SIGUSR1")) },
    // It looks like a clean end to some supervisors, and then nobody promises a start.
    Fault { word: "SIGHUP", step: |cast, _| cast.restarts_always.then(|| signal("SIGHUP")) },
    Fault { word: "kill", step: |_, _| Some(doing("kill", &[])) },
    Fault { word: "freeze", step: |_, die| Some(doing("freeze", &[("for", die.time(10, 120_000).into())])) },
    Fault {
        word: "power-loss",
        step: |_, die| Some(doing("power-loss", &[("off-for", die.time(1_000, 60_000).into())])),
    },
    Fault { word: "crash-at", step: |_, die| Some(crash(die)) },
    Fault {
        word: "port-lingers",
        step: |_, die| Some(doing("port-lingers", &[("for", die.time(10, 10_000).into())])),
    },
    Fault { word: "partition", step: |cast, die| Some(partition(cast, die)) },
    Fault { word: "disk-fault", step: |_, die| Some(disk_fault(die)) },
    Fault { word: "clock-jump", step: |_, die| Some(clock_jump(die)) },
    Fault {
        word: "squat-lock",
        step: |_, die| Some(doing("squat-lock", &[("for", die.time(100, 60_000).into())])),
    },
    Fault { word: "leave-lock", step: |_, die| Some(leave_lock(die)) },
    Fault {
        word: "service-restart",
        step: |cast, _| cast.is_supervised.then(|| doing("service-restart", &[])),
    },
    Fault { word: "service-stop", step: |cast, _| cast.is_supervised.then(|| doing("service-stop", &[])) },
    Fault { word: "service-start", step: |cast, _| cast.is_supervised.then(|| doing("service-start", &[])) },
    Fault { word: "reload-service", step: |cast, _| cast.can_be_asked.then(|| doing("reload-service", &[])) },
    Fault { word: "start-second-instance", step: |_, _| Some(doing("start-second-instance", &[])) },
    Fault { word: "run-tool", step: run_tool },
    Fault { word: "ask-for-restart", step: |_, die| Some(ask_for_restart(die)) },
    Fault { word: "write-config", step: |_, die| Some(write_config(die)) },
    Fault {
        word: "abort",
        step: |cast, die| Some(doing("abort", &[("from", cast.somebody_aborting(die)?.into())])),
    },
    Fault { word: "platform-down", step: platform_down },
    Fault { word: "platform-slow", step: platform_slow },
    Fault { word: "platform-limits", step: platform_limits },
    Fault { word: "platform-cuts-line", step: platform_cuts_line },
    Fault { word: "platform-acknowledges-late", step: platform_acknowledges_late },
    Fault {
        word: "peers-reset",
        step: |cast, _| Some(doing("peers-reset", &[("peers", cast.peers.as_deref()?.into())])),
    },
];

/// A step without its moment.
pub(super) fn doing(verb: &str, entries: &[(&str, Value)]) -> Table {
    let mut step = Table::new();
    step.insert("do".into(), Value::from(verb));
    for (key, value) in entries {
        step.insert((*key).into(), value.clone());
    }
    step
}

fn signal(name: &str) -> Table {
    doing("signal", &[("signal", name.into())])
}

fn crash(die: &Die) -> Table {
    let mut step = doing("crash-at", &[("from-call", (die.between(1, 30) as i64).into())]);
    if die.chance(50) {
        step.insert("moment".into(), Value::from("after"));
    }
    if die.chance(30) {
        step.insert("death".into(), Value::from("power-loss"));
    }
    step
}

fn partition(cast: &Cast, die: &Die) -> Table {
    let others: &[&str] = match cast.platforms.is_empty() {
        true => &["clients", "provider"],
        false => &["clients", "provider", "platforms"],
    };
    let between = Value::Array(vec!["gateway".into(), (*die.pick(others)).into()]);
    doing("partition", &[("between", between), ("for", die.time(100, 90_000).into())])
}

fn disk_fault(die: &Die) -> Table {
    let error = *die.pick(&["EIO", "ENOSPC", "EACCES"]);
    let mut step = doing("disk-fault", &[("error", error.into())]);
    let operation = *die.pick(&["append", "write", "sync-file", "rename", "sync-dir", "create-new"]);
    step.insert("operation".into(), Value::from(operation));
    let file = *die.pick(&["*", "inbox.jsonl", "sessions.json*", "sessions/*.jsonl"]);
    if file != "*" {
        step.insert("file".into(), Value::from(file));
    }
    if matches!(operation, "append" | "write") && die.chance(30) {
        step.insert("torn".into(), Value::from(die.between(0, 40) as i64));
    }
    if die.chance(50) {
        step.insert("calls".into(), Value::from(die.between(1, 3) as i64));
    }
    step.insert("for".into(), Value::from(die.time(1_000, 40_000)));
    step
}

fn clock_jump(die: &Die) -> Table {
    let direction = *die.pick(&["forward", "back"]);
    doing("clock-jump", &[("by", die.time(1_000, 3_600_000).into()), ("direction", direction.into())])
}

fn leave_lock(die: &Die) -> Table {
    let owner = *die.pick(&["dead", "reused", "gateway", "nobody", "garbage"]);
    doing("leave-lock", &[("owner", owner.into()), ("age", die.time(0, 600_000).into())])
}

fn run_tool(cast: &Cast, die: &Die) -> Option<Table> {
    let count = die.between(1, 3) as i64;
    let entries = [
        ("session-of", cast.somebody(die)?.into()),
        ("label", "renamed".into()),
        ("count", count.into()),
        ("every", die.time(0, 5_000).into()),
    ];
    Some(doing("run-tool", if count == 1 { &entries[..2] } else { &entries }))
}

fn ask_for_restart(die: &Die) -> Table {
    let mode = *die.pick(&["plain", "safe", "force", "wait"]);
    let mut step = doing("ask-for-restart", &[("mode", mode.into())]);
    if mode == "wait" {
        step.insert("wait".into(), Value::from(die.time(1_000, 60_000)));
    }
    step
}

fn write_config(die: &Die) -> Table {
    let mut settings = Table::new();
    settings.insert("gateway.maxBufferedBytes".into(), Value::from(die.between(1, 4) as i64 * 1_048_576));
    // Whole at once: a gateway that starts from half a configuration stays down, as it says.
    doing("write-config", &[("set", Value::Table(settings))])
}

/// A step about one of the platforms on which somebody talks.
fn about_platform(cast: &Cast, die: &Die, verb: &str, entries: &[(&str, Value)]) -> Option<Table> {
    if cast.platforms.is_empty() {
        return None;
    }
    let mut step = doing(verb, &[("platform", die.pick(&cast.platforms).as_str().into())]);
    for (key, value) in entries {
        step.insert((*key).into(), value.clone());
    }
    Some(step)
}

fn platform_down(cast: &Cast, die: &Die) -> Option<Table> {
    let how = *die.pick(&["refuses", "fails"]);
    about_platform(cast, die, "platform-down", &[("how", how.into()), ("for", die.time(100, 120_000).into())])
}

fn platform_slow(cast: &Cast, die: &Die) -> Option<Table> {
    let entries = [("by", die.time(100, 10_000).into()), ("for", die.time(1_000, 60_000).into())];
    about_platform(cast, die, "platform-slow", &entries)
}

fn platform_limits(cast: &Cast, die: &Die) -> Option<Table> {
    about_platform(cast, die, "platform-limits", &[("for", die.time(1_000, 60_000).into())])
}

fn platform_cuts_line(cast: &Cast, die: &Die) -> Option<Table> {
    about_platform(cast, die, "platform-cuts-line", &[("sends", (die.between(1, 2) as i64).into())])
}

fn platform_acknowledges_late(cast: &Cast, die: &Die) -> Option<Table> {
    let entries = [("by", die.time(100, 30_000).into()), ("for", die.time(1_000, 60_000).into())];
    about_platform(cast, die, "platform-acknowledges-late", &entries)
}
