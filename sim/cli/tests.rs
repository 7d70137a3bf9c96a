//! The command from arguments to exit status, with a stand-in for the simulator.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::determinism::Trace;
use crate::scenario::Scenario;
use crate::timeline::{Event, EventHash, Fact, Source};
use crate::verdict::Verdict;

/// What a command came to.
struct Outcome {
    status: u8,
    out: String,
    err: String,
}

/// Runs `gatesim run ARGS` in a world where `run` makes the runs.
fn gatesim_with(run: Run<'_>, args: &[&str]) -> Outcome {
    let report = |results: &[RunResult], options: ReportOptions| {
        format!("{} runs, timeline {}\n", results.len(), options.timeline)
    };
    let traced =
        |scenario: &Scenario, profile: &str, seed: u64| (run(scenario, profile, seed), Trace::default());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let streams = Streams { out: &mut out, err: &mut err, out_color: false, err_color: false };
    let parts = Parts { run, run_without_timeline: run, traced: &traced, report: &report };
    let status = main(["gatesim"].iter().chain(args), &parts, streams);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Outcome { status, out: text(out), err: text(err) }
}

fn gatesim(args: &[&str]) -> Outcome {
    gatesim_with(&came_to(Verdict::Pass), args)
}

/// A stand-in whose every run comes to `verdict`.
fn came_to(verdict: Verdict) -> impl Fn(&Scenario, &str, u64) -> RunResult + Sync {
    move |scenario, profile, seed| {
        let expected = scenario.expect.under(profile);
        RunResult {
            verdict,
            as_expected: expected.is_met_by(verdict, &[]),
            expected,
            events: 1,
            hash: EventHash(seed),
            timeline: vec![Event { at: Duration::ZERO, source: Source::World, fact: Fact::RunEnded }],
            notes: Vec::new(),
            ..RunResult::error(scenario, profile, seed, String::new())
        }
    }
}

const GOOD: &str =
    "name = \"x\"\n[expect]\noutcomes = { \"openclaw-2026.3.2\" = \"inconclusive\", hardened = \"pass\" }\n";

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_plan_takes_every_file_once_in_order_with_its_profiles_and_seeds() {
    let folder = folder(&[("b/two.toml", "name = \"two\""), ("a/one.toml", GOOD), ("a/notes.md", "no")]);
    let two = folder.path().join("b/two.toml");
    let roundabout = folder.path().join("a/../b/two.toml");
    let paths = [text(folder.path()), text(&two), text(&roundabout)];
    let listed = gatesim(&[&["run"], &paths[..], &["--list", "--seed", "7", "--seeds", "2"]].concat());
    assert_eq!((listed.status, listed.err.as_str()), (0, ""));
    let root = format!("{}/", text(folder.path()));
    assert_eq!(
        listed.out.replace(&root, ""),
        "a/one.toml  openclaw-2026.3.2  seed 7  inconclusive\n\
         a/one.toml  openclaw-2026.3.2  seed 8  inconclusive\n\
         a/one.toml  hardened           seed 7  pass\n\
         a/one.toml  hardened           seed 8  pass\n\
         b/two.toml  hardened           seed 7  pass\n\
         b/two.toml  hardened           seed 8  pass\n"
    );
}

#[test]
fn profiles_asked_for_replace_those_of_the_scenario_and_are_expected_to_pass() {
    let folder = folder(&[("one.toml", GOOD)]);
    let args = ["run", text(folder.path()), "--list", "--format", "json"];
    let planted = ["--profile", "planted:always-ready", "--profile", "planted:always-ready"];
    let listed = gatesim(&[&args[..], &planted[..]].concat());
    let plan: Value = serde_json::from_str(&listed.out).expect("JSON");
    let [run] = &plan["plan"].as_array().expect("a list")[..] else { panic!("{plan}") };
    assert_eq!((&run["profile"], &run["expected"]), (&"planted:always-ready".into(), &"pass".into()));
}

const MATRIX: &str = "name = \"${a} ${b}\"\n[matrix]\na = [1, 2]\nb = [\"x\", \"y\"]\n\
    [[cells]]\nwhen = { a = 2, b = \"y\" }\nskip = \"why\"\n\
    [[cells]]\nwhen = { a = 2 }\noutcomes = { \"openclaw-2026.3.2\" = \"inconclusive\" }\n";

#[test]
fn a_plan_has_every_cell_by_profile_then_cell_then_seed() {
    let folder = folder(&[("m.toml", MATRIX)]);
    let listed = gatesim(&["run", text(folder.path()), "--list", "--seeds", "2"]);
    let root = format!("{}/", text(folder.path()));
    assert_eq!(
        listed.out.replace(&root, ""),
        "m.toml[a=1,b=x]  hardened           seed 1  pass\n\
         m.toml[a=1,b=x]  hardened           seed 2  pass\n\
         m.toml[a=1,b=y]  hardened           seed 1  pass\n\
         m.toml[a=1,b=y]  hardened           seed 2  pass\n\
         m.toml[a=2,b=x]  hardened           seed 1  pass\n\
         m.toml[a=2,b=x]  hardened           seed 2  pass\n\
         m.toml[a=2,b=x]  openclaw-2026.3.2  seed 1  inconclusive\n\
         m.toml[a=2,b=x]  openclaw-2026.3.2  seed 2  inconclusive\n"
    );
}

#[test]
fn cells_are_chosen_by_as_many_axes_as_matter() {
    let folder = folder(&[("m.toml", MATRIX), ("one.toml", "name = \"x\"")]);
    let chosen = |args: &[&str]| {
        let listed = gatesim(&[&["run", text(folder.path()), "--list", "--format", "json"], args].concat());
        let listed: Value = serde_json::from_str(&listed.out).expect("JSON");
        let cell = |run: &Value| match run.get("cell") {
            Some(cell) => format!("{}{}", cell["a"].as_str().expect("a"), cell["b"].as_str().expect("b")),
            None => "none".to_string(),
        };
        let cells: Vec<_> = listed["plan"].as_array().expect("a list").iter().map(cell).collect();
        cells.join(" ")
    };
    assert_eq!(chosen(&["--profile", "hardened"]), "1x 1y 2x none");
    assert_eq!(chosen(&["--profile", "hardened", "--cell", "a=1"]), "1x 1y");
    assert_eq!(chosen(&["--profile", "hardened", "--cell", "a=1,b=y", "--cell", "a=2"]), "1y 2x");
    assert_eq!(chosen(&["--profile", "hardened", "--cell", "a=1,a=2,b=x"]), "1x 2x");
}

#[test]
fn a_cell_that_nobody_has_is_bad_input() {
    let folder = folder(&[("m.toml", MATRIX), ("sub/one.toml", "name = \"x\"")]);
    let refused = |path: &Path, cell: &str| {
        let refused = gatesim(&["run", text(path), "--cell", cell]);
        assert_eq!((refused.status, refused.out.as_str()), (3, ""), "{cell}");
        refused.err
    };
    for (cell, says) in [
        ("a", "`a` is not `AXIS=VALUE`"),
        ("c=1", "no matrix has the axis `c`"),
        ("a=1,b=z", "the axis `b` has no value `z`"),
        ("a=2,b=y", "there is no cell `a=2,b=y`"),
    ] {
        let err = refused(folder.path(), cell);
        assert!(err.contains(says), "{cell}: {err}");
    }
    let err = refused(&folder.path().join("sub"), "a=1");
    assert!(err.contains("no scenario here has a matrix"), "{err}");
}

#[test]
fn results_come_in_the_order_of_the_plan_on_any_number_of_threads() {
    let folder = folder(&[("m.toml", MATRIX)]);
    let dawdling = |scenario: &Scenario, profile: &str, seed: u64| {
        std::thread::sleep(Duration::from_millis((seed * 7) % 5));
        came_to(Verdict::Pass)(scenario, profile, seed)
    };
    let report = |jobs: &str| {
        let args = ["run", text(folder.path()), "--seeds", "20", "--format", "json", "--jobs", jobs];
        gatesim_with(&dawdling, &args).out
    };
    assert_eq!(report("1"), report("3"));
    assert_eq!(report("1"), report("1000"));
}

#[test]
fn every_bad_input_is_reported_and_nothing_is_run() {
    let folder = folder(&[("a.toml", "stepps = 1"), ("b.toml", GOOD), ("c.toml", ""), ("d/e.txt", "")]);
    let runs = AtomicU64::new(0);
    let counting = |scenario: &Scenario, profile: &str, seed: u64| {
        runs.fetch_add(1, Ordering::Relaxed);
        came_to(Verdict::Pass)(scenario, profile, seed)
    };
    let bad =
        gatesim_with(&counting, &["run", text(folder.path()), text(&folder.path().join("nowhere.toml"))]);
    assert_eq!((bad.status, bad.out.as_str(), runs.load(Ordering::Relaxed)), (3, "", 0));
    for part in ["a.toml:1:1", "did you mean `steps`?", "c.toml", "nowhere.toml"] {
        assert!(bad.err.contains(part), "{part} is missing in:\n{}", bad.err);
    }
    let empty = gatesim(&["run", text(&folder.path().join("d"))]);
    assert_eq!(empty.status, 3);
    assert!(empty.err.contains("there is no scenario in"), "{}", empty.err);
}

#[test]
fn mistakes_on_the_command_line_are_bad_input_and_help_is_not() {
    let folder = folder(&[("b.toml", GOOD)]);
    let path = text(folder.path());
    let nope = gatesim(&["run", path, "--profile", "hardend"]);
    assert_eq!(nope.status, 3);
    assert!(nope.err.contains("did you mean `hardened`?"), "{}", nope.err);
    let last = u64::MAX.to_string();
    for args in [
        &["run"][..],
        &["run", path, "--seeds", "0"],
        &["run", path, "--jobs", "0"],
        &["run", path, "--seed", "-1"],
        &["run", path, "--seeds", "1000000"],
        &["run", path, "--format", "json", "--timeline"],
        &["walk"],
        &[],
        &["run", path, "--seed", &last, "--seeds", "2"],
    ] {
        let mistake = gatesim(args);
        assert_eq!(mistake.status, 3, "{args:?}");
        assert!(!mistake.err.is_empty() && mistake.out.is_empty(), "{args:?}");
    }
    for args in [["--help"], ["--version"], ["schema"], ["profiles"]] {
        let answer = gatesim(&args);
        assert_eq!((answer.status, answer.err.as_str()), (0, ""), "{args:?}");
        assert!(!answer.out.is_empty(), "{args:?}");
    }
    assert_eq!(gatesim(&["run", path, "--seed", &last, "--list"]).out.lines().count(), 2);
}

#[test]
fn the_exit_status_follows_the_worst_run() {
    let folder = folder(&[("one.toml", "name = \"x\"")]);
    let status = |verdict| gatesim_with(&came_to(verdict), &["run", text(folder.path())]).status;
    assert_eq!(status(Verdict::Pass), 0);
    assert_eq!(status(Verdict::Fail), 1);
    assert_eq!(status(Verdict::Inconclusive), 2);
    assert_eq!(status(Verdict::Error), 3);
}

#[test]
fn json_holds_runs_and_a_summary() {
    let folder = folder(&[("one.toml", GOOD)]);
    let report =
        gatesim_with(&came_to(Verdict::Inconclusive), &["run", text(folder.path()), "--format", "json"]);
    assert_eq!(report.status, 2);
    let report: Value = serde_json::from_str(&report.out).expect("JSON");
    let expected =
        serde_json::json!({ "runs": 2, "as_expected": 1, "unexpected": 0, "inconclusive": 1, "error": 0 });
    assert_eq!(report["summary"], expected);
    assert_eq!(report["runs"][1]["hash"], "0000000000000001");
}

#[test]
fn two_runs_that_differ_are_an_error_that_names_the_event() {
    let folder = folder(&[("one.toml", "name = \"x\"")]);
    let args = ["run", text(folder.path()), "--check-determinism", "--format", "json"];
    assert_eq!(gatesim(&args).status, 0);

    let turn = AtomicU64::new(0);
    let unsteady = |scenario: &Scenario, profile: &str, seed: u64| {
        let mut result = came_to(Verdict::Pass)(scenario, profile, seed);
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let fact = Fact::Remarked { what: format!("turn {turn}") };
        result.timeline.push(Event { at: Duration::from_millis(5), source: Source::World, fact });
        result.hash = EventHash(turn);
        result
    };
    let report = gatesim_with(&unsteady, &args);
    assert_eq!(report.status, 3);
    let report: Value = serde_json::from_str(&report.out).expect("JSON");
    let note = report["runs"][0]["notes"][0].as_str().expect("a note");
    for part in ["from event 1 on", "turn 0", "turn 1"] {
        assert!(note.contains(part), "{part} is missing in {note}");
    }
    // The stand-in's worlds do nothing at all, so there is nothing to see in their traces.
    let diagnosis = report["runs"][0]["notes"][1].as_str().expect("another one");
    assert!(diagnosis.contains("all the same, step by step"), "{diagnosis}");
}

/// A reader who has left.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_closed_pipe_is_no_error_and_hides_none() {
    let folder = folder(&[("one.toml", "name = \"x\"")]);
    let run = came_to(Verdict::Fail);
    let traced = |_: &Scenario, _: &str, _: u64| unreachable!("nobody asks whether runs differ");
    let report = |_: &[RunResult], _| "a line\n".to_string();
    let parts = Parts { run: &run, run_without_timeline: &run, traced: &traced, report: &report };
    for (args, status) in [(&["gatesim", "profiles"][..], 0), (&["gatesim", "run", text(folder.path())], 1)] {
        let mut err = Vec::new();
        let streams = Streams { out: &mut Closed, err: &mut err, out_color: false, err_color: false };
        assert_eq!((main(args, &parts, streams), err.len()), (status, 0), "{args:?}");
    }
}

#[test]
fn profiles_say_what_they_choose_differently() {
    let listed = gatesim(&["profiles"]).out;
    assert!(listed.starts_with("hardened\nopenclaw-2026.3.2\n  "), "{listed}");
    assert!(listed.contains("\nplanted:recovery-skipped\n  recovery = \"skip\"\n"), "{listed}");
}

/// The scenarios in a Markdown text.
fn examples(markdown: &str) -> Vec<&str> {
    let blocks = markdown.split("```toml\n").skip(1);
    blocks.map(|block| block.split_once("```").expect("the end of a block").0).collect()
}

#[test]
fn the_examples_of_the_documentation_run_as_they_say() {
    let documents =
        [include_str!("../../README.md"), include_str!("../../docs/scenario-language.md")].map(examples);
    assert_eq!(documents.each_ref().map(Vec::len), [1, 7]);
    for example in documents.into_iter().flatten() {
        let folder = folder(&[("example.toml", example)]);
        let run = gatesim_with(&crate::run, &["run", text(folder.path()), "--seeds", "5"]);
        assert_eq!((run.status, run.err.as_str()), (0, ""), "{example}");
    }
}

/// `gatesim explore ARGS` with a stand-in for the simulator.
fn explored(verdict: Verdict, args: &[&str]) -> Outcome {
    gatesim_with(&came_to(verdict), &[&["explore", "--jobs", "2"], args].concat())
}

#[test]
fn an_exploration_says_what_came_of_it_and_shards_add_up_to_the_whole() {
    let whole = explored(Verdict::Pass, &["--seeds", "20", "--format", "json"]);
    assert_eq!(whole.status, 0, "{}", whole.err);
    let folder = folder(&[]);
    let mut files = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let part = explored(Verdict::Pass, &["--seeds", "20", "--shard", shard, "--format", "json"]);
        let file = folder.path().join(shard.replace('/', "-"));
        std::fs::write(&file, part.out).expect("can be written");
        files.push(file.display().to_string());
    }
    let names: Vec<&str> = files.iter().map(String::as_str).collect();
    let merged = gatesim(&[&["merge", "--format", "json"], &names[..]].concat());
    assert_eq!(merged.status, 0, "{}", merged.err);
    let (whole, merged) =
        [whole, merged].map(|outcome| outcome.out.parse::<Value>().expect("is JSON")).into();
    for key in ["runs", "green", "events", "never"] {
        assert_eq!(whole[key], merged[key], "{key}");
    }
    let twice = gatesim(&["merge", names[0], names[0]]);
    assert_eq!(twice.status, BAD_INPUT);
    assert!(twice.err.contains("seeds from 1 on are in two of them"), "{}", twice.err);
}

#[test]
fn an_exploration_in_which_something_fails_or_breaks_says_so_by_its_status() {
    assert_eq!(explored(Verdict::Fail, &["--seeds", "3"]).status, 1);
    assert_eq!(explored(Verdict::Inconclusive, &["--seeds", "3"]).status, 0);
    assert_eq!(explored(Verdict::Error, &["--seeds", "3"]).status, BAD_INPUT);
}

#[test]
fn what_each_seed_draws_can_be_listed_and_read() {
    let listed = explored(Verdict::Pass, &["--seed", "7", "--seeds", "1", "--list"]);
    assert!(listed.out.starts_with("# seed 7: "), "{}", listed.out);
    Scenario::parse(Path::new("x.toml"), &listed.out).expect("is a scenario");
}

#[test]
fn an_exploration_refuses_nonsense() {
    let refused = |args: &[&str], because: &str| {
        let outcome = explored(Verdict::Pass, args);
        assert_eq!(outcome.status, BAD_INPUT, "{args:?}");
        assert!(outcome.err.contains(because), "{args:?}: {}", outcome.err);
    };
    refused(&["--profile", "hardend"], "did you mean `hardened`?");
    refused(&["--shard", "5/4"], "as in 1/4");
    refused(&["--shard", "0/4"], "as in 1/4");
    refused(&["--seeds", "2", "--shard", "1/4"], "there are no seeds for part 1 of 4");
    refused(&["--seeds", "0"], "0 is not in 1..");
    refused(&["--for", "soon"], "invalid value 'soon'");
    refused(&["nowhere.toml"], "there is no such file");
    let merged = gatesim(&["merge", "nowhere.json"]);
    assert_eq!(merged.status, BAD_INPUT);
    assert!(merged.err.contains("cannot use nowhere.json"), "{}", merged.err);
}

/// `gatesim defects ARGS` with the simulator.
fn hunted(args: &[&str]) -> Outcome {
    gatesim_with(&crate::run, &[&["defects", "--most-runs", "25"], args].concat())
}

/// The table without what the clock on the wall says.
fn without_times(outcome: &Outcome) -> Value {
    let mut table: Value = outcome.out.parse().expect("is JSON");
    table["wall_ms"] = Value::Null;
    for hunted in table["results"].as_array_mut().expect("is a list") {
        hunted["search_ms"] = Value::Null;
        hunted["found"]["shrink_ms"] = Value::Null;
    }
    table
}

#[test]
fn defects_are_found_and_shown_in_the_same_order_however_many_are_looked_for_at_a_time() {
    let names = ["pre-stop-skipped", "planted:lock-never-stale", "recovery-reruns-everything"];
    let with =
        |jobs: &str| hunted(&[&names[..], &["--seeds", "64", "--jobs", jobs, "--format", "json"]].concat());
    let (one, three) = (with("1"), with("3"));
    let table = without_times(&one);
    assert_eq!(table, without_times(&three));
    assert_eq!((one.status, &table["found"]), (0, &3.into()), "{}", one.out);
    let order: Vec<_> =
        table["results"].as_array().expect("is a list").iter().map(|one| &one["area"]).collect();
    assert_eq!(order, ["locks", "recovery", "hooks"]);
    for hunted in table["results"].as_array().expect("is a list") {
        let shrunk = hunted["found"]["shrunk"].as_str().expect("is text");
        Scenario::parse(Path::new("x.toml"), shrunk).expect("is a scenario");
        assert!(hunted["choices"][0]["meaning"].is_string(), "{hunted}");
    }
    assert!(one.err.contains("lock-never-stale "), "each is told of as soon as it is known: {}", one.err);
}

#[test]
fn a_defect_that_is_not_found_is_said_to_be_missing() {
    let outcome = gatesim_with(&came_to(Verdict::Pass), &["defects", "always-ready", "--seeds", "3"]);
    assert_eq!(outcome.status, 1);
    assert!(outcome.out.contains("planted:always-ready was not found in 3 seeds."), "{}", outcome.out);
    assert!(outcome.out.contains("0 of 1 defects found within 3 seeds"), "{}", outcome.out);
}

#[test]
fn what_is_found_is_kept_as_bundles() {
    let folder = folder(&[]);
    let args = ["lock-never-stale", "--seeds", "64", "--save", text(folder.path())];
    let outcome = hunted(&args);
    assert_eq!(outcome.status, 0, "{}{}", outcome.out, outcome.err);
    let bundle = folder.path().join("lock-never-stale");
    let replayed = gatesim_with(&crate::run, &["replay", text(&bundle)]);
    assert_eq!(replayed.status, 0, "{}{}", replayed.out, replayed.err);
}

#[test]
fn a_search_for_defects_refuses_nonsense() {
    let refused = |args: &[&str], because: &str| {
        let outcome = hunted(args);
        assert_eq!(outcome.status, BAD_INPUT, "{args:?}");
        assert!(outcome.err.contains(because), "{args:?}: {}", outcome.err);
    };
    refused(&["allways-ready"], "did you mean `always-ready`?");
    refused(&["planted:everything-is-wrong-here"], "`gatesim profiles` lists them");
    refused(&["hardened"], "unknown defect `hardened`");
    refused(&["--seeds", "0"], "0 is not in 1..");
    refused(&["--seed", "18446744073709551615"], "there are no 1000 seeds");
}
