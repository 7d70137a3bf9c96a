//! Sessions: the store of what conversations exist, its lock, and the transcript of each.
//!
//! Every file of the state directory goes through [`StateFiles`], the one place that knows how to write durably.

use std::path::{Path, PathBuf};

mod files;
mod lock;
mod store;
mod transcript;
mod transcript_lock;
mod unfenced;

pub(crate) use files::{StateError, StateFiles, json_line, json_lines};
pub(crate) use lock::{FileLock, LockError, Locks, Rules, Watches, directories};
#[cfg(test)]
pub(crate) use store::Sessions;
pub(crate) use store::{
    DeliveryContext, Flagged, LOCK_DEADLINE, Mended, ProcessWide, SessionEntry, SessionStatus, SessionStore,
    Trace,
};
pub(crate) use transcript::{
    Outcome, Recorded, Role, ToolCall, Transcript, TranscriptEntries, TranscriptEntry,
};
pub(crate) use transcript_lock::{RunLock, rules as transcript_rules};
pub(crate) use unfenced::UnfencedError;

/// Where the sessions of a state directory are.
pub(crate) fn sessions_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("agents/main/sessions")
}
