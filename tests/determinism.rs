//! Same build, scenario and seed: the same events, in any process and whatever ran before.

use std::collections::BTreeMap;

use gatesim::scenario::Scenario;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::command::gatesim_command;
use crate::{corpus, test};

/// The seed that processes and orders are compared with.
const SEED: u64 = 1;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("determinism: two processes tell the same", two_processes_tell_the_same),
        test("determinism: what ran before does not matter", what_ran_before_does_not_matter),
        test("determinism: another seed is another run", another_seed_is_another_run),
    ]
}

/// What `gatesim run scenarios` tells, without the time it took.
fn report() -> Value {
    let told = gatesim_command(&["run", "scenarios", "--format", "json"]);
    let mut report: Value = serde_json::from_str(&told.out).expect("JSON");
    for run in report["runs"].as_array_mut().expect("runs") {
        let run = run.as_object_mut().expect("a run");
        assert!(run.remove("wall_us").is_some_and(|time| time.is_u64()), "wall time is told");
    }
    report
}

fn two_processes_tell_the_same() {
    let (one, other) = (report(), report());
    let runs = |report: &Value| report["runs"].as_array().expect("runs").clone();
    for (one, other) in runs(&one).iter().zip(&runs(&other)) {
        assert_eq!(one, other);
    }
    assert_eq!(one, other);

    // This process is a third one, and it goes through them in the opposite order.
    let mut hashes = BTreeMap::new();
    for run in runs(&one) {
        let text = |key: &str| run[key].as_str().expect("text").to_string();
        let cell = run["cell"].as_object().map(|cell| Value::from(cell.clone()).to_string());
        hashes.insert((text("scenario"), cell, text("profile")), text("hash"));
    }
    let plan = corpus::sample_with_profiles();
    assert!(hashes.len() >= plan.len());
    for (scenario, profile) in plan.iter().rev() {
        let cell = scenario.cell.as_ref().map(|cell| serde_json::json!(cell).to_string());
        let run = (scenario.path.display().to_string(), cell, profile.clone());
        assert_eq!(hashes.get(&run), Some(&hash(scenario, profile)), "{run:?}");
    }
}

/// Each run once more after all the others: nothing that a run leaves behind may reach another.
fn what_ran_before_does_not_matter() {
    let plan = corpus::sample_with_profiles();
    let mixed = plan.iter().step_by(4);
    let first: Vec<_> = mixed.clone().map(|(scenario, profile)| hash(scenario, profile)).collect();
    for ((scenario, profile), first) in mixed.zip(&first) {
        assert_eq!(&hash(scenario, profile), first, "{} on {profile}", scenario.path.display());
    }
}

fn hash(scenario: &Scenario, profile: &str) -> String {
    gatesim::run(scenario, profile, SEED).hash.to_string()
}

fn another_seed_is_another_run() {
    let has_ranges = |scenario: &Scenario| {
        let text = std::fs::read_to_string(&scenario.path).expect("it was read before");
        text.lines().any(|line| line.contains("s..") && !line.starts_with('#'))
    };
    let with_ranges: Vec<_> = corpus::scenarios().into_iter().filter(has_ranges).collect();
    assert!(with_ranges.len() > 3, "{} scenarios draw from the seed", with_ranges.len());
    for scenario in with_ranges {
        let hash = |seed| gatesim::run(&scenario, "hardened", seed).hash.to_string();
        assert_ne!(hash(1), hash(2), "{}", scenario.path.display());
    }
}
