//! A run: one message's turn with the model, from the lane to a settled message.
//!
//! The order of effects is the promise. The conversation is had before the journal says `started`, and the journal
//! says so before the model is asked; the reply is in the transcript before the journal says `answered`; the journal says so before the sender sees the final
//! event. So a crash between any two of them leaves evidence that recovery can act on exactly once. Between the
//! reply's way into the transcript and the final event nothing waits, so nothing can come in between.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::notice::{NoticeCause, TurnError, tell, tell_of_wait, tell_within};
use super::prompt::{self, PromptMessage};
use super::provider::{self, Answer, ProviderError, Question};
use super::tools;
use crate::channels::webchat::{ChatState, publish};
use crate::gateway::Gateway;
use crate::lifecycle::budgets;
use crate::lifecycle::phase::Ending;
use crate::messages::inbox::{Accepted, Settlement};
use crate::messages::lanes::Interruption;
use crate::policy::LockFailure;
use crate::sessions::{Role, RunLock, StateError, Transcript};

/// How often the model is asked in all when it fails transiently.
const ATTEMPTS: u32 = 3;
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long a run waits between its attempts to record that it begins.
const START_RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long a message waits between its attempts to have its conversation; the pause doubles up to the longest.
const FIRST_STORE_RETRY: Duration = Duration::from_secs(1);
const LONGEST_STORE_RETRY: Duration = Duration::from_secs(10);
/// Deltas closer together than this are merged (OpenClaw: 150 ms).
const DELTA_INTERVAL: Duration = Duration::from_millis(150);
/// How often a turn may have tools used before the model has to answer.
const MOST_ROUNDS: u32 = 20;

/// Works on one accepted message until it is settled, or until the gateway's end interrupts it.
pub(crate) async fn work(gateway: Rc<Gateway>, run_id: String, interrupted: oneshot::Receiver<Interruption>) {
    let Some((message, _)) = gateway.inbox.find_open(&run_id) else { return };
    let seq = Cell::new(0);
    let lock = RunLock::new(
        gateway.process_wide.locks.clone(),
        gateway.policies.transcript_lock,
        gateway.config.run_timeout(),
    );
    tracing::info!(name: "run.started", run = run_id, session = message.session_key, "a run begins");
    let wait = Wait::default();
    let outcome = tokio::select! {
        biased;
        Ok(why) = interrupted => Err(why),
        turn = whole_turn(&gateway, &message, &lock, &seq, &wait) => Ok(turn),
    };
    lock.release();
    match outcome {
        Ok(Ok(reply)) => {
            tracing::info!(name: "run.finished", run = run_id, "a run is done");
            publish(&gateway.peers, &message.session_key, &run_id, seq.get(), &ChatState::Final(&reply));
        }
        Ok(Err(error)) if is_forgotten(&error, gateway.policies.lock_failure) => {
            // openclaw/openclaw#77721: the message is gone, and this is all that is ever said about it.
            tracing::debug!(name: "message.forgotten", run = run_id, session = message.session_key, %error, "no lock");
        }
        Ok(Err(TurnError::CutOff)) => {
            let patience = budgets::notice_patience(&gateway.config, Ending::Stop);
            tell_within(&gateway, &message, NoticeCause::Interrupted, seq.get(), patience).await;
        }
        Ok(Err(error)) => tell(&gateway, &message, NoticeCause::Failed(error), seq.get()).await,
        // The cancellation itself is already recorded.
        Err(Interruption::ByUser) => {
            publish(&gateway.peers, &message.session_key, &run_id, seq.get(), &ChatState::Aborted);
        }
        // Nothing was done with it: it stays accepted, and the next life runs it.
        Err(Interruption::ByShutdown) if wait.waits.get() => {
            wait.tell_once(&gateway, &message, &seq, "the service ended while the session store was in use");
        }
        Err(Interruption::ByShutdown) => {
            let patience = budgets::notice_patience(&gateway.config, Ending::Stop);
            tell_within(&gateway, &message, NoticeCause::Interrupted, seq.get(), patience).await;
        }
    }
}

/// From having the conversation to having the reply. Waiting for the first is no part of the time that a run has.
async fn whole_turn(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    lock: &RunLock,
    seq: &Cell<u64>,
    wait: &Wait,
) -> Result<String, TurnError> {
    let transcript = conversation(gateway, message, seq, wait).await?;
    let run_timeout = gateway.config.run_timeout();
    let turn = turn(gateway, message, &transcript, lock, seq);
    timeout(run_timeout, turn).await.unwrap_or(Err(TurnError::TimedOut(run_timeout)))
}

/// Whether history dropped a message that ended like this without a word.
fn is_forgotten(error: &TurnError, policy: LockFailure) -> bool {
    match policy {
        LockFailure::TellAndRetry => false,
        LockFailure::Forget => matches!(error, TurnError::State(error) if error.is_about_a_lock()),
    }
}

/// The turn itself; when it returns a reply, the reply is durable and the message settled.
async fn turn(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    transcript: &Transcript,
    lock: &RunLock,
    seq: &Cell<u64>,
) -> Result<String, TurnError> {
    begin(gateway, message).await;
    lock.take(transcript).await?;
    let mut entries = transcript.entries()?;
    for (call, run_id) in prompt::unanswered(&entries) {
        // Whoever used the tool died over it (openclaw/openclaw#10310, #118147).
        let now = gateway.env.wall_clock();
        entries.push(transcript.append_result(&call, prompt::NO_RESULT, &run_id, now)?);
    }
    if !entries.iter().any(|entry| entry.role == Role::User && entry.run_id == message.run_id) {
        entries.push(transcript.append(
            Role::User,
            &message.text,
            &message.run_id,
            gateway.env.wall_clock(),
        )?);
    }
    for _ in 0..MOST_ROUNDS {
        let prompt = prompt::of(&entries, &message.run_id);
        let Answer { text, calls } = ask(gateway, message, &prompt, seq).await?;
        if calls.is_empty() {
            transcript.append(Role::Assistant, &text, &message.run_id, gateway.env.wall_clock())?;
            gateway.settle(&message.run_id, Settlement::Answered);
            return Ok(text);
        }
        // What is wanted stands there before it is done, and what came of it before the model is asked again.
        entries.push(transcript.append_calls(
            &text,
            calls.clone(),
            &message.run_id,
            gateway.env.wall_clock(),
        )?);
        for call in &calls {
            let result = tools::use_one(gateway, message, call).await?;
            let now = gateway.env.wall_clock();
            entries.push(transcript.append_result(&call.id, &result, &message.run_id, now)?);
        }
    }
    Err(TurnError::TooManyRounds(MOST_ROUNDS))
}

/// The message's transcript. While the store cannot be had the message waits, as accepted and nothing more: its
/// sender is told once that it does, and it is tried again for as long as the process lives.
async fn conversation(
    gateway: &Gateway,
    message: &Accepted,
    seq: &Cell<u64>,
    wait: &Wait,
) -> Result<Transcript, TurnError> {
    let mut delay = FIRST_STORE_RETRY;
    wait.waits.set(true);
    loop {
        let error = match gateway.sessions.touch(&message.session_key).await {
            Err(error) if will_pass(gateway, &error) => error,
            opened => {
                wait.waits.set(false);
                gateway.waits.end(&message.run_id);
                return Ok(opened?);
            }
        };
        wait.tell_once(gateway, message, seq, &error.to_string());
        sleep(delay).await;
        delay = (delay * 2).min(LONGEST_STORE_RETRY);
    }
}

/// What a message's sender knows of its waiting for the store.
#[derive(Default)]
struct Wait {
    waits: Cell<bool>,
    told: Cell<bool>,
}

impl Wait {
    fn tell_once(&self, gateway: &Gateway, message: &Accepted, seq: &Cell<u64>, why: &str) {
        if !self.told.replace(true) {
            tell_of_wait(gateway, message, why, seq.get());
            seq.set(seq.get() + 1);
        }
    }
}

/// Whether waiting helps against `error`: somebody has the lock, the disk is in trouble, or the store is damaged and
/// may be restored. History gave up at once.
fn will_pass(gateway: &Gateway, error: &StateError) -> bool {
    match (gateway.policies.lock_failure, error) {
        (LockFailure::Forget, _) => false,
        (
            LockFailure::TellAndRetry,
            StateError::Lock(_)
            | StateError::Unfenced(_)
            | StateError::Io { .. }
            | StateError::Unconfirmed { .. }
            | StateError::Unreadable { .. },
        ) => true,
    }
}

/// Records that the message is being worked on. Nothing was done yet, so a disk that is full for a while costs the
/// sender time and not the reply.
async fn begin(gateway: &Gateway, message: &Accepted) {
    while let Err(error) = gateway.inbox.start(&message.run_id) {
        tracing::warn!(name: "run.start-not-durable", run = message.run_id, %error, "trying again");
        sleep(START_RETRY_DELAY).await;
    }
}

/// Asks the model, again after transient failures as long as nothing of an answer was seen.
async fn ask(
    gateway: &Gateway,
    message: &Accepted,
    prompt: &[PromptMessage],
    seq: &Cell<u64>,
) -> Result<Answer, ProviderError> {
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
        let with_programs = gateway.config.tools.exec.enabled;
        let question = Question {
            model: &gateway.config.model.name,
            messages: prompt,
            tools: tools::offered(with_programs),
        };
        match provider::complete(&gateway.env, &gateway.endpoint, question, on_delta).await {
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
