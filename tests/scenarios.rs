//! Every scenario under each of its profiles comes to what it says, over a few seeds.

use std::ops::RangeInclusive;

use gatesim::report::text;
use gatesim::scenario::Scenario;
use libtest_mimic::{Failed, Trial};

use crate::corpus;

/// The seeds that every scenario is run with.
pub(crate) const SEEDS: RangeInclusive<u64> = 1..=5;

pub(crate) fn tests() -> Vec<Trial> {
    let test = |(scenario, profile): (Scenario, String)| {
        let name = format!("scenario {} on {profile}", corpus::name(&scenario));
        Trial::test(name, move || comes_to_what_it_says(&scenario, &profile))
    };
    corpus::with_profiles().into_iter().map(test).collect()
}

fn comes_to_what_it_says(scenario: &Scenario, profile: &str) -> Result<(), Failed> {
    let runs: Vec<_> = SEEDS.map(|seed| gatesim::run(scenario, profile, seed)).collect();
    if runs.iter().all(|run| run.as_expected) {
        return Ok(());
    }
    Err(Failed::from(format!("\n{}\n{}", text::table(&runs), text::explanations(&runs, false))))
}
