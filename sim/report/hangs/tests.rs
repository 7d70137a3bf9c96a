//! What people read of a matrix: its lines, how its shutdowns went, and how to run one cell again.

use std::time::Duration;

use gateway::env::{Pid, Signal};

use super::*;
use crate::cli::ReportOptions;
use crate::scenario::Cell;
use crate::timeline::EventHash;
use crate::verdict::{Expected, Violation};

const PEERS: [&str; 4] = ["polite", "never-reads", "half-upgrade", "silent-after-connect"];
const SIGNALS: [&str; 2] = ["SIGTERM", "SIGUSR1"];
const SUPERVISORS: [&str; 3] = ["systemd", "container", "none"];

fn run(places: [(&str, &str); 3], seed: u64) -> RunResult {
    RunResult {
        scenario: "scenarios/faults/every-rude-peer.toml".into(),
        cell: Some(Cell::at(places.map(|(axis, value)| (axis.to_string(), value.to_string())))),
        profile: "openclaw-2026.3.2".into(),
        seed,
        verdict: Verdict::Pass,
        as_expected: true,
        expected: Expected::Pass,
        violations: Vec::new(),
        fates: IndexMap::new(),
        shutdowns: vec![shutdown(200 + seed, Some("exit 0"), "drain", 180)],
        virtual_time: Duration::from_secs(1_200),
        wall_time: Duration::from_micros(700),
        events: 100,
        hash: EventHash(seed),
        notes: Vec::new(),
        timeline: Vec::new(),
    }
}

fn shutdown(took_ms: u64, exit: Option<&str>, place: &str, waited_ms: u64) -> Shutdown {
    Shutdown {
        pid: Pid(214),
        signal: Signal::Terminate,
        at_ms: 10_000,
        port_free_ms: exit.map(|_| took_ms),
        ended_ms: exit.map(|_| took_ms),
        exit: exit.map(Into::into),
        up_again_ms: exit.map(|_| took_ms + 1_000),
        starts_refused: if exit.is_some() { 0 } else { 30 },
        longest_wait: Wait { place: place.into(), ms: waited_ms },
    }
}

fn breaks(run: &mut RunResult, invariant: &str) {
    run.violations.push(Violation {
        invariant: invariant.into(),
        message: "The port 18789 was still bound 35.0 s after SIGTERM (budget 2.0 s)".into(),
        explanation: "SIGTERM reached gateway pid 214 at 10.000 s; no work was in flight.".into(),
        last_seen: None,
    });
    run.verdict = Verdict::Fail;
    run.as_expected = run.expected.is_met_by(run.verdict, &run.violations);
}

/// Rude peers are slow, and one of them is for ever so without a supervisor that kills; with `expected`, as expected.
fn matrix(expected: Expected, seeds: u64) -> Vec<RunResult> {
    let mut runs = Vec::new();
    for peer in PEERS {
        for signal in SIGNALS {
            for supervisor in SUPERVISORS {
                for seed in 1..=seeds {
                    let mut run = run([("peer", peer), ("signal", signal), ("supervisor", supervisor)], seed);
                    if peer != "polite" {
                        run.expected = expected.clone();
                        let exit = if supervisor == "container" { "killed by SIGKILL" } else { "exit 0" };
                        let exit = (supervisor != "none" || peer != "half-upgrade").then_some(exit);
                        run.shutdowns.push(shutdown(
                            35_000 + 20 * seed,
                            exit,
                            "after shutdown.started",
                            34_800,
                        ));
                        breaks(&mut run, "port-is-released");
                        if exit.is_none() {
                            breaks(&mut run, "shutdown-within-stop-timeout");
                        }
                    }
                    runs.push(run);
                }
            }
        }
    }
    runs
}

fn report(runs: &[RunResult], explain_expected: bool) -> String {
    let wall_time = Duration::from_micros(18_321);
    crate::report::of_runs(runs, ReportOptions { timeline: false, explain_expected, wall_time, color: false })
}

fn expected() -> Expected {
    Expected::Fail(vec!["port-is-released".into()])
}

#[test]
fn a_matrix_that_came_to_what_was_expected_is_a_line_for_each_status() {
    let told = report(&matrix(expected(), 5), false);
    assert_eq!(told.lines().count(), 4, "{told}");
    let without_evidence = report(&[run([("a", "1"), ("b", "2"), ("c", "3")], 1)], false);
    assert_eq!(without_evidence.lines().count(), 3, "{without_evidence}");
}

#[test]
fn a_matrix_with_everything_in_it() {
    let shown = [
        "== as expected",
        &report(&matrix(expected(), 5), true),
        "== unexpected",
        &report(&matrix(Expected::Pass, 2), false),
    ];
    insta::with_settings!({ snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("report_matrix", shown.join("\n"));
    });
}

#[test]
fn the_table_is_readable_on_a_narrow_terminal() {
    for line in table(&matrix(expected(), 5)).lines() {
        assert!(line.chars().count() <= WIDEST, "{line}");
    }
}

#[test]
fn of_several_shutdowns_the_longest_counts() {
    let mut run = run([("a", "1"), ("b", "2"), ("c", "3")], 1);
    run.shutdowns.push(shutdown(35_000, None, "after shutdown.started", 1_000_000));
    run.shutdowns.push(shutdown(40_000, Some("exit 1"), "drain", 39_000));
    let [port_free, gone, up_again, hangs] = Went::of(&run).words();
    assert_eq!([port_free, gone, up_again], ["never", "never", "never, 30 refused"]);
    assert_eq!(hangs, "1000.0 s after shutdown.started");
    run.shutdowns.clear();
    assert_eq!(Went::of(&run).words()[3], "was not asked to end");
}

#[test]
fn values_are_called_by_the_shorter_list() {
    let all: IndexSet<&str> = ["a", "b", "c", "d"].into_iter().collect();
    let words = |numbers: &[usize]| which(&numbers.iter().copied().collect(), &all);
    assert_eq!([words(&[0]), words(&[0, 3]), words(&[0, 1, 3])], ["a", "a, d", "all but c"]);
    assert_eq!(words(&[0, 1, 2, 3]), "any");
    assert_eq!(which(&BTreeSet::from([0]), &["a"].into_iter().collect()), "a", "there is no other");
}
