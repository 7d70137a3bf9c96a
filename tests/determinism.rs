//! Same build, scenario and seed: the same events, in any process and whatever ran before.

use std::collections::BTreeMap;

use gatesim::scenario::Scenario;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::command::gatesim_command;
use crate::{corpus, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("determinism: two processes tell the same", two_processes_tell_the_same),
        test("determinism: what ran before does not matter", what_ran_before_does_not_matter),
        test("determinism: another seed is another run", another_seed_is_another_run),
    ]
}

fn two_processes_tell_the_same() {
    let report = || {
        let told = gatesim_command(&["run", "scenarios", "--seeds", "2", "--format", "json"]);
        let mut report: Value = serde_json::from_str(&told.out).expect("JSON");
        for run in report["runs"].as_array_mut().expect("runs") {
            let run = run.as_object_mut().expect("a run");
            assert!(run.remove("wall_us").is_some_and(|time| time.is_u64()), "wall time is told");
        }
        report
    };
    let (one, other) = (report(), report());
    let runs = |report: &Value| report["runs"].as_array().expect("runs").clone();
    for (one, other) in runs(&one).iter().zip(&runs(&other)) {
        assert_eq!(one, other);
    }
    assert_eq!(one, other);

    // This process is a third one.
    let mut hashes = BTreeMap::new();
    for run in runs(&one) {
        let text = |key: &str| run[key].as_str().expect("text").to_string();
        hashes.insert((text("scenario"), text("profile"), run["seed"].as_u64()), text("hash"));
    }
    for (scenario, profile) in corpus::with_profiles() {
        for seed in 1..=2 {
            let key = (scenario.path.display().to_string(), profile.clone(), Some(seed));
            let here = gatesim::run(&scenario, &profile, seed).hash.to_string();
            assert_eq!(hashes.get(&key), Some(&here), "{key:?}");
        }
    }
}

fn what_ran_before_does_not_matter() {
    let plan = corpus::with_profiles();
    let hash = |(scenario, profile): &(Scenario, String)| gatesim::run(scenario, profile, 3).hash.to_string();
    let forwards: Vec<_> = plan.iter().map(hash).collect();
    let mut backwards: Vec<_> = plan.iter().rev().map(hash).collect();
    backwards.reverse();
    for ((scenario, profile), (one, other)) in plan.iter().zip(forwards.iter().zip(&backwards)) {
        assert_eq!(one, other, "{} on {profile}, seed 3", scenario.path.display());
    }
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
