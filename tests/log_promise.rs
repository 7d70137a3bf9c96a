//! The log keeps a promise of its own: a hardened gateway names every message that it accepted and that was not
//! answered in a record of level warn or above. An operator who greps for the key finds out what became of it.

use std::collections::BTreeMap;

use gatesim::scenario::Scenario;
use gatesim::timeline::{Event, Fact, Level, LogRecord, MessageId};
use gatesim::verdict::{Expected, RunResult};
use gateway::policy::{self, HARDENED};
use libtest_mimic::Trial;

use crate::{corpus, test};

pub(crate) fn tests() -> Vec<Trial> {
    let on_hardened = |scenario: &Scenario| scenario.expect.outcomes.contains_key(HARDENED);
    let test_of = |scenario: Scenario| {
        let cell = scenario.cell.as_ref().map(|cell| format!("[{cell}]")).unwrap_or_default();
        let name = format!("log of {}{cell}", corpus::name(&scenario));
        test(name, move || names_every_loss(&scenario))
    };
    let mut tests: Vec<_> = corpus::sample().into_iter().filter(on_hardened).map(test_of).collect();
    tests.push(test("log promise: history did not keep it", history_did_not_keep_it));
    tests
}

fn names_every_loss(scenario: &Scenario) {
    for seed in corpus::seeds(scenario) {
        let run = gatesim::run(scenario, HARDENED, seed);
        let unnamed = unnamed(&run);
        assert!(unnamed.is_empty(), "seed {seed}: no record of level warn or above names {unnamed:?}");
    }
}

/// History lost messages without a word, so this test can tell.
fn history_did_not_keep_it() {
    let lost = |(scenario, profile): &(Scenario, String)| match scenario.expect.under(profile) {
        Expected::Fail(invariants) => {
            let is_of_history = policy::profile_names().any(|name| name == profile);
            let is_bug = scenario.path.starts_with(corpus::BUGS);
            is_of_history && is_bug && invariants.iter().any(|name| name == "no-silent-drop")
        }
        _ => false,
    };
    let lost: Vec<_> = corpus::with_profiles().into_iter().filter(lost).collect();
    assert!(!lost.is_empty(), "no report of a loss");
    let mut silent = 0;
    for (scenario, profile) in &lost {
        let run = gatesim::run(scenario, profile, 1);
        let dropped: Vec<_> =
            run.fates.iter().filter(|(_, fate)| *fate == "dropped").map(|(name, _)| name).collect();
        let unnamed = unnamed(&run);
        assert!(!dropped.is_empty(), "{}: nothing was dropped", scenario.path.display());
        silent += usize::from(dropped.iter().all(|name| unnamed.contains(name)));
    }
    // What goes out to platforms is spoken of all the same, and of some versions only single ways are known.
    assert!(silent * 2 > lost.len(), "{silent} of {} losses are silent", lost.len());
}

/// The accepted messages of a run that were not answered and that no record of level warn or above names.
pub(crate) fn unnamed(run: &RunResult) -> Vec<String> {
    let mut keys: BTreeMap<&MessageId, &str> = BTreeMap::new();
    let mut accepted: Vec<&MessageId> = Vec::new();
    for event in &run.timeline {
        match &event.fact {
            Fact::MessageSent { message, key, .. } => drop(keys.insert(message, key)),
            Fact::MessageAccepted { message } if !accepted.contains(&message) => accepted.push(message),
            _ => {}
        }
    }
    let is_open =
        |message: &&MessageId| run.fates.get(&message.to_string()).is_some_and(|fate| fate != "replied");
    let is_named =
        |message: &MessageId| run.timeline.iter().filter_map(warning).any(|it| names(it, keys[message]));
    accepted
        .into_iter()
        .filter(is_open)
        .filter(|message| !is_named(message))
        .map(ToString::to_string)
        .collect()
}

fn warning(event: &Event) -> Option<&LogRecord> {
    match &event.fact {
        Fact::Log { record, .. } if record.level <= Level::Warn => Some(record),
        _ => None,
    }
}

fn names(record: &LogRecord, key: &str) -> bool {
    record.fields.iter().any(|(_, value)| value == key)
}
