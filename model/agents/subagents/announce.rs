//! The announcement: what came of a subagent goes to whoever asked for it, as a turn of that conversation.
//!
//! Its name is the same however often it is tried, so the inbox and the transcript of the conversation know whether it is
//! made. When the turn itself fails, a notice ends it, as it ends any message, in words that hold the result.

use std::rc::Rc;

use super::{Announcement, Entry, Name, OutcomeStatus, PREFIX, Requester, note_of, parse, try_again};
use crate::agents::notice::NoticeCause;
use crate::gateway::Gateway;
use crate::messages::inbox::{Accepted, Settlement, Stage};
use crate::messages::{Receipt, SendRefused};
use crate::policy::{SubagentAnnouncement, SubagentAnnouncementExpiry};

/// How often history tried to announce a result.
const MOST_TRIES: u32 = 3;
/// How long after a subagent's end history announced what came of it.
const EXPIRY_MS: u64 = 30 * 60 * 1_000;
/// How much of a task is quoted.
const QUOTED_TASK_CHARS: usize = 200;

/// Announces what came of a subagent, unless that is done or on its way.
pub(super) fn make(gateway: &Rc<Gateway>, run_id: &str, entry: &Entry) {
    if entry.announcement != Announcement::Pending || gateway.subagents.is_hushed(entry) {
        return;
    }
    if is_expired(gateway, entry) {
        return give_up(gateway, run_id);
    }
    let message = message(gateway, entry);
    match gateway.inbox.stage_of(&message.run_id) {
        Some(Stage::Settled(how)) => return settled(gateway, &entry.id, how),
        Some(Stage::Accepted | Stage::Started) => return,
        None => {}
    }
    // The inbox forgets with time, and history's with each process.
    let transcript = gateway.sessions.find_transcript(&entry.requester.session_key);
    let outcome =
        transcript.and_then(|found| found.map_or(Ok(None), |transcript| transcript.outcome(&message.run_id)));
    match outcome {
        Ok(Some(_)) => return settled(gateway, &entry.id, Settlement::Answered),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(name: "subagent.no-evidence", child = run_id, %error, "trying again");
            return try_again(gateway, &entry.id, make);
        }
    }
    match gateway.accept_follow_up(&message) {
        Ok(Receipt::Started | Receipt::InFlight) => {
            tracing::info!(
                name: "subagent.announced",
                child = run_id,
                session = message.session_key,
                "its result goes to whoever asked for it"
            );
        }
        Ok(Receipt::Over(how)) => settled(gateway, &entry.id, how),
        // The next life finds the row.
        Err(SendRefused::NotAdmitting) => {}
        Err(SendRefused::NotDurable(_) | SendRefused::Busy) if is_given_up(gateway, &entry.id) => {
            give_up(gateway, run_id);
        }
        Err(SendRefused::NotDurable(_) | SendRefused::Busy) => try_again(gateway, &entry.id, make),
        Err(SendRefused::KeyReused) => {
            tracing::error!(name: "subagent.not-announced", child = run_id, "its name was used for another one");
            settled(gateway, &entry.id, Settlement::Told);
        }
    }
}

/// What history did with a result that it announced no more.
fn give_up(gateway: &Rc<Gateway>, run_id: &str) {
    tracing::debug!(name: "subagent.announcement-lost", child = run_id, "nobody hears of it");
    note_of(gateway, run_id, |entry| entry.announcement = Announcement::NotWanted);
}

/// Whether history had no use any more for what came of a subagent.
fn is_expired(gateway: &Gateway, entry: &Entry) -> bool {
    let age = entry.ended_at.map_or(0, |ended_at| gateway.subagents.now_ms().saturating_sub(ended_at));
    gateway.policies.subagent_announcement_expiry == SubagentAnnouncementExpiry::ThirtyMinutes
        && age > EXPIRY_MS
}

/// Whether history had tried often enough to announce what came of a subagent; it has, once more.
fn is_given_up(gateway: &Gateway, id: &str) -> bool {
    if gateway.policies.subagent_announcement != SubagentAnnouncement::ThreeTries {
        return false;
    }
    let mut tries = gateway.subagents.announcing.borrow_mut();
    let tries = tries.entry(id.to_string()).or_default();
    *tries += 1;
    *tries >= MOST_TRIES
}

/// The announcement of a subagent is over.
pub(super) fn settled(gateway: &Rc<Gateway>, id: &str, how: Settlement) {
    let Some((run_id, entry)) = gateway.subagents.registry.of_subagent(id) else { return };
    if entry.announcement != Announcement::Pending {
        return;
    }
    let announcement = match how {
        Settlement::Answered | Settlement::Told => Announcement::Made,
        Settlement::Cancelled => Announcement::NotWanted,
    };
    note_of(gateway, &run_id, |entry| entry.announcement = announcement);
}

/// The turn in which whoever asked is told, on the road that its own message came by.
fn message(gateway: &Gateway, entry: &Entry) -> Accepted {
    let name = match gateway.policies.subagent_announcement {
        SubagentAnnouncement::Once | SubagentAnnouncement::ThreeTries => "announce".to_string(),
        SubagentAnnouncement::NewNameEachTime => {
            format!("announce-{}", gateway.env.random_id("subagent-announcement"))
        }
    };
    let run_id = format!("{PREFIX}{}:{name}", entry.id);
    let Requester { session_key, route, .. } = entry.requester.clone();
    Accepted { run_id, session_key, text: words(entry), route }
}

/// What the model is told, which puts it into words of its own.
fn words(entry: &Entry) -> String {
    let (status, text) = outcome(entry);
    format!(
        "[subagent:{} {status}] The background task that you started is over: {status}.\nTask: {}\nResult: {text}\n\
         Tell the user what came of it.",
        entry.id,
        quoted(entry),
    )
}

/// What the sender reads when that turn fails; nothing when `message` is no announcement.
pub(crate) fn notice(gateway: &Gateway, message: &Accepted, cause: &NoticeCause) -> Option<String> {
    let Some(Name::Announcement(id)) = parse(&message.run_id) else { return None };
    let (_, entry) = gateway.subagents.registry.of_subagent(id)?;
    let task = quoted(&entry);
    Some(match outcome(&entry) {
        ("done", result) => format!(
            "Your message started a background task, \"{task}\". It is done, and there is no answer about it: {cause}. \
             Its result: {result}"
        ),
        (status, why) => format!(
            "Your message started a background task, \"{task}\", which is {status}: {why}. Please ask for it again."
        ),
    })
}

fn outcome(entry: &Entry) -> (&'static str, &str) {
    let Some(outcome) = &entry.outcome else { return ("lost", "nobody knows why") };
    let status = match outcome.status {
        OutcomeStatus::Ok => "done",
        OutcomeStatus::Error => "failed",
        OutcomeStatus::Lost => "lost",
        OutcomeStatus::Cancelled => "stopped",
    };
    (status, &outcome.text)
}

fn quoted(entry: &Entry) -> String {
    let task = entry.label.iter().chain([&entry.task]).map(String::as_str).collect::<Vec<_>>().join(": ");
    task.chars().take(QUOTED_TASK_CHARS).collect()
}
