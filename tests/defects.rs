//! Planted defects that are found soon: one of each area, so that whoever makes the search or the oracles blind hears of it.
//!
//! All defects within a thousand seeds take minutes: `cargo sim defects`; see docs/searching.md.

use std::num::NonZeroUsize;

use gatesim::search::defects::{Task, hunt};
use gatesim::search::explore::ROUND;
use libtest_mimic::Trial;

use crate::test;

/// Defects that a round of seeds finds.
const SOON: [&str; 7] = [
    "lock-never-stale",
    "session-status-left-running",
    "acknowledge-before-durable",
    "restart-outcomes-untold",
    "recovery-reruns-everything",
    "pre-stop-skipped",
    "always-ready",
];

pub(crate) fn tests() -> Vec<Trial> {
    let found = |name: &'static str| test(format!("defects: {name} is found soon"), move || is_found(name));
    SOON.into_iter().map(found).collect()
}

fn is_found(name: &str) {
    let task =
        Task { first_seed: 1, seeds: ROUND, threads: NonZeroUsize::MIN, most_runs: 0, is_over: &|| false };
    let hunted = hunt(&gatesim::run, &format!("planted:{name}"), &task);
    assert!(hunted.found.is_some(), "{hunted:?}");
}
