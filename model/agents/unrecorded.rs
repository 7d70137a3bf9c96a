//! Ends that the disk refused, by conversation: each is tried again by a task of its own, and the next turn of its
//! conversation begins when it stands there. A reply would overtake it otherwise.

use std::collections::BTreeMap;

use crate::env::watch;

/// How many ends of each conversation are owed to the disk.
pub(crate) struct UnrecordedEnds(watch::Sender<BTreeMap<String, usize>>);

impl Default for UnrecordedEnds {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl UnrecordedEnds {
    /// Another end of the conversation is owed.
    pub(super) fn owe(&self, session_key: &str) {
        self.0.send_modify(|owed| *owed.entry(session_key.to_string()).or_default() += 1);
    }

    /// One of them is recorded.
    pub(super) fn pay(&self, session_key: &str) {
        self.0.send_modify(|owed| {
            let Some(count) = owed.get_mut(session_key) else { return };
            *count -= 1;
            if *count == 0 {
                owed.remove(session_key);
            }
        });
    }

    /// How many are owed in all.
    pub(crate) fn count(&self) -> usize {
        self.0.borrow().values().sum()
    }

    /// Whether any end of the conversation is owed.
    pub(super) fn are_owed(&self, session_key: &str) -> bool {
        self.0.borrow().contains_key(session_key)
    }

    /// Resolves when no end of the conversation is owed.
    pub(super) async fn all_paid(&self, session_key: &str) {
        let mut owed = self.0.subscribe();
        while self.are_owed(session_key) && owed.changed().await.is_ok() {}
    }
}
