//! `sessions-rebuild-poller`: the built-in job that looks after the session store.
//!
//! It repairs what the message road depends on, so it takes no part in it: no journal, no lane, no model. A look that
//! finds nothing leaves no trace and costs next to nothing; times that it misses are nothing to catch up on, since
//! only the store as it is now can be repaired. What it does repair is a log record.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::schedule::next_after;
use crate::gateway::Gateway;

/// The job's id.
pub(crate) const POLLER: &str = "sessions-rebuild-poller";

/// Looks at every multiple of `every` on the wall clock, for as long as the life serves.
pub(super) async fn keep_looking(gateway: Rc<Gateway>, every: Duration) {
    let every_ms = every.as_millis() as u64;
    loop {
        let now = gateway.env.wall_clock().epoch_ms();
        sleep(Duration::from_millis(next_after(every_ms, now).0 - now)).await;
        if let Err(error) = gateway.repair().await {
            tracing::error!(name: "cron.repair-failed", job = POLLER, %error, "the session store is not well");
        }
    }
}
