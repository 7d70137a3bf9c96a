//! What the turns of history left in the entry of their conversation: whether the last was stopped (`abortedLastRun`), and
//! where it came from (`deliveryContext`).
//!
//! Both were read as if they said more than that: the flag as "a restart interrupted it" (openclaw/openclaw#38836), the
//! place as "where this conversation is read" (openclaw/openclaw#34580). The hardened gateway writes neither, since the
//! journal of messages says both of each message. Knows nothing of channels.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{SessionEntry, SessionStatus, SessionStore, Sessions};
use crate::sessions::StateError;
use crate::sessions::files::with_suffix;

/// Where the last turn of a conversation came from, by the word of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryContext {
    pub(crate) channel: String,
    /// Whoever is written to there, in the channel's own words.
    pub(crate) to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account_id: Option<String>,
}

/// What a turn that begins leaves there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    /// It was not stopped yet, whatever became of the one before.
    pub(crate) clears_flag: bool,
    pub(crate) came_from: Option<DeliveryContext>,
}

impl Trace {
    pub(super) fn leave_in(&self, entry: &mut SessionEntry) {
        entry.aborted_last_run &= !self.clears_flag;
        if self.came_from.is_some() {
            entry.delivery_context.clone_from(&self.came_from);
        }
    }

    pub(super) fn stands_in(&self, entry: &SessionEntry) -> bool {
        let is_where = |context: &DeliveryContext| entry.delivery_context.as_ref() == Some(context);
        !(self.clears_flag && entry.aborted_last_run) && self.came_from.as_ref().is_none_or(is_where)
    }
}

/// A conversation whose last turn was stopped, by the word of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flagged {
    pub(crate) session_key: String,
    /// The store calls it running as well.
    pub(crate) is_running: bool,
}

impl SessionStore {
    /// Writes of conversations whether their last turn was stopped.
    pub(crate) async fn set_aborted_last_run(
        &self,
        keys: &[String],
        stopped: bool,
    ) -> Result<(), StateError> {
        let write = |sessions: &mut Sessions| {
            for key in keys {
                if let Some(entry) = sessions.get_mut(key) {
                    entry.aborted_last_run = stopped;
                }
            }
        };
        self.change(write).await
    }

    /// The conversations whose last turn was stopped.
    pub(crate) fn flagged(&self) -> Result<Vec<Flagged>, StateError> {
        self.read(|sessions| {
            let flagged = sessions.iter().filter(|(_, entry)| entry.aborted_last_run);
            let is_running = |entry: &SessionEntry| entry.status == Some(SessionStatus::Running);
            let of = |(key, entry): (&String, &SessionEntry)| Flagged {
                session_key: key.clone(),
                is_running: is_running(entry),
            };
            flagged.map(of).collect()
        })
    }

    /// Where the last turn of a conversation came from.
    pub(crate) fn delivery_context(&self, key: &str) -> Result<Option<DeliveryContext>, StateError> {
        self.read(|sessions| sessions.get(key)?.delivery_context.clone())
    }

    /// The conversations that are called running and whose transcripts the lock files `locks` are of.
    pub(crate) fn running_of_locks(&self, locks: &[PathBuf]) -> Result<Vec<String>, StateError> {
        let dir = self.dir();
        let lock_of = |entry: &SessionEntry| with_suffix(&dir.join(Path::new(&entry.session_file)), ".lock");
        self.read(|sessions| {
            let is_meant = |(_, entry): &(&String, &SessionEntry)| {
                entry.status == Some(SessionStatus::Running) && locks.contains(&lock_of(entry))
            };
            sessions.iter().filter(is_meant).map(|(key, _)| key.clone()).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> SessionEntry {
        SessionEntry::new("1".into(), "1.jsonl".into(), 0)
    }

    fn from(channel: &str) -> Trace {
        let context = DeliveryContext { channel: channel.into(), to: "5".into(), account_id: None };
        Trace { clears_flag: true, came_from: Some(context) }
    }

    #[test]
    fn a_turn_says_that_it_was_not_stopped_and_where_it_came_from() {
        let mut entry = SessionEntry { aborted_last_run: true, ..entry() };
        assert!(!from("telegram").stands_in(&entry));
        from("telegram").leave_in(&mut entry);
        assert!(from("telegram").stands_in(&entry) && !from("webchat").stands_in(&entry));
        assert_eq!((entry.aborted_last_run, entry.delivery_context), (false, from("telegram").came_from));
    }

    #[test]
    fn who_leaves_no_trace_changes_nothing() {
        let before = SessionEntry { aborted_last_run: true, ..entry() };
        let mut after = before.clone();
        assert!(Trace::default().stands_in(&after));
        Trace::default().leave_in(&mut after);
        assert_eq!(before, after);
    }

    #[test]
    fn an_entry_of_this_version_says_nothing_of_it() {
        let written = serde_json::to_string(&entry()).expect("a plain value");
        assert!(!written.contains("aborted") && !written.contains("delivery"), "{written}");
        let older = r#"{"sessionId":"1","sessionFile":"1.jsonl","updatedAt":0,"abortedLastRun":true,
            "deliveryContext":{"channel":"webchat","to":"heartbeat"}}"#;
        let older: SessionEntry = serde_json::from_str(older).expect("an entry");
        assert!(older.aborted_last_run);
        assert_eq!(older.delivery_context.map(|context| context.to).as_deref(), Some("heartbeat"));
    }
}
