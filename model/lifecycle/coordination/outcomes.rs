//! What came of requests, on its way to whoever asked: the log, every client that is connected, and the conversation
//! that a requester named.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::Restarts;
use crate::channels::webchat::{ChatState, publish};
use crate::gateway::Gateway;
use crate::lifecycle::restart::{Ending, Outcome};
use crate::messages::delivery::{self, Kind};
use crate::messages::inbox::Accepted;
use crate::messages::traces;
use crate::policy::RestartSentinel;
use crate::sessions::{LOCK_DEADLINE, Role, StateError};
use crate::wire;

/// When a notice that could not be recorded is tried again.
const NOTICE_RETRY: Duration = Duration::from_secs(5);

fn ending_name(ending: &Ending) -> &'static str {
    match ending {
        Ending::Done { .. } => "done",
        Ending::Merged { .. } => "merged",
        Ending::Refused { .. } => "refused",
        Ending::TimedOut { .. } => "timed-out",
    }
}

/// An outcome as clients read it.
pub(super) fn described(outcome: &Outcome) -> Value {
    let mut described = json!(outcome);
    described["status"] = json!(ending_name(&outcome.ending));
    described["message"] = json!(outcome.words());
    described
}

/// Tells the log and every client.
pub(super) fn announce(gateway: &Gateway, outcome: &Outcome) {
    let (request, source) = (outcome.of.request, &outcome.of.source);
    let (name, words) = (ending_name(&outcome.ending), outcome.words());
    match &outcome.ending {
        Ending::TimedOut { waiting_for } => {
            tracing::warn!(name: "restart.timed-out", %request, %source, waiting_for, "given up");
        }
        Ending::Done { .. } => tracing::info!(name: "restart.done", %request, %source, "{words}"),
        Ending::Merged { .. } | Ending::Refused { .. } => {}
    }
    tracing::info!(name: "restart.outcome", %request, %source, outcome = name, "{words}");
    gateway.peers.broadcast(wire::event("restart", described(outcome)));
}

/// Writes into the conversation of whoever asked what came of it, however long that takes; whoever follows it hears it at
/// once, and whoever talks there on a platform is owed it. That is the conversation named in the request, whatever has
/// happened to it since (but see [`NoticeRoute`](crate::policy::NoticeRoute)).
pub(super) async fn record_notice(restarts: Restarts, gateway: Rc<Gateway>, outcome: Outcome) {
    let request = outcome.of.request;
    let Some(notice) = outcome.of.notice.clone() else { return };
    let run_id = format!("restart:{request}");
    let words = match &notice.text {
        Some(text) => format!("{} {text}", outcome.words()),
        None => outcome.words(),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let recorded = tell(&gateway, &run_id, &notice.session_key, &words).await;
        let Err(error) = recorded else { return restarts.told(&gateway, &[request]) };
        let Some(pause) = next_try(gateway.policies.restart_sentinel, tries) else {
            tracing::debug!(name: "restart.notice-lost", %request, %error, "nobody tries again");
            return restarts.told(&gateway, &[request]);
        };
        tracing::warn!(name: "restart.notice-not-recorded", %request, %error, "trying again");
        sleep(pause).await;
    }
}

async fn tell(gateway: &Rc<Gateway>, run_id: &str, session_key: &str, words: &str) -> Result<(), StateError> {
    let transcript = gateway.sessions.open_transcript(session_key, LOCK_DEADLINE).await?;
    let is_new = transcript.outcome(run_id)?.is_none();
    if is_new {
        transcript.append(Role::Notice, words, run_id, gateway.env.wall_clock())?;
    }
    let message = Accepted {
        run_id: run_id.to_string(),
        session_key: session_key.to_string(),
        text: String::new(),
        route: traces::route(gateway, session_key)?,
    };
    delivery::owe(gateway, &message, Kind::Outcome, words)?;
    if is_new {
        publish(&gateway.peers, session_key, run_id, 0, &ChatState::Error(words));
    }
    Ok(())
}

/// How long it is waited before another try to tell a conversation, after so many; `None`: there is none.
fn next_try(policy: RestartSentinel, tries: u32) -> Option<Duration> {
    match policy {
        RestartSentinel::KeptUntilTold => Some(NOTICE_RETRY),
        RestartSentinel::FortyFiveTries => (tries < 45).then_some(Duration::from_secs(1)),
        RestartSentinel::DeletedFirst => None,
    }
}
