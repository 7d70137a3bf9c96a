//! Every scenario under each of its profiles comes to what it says, over a few seeds.

use std::collections::BTreeMap;

use gatesim::report::text;
use gatesim::scenario::Scenario;
use libtest_mimic::{Failed, Trial};

use crate::{corpus, events};

pub(crate) fn tests() -> Vec<Trial> {
    let mut files: BTreeMap<(String, String), Vec<Scenario>> = BTreeMap::new();
    for (scenario, profile) in corpus::with_profiles() {
        files.entry((corpus::name(&scenario), profile)).or_default().push(scenario);
    }
    let test = |((name, profile), cells): ((String, String), Vec<Scenario>)| {
        Trial::test(format!("scenario {name} on {profile}"), move || comes_to_what_it_says(&cells, &profile))
    };
    files.into_iter().map(test).collect()
}

fn comes_to_what_it_says(cells: &[Scenario], profile: &str) -> Result<(), Failed> {
    let runs_of = |cell| corpus::seeds(cell).map(move |seed| gatesim::run(cell, profile, seed));
    let runs: Vec<_> = cells.iter().flat_map(runs_of).collect();
    events::saw(&runs);
    if runs.iter().all(|run| run.as_expected) {
        return Ok(());
    }
    Err(Failed::from(format!("\n{}\n{}", text::table(&runs), text::explanations(&runs, false))))
}
