//! The readiness prober: what a load balancer or an orchestrator sees of the gateway.
//!
//! It asks `GET /readyz` again and again, each time over a fresh connection, and records the answer. It does not
//! judge whether the answer was true; an oracle does.

use std::time::Duration;

use gateway::env::Env;
use hyper::{Method, StatusCode};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::http;
use crate::timeline::{Fact, Recorder, Source};

/// How long a probe waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the prober is told.
#[derive(Clone, Debug)]
pub struct ProberSettings {
    /// The gateway's port.
    pub port: u16,
    /// From one probe to the next; at least a millisecond.
    pub every: Duration,
}

/// Probes for as long as its process lives.
pub async fn run(env: Env, recorder: Recorder, settings: ProberSettings) {
    let mut ticks = interval(settings.every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let asked_at = recorder.now();
        let ask = http::ask(&env, settings.port, Method::GET, "/readyz", String::new());
        let ready = match timeout(PROBE_TIMEOUT, ask).await {
            Ok(Ok(StatusCode::OK)) => Some(true),
            Ok(Ok(StatusCode::SERVICE_UNAVAILABLE)) => Some(false),
            _ => None,
        };
        recorder.record(Source::Prober, Fact::ReadySeen { ready, asked_at });
    }
}
