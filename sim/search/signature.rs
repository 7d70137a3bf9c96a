//! The signature of a failure: by what two failures are told to be the same, or different.
//!
//! It is the invariant that did not hold and the place where the message was last seen, without anything that another
//! seed or a smaller scenario would have otherwise: numbers, ids and names.

use std::collections::BTreeSet;
use std::fmt;

use crate::scenario::Scenario;
use crate::verdict::{RunResult, Verdict, Violation};

/// What is the same about two runs that fail in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature {
    /// The invariant that did not hold.
    pub invariant: String,
    /// Where the message in question was last seen, if it is about one.
    pub place: Option<String>,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{}, last seen: {place}", self.invariant),
            None => f.write_str(&self.invariant),
        }
    }
}

impl Signature {
    /// Every signature of a run: one for each violation, and one for a harness that could not make it.
    pub fn all_of(result: &RunResult, scenario: &Scenario) -> BTreeSet<Self> {
        let names: Vec<&str> =
            scenario.senders.keys().chain(scenario.peers.keys()).map(String::as_str).collect();
        let mut signatures: BTreeSet<_> =
            result.violations.iter().map(|violation| of_violation(violation, &names)).collect();
        if result.verdict == Verdict::Error {
            let why = result.notes.first().map(|note| general(note, &names));
            signatures.insert(Self { invariant: "harness-error".into(), place: why });
        }
        signatures
    }

    /// The signature that a failure is known by: that of the first violation.
    pub fn of(result: &RunResult, scenario: &Scenario) -> Option<Self> {
        let names: Vec<&str> =
            scenario.senders.keys().chain(scenario.peers.keys()).map(String::as_str).collect();
        match result.violations.first() {
            Some(violation) => Some(of_violation(violation, &names)),
            None => Self::all_of(result, scenario).pop_first(),
        }
    }
}

fn of_violation(violation: &Violation, names: &[&str]) -> Signature {
    let place = violation.last_seen.as_ref().map(|seen| general(&seen.place, names));
    Signature { invariant: violation.invariant.clone(), place }
}

/// The words without what is particular: a name of a sender is `somebody`, and what contains a digit is `#`.
fn general(words: &str, names: &[&str]) -> String {
    let word = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        match bare {
            bare if names.contains(&bare) => word.replace(bare, "somebody"),
            bare if bare.chars().any(|c| c.is_ascii_digit()) => "#".to_string(),
            _ => word.to_string(),
        }
    };
    words.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_particular_is_left_out() {
        let words = "run ann-k1 on gateway pid 214 was waiting for the model's answer";
        assert_eq!(general(words, &["ann"]), "run # on gateway pid # was waiting for the model's answer");
        assert_eq!(general("ann had handed it over", &["ann"]), "somebody had handed it over");
        assert_eq!(general("annual", &["ann"]), "annual");
    }
}
