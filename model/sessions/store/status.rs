//! What the store says of a conversation's work. The journal of messages knows better: here only history wrote, and what
//! it left behind is put right at a start.

use serde::{Deserialize, Serialize};

use super::SessionStore;
use crate::sessions::StateError;

/// What a conversation is doing, by the word of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SessionStatus {
    /// Somebody works there.
    Running,
    /// Nobody does.
    Idle,
    /// Whoever worked there was interrupted.
    Interrupted,
    /// Another program's word.
    #[serde(untagged)]
    Other(String),
}

impl SessionStore {
    /// Whether the store says that somebody works there.
    pub(crate) fn is_running(&self, key: &str) -> Result<bool, StateError> {
        let is_running = Some(SessionStatus::Running);
        self.read(|sessions| sessions.get(key).is_some_and(|entry| entry.status == is_running))
    }

    /// The conversations of which the store says that somebody works there.
    pub(crate) fn all_running(&self) -> Result<Vec<String>, StateError> {
        let is_running = Some(SessionStatus::Running);
        self.read(|sessions| {
            let running = sessions.iter().filter(|(_, entry)| entry.status == is_running);
            running.map(|(key, _)| key.clone()).collect()
        })
    }

    /// Writes what conversations are doing, by the word of `generation`.
    pub(crate) async fn set_status(
        &self,
        keys: &[String],
        status: SessionStatus,
        generation: u64,
    ) -> Result<(), StateError> {
        let write = |sessions: &mut super::Sessions| {
            for key in keys {
                if let Some(entry) = sessions.get_mut(key) {
                    (entry.status, entry.generation) = (Some(status.clone()), Some(generation));
                }
            }
        };
        self.change(write).await
    }
}
