//! What a run came to: the verdict, what was expected of it, and everything a report needs to say about it.
//!
//! A [`RunResult`] is a plain value. Serialised it is one entry of `runs` in the JSON report; the timeline stays
//! out of that, since it is evidence for people. Nothing here knows how a run is made or how it is printed.

use std::fmt;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Serialize, Serializer};

use crate::scenario::{Cell, Scenario};
use crate::timeline::{Event, EventHash, Shutdown, Sighting};

/// One run of a scenario under a profile and a seed.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult {
    /// The scenario's path as it was given.
    pub scenario: String,
    /// Which cell of the scenario's matrix, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<Cell>,
    /// The gateway's profile.
    pub profile: String,
    /// The seed that decided everything.
    pub seed: u64,
    /// What the run came to.
    pub verdict: Verdict,
    /// What the scenario says it should come to.
    pub expected: Expected,
    /// Whether the two agree; see [`Expected::is_met_by`].
    pub as_expected: bool,
    /// Every invariant that did not hold.
    pub violations: Vec<Violation>,
    /// The fate of every message, by its name such as `ann#1`.
    pub fates: IndexMap<String, String>,
    /// How each gateway process ended that was asked to.
    pub shutdowns: Vec<Shutdown>,
    /// How long the run took in the world.
    #[serde(rename = "virtual_ms", serialize_with = "as_millis")]
    pub virtual_time: Duration,
    /// How long the run took on this machine. Not part of what the seed decides.
    #[serde(rename = "wall_us", serialize_with = "as_micros")]
    pub wall_time: Duration,
    /// The number of events on the timeline.
    pub events: u64,
    /// The hash over all events, 16 hex digits: two runs are the same run exactly when it agrees.
    #[serde(serialize_with = "as_text")]
    pub hash: EventHash,
    /// Why the run is inconclusive or an error, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Everything that happened.
    #[serde(skip)]
    pub timeline: Vec<Event>,
}

impl RunResult {
    /// A run that could not be made or cannot be trusted; `why` is a sentence.
    pub fn error(scenario: &Scenario, profile: &str, seed: u64, why: String) -> Self {
        Self {
            scenario: scenario.path.display().to_string(),
            cell: scenario.cell.clone(),
            profile: profile.into(),
            seed,
            verdict: Verdict::Error,
            expected: scenario.expect.under(profile),
            as_expected: false,
            violations: Vec::new(),
            fates: IndexMap::new(),
            shutdowns: Vec::new(),
            virtual_time: Duration::ZERO,
            wall_time: Duration::ZERO,
            events: 0,
            hash: EventHash(0),
            notes: vec![why],
            timeline: Vec::new(),
        }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every invariant held, and the script's steps and expectations were all exercised.
    Pass,
    /// At least one invariant did not hold.
    Fail,
    /// Nothing failed, but something the script wanted to exercise never happened: no evidence either way.
    Inconclusive,
    /// The harness could not make the run, or cannot trust it.
    Error,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
        })
    }
}

/// What a scenario says a run under some profile comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Everything holds.
    Pass,
    /// At least these invariants do not hold.
    Fail(Vec<String>),
    /// The run gives no evidence.
    Inconclusive,
}

impl Expected {
    /// Whether a run that ended with `verdict` and `violations` is what was expected. A run that fails must
    /// violate every listed invariant; it may violate others, too. An error is never expected.
    pub fn is_met_by(&self, verdict: Verdict, violations: &[Violation]) -> bool {
        match self {
            Self::Pass => verdict == Verdict::Pass,
            Self::Fail(invariants) => {
                let violated = |invariant: &String| violations.iter().any(|v| v.invariant == *invariant);
                verdict == Verdict::Fail && invariants.iter().all(violated)
            }
            Self::Inconclusive => verdict == Verdict::Inconclusive,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Fail(invariants) => write!(f, "fail: {}", invariants.join(", ")),
            Self::Inconclusive => f.write_str("inconclusive"),
        }
    }
}

impl Serialize for Expected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant's name, such as `no-silent-drop`.
    pub invariant: String,
    /// What happened, in one line.
    pub message: String,
    /// The evidence, in sentences.
    pub explanation: String,
    /// Where and when the message in question was last seen, if the violation is about a message.
    pub last_seen: Option<Sighting>,
}

/// How many runs came to what. Every run is counted once besides in `runs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All of them.
    pub runs: usize,
    /// Runs that came to what was expected.
    pub as_expected: usize,
    /// Runs that passed or failed against expectation.
    pub unexpected: usize,
    /// Runs that gave no evidence although some was expected.
    pub inconclusive: usize,
    /// Runs that could not be made or trusted.
    pub error: usize,
}

impl Summary {
    /// Counts `results`.
    pub fn of(results: &[RunResult]) -> Self {
        let mut summary = Self { runs: results.len(), ..Self::default() };
        for result in results {
            *match (result.verdict, result.as_expected) {
                (Verdict::Error, _) => &mut summary.error,
                (_, true) => &mut summary.as_expected,
                (Verdict::Inconclusive, false) => &mut summary.inconclusive,
                (Verdict::Pass | Verdict::Fail, false) => &mut summary.unexpected,
            } += 1;
        }
        summary
    }

    /// The exit status that tells a script the worst of it: 3 an error, 1 something unexpected, 2 something
    /// inconclusive, 0 none of these.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self { error: 1.., .. } => 3,
            Self { unexpected: 1.., .. } => 1,
            Self { inconclusive: 1.., .. } => 2,
            _ => 0,
        }
    }
}

fn as_millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn as_micros<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(of: &[&str]) -> Vec<Violation> {
        let violation = |invariant: &&str| Violation {
            invariant: (*invariant).into(),
            message: String::new(),
            explanation: String::new(),
            last_seen: None,
        };
        of.iter().map(violation).collect()
    }

    #[test]
    fn a_failure_is_as_expected_when_every_listed_invariant_is_violated() {
        let expected = Expected::Fail(vec!["a".into(), "b".into()]);
        assert!(expected.is_met_by(Verdict::Fail, &violations(&["b", "c", "a"])));
        assert!(!expected.is_met_by(Verdict::Fail, &violations(&["a", "c"])));
        assert!(!expected.is_met_by(Verdict::Error, &violations(&["a", "b"])));
        assert!(!expected.is_met_by(Verdict::Pass, &[]));
    }

    #[test]
    fn pass_and_inconclusive_are_met_only_by_themselves() {
        for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Error] {
            assert_eq!(Expected::Pass.is_met_by(verdict, &[]), verdict == Verdict::Pass);
            assert_eq!(Expected::Inconclusive.is_met_by(verdict, &[]), verdict == Verdict::Inconclusive);
        }
    }

    #[test]
    fn the_worst_run_decides_the_exit_status() {
        let summary = |unexpected, inconclusive, error| Summary {
            unexpected,
            inconclusive,
            error,
            ..Summary::default()
        };
        assert_eq!(summary(0, 0, 0).exit_code(), 0);
        assert_eq!(summary(0, 1, 0).exit_code(), 2);
        assert_eq!(summary(1, 1, 0).exit_code(), 1);
        assert_eq!(summary(1, 1, 1).exit_code(), 3);
    }

    #[test]
    fn the_json_shape_is_the_documented_one() {
        let mut violations = violations(&["no-silent-drop"]);
        violations[0].last_seen = Some(Sighting { at_ms: 1650, place: "inbox".into() });
        let result = RunResult {
            scenario: "scenarios/x.toml".into(),
            cell: None,
            profile: "hardened".into(),
            seed: 7,
            verdict: Verdict::Fail,
            expected: Expected::Fail(vec!["a".into(), "b".into()]),
            as_expected: false,
            violations,
            fates: [("ann#1".to_string(), "dropped".to_string())].into_iter().collect(),
            shutdowns: Vec::new(),
            virtual_time: Duration::from_millis(1900),
            wall_time: Duration::from_micros(400),
            events: 12,
            hash: EventHash(0xab),
            notes: Vec::new(),
            timeline: Vec::new(),
        };
        let expected = serde_json::json!({
            "scenario": "scenarios/x.toml", "profile": "hardened", "seed": 7, "verdict": "fail",
            "expected": "fail: a, b", "as_expected": false,
            "violations": [{
                "invariant": "no-silent-drop", "message": "", "explanation": "",
                "last_seen": {"at_ms": 1650, "where": "inbox"},
            }],
            "fates": {"ann#1": "dropped"}, "shutdowns": [], "virtual_ms": 1900, "wall_us": 400, "events": 12,
            "hash": "00000000000000ab",
        });
        assert_eq!(serde_json::to_value(&result).expect("serialises"), expected);
    }
}
