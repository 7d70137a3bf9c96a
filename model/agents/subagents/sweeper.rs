//! The sweeper: an hour after its time a subagent's conversation and row are deleted.
//!
//! What is not announced stays, however old it is. Conversation first and row last, so that a crash in between leaves a
//! row by which the rest is found.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Entry, PREFIX, pay_later};
use crate::gateway::Gateway;
use crate::policy::{SubagentSpawn, SubagentSweep};
use crate::sessions::StateError;

/// How long after its time a subagent is kept (OpenClaw: 60 min).
const KEPT_MS: u64 = 60 * 60 * 1_000;
/// From one look to the next (OpenClaw: 60 s).
const INTERVAL: Duration = Duration::from_secs(60);

/// Begins to sweep, if nobody does and there may be something to sweep.
pub(super) fn start(gateway: &Rc<Gateway>) {
    let subagents = &gateway.subagents;
    if subagents.registry.is_empty() || subagents.is_sweeping.replace(true) {
        return;
    }
    let gateway = gateway.clone();
    drop(gateway.env.clone().spawn("subagent sweeper", async move {
        while !gateway.subagents.registry.is_empty() {
            sleep(INTERVAL).await;
            sweep(&gateway).await;
        }
        gateway.subagents.is_sweeping.set(false);
    }));
}

/// Deletes the conversations of subagents of earlier lives that no row knows: who died between the two had not started
/// anything. Those that this life begins have other names.
pub(super) fn forget_unowned(gateway: &Rc<Gateway>) {
    if gateway.policies.subagent_spawn != SubagentSpawn::SessionFirst {
        return;
    }
    let rows = gateway.subagents.registry.rows();
    let owned: BTreeSet<&str> = rows.iter().map(|(_, entry)| entry.child_session_key.as_str()).collect();
    // What cannot be read now is there for the next life, too.
    let unowned = gateway.sessions.read(|sessions| {
        let ours = sessions.keys().filter(|key| key.starts_with(PREFIX) && !owned.contains(key.as_str()));
        ours.cloned().collect::<Vec<String>>()
    });
    let unowned = unowned.unwrap_or_default();
    if unowned.is_empty() {
        return;
    }
    let gateway = gateway.clone();
    drop(gateway.env.clone().spawn("subagent sweeper", async move {
        for session in unowned {
            match forget_conversation(&gateway, &session).await {
                Ok(()) => tracing::info!(name: "subagent.swept", session, "no row knows this conversation"),
                Err(error) => {
                    tracing::warn!(name: "subagent.not-swept", session, %error, "the next start tries again")
                }
            }
        }
    }));
}

/// Whether the row's time is over.
fn is_due(policy: SubagentSweep, entry: &Entry, now: u64) -> bool {
    let time = match policy {
        SubagentSweep::Announced => entry.ended_at.filter(|_| entry.is_over()),
        SubagentSweep::ByAge => Some(entry.created_at),
    };
    time.is_some_and(|time| now.saturating_sub(time) >= KEPT_MS)
}

async fn sweep(gateway: &Rc<Gateway>) {
    let (policy, now) = (gateway.policies.subagent_sweep, gateway.subagents.now_ms());
    for (run_id, entry) in gateway.subagents.registry.rows() {
        if !is_due(policy, &entry, now) {
            continue;
        }
        match forget_conversation(gateway, &entry.child_session_key).await {
            Ok(()) => {
                tracing::info!(name: "subagent.swept", child = run_id, "its conversation and row are deleted");
                let noted = gateway.subagents.registry.note(|rows| drop(rows.remove(&run_id)));
                pay_later(gateway, noted);
            }
            Err(error) => {
                tracing::warn!(name: "subagent.not-swept", child = run_id, %error, "it is tried again");
            }
        }
    }
}

async fn forget_conversation(gateway: &Gateway, session_key: &str) -> Result<(), StateError> {
    if let Some(transcript) = gateway.sessions.find_transcript(session_key)? {
        gateway.sessions.files().discard(transcript.path());
        gateway.sessions.change(|sessions| drop(sessions.remove(session_key))).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::recovery::tests::entry;
    use super::super::{Announcement, Status};
    use super::*;

    #[test]
    fn only_what_is_announced_is_swept_an_hour_after_its_end() {
        let ended =
            |announcement| Entry { status: Status::Ended, ended_at: Some(1_000), announcement, ..entry() };
        let due = |entry: &Entry, now| is_due(SubagentSweep::Announced, entry, now);
        assert!(due(&ended(Announcement::Made), 1_000 + KEPT_MS));
        assert!(due(&ended(Announcement::NotWanted), 1_000 + KEPT_MS));
        assert!(!due(&ended(Announcement::Made), 999 + KEPT_MS));
        assert!(!due(&ended(Announcement::Pending), u64::MAX));
        assert!(!due(&entry(), u64::MAX));
        assert!(is_due(SubagentSweep::ByAge, &entry(), KEPT_MS));
    }
}
