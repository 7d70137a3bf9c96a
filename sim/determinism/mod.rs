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

use crate::timeline::words::moment;
use crate::timeline::{Event, Source};
use crate::verdict::RunResult;

/// How many pairs of traced runs are made to see a difference once more.
const ATTEMPTS: usize = 8;

/// The first thing in which two runs differ that should be the same, as a sentence.
pub fn difference(one: &RunResult, other: &RunResult) -> Option<String> {
    if let Some(index) = first_difference(&one.timeline, &other.timeline) {
        let (one, other) = (one.timeline.get(index), other.timeline.get(index));
        return Some(format!(
            "two runs with one seed differ from event {index} on: {}",
            match (one, other) {
                (Some(one), Some(other)) if called(one) == called(other) =>
                    format!("{} is {:?} in one and {:?} in the other", called(one), one.fact, other.fact),
                (one, other) => format!("in one comes {}, in the other {}", words(one), words(other)),
            }
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
            return divergence.sentences(first_difference(&one.timeline, &other.timeline));
        }
    }
    vec![format!(
        "{} more runs were all the same, step by step: what differs comes rarely, or only in the first run that a process \
         makes, as with a static or a cache that the first one fills",
        2 * ATTEMPTS
    )]
}

/// Where two sequences differ first.
fn first_difference<T: PartialEq>(one: &[T], other: &[T]) -> Option<usize> {
    (0..one.len().max(other.len())).find(|index| one.get(*index) != other.get(*index))
}

fn words(event: Option<&Event>) -> String {
    event.map_or_else(|| "nothing more".into(), called)
}

/// What kind of event it is, whose, and when.
fn called(event: &Event) -> String {
    let by = match &event.source {
        Source::Process(pid) => format!(" of process {pid}"),
        Source::Sender(name) | Source::Machine(name) | Source::Peers(name) => format!(" of {name}"),
        _ => String::new(),
    };
    format!("`{}`{by} at {}", event.fact.name(), moment(event.at))
}
