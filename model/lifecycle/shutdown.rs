//! The shutdown: connections are told, closed and, when they do not follow, reset. Every step is bounded.

use std::future::Future;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use super::phase::Ending;
use crate::env::Task;
use crate::gateway::Gateway;
use crate::policy::PeerClose;
use crate::wire::close_code;

/// How long peers get for the closing handshake (OpenClaw 2026.5.3-1: 1 s).
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How long the connections may take to end once they were reset.
const RESET_GRACE: Duration = Duration::from_millis(250);
/// What a restarting gateway announces to its clients (OpenClaw: 1 500).
const RESTART_EXPECTED_MS: u64 = 1_500;

/// Closes the port and every connection. `listener` is the task that accepts.
pub(crate) async fn close(gateway: &Gateway, listener: Task<()>, ending: Ending) {
    let started = Instant::now();
    tracing::info!(name: "shutdown.started", ending = ending.name(), peers = gateway.peers.count(), "closing");
    match gateway.policies.peer_close {
        PeerClose::GraceThenReset => {
            step("listener", RESET_GRACE, end_listener(listener)).await;
            say_goodbye(gateway, ending);
            step("websocket clients", CLOSE_GRACE, gateway.peers.websockets_gone()).await;
            gateway.peers.reset_all();
            step("reset connections", RESET_GRACE, gateway.peers.websockets_gone()).await;
        }
        PeerClose::WaitForPeers => {
            say_goodbye(gateway, ending);
            // No bound, and the port stays bound meanwhile: openclaw/openclaw#33149.
            gateway.peers.websockets_gone().await;
            end_listener(listener).await;
        }
    }
    tracing::info!(
        name: "shutdown.finished",
        took_ms = started.elapsed().as_millis() as u64,
        "everything is closed"
    );
}

async fn end_listener(listener: Task<()>) {
    listener.abort();
    listener.await;
}

fn say_goodbye(gateway: &Gateway, ending: Ending) {
    let (reason, restart_expected_ms) = match ending {
        Ending::Restart => ("gateway restarting", json!(RESTART_EXPECTED_MS)),
        Ending::Stop => ("gateway stopping", json!(null)),
    };
    let payload = json!({"reason": reason, "restartExpectedMs": restart_expected_ms});
    let frame = json!({"type": "event", "event": "shutdown", "payload": payload});
    gateway.peers.broadcast(&frame.to_string());
    gateway.peers.close_all(close_code::SERVICE_RESTART, "service restart");
}

/// Runs one named step with a limit; a step that hangs is reported and does not stop the next.
async fn step(name: &'static str, limit: Duration, work: impl Future<Output = ()>) {
    let started = Instant::now();
    let in_time = timeout(limit, work).await.is_ok();
    let took_ms = started.elapsed().as_millis() as u64;
    if in_time {
        tracing::debug!(name: "shutdown.step", step = name, took_ms, "done");
    } else {
        tracing::warn!(name: "shutdown.step-timed-out", step = name, took_ms, "going on without it");
    }
}
