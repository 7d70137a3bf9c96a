//! One instance at a time: first the lock on the state directory, then the port.
//!
//! The lock says whose the files are; the port is a second, kernel-kept proof. Whoever fails at either leaves
//! with an exit status on which a supervisor does not loop.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use crate::env::{Env, Listener};
use crate::policy::InstanceLock;
use crate::sessions::{FileLock, LockError, Rules, StateFiles};

/// How long a start waits for a predecessor's lock (OpenClaw: 5 s).
const LOCK_DEADLINE: Duration = Duration::from_secs(5);
/// Bind attempts while the port is taken, and the pause between them (OpenClaw 2026.9.6: 20 x 500 ms).
const BIND_ATTEMPTS: u32 = 20;
const BIND_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Takes the single-instance lock of the state directory. Who lives is respected, however frozen: a gateway does more
/// than can be fenced, so it is never usurped.
pub(crate) async fn lock(
    files: &StateFiles,
    state_dir: &Path,
    policy: InstanceLock,
) -> Result<FileLock, LockError> {
    files.locks().acquire(&state_dir.join("gateway.lock"), Rules::instance(policy), LOCK_DEADLINE).await
}

/// Listens on the port, patient with a predecessor that is about to leave it.
pub(crate) async fn bind(env: &Env, port: u16) -> io::Result<Box<dyn Listener>> {
    let mut attempt = 1;
    loop {
        match env.net().listen(port).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < BIND_ATTEMPTS => {
                tracing::warn!(name: "port.taken", port, attempt, "the port is taken; trying again");
                sleep(BIND_RETRY_DELAY).await;
                attempt += 1;
            }
            bound => return bound,
        }
    }
}
