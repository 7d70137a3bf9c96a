//! Planted defects that are found soon: one of each area, so that whoever makes the search or the oracles blind hears of it.
//!
//! All defects within a thousand seeds take minutes: `cargo sim defects`; see docs/searching.md.

use std::num::NonZeroUsize;

use gatesim::search::defects::{Task, hunt};
use libtest_mimic::Trial;

use crate::test;

/// A defect, and within how many seeds it is found.
const SOON: &[(&str, u64)] = &[
    ("lock-never-stale", 8),
    ("session-status-left-running", 8),
    ("acknowledge-before-durable", 16),
    ("restart-outcomes-untold", 8),
    ("told-at-every-start", 8),
    ("recovery-reruns-everything", 8),
    ("feishu-acknowledges-first", 16),
    ("pre-stop-skipped", 8),
    ("always-ready", 8),
];

pub(crate) fn tests() -> Vec<Trial> {
    let named = |(name, seeds): &(&'static str, u64)| {
        let (name, seeds) = (*name, *seeds);
        test(format!("defects: {name} is found within {seeds} seeds"), move || is_found(name, seeds))
    };
    SOON.iter().map(named).collect()
}

fn is_found(name: &str, seeds: u64) {
    let task = Task { first_seed: 1, seeds, threads: NonZeroUsize::MIN, most_runs: 0, is_over: &|| false };
    let hunted = hunt(&gatesim::run, &format!("planted:{name}"), &task);
    assert!(hunted.found.is_some(), "{hunted:?}");
}
