//! Determinism, checked: a run is made twice, and where the two differ it is said what differs first, in whose hands, and
//! what usually does such a thing.
//!
//! The timeline alone names an event, and by then the cause is long past. So two more runs are made with a [`Trace`] each,
//! which also holds every poll of a task, every draw and every packet, and the first step that differs there is the nearest
//! that one can come to the cause from outside. Nothing here knows a world; it compares what two of them wrote down.

mod divergence;
mod trace;

pub use divergence::Divergence;
pub use trace::{Step, TaskName, Trace, TracedStep, note, polling, recording};

use crate::timeline::Event;
use crate::verdict::RunResult;

/// How many pairs of traced runs are made to see a difference once more.
const ATTEMPTS: usize = 8;

/// The first thing in which two runs differ that should be the same, as a sentence.
pub fn difference(one: &RunResult, other: &RunResult) -> Option<String> {
    if let Some((index, (one, other))) = first_difference(&one.timeline, &other.timeline) {
        let (one, other) = (words(one), words(other));
        return Some(format!(
            "two runs with one seed differ from event {index} on: {one} in one, {other} in the other"
        ));
    }
    let same_end = one.hash == other.hash
        && one.events == other.events
        && one.verdict == other.verdict
        && one.violations == other.violations
        && one.fates == other.fates;
    (!same_end).then(|| {
        format!(
            "two runs with one seed have the same events and differ in what is made of them: \
             {} with hash {}, {} with hash {}",
            one.verdict, one.hash, other.verdict, other.hash
        )
    })
}

/// What a difference comes from, as far as traces show it: `traced` makes the run once more. A sentence for each thing
/// there is to say.
pub fn diagnose(traced: &dyn Fn() -> (RunResult, Trace)) -> Vec<String> {
    for _ in 0..ATTEMPTS {
        let ((one, its_trace), (other, other_trace)) = (traced(), traced());
        if let Some(divergence) = Divergence::between(&its_trace, &other_trace) {
            let event = first_difference(&one.timeline, &other.timeline).map(|(index, _)| index);
            return divergence.sentences(event);
        }
    }
    vec![format!(
        "{} more runs were all the same, step by step: what differs comes rarely, or only in the first run that a process \
         makes, as with a static or a cache that the first one fills",
        2 * ATTEMPTS
    )]
}

/// Where two sequences differ first, and what each has there.
fn first_difference<'a, T: PartialEq>(
    one: &'a [T],
    other: &'a [T],
) -> Option<(usize, (Option<&'a T>, Option<&'a T>))> {
    (0..one.len().max(other.len()))
        .map(|index| (index, (one.get(index), other.get(index))))
        .find(|(_, (one, other))| one != other)
}

fn words(event: Option<&Event>) -> String {
    match event {
        Some(event) => format!("`{event:?}`"),
        None => "nothing".into(),
    }
}
