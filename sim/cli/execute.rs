//! Making one planned run, each on a thread of its own, so that no run can leave anything to the next.
//!
//! A run that panics is an error of the harness and of that run alone. Checking determinism makes a run twice
//! and compares the two event by event.

use std::any::Any;
use std::thread;

use super::plan::PlannedRun;
use crate::scenario::Scenario;
use crate::timeline::Event;
use crate::verdict::{RunResult, Verdict};

type Run<'a> = &'a (dyn Fn(&Scenario, &str, u64) -> RunResult + Sync);

/// Stack of a run's thread in bytes: a world is deep, and the default for threads is a quarter of this.
const STACK_BYTES: usize = 8 << 20;

/// Makes the run.
pub(super) fn once(run: Run<'_>, planned: &PlannedRun) -> RunResult {
    let PlannedRun { scenario, profile, seed, .. } = planned;
    let (scenario, profile, seed) = (scenario.as_ref(), profile.as_str(), *seed);
    let joined = thread::scope(|scope| {
        let thread = thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, move || run(scenario, profile, seed));
        thread.map(thread::ScopedJoinHandle::join)
    });
    match joined {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            let why = format!("the harness panicked: {}", panic_message(panic.as_ref()));
            RunResult::error(scenario, profile, seed, why)
        }
        Err(error) => {
            RunResult::error(scenario, profile, seed, format!("a thread could not be started: {error}"))
        }
    }
}

/// Makes the run twice; if the two differ in anything that the seed decides, the result is an error.
pub(super) fn twice(run: Run<'_>, planned: &PlannedRun) -> RunResult {
    let (first, mut second) = (once(run, planned), once(run, planned));
    if let Some(difference) = difference(&first, &second) {
        second.verdict = Verdict::Error;
        second.as_expected = false;
        second.notes.push(difference);
    }
    second
}

/// The first thing in which two runs differ, as a sentence.
fn difference(first: &RunResult, second: &RunResult) -> Option<String> {
    let words = |event: Option<&Event>| match event {
        Some(event) => format!("`{event:?}`"),
        None => "nothing".into(),
    };
    let longest = first.timeline.len().max(second.timeline.len());
    let differing = (0..longest)
        .map(|index| (index, first.timeline.get(index), second.timeline.get(index)))
        .find(|(_, a, b)| a != b);
    if let Some((index, a, b)) = differing {
        let (a, b) = (words(a), words(b));
        return Some(format!(
            "two runs with one seed differ from event {index} on: {a} in one, {b} in the other"
        ));
    }
    let same_end = first.hash == second.hash
        && first.events == second.events
        && first.verdict == second.verdict
        && first.violations == second.violations
        && first.fates == second.fates;
    (!same_end).then(|| {
        format!(
            "two runs with one seed have the same events and differ in what is made of them: \
             {} with hash {}, {} with hash {}",
            first.verdict, first.hash, second.verdict, second.hash
        )
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
