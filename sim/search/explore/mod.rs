//! Exploration: random scenarios by the hundred, judged by the invariants that hold everywhere.
//!
//! A campaign goes in rounds of a fixed size. What a round reached weighs the draws of the next one, so what is drawn
//! depends on the first seed and on nothing else: neither on how many threads there are nor on which of them was quicker.
//! Failures are told apart by their signature; the first of each is kept, with its scenario.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

mod cast;
pub mod coverage;
mod dice;
mod faults;
mod findings;
mod moments;
mod people;
mod pursuit;
mod setup;
mod swarm;
mod themes;
mod weights;

pub use coverage::Coverage;
pub use findings::{Findings, Found, MergeError, SeedRange, merge};
pub use pursuit::{Pursuit, pursue};
pub use swarm::{Drawn, invent, vary};
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
    /// The scenarios that are varied, in turn; none: each seed invents a world.
    pub bases: &'a [Draft],
    /// The first seed.
    pub first_seed: u64,
    /// How many seeds.
    pub seeds: u64,
    /// How many runs are made at a time.
    pub threads: NonZeroUsize,
    /// Whether no further run is to be begun. Which ones then are missing is all that depends on anything but the seeds.
    pub is_over: &'a (dyn Fn() -> bool + Sync),
}

impl Campaign<'_> {
    /// What `seed` draws by these weights.
    pub fn draw(&self, seed: u64, weights: &Weights) -> Drawn {
        match self.bases {
            [] => invent(seed, weights),
            bases => {
                let base = &bases[(seed % bases.len() as u64) as usize];
                vary(seed, base, self.profile, weights)
            }
        }
    }
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
    /// How many steps they had.
    pub steps: u64,
    /// How much of what they had drawn came to nothing: steps without their moment, peers that never arrived.
    pub unmet: u64,
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
    steps: u64,
    unmet: u64,
    coverage: Coverage,
}

/// Explores, until all seeds were tried or it is over, and tells `watch` after each round what it came to so far.
pub fn explore(run: Run<'_>, campaign: &Campaign<'_>, watch: &mut dyn FnMut(&Explored)) -> Explored {
    let mut explored = Explored::default();
    let mut weights = Weights::default();
    let last = campaign.first_seed.saturating_add(campaign.seeds);
    let mut next = campaign.first_seed;
    while next < last && !(campaign.is_over)() {
        let seeds: Vec<u64> = (next..last.min(next.saturating_add(ROUND))).collect();
        next += seeds.len() as u64;
        let outcomes = workers::in_order(&seeds, campaign.threads, &|seed: &u64| {
            (!(campaign.is_over)()).then(|| one(run, campaign.profile, *seed, campaign.draw(*seed, &weights)))
        });
        for outcome in outcomes.into_iter().flatten() {
            weights.learn(&outcome.coverage);
            explored.add(outcome);
        }
        watch(&explored);
    }
    explored
}

fn one(run: Run<'_>, profile: &str, seed: u64, drawn: Drawn) -> Outcome {
    let Ok(scenario) = drawn.draft.scenario(&path_of(seed)) else {
        // Whatever can be drawn is a scenario, which a test sees to. Should one be none, the others still count.
        let (verdict, virtual_time, coverage) = (Verdict::Error, Duration::ZERO, Coverage::default());
        return Outcome { seed, drawn, verdict, signature: None, virtual_time, steps: 0, unmet: 0, coverage };
    };
    let result = run(&scenario, profile, seed);
    Outcome {
        seed,
        verdict: result.verdict,
        signature: Signature::of(&result, &scenario),
        virtual_time: result.virtual_time,
        steps: scenario.steps.len() as u64,
        unmet: result.notes.len() as u64,
        coverage: Coverage::of(&scenario, &result.timeline),
        drawn,
    }
}

impl Explored {
    fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        *self.verdicts.entry(outcome.verdict).or_default() += 1;
        self.virtual_time += outcome.virtual_time;
        self.steps += outcome.steps;
        self.unmet += outcome.unmet;
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

/// What the scenario of a seed is called.
pub fn path_of(seed: u64) -> PathBuf {
    PathBuf::from(format!("seed-{seed}.toml"))
}

/// The draft of a failure, as it is shrunk: it expects what it came to.
pub fn failing(failure: &Failure, profile: &str, signature: &Signature) -> Draft {
    let mut draft = failure.drawn.draft.clone();
    draft.expect_failure(profile, &signature.invariant);
    draft
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::shrink;

    fn campaign(threads: usize, seeds: u64, profile: &str) -> Campaign<'_> {
        Campaign {
            profile,
            bases: &[],
            first_seed: 1,
            seeds,
            threads: NonZeroUsize::new(threads).expect("some"),
            is_over: &|| false,
        }
    }

    #[test]
    fn what_is_explored_depends_on_the_seeds_alone() {
        let explored = |threads| explore(&crate::run, &campaign(threads, 24, "hardened"), &mut |_| ());
        let (one, four) = (explored(1), explored(4));
        assert_eq!(one.runs, 24);
        assert_eq!(
            (one.verdicts, one.virtual_time, one.coverage),
            (four.verdicts, four.virtual_time, four.coverage)
        );
    }

    #[test]
    fn the_same_seed_is_the_same_scenario_and_the_same_run() {
        let campaign = campaign(1, 1, "hardened");
        let hash = |seed| {
            let scenario = campaign.draw(seed, &Weights::default()).draft.scenario(&path_of(seed));
            crate::run(&scenario.expect("is one"), "hardened", seed).hash
        };
        assert_eq!(hash(5), hash(5));
        assert_ne!(hash(5), hash(6));
    }

    #[test]
    fn a_gateway_that_forgets_its_earlier_lives_is_found_out_and_shown_in_few_steps() {
        const PROFILE: &str = "planted:recovery-skipped";
        let pursuit = pursue(&crate::run, &campaign(2, ROUND, PROFILE));
        let (signature, failure) = pursuit.found.expect("some message is dropped");
        assert_eq!(pursuit.explored.runs, failure.seed, "it ends with the first failure");
        let draft = failing(&failure, PROFILE, &signature);
        let before = draft.steps().len();
        let path = path_of(failure.seed);
        let seed = failure.seed;
        let task = shrink::Task {
            draft,
            path: &path,
            profile: PROFILE,
            seed,
            signature,
            most_runs: 200,
            other_seeds: 0,
        };
        let after = shrink::shrink(&crate::run, task).draft.steps().len();
        assert!(after <= 6 && after < before, "{before} steps became {after}");
    }

    #[test]
    fn what_somebody_wrote_is_varied_in_turn() {
        let text = "name = \"one\"\n[senders.ann]\n[expect]\nfates = { \"ann#1\" = \"replied\" }\n";
        let bases =
            [text, &text.replace("one", "two")].map(|text| Draft::new(text.parse().expect("is TOML")));
        let campaign = Campaign { bases: &bases, ..campaign(1, 2, "hardened") };
        let lines: Vec<_> = (1..=40).map(|seed| campaign.draw(seed, &Weights::default())).collect();
        assert!(lines[0].line.starts_with("seed 1: \"two\"") && lines[1].line.starts_with("seed 2: \"one\""));
        assert!(lines.iter().any(|drawn| !drawn.draft.steps().is_empty()));
        for drawn in lines {
            drawn.draft.scenario(&path_of(1)).expect("is a scenario");
            assert!(!drawn.draft.to_text().contains("fates"));
        }
    }
}
