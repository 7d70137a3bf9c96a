//! What was seen of each subagent in a run, for the oracles that judge them.
//!
//! A fold over the events: what the model wanted and was told, when it was given the work and finished it, what the sender
//! heard, and whether the sender had everything stopped or can hear nothing any more.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Evidence;
use super::life::end_of;
use crate::timeline::{Fact, LEFT_FOR_GOOD, Source, StateSeen, SubagentId, SubagentSeen, Via};

/// One subagent.
#[derive(Default)]
pub(super) struct Subagent {
    /// When the model was told that it is at work.
    pub(super) begun_at: Option<Duration>,
    /// When the model was asked to do its work, and when it had.
    pub(super) requests: Vec<Request>,
    /// What its sender heard of it.
    pub(super) heard: Vec<Heard>,
}

/// One request to do its work.
pub(super) struct Request {
    pub(super) number: u32,
    pub(super) at: Duration,
    /// When the model had answered it, or it was broken off.
    pub(super) ended_at: Option<Duration>,
    pub(super) is_answered: bool,
}

/// Something that a sender heard of a subagent.
pub(super) struct Heard {
    pub(super) at: Duration,
    pub(super) text: String,
    pub(super) via: Via,
}

/// What a sender did that its subagents depend on.
#[derive(Default)]
pub(super) struct Attitude {
    /// When it asked for everything to be stopped, each time.
    pub(super) stops: Vec<Duration>,
    /// When the gateway confirmed that it stopped subagents.
    pub(super) confirmed: Vec<Duration>,
    /// It left for good, or never listens.
    pub(super) is_absent: bool,
}

/// What was seen of all subagents.
pub(super) struct Subagents<'a> {
    pub(super) all: BTreeMap<&'a SubagentId, Subagent>,
    senders: BTreeMap<&'a str, Attitude>,
    /// Each look into the books, in order.
    pub(super) looks: Vec<(Duration, &'a StateSeen)>,
}

impl<'a> Subagents<'a> {
    pub(super) fn of(run: &Evidence<'a>) -> Self {
        let mut seen = Self { all: BTreeMap::new(), senders: BTreeMap::new(), looks: Vec::new() };
        for event in run.events {
            match (&event.fact, &event.source) {
                (Fact::Subagent { subagent, seen: what }, _) => {
                    seen.all.entry(subagent).or_default().take(event.at, what);
                }
                (Fact::SubagentsStopRequested, Source::Sender(name)) => {
                    seen.senders.entry(name).or_default().stops.push(event.at);
                }
                (Fact::SubagentsCancelled { .. }, Source::Sender(name)) => {
                    seen.senders.entry(name).or_default().confirmed.push(event.at);
                }
                (Fact::SenderDisconnected { how }, Source::Sender(name)) if how == LEFT_FOR_GOOD => {
                    seen.senders.entry(name).or_default().is_absent = true;
                }
                (Fact::SenderStoppedListening, Source::Sender(name)) => {
                    seen.senders.entry(name).or_default().is_absent = true;
                }
                (Fact::State(state), _) => seen.looks.push((event.at, state)),
                _ => {}
            }
        }
        // Who shares a conversation may stop what others wanted in it.
        for subagent in seen.all.keys() {
            let sender = subagent.message.sender.as_str();
            let stops: Vec<_> = run.mishaps.stops_of(sender).collect();
            if !stops.is_empty() {
                seen.senders.entry(sender).or_default().stops = stops;
            }
        }
        seen
    }

    /// What the sender of the message did that `subagent` was wanted for.
    pub(super) fn sender_of(&self, subagent: &SubagentId) -> Option<&Attitude> {
        self.senders.get(subagent.message.sender.as_str())
    }

    /// Whether somebody serves at the end.
    pub(super) fn is_up_at_the_end(run: &Evidence<'_>) -> bool {
        let end = end_of(run);
        run.lives.iter().any(|life| life.holds.iter().any(|hold| hold.contains(end)))
    }
}

impl Subagent {
    fn take(&mut self, at: Duration, seen: &SubagentSeen) {
        match seen {
            SubagentSeen::Begun => {
                self.begun_at.get_or_insert(at);
            }
            SubagentSeen::Requested { request } => {
                self.requests.push(Request { number: *request, at, ended_at: None, is_answered: false });
            }
            SubagentSeen::Answered { request } => self.ended(at, *request, true),
            SubagentSeen::Stopped { request, .. } => self.ended(at, *request, false),
            SubagentSeen::Heard { text, via, .. } => {
                self.heard.push(Heard { at, text: text.clone(), via: *via });
            }
            SubagentSeen::Wanted
            | SubagentSeen::Refused { .. }
            | SubagentSeen::AnnouncementRequested { .. }
            | SubagentSeen::AnnouncementAnswered { .. }
            | SubagentSeen::AnnouncementStopped { .. } => {}
        }
    }

    fn ended(&mut self, at: Duration, number: u32, is_answered: bool) {
        for request in self.requests.iter_mut().filter(|request| request.number == number) {
            (request.ended_at, request.is_answered) = (Some(at), is_answered);
        }
    }

    /// Until when somebody worked on it, as far as the model saw by `end`: `end` while it still is asked.
    pub(super) fn worked_on_until(&self, end: Duration) -> Option<Duration> {
        let asked = self.requests.iter().filter(|request| request.at <= end);
        asked.map(|request| request.ended_at.map_or(end, |ended| ended.min(end))).max()
    }
}
