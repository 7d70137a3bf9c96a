//! The real binary as a new user meets it: what is wrong gets one clear error and exit status 3.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::test;

/// What a command came to.
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `gatesim ARGS` as a process of its own.
pub(crate) fn gatesim_command(args: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_gatesim")).args(args).output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Outcome { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A file that cannot be used, and what its error must say.
struct BadFile {
    name: &'static str,
    text: &'static str,
    says: &'static [&'static str],
}

const BAD_FILES: &[BadFile] = &[
    BadFile {
        name: "typo.toml",
        text: "name = \"x\"\n[[stepps]]\nat = \"1s\"\ndo = \"kill\"\n",
        says: &["stepps", "did you mean `steps`?"],
    },
    BadFile {
        name: "typo-in-a-step.toml",
        text: "name = \"x\"\n[[steps]]\nat = \"1s\"\ndo = \"kil\"\n",
        says: &["kil", "did you mean `kill`?"],
    },
    BadFile { name: "empty.toml", text: "", says: &["name"] },
    BadFile {
        name: "negative-time.toml",
        text: "name = \"x\"\n[[steps]]\nat = \"-1s\"\ndo = \"kill\"\n",
        says: &["negative"],
    },
    BadFile { name: "broken.toml", text: "name = \"x\"\n[steps\nat = 1\n", says: &["not TOML"] },
    BadFile {
        name: "unknown-profile.toml",
        text: "name = \"x\"\n[expect]\noutcomes = { hardend = \"pass\" }\n",
        says: &["hardend", "did you mean `hardened`?"],
    },
];

pub(crate) fn tests() -> Vec<Trial> {
    let of_file =
        |bad: &'static BadFile| test(format!("command: {} is refused", bad.name), move || is_refused(bad));
    let mut tests: Vec<_> = BAD_FILES.iter().map(of_file).collect();
    tests.extend([
        test("command: an unknown profile is refused", an_unknown_profile_is_refused),
        test("command: a folder without scenarios is refused", a_folder_without_scenarios_is_refused),
        test("command: a missing path is refused", a_missing_path_is_refused),
        test("command: help is no error", help_is_no_error),
        test("command: the exit status tells how it went", the_exit_status_tells_how_it_went),
        test("command: a cell of a matrix is run again alone", a_cell_of_a_matrix_is_run_again_alone),
    ]);
    tests
}

/// Runs `gatesim ARGS` and checks that it refuses them with one error that says all of `says`.
fn refuses(args: &[&str], says: &[&str]) {
    let outcome = gatesim_command(args);
    assert_eq!(outcome.status, Some(3), "{args:?}: {}{}", outcome.out, outcome.err);
    assert_eq!(outcome.out, "", "{args:?}");
    for part in says {
        assert!(outcome.err.contains(part), "{args:?}: {part:?} is missing in:\n{}", outcome.err);
    }
    assert_eq!(outcome.err.matches('×').count(), 1, "{args:?}: one error, and not:\n{}", outcome.err);
}

fn is_refused(bad: &BadFile) {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join(bad.name);
    fs::write(&path, bad.text).expect("a file");
    let mut says = bad.says.to_vec();
    says.push(bad.name);
    refuses(&["run", path.to_str().expect("UTF-8")], &says);
    // As part of a folder, too: the good file beside it is not run.
    fs::write(folder.path().join("good.toml"), "name = \"good\"\n").expect("a file");
    refuses(&["run", folder.path().to_str().expect("UTF-8")], &says);
}

fn an_unknown_profile_is_refused() {
    refuses(&["run", "scenarios", "--profile", "hardend"], &["hardend", "did you mean `hardened`?"]);
}

fn a_folder_without_scenarios_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    refuses(&["run", path], &["there is no scenario in", path]);
}

fn a_missing_path_is_refused() {
    refuses(&["run", "scenarios/nowhere.toml"], &["scenarios/nowhere.toml", "there is no such file"]);
}

fn help_is_no_error() {
    for args in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let outcome = gatesim_command(args);
        assert_eq!((outcome.status, outcome.err.as_str()), (Some(0), ""), "{args:?}");
        assert!(outcome.out.contains("gatesim"), "{args:?}: {}", outcome.out);
    }
}

fn a_cell_of_a_matrix_is_run_again_alone() {
    let matrix = "scenarios/lifecycle/every-signal-every-supervisor.toml";
    let profile = "planted:close-waits-for-peers";
    let args = ["run", matrix, "--profile", profile, "--cell", "signal=SIGUSR1,sender=never-closes"];
    let all = gatesim_command(&args);
    assert_eq!(all.status, Some(1), "{}{}", all.out, all.err);
    assert!(all.out.contains("6 cells: how each shutdown went"), "{}", all.out);
    let replay = all.out.lines().find_map(|line| line.trim().strip_prefix("replay   gatesim "));
    let replay: Vec<_> = replay.expect("a command").split(' ').collect();
    let one = gatesim_command(&replay);
    assert_eq!(one.status, Some(1), "{replay:?}: {}{}", one.out, one.err);
    assert!(one.out.contains("1 run, 0 as expected, 1 unexpected"), "{}", one.out);
    let broken = one.out.lines().find(|line| line.contains("was still bound")).expect("what broke");
    assert!(all.out.contains(broken), "{broken} is not in:\n{}", all.out);
}

fn the_exit_status_tells_how_it_went() {
    let bug = "scenarios/bugs/38836-sigterm-mid-reply.toml";
    assert_eq!(gatesim_command(&["run", bug]).status, Some(0));
    let red = gatesim_command(&[
        "run",
        bug,
        "--profile",
        "openclaw-2026.3.2",
        "--profile",
        "planted:recovery-skipped",
    ]);
    assert_eq!(red.status, Some(0), "red as reported is as expected: {}", red.out);
    assert!(red.out.contains("Last seen at"), "asked for a profile, it explains: {}", red.out);

    let folder = TempDir::new().expect("a folder");
    let status = |text: &str| {
        let path = folder.path().join("one.toml");
        fs::write(&path, text).expect("a file");
        gatesim_command(&["run", path.to_str().expect("UTF-8")]).status
    };
    assert_eq!(
        status("name = \"x\"\n[expect]\noutcomes = { hardened = \"fail: no-silent-drop\" }\n"),
        Some(1)
    );
    let never = "name = \"x\"\nstorm-limit = \"5s\"\n[[steps]]\non = \"power.lost\"\ndo = \"kill\"\n";
    assert_eq!(status(never), Some(2), "a step that never happened is no evidence");
}
