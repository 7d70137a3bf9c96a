//! Making planned runs: once, or twice to see that nothing but the seed decides them.

use super::plan::PlannedRun;
use crate::determinism;
use crate::search::{Run, Traced};
use crate::verdict::{RunResult, Verdict};

/// Makes the run.
pub(super) fn once(run: Run<'_>, planned: &PlannedRun) -> RunResult {
    run(&planned.scenario, &planned.profile, planned.seed)
}

/// Makes the run twice; if the two differ in anything that the seed decides, the result is an error, with what is known
/// of the cause.
pub(super) fn twice(run: Run<'_>, traced: Traced<'_>, planned: &PlannedRun) -> RunResult {
    let (first, mut second) = (once(run, planned), once(run, planned));
    if let Some(difference) = determinism::difference(&first, &second) {
        second.verdict = Verdict::Error;
        second.as_expected = false;
        second.notes.push(difference);
        let once_more = || traced(&planned.scenario, &planned.profile, planned.seed);
        second.notes.extend(determinism::diagnose(&once_more));
    }
    second
}
