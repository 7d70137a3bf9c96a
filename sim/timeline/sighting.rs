//! Where each message was last seen.
//!
//! One idea: whatever names a message is a sighting of it. Gateway log records count here, and only here: a record
//! names a message by its mark, or by the idempotency key that its sender gave it, which is the id of its run and
//! outlives every process. Nothing in this file decides a fate.

use std::time::Duration;

use gateway::env::Pid;

use super::words::cut;
use super::{Event, Fact, LogRecord, MessageId, Sighting, Via};
use crate::mix::MixMap;

/// Follows all messages of a run through its events.
#[derive(Default)]
pub(super) struct Sightings<'a> {
    last: MixMap<&'a MessageId, Seen<'a>>,
    by_key: MixMap<&'a str, &'a MessageId>,
}

/// The process, and the run in it, that works or worked last for a message.
#[derive(Clone, Copy, Debug)]
struct RunPlace<'a> {
    pid: Pid,
    run: Option<&'a str>,
}

impl RunPlace<'_> {
    fn words(&self) -> String {
        match self.run {
            Some(run) => format!("run {} on gateway pid {}", cut(run, 9), self.pid),
            None => format!("gateway pid {}", self.pid),
        }
    }
}

/// One sighting, not yet in words: few are ever read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    at: Duration,
    fact: &'a Fact,
    /// Who worked for the message then, by the latest record that says so.
    run: Option<RunPlace<'a>>,
}

impl<'a> Sightings<'a> {
    /// Takes note of one event.
    pub(super) fn see(&mut self, event: &'a Event) {
        if let Fact::Log { pid, record } = &event.fact {
            return self.see_record(event, *pid, record);
        }
        let Some(message) = event.fact.message() else { return };
        if let Fact::MessageSent { key, .. } | Fact::UpdateHandedOut { key, .. } = &event.fact {
            self.by_key.insert(key, message);
        }
        let seen = Seen { at: event.at, fact: &event.fact, run: None };
        let last = self.last.entry(message).or_insert(seen);
        *last = Seen { run: last.run, ..seen };
    }

    /// Where `message` was last seen, if ever.
    pub(super) fn last(&self, message: &MessageId) -> Option<Seen<'a>> {
        self.last.get(message).copied()
    }

    fn see_record(&mut self, event: &'a Event, pid: Pid, record: &'a LogRecord) {
        for at in self.messages_of(record) {
            let last = &mut self.last[at];
            let known = last.run.and_then(|place| place.run);
            let place = RunPlace { pid, run: record.field("run").or(known) };
            *last = Seen { at: event.at, fact: &event.fact, run: Some(place) };
        }
    }

    /// The messages whose mark stands in `value`, or whose name it is.
    fn named_in(value: &str) -> Vec<MessageId> {
        let mut named = MessageId::marked_in(value);
        named.extend(MessageId::marked_in(&format!("[{value}]")));
        named
    }

    /// The messages that a record names, each once: where they stand among those that were seen.
    fn messages_of(&self, record: &LogRecord) -> Vec<usize> {
        let mut found = Vec::new();
        for (_, value) in &record.fields {
            // Most values name nothing; looking closely at each was a fortieth of a run's time.
            let named = if value.contains('#') { Self::named_in(value) } else { Vec::new() };
            for message in named.iter().chain(self.by_key.get(value.as_str()).copied()) {
                if let Some(at) = self.last.get_index_of(message)
                    && !found.contains(&at)
                {
                    found.push(at);
                }
            }
        }
        found
    }
}

impl Seen<'_> {
    /// The sighting in words: it is one of `message`.
    pub(super) fn of(&self, message: &MessageId) -> Sighting {
        let at_ms = u64::try_from(self.at.as_millis()).unwrap_or(u64::MAX);
        Sighting { at_ms, place: self.place(message) }
    }

    /// The place that the observation puts its message in.
    fn place(&self, message: &MessageId) -> String {
        let sender = &message.sender;
        let run = self.run.as_ref().map_or_else(|| "the gateway".to_string(), RunPlace::words);
        match self.fact {
            Fact::MessageSent { attempt: 1, .. } => format!("{sender} had handed it over"),
            Fact::MessageSent { attempt, .. } => format!("{sender} had handed it over, attempt {attempt}"),
            Fact::MessageAccepted { .. } => format!("the gateway had acknowledged it to {sender}"),
            Fact::MessageOver { .. } => format!("the gateway had called it over to {sender}"),
            Fact::UpdateHandedOut { .. } => "its platform had handed it out to the gateway".to_string(),
            Fact::MessageRefused { reason, .. } => format!("{sender} was refused: {reason}"),
            Fact::MessageUnacknowledged { .. } => {
                format!("the connection of {sender} broke before the acknowledgement")
            }
            Fact::MessageCancelled { .. } => format!("{sender} had stopped it"),
            Fact::MessageStopRequested { .. } => format!("{sender} had asked {run} to stop it"),
            Fact::ReplyReceived { via: Via::Live | Via::Repeated | Via::Platform { .. }, .. } => {
                format!("{sender} had the reply")
            }
            Fact::ReplyReceived { via: Via::History, .. } => {
                format!("{sender} had found the reply in the history")
            }
            Fact::NoticeReceived { .. } => format!("{sender} had a notice about it"),
            Fact::ProviderRequested { .. } => format!("{run} was waiting for the model's answer"),
            Fact::ProviderAnswered { .. } => format!("{run} had the model's whole answer"),
            Fact::ProviderStopped { how, .. } => {
                format!("{run} was reading the model's answer when it broke off: {how}")
            }
            Fact::ProviderWantedTools { .. } => format!("{run} was using tools for the model"),
            Fact::Log { record, .. } => format!("{run} logged {}", record.name),
            other => format!("{run} showed {}", other.name()),
        }
    }
}
