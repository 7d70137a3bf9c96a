//! An oracle that nothing can turn red proves nothing: each has a planted defect that it must catch.
//!
//! The scenarios name which defect breaks which invariant, and their own tests show that it does. Here only the
//! table is checked: no oracle and no defect is left out.

use std::collections::BTreeSet;
use std::path::Path;

use gatesim::oracle;
use gatesim::scenario::Scenario;
use gatesim::verdict::{Expected, Verdict};
use gateway::policy::{self, HARDENED, PLANTED_PREFIX};
use libtest_mimic::Trial;

use crate::{corpus, test};

/// The oracle that no defect of the gateway breaks, but a scenario's own expectation.
const EXPECTED_FATES: &str = "expected-fates";

/// The oracles of lives and supervisors, each of which looks at something that no other does.
const ABOUT_LIVES: [&str; 6] = [
    "one-instance-serves",
    "port-is-released",
    "shutdown-within-stop-timeout",
    "no-restart-loop",
    "up-at-the-end",
    "stays-down-after-a-stop",
];

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("oracles: each is turned red by a planted defect", each_is_turned_red),
        test(
            "oracles: each about lives is turned red alone by some planted defect",
            each_is_turned_red_alone,
        ),
        test("oracles: each planted defect is in a scenario", each_defect_is_in_a_scenario),
        test("oracles: expected-fates is turned red by a wrong fate", a_wrong_fate_is_found),
        test("bugs: each names its report and a profile that had it", each_bug_names_its_report),
    ]
}

/// Each planted profile with the invariants that a scenario says it breaks.
fn planted() -> Vec<(String, Vec<String>)> {
    let planted = corpus::scenarios().into_iter().flat_map(|scenario| scenario.expect.outcomes);
    let breaks = |(profile, expected): (String, Expected)| match expected {
        Expected::Fail(invariants) if profile.starts_with(PLANTED_PREFIX) => Some((profile, invariants)),
        _ => None,
    };
    planted.filter_map(breaks).collect()
}

fn each_is_turned_red() {
    let broken: BTreeSet<String> = planted().into_iter().flat_map(|(_, invariants)| invariants).collect();
    let all = oracle::all();
    let unproven: Vec<_> =
        all.iter().map(|oracle| oracle.invariant()).filter(|name| !broken.contains(*name)).collect();
    let known = BTreeSet::from([EXPECTED_FATES]);
    let unproven: BTreeSet<_> = unproven.into_iter().collect();
    assert_eq!(unproven, known, "oracles that no scenario on a planted profile turns red");
}

/// Of the invariants about lives and supervisors. Two oracles that always turn red together are one.
fn each_is_turned_red_alone() {
    let mut unproven = BTreeSet::from(ABOUT_LIVES);
    for scenario in corpus::scenarios() {
        for (profile, expected) in &scenario.expect.outcomes {
            let Expected::Fail(invariants) = expected else { continue };
            let news = invariants.iter().any(|name| unproven.contains(name.as_str()));
            if !news || !profile.starts_with(PLANTED_PREFIX) {
                continue;
            }
            let found = gatesim::run(&scenario, profile, 1).violations;
            let found: BTreeSet<_> = found.iter().map(|violation| violation.invariant.as_str()).collect();
            // What a scenario expects of its messages is no invariant of the gateway.
            let found: Vec<_> = found.into_iter().filter(|name| *name != EXPECTED_FATES).collect();
            if let [alone] = found[..] {
                unproven.remove(alone);
            }
        }
    }
    assert_eq!(unproven, BTreeSet::new(), "oracles that no planted defect turns red alone");
}

fn each_defect_is_in_a_scenario() {
    let used: BTreeSet<String> = planted().into_iter().map(|(profile, _)| profile).collect();
    let unused: Vec<_> = policy::planted_names().filter(|name| !used.contains(*name)).collect();
    assert_eq!(unused, [""; 0], "planted defects that no scenario expects to fail");
}

fn a_wrong_fate_is_found() {
    let verdict = |fate: &str| {
        let text = format!(
            "name = \"a fate\"\n[senders.ann]\n[[steps]]\nat = \"1s\"\ndo = \"send\"\nfrom = \"ann\"\n\
             text = \"hello\"\n[expect]\nfates = {{ \"ann#1\" = \"{fate}\" }}\n"
        );
        let scenario = Scenario::parse(Path::new("fate.toml"), &text).expect("a scenario");
        let run = gatesim::run(&scenario, HARDENED, 1);
        let broken: Vec<_> = run.violations.into_iter().map(|violation| violation.invariant).collect();
        (run.verdict, broken)
    };
    assert_eq!(verdict("replied"), (Verdict::Pass, vec![]));
    assert_eq!(verdict("told"), (Verdict::Fail, vec![EXPECTED_FATES.to_string()]));
}

fn each_bug_names_its_report() {
    for scenario in corpus::bugs() {
        let path = scenario.path.display();
        let file = scenario.path.file_name().expect("a file").to_string_lossy().into_owned();
        let number: String = file.chars().take_while(char::is_ascii_digit).collect();
        assert!(!number.is_empty(), "{path}: the name begins with the number of the report");
        let issue = scenario.issue.clone().unwrap_or_default();
        assert!(issue.ends_with(&format!("#{number}")), "{path}: issue {issue:?} is not number {number}");
        // Where no profile is of a version that had it, a planted defect stands for the mechanism.
        let had_it = |(_, expected): (&String, &Expected)| matches!(expected, Expected::Fail(_));
        assert!(
            scenario.expect.outcomes.iter().any(had_it),
            "{path}: no profile of history or planted had it"
        );
        assert_eq!(scenario.expect.outcomes.get(HARDENED), Some(&Expected::Pass), "{path}");
    }
}
