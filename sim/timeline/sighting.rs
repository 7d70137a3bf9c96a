//! Where each message was last seen.
//!
//! One idea: whatever carries a message's mark is a sighting of it. Gateway log records count here, and only
//! here: a record that names the mark also names a run and perhaps the gateway's own id of the message, and
//! later records that carry only those are followed too. Nothing in this file decides a fate.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::env::Pid;

use super::{Event, Fact, LogRecord, MessageId, Sighting, Via};

/// Follows all messages of a run through its events.
#[derive(Default)]
pub(super) struct Sightings {
    last: BTreeMap<MessageId, Sighting>,
    /// The gateway's own ids of messages; they outlive a process.
    by_gateway_id: BTreeMap<String, MessageId>,
    /// Runs are counted by each process for itself.
    by_run: BTreeMap<(Pid, String), MessageId>,
    run_of: BTreeMap<MessageId, RunPlace>,
}

/// The run that works, or worked last, for a message.
#[derive(Clone)]
struct RunPlace {
    pid: Pid,
    run: Option<String>,
}

impl RunPlace {
    fn words(&self) -> String {
        match &self.run {
            Some(run) => format!("run {run} on gateway pid {}", self.pid),
            None => format!("gateway pid {}", self.pid),
        }
    }
}

impl Sightings {
    /// Takes note of one event.
    pub(super) fn see(&mut self, event: &Event) {
        match &event.fact {
            // A reused pid counts its runs anew.
            Fact::ProcessStarted { pid, .. } => {
                self.by_run.retain(|(owner, _), _| owner != pid);
                self.run_of.retain(|_, place| place.pid != *pid);
            }
            Fact::Log { pid, record } => self.see_record(event.at, *pid, record),
            fact => {
                if let Some(message) = fact.message()
                    && let Some(place) = self.place(message, fact)
                {
                    self.note(message.clone(), event.at, place);
                }
            }
        }
    }

    /// Where `message` was last seen, if ever.
    pub(super) fn last(&self, message: &MessageId) -> Option<&Sighting> {
        self.last.get(message)
    }

    fn note(&mut self, message: MessageId, at: Duration, place: String) {
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.last.insert(message, Sighting { at_ms, place });
    }

    /// The place that an outside observation puts its message in.
    fn place(&self, message: &MessageId, fact: &Fact) -> Option<String> {
        let sender = &message.sender;
        let run = self.run_of.get(message).map_or_else(|| "the gateway".to_string(), RunPlace::words);
        Some(match fact {
            Fact::MessageSent { attempt: 1, .. } => format!("{sender} had handed it over"),
            Fact::MessageSent { attempt, .. } => format!("{sender} had handed it over, attempt {attempt}"),
            Fact::MessageAccepted { .. } => format!("the gateway had acknowledged it to {sender}"),
            Fact::MessageRefused { reason, .. } => format!("{sender} was refused: {reason}"),
            Fact::MessageUnacknowledged { .. } => {
                format!("the connection of {sender} broke before the acknowledgement")
            }
            Fact::MessageCancelled { .. } => format!("{sender} had stopped it"),
            Fact::ReplyReceived { via: Via::Live, .. } => format!("{sender} had the reply"),
            Fact::ReplyReceived { via: Via::History, .. } => {
                format!("{sender} had found the reply in the history")
            }
            Fact::NoticeReceived { .. } => format!("{sender} had a notice about it"),
            Fact::ProviderRequested { .. } => format!("{run} was waiting for the model's answer"),
            Fact::ProviderAnswered { .. } => format!("{run} had the model's whole answer"),
            Fact::ProviderStopped { how, .. } => {
                format!("{run} was reading the model's answer when it broke off: {how}")
            }
            _ => return None,
        })
    }

    fn see_record(&mut self, at: Duration, pid: Pid, record: &LogRecord) {
        let run = record.field("run");
        let gateway_id = record.field("message");
        for message in self.messages_of(pid, record) {
            if let Some(id) = gateway_id {
                self.by_gateway_id.insert(id.to_string(), message.clone());
            }
            if let Some(run) = run {
                self.by_run.insert((pid, run.to_string()), message.clone());
            }
            let place =
                RunPlace { pid, run: run.map(str::to_string).or_else(|| self.known_run(&message, pid)) };
            let words = format!("{} logged {}", place.words(), record.name);
            self.run_of.insert(message.clone(), place);
            self.note(message, at, words);
        }
    }

    /// The run of `message` that this same process named before.
    fn known_run(&self, message: &MessageId, pid: Pid) -> Option<String> {
        self.run_of.get(message).filter(|place| place.pid == pid)?.run.clone()
    }

    /// The messages a record is about: those whose mark or name it carries, else the one its ids stand for.
    fn messages_of(&self, pid: Pid, record: &LogRecord) -> Vec<MessageId> {
        let mut found = Vec::new();
        for (_, value) in &record.fields {
            let marked = MessageId::marked_in(value).into_iter();
            let named = MessageId::marked_in(&format!("[{value}]")).into_iter();
            for message in marked.chain(named) {
                if self.last.contains_key(&message) && !found.contains(&message) {
                    found.push(message);
                }
            }
        }
        if found.is_empty() {
            let by_id = record.field("message").and_then(|id| self.by_gateway_id.get(id));
            let by_run = record.field("run").and_then(|run| self.by_run.get(&(pid, run.to_string())));
            found.extend(by_id.or(by_run).cloned());
        }
        found
    }
}
