//! The events that a step can wait for are those that runs have, no more and no fewer.
//!
//! Every run of the scenarios' own tests is looked at; what the whole of them came to is judged when all are over. What no
//! scenario of the repository shows is named here, but for what is kept only when a step waits for it: it can happen, and
//! nobody has made it happen yet.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use gatesim::scenario::{EVENTS, is_quiet};
use gatesim::verdict::RunResult;

/// Listed, and in no run of the repository's scenarios: what takes a rarer accident, or a stranger one, than they have.
const NOT_SHOWN: &[&str] = &[
    "config.missing",
    "cron.no-evidence",
    "cron.not-compacted",
    "cron.not-declared",
    "delivery.failure-not-noted",
    "delivery.no-account",
    "drain.channels-busy",
    "drain.work-left",
    "feishu.bad-frame",
    "feishu.id-not-recorded",
    "hand-off.failed",
    "hand-off.without-manager",
    "inbox.not-compacted",
    "lock.sweep-failed",
    "message.stop-not-durable",
    "message.unfit",
    "outbox.not-compacted",
    "peer.bad-frame",
    "peer.broken-frame",
    "peer.one-too-many",
    "port.accept-failed",
    "predecessor.out-of-reach",
    "recovery.no-evidence",
    "recovery.not-resumed",
    "recovery.session-interrupted",
    "recovery.stopped",
    "run.not-given-back",
    "run.remarked",
    "run.start-not-durable",
    "state.damaged",
    "store.kept-aside",
    "store.lock-ignored",
    "store.transcript-unlisted",
    "subagent.not-announced",
    "subagent.not-resumed",
    "subagent.not-swept",
];

/// The names of all events so far.
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes what happened in some runs.
pub(crate) fn saw(runs: &[RunResult]) {
    let names: BTreeSet<&str> =
        runs.iter().flat_map(|run| &run.timeline).map(|event| event.fact.name()).collect();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.extend(names.into_iter().map(str::to_string));
}

/// Compares what happened in the runs of every scenario with the list. The error says what to write, and where.
pub(crate) fn the_list_is_what_happens() -> Result<(), String> {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let listed: BTreeSet<String> = EVENTS.iter().map(|(name, ..)| name.to_string()).collect();
    let unlisted: Vec<_> = seen.difference(&listed).collect();
    if !unlisted.is_empty() {
        return Err(format!("these happen and are not in EVENTS (sim/scenario/events.rs): {unlisted:?}"));
    }
    let not_shown: BTreeSet<String> = NOT_SHOWN.iter().map(ToString::to_string).collect();
    // A quiet event is kept by the runs that wait for it alone.
    let unnamed: Vec<_> =
        listed.difference(&seen).filter(|name| !not_shown.contains(*name) && !is_quiet(name)).collect();
    if !unnamed.is_empty() {
        return Err(format!(
            "no scenario shows these: write one, or name them in NOT_SHOWN (tests/events.rs): {unnamed:?}"
        ));
    }
    let shown: Vec<_> = not_shown.intersection(&seen).collect();
    if !shown.is_empty() {
        println!("a scenario shows these now, and NOT_SHOWN (tests/events.rs) can do without: {shown:?}");
    }
    Ok(())
}
