//! Making planned runs: once, or twice to see that nothing but the seed decides them.

use super::plan::PlannedRun;
use crate::scenario::Scenario;
use crate::timeline::Event;
use crate::verdict::{RunResult, Verdict};

type Run<'a> = &'a (dyn Fn(&Scenario, &str, u64) -> RunResult + Sync);

/// Makes the run.
pub(super) fn once(run: Run<'_>, planned: &PlannedRun) -> RunResult {
    run(&planned.scenario, &planned.profile, planned.seed)
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
