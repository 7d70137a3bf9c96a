//! Planted defects: each is explored on its own, until a run fails that does not fail on a gateway as it should be.
//!
//! What is found says how good the search and the oracles are: a defect that nobody finds is a hole in what is drawn or
//! in what is judged. A failure that the hardened gateway shows with the same scenario and seed is no evidence about the
//! defect; it is passed over, and named, since it is worth a look of its own.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Instant;

use gateway::policy::{self, HARDENED};
use serde::Serialize;

mod areas;

pub use areas::{AREAS, area_of};

use super::explore::{self, Campaign, Failure};
use super::{Draft, Run, Signature, shrink};
use crate::scenario::{self, Scenario};
use crate::verdict::{RunResult, Verdict};

/// How defects are looked for.
pub struct Task<'a> {
    /// The first seed.
    pub first_seed: u64,
    /// The most seeds for each defect.
    pub seeds: u64,
    /// How many runs are made at a time.
    pub threads: NonZeroUsize,
    /// The most runs that shrinking may take.
    pub most_runs: u64,
    /// Whether no further run is to be begun.
    pub is_over: &'a (dyn Fn() -> bool + Sync),
}

/// What came of looking for one defect.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hunted {
    /// Its profile.
    pub defect: String,
    /// The part of the gateway that it is in; one of [`AREAS`].
    pub area: &'static str,
    /// What is wrong, by the policies that differ from hardened ones.
    pub choices: Vec<Choice>,
    /// How many seeds were tried, the one that failed included.
    pub seeds: u64,
    /// In how many of them everything held, and some of what was drawn never had its moment.
    pub inconclusive: u64,
    /// The seeds that fail on the hardened gateway, too, and so say nothing.
    pub red_on_hardened: BTreeSet<u64>,
    /// The seeds whose runs could not be made or trusted.
    pub errors: BTreeSet<u64>,
    /// How long the search took on this machine, without shrinking.
    pub search_ms: u64,
    /// How it was found, if it was.
    pub found: Option<Quarry>,
}

/// A policy and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The policy.
    pub policy: String,
    /// The choice.
    pub choice: String,
    /// What that means, in sentences.
    pub meaning: Option<String>,
}

/// A defect that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quarry {
    /// The invariant that did not hold.
    pub invariant: String,
    /// Where the message in question was last seen, if it is about one.
    pub place: Option<String>,
    /// The seed.
    pub seed: u64,
    /// What it had drawn.
    pub drawn: String,
    /// How many steps its scenario has.
    pub steps: usize,
    /// How many steps it has when it is shrunk.
    pub shrunk_steps: usize,
    /// How many runs shrinking took.
    pub shrink_runs: u64,
    /// How long it took on this machine.
    pub shrink_ms: u64,
    /// The shrunk scenario.
    pub shrunk: String,
    /// A seed with which that fails.
    pub shrunk_seed: u64,
    /// As it was drawn.
    #[serde(skip)]
    pub draft: Draft,
    /// As it was shrunk.
    #[serde(skip)]
    pub shrunk_draft: Draft,
}

impl Quarry {
    /// By what the failure is known.
    pub fn signature(&self) -> Signature {
        Signature { invariant: self.invariant.clone(), place: self.place.clone() }
    }
}

/// Looks for one defect.
pub fn hunt(run: Run<'_>, defect: &str, task: &Task<'_>) -> Hunted {
    let started = Instant::now();
    let known = Known::default();
    let evidence =
        |scenario: &Scenario, profile: &str, seed: u64| known.evidence(run, scenario, profile, seed);
    let campaign = Campaign {
        profile: defect,
        bases: &[],
        first_seed: task.first_seed,
        seeds: task.seeds,
        threads: task.threads,
        is_over: task.is_over,
    };
    let pursuit = explore::pursue(&evidence, &campaign);
    let search_ms = started.elapsed().as_millis() as u64;
    let (red_on_hardened, errors) = known.into_parts();
    let up_to = pursuit.found.as_ref().map_or(u64::MAX, |(_, failure)| failure.seed);
    let reached = |seeds: BTreeSet<u64>| seeds.into_iter().filter(|seed| *seed <= up_to).collect();
    Hunted {
        defect: defect.to_string(),
        area: area_of(defect),
        choices: choices(defect),
        seeds: pursuit.explored.runs,
        inconclusive: pursuit.explored.count(Verdict::Inconclusive),
        red_on_hardened: reached(red_on_hardened),
        errors: reached(errors),
        search_ms,
        found: pursuit.found.map(|(signature, failure)| shrunk(run, defect, &signature, &failure, task)),
    }
}

/// What is wrong with a defective gateway.
fn choices(defect: &str) -> Vec<Choice> {
    let policies = policy::profile(defect).unwrap_or_default();
    let differing = scenario::differences(&policies).into_iter();
    let choice = |(policy, choice): (String, String)| {
        let meaning = scenario::meaning_of(&policy, &choice);
        Choice { policy, choice, meaning }
    };
    differing.map(choice).collect()
}

fn shrunk(run: Run<'_>, defect: &str, signature: &Signature, failure: &Failure, task: &Task<'_>) -> Quarry {
    let started = Instant::now();
    let draft = explore::failing(failure, defect, signature);
    let path = explore::path_of(failure.seed);
    let known = Known::default();
    let evidence =
        |scenario: &Scenario, profile: &str, seed: u64| known.evidence(run, scenario, profile, seed);
    let shrinking = shrink::Task {
        draft: draft.clone(),
        path: &path,
        profile: defect,
        seed: failure.seed,
        signature: signature.clone(),
        // Whoever wants to go does not want to wait for this.
        most_runs: if (task.is_over)() { 0 } else { task.most_runs },
        other_seeds: 1,
    };
    let mut shrunk = shrink::shrink(&evidence, shrinking);
    shrunk.draft.expect_failure(defect, &signature.invariant);
    Quarry {
        invariant: signature.invariant.clone(),
        place: signature.place.clone(),
        seed: failure.seed,
        drawn: failure.drawn.line.clone(),
        steps: draft.steps().len(),
        shrunk_steps: shrunk.draft.steps().len(),
        shrink_runs: shrunk.runs,
        shrink_ms: started.elapsed().as_millis() as u64,
        shrunk: shrunk.draft.to_text(),
        shrunk_seed: shrunk.seed,
        draft,
        shrunk_draft: shrunk.draft,
    }
}

/// What is known of runs that say nothing about a defect.
#[derive(Default)]
struct Known {
    red_on_hardened: Mutex<BTreeSet<u64>>,
    errors: Mutex<BTreeSet<u64>>,
}

impl Known {
    /// The run, which is no evidence when the hardened gateway fails in it as well.
    fn evidence(&self, run: Run<'_>, scenario: &Scenario, profile: &str, seed: u64) -> RunResult {
        let result = run(scenario, profile, seed);
        let why = match result.verdict {
            Verdict::Fail if run(scenario, HARDENED, seed).verdict == Verdict::Fail => {
                note(&self.red_on_hardened, seed);
                "the hardened gateway fails as well"
            }
            Verdict::Error => {
                note(&self.errors, seed);
                "the run could not be made"
            }
            _ => return result,
        };
        let mut notes = result.notes;
        notes.push(why.to_string());
        RunResult { verdict: Verdict::Inconclusive, violations: Vec::new(), notes, ..result }
    }

    fn into_parts(self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let inner =
            |seeds: Mutex<BTreeSet<u64>>| seeds.into_inner().unwrap_or_else(|error| error.into_inner());
        (inner(self.red_on_hardened), inner(self.errors))
    }
}

fn note(seeds: &Mutex<BTreeSet<u64>>, seed: u64) {
    // A panic of another run leaves a set of numbers as good as it was.
    seeds.lock().unwrap_or_else(|error| error.into_inner()).insert(seed);
}
