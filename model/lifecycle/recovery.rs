//! Recovery: what this life owes to the messages that an earlier one accepted and did not settle.
//!
//! [`verdict`] decides from evidence alone, so that a crash at any point of recovery leads to the same end.
//! A message that had not started is run, a few times at most and not for ever. One that had started may have acted
//! already: its sender is told, once for the conversation. Nothing here waits for what it repairs: whoever cannot be
//! told now is told when that works, and keeps nobody else waiting.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

pub(crate) mod flagged;

use crate::agents::notice::{NoticeCause, TurnError, tell_all};
use crate::agents::untold::{Unanswered, by_conversation};
use crate::channels::{Delivery, Route};
use crate::gateway::Gateway;
use crate::lifecycle::hooks::Became;
use crate::messages::inbox::{Accepted, Settlement, Stage};
use crate::messages::outbox::About;
use crate::messages::stop;
use crate::policy::{
    BegunTurn, InterruptionEvidence, InterruptionNotice, Policies, Recovery, RecoveryDispatch, ResumeAge,
    ResumeLimit, SessionStatus,
};
use crate::sessions::{self, Outcome, Recorded, Role, StateError};

/// How often a message is taken up by lives that die (OpenClaw 2026.9.6: 3).
const MOST_RESUMES: u32 = 3;
/// The pause before a message is taken up whose last life died over it; it doubles (OpenClaw: 5 s).
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// A message that waited for longer is not run any more: whoever sent it has other worries by now.
const TOO_OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// When a status that the store could not take is written again.
const STATUS_RETRY: Duration = Duration::from_secs(5);

/// What the journal and the transcript say about a message of an earlier life.
#[derive(Clone, Copy)]
struct Evidence<'a> {
    stage: Stage,
    /// Its end, as the transcript shows it.
    recorded: Option<&'a Outcome>,
    /// How many lives had taken it up and died.
    resumed: u32,
    /// How long ago it was accepted.
    age: Duration,
}

/// What becomes of a message from an earlier life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing: it is settled.
    Leave,
    /// The transcript shows its end; only the journal does not.
    Settle,
    /// It runs, after a pause.
    Resume(Duration),
    /// Its sender is told.
    Tell(Why),
}

/// Why a message is told and not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Interrupted,
    TriedTooOften,
    TooOld,
}

impl Why {
    const fn cause(self) -> NoticeCause {
        match self {
            Self::Interrupted => NoticeCause::Interrupted,
            Self::TriedTooOften => NoticeCause::TriedTooOften(MOST_RESUMES),
            Self::TooOld => NoticeCause::TooOld,
        }
    }
}

/// `policy` is what recovery means for the message's conversation.
fn verdict(policy: Recovery, policies: &Policies, evidence: Evidence<'_>) -> Verdict {
    let Evidence { stage, recorded, resumed, age } = evidence;
    match (policy, stage, recorded) {
        (Recovery::Skip | Recovery::MainSessionOnly, ..) => return Verdict::Leave,
        (Recovery::RerunEverything, ..) => return Verdict::Resume(Duration::ZERO),
        (_, Stage::Settled(_), _) => return Verdict::Leave,
        (_, Stage::Started, _) if policies.begun_turn == BegunTurn::Replayed => {}
        (_, _, Some(_)) => return Verdict::Settle,
        (_, Stage::Accepted, None) => {}
        (_, Stage::Started, None) => return Verdict::Tell(Why::Interrupted),
    }
    if policies.resume_limit == ResumeLimit::Unlimited {
        return Verdict::Resume(Duration::ZERO);
    }
    match resumed {
        _ if policies.resume_age == ResumeAge::Limited && age > TOO_OLD => Verdict::Tell(Why::TooOld),
        MOST_RESUMES.. => Verdict::Tell(Why::TriedTooOften),
        0 => Verdict::Resume(Duration::ZERO),
        1.. => Verdict::Resume(FIRST_PAUSE * (1 << (resumed - 1))),
    }
}

impl Recovery {
    /// What it means for the messages of one session.
    fn of_session(self, session_key: &str) -> Self {
        match self {
            Self::MainSessionOnly if session_key == "main" => Self::ResumeOrTell,
            policy => policy,
        }
    }
}

/// Settles or resumes every message of earlier lives, in the order of their acceptance.
pub(crate) async fn recover(gateway: &Rc<Gateway>) {
    if gateway.policies.recovery != Recovery::Skip {
        // What was stopped is not resumed, however far the stop came.
        stop::recover(gateway);
    }
    if gateway.policies.interruption_evidence != InterruptionEvidence::Journal {
        return flagged::look(gateway);
    }
    let (mut resumed, mut untold) = (Vec::new(), Vec::new());
    for (message, stage) in gateway.inbox.in_order() {
        let recorded = match recorded(gateway, &message, stage) {
            Ok(recorded) => recorded,
            Err(error) => {
                tracing::error!(name: "recovery.no-evidence", run = message.run_id, %error, "cannot tell its end");
                untold.push(Unanswered::new(message, NoticeCause::Failed(TurnError::State(error))));
                continue;
            }
        };
        let evidence = Evidence {
            stage,
            recorded: recorded.as_ref().map(|recorded| &recorded.outcome),
            resumed: gateway.inbox.times_resumed(&message.run_id),
            age: gateway.inbox.age(&message.run_id),
        };
        let policy = gateway.policies.recovery.of_session(&message.session_key);
        match (verdict(policy, &gateway.policies, evidence), recorded) {
            (Verdict::Leave, _) => {}
            (Verdict::Settle, Some(recorded)) => {
                if let Err(error) = gateway.conclude_recorded(&message, &recorded) {
                    tracing::error!(name: "recovery.not-concluded", run = message.run_id, %error, "trying again");
                    untold.push(Unanswered::new(message, NoticeCause::Interrupted));
                }
            }
            (Verdict::Settle, None) => unreachable!("the transcript shows its end"),
            (Verdict::Resume(pause), _) => resumed.push((message, pause)),
            (Verdict::Tell(why), _) => {
                gateway.hooks.last_life_crashed();
                untold.push(Unanswered::new(message, why.cause()));
            }
        }
        // A disk is waited for without letting go: only between two messages can a signal be heard.
        yield_now().await;
    }
    let told = untold.len();
    for conversation in by_conversation(gateway.policies.interruption_notice, untold) {
        // At once, if what that takes can be had at once; else as soon as it can.
        tell_all(gateway, conversation, Duration::ZERO).await;
        yield_now().await;
    }
    let count = resumed.len();
    for (message, pause) in resumed {
        resume(gateway, &message, pause);
        yield_now().await;
    }
    tell_too_many(gateway);
    end_what_the_store_calls_running(gateway);
    gateway.inbox.forget_settled_texts();
    tracing::info!(name: "recovery.finished", resumed = count, told, "earlier lives are settled");
}

fn resume(gateway: &Rc<Gateway>, message: &Accepted, pause: Duration) {
    let run_id = &message.run_id;
    let pause_ms = (!pause.is_zero()).then_some(pause.as_millis() as u64);
    match gateway.policies.recovery_dispatch {
        RecoveryDispatch::WhenOver => {
            tracing::warn!(name: "recovery.resumed", run = run_id, pause_ms, "accepted by an earlier life");
        }
        // As far as history was concerned, all was well.
        RecoveryDispatch::WhenQueued => {
            tracing::info!(name: "recovery.resumed", run = run_id, pause_ms, "recovered");
            gateway.inbox.record_as_over(run_id, Settlement::Answered);
        }
    }
    gateway.hooks.affected.note(message, Became::Resumed);
    gateway.inbox.reopen(run_id);
    gateway.enqueue_again(message, (!pause.is_zero()).then(|| Instant::now() + pause));
}

/// No turn of this generation has begun: a conversation that the store calls running was interrupted, whoever wrote that
/// (openclaw/openclaw#71263). Its messages are seen to by the journal; nobody waits for the store to be put right.
fn end_what_the_store_calls_running(gateway: &Rc<Gateway>) {
    if gateway.policies.session_status == SessionStatus::AsTheStoreSays {
        return;
    }
    let Ok(running) = gateway.sessions.all_running() else { return };
    if running.is_empty() {
        return;
    }
    let gateway = gateway.clone();
    drop(gateway.env.clone().spawn("session status", async move {
        let generation = gateway.restarts.generation();
        for session in &running {
            tracing::warn!(name: "recovery.session-interrupted", session, "the store calls it running");
        }
        while let Err(error) =
            gateway.sessions.set_status(&running, sessions::SessionStatus::Interrupted, generation).await
        {
            tracing::debug!(name: "recovery.status-not-written", %error, "trying again");
            sleep(STATUS_RETRY).await;
        }
    }));
}

/// Planted defects: who had been told is told again, or everybody is.
fn tell_too_many(gateway: &Rc<Gateway>) {
    let meant = match gateway.policies.interruption_notice {
        InterruptionNotice::Once | InterruptionNotice::EachMessage => return,
        InterruptionNotice::AtEveryStart => Settlement::Told,
        InterruptionNotice::EveryConversation => Settlement::Answered,
    };
    let generation = gateway.restarts.generation();
    for (message, stage) in gateway.inbox.in_order() {
        if stage != Stage::Settled(meant) {
            continue;
        }
        let words = format!("Your message \"{}\" may be lost: the service restarted.", message.text);
        // A defect need not say that it failed.
        if let Ok(Some(transcript)) = gateway.sessions.find_transcript(&message.session_key) {
            let _ = transcript.append(Role::Notice, &words, &message.run_id, gateway.env.wall_clock());
        }
        if let Route::Platform(chat) = &message.route {
            let delivery = Delivery {
                id: format!("{}:again:{generation}", message.run_id),
                chat: chat.clone(),
                text: words,
            };
            let about = About { run_id: message.run_id.clone(), session_key: message.session_key.clone() };
            let _ = gateway.outbox.queue(vec![delivery], &about);
        }
    }
}

/// What the transcript says about a message that the journal does not know the end of.
fn recorded(gateway: &Gateway, message: &Accepted, stage: Stage) -> Result<Option<Recorded>, StateError> {
    if matches!(stage, Stage::Settled(_)) {
        return Ok(None);
    }
    let Some(transcript) = gateway.sessions.find_transcript(&message.session_key)? else { return Ok(None) };
    transcript.recorded(&message.run_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Verdict = Verdict::Resume(Duration::ZERO);

    fn evidence(stage: Stage, recorded: Option<&Outcome>) -> Evidence<'_> {
        Evidence { stage, recorded, resumed: 0, age: Duration::ZERO }
    }

    fn check(policies: &Policies, evidence: Evidence<'_>, expected: Verdict) {
        assert_eq!(verdict(policies.recovery, policies, evidence), expected);
    }

    #[test]
    fn the_evidence_decides_once() {
        let check =
            |stage, recorded, expected| check(&Policies::default(), evidence(stage, recorded), expected);
        let (reply, notice) = (Outcome::Reply("r".into()), Outcome::Notice("n".into()));
        check(Stage::Settled(Settlement::Answered), None, Verdict::Leave);
        check(Stage::Accepted, None, NOW);
        check(Stage::Accepted, Some(&notice), Verdict::Settle);
        check(Stage::Started, None, Verdict::Tell(Why::Interrupted));
        check(Stage::Started, Some(&reply), Verdict::Settle);
        check(Stage::Started, Some(&notice), Verdict::Settle);
    }

    #[test]
    fn what_was_stopped_is_over_whatever_else_is_known() {
        for resumed in 0..5 {
            let stopped = Evidence { resumed, ..evidence(Stage::Settled(Settlement::Cancelled), None) };
            check(&Policies::default(), stopped, Verdict::Leave);
        }
    }

    #[test]
    fn a_message_is_taken_up_a_few_times_and_then_its_sender_is_told() {
        let after = |resumed| Evidence { resumed, ..evidence(Stage::Accepted, None) };
        let seconds = |s| Verdict::Resume(Duration::from_secs(s));
        let expected = [NOW, seconds(5), seconds(10), Verdict::Tell(Why::TriedTooOften)];
        for (resumed, expected) in (0..).zip(expected) {
            check(&Policies::default(), after(resumed), expected);
        }
        let unlimited = Policies { resume_limit: ResumeLimit::Unlimited, ..Policies::default() };
        check(&unlimited, after(100), NOW);
    }

    #[test]
    fn what_is_too_old_is_told_and_not_run() {
        let aged = |age| Evidence { age, ..evidence(Stage::Accepted, None) };
        check(&Policies::default(), aged(TOO_OLD), NOW);
        check(&Policies::default(), aged(TOO_OLD + Duration::from_secs(1)), Verdict::Tell(Why::TooOld));
    }

    #[test]
    fn history_looked_at_nothing_or_ran_what_had_begun() {
        let skip = Policies { recovery: Recovery::Skip, ..Policies::default() };
        check(&skip, evidence(Stage::Started, None), Verdict::Leave);
        let replay = Policies { begun_turn: BegunTurn::Replayed, ..Policies::default() };
        let reply = Outcome::Reply("r".into());
        check(&replay, evidence(Stage::Started, Some(&reply)), NOW);
        check(&replay, evidence(Stage::Accepted, Some(&reply)), Verdict::Settle);
        let of_main = |session| Recovery::MainSessionOnly.of_session(session);
        let begun = || evidence(Stage::Started, None);
        let told = verdict(of_main("main"), &Policies::default(), begun());
        assert_eq!(told, Verdict::Tell(Why::Interrupted));
        assert_eq!(verdict(of_main("a-thread"), &Policies::default(), begun()), Verdict::Leave);
    }
}
