//! What one injection of a sweep costs: the workload, disturbed at a moment of it, in a run of its own.
//!
//! The moments are spread evenly over all that the sweep would try, so that early and late ones are among them. What
//! the sweep does only once, its undisturbed run with a trace of every step, is not counted.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use gatesim::search::Draft;
use gatesim::search::sweep::{Injection, Plan, SweepError, Swept, sweep};
use gatesim::verdict::Verdict;
use gateway::policy::HARDENED;

use crate::measure::time;
use crate::{Outcome, WORKLOAD, WORKLOAD_TEXT};

/// Whoever lost its line in silence, to a machine without power, notices after a minute, and is told then.
const SETTLE: &str = "2m";
/// What the command injects when it is not told.
const INJECTIONS: [Injection; 5] =
    [Injection::Terminate, Injection::Restart, Injection::Kill, Injection::PowerLoss, Injection::Freeze];

/// The time that each of so many injections takes.
pub(crate) fn per_injection(injections: usize) -> Outcome<Duration> {
    let mut draft = Draft::new(WORKLOAD_TEXT.parse()?);
    draft.table_mut().insert("settle".into(), SETTLE.into());
    let sweep_of = |most_runs| {
        let mut swept = None;
        let took = time(|| swept = Some(sweep_at_most(&draft, most_runs)));
        (took, swept.unwrap_or_else(|| unreachable!("it has just been made")))
    };
    let (alone, baseline) = sweep_of(0);
    baseline?;
    let (together, swept) = sweep_of(injections);
    let points = swept?.points;
    match points.iter().find(|point| matches!(point.verdict, Verdict::Fail | Verdict::Error)) {
        Some(failed) => {
            Err(format!("disturbed at {:?}, it came to {}", failed.injected, failed.verdict).into())
        }
        None if points.len() == injections => Ok(together.saturating_sub(alone) / injections as u32),
        None => Err(format!("{} moments instead of {injections} were disturbed", points.len()).into()),
    }
}

fn sweep_at_most(draft: &Draft, most_runs: usize) -> Result<Swept, SweepError> {
    let plan = Plan {
        draft,
        path: Path::new(WORKLOAD),
        profile: HARDENED,
        seed: 0,
        injections: &INJECTIONS,
        pairs_within: None,
        most_runs,
        threads: NonZeroUsize::MIN,
    };
    sweep(&gatesim::run_without_timeline, &gatesim::traced, &plan)
}
