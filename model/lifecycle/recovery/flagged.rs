//! Recovery as history went about it: what was interrupted is what the session store says was, by a flag.
//!
//! `abortedLastRun` was set by users who stopped something, and by a start of OpenClaw 2026.5.3-1 that found the lock of
//! a transcript stale. So a search for it finds what nobody wanted any more, and nothing of what an end in good order cut
//! short (openclaw/openclaw#38836, #47711, #71263). Knows the journal of messages only as the place where a message is put
//! that runs again.

use std::path::PathBuf;
use std::rc::Rc;

use tokio::time::sleep;

use super::{FIRST_PAUSE, NoticeCause};
use crate::agents::notice::tell;
use crate::agents::subagents;
use crate::channels::Route;
use crate::cron;
use crate::gateway::Gateway;
use crate::lifecycle::hooks::Became;
use crate::messages::inbox::Accepted;
use crate::messages::traces;
use crate::policy::{BegunTurn, FollowUps, InterruptionEvidence, Recovery, ResumedReply};
use crate::sessions::{Flagged, Role, SessionStatus, StateError};

/// What a run is told that goes on with what an earlier one left.
const GO_ON: &str = "The service restarted while you were at work on this. Go on where you were:";

/// Marks the conversations that the store calls running and whose transcripts the lock files `freed` were of.
///
/// Errors: the store cannot be read, or not be changed.
pub(crate) async fn mark(gateway: &Gateway, freed: &[PathBuf]) -> Result<(), StateError> {
    if gateway.policies.interruption_evidence != InterruptionEvidence::FlagOrStaleLock || freed.is_empty() {
        return Ok(());
    }
    let interrupted = gateway.sessions.running_of_locks(freed)?;
    if interrupted.is_empty() {
        return Ok(());
    }
    for session in &interrupted {
        tracing::warn!(name: "recovery.session-flagged", session = %session, "its transcript's lock was left stale");
    }
    gateway.sessions.set_aborted_last_run(&interrupted, true).await
}

/// Whether a conversation was interrupted, as far as history could tell.
pub(crate) fn is_flagged(gateway: &Gateway, session_key: &str) -> bool {
    match gateway.policies.interruption_evidence {
        InterruptionEvidence::Journal => true,
        InterruptionEvidence::FlagOfUsers | InterruptionEvidence::FlagOrStaleLock => {
            let flagged = gateway.sessions.flagged().unwrap_or_default();
            flagged.iter().any(|flagged| flagged.session_key == session_key)
        }
    }
}

/// Sees in a moment to the conversations that have the flag now, and to nothing else.
pub(super) fn look(gateway: &Rc<Gateway>) {
    gateway.inbox.forget_settled_texts();
    let found = match gateway.policies.recovery {
        Recovery::Skip => Vec::new(),
        _ => gateway.sessions.flagged().unwrap_or_default(),
    };
    // A user's flag says nothing of whether anybody was at work; subagents and scheduled runs are seen to elsewhere.
    let is_meant = |flagged: &Flagged| {
        let key = &flagged.session_key;
        (flagged.is_running || gateway.policies.interruption_evidence == InterruptionEvidence::FlagOfUsers)
            && !subagents::is_ours(key)
            && !cron::is_run(key)
    };
    let found: Vec<String> = found.into_iter().filter(is_meant).map(|flagged| flagged.session_key).collect();
    tracing::info!(name: "recovery.finished", flagged = found.len(), "the session store was searched");
    if found.is_empty() {
        return;
    }
    let gateway = gateway.clone();
    drop(gateway.env.clone().spawn("flagged sessions", async move {
        sleep(FIRST_PAUSE).await;
        for key in found {
            if !gateway.lanes.is_busy(&key) && is_flagged(&gateway, &key) {
                settle(&gateway, key).await;
            }
        }
    }));
}

/// Sees to one conversation: its last message runs again or its sender is told, unless it has its end.
async fn settle(gateway: &Rc<Gateway>, session_key: String) {
    match unanswered(gateway, &session_key) {
        Ok(Some(message)) if gateway.policies.begun_turn == BegunTurn::Replayed => {
            resume(gateway, message);
        }
        Ok(Some(message)) => {
            // Whatever the journal says of it: that was not asked.
            gateway.inbox.reopen(&message.run_id);
            tell(gateway, &[message], NoticeCause::Interrupted, 0).await;
            unflag(gateway, session_key).await;
        }
        Ok(None) => {
            unflag(gateway, session_key).await;
        }
        // The next start tries again.
        Err(error) => {
            tracing::warn!(name: "recovery.no-evidence", key = session_key, %error, "left alone")
        }
    }
}

/// The last message of a conversation whose transcript ends in it, or in the use of a tool.
fn unanswered(gateway: &Gateway, session_key: &str) -> Result<Option<Accepted>, StateError> {
    let Some(transcript) = gateway.sessions.find_transcript(session_key)? else { return Ok(None) };
    let entries = transcript.entries()?;
    let is_open = entries
        .last()
        .is_some_and(|last| matches!(last.role, Role::User | Role::ToolCalls | Role::ToolResult));
    let Some(said) = entries.iter().rfind(|entry| is_open && entry.role == Role::User) else {
        return Ok(None);
    };
    Ok(Some(Accepted {
        run_id: said.run_id.clone(),
        session_key: session_key.to_string(),
        text: said.text.clone(),
        route: traces::route(gateway, session_key)?,
    }))
}

/// Another run goes on with it, under a name of its own. It is its turn that takes the flag away.
fn resume(gateway: &Rc<Gateway>, message: Accepted) {
    let run_id = format!("resume:{}", gateway.env.random_id("main-session-resume"));
    let route = match gateway.policies.resumed_reply {
        ResumedReply::ToItsSender => message.route,
        ResumedReply::TranscriptOnly => Route::Webchat,
    };
    // It may be such a run itself that was cut short.
    let wanted = message.text.strip_prefix(GO_ON).unwrap_or(&message.text);
    let text = format!("{GO_ON} {}", wanted.trim_start());
    let resumed = Accepted { run_id, text, route, session_key: message.session_key };
    tracing::warn!(name: "recovery.resumed", run = resumed.run_id, old = message.run_id, "another run goes on");
    gateway.hooks.affected.note(&resumed, Became::Resumed);
    match gateway.inbox.accept(&resumed, FollowUps::Durable) {
        Ok(()) => gateway.enqueue_again(&resumed, None),
        Err(error) => {
            tracing::warn!(name: "recovery.not-resumed", run = resumed.run_id, %error, "the next start tries again");
        }
    }
}

/// Nobody has to look there again.
async fn unflag(gateway: &Rc<Gateway>, session_key: String) {
    let (keys, generation) = ([session_key], gateway.restarts.generation());
    // What the store refuses is found again by the next start.
    let _ = gateway.sessions.set_aborted_last_run(&keys, false).await;
    if gateway.policies.interruption_evidence == InterruptionEvidence::FlagOrStaleLock {
        let _ = gateway.sessions.set_status(&keys, SessionStatus::Idle, generation).await;
    }
}
