//! Shrinking: a failing scenario is made smaller for as long as it fails in the same way.
//!
//! The world is shrunk, not only the input: who takes part, what goes wrong, how long things take, how the gateway is
//! set up. Each pass proposes smaller drafts, largest cuts first; one that still fails with the same signature, under
//! the same seed or a few others, takes the place of the draft. The passes go round until none finds anything. What a
//! proposal means is never asked: one that is no scenario, or is inconclusive, does not fail.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Draft, Run, Signature};
use crate::scenario::{Scenario, ScenarioError};
use crate::verdict::{RunResult, Verdict};

mod anchors;
mod passes;
#[cfg(test)]
mod tests;

/// What is to be shrunk, and how long that may take.
pub struct Task<'a> {
    /// The scenario.
    pub draft: Draft,
    /// What it is called, for runs and messages.
    pub path: &'a Path,
    /// The profile under which it fails.
    pub profile: &'a str,
    /// The seed with which it fails.
    pub seed: u64,
    /// What stays the same.
    pub signature: Signature,
    /// The most runs that are made.
    pub most_runs: u64,
    /// How many other seeds a proposal is tried with that does not fail under the first.
    pub other_seeds: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Shrunk {
    /// The smallest scenario that was found.
    pub draft: Draft,
    /// A seed with which it fails.
    pub seed: u64,
    /// How many runs were made.
    pub runs: u64,
    /// It may not be the smallest: the runs were used up.
    pub is_cut_short: bool,
}

/// With how many seeds a shrunk scenario is tried in the end.
pub const SEEDS_TRIED: u64 = 20;

/// Shrinks a scenario that fails.
pub fn shrink(run: Run<'_>, task: Task<'_>) -> Shrunk {
    let mut shrinking = Shrinking {
        run,
        seed: task.seed,
        runs: 0,
        draft: task.draft.clone(),
        refused: BTreeSet::new(),
        broken: BTreeSet::new(),
        task,
    };
    shrinking.broken = shrinking.broken_at_first();
    passes::tidy(&mut shrinking.draft);
    let whole = shrinking.draft.clone();
    shrinking.take_first(passes::shorter_settle);
    shrinking.reduce();
    if !shrinking.take_first(passes::usual_settle)
        && !shrinking.take_if_it_fails(shrinking.with_settle_of(&whole))
    {
        // What is left only fails for want of time, which is another failure: once more, with all the time there was.
        (shrinking.draft, shrinking.seed) = (whole, shrinking.task.seed);
        shrinking.refused.clear();
        shrinking.reduce();
    }
    Shrunk {
        is_cut_short: shrinking.is_used_up(),
        seed: shrinking.seed,
        runs: shrinking.runs,
        draft: shrinking.draft,
    }
}

/// How many of the seeds from 1 to [`SEEDS_TRIED`] fail with this signature.
pub fn seeds_failing(
    run: Run<'_>,
    draft: &Draft,
    path: &Path,
    profile: &str,
    signature: &Signature,
) -> Result<u64, ScenarioError> {
    let scenario = draft.scenario(path)?;
    let fails = |seed: &u64| is_same(&run(&scenario, profile, *seed), &scenario, signature);
    Ok((1..=SEEDS_TRIED).filter(fails).count() as u64)
}

/// Whether a run fails with this signature.
fn is_same(result: &RunResult, scenario: &Scenario, signature: &Signature) -> bool {
    let fails = matches!(result.verdict, Verdict::Fail | Verdict::Error);
    fails && Signature::all_of(result, scenario).contains(signature)
}

/// What a gateway breaks that never comes up, which fails in nearly every way at once.
const NOBODY_SERVES: [&str; 2] = ["up-at-the-end", "no-restart-loop"];

/// The invariants that a run broke which say that nobody served.
fn broken(result: &RunResult) -> impl Iterator<Item = String> {
    let broken = result.violations.iter().map(|violation| violation.invariant.clone());
    broken.filter(|invariant| NOBODY_SERVES.contains(&invariant.as_str()))
}

struct Shrinking<'a> {
    run: Run<'a>,
    task: Task<'a>,
    draft: Draft,
    seed: u64,
    runs: u64,
    /// What was proposed before, which need not be tried again.
    refused: BTreeSet<String>,
    /// The invariants that the scenario broke as it was, of those that say that nobody served. A smaller one in which nobody
    /// serves any more has another cause.
    broken: BTreeSet<String>,
}

impl Shrinking<'_> {
    fn reduce(&mut self) {
        self.until_nothing_helps();
        if !self.is_used_up() {
            anchors::anchor(self);
        }
    }

    /// The draft with as much time to calm down as `other` has.
    fn with_settle_of(&self, other: &Draft) -> Draft {
        let mut draft = self.draft.clone();
        match other.table().get(passes::SETTLE) {
            Some(settle) => drop(draft.table_mut().insert(passes::SETTLE.into(), settle.clone())),
            None => drop(draft.table_mut().remove(passes::SETTLE)),
        }
        draft
    }

    fn until_nothing_helps(&mut self) {
        loop {
            let before = self.draft.clone();
            for pass in passes::ALL {
                self.exhaust(*pass);
            }
            if self.draft == before || self.is_used_up() {
                return;
            }
        }
    }

    /// Takes the first of a pass's proposals that can be taken, if any can.
    fn take_first(&mut self, pass: passes::Pass) -> bool {
        pass(&self.draft).into_iter().any(|proposal| self.take_if_it_fails(proposal))
    }

    /// Takes what can be taken of all that a pass proposes. After a step it goes on from where it is: what was refused
    /// before has its next chance in the next round.
    fn exhaust(&mut self, pass: passes::Pass) {
        let mut proposals = pass(&self.draft);
        let mut next = 0;
        while next < proposals.len() && !self.is_used_up() {
            let proposal = proposals[next].clone();
            let is_new = proposal != self.draft && self.refused.insert(proposal.to_text());
            if is_new && self.take_if_it_fails(proposal) {
                proposals = pass(&self.draft);
            } else {
                next += 1;
            }
        }
    }

    /// Puts a proposal in the place of the draft if it fails in the same way under some seed.
    fn take_if_it_fails(&mut self, proposal: Draft) -> bool {
        let others = (1..=self.task.other_seeds).filter(|seed| *seed != self.seed);
        let seeds: Vec<u64> = [self.seed].into_iter().chain(others).collect();
        let failing = seeds.into_iter().find(|seed| self.fails(&proposal, *seed));
        let Some(seed) = failing else { return false };
        (self.seed, self.draft) = (seed, proposal);
        true
    }

    fn fails(&mut self, draft: &Draft, seed: u64) -> bool {
        self.result(draft, seed).is_some_and(|(_, same)| same)
    }

    /// What the scenario breaks before anything is taken from it; nothing, where it does not fail any more.
    fn broken_at_first(&mut self) -> BTreeSet<String> {
        let (draft, seed) = (self.draft.clone(), self.seed);
        let result = self.result(&draft, seed);
        result.map(|(result, _)| broken(&result).collect()).unwrap_or_default()
    }

    /// A run of the draft, and whether it fails with the signature, and not because nobody serves any more. `None`: it is
    /// no scenario.
    fn result(&mut self, draft: &Draft, seed: u64) -> Option<(RunResult, bool)> {
        let scenario = draft.scenario(self.task.path).ok()?;
        self.runs += 1;
        let result = (self.run)(&scenario, self.task.profile, seed);
        let is_same = is_same(&result, &scenario, &self.task.signature);
        let same = is_same && broken(&result).all(|invariant| self.broken.contains(&invariant));
        Some((result, same))
    }

    fn is_used_up(&self) -> bool {
        self.runs >= self.task.most_runs
    }
}
