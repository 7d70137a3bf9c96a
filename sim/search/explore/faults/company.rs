//! Troubles that take several steps: somebody else comes, stands still, and goes; a service is down for long.

use toml::{Table, Value};

use super::accidents::{full, newcomer};
use super::{Trouble, anchored, doing, one, signal};
use crate::search::explore::cast::Cast;
use crate::search::explore::dice::{Die, written};

/// A service is stopped, and started again: soon, later, or much later.
pub(super) fn stop_for_long(cast: &Cast, die: &Die) -> Option<Trouble> {
    if !cast.is_supervised {
        return None;
    }
    let for_hours = if cast.has_subagents { 30 } else { 5 };
    let down = match () {
        // Whatever is done an hour after its time has to find somebody who was at work.
        () if cast.has_subagents && die.chance(for_hours) => {
            let stop = die.between(0, 10_000);
            let start = stop + die.between(62, 80) * 60_000;
            let at = |after: u64, verb: &str| {
                let mut step = anchored("subagent.requested", 1, doing(verb, &[]));
                step.insert("after".into(), written(after).into());
                (0, step)
            };
            return Some(vec![at(stop, "service-stop"), at(start, "service-start")]);
        }
        () if die.chance(for_hours) => die.between(62, 80) * 60_000,
        () if die.chance(40) => die.between(100, 20_000),
        () => die.between(20_000, 400_000),
    };
    Some(vec![(0, doing("service-stop", &[])), (down, doing("service-start", &[]))])
}

/// The gateway dies, and the clock has gone on for hours when it comes back: most of all, while a subagent is at work, or what
/// came of it cannot be announced.
pub(super) fn down_for_hours(cast: &Cast, die: &Die) -> Option<Trouble> {
    if !cast.is_revived {
        return None;
    }
    let jump = || {
        doing(
            "clock-jump",
            &[("by", die.instant(1_900_000, 20_000_000).into()), ("direction", "forward".into())],
        )
    };
    if !cast.has_subagents || die.chance(20) {
        return Some(vec![(0, doing("kill", &[])), (50, jump())]);
    }
    let nth = die.between(1, 2);
    let later = |event: &'static str, after: u64, step: Table| {
        let mut step = anchored(event, nth, step);
        step.insert("after".into(), written(after).into());
        (0, step)
    };
    let is_done = die.chance(50);
    let (event, after) = match is_done {
        true => ("subagent.answered", die.between(500, 5_000)),
        false => ("subagent.requested", die.between(0, 10_000)),
    };
    let mut trouble = vec![later(event, after, doing("kill", &[])), later(event, after + 50, jump())];
    if is_done {
        trouble.push((0, anchored("subagent.requested", nth, full("inbox.jsonl", Some("append"), die))));
    }
    Some(trouble)
}

/// A second gateway by hand: beside the service, in its place, or so slow that it stands in the way of its start.
pub(super) fn second_instance(cast: &Cast, die: &Die) -> Option<Trouble> {
    let second = || doing("start-second-instance", &[]);
    let mut stop_other = signal("SIGTERM");
    stop_other.insert("process".into(), "other-gateway".into());
    if !cast.is_supervised || die.chance(40) {
        return one(second());
    }
    let stop = || doing("service-stop", &[]);
    let start = || doing("service-start", &[]);
    if die.chance(50) {
        let begin = die.between(92_000, 100_000);
        let meet = begin + die.between(1_000, 20_000);
        let end = meet + die.between(5_000, 150_000);
        return Some(vec![
            (0, stop()),
            (begin, second()),
            (meet, start()),
            (end, stop_other),
            (end + 60_000, start()),
        ]);
    }
    let mut kill = doing("kill", &[]);
    kill.insert("process".into(), "other-gateway".into());
    let mut freeze = doing("freeze", &[("for", die.instant(60_000, 200_000).into())]);
    freeze.insert("process".into(), "other-gateway".into());
    let begin = 92_000;
    Some(vec![
        (0, stop()),
        (begin, second()),
        (begin + 2_000, doing("port-lingers", &[("for", die.instant(5_000, 8_000).into())])),
        (begin + 5_000, kill),
        (begin + 5_500, second()),
        (begin + die.between(6_000, 9_000), freeze),
        (begin + die.between(10_000, 20_000), start()),
        (begin + 330_000, start()),
    ])
}

/// The service is started anew; where the model runs programs, while one is at work.
pub(super) fn service_restart(cast: &Cast, die: &Die) -> Option<Trouble> {
    if !cast.is_supervised {
        return None;
    }
    if cast.has_programs && die.chance(60) {
        let mut step = anchored("command.began", die.between(1, 2), doing("service-restart", &[]));
        step.insert("after".into(), Value::from(die.time(0, 10_000)));
        return Some(vec![(0, step)]);
    }
    one(doing("service-restart", &[]))
}

/// Another program has the gateway's port when it is wanted: the service is down just then.
pub(super) fn squat_port(cast: &Cast, die: &Die) -> Option<Trouble> {
    if !cast.is_supervised {
        return None;
    }
    let squat = doing("squat-port", &[("for", die.time(500, 30_000).into())]);
    let begin = die.between(100, 95_000);
    Some(vec![
        (0, doing("service-stop", &[])),
        (die.between(0, begin), squat),
        (begin + die.between(0, 5_000), doing("service-start", &[])),
    ])
}

/// A tool stands still, or dies, in the middle of its work on the session store; somebody new needs the store meanwhile.
pub(super) fn tool_held_up(cast: &Cast, die: &Die) -> Option<Trouble> {
    let tool = doing("run-tool", &[("session-of", cast.somebody(die)?.into()), ("label", "renamed".into())]);
    let mut hold = match die.chance(80) {
        true => doing("freeze", &[("for", die.instant(60_000, 400_000).into())]),
        false => doing("kill", &[]),
    };
    hold.insert("process".into(), "tool".into());
    let mut trouble = vec![(0, tool)];
    if die.chance(40) {
        // What it is about to put in the store's place is written.
        hold.insert("path".into(), "*sessions.json.*.tmp".into());
        trouble.push((0, anchored("disk.write", die.between(1, 4), hold)));
    } else {
        let begins = cast.startup.unwrap_or(100);
        trouble.push((begins + die.between(1, 2 + 2 * cast.sync), hold));
    }
    trouble.extend(newcomer(cast).map(|step| (die.between(1_000, 100_000), step)));
    Some(trouble)
}
