//! One instance at a time: first the lock on the state directory, then the port.
//!
//! The lock says whose the files are; the port is a second, kernel-kept proof. Both are waited for a while, for the
//! sake of a predecessor that is about to leave. What follows when that was not enough is decided in
//! [`conflict`](super::conflict).

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::env::{Env, Listener};
use crate::policy::{BindPatience, InstanceLock};
use crate::sessions::{FileLock, LockError, Rules, StateFiles};

/// How long a start waits for a predecessor's lock (OpenClaw: 5 s).
const LOCK_DEADLINE: Duration = Duration::from_secs(5);
/// The pause between two attempts to bind a port that is taken.
const BIND_RETRY_DELAY: Duration = Duration::from_millis(500);
/// History asked the port whether a lock's owner lives: how often it looked, and how long it waited for an answer.
const LOCK_POLL: Duration = Duration::from_millis(100);
const PORT_ANSWERS: Duration = Duration::from_secs(1);

/// Takes the single-instance lock of the state directory. Who lives is respected, however frozen: a gateway does more
/// than can be fenced, so it is never usurped. History took it from whoever did not listen on `port`.
pub(crate) async fn lock(
    env: &Env,
    files: &StateFiles,
    state_dir: &Path,
    port: u16,
    policy: InstanceLock,
) -> Result<FileLock, LockError> {
    let path = state_dir.join("gateway.lock");
    let rules = Rules::instance(policy);
    if policy != InstanceLock::ByPort {
        return files.locks().acquire(&path, rules, LOCK_DEADLINE).await;
    }
    let asked = Instant::now();
    loop {
        let refused = match files.locks().acquire(&path, rules, Duration::ZERO).await {
            Err(error @ LockError::Held { .. }) => error,
            done => return done,
        };
        if !is_answered(env, port).await {
            tracing::warn!(name: "lock.taken-over", file = %path.display(), why = "nobody answers at its port", "removed a stale lock");
            // Whoever was faster has removed it.
            let _ = env.fs().remove(&path);
        } else if asked.elapsed() >= LOCK_DEADLINE {
            return Err(refused);
        } else {
            sleep(LOCK_POLL).await;
        }
    }
}

/// Whether a connection to a port of this machine is taken.
async fn is_answered(env: &Env, port: u16) -> bool {
    matches!(timeout(PORT_ANSWERS, env.net().connect("localhost", port)).await, Ok(Ok(_)))
}

/// Listens on the port, patient with a predecessor that is about to leave it.
pub(crate) async fn bind(env: &Env, port: u16, policy: BindPatience) -> io::Result<Box<dyn Listener>> {
    let attempts = attempts(policy);
    let mut attempt = 1;
    loop {
        match env.net().listen(port).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < attempts => {
                tracing::warn!(name: "port.taken", port, attempt, "the port is taken; trying again");
                sleep(BIND_RETRY_DELAY).await;
                attempt += 1;
            }
            bound => return bound,
        }
    }
}

const fn attempts(policy: BindPatience) -> u32 {
    match policy {
        BindPatience::TenSeconds => 20,
        BindPatience::TwoSeconds => 5,
        BindPatience::OneAttempt => 1,
    }
}
