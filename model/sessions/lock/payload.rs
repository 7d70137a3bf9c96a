//! What a lock file says about its holder, and how it is read: a file that says nothing, one that says something
//! else, and one that cannot be read just now are three different things.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::{Env, Pid, StartTime, WallTime};

/// What a lock file says about its holder. Of other programs only the pid is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Payload {
    pub(super) pid: Pid,
    /// When the lock was taken, by the holder's wall clock. For people only: nothing is decided by it.
    #[serde(default)]
    pub(super) created_at: String,
    /// Tells the holder from a later process with its pid. OpenClaw writes it in small letters.
    #[serde(default, alias = "starttime", skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<StartTime>,
    /// Tells two locks of the same process apart.
    #[serde(default)]
    pub(super) owner_id: String,
    /// The life of the holder, of which a process has several when it restarts within itself.
    #[serde(default)]
    pub(super) generation: String,
    /// The holder renews the lock within this many milliseconds, and looks before it writes: who is silent for
    /// longer may be taken over. Without it, only a dead holder may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lease_ms: Option<u64>,
    /// Counts the renewals.
    #[serde(default)]
    pub(super) renewal: u64,
}

impl Payload {
    pub(super) fn lease(&self) -> Option<Duration> {
        self.lease_ms.map(Duration::from_millis)
    }

    /// Since when it is held, by the holder's own words.
    pub(crate) fn since(&self) -> Option<WallTime> {
        WallTime::parse(&self.created_at)
    }

    /// The process that holds it.
    pub(crate) fn owner(&self) -> Pid {
        self.pid
    }
}

/// What can be seen of a lock file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It names its holder.
    Says(Payload),
    /// There is nothing in it: its creator died, or is about to write.
    Blank,
    /// There is something else in it.
    Garbage,
    /// It could not be read just now, which says nothing about it (openclaw/openclaw#102155).
    NotReadNow(io::ErrorKind),
}

/// What makes two looks at a lock file the same: nobody has written it in between. The modification time is
/// compared and never counted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    bytes: Vec<u8>,
    modified: Option<WallTime>,
}

/// Reads a lock file; `None` when there is none.
pub(super) fn look(env: &Env, path: &Path) -> Option<(Sight, Option<Identity>)> {
    let bytes = match env.fs().read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some((Sight::NotReadNow(error.kind()), None)),
    };
    let sight = match serde_json::from_slice(&bytes) {
        Ok(payload) => Sight::Says(payload),
        Err(_) if bytes.is_empty() => Sight::Blank,
        Err(_) => Sight::Garbage,
    };
    // A payload of ours is never written twice; without one, only the time tells two files apart.
    let modified = match &sight {
        Sight::Says(payload) if !payload.owner_id.is_empty() => None,
        _ => env.fs().stat(path).ok().map(|stat| stat.modified),
    };
    Some((sight, Some(Identity { bytes, modified })))
}
