//! What came of requests, on its way to whoever asked: the log, every client that is connected, and the conversation
//! that a requester named.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::Restarts;
use crate::gateway::Gateway;
use crate::lifecycle::restart::{Ending, Outcome};
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

/// Writes into the conversation of whoever asked what came of it, however long that takes.
pub(super) async fn record_notice(restarts: Restarts, gateway: Rc<Gateway>, outcome: Outcome) {
    let request = outcome.of.request;
    let Some(notice) = outcome.of.notice.clone() else { return };
    let run_id = format!("restart:{request}");
    let words = match &notice.text {
        Some(text) => format!("{} {text}", outcome.words()),
        None => outcome.words(),
    };
    loop {
        let recorded = async {
            let transcript = gateway.sessions.open_transcript(&notice.session_key, LOCK_DEADLINE).await?;
            if transcript.outcome(&run_id)?.is_none() {
                transcript.append(Role::Notice, &words, &run_id, gateway.env.wall_clock())?;
            }
            Ok::<(), StateError>(())
        };
        match recorded.await {
            Ok(()) => return restarts.told(&gateway, &[request]),
            Err(error) => {
                tracing::warn!(name: "restart.notice-not-recorded", %request, %error, "trying again");
                sleep(NOTICE_RETRY).await;
            }
        }
    }
}
