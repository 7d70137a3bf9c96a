//! The events that a step can wait for are those that runs have, no more and no fewer.
//!
//! What no scenario of the repository shows is named here: it can happen, and nobody has made it happen yet.

use std::collections::BTreeSet;

use gatesim::scenario::EVENTS;
use libtest_mimic::Trial;

use crate::{corpus, test};

/// Listed, and in no run of the repository's scenarios: what takes a rarer accident, or a stranger one, than they have.
const NOT_SHOWN: &[&str] = &[];

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("events: the list of anchors is that of the events that happen", the_list_is_what_happens)]
}

fn the_list_is_what_happens() {
    let mut happen: BTreeSet<String> = BTreeSet::new();
    for (scenario, profile) in corpus::with_profiles() {
        let run = gatesim::run(&scenario, &profile, 1);
        happen.extend(run.timeline.iter().map(|event| event.fact.name().to_string()));
    }
    let listed: BTreeSet<String> = EVENTS.iter().map(|(name, ..)| name.to_string()).collect();
    let without = |all: &BTreeSet<String>, some: &BTreeSet<String>| -> Vec<String> {
        all.difference(some).cloned().collect()
    };
    let unlisted = without(&happen, &listed);
    assert!(unlisted.is_empty(), "these happen and are not in EVENTS (sim/scenario/events.rs): {unlisted:?}");
    let not_shown: BTreeSet<String> = NOT_SHOWN.iter().map(ToString::to_string).collect();
    let not_seen = without(&listed, &happen);
    let unnamed: Vec<_> = not_seen.iter().filter(|name| !not_shown.contains(*name)).collect();
    assert!(
        unnamed.is_empty(),
        "no scenario shows these: write one, or name them in NOT_SHOWN (tests/events.rs): {unnamed:?}"
    );
    let shown: Vec<_> = not_shown.intersection(&happen).collect();
    assert!(shown.is_empty(), "a scenario shows these now: take them out of NOT_SHOWN: {shown:?}");
}
