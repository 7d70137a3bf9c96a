//! Exploration: random scenarios by the hundred, judged by the invariants that hold everywhere.
//!
//! A campaign goes in rounds of a fixed size. What a round reached weighs the draws of the next one, so what is drawn
//! depends on the first seed and on nothing else: neither on how many threads there are nor on which of them was quicker.
//! Failures are told apart by their signature; the first of each is kept, with its scenario.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

mod cast;
pub mod coverage;
mod dice;
mod faults;
mod moments;
mod swarm;
mod weights;

pub use coverage::Coverage;
pub use swarm::{Drawn, invent};
pub use weights::Weights;

use super::{Draft, Run, Signature};
use crate::verdict::Verdict;
use crate::workers;

/// How many seeds are drawn by the same weights.
pub const ROUND: u64 = 64;

/// What is explored.
pub struct Campaign<'a> {
    /// The profile of all runs.
    pub profile: &'a str,
    /// The first seed.
    pub first_seed: u64,
    /// How many seeds; `None`: until it is told to stop.
    pub seeds: Option<u64>,
    /// How many runs are made at a time.
    pub threads: NonZeroUsize,
}

/// The first failure of its kind.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What was drawn.
    pub drawn: Drawn,
    /// How many runs failed like this.
    pub times: u64,
}

/// What a campaign came to, so far.
#[derive(Clone, Debug, Default)]
pub struct Explored {
    /// How many runs were made.
    pub runs: u64,
    /// How many came to which verdict.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// How long all runs took in their worlds.
    pub virtual_time: Duration,
    /// The failures, each the first of its signature.
    pub failures: BTreeMap<Signature, Failure>,
    /// What was reached.
    pub coverage: Coverage,
}

/// What one run came to.
struct Outcome {
    seed: u64,
    drawn: Drawn,
    verdict: Verdict,
    signature: Option<Signature>,
    virtual_time: Duration,
    coverage: Coverage,
}

/// Explores, until all seeds were tried or `goes_on` says no after a round.
pub fn explore(run: Run<'_>, campaign: &Campaign<'_>, goes_on: &mut dyn FnMut(&Explored) -> bool) -> Explored {
    let mut explored = Explored::default();
    let mut weights = Weights::default();
    let last = campaign.seeds.map_or(u64::MAX, |seeds| campaign.first_seed.saturating_add(seeds));
    let mut next = campaign.first_seed;
    while next < last {
        let seeds: Vec<u64> = (next..last.min(next.saturating_add(ROUND))).collect();
        next += seeds.len() as u64;
        let outcomes = workers::in_order(&seeds, campaign.threads, &|seed: &u64| {
            one(run, campaign.profile, *seed, invent(*seed, &weights))
        });
        for outcome in outcomes {
            for cell in outcome.coverage.cells.keys() {
                weights.note(&cell.phase, &cell.fault, &cell.supervisor, 1);
            }
            explored.add(outcome);
        }
        if !goes_on(&explored) {
            break;
        }
    }
    explored
}

fn one(run: Run<'_>, profile: &str, seed: u64, drawn: Drawn) -> Outcome {
    let path = format!("seed-{seed}.toml");
    let Ok(scenario) = drawn.draft.scenario(Path::new(&path)) else {
        // Whatever can be drawn is a scenario, which a test sees to.
        unreachable!("seed {seed} is no scenario:\n{}", drawn.draft.to_text())
    };
    let result = run(&scenario, profile, seed);
    Outcome {
        seed,
        verdict: result.verdict,
        signature: Signature::of(&result, &scenario),
        virtual_time: result.virtual_time,
        coverage: Coverage::of(&scenario, &result.timeline),
        drawn,
    }
}

impl Explored {
    fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        *self.verdicts.entry(outcome.verdict).or_default() += 1;
        self.virtual_time += outcome.virtual_time;
        self.coverage.add(&outcome.coverage);
        if let Some(signature) = outcome.signature {
            let first = Failure { seed: outcome.seed, drawn: outcome.drawn, times: 0 };
            self.failures.entry(signature).or_insert(first).times += 1;
        }
    }

    /// How many runs came to `verdict`.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }
}

/// The draft of a failure, as it is shrunk: it expects what it came to.
pub fn failing(failure: &Failure, profile: &str, signature: &Signature) -> Draft {
    let mut draft = failure.drawn.draft.clone();
    draft.expect_failure(profile, &signature.invariant);
    draft
}
