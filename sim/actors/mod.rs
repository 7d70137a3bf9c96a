//! The people and services around the gateway, as code that runs in simulated processes.
//!
//! An actor is an outside observer: it reaches the gateway only over the network, builds and reads the
//! protocol's JSON on its own (so that a wire change of the gateway is noticed, not followed), and records what
//! it saw in the timeline. No actor knows a type of the gateway beyond its doors, and none panics whatever the
//! gateway sends.

use std::time::Duration;

pub mod asker;
pub mod console;
mod frames;
mod http;
pub mod intruder;
mod lenient;
pub mod platform;
pub mod prober;
pub mod provider;
pub mod rude;
mod socket;
pub mod squatter;
#[cfg(test)]
mod tests;
pub mod webchat;

/// The name of the machine that the gateway runs on.
pub const GATEWAY_HOST: &str = "gateway";

/// What every answer of the model begins with; the mark of the message it answers follows.
pub const REPLY_PREFIX: &str = "Re ";
/// How the model begins what it says of a subagent of which nothing came.
pub(crate) const SORRY_PREFIX: &str = "Sorry ";

/// Waits between attempts: 1 s doubling to 30 s, plus up to a quarter of jitter taken from `draw`.
/// `failures` counts from 1.
fn backoff(failures: u32, draw: u64) -> Duration {
    let base_ms = 1000u64 << failures.saturating_sub(1).min(5);
    let base_ms = base_ms.min(30_000);
    Duration::from_millis(base_ms + draw % (base_ms / 4 + 1))
}
