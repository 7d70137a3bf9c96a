//! Ends that the disk refused, by conversation: each is tried again by a task of its own, and the next turn of its
//! conversation begins when it stands there. A reply would overtake it otherwise.

use std::collections::BTreeMap;

use crate::env::watch;

/// The ends that are owed to the disk.
pub(crate) struct UnrecordedEnds(watch::Sender<BTreeMap<String, Owed>>);

/// What is owed in one conversation.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    ends: usize,
    /// Ends of which nobody has heard: a platform is sent nothing that is not written down.
    untold: usize,
}

impl Default for UnrecordedEnds {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl UnrecordedEnds {
    /// Another end of the conversation is owed, of which somebody has heard or not.
    pub(super) fn owe(&self, session_key: &str, is_told: bool) {
        self.0.send_modify(|owed| {
            let owed = owed.entry(session_key.to_string()).or_default();
            owed.ends += 1;
            owed.untold += usize::from(!is_told);
        });
    }

    /// One of them is recorded.
    pub(super) fn pay(&self, session_key: &str, is_told: bool) {
        self.0.send_modify(|all| {
            let Some(owed) = all.get_mut(session_key) else { return };
            owed.ends -= 1;
            owed.untold -= usize::from(!is_told);
            if owed.ends == 0 {
                all.remove(session_key);
            }
        });
    }

    /// How many are owed of which nobody has heard.
    pub(crate) fn untold(&self) -> usize {
        self.0.borrow().values().map(|owed| owed.untold).sum()
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
