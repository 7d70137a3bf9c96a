//! The message ledger: what became of every message, decided only by what could be seen from outside.
//!
//! A fold over the events. A fate comes from what the sender's side of the channel received, what the model was
//! asked, and which processes died; the gateway's own log records and the disk contribute to the last sighting
//! alone. The one exception is a sender that left for good, or that never listens: a reply or notice kept for it in
//! the transcript counts as delivered. Another: where somebody stopped the service for good before a sender was told,
//! what stands in its state, durably, for the next start to tell is kept. That the next start does tell it is for
//! runs to show that have one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::platforms::Platform;
use super::restarts::is_about_a_restart;
use super::sends::{Delays, Sends};
use super::sighting::{Seen, Sightings};
use super::stopping::Stopping;
use super::words::{moment, quoted};
use super::{Event, Fact, LEFT_FOR_GOOD, MessageId, Sighting, Source, StateSeen, Via};
use crate::mix::MixMap;
pub use fate::Fate;
use twice::Blows;

/// The program name under which gateway processes stand in the process table.
pub const GATEWAY_PROGRAM: &str = "gateway";
/// The program name of command-line tools, and the sender's name in the marks that they leave. They are nobody's
/// messages.
pub const TOOL_PROGRAM: &str = "tool";

/// What became of every message of a run, in the order of first sending.
#[derive(Clone, Debug, Default)]
pub struct Ledger<'a> {
    entries: Vec<Entry<'a>>,
    index: MixMap<&'a MessageId, usize>,
    sends: Sends,
}

/// What became of one message.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Which message.
    pub message: &'a MessageId,
    /// Its text, as first sent.
    pub text: &'a str,
    /// Where its sender wrote it; `None`: to the gateway itself.
    pub platform: Option<Platform>,
    /// Every time its sender handed it over, in order; at least one.
    pub attempts: Vec<Attempt>,
    /// When the gateway first acknowledged it.
    pub accepted_at: Option<Duration>,
    /// When the sender first knew what became of it: by reply, notice, cancellation or refusal.
    pub settled_at: Option<Duration>,
    /// Its fate at the end of the events.
    pub fate: Fate,
    why: Why,
    last_seen: Option<Seen<'a>>,
}

/// Why a fate is what it is; put into words when somebody asks, since nobody asks about most messages.
#[derive(Clone, Debug)]
enum Why {
    /// In a sentence.
    Said(String),
    /// The reply reached the sender then.
    Reached(Duration),
    /// The sender found the reply in the history then.
    Found(Duration),
}

impl Entry<'_> {
    /// Why its fate is what it is, in one sentence.
    pub fn why(&self) -> String {
        let sender = &self.message.sender;
        match &self.why {
            Why::Said(sentence) => sentence.clone(),
            Why::Reached(at) => format!("The reply reached {sender} at {}.", moment(*at)),
            Why::Found(at) => format!("{sender} found the reply in the history at {}.", moment(*at)),
        }
    }

    /// Where and when it was last seen.
    pub fn last_seen(&self) -> Sighting {
        // Every sent message was seen at least when it was sent.
        let nowhere = || Sighting { at_ms: 0, place: "nowhere".to_string() };
        self.last_seen.map_or_else(nowhere, |seen| seen.of(self.message))
    }

    /// When its sender first handed it over.
    pub fn sent_at(&self) -> Duration {
        self.attempts.first().map_or(Duration::ZERO, |attempt| attempt.sent_at)
    }

    /// Whether at `moment` the gateway had accepted it and the sender did not yet know what became of it.
    pub fn open_at(&self, moment: Duration) -> bool {
        self.accepted_at.is_some_and(|accepted| accepted <= moment)
            && self.settled_at.is_none_or(|settled| settled > moment)
    }
}

/// One time a message was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counting from 1, as the sender counts.
    pub number: u32,
    /// When it was sent.
    pub sent_at: Duration,
    /// What the sender saw of it at once; `None` when nothing.
    pub outcome: Option<AttemptOutcome>,
}

/// What a sender sees at once when it hands a message over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The gateway acknowledged it.
    Accepted,
    /// The gateway refused it, or could not be reached; the reason in words.
    Refused(String),
    /// The connection broke before an acknowledgement.
    Unacknowledged,
}

impl<'a> Ledger<'a> {
    /// Folds the events of a run, in their order. Messages that nobody sent are not in the ledger.
    pub fn of(events: &'a [Event]) -> Self {
        Self::within(Delays::default(), events)
    }

    /// The same, of a run in a world that may take so long.
    pub fn within(delays: Delays, events: &'a [Event]) -> Self {
        let mut fold = Fold { sends: Sends::within(delays), ..Fold::default() };
        for event in events {
            fold.take(event);
        }
        fold.close()
    }

    /// Every message, in the order of first sending.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// What became of `message`; `None` when it was never sent.
    pub fn entry(&self, message: &MessageId) -> Option<&Entry<'a>> {
        self.index.get(message).map(|&at| &self.entries[at])
    }

    /// Whether `message` was written on a platform.
    pub fn is_on_platform(&self, message: &MessageId) -> bool {
        self.entry(message).is_some_and(|entry| entry.platform.is_some())
    }

    /// What platforms took of bots.
    pub fn sends(&self) -> &Sends {
        &self.sends
    }

    /// How many messages ended in `fate`.
    pub fn count(&self, fate: Fate) -> usize {
        self.entries.iter().filter(|entry| entry.fate == fate).count()
    }
}

/// What has been seen of all messages so far.
#[derive(Default)]
struct Fold<'a> {
    tallies: Vec<Tally<'a>>,
    index: MixMap<&'a MessageId, usize>,
    sightings: Sightings<'a>,
    /// The messages that each request to the model was about.
    asked_together: BTreeMap<u32, BTreeSet<&'a MessageId>>,
    gateway_deaths: Vec<Duration>,
    sends: Sends,
    service: Stopping,
    /// The senders that will never look again, and why.
    absent: BTreeMap<&'a str, Listener>,
    /// Whose conversation senders talk in, who have none of their own.
    joined: BTreeMap<&'a str, &'a str>,
    /// What the latest look into the state directory found.
    state: Option<&'a StateSeen>,
}

/// What has been seen of one message so far.
struct Tally<'a> {
    message: &'a MessageId,
    text: &'a str,
    /// Where its sender wrote it, if not to the gateway itself.
    platform: Option<Platform>,
    attempts: Vec<Attempt>,
    /// First and latest acknowledgement: a retry of a settled message opens it again, unless it is answered that the
    /// message is over.
    accepted: Option<(Duration, Duration)>,
    refused_at: Option<Duration>,
    cancelled_at: Option<Duration>,
    /// Its sender, or who shares its conversation, asked for it to be stopped, whatever came of that.
    stop_requested: bool,
    told: Option<(Duration, &'a str)>,
    /// When it was told for the first time since it was last accepted.
    first_told: Option<Duration>,
    replies: Vec<Reply<'a>>,
    requests: Vec<Request>,
}

struct Reply<'a> {
    at: Duration,
    text: &'a str,
    via: Via,
}

/// One request to the model on behalf of a message.
struct Request {
    number: u32,
    asked_at: Duration,
    answered_at: Option<Duration>,
}

/// Whether a sender can be told anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listener {
    /// It listens.
    There,
    /// It left for good.
    Left,
    /// It never reads what it is sent.
    Deaf,
}

impl<'a> Fold<'a> {
    fn take(&mut self, event: &'a Event) {
        self.sightings.see(event);
        self.service.take(event);
        self.sends.take(event);
        let at = event.at;
        match &event.fact {
            Fact::MessageSent { message, text, attempt, key } => self.sent(at, message, text, *attempt, key),
            Fact::NoticeReceived { message: None, text, .. } => {
                if let Source::Sender(sender) = &event.source {
                    self.told_all(at, sender, text);
                }
            }
            Fact::SenderDisconnected { how } if how == LEFT_FOR_GOOD => {
                self.looks_no_more(&event.source, Listener::Left);
            }
            Fact::SenderStoppedListening => self.looks_no_more(&event.source, Listener::Deaf),
            Fact::SenderJoined { whose } => {
                if let Source::Sender(sender) = &event.source {
                    self.joined.insert(sender, whose);
                }
            }
            Fact::ConversationStopRequested { whose } => self.all_to_be_stopped(whose),
            Fact::ProcessExited { program, .. } if program == GATEWAY_PROGRAM => self.gateway_deaths.push(at),
            Fact::State(state) => self.state = Some(state),
            fact => {
                if let Fact::ProviderRequested { message, request } = fact {
                    self.asked_together.entry(*request).or_default().insert(message);
                }
                if let Some(&index) = fact.message().and_then(|message| self.index.get(message)) {
                    self.tallies[index].take(at, fact);
                }
            }
        }
    }

    /// A sender will never look again, for its own reason.
    fn looks_no_more(&mut self, source: &'a Source, why: Listener) {
        if let Source::Sender(sender) = source {
            self.absent.insert(sender, why);
        }
    }

    /// Somebody wants all that is open in a conversation to be stopped, whoever wrote it.
    fn all_to_be_stopped(&mut self, whose: &str) {
        for tally in self.tallies.iter_mut().filter(|tally| tally.is_open()) {
            let sender = tally.message.sender.as_str();
            tally.stop_requested |= self.joined.get(sender).copied().unwrap_or(sender) == whose;
        }
    }

    fn sent(&mut self, at: Duration, message: &'a MessageId, text: &'a str, attempt: u32, key: &str) {
        let index = *self.index.entry(message).or_insert_with(|| {
            self.tallies.push(Tally::new(message, text, Platform::of_key(key)));
            self.tallies.len() - 1
        });
        self.tallies[index].attempts.push(Attempt { number: attempt, sent_at: at, outcome: None });
    }

    /// A notice to a whole conversation settles all of it that was accepted before and is still open. What came of a
    /// restart says nothing of messages.
    fn told_all(&mut self, at: Duration, sender: &str, text: &'a str) {
        if is_about_a_restart(text) {
            return;
        }
        for tally in &mut self.tallies {
            if tally.message.sender == sender && tally.is_open() {
                tally.tell(at, text);
            }
        }
    }

    fn close(self) -> Ledger<'a> {
        let Self {
            tallies,
            index,
            sightings,
            asked_together,
            gateway_deaths,
            sends,
            service,
            absent,
            state,
            ..
        } = self;
        let differ = |one: u32, other: u32| asked_together.get(&one) != asked_together.get(&other);
        let blows = Blows { gateway_deaths: &gateway_deaths, sends: &sends, differ: &differ };
        let nothing = StateSeen::default();
        let state = state.unwrap_or(&nothing);
        let stopped_at = service.stopped_for_good();
        let entries = tallies
            .into_iter()
            .map(|tally| {
                let sender = &tally.message.sender;
                let listener = absent.get(sender.as_str()).copied().unwrap_or(Listener::There);
                let fate = tally.fate(&blows, listener, state);
                let (fate, why) = match (fate, stopped_at, tally.waits_at()) {
                    ((Fate::Dropped, _), Some(at), _) if state.kept.contains(tally.message) => {
                        (Fate::Kept, Why::Said(kept_words(sender, at)))
                    }
                    ((Fate::Dropped, _), Some(at), Some(platform)) => {
                        (Fate::Kept, Why::Said(unfetched_words(platform, at)))
                    }
                    (fate, ..) => fate,
                };
                let last_seen = sightings.last(tally.message);
                tally.close(fate, why, last_seen)
            })
            .collect();
        Ledger { entries, index, sends }
    }
}

fn kept_words(sender: &str, stopped: Duration) -> String {
    format!(
        "The service was stopped for good at {} before {sender} was told, and what the next start has to tell is durable.",
        moment(stopped)
    )
}

fn unfetched_words(platform: Platform, stopped: Duration) -> String {
    format!(
        "The service was stopped for good at {} before it had confirmed the message to {platform}, which keeps it for \
         the next start to fetch.",
        moment(stopped)
    )
}

impl<'a> Tally<'a> {
    fn new(message: &'a MessageId, text: &'a str, platform: Option<Platform>) -> Self {
        Self {
            message,
            text,
            platform,
            attempts: Vec::new(),
            accepted: None,
            refused_at: None,
            cancelled_at: None,
            stop_requested: false,
            told: None,
            first_told: None,
            replies: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn take(&mut self, at: Duration, fact: &'a Fact) {
        match fact {
            Fact::MessageAccepted { .. } => {
                let first = self.accepted.map_or(at, |(first, _)| first);
                self.accepted = Some((first, at));
                self.outcome(AttemptOutcome::Accepted);
            }
            Fact::MessageOver { .. } => {
                // Had before, by the gateway's own word, and not taken up again.
                self.accepted.get_or_insert((at, Duration::ZERO));
                self.outcome(AttemptOutcome::Accepted);
            }
            Fact::MessageRefused { reason, .. } => {
                self.refused_at.get_or_insert(at);
                self.outcome(AttemptOutcome::Refused(reason.clone()));
            }
            Fact::MessageUnacknowledged { .. } => {
                self.refused_at.get_or_insert(at);
                self.outcome(AttemptOutcome::Unacknowledged);
            }
            Fact::MessageCancelled { .. } => self.cancelled_at = Some(at),
            Fact::MessageStopRequested { .. } => self.stop_requested = true,
            Fact::NoticeReceived { text, .. } => self.tell(at, text),
            Fact::ReplyReceived { text, via, .. } => {
                self.replies.push(Reply { at, text, via: *via });
            }
            Fact::ProviderRequested { request, .. } => {
                self.requests.push(Request { number: *request, asked_at: at, answered_at: None });
            }
            Fact::ProviderAnswered { request, .. } => {
                if let Some(asked) = self.requests.iter_mut().rev().find(|asked| asked.number == *request) {
                    asked.answered_at = Some(at);
                }
            }
            _ => {}
        }
    }

    fn outcome(&mut self, outcome: AttemptOutcome) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.outcome = Some(outcome);
        }
    }

    /// Accepted, as the sender or the model saw it, and not settled since.
    fn tell(&mut self, at: Duration, text: &'a str) {
        if !self.was_told() {
            self.first_told = Some(at);
        }
        self.told = Some((at, text));
    }

    fn is_open(&self) -> bool {
        let shown = self.accepted.is_some() || !self.requests.is_empty();
        shown && self.replies.is_empty() && !self.was_cancelled() && !self.was_told()
    }

    fn was_told(&self) -> bool {
        self.told.as_ref().is_some_and(|(at, _)| self.not_reopened_since(*at))
    }

    fn was_cancelled(&self) -> bool {
        self.cancelled_at.is_some_and(|at| self.not_reopened_since(at))
    }

    /// The platform at which it waits for the gateway to confirm it.
    fn waits_at(&self) -> Option<Platform> {
        self.platform.filter(|_| self.accepted.is_none())
    }

    /// Nobody hands a message over again that a platform keeps: it may be confirmed after it was answered.
    fn not_reopened_since(&self, settled: Duration) -> bool {
        self.platform.is_some() || self.accepted.is_none_or(|(_, latest)| latest <= settled)
    }

    /// The fate and why. What is kept for a sender that cannot be told counts as delivered.
    fn fate(&self, blows: &Blows<'_>, listener: Listener, state: &StateSeen) -> (Fate, Why) {
        if let Some(why) = self.duplicated(blows) {
            return (Fate::Duplicated, Why::Said(why));
        }
        if let Some(reply) = self.replies.first() {
            let why = match reply.via {
                Via::Live | Via::Repeated | Via::Platform { .. } => Why::Reached(reply.at),
                Via::History => Why::Found(reply.at),
            };
            return (Fate::Replied, why);
        }
        let (fate, sentence) = self.unanswered(listener, state);
        (fate, Why::Said(sentence))
    }

    /// The fate of a message to which no reply came, and the sentence that says why.
    fn unanswered(&self, listener: Listener, state: &StateSeen) -> (Fate, String) {
        let sender = &self.message.sender;
        let absence = match listener {
            Listener::There => None,
            Listener::Left => Some("left for good"),
            Listener::Deaf => Some("never listened"),
        };
        let kept = |messages: &BTreeSet<MessageId>| absence.filter(|_| messages.contains(self.message));
        if let Some(absence) = kept(&state.answered) {
            return (Fate::Replied, format!("{sender} {absence}, and the reply is kept in the transcript."));
        }
        if let Some(at) = self.cancelled_at.filter(|_| self.was_cancelled()) {
            return (Fate::Cancelled, format!("{sender} stopped it at {}.", moment(at)));
        }
        if let Some((at, text)) = self.told.filter(|_| self.was_told()) {
            return (Fate::Told, format!("{sender} was told at {}: {}.", moment(at), quoted(text)));
        }
        if let Some(absence) = kept(&state.noticed) {
            return (Fate::Told, format!("{sender} {absence}, and a notice is kept in the transcript."));
        }
        if let Some(absence) = absence.filter(|_| self.stop_requested) {
            // No reply was kept either: it got what it asked for.
            return (Fate::Cancelled, format!("It was to be stopped, and {sender} {absence}."));
        }
        self.unsettled(listener)
    }

    /// The fate of a message whose sender got neither reply nor notice.
    fn unsettled(&self, listener: Listener) -> (Fate, String) {
        let sender = &self.message.sender;
        if let Some((accepted, _)) = self.accepted {
            let why = format!(
                "The gateway acknowledged it at {}, and {sender} was never told anything.",
                moment(accepted)
            );
            return (Fate::Dropped, why);
        }
        if let Some(request) = self.requests.first() {
            let why = format!(
                "The acknowledgement never reached {sender}, but the model was asked at {}, so the gateway had it.",
                moment(request.asked_at)
            );
            return (Fate::Dropped, why);
        }
        let Some(last) = self.attempts.last() else {
            return (Fate::Dropped, "It was never handed over.".to_string());
        };
        match &last.outcome {
            Some(AttemptOutcome::Refused(reason)) => {
                (Fate::Refused, format!("{sender} was refused at once: {reason}."))
            }
            Some(_) => {
                let why = format!(
                    "The connection broke before any acknowledgement, so {sender} knows it was not accepted."
                );
                (Fate::Refused, why)
            }
            None if listener == Listener::Deaf => {
                let why = format!("{sender} never listened, and nothing shows that the gateway accepted it.");
                (Fate::Refused, why)
            }
            None => {
                let sent = moment(last.sent_at);
                if let Some(platform) = self.platform {
                    let why = format!(
                        "{sender} wrote it at {sent}, and the gateway never confirmed it to {platform}."
                    );
                    return (Fate::Dropped, why);
                }
                let why =
                    format!("{sender} sent it at {sent} and got neither an acknowledgement nor an error.");
                (Fate::Dropped, why)
            }
        }
    }

    fn close(self, fate: Fate, why: Why, last_seen: Option<Seen<'a>>) -> Entry<'a> {
        let told = self.first_told;
        let settled_at = match fate {
            Fate::Dropped | Fate::Kept => None,
            Fate::Refused => self.refused_at,
            _ => {
                let reply = self.replies.iter().map(|reply| reply.at).min();
                [reply, told.filter(|_| self.was_told()), self.cancelled_at].into_iter().flatten().min()
            }
        };
        Entry {
            accepted_at: self.accepted.map(|(first, _)| first),
            message: self.message,
            text: self.text,
            platform: self.platform,
            attempts: self.attempts,
            settled_at,
            fate,
            why,
            last_seen,
        }
    }
}

mod fate;
#[cfg(test)]
mod tests;
mod twice;
