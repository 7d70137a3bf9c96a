//! The notice: how a message ends that gets no reply. Its sender reads which message, why, and what to do.
//!
//! A notice counts once it is recorded, in the transcript and then in the journal. One that the disk refuses is
//! owed: it is tried again for as long as the process lives, and the journal keeps the message open for the next
//! life. What the transcript already says about the message wins over the notice, so that none ends twice.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::provider::ProviderError;
use super::subagents;
use crate::channels::webchat::{ChatState, event, publish, publish_end};
use crate::cron;
use crate::env::WallTime;
use crate::gateway::Gateway;
use crate::lifecycle::hooks::Became;
use crate::messages::delivery::{self, Kind};
use crate::messages::gathering::MOST_IN_A_TURN;
use crate::messages::inbox::{Accepted, Settlement, Stage};
use crate::sessions::{LOCK_DEADLINE, Outcome, Role, StateError, TranscriptEntries, TranscriptEntry};

/// How much of a message its notice quotes.
const QUOTED_CHARS: usize = 80;
/// When an owed notice is tried again; the pause doubles up to the longest.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Why a message ends with a notice, and not with a reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoticeCause {
    /// The gateway ended before the answer was complete.
    #[error("the service restarted before it was answered")]
    Interrupted,
    /// It was taken up again too often by lives that died.
    #[error("the service failed {0} times in a row while it was to be answered")]
    TriedTooOften(u32),
    /// It is too old to be answered now.
    #[error("the service was away for more than a day")]
    TooOld,
    /// The turn failed.
    #[error("it could not be answered: {0}")]
    Failed(#[from] TurnError),
}

/// Why a turn ended without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the model took longer than {0:?}")]
    TimedOut(Duration),
    #[error("the model wanted tools {0} times and gave no answer")]
    TooManyRounds(u32),
    /// What it waited for was ended together with the gateway.
    #[error("the service ends")]
    CutOff,
}

/// Settles messages of a conversation, at least one, with one notice: durably for the history, and live for whoever is
/// connected. `seq` is the number of the next event of the first one's run.
pub(crate) async fn tell(gateway: &Rc<Gateway>, messages: &[Accepted], cause: NoticeCause, seq: u64) {
    tell_within(gateway, messages, cause, seq, LOCK_DEADLINE).await;
}

/// As [`tell`], waiting for the session store no longer than `patience`. Who cannot be told in time how the message
/// ends hears that it is kept.
pub(crate) async fn tell_within(
    gateway: &Rc<Gateway>,
    messages: &[Accepted],
    cause: NoticeCause,
    seq: u64,
    patience: Duration,
) {
    let is_ours = |message: &Accepted| cron::is_run(&message.run_id) || subagents::is_work(&message.run_id);
    let (ours, messages): (Vec<_>, Vec<_>) = messages.iter().cloned().partition(is_ours);
    for message in &ours {
        match cron::is_run(&message.run_id) {
            true => end_scheduled(gateway, message, &cause, seq),
            false => end_subagent(gateway, message, &cause),
        }
    }
    // What came of a subagent is said by itself: a notice about others has no room for it.
    let mut others = Vec::new();
    for message in messages {
        match subagents::notice(gateway, &message, &cause) {
            Some(notice) => settle(gateway, vec![message], notice, &cause, seq, patience).await,
            None => others.push(message),
        }
    }
    if !others.is_empty() {
        let notice = notice(&others, &cause);
        settle(gateway, others, notice, &cause, seq, patience).await;
    }
}

/// Settles messages, at least one, with this notice.
async fn settle(
    gateway: &Rc<Gateway>,
    messages: Vec<Accepted>,
    notice: String,
    cause: &NoticeCause,
    seq: u64,
    patience: Duration,
) {
    let Some(lead) = messages.first() else { return };
    match record(gateway, &messages, &notice, patience).await {
        Ok(outcome) => {
            if let (NoticeCause::Interrupted, Outcome::Notice(_)) = (cause, &outcome) {
                messages.iter().for_each(|message| gateway.hooks.affected.note(message, Became::Told));
            }
            announce(gateway, &messages, &outcome, seq);
        }
        Err(error) => {
            tracing::error!(name: "message.notice-not-durable", run = lead.run_id, %error, "trying again");
            note_interruption(gateway, &messages, cause);
            // Nothing runs a message again that had started. One that had not may still get its reply, from this
            // life's successor; saying now that it will not could be a lie.
            let said = matches!(gateway.inbox.find_open(&lead.run_id), Some((_, Stage::Started)));
            match said {
                true => announce(gateway, &messages, &Outcome::Notice(notice.clone()), seq),
                false => messages
                    .iter()
                    .for_each(|message| tell_of_wait(gateway, message, &error.to_string(), seq)),
            }
            let trying = keep_trying(gateway.clone(), messages, notice, seq + 1, said);
            drop(gateway.env.spawn("notice", trying));
        }
    }
}

/// Until the notice can be recorded the journal says why there is no reply: by the end of this life, and by nobody's wish.
fn note_interruption(gateway: &Gateway, messages: &[Accepted], cause: &NoticeCause) {
    let has_begun =
        |message: &&Accepted| matches!(gateway.inbox.find_open(&message.run_id), Some((_, Stage::Started)));
    let begun: Vec<&str> = messages.iter().filter(has_begun).map(|message| message.run_id.as_str()).collect();
    if matches!(cause, NoticeCause::Interrupted) && !begun.is_empty() {
        // That it had begun stands there already, which is enough for the next life.
        let _ = gateway.inbox.interrupt(&begun, gateway.restarts.generation());
    }
}

/// Tells a sender, over the live connection only, that its message waits. Nothing ends: it is kept, and answered when
/// what is in the way has gone. Who comes back before that is told by [`Waits`].
pub(crate) fn tell_of_wait(gateway: &Rc<Gateway>, message: &Accepted, why: &str, seq: u64) {
    tracing::warn!(
        name: "message.waiting",
        run = message.run_id,
        session = message.session_key,
        why,
        "a message is kept and will be tried again"
    );
    if subagents::is_ours(&message.run_id) {
        // Who asked for it waits for its result anyway.
        return;
    }
    let words = wait_words(&message.text, why);
    publish(&gateway.peers, &message.session_key, &message.run_id, seq, &ChatState::Error(&words));
    // Nothing is lost when the disk refuses this one, too: it ends all the same.
    if let Err(error) = delivery::owe(gateway, message, Kind::Wait, &words) {
        tracing::warn!(name: "message.wait-not-durable", run = message.run_id, %error, "its sender does not hear of it");
    }
    gateway.waits.begin(message, seq, words);
}

/// What senders were told of messages that wait. No transcript says it, so whoever begins to follow a conversation
/// while a message waits in it is told again.
#[derive(Default)]
pub(crate) struct Waits(RefCell<BTreeMap<String, Waiting>>);

struct Waiting {
    session_key: String,
    seq: u64,
    words: String,
}

impl Waits {
    fn begin(&self, message: &Accepted, seq: u64, words: String) {
        let waiting = Waiting { session_key: message.session_key.clone(), seq, words };
        self.0.borrow_mut().insert(message.run_id.clone(), waiting);
    }

    /// The message waits no longer, or is over.
    pub(crate) fn end(&self, run_id: &str) {
        self.0.borrow_mut().remove(run_id);
    }

    /// How many messages wait.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// What is to be said of the messages that wait in a conversation, as events.
    pub(crate) fn events(&self, session_key: &str) -> Vec<String> {
        let waits = self.0.borrow();
        let of_conversation = waits.iter().filter(|(_, waiting)| waiting.session_key == session_key);
        let event = |(run_id, waiting): (&String, &Waiting)| {
            event(session_key, run_id, waiting.seq, &ChatState::Error(&waiting.words))
        };
        of_conversation.map(event).collect()
    }
}

/// A scheduled run has no sender who could be told, or send it again: its job's journal is told.
fn end_scheduled(gateway: &Rc<Gateway>, message: &Accepted, cause: &NoticeCause, seq: u64) {
    if let Some(reply) = recorded_reply(gateway, message) {
        gateway.settle(&[&message.run_id], Settlement::Answered);
        return announce(gateway, std::slice::from_ref(message), &Outcome::Reply(reply), seq);
    }
    cron::ended_without_reply(gateway, &message.run_id, cause);
    if matches!(cause, NoticeCause::Interrupted) {
        gateway.hooks.affected.note(message, Became::Interrupted);
    }
    gateway.settle(&[&message.run_id], Settlement::Told);
    let why = cause.to_string();
    publish(&gateway.peers, &message.session_key, &message.run_id, seq, &ChatState::Error(&why));
}

/// Nor has a subagent's run: the books are told, and who asked for it hears from there.
fn end_subagent(gateway: &Rc<Gateway>, message: &Accepted, cause: &NoticeCause) {
    if recorded_reply(gateway, message).is_some() {
        return gateway.settle(&[&message.run_id], Settlement::Answered);
    }
    subagents::ended_without_reply(gateway, &message.run_id, cause);
    gateway.settle(&[&message.run_id], Settlement::Told);
}

/// The reply to the message, if the transcript has it.
fn recorded_reply(gateway: &Gateway, message: &Accepted) -> Option<String> {
    let transcript = gateway.sessions.find_transcript(&message.session_key).ok().flatten()?;
    match transcript.outcome(&message.run_id) {
        Ok(Some(Outcome::Reply(reply))) => Some(reply),
        Ok(Some(Outcome::Notice(_)) | None) | Err(_) => None,
    }
}

async fn keep_trying(gateway: Rc<Gateway>, messages: Vec<Accepted>, notice: String, seq: u64, said: bool) {
    let mut delay = FIRST_RETRY_DELAY;
    let run_id = messages[0].run_id.clone();
    loop {
        sleep(delay).await;
        match record(&gateway, &messages, &notice, LOCK_DEADLINE).await {
            Ok(outcome) if said => {
                tracing::info!(name: "message.notice-durable", run = run_id, ?outcome, "recorded at last");
                return;
            }
            Ok(outcome) => return announce(&gateway, &messages, &outcome, seq),
            Err(error) => {
                tracing::debug!(name: "message.notice-refused", run = run_id, %error, "trying again");
                delay = (delay * 2).min(LONGEST_RETRY_DELAY);
            }
        }
    }
}

/// Makes the end of the messages durable and returns it: what the transcript says already, or the notice.
async fn record(
    gateway: &Rc<Gateway>,
    messages: &[Accepted],
    notice: &str,
    patience: Duration,
) -> Result<Outcome, StateError> {
    let lead = &messages[0];
    let transcript = gateway.sessions.open_transcript(&lead.session_key, patience).await?;
    let outcome = match transcript.recorded(&lead.run_id)? {
        Some(recorded) => {
            messages.iter().try_for_each(|message| gateway.conclude_recorded(message, &recorded))?;
            return Ok(recorded.outcome);
        }
        None => {
            let now = gateway.env.wall_clock();
            let mut entries = unsaid(&transcript.entries()?, messages, now);
            let run_ids: Vec<&str> = messages.iter().map(|message| message.run_id.as_str()).collect();
            entries.push(TranscriptEntry::new(Role::Notice, notice, &run_ids, now).into());
            // The disk is waited for without letting go: once is enough, however many messages these are.
            transcript.append_all(&entries)?;
            Outcome::Notice(notice.to_string())
        }
    };
    gateway.conclude(messages, &outcome)?;
    Ok(outcome)
}

/// The entries of those messages that do not stand in the transcript.
pub(super) fn unsaid(
    said: &[Rc<TranscriptEntry>],
    messages: &[Accepted],
    now: WallTime,
) -> TranscriptEntries {
    let is_said = |message: &&Accepted| {
        said.iter().any(|entry| entry.role == Role::User && entry.run_id == message.run_id)
    };
    let unsaid = messages.iter().filter(|message| !is_said(message));
    let entry = |message: &Accepted| {
        Rc::new(TranscriptEntry::new(Role::User, &message.text, &[&message.run_id], now))
    };
    unsaid.map(entry).collect()
}

fn announce(gateway: &Gateway, messages: &[Accepted], outcome: &Outcome, seq: u64) {
    let state = match outcome {
        Outcome::Reply(reply) => {
            tracing::info!(name: "run.finished", run = messages[0].run_id, "its reply was already recorded");
            ChatState::Final(reply)
        }
        Outcome::Notice(notice) => {
            for message in messages {
                tracing::warn!(
                    name: "message.told",
                    run = message.run_id,
                    session = message.session_key,
                    notice,
                    "a message ends with a notice"
                );
            }
            ChatState::Error(notice)
        }
    };
    publish_end(&gateway.peers, messages, seq, &state);
}

/// Messages by what one notice can be about: a conversation, and where it is read. In the order of the first of each.
pub(crate) fn by_conversation(messages: impl IntoIterator<Item = Accepted>) -> Vec<Vec<Accepted>> {
    let mut conversations: Vec<Vec<Accepted>> = Vec::new();
    for message in messages {
        let is_its = |others: &&mut Vec<Accepted>| {
            others[0].session_key == message.session_key
                && others[0].route.place() == message.route.place()
                && others.len() < MOST_IN_A_TURN
        };
        match conversations.iter_mut().rev().find(is_its) {
            Some(others) => others.push(message),
            None => conversations.push(vec![message]),
        }
    }
    conversations
}

/// What the sender reads: which messages, why, and what to do.
fn notice(messages: &[Accepted], cause: &NoticeCause) -> String {
    let first = quoted(&messages[0].text);
    match &messages[1..] {
        [] => format!("Your message {first} was not answered: {cause}. Please send it again."),
        others => {
            let others: Vec<String> = others.iter().map(|message| quoted(&message.text)).collect();
            let others = others.join(", ");
            format!(
                "Your message {first} was not answered, nor what came with it ({others}): {cause}. Please send them again."
            )
        }
    }
}

/// What the sender of a message that waits reads.
fn wait_words(text: &str, why: &str) -> String {
    let quoted = quoted(text);
    format!("Your message {quoted} waits: {why}. It is kept and will be tried again; do not send it again.")
}

/// The beginning of a text, as somebody is reminded of it.
pub(crate) fn quoted(text: &str) -> String {
    let beginning: String = text.chars().take(QUOTED_CHARS).collect();
    let ellipsis = if beginning.len() < text.len() { "..." } else { "" };
    format!("\"{beginning}{ellipsis}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::Route;

    fn said(text: &str) -> Accepted {
        let (run_id, session_key) = ("r".to_string(), "s".to_string());
        Accepted { run_id, session_key, text: text.to_string(), route: Route::Webchat }
    }

    #[test]
    fn one_notice_names_all_that_it_is_about() {
        assert_eq!(
            notice(&[said("one"), said("two"), said("three")], &NoticeCause::Interrupted),
            "Your message \"one\" was not answered, nor what came with it (\"two\", \"three\"): the service restarted \
             before it was answered. Please send them again."
        );
    }

    #[test]
    fn a_notice_says_which_message_why_and_what_to_do() {
        assert_eq!(
            notice(&[said("hello")], &NoticeCause::Interrupted),
            "Your message \"hello\" was not answered: the service restarted before it was answered. \
             Please send it again."
        );
        let long = notice(&[said(&"x".repeat(100))], &NoticeCause::Interrupted);
        assert!(long.contains(&format!("\"{}...\"", "x".repeat(QUOTED_CHARS))), "{long}");
    }
}
