//! Random schedules of sends and disturbances: whatever happens, a hardened gateway keeps every promise.
//!
//! A case is the text of a scenario file, read by the public parser: what fails is a file that a person can run.
//! Everything happens in the first half minute, so that everything can meet everything. The cases are the same
//! each time; `PROPTEST_RNG_SEED=7` tries others, `PROPTEST_CASES=5000` more of them.

use std::fs;
use std::path::Path;

use gatesim::report::text;
use gatesim::scenario::Scenario;
use gatesim::verdict::{RunResult, Verdict};
use gateway::policy::HARDENED;
use libtest_mimic::{Failed, Trial};
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestCaseError, TestError, TestRunner};

use crate::log_promise;
use schedule::{Schedule, schedule};

mod schedule;

/// Which cases are tried unless `PROPTEST_RNG_SEED` says otherwise.
const CASES_OF: u64 = 38836;
/// The seeds of cases that have failed, tried before all others.
const FAILED_BEFORE: &str = "tests/schedules.proptest-regressions";

pub(crate) fn tests() -> Vec<Trial> {
    vec![Trial::test("schedules: a hardened gateway keeps every promise", every_promise_is_kept)]
}

fn every_promise_is_kept() -> Result<(), Failed> {
    let from_environment = Config::default();
    let config = Config {
        rng_seed: match from_environment.rng_seed {
            RngSeed::Random => RngSeed::Fixed(CASES_OF),
            chosen => chosen,
        },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(FAILED_BEFORE))),
        max_shrink_iters: 4_000,
        ..from_environment
    };
    let keeps_promises = |schedule: Schedule| match broken_promise(&schedule) {
        None => Ok(()),
        Some(promise) => Err(TestCaseError::fail(promise)),
    };
    match TestRunner::new(config).run(&schedule(), keeps_promises) {
        Ok(()) => Ok(()),
        Err(TestError::Fail(_, schedule)) => Err(Failed::from(explain(&schedule))),
        Err(TestError::Abort(why)) => Err(Failed::from(format!("gave up: {why}"))),
    }
}

fn play(path: &Path, schedule: &Schedule) -> RunResult {
    let scenario = Scenario::parse(path, &schedule.to_string())
        .unwrap_or_else(|error| panic!("a schedule is a scenario: {error:?}\n{schedule}"));
    gatesim::run(&scenario, HARDENED, schedule.seed)
}

/// Which promise a schedule breaks, if any. A step that could not be done, such as the kill of a process that is
/// not there, is none: what a schedule exercises is left to chance.
fn broken_promise(schedule: &Schedule) -> Option<String> {
    let run = play(Path::new("random.toml"), schedule);
    if run.verdict == Verdict::Error {
        return Some(run.notes.join(" "));
    }
    if let Some(violation) = run.violations.first() {
        return Some(format!("{}: {}", violation.invariant, violation.message));
    }
    let unnamed = log_promise::unnamed(&run);
    (!unnamed.is_empty()).then(|| format!("no record of level warn or above names {unnamed:?}"))
}

/// The failure as a person needs it: what happened, the file, and the command that replays it.
fn explain(schedule: &Schedule) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("random-schedule.toml");
    fs::write(&path, schedule.to_string()).expect("the folder for temporary files can be written");
    let run = play(&path, schedule);
    let promise = broken_promise(schedule).unwrap_or_default();
    let explanation = match run.violations.is_empty() {
        true => format!("    replay   {}\n", text::replay(&run)),
        false => text::explanations(&[run], true),
    };
    format!("{promise}\n\n{explanation}\n{schedule}")
}
