//! What history did when too many messages waited behind the turn of their conversation: one of them made room.
//!
//! [`FollowUpCap`] says which, and what was left of it. Nothing here is reached where as many may wait as come.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::inbox::{Accepted, Settlement};
use crate::gateway::Gateway;
use crate::policy::FollowUpCap;

/// How many messages history let wait behind a turn.
const MOST_WAITING: usize = 20;
/// How much of a message a line of the summary had.
const LINE_CHARS: usize = 160;

/// The lines that are left of messages that made room, by conversation, until its next turn.
#[derive(Default)]
pub(crate) struct Overflow {
    lines: RefCell<BTreeMap<String, Vec<String>>>,
}

impl Overflow {
    fn note(&self, message: &Accepted) {
        let line =
            message.text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LINE_CHARS).collect();
        self.lines.borrow_mut().entry(message.session_key.clone()).or_default().push(line);
    }

    /// What the model is shown of the messages that made room since the conversation's last turn.
    pub(crate) fn take(&self, session_key: &str) -> Option<String> {
        let lines = self.lines.borrow_mut().remove(session_key)?;
        let count = lines.len();
        Some(format!(
            "({count} more messages came than could wait. A line of each:)\n- {}",
            lines.join("\n- ")
        ))
    }
}

/// Lets one message go where too many wait with `newest`, which was just acknowledged. Returns whether it is that one.
pub(super) fn make_room(gateway: &Gateway, newest: &Accepted) -> bool {
    let policy = gateway.policies.follow_up_cap;
    if policy == FollowUpCap::None {
        return false;
    }
    let waiting = gateway.lanes.waiting(&newest.session_key);
    let Some(oldest) = waiting.first().filter(|_| waiting.len() >= MOST_WAITING) else { return false };
    let gone = if policy == FollowUpCap::TwentyNewestDropped { &newest.run_id } else { oldest };
    let session = &newest.session_key;
    tracing::debug!(name: "message.forgotten", run = gone, session, "too many wait");
    gateway.lanes.forget(std::slice::from_ref(gone));
    match policy {
        FollowUpCap::TwentyOldestSummarized => {
            if let Some((message, _)) = gateway.inbox.find_open(gone) {
                gateway.overflow.note(&message);
            }
            // What the disk refuses is written with the next record.
            let _ = gateway.inbox.settle(&[gone], Settlement::Told);
        }
        FollowUpCap::None | FollowUpCap::TwentyOldestDropped | FollowUpCap::TwentyNewestDropped => {
            gateway.inbox.presume_over(gone, Settlement::Told);
        }
    }
    gone == &newest.run_id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::Route;

    #[test]
    fn a_line_is_left_of_each_until_the_next_turn() {
        let message = |text: &str| Accepted {
            run_id: "r".into(),
            session_key: "main".into(),
            text: text.into(),
            route: Route::Webchat,
        };
        let overflow = Overflow::default();
        assert_eq!(overflow.take("main"), None);
        overflow.note(&message("one\ntwo"));
        overflow.note(&message(&"x".repeat(LINE_CHARS + 1)));
        assert_eq!(overflow.take("other"), None);
        let shown = overflow.take("main").expect("two made room");
        assert!(shown.ends_with(&format!("\n- one two\n- {}", "x".repeat(LINE_CHARS))), "{shown}");
        assert_eq!(overflow.take("main"), None);
    }
}
