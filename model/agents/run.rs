//! A run: one message's turn with the model, from the lane to a settled message.
//!
//! The order of effects is the promise. The journal says `started` before the model is asked; the reply is in
//! the transcript before the journal says `answered`; the journal says so before the sender sees the final
//! event. So a crash between any two of them leaves evidence that recovery can act on exactly once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::provider::{self, PromptMessage, ProviderError};
use crate::channels::webchat::{ChatState, publish};
use crate::gateway::Gateway;
use crate::messages::inbox::{Accepted, Settlement, Stage};
use crate::messages::lanes::Interruption;
use crate::policy::InterruptedWork;
use crate::sessions::{Role, SessionStatus, StateError, Transcript};

/// How often the model is asked in all when it fails transiently.
const ATTEMPTS: u32 = 3;
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Deltas closer together than this are merged (OpenClaw: 150 ms).
const DELTA_INTERVAL: Duration = Duration::from_millis(150);
/// How many entries of the transcript the model sees.
const CONTEXT_ENTRIES: usize = 50;

/// How much of a message its notice quotes.
const QUOTED_CHARS: usize = 80;

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
}

/// Works on one accepted message until it is settled, or until the gateway's end interrupts it.
pub(crate) async fn work(gateway: Rc<Gateway>, run_id: String, interrupted: oneshot::Receiver<Interruption>) {
    let Some((message, Stage::Accepted | Stage::Started)) = gateway.inbox.find(&run_id) else { return };
    let run_timeout = Duration::from_millis(gateway.config.model.run_timeout_ms);
    let seq = Cell::new(0);
    tracing::info!(name: "run.started", run = run_id, session = message.session_key, "a run begins");
    let outcome = tokio::select! {
        biased;
        Ok(why) = interrupted => Err(why),
        turn = timeout(run_timeout, turn(&gateway, &message, &seq)) => {
            Ok(turn.unwrap_or(Err(TurnError::TimedOut(run_timeout))))
        }
    };
    match outcome {
        Ok(Ok(reply)) => {
            tracing::info!(name: "run.finished", run = run_id, "a run is done");
            publish(&gateway.peers, &message.session_key, &run_id, seq.get(), &ChatState::Final(&reply));
        }
        Ok(Err(error)) => {
            tell(&gateway, &message, NoticeCause::Failed(error)).await;
        }
        Err(Interruption::ByUser) => cancelled(&gateway, &message).await,
        Err(Interruption::ByShutdown) => match gateway.policies.interrupted_work {
            InterruptedWork::TellSender => {
                tell(&gateway, &message, NoticeCause::Interrupted).await;
            }
            InterruptedWork::Forget => {}
        },
    }
}

/// The turn itself; when it returns a reply, the reply is durable and the message settled.
async fn turn(gateway: &Gateway, message: &Accepted, seq: &Cell<u64>) -> Result<String, TurnError> {
    gateway.inbox.start(&message.run_id)?;
    let transcript = open_transcript(gateway, &message.session_key, SessionStatus::Running).await?;
    if transcript.find(Role::User, &message.run_id)?.is_none() {
        transcript.append(Role::User, &message.text, &message.run_id, gateway.env.wall_clock())?;
    }
    let prompt = prompt(&transcript)?;
    let reply = ask(gateway, message, &prompt, seq).await?;
    transcript.append(Role::Assistant, &reply, &message.run_id, gateway.env.wall_clock())?;
    gateway.inbox.settle(&message.run_id, Settlement::Answered)?;
    open_transcript(gateway, &message.session_key, SessionStatus::Idle).await?;
    Ok(reply)
}

async fn open_transcript(
    gateway: &Gateway,
    session_key: &str,
    status: SessionStatus,
) -> Result<Transcript, StateError> {
    let path = gateway.sessions.touch(session_key, status).await?;
    Ok(Transcript::new(gateway.files.clone(), path))
}

fn prompt(transcript: &Transcript) -> Result<Vec<PromptMessage>, StateError> {
    let entries = transcript.entries()?;
    let recent = &entries[entries.len().saturating_sub(CONTEXT_ENTRIES)..];
    let said = recent.iter().filter_map(|entry| match entry.role {
        Role::User => Some(PromptMessage { role: "user", content: entry.text.clone() }),
        Role::Assistant => Some(PromptMessage { role: "assistant", content: entry.text.clone() }),
        Role::Notice => None,
    });
    Ok(said.collect())
}

/// Asks the model, again after transient failures as long as nothing of an answer was seen.
async fn ask(
    gateway: &Gateway,
    message: &Accepted,
    prompt: &[PromptMessage],
    seq: &Cell<u64>,
) -> Result<String, ProviderError> {
    let mut delay = FIRST_RETRY_DELAY;
    for attempt in 1.. {
        let mut answer = String::new();
        let mut last_delta: Option<Instant> = None;
        let on_delta = |piece: &str| {
            answer.push_str(piece);
            if last_delta.is_none_or(|last| last.elapsed() >= DELTA_INTERVAL) {
                last_delta = Some(Instant::now());
                let state = ChatState::Delta(&answer);
                publish(&gateway.peers, &message.session_key, &message.run_id, seq.get(), &state);
                seq.set(seq.get() + 1);
            }
        };
        let model = &gateway.config.model.name;
        match provider::complete(&gateway.env, &gateway.endpoint, model, prompt, on_delta).await {
            Err(error) if error.is_transient() && attempt < ATTEMPTS => {
                tracing::info!(
                    name: "provider.retrying",
                    run = message.run_id,
                    attempt,
                    %error,
                    "asking the model again"
                );
                sleep(delay).await;
                delay *= 2;
            }
            answered => return answered,
        }
    }
    unreachable!("the last attempt returns")
}

/// Settles a message with a notice: durably for the history, and live for whoever is connected.
pub(crate) async fn tell(gateway: &Gateway, message: &Accepted, cause: NoticeCause) {
    tracing::warn!(
        name: "message.told",
        run = message.run_id,
        session = message.session_key,
        why = %cause,
        "a message ends with a notice"
    );
    let notice = notice(&message.text, &cause);
    if let Err(error) = record_notice(gateway, message, &notice).await {
        // The sender is told all the same; the next life will find the message open and tell again.
        tracing::error!(name: "message.notice-not-durable", run = message.run_id, %error, "no durable record");
    }
    let state = ChatState::Error(&notice);
    publish(&gateway.peers, &message.session_key, &message.run_id, 0, &state);
}

/// What the sender reads: which message, why, and what to do.
fn notice(text: &str, cause: &NoticeCause) -> String {
    let quoted: String = text.chars().take(QUOTED_CHARS).collect();
    let ellipsis = if quoted.len() < text.len() { "..." } else { "" };
    format!("Your message \"{quoted}{ellipsis}\" was not answered: {cause}. Please send it again.")
}

async fn record_notice(gateway: &Gateway, message: &Accepted, notice: &str) -> Result<(), StateError> {
    let transcript = open_transcript(gateway, &message.session_key, SessionStatus::Idle).await?;
    let now = gateway.env.wall_clock();
    if transcript.find(Role::User, &message.run_id)?.is_none() {
        transcript.append(Role::User, &message.text, &message.run_id, now)?;
    }
    if transcript.find(Role::Notice, &message.run_id)?.is_none() {
        transcript.append(Role::Notice, notice, &message.run_id, now)?;
    }
    gateway.inbox.settle(&message.run_id, Settlement::Told)
}

/// Closes the session's books after its sender stopped a run; the cancellation itself is already durable.
async fn cancelled(gateway: &Gateway, message: &Accepted) {
    if let Err(error) = gateway.sessions.touch(&message.session_key, SessionStatus::Idle).await {
        tracing::warn!(name: "session.status-stale", session = message.session_key, %error, "left as running");
    }
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
