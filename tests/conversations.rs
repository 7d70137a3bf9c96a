//! Random conversations on every channel with any of the deaths at any moment, up to three times: whatever happens, what
//! was accepted is answered or told, once, and in its order.
//!
//! A case is the text of a scenario file, as in `schedules`. A few dozen cases by default, the same each time;
//! `PROPTEST_CASES=10000 cargo test --release --test gatesim conversations` makes more of them, `PROPTEST_RNG_SEED=7`
//! others.

use std::env;
use std::fs;
use std::path::Path;

use gatesim::report::text;
use gatesim::scenario::Scenario;
use gatesim::verdict::{RunResult, Verdict};
use gateway::policy::HARDENED;
use libtest_mimic::{Failed, Trial};
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestError, TestRunner};

use conversation::{Conversation, conversation};

mod conversation;

/// Which cases are tried unless `PROPTEST_RNG_SEED` says otherwise, and how many unless `PROPTEST_CASES` does.
const CASES_OF: u64 = 29106;
const CASES: u32 = 48;
/// The seeds of cases that have failed, tried before all others.
const FAILED_BEFORE: &str = "tests/conversations.proptest-regressions";
/// What has to hold. What else a hardened gateway promises is for `schedules` to try.
const PROMISES: [&str; 5] = [
    "no-silent-drop",
    "no-duplicate",
    "replies-in-order",
    "cancelled-is-never-resumed",
    "one-notice-per-interruption",
];

pub(crate) fn tests() -> Vec<Trial> {
    vec![Trial::test(
        "conversations: no death loses, repeats or reorders on any channel",
        survive_every_death,
    )]
}

fn survive_every_death() -> Result<(), Failed> {
    let from_environment = Config::default();
    let config = Config {
        cases: env::var_os("PROPTEST_CASES").map_or(CASES, |_| from_environment.cases),
        rng_seed: match from_environment.rng_seed {
            RngSeed::Random => RngSeed::Fixed(CASES_OF),
            chosen => chosen,
        },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(FAILED_BEFORE))),
        max_shrink_iters: 2_000,
        ..from_environment
    };
    let survives = |case: Conversation| match broken_promise(&case) {
        None => Ok(()),
        Some(promise) => Err(TestCaseError::fail(promise)),
    };
    match TestRunner::new(config).run(&conversation(), survives) {
        Ok(()) => Ok(()),
        Err(TestError::Fail(_, case)) => Err(Failed::from(explain(&case))),
        Err(TestError::Abort(why)) => Err(Failed::from(format!("gave up: {why}"))),
    }
}

fn play(path: &Path, case: &Conversation) -> RunResult {
    let scenario = Scenario::parse(path, &case.to_string())
        .unwrap_or_else(|error| panic!("a conversation is a scenario: {error:?}\n{case}"));
    gatesim::run(&scenario, HARDENED, case.seed)
}

fn broken_promise(case: &Conversation) -> Option<String> {
    let run = play(Path::new("random.toml"), case);
    if run.verdict == Verdict::Error {
        return Some(run.notes.join(" "));
    }
    let broken = run.violations.iter().find(|violation| PROMISES.contains(&violation.invariant.as_str()));
    broken.map(|violation| format!("{}: {}", violation.invariant, violation.message))
}

/// The failure as a person needs it: what happened, the file, and the command that replays it.
fn explain(case: &Conversation) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("random-conversation.toml");
    fs::write(&path, case.to_string()).expect("the folder for temporary files can be written");
    let run = play(&path, case);
    let promise = broken_promise(case).unwrap_or_default();
    format!("{promise}\n\n{}\n{case}", text::explanations(&[run], true))
}
