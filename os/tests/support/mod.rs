//! What a test of the daemon needs around it: a model provider, a chat client, and the daemon's process.
//!
//! All three are outsiders: they share no code with the gateway and speak only HTTP, WebSocket, signals and exit
//! statuses. Every wait is bounded, and a test that fails shows the daemon's log.

use std::future::Future;
use std::time::Duration;

use tokio::task::LocalSet;

pub mod client;
pub mod daemon;
pub mod life;
pub mod platforms;
pub mod provider;
pub mod rude;

/// How long anything may take that should happen at once. Generous, because test machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Runs a test on one thread; tasks spawned in it end with it.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(LocalSet::new().run_until(test));
}

/// Waits for `event`; panics with `what` was waited for when it does not happen within [`PATIENCE`].
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(result) => result,
        Err(_) => panic!("waited {} s in vain for {what}", PATIENCE.as_secs()),
    }
}
