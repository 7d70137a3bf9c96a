//! Sessions: the store of what conversations exist, its lock, and the transcript of each.
//!
//! Every file of the state directory goes through [`StateFiles`], the one place that knows how to write durably.

mod files;
mod lock;
mod store;
mod transcript;
mod transcript_lock;
mod unfenced;

pub(crate) use files::{StateError, StateFiles, json_line};
pub(crate) use lock::{FileLock, LockError};
pub(crate) use store::{ProcessWide, SessionStore};
pub(crate) use transcript::{Outcome, Role, Transcript, TranscriptEntry};
pub(crate) use transcript_lock::RunLock;
