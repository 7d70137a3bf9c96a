//! A campaign that ends with its first failure: the one with the lowest seed, whoever of the threads was quicker.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Campaign, Explored, Failure, ROUND, Weights, one};
use crate::search::{Run, Signature};
use crate::verdict::Verdict;
use crate::workers;

/// What a campaign came to up to its first failure.
#[derive(Debug)]
pub struct Pursuit {
    /// The runs of all seeds up to that of the failure.
    pub explored: Explored,
    /// The failure, if there was one.
    pub found: Option<(Signature, Failure)>,
}

/// Explores until a run fails. Seeds go in the same rounds as in [`super::explore`], and draw the same.
pub fn pursue(run: Run<'_>, campaign: &Campaign<'_>) -> Pursuit {
    let mut explored = Explored::default();
    let mut weights = Weights::default();
    let last = campaign.first_seed.saturating_add(campaign.seeds);
    let mut next = campaign.first_seed;
    let lowest = AtomicU64::new(u64::MAX);
    while next < last && lowest.load(Ordering::Relaxed) == u64::MAX && !(campaign.is_over)() {
        let seeds: Vec<u64> = (next..last.min(next.saturating_add(ROUND))).collect();
        next += seeds.len() as u64;
        let outcomes = workers::in_order(&seeds, campaign.threads, &|seed: &u64| {
            // Seeds are begun in their order: whatever is below a failure has been begun before it was known.
            if *seed > lowest.load(Ordering::Relaxed) || (campaign.is_over)() {
                return None;
            }
            let outcome = one(run, campaign.profile, *seed, campaign.draw(*seed, &weights));
            if outcome.verdict == Verdict::Fail && outcome.signature.is_some() {
                lowest.fetch_min(*seed, Ordering::Relaxed);
            }
            Some(outcome)
        });
        for outcome in outcomes.into_iter().flatten() {
            if outcome.seed <= lowest.load(Ordering::Relaxed) {
                weights.learn(&outcome.coverage);
                explored.add(outcome);
            }
        }
    }
    let lowest = lowest.into_inner();
    let found = explored.failures.iter().find(|(_, failure)| failure.seed == lowest);
    let found = found.map(|(signature, failure)| (signature.clone(), failure.clone()));
    Pursuit { found, explored }
}
