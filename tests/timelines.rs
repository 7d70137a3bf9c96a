//! What a person reads about each bug: the timeline and the explanation, on the profiles that had it and on hardened.

use gatesim::report::{text, timeline};
use gatesim::scenario::Scenario;
use libtest_mimic::Trial;

use crate::{corpus, test};

const SEED: u64 = 1;

pub(crate) fn tests() -> Vec<Trial> {
    let is_bug = |(scenario, _): &(Scenario, String)| scenario.path.starts_with(corpus::BUGS);
    let test_of = |(scenario, profile): (Scenario, String)| {
        let cell = scenario.cell.as_ref().map(|cell| format!("[{cell}]")).unwrap_or_default();
        let name = format!("timeline of {}{cell} on {profile}", corpus::name(&scenario));
        test(name, move || reads_as_before(&scenario, &profile))
    };
    corpus::with_profiles().into_iter().filter(is_bug).map(test_of).collect()
}

fn reads_as_before(scenario: &Scenario, profile: &str) {
    let run = gatesim::run(scenario, profile, SEED);
    let options = timeline::TimelineOptions::default();
    let shown = format!(
        "{}\n{}\n{}",
        text::title(&run),
        timeline::render(&run.timeline, &options),
        text::explanations(&[run], true)
    );
    let file = scenario.path.file_stem().expect("a file").to_string_lossy().into_owned();
    let cell = scenario.cell.as_ref().map(|cell| format!("_{cell}")).unwrap_or_default();
    insta::with_settings!({
        snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true,
    }, {
        insta::assert_snapshot!(format!("timeline_{file}{cell}_{profile}"), shown);
    });
}
