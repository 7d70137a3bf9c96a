//! What a person reads about each bug: the timeline and the explanation, on the profile that had it and on hardened.

use gatesim::report::{text, timeline};
use gatesim::scenario::Scenario;
use gateway::policy::HARDENED;
use libtest_mimic::Trial;

use crate::{corpus, test};

/// The profile whose bugs these are.
const HISTORY: &str = "openclaw-2026.3.2";
const SEED: u64 = 1;

pub(crate) fn tests() -> Vec<Trial> {
    let both = |scenario: Scenario| [HARDENED, HISTORY].map(|profile| (scenario.clone(), profile));
    let test_of = |(scenario, profile): (Scenario, &'static str)| {
        let name = format!("timeline of {} on {profile}", corpus::name(&scenario));
        test(name, move || reads_as_before(&scenario, profile))
    };
    corpus::bugs().into_iter().flat_map(both).map(test_of).collect()
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
    insta::with_settings!({
        snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true,
    }, {
        insta::assert_snapshot!(format!("timeline_{file}_{profile}"), shown);
    });
}
