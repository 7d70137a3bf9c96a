//! A run: one turn with the model, from the lane to settled messages. It answers one message, or several that came
//! together or joined it; they have one reply, or one notice, and end at once.
//!
//! The order of effects is the promise. The conversation is had before the journal says `started`, and the journal
//! says so before the model is asked; the reply is in the transcript before the journal says `answered`; the journal says so before the sender sees the final
//! event. So a crash between any two of them leaves evidence that recovery can act on exactly once. Between the
//! reply's way into the transcript and the final event nothing waits, so nothing can come in between.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::notice::{NoticeCause, TurnError, tell, tell_of_wait, unsaid};
use super::prompt::{self, PromptMessage};
use super::provider::{self, Answer, ProviderError, Question};
use super::tools;
use super::untold::Unanswered;
use crate::channels::webchat::{ChatState, publish, publish_end};
use crate::gateway::Gateway;
use crate::messages::inbox::{Accepted, Settlement, Stage};
use crate::messages::lanes::{Interruption, LaneName, Turn};
use crate::messages::traces;
use crate::policy::{self, LockFailure};
use crate::sessions::{
    LOCK_DEADLINE, Outcome, Role, RunLock, SessionStatus, StateError, ToolCall, Transcript,
    TranscriptEntries, TranscriptEntry,
};

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

/// The messages that a turn answers, at least one. The first gives it its name; others may join.
pub(crate) struct Company {
    lane: LaneName,
    messages: RefCell<Rc<Vec<Accepted>>>,
}

impl Company {
    /// What is left of a turn's messages; `None`: nothing.
    fn of(gateway: &Gateway, turn: &Turn) -> Option<Self> {
        let messages = open(gateway, &turn.run_ids);
        (!messages.is_empty())
            .then(|| Self { lane: turn.lane.clone(), messages: RefCell::new(Rc::new(messages)) })
    }

    fn lead(&self) -> Accepted {
        self.messages.borrow()[0].clone()
    }

    /// Those of the moment; who joins later is not among them.
    fn messages(&self) -> Rc<Vec<Accepted>> {
        self.messages.borrow().clone()
    }
}

fn open(gateway: &Gateway, run_ids: &[String]) -> Vec<Accepted> {
    run_ids.iter().filter_map(|run_id| Some(gateway.inbox.find_open(run_id)?.0)).collect()
}

fn run_ids(messages: &[Accepted]) -> Vec<&str> {
    messages.iter().map(|message| message.run_id.as_str()).collect()
}

/// Works on a turn until its messages are settled, or until the gateway's end interrupts it.
pub(crate) async fn work(gateway: Rc<Gateway>, mut turn: Turn) {
    let Some(company) = Company::of(&gateway, &turn) else { return };
    let (run_id, seq) = (company.lead().run_id, Cell::new(0));
    let lock = RunLock::new(
        gateway.process_wide.locks.clone(),
        gateway.policies.transcript_lock,
        gateway.config.run_timeout(),
    );
    for message in company.messages().iter() {
        tracing::info!(name: "run.started", run = message.run_id, session = message.session_key, "a run begins");
    }
    let wait = Wait::default();
    let interrupted = &mut turn.interrupted;
    let outcome = tokio::select! {
        biased;
        Ok(why) = interrupted => Err(why),
        turn = whole_turn(&gateway, &company, &lock, &seq, &wait) => Ok(turn),
    };
    turn.interrupted.close();
    lock.release();
    let messages = company.messages();
    match outcome {
        Ok(Ok(reply)) => {
            tracing::info!(name: "run.finished", run = run_id, "a run is done");
            publish_end(&gateway.peers, &messages, seq.get(), &ChatState::Final(&reply));
        }
        Ok(Err(error)) if is_forgotten(&error, gateway.policies.lock_failure) => {
            // openclaw/openclaw#77721: the message is gone, and this is all that is ever said about it.
            tracing::debug!(name: "message.forgotten", run = run_id, session = messages[0].session_key, %error, "no lock");
        }
        // The drain tells, when it knows what else of the conversation the end interrupts.
        Ok(Err(TurnError::CutOff)) => leave_untold(&gateway, &messages, seq.get()),
        Ok(Err(error)) => tell(&gateway, &messages, NoticeCause::Failed(error), seq.get()).await,
        Err(Interruption::ByUser) => stopped_by_user(&gateway, &messages, seq.get()),
        // Nothing was done with it: it stays accepted, and the next life runs it.
        Err(Interruption::ByShutdown) if wait.waits.get() => {
            wait.tell_once(&gateway, &messages, &seq, "the service ended while the session store was in use");
            if let Err(error) = gateway.inbox.give_back(&run_ids(&messages)) {
                tracing::warn!(name: "run.not-given-back", run = run_id, %error, "the next life counts it as tried");
            }
        }
        Err(Interruption::ByShutdown) => {
            leave_untold(&gateway, &messages, seq.get());
            // What history left behind: nothing wrote this any more (openclaw/openclaw#71263).
            return;
        }
    }
    say_status(&gateway, &messages[0].session_key, SessionStatus::Idle).await;
}

fn leave_untold(gateway: &Gateway, messages: &[Accepted], seq: u64) {
    gateway.untold.leave(Unanswered::of_turn(messages, NoticeCause::Interrupted, seq));
}

/// Where the store's word counts, as in history: says what the conversation is doing.
async fn say_status(gateway: &Gateway, session_key: &str, status: SessionStatus) {
    if gateway.policies.session_status == policy::SessionStatus::AsTheStoreSays {
        let generation = gateway.restarts.generation();
        // It was said without looking.
        let _ = gateway.sessions.set_status(&[session_key.to_string()], status, generation).await;
    }
}

/// The cancellation itself is already recorded. What was at work together with what was stopped is in its lane again.
fn stopped_by_user(gateway: &Gateway, messages: &[Accepted], seq: u64) {
    for message in messages {
        match gateway.inbox.stage_of(&message.run_id) {
            // Whoever writes the settlement that is owed says so then.
            Some(Stage::Settled(Settlement::Cancelled))
                if !gateway.inbox.is_over_for_good(&message.run_id) => {}
            Some(Stage::Settled(Settlement::Cancelled)) => {
                publish(&gateway.peers, &message.session_key, &message.run_id, seq, &ChatState::Aborted);
            }
            _ => gateway.inbox.reopen(&message.run_id),
        }
    }
}

/// From having the conversation to having the reply. Waiting for the first is no part of the time that a run has.
async fn whole_turn(
    gateway: &Rc<Gateway>,
    company: &Company,
    lock: &RunLock,
    seq: &Cell<u64>,
    wait: &Wait,
) -> Result<String, TurnError> {
    wait.waits.set(true);
    ends_before(gateway, &company.messages(), seq, wait).await;
    take_up(gateway, &company.messages()).await;
    let transcript = conversation(gateway, &company.messages(), seq, wait).await?;
    say_status(gateway, &company.lead().session_key, SessionStatus::Running).await;
    let run_timeout = gateway.config.run_timeout();
    let turn = pin!(turn(gateway, company, &transcript, lock, seq));
    timeout(run_timeout, turn).await.unwrap_or(Err(TurnError::TimedOut(run_timeout)))
}

/// Waits until what ended before in the conversation is recorded: nobody is answered before who asked before. Senders are
/// told of it when it takes long.
async fn ends_before(gateway: &Rc<Gateway>, messages: &[Accepted], seq: &Cell<u64>, wait: &Wait) {
    let conversation = &messages[0].session_key;
    if !gateway.unrecorded.are_owed(conversation) {
        return;
    }
    let all_paid = gateway.unrecorded.all_paid(conversation);
    if timeout(LOCK_DEADLINE, all_paid).await.is_err() {
        wait.tell_once(gateway, messages, seq, "what came of the message before it cannot be written down");
        gateway.unrecorded.all_paid(conversation).await;
    }
}

/// Whether history dropped a message that ended like this without a word.
fn is_forgotten(error: &TurnError, policy: LockFailure) -> bool {
    match policy {
        LockFailure::TellAndRetry => false,
        LockFailure::Forget => matches!(error, TurnError::State(error) if error.is_about_a_lock()),
    }
}

/// The turn itself; when it returns a reply, the reply is durable and the messages settled.
async fn turn(
    gateway: &Rc<Gateway>,
    company: &Company,
    transcript: &Transcript,
    lock: &RunLock,
    seq: &Cell<u64>,
) -> Result<String, TurnError> {
    begin(gateway, &company.messages()).await;
    lock.take(transcript).await?;
    let mut entries = transcript.entries()?;
    for (call, run_id) in prompt::unanswered(&entries) {
        // Whoever used the tool died over it (openclaw/openclaw#10310, #118147).
        let now = gateway.env.wall_clock();
        entries.push(transcript.append_result(&call, prompt::NO_RESULT, &run_id, now)?);
    }
    let mut rounds = 0;
    let reply = loop {
        let messages = company.messages();
        let mut unsaid = unsaid(&entries, &messages, gateway.env.wall_clock());
        let summary = gateway.overflow.take(&messages[0].session_key);
        unsaid.extend(summary.map(|words| summary_of_overflow(gateway, &messages[0], &words)));
        transcript.append_all(&unsaid)?;
        entries.extend(unsaid);
        let prompt = prompt::of(&entries, &run_ids(&messages));
        let Answer { text, calls } = tokio::select! {
            biased;
            joined = gateway.lanes.joined(&company.lane) => {
                join(gateway, company, &joined).await;
                continue;
            }
            answer = ask(gateway, &messages[0], &prompt, seq) => answer?,
        };
        if calls.is_empty() {
            break text;
        }
        rounds += 1;
        if rounds > MOST_ROUNDS {
            return Err(TurnError::TooManyRounds(MOST_ROUNDS));
        }
        entries.extend(use_tools(gateway, &messages[0], transcript, &text, &calls).await?);
    };
    let messages = company.messages();
    transcript.append_for(Role::Assistant, &reply, &run_ids(&messages), gateway.env.wall_clock())?;
    gateway.conclude(&messages, &Outcome::Reply(reply.clone()))?;
    Ok(reply)
}

/// What is left of messages that history let wait no longer, as part of a turn about `message`.
fn summary_of_overflow(gateway: &Gateway, message: &Accepted, words: &str) -> Rc<TranscriptEntry> {
    Rc::new(TranscriptEntry::new(Role::User, words, &[&message.run_id], gateway.env.wall_clock()))
}

/// Does what the model wants before it answers. What is wanted stands in the transcript before it is done, and what came
/// of it before the model is asked again.
async fn use_tools(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    transcript: &Transcript,
    text: &str,
    calls: &[ToolCall],
) -> Result<TranscriptEntries, TurnError> {
    let now = gateway.env.wall_clock();
    let mut entries = vec![transcript.append_calls(text, calls.to_vec(), &message.run_id, now)?];
    for call in calls {
        let result = tools::use_one(gateway, message, call).await?;
        let now = gateway.env.wall_clock();
        entries.push(transcript.append_result(&call.id, &result, &message.run_id, now)?);
    }
    Ok(entries)
}

/// Takes in what came during the turn. The request in flight is given up, and nothing of its answer counts.
async fn join(gateway: &Gateway, company: &Company, joined: &[String]) {
    let joined = open(gateway, joined);
    // First of all, so that whatever becomes of the turn becomes of them.
    Rc::make_mut(&mut company.messages.borrow_mut()).extend(joined.iter().cloned());
    for message in &joined {
        let (session, lead) = (&message.session_key, company.lead().run_id);
        tracing::info!(name: "run.joined", run = message.run_id, session = session, lead, "it joins the turn at work");
    }
    begin(gateway, &joined).await;
}

/// The message's transcript. While the store cannot be had the message waits, as accepted and nothing more: its
/// sender is told once that it does, and it is tried again for as long as the process lives.
async fn conversation(
    gateway: &Rc<Gateway>,
    messages: &[Accepted],
    seq: &Cell<u64>,
    wait: &Wait,
) -> Result<Transcript, TurnError> {
    let mut delay = FIRST_STORE_RETRY;
    wait.waits.set(true);
    let trace = traces::of(gateway, &messages[0]);
    loop {
        let error = match gateway.sessions.touch(&messages[0].session_key, &trace).await {
            Err(error) if will_pass(gateway, &error) => error,
            opened => {
                wait.waits.set(false);
                messages.iter().for_each(|message| gateway.waits.end(&message.run_id));
                return Ok(opened?);
            }
        };
        wait.tell_once(gateway, messages, seq, &error.to_string());
        sleep(delay).await;
        delay = (delay * 2).min(LONGEST_STORE_RETRY);
    }
}

/// What the senders of a turn's messages know of their waiting for the store.
#[derive(Default)]
struct Wait {
    waits: Cell<bool>,
    told: Cell<bool>,
}

impl Wait {
    fn tell_once(&self, gateway: &Rc<Gateway>, messages: &[Accepted], seq: &Cell<u64>, why: &str) {
        if !self.told.replace(true) {
            messages.iter().for_each(|message| tell_of_wait(gateway, message, why, seq.get()));
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

/// Records, before anything is done about them, that messages of earlier lives are taken up.
async fn take_up(gateway: &Gateway, messages: &[Accepted]) {
    let of_earlier = |message: &&Accepted| gateway.inbox.is_of_earlier_life(&message.run_id);
    let earlier: Vec<Accepted> = messages.iter().filter(of_earlier).cloned().collect();
    if earlier.is_empty() {
        return;
    }
    let generation = gateway.restarts.generation();
    until_recorded(&earlier, || gateway.inbox.resume(&run_ids(&earlier), generation)).await;
}

/// Records that the messages are being worked on. Nothing was done yet, so a disk that is full for a while costs the
/// sender time and not the reply.
async fn begin(gateway: &Gateway, messages: &[Accepted]) {
    let generation = gateway.restarts.generation();
    until_recorded(messages, || gateway.inbox.start(&run_ids(messages), generation)).await;
}

async fn until_recorded(messages: &[Accepted], record: impl Fn() -> Result<(), StateError>) {
    while let Err(error) = record() {
        let run_id = messages.first().map(|message| &message.run_id);
        tracing::warn!(name: "run.start-not-durable", run = run_id, %error, "trying again");
        sleep(START_RETRY_DELAY).await;
    }
}

/// Asks the model, again after transient failures as long as nothing of an answer was seen.
async fn ask(
    gateway: &Gateway,
    message: &Accepted,
    prompt: &[PromptMessage<'_>],
    seq: &Cell<u64>,
) -> Result<Answer, ProviderError> {
    let mut delay = FIRST_RETRY_DELAY;
    for attempt in 1.. {
        let mut last_delta: Option<Instant> = None;
        let on_delta = |answer: &str| {
            if last_delta.is_none_or(|last| last.elapsed() >= DELTA_INTERVAL) {
                last_delta = Some(Instant::now());
                let state = ChatState::Delta(answer);
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
