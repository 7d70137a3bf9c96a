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
use super::untold::Unanswered;
use crate::channels::Route;
use crate::channels::webchat::{ChatState, event, publish, publish_end};
use crate::cron;
use crate::env::WallTime;
use crate::gateway::Gateway;
use crate::lifecycle::hooks::Became;
use crate::messages::delivery::{self, Kind};
use crate::messages::inbox::{Accepted, Settlement, Stage};
use crate::sessions::{
    LOCK_DEADLINE, Outcome, Recorded, Role, StateError, TranscriptEntries, TranscriptEntry,
};

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

/// Settles the messages of a turn, at least one, with one notice: durably for the history, and live for whoever is
/// connected. `seq` is the number of the next event of the first one's run.
pub(crate) async fn tell(gateway: &Rc<Gateway>, messages: &[Accepted], cause: NoticeCause, seq: u64) {
    tell_all(gateway, Unanswered::of_turn(messages, cause, seq), LOCK_DEADLINE).await;
}

/// Settles messages of one conversation with one notice, waiting for the session store no longer than `patience`. Who
/// cannot be told in time how the message ends hears that it is kept. Repeating it tells nobody twice.
pub(crate) async fn tell_all(gateway: &Rc<Gateway>, unanswered: Vec<Unanswered>, patience: Duration) {
    let mut others = Vec::new();
    for it in unanswered {
        if cron::is_run(&it.message.run_id) {
            end_scheduled(gateway, &it);
        } else if subagents::is_work(&it.message.run_id) {
            end_subagent(gateway, &it);
        } else if let Some(notice) = subagents::notice(gateway, &it.message, &it.cause) {
            // What came of a subagent is said by itself: a notice about others has no room for it.
            settle(gateway, vec![it], Some(notice), patience).await;
        } else {
            others.push(it);
        }
    }
    if !others.is_empty() {
        settle(gateway, others, None, patience).await;
    }
}

/// Settles messages, at least one; with this notice, or with one that is made of them.
async fn settle(
    gateway: &Rc<Gateway>,
    unanswered: Vec<Unanswered>,
    words: Option<String>,
    patience: Duration,
) {
    match record(gateway, &unanswered, words.as_deref(), patience).await {
        Ok(ends) => ends.iter().for_each(|end| announce(gateway, end)),
        Err(error) => {
            let run = &unanswered[0].message.run_id;
            tracing::error!(name: "message.notice-not-durable", run, %error, "trying again");
            note_interruption(gateway, &unanswered);
            let said = say_unrecorded(gateway, &unanswered, words.as_deref(), &error.to_string());
            let (gateway, conversation) = (gateway.clone(), unanswered[0].message.session_key.clone());
            let is_told = unanswered.iter().all(|it| matches!(it.message.route, Route::Webchat));
            gateway.unrecorded.owe(&conversation, is_told);
            drop(gateway.env.clone().spawn("notice", async move {
                keep_trying(&gateway, unanswered, words, said).await;
                gateway.unrecorded.pay(&conversation, is_told);
            }));
        }
    }
}

/// Until the notice can be recorded the journal says why there is no reply: by the end of this life, and by nobody's wish.
fn note_interruption(gateway: &Gateway, unanswered: &[Unanswered]) {
    let interrupted = unanswered.iter().filter(|it| matches!(*it.cause, NoticeCause::Interrupted));
    let begun: Vec<&str> = interrupted
        .map(|it| it.message.run_id.as_str())
        .filter(|run_id| has_begun(gateway, run_id))
        .collect();
    if !begun.is_empty() {
        // That it had begun stands there already, which is enough for the next life.
        let _ = gateway.inbox.interrupt(&begun, gateway.restarts.generation());
    }
}

fn has_begun(gateway: &Gateway, run_id: &str) -> bool {
    matches!(gateway.inbox.find_open(run_id), Some((_, Stage::Started)))
}

/// Says live what could not be recorded; returns whether that was all of it. Nothing runs a message again that had
/// started. One that had not may still get its reply, from this life's successor; saying now that it will not could be a
/// lie.
fn say_unrecorded(gateway: &Rc<Gateway>, unanswered: &[Unanswered], words: Option<&str>, why: &str) -> bool {
    let (begun, kept): (Vec<_>, Vec<_>) =
        unanswered.iter().cloned().partition(|it| has_begun(gateway, &it.message.run_id));
    if !begun.is_empty() {
        let notice = words.map_or_else(|| notice(&begun), str::to_string);
        let lead = begun[0].message.run_id.clone();
        announce(gateway, &End { lead, unanswered: begun, outcome: Outcome::Notice(notice) });
    }
    kept.iter().for_each(|it| tell_of_wait(gateway, &it.message, why, it.seq));
    kept.is_empty()
}

/// Says live, as far as that can be said, how messages end that there was no time to record: the next life does.
pub(crate) fn leave_untold(gateway: &Rc<Gateway>, unanswered: Vec<Unanswered>, why: &str) {
    let is_ours =
        |it: &Unanswered| cron::is_run(&it.message.run_id) || subagents::is_ours(&it.message.run_id);
    let unanswered: Vec<_> = unanswered.into_iter().filter(|it| !is_ours(it)).collect();
    say_unrecorded(gateway, &unanswered, None, why);
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
fn end_scheduled(gateway: &Rc<Gateway>, Unanswered { message, cause, seq }: &Unanswered) {
    if let Some(reply) = recorded_reply(gateway, message) {
        gateway.settle(&[&message.run_id], Settlement::Answered);
        return publish_end(&gateway.peers, std::slice::from_ref(message), *seq, &ChatState::Final(&reply));
    }
    cron::ended_without_reply(gateway, &message.run_id, cause);
    if matches!(**cause, NoticeCause::Interrupted) {
        gateway.hooks.affected.note(message, Became::Interrupted);
    }
    gateway.settle(&[&message.run_id], Settlement::Told);
    let why = cause.to_string();
    publish(&gateway.peers, &message.session_key, &message.run_id, *seq, &ChatState::Error(&why));
}

/// Nor has a subagent's run: the books are told, and who asked for it hears from there.
fn end_subagent(gateway: &Rc<Gateway>, Unanswered { message, cause, .. }: &Unanswered) {
    if recorded_reply(gateway, message).is_some() {
        return gateway.settle(&[&message.run_id], Settlement::Answered);
    }
    subagents::ended_without_reply(gateway, &message.run_id, cause);
    gateway.settle(&[&message.run_id], Settlement::Told);
}

/// The reply to the message, if the transcript has it.
fn recorded_reply(gateway: &Gateway, message: &Accepted) -> Option<String> {
    match gateway.ended_as(&message.session_key, &message.run_id)? {
        Outcome::Reply(reply) => Some(reply),
        Outcome::Notice(_) => None,
    }
}

/// `said`: whoever is connected has heard it.
async fn keep_trying(gateway: &Rc<Gateway>, unanswered: Vec<Unanswered>, words: Option<String>, said: bool) {
    let mut delay = FIRST_RETRY_DELAY;
    let run_id = unanswered[0].message.run_id.clone();
    loop {
        sleep(delay).await;
        match record(gateway, &unanswered, words.as_deref(), LOCK_DEADLINE).await {
            Ok(ends) if said => {
                let outcomes: Vec<_> = ends.iter().map(|end| &end.outcome).collect();
                tracing::info!(name: "message.notice-durable", run = run_id, ?outcomes, "recorded at last");
                return;
            }
            Ok(mut ends) => {
                let was_said = ends.iter_mut().flat_map(|end| &mut end.unanswered);
                was_said.for_each(|it| it.seq += 1);
                return ends.iter().for_each(|end| announce(gateway, end));
            }
            Err(error) => {
                tracing::debug!(name: "message.notice-refused", run = run_id, %error, "trying again");
                delay = (delay * 2).min(LONGEST_RETRY_DELAY);
            }
        }
    }
}

/// How messages ended that ended together, in the name of one of them.
struct End {
    lead: String,
    unanswered: Vec<Unanswered>,
    outcome: Outcome,
}

/// Makes the ends of the messages durable and returns them: what the transcript says already, or one notice. Those that
/// are over by now have ended otherwise.
async fn record(
    gateway: &Rc<Gateway>,
    unanswered: &[Unanswered],
    words: Option<&str>,
    patience: Duration,
) -> Result<Vec<End>, StateError> {
    let transcript = gateway.sessions.open_transcript(&unanswered[0].message.session_key, patience).await?;
    let (mut ends, mut rest): (Vec<End>, Vec<Unanswered>) = Default::default();
    for it in unanswered {
        // By what the journal says of it, and not by whether it still has its words.
        if matches!(gateway.inbox.stage_of(&it.message.run_id), Some(Stage::Settled(_))) {
            continue;
        }
        match transcript.recorded(&it.message.run_id)? {
            Some(recorded) => {
                gateway.conclude_recorded(&it.message, &recorded)?;
                let Recorded { outcome, lead } = recorded;
                match ends.iter_mut().find(|end| end.lead == lead) {
                    Some(end) => end.unanswered.push(it.clone()),
                    None => ends.push(End { lead, unanswered: vec![it.clone()], outcome }),
                }
            }
            None => rest.push(it.clone()),
        }
    }
    if rest.is_empty() {
        return Ok(ends);
    }
    let notice = words.map_or_else(|| notice(&rest), str::to_string);
    let messages: Vec<Accepted> = rest.iter().map(|it| it.message.clone()).collect();
    let now = gateway.env.wall_clock();
    let mut entries = unsaid(&transcript.entries()?, &messages, now);
    let run_ids: Vec<&str> = messages.iter().map(|message| message.run_id.as_str()).collect();
    entries.push(TranscriptEntry::new(Role::Notice, &notice, &run_ids, now).into());
    // The disk is waited for without letting go: once is enough, however many messages these are.
    transcript.append_all(&entries)?;
    let (lead, outcome) = (messages[0].run_id.clone(), Outcome::Notice(notice));
    gateway.conclude(&messages, &outcome)?;
    let interrupted = rest.iter().filter(|it| matches!(*it.cause, NoticeCause::Interrupted));
    interrupted.for_each(|it| gateway.hooks.affected.note(&it.message, Became::Told));
    ends.push(End { lead, unanswered: rest, outcome });
    Ok(ends)
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

fn announce(gateway: &Gateway, End { unanswered, outcome, .. }: &End) {
    let first = &unanswered[0];
    match outcome {
        Outcome::Reply(reply) => {
            let run = &first.message.run_id;
            tracing::info!(name: "run.finished", run, "its reply was already recorded");
            let messages: Vec<Accepted> = unanswered.iter().map(|it| it.message.clone()).collect();
            publish_end(&gateway.peers, &messages, first.seq, &ChatState::Final(reply));
        }
        Outcome::Notice(notice) => {
            for Unanswered { message, seq, .. } in unanswered {
                let (run, session) = (&message.run_id, &message.session_key);
                tracing::warn!(
                    name: "message.told",
                    run,
                    session = session,
                    notice,
                    "a message ends with a notice"
                );
                publish(&gateway.peers, session, run, *seq, &ChatState::Error(notice));
            }
        }
    }
}

/// What the sender reads: which messages, why, and what to do; for each reason that some have in common.
fn notice(unanswered: &[Unanswered]) -> String {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for it in unanswered {
        let (why, quoted) = (it.cause.to_string(), quoted(&it.message.text));
        match reasons.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, messages)) => messages.push(quoted),
            None => reasons.push((why, vec![quoted])),
        }
    }
    let sentences = reasons.iter().map(|(why, messages)| match &messages[..] {
        [first, others @ ..] if !others.is_empty() => {
            let others = others.join(", ");
            format!(
                "Your message {first} was not answered, nor what came with it ({others}): {why}. Please send them again."
            )
        }
        messages => {
            let first = messages.concat();
            format!("Your message {first} was not answered: {why}. Please send it again.")
        }
    });
    sentences.collect::<Vec<_>>().join("\n")
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

    fn said(text: &str, cause: NoticeCause) -> Unanswered {
        let (run_id, session_key) = ("r".to_string(), "s".to_string());
        let message = Accepted { run_id, session_key, text: text.to_string(), route: Route::Webchat };
        Unanswered::new(message, cause)
    }

    #[test]
    fn one_notice_names_all_that_it_is_about_and_every_reason() {
        use NoticeCause::{Interrupted, TooOld};
        assert_eq!(
            notice(&[said("one", Interrupted), said("two", Interrupted), said("three", Interrupted)]),
            "Your message \"one\" was not answered, nor what came with it (\"two\", \"three\"): the service restarted \
             before it was answered. Please send them again."
        );
        assert_eq!(
            notice(&[said("one", Interrupted), said("two", TooOld)]),
            "Your message \"one\" was not answered: the service restarted before it was answered. Please send it \
             again.\nYour message \"two\" was not answered: the service was away for more than a day. Please send it \
             again."
        );
    }

    #[test]
    fn a_notice_says_which_message_why_and_what_to_do() {
        assert_eq!(
            notice(&[said("hello", NoticeCause::Interrupted)]),
            "Your message \"hello\" was not answered: the service restarted before it was answered. \
             Please send it again."
        );
        let long = notice(&[said(&"x".repeat(100), NoticeCause::Interrupted)]);
        assert!(long.contains(&format!("\"{}...\"", "x".repeat(QUOTED_CHARS))), "{long}");
    }
}
