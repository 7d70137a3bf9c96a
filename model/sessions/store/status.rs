//! What the store says of a conversation's work. The journal of messages knows better: here only history wrote, and what
//! it left behind is put right at a start.

use serde::{Deserialize, Serialize};

use super::{SessionStore, Sessions};
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
    /// The generation that says of a conversation that somebody works there, if one does; era B asked the store that it
    /// remembered.
    pub(crate) fn runs_by_word_of(&self, key: &str) -> Result<Option<u64>, StateError> {
        let of = |sessions: &Sessions| {
            let entry = sessions.get(key).filter(|entry| entry.status == Some(SessionStatus::Running))?;
            Some(entry.generation.unwrap_or_default())
        };
        match &*self.process_wide.remembered.borrow() {
            Some(sessions) => Ok(of(sessions)),
            None => self.read(of),
        }
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
        let write = |sessions: &mut Sessions| {
            for key in keys {
                if let Some(entry) = sessions.get_mut(key) {
                    (entry.status, entry.generation) = (Some(status.clone()), Some(generation));
                }
            }
        };
        self.change(write).await
    }
}
