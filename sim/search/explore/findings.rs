//! What a campaign came to as a plain value: printed as JSON, read again, and added up over shards.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::coverage::Cell;
use super::{Coverage, Explored};
use crate::verdict::Verdict;

/// What campaigns came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// The profile of all runs.
    pub profile: String,
    /// The scenarios that were varied; none: worlds were invented.
    pub scenarios: Vec<String>,
    /// Which seeds were to be tried.
    pub seeds: Vec<SeedRange>,
    /// How many runs were made.
    pub runs: u64,
    /// Runs in which everything held.
    pub green: u64,
    /// Runs in which something did not hold.
    pub red: u64,
    /// Runs in which everything held, and some of what was drawn never had its moment.
    pub inconclusive: u64,
    /// Runs that could not be made or trusted.
    pub errors: u64,
    /// How many steps all runs had.
    pub steps: u64,
    /// How much of what they had drawn came to nothing.
    pub unmet: u64,
    /// How long all runs took in their worlds.
    pub virtual_ms: u64,
    /// How long they took on this machine; of shards, the sum.
    pub wall_ms: u64,
    /// Each way to fail.
    pub failures: Vec<Found>,
    /// Every cell of a life that was reached, and in how many runs.
    pub cells: Vec<Reached>,
    /// In how many runs each event came to pass.
    pub events: BTreeMap<String, u64>,
    /// The known events that never came to pass.
    pub never: Vec<String>,
}

/// Seeds from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRange {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl SeedRange {
    /// The `index`th of `of` equal parts, counted from 1; the parts have every seed once.
    pub fn shard(self, index: u64, of: u64) -> Self {
        let cut = |part: u64| (u128::from(self.count) * u128::from(part) / u128::from(of)) as u64;
        Self { first: self.first.saturating_add(cut(index - 1)), count: cut(index) - cut(index - 1) }
    }

    fn overlaps(self, other: Self) -> bool {
        let end = |range: Self| u128::from(range.first) + u128::from(range.count);
        u128::from(self.first) < end(other) && u128::from(other.first) < end(self)
    }
}

/// A way to fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// The invariant that did not hold.
    pub invariant: String,
    /// Where the message in question was last seen, if it is about one.
    pub place: Option<String>,
    /// How many runs failed like this.
    pub runs: u64,
    /// The first seed that did.
    pub seed: u64,
    /// What it had drawn.
    pub drawn: String,
    /// The scenario that is known to fail like this.
    pub known: Option<String>,
    /// The folder of its bundle.
    pub bundle: Option<String>,
    /// How many steps its shrunk scenario has.
    pub shrunk_steps: Option<usize>,
}

/// A cell that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Which.
    #[serde(flatten)]
    pub cell: Cell,
    /// In how many runs.
    pub runs: u64,
}

/// Why findings cannot be added up.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// They are of different campaigns.
    #[error("they are of different campaigns: one explored {one}, another {other}")]
    Different {
        /// What the first explored.
        one: String,
        /// What some other did.
        other: String,
    },
    /// Some seeds would be counted twice.
    #[error("seeds from {0} on are in two of them")]
    Overlapping(u64),
}

impl Findings {
    /// What a campaign came to; nothing is known yet of the failures but how and how often.
    pub fn of(
        explored: &Explored,
        profile: &str,
        scenarios: Vec<String>,
        seeds: SeedRange,
        wall: Duration,
    ) -> Self {
        let failures = explored.failures.iter().map(|(signature, failure)| Found {
            invariant: signature.invariant.clone(),
            place: signature.place.clone(),
            runs: failure.times,
            seed: failure.seed,
            drawn: failure.drawn.line.clone(),
            known: None,
            bundle: None,
            shrunk_steps: None,
        });
        let cells = explored.coverage.cells.iter();
        Self {
            profile: profile.into(),
            scenarios,
            seeds: vec![seeds],
            runs: explored.runs,
            green: explored.count(Verdict::Pass),
            red: explored.count(Verdict::Fail),
            inconclusive: explored.count(Verdict::Inconclusive),
            errors: explored.count(Verdict::Error),
            steps: explored.steps,
            unmet: explored.unmet,
            virtual_ms: explored.virtual_time.as_millis() as u64,
            wall_ms: wall.as_millis() as u64,
            failures: failures.collect(),
            cells: cells.map(|(cell, runs)| Reached { cell: cell.clone(), runs: *runs }).collect(),
            events: explored.coverage.events.clone(),
            never: explored.coverage.never().into_iter().map(String::from).collect(),
        }
    }

    /// What was reached.
    pub fn coverage(&self) -> Coverage {
        let cells = self.cells.iter().map(|reached| (reached.cell.clone(), reached.runs));
        Coverage { cells: cells.collect(), events: self.events.clone() }
    }

    /// 0 when nothing failed, 1 when something did, 3 when a run could not be made.
    pub const fn exit_code(&self) -> u8 {
        match (self.errors, self.red) {
            (1.., _) => 3,
            (0, 1..) => 1,
            (0, 0) => 0,
        }
    }

    fn explored(&self) -> String {
        match &self.scenarios[..] {
            [] => self.profile.clone(),
            scenarios => format!("{} under {}", scenarios.join(", "), self.profile),
        }
    }

    fn add(&mut self, other: Self) {
        self.seeds.extend(other.seeds.iter().copied());
        self.seeds.sort();
        self.runs += other.runs;
        self.green += other.green;
        self.red += other.red;
        self.inconclusive += other.inconclusive;
        self.errors += other.errors;
        self.steps += other.steps;
        self.unmet += other.unmet;
        self.virtual_ms += other.virtual_ms;
        self.wall_ms += other.wall_ms;
        let mut coverage = self.coverage();
        coverage.add(&other.coverage());
        self.never = coverage.never().into_iter().map(String::from).collect();
        self.cells = coverage.cells.into_iter().map(|(cell, runs)| Reached { cell, runs }).collect();
        self.events = coverage.events;
        for found in other.failures {
            let same =
                |known: &&mut Found| (&known.invariant, &known.place) == (&found.invariant, &found.place);
            match self.failures.iter_mut().find(same) {
                // The first seed is the one whose words are kept.
                Some(known) => {
                    let runs = known.runs + found.runs;
                    if found.seed < known.seed {
                        *known = found;
                    }
                    known.runs = runs;
                }
                None => self.failures.push(found),
            }
        }
        self.failures
            .sort_by(|one, other| (&one.invariant, &one.place).cmp(&(&other.invariant, &other.place)));
    }
}

/// Adds up what the shards of a campaign came to. `None`: there are none.
///
/// Errors: they are of different campaigns, or have seeds in common.
pub fn merge(all: Vec<Findings>) -> Result<Option<Findings>, MergeError> {
    let mut all = all.into_iter();
    let Some(mut merged) = all.next() else { return Ok(None) };
    for other in all {
        if (&merged.profile, &merged.scenarios) != (&other.profile, &other.scenarios) {
            return Err(MergeError::Different { one: merged.explored(), other: other.explored() });
        }
        let clash = other.seeds.iter().find(|range| merged.seeds.iter().any(|known| known.overlaps(**range)));
        if let Some(range) = clash {
            return Err(MergeError::Overlapping(range.first));
        }
        merged.add(other);
    }
    Ok(Some(merged))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(first: u64, count: u64, seed: u64) -> Findings {
        let mut findings = Findings::of(
            &Explored::default(),
            "hardened",
            Vec::new(),
            SeedRange { first, count },
            Duration::ZERO,
        );
        let (invariant, place, drawn) = ("up-at-the-end".to_string(), None, format!("seed {seed}"));
        let (known, bundle, shrunk_steps) = (None, None, None);
        (findings.runs, findings.red) = (count, 2);
        findings.failures.push(Found { invariant, place, runs: 2, seed, drawn, known, bundle, shrunk_steps });
        findings
    }

    #[test]
    fn shards_have_every_seed_once() {
        let all = SeedRange { first: 5, count: 10 };
        let shards: Vec<_> = (1..=3).map(|index| all.shard(index, 3)).collect();
        assert_eq!(
            shards.iter().map(|shard| (shard.first, shard.count)).collect::<Vec<_>>(),
            [(5, 3), (8, 3), (11, 4)]
        );
        assert!(!shards[0].overlaps(shards[1]) && shards[0].overlaps(all));
    }

    #[test]
    fn shards_are_added_up_and_the_same_failure_is_one() {
        let merged = merge(vec![findings(11, 10, 12), findings(1, 10, 3)]).expect("fit").expect("some");
        assert_eq!((merged.runs, merged.red, merged.failures.len()), (20, 4, 1));
        assert_eq!((merged.failures[0].runs, merged.failures[0].seed), (4, 3));
        assert_eq!(merged.exit_code(), 1);
        let text = serde_json::to_string(&merged).expect("plain values");
        assert_eq!(serde_json::from_str::<Findings>(&text).expect("the same again"), merged);
    }

    #[test]
    fn what_does_not_belong_together_is_not_added_up() {
        assert_eq!(merge(vec![findings(1, 10, 1), findings(10, 10, 10)]), Err(MergeError::Overlapping(10)));
        let other = Findings { profile: "other".into(), ..findings(11, 10, 11) };
        assert!(matches!(merge(vec![findings(1, 10, 1), other]), Err(MergeError::Different { .. })));
        assert_eq!(merge(Vec::new()), Ok(None));
    }
}
