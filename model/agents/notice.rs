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
use crate::channels::webchat::{ChatState, event, publish};
use crate::cron;
use crate::gateway::Gateway;
use crate::lifecycle::hooks::Became;
use crate::messages::inbox::{Accepted, Settlement, Stage};
use crate::sessions::{LOCK_DEADLINE, Outcome, Role, StateError};

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

/// Settles a message with a notice: durably for the history, and live for whoever is connected. `seq` is the
/// number of the run's next event.
pub(crate) async fn tell(gateway: &Rc<Gateway>, message: &Accepted, cause: NoticeCause, seq: u64) {
    tell_within(gateway, message, cause, seq, LOCK_DEADLINE).await;
}

/// As [`tell`], waiting for the session store no longer than `patience`. Who cannot be told in time how the message
/// ends hears that it is kept.
pub(crate) async fn tell_within(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    cause: NoticeCause,
    seq: u64,
    patience: Duration,
) {
    if cron::is_run(&message.run_id) {
        return end_scheduled(gateway, message, &cause, seq);
    }
    if subagents::is_work(&message.run_id) {
        return end_subagent(gateway, message, &cause);
    }
    let notice = subagents::notice(gateway, message, &cause).unwrap_or_else(|| notice(&message.text, &cause));
    match record(gateway, message, &notice, patience).await {
        Ok(outcome) => {
            if let (NoticeCause::Interrupted, Outcome::Notice(_)) = (&cause, &outcome) {
                gateway.hooks.affected.note(message, Became::Told);
            }
            announce(gateway, message, &outcome, seq);
        }
        Err(error) => {
            tracing::error!(name: "message.notice-not-durable", run = message.run_id, %error, "trying again");
            // Nothing runs a message again that had started. One that had not may still get its reply, from this
            // life's successor; saying now that it will not could be a lie.
            let said = matches!(gateway.inbox.find_open(&message.run_id), Some((_, Stage::Started)));
            match said {
                true => announce(gateway, message, &Outcome::Notice(notice.clone()), seq),
                false => tell_of_wait(gateway, message, &error.to_string(), seq),
            }
            let trying = keep_trying(gateway.clone(), message.clone(), notice, seq + 1, said);
            drop(gateway.env.spawn("notice", trying));
        }
    }
}

/// Tells a sender, over the live connection only, that its message waits. Nothing ends: it is kept, and answered when
/// what is in the way has gone. Who comes back before that is told by [`Waits`].
pub(crate) fn tell_of_wait(gateway: &Gateway, message: &Accepted, why: &str, seq: u64) {
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
        gateway.settle(&message.run_id, Settlement::Answered);
        return announce(gateway, message, &Outcome::Reply(reply), seq);
    }
    cron::ended_without_reply(gateway, &message.run_id, cause);
    if matches!(cause, NoticeCause::Interrupted) {
        gateway.hooks.affected.note(message, Became::Interrupted);
    }
    gateway.settle(&message.run_id, Settlement::Told);
    let why = cause.to_string();
    publish(&gateway.peers, &message.session_key, &message.run_id, seq, &ChatState::Error(&why));
}

/// Nor has a subagent's run: the books are told, and who asked for it hears from there.
fn end_subagent(gateway: &Rc<Gateway>, message: &Accepted, cause: &NoticeCause) {
    if recorded_reply(gateway, message).is_some() {
        return gateway.settle(&message.run_id, Settlement::Answered);
    }
    subagents::ended_without_reply(gateway, &message.run_id, cause);
    gateway.settle(&message.run_id, Settlement::Told);
}

/// The reply to the message, if the transcript has it.
fn recorded_reply(gateway: &Gateway, message: &Accepted) -> Option<String> {
    let transcript = gateway.sessions.find_transcript(&message.session_key).ok().flatten()?;
    match transcript.outcome(&message.run_id) {
        Ok(Some(Outcome::Reply(reply))) => Some(reply),
        Ok(Some(Outcome::Notice(_)) | None) | Err(_) => None,
    }
}

async fn keep_trying(gateway: Rc<Gateway>, message: Accepted, notice: String, seq: u64, said: bool) {
    let mut delay = FIRST_RETRY_DELAY;
    loop {
        sleep(delay).await;
        match record(&gateway, &message, &notice, LOCK_DEADLINE).await {
            Ok(outcome) if said => {
                tracing::info!(name: "message.notice-durable", run = message.run_id, ?outcome, "recorded at last");
                return;
            }
            Ok(outcome) => return announce(&gateway, &message, &outcome, seq),
            Err(error) => {
                tracing::debug!(name: "message.notice-refused", run = message.run_id, %error, "trying again");
                delay = (delay * 2).min(LONGEST_RETRY_DELAY);
            }
        }
    }
}

/// Makes the end of a message durable and returns it: what the transcript says already, or the notice.
async fn record(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    notice: &str,
    patience: Duration,
) -> Result<Outcome, StateError> {
    let transcript = gateway.sessions.open_transcript(&message.session_key, patience).await?;
    let outcome = match transcript.outcome(&message.run_id)? {
        Some(outcome) => outcome,
        None => {
            let now = gateway.env.wall_clock();
            transcript.append_once(Role::User, &message.text, &message.run_id, now)?;
            transcript.append(Role::Notice, notice, &message.run_id, now)?;
            Outcome::Notice(notice.to_string())
        }
    };
    gateway.settle(&message.run_id, Settlement::from(&outcome));
    Ok(outcome)
}

fn announce(gateway: &Gateway, message: &Accepted, outcome: &Outcome, seq: u64) {
    let state = match outcome {
        Outcome::Reply(reply) => {
            tracing::info!(name: "run.finished", run = message.run_id, "its reply was already recorded");
            ChatState::Final(reply)
        }
        Outcome::Notice(notice) => {
            tracing::warn!(
                name: "message.told",
                run = message.run_id,
                session = message.session_key,
                notice,
                "a message ends with a notice"
            );
            ChatState::Error(notice)
        }
    };
    publish(&gateway.peers, &message.session_key, &message.run_id, seq, &state);
}

/// What the sender reads: which message, why, and what to do.
fn notice(text: &str, cause: &NoticeCause) -> String {
    format!("Your message {} was not answered: {cause}. Please send it again.", quoted(text))
}

/// What the sender of a message that waits reads.
fn wait_words(text: &str, why: &str) -> String {
    let quoted = quoted(text);
    format!("Your message {quoted} waits: {why}. It is kept and will be tried again; do not send it again.")
}

fn quoted(text: &str) -> String {
    let beginning: String = text.chars().take(QUOTED_CHARS).collect();
    let ellipsis = if beginning.len() < text.len() { "..." } else { "" };
    format!("\"{beginning}{ellipsis}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_which_message_why_and_what_to_do() {
        assert_eq!(
            notice("hello", &NoticeCause::Interrupted),
            "Your message \"hello\" was not answered: the service restarted before it was answered. \
             Please send it again."
        );
        let long = notice(&"x".repeat(100), &NoticeCause::Interrupted);
        assert!(long.contains(&format!("\"{}...\"", "x".repeat(QUOTED_CHARS))), "{long}");
    }
}
