//! The moments of a run, at which it can be disturbed: its events, the instants at which packets left, and the two sides
//! of every disk operation.
//!
//! Something anchored to an event comes when whoever brought it about has done all it does at one go, and that is where
//! signals reach a program with one thread. A kill need not wait for that, so each disk operation is two moments more for
//! it. Instants are for what no event tells: a packet leaves, an acknowledgement comes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway::env::FsOp;
use toml::{Table, Value};

use crate::determinism::{Step, Trace};
use crate::timeline::words::{moment, ordinal};
use crate::timeline::{Event, Fact};

/// A moment of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Which it is.
    pub place: Place,
    /// When it was in the baseline.
    pub at: Duration,
}

/// How a moment is told from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// After so manyth event of this name, from 1.
    Event {
        /// The event's name.
        name: String,
        /// Which of them.
        nth: u32,
    },
    /// At the instant at which packets left.
    Packet,
    /// Around a disk operation of the gateway.
    Disk {
        /// Counting all that it does with its disk, from 1.
        call: u32,
        /// What it does.
        op: FsOp,
        /// Whether the operation has had its effect.
        is_after: bool,
    },
}

impl Moment {
    /// What it is, in words.
    pub fn words(&self) -> String {
        let what = match &self.place {
            Place::Event { name, nth } => format!("after {name} {nth}"),
            Place::Packet => "as packets leave".to_string(),
            Place::Disk { call, op, is_after } => {
                let side = if *is_after { "after" } else { "before" };
                format!("{side} its {} disk operation, {op}", ordinal(*call))
            }
        };
        format!("{what} ({})", moment(self.at))
    }

    /// The step that comes at this moment, or for a disk operation, the one that lies in wait for it.
    pub(super) fn anchor(&self) -> Table {
        let mut anchor = Table::new();
        match &self.place {
            Place::Event { name, nth } => {
                anchor.insert("on".into(), Value::from(name.as_str()));
                if *nth > 1 {
                    anchor.insert("nth".into(), Value::from(i64::from(*nth)));
                }
            }
            Place::Packet => {
                anchor.insert("at".into(), Value::from(format!("{}ms", self.at.as_millis())));
            }
            Place::Disk { .. } => drop(anchor.insert("at".into(), Value::from("0s"))),
        }
        anchor
    }

    /// Whether it lies within what a program does at one go, where nothing but its death can come.
    pub(super) const fn is_inside(&self) -> bool {
        matches!(self.place, Place::Disk { .. })
    }
}

/// Every moment of a run before `limit`, after which no step happens; by time. `program` is the gateway's.
pub(super) fn moments(timeline: &[Event], trace: &Trace, program: &str, limit: Duration) -> Vec<Moment> {
    let mut moments = events(timeline, limit);
    let settled =
        timeline.iter().find(|event| event.fact == Fact::SettleBegan).map_or(limit, |event| event.at);
    let seen: BTreeSet<Duration> = moments.iter().map(|moment| moment.at).collect();
    let packets = trace.steps.iter().filter(|step| matches!(step.step, Step::Packet { .. }));
    let instants: BTreeSet<Duration> = packets.map(|step| step.at).collect();
    let unseen = instants.difference(&seen).filter(|at| **at < limit.min(settled));
    moments.extend(unseen.map(|at| Moment { place: Place::Packet, at: *at }));
    moments.extend(disk(trace, program, limit));
    moments.sort_by_key(|moment| moment.at);
    moments
}

/// Every event to which something can be anchored: what the world says about the run itself is none.
fn events(timeline: &[Event], limit: Duration) -> Vec<Moment> {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let is_moment = |event: &&Event| {
        event.at < limit && !matches!(event.fact, Fact::SettleBegan | Fact::RunEnded | Fact::State(_))
    };
    let numbered = timeline.iter().filter(is_moment).map(|event| {
        let name = event.fact.name().to_string();
        let nth = counts.entry(name.clone()).or_default();
        *nth += 1;
        Moment { place: Place::Event { name, nth: *nth }, at: event.at }
    });
    numbered.collect()
}

/// Both sides of every disk operation of the gateway.
fn disk(trace: &Trace, wanted: &str, limit: Duration) -> Vec<Moment> {
    let operations = trace.steps.iter().filter_map(|step| match &step.step {
        Step::Disk { program, op, .. } if program == wanted => Some((step.at, *op)),
        _ => None,
    });
    let sides = operations.zip(1..).filter(|((at, _), _)| *at < limit).flat_map(|((at, op), call)| {
        [false, true].map(|is_after| Moment { place: Place::Disk { call, op, is_after }, at })
    });
    sides.collect()
}
