//! What a scenario expects: the outcome under each profile, and the fates of single messages.
//!
//! The names of invariants and fates are listed here because the file format publishes them; what they mean is
//! decided elsewhere.

use indexmap::IndexMap;

use crate::timeline::MessageId;
use crate::verdict::Expected;

/// The names of all invariants, as `fail: ...` outcomes use them.
pub const INVARIANTS: &[&str] = &[
    "no-silent-drop",
    "no-duplicate",
    "replies-in-order",
    "cancelled-is-never-resumed",
    "one-notice-per-interruption",
    "no-ghost-connection",
    "refusals-are-final",
    "one-instance-serves",
    "only-the-stuck-are-ended",
    "port-is-released",
    "no-restart-loop",
    "up-at-the-end",
    "stays-down-after-a-stop",
    "shutdown-within-stop-timeout",
    "state-never-goes-back",
    "never-two-writers",
    "lock-has-a-live-owner",
    "sessions-come-to-rest",
    "resumes-are-bounded",
    "stale-work-is-not-resumed",
    "drains-wait-for-turns",
    "cron-runs-once",
    "subagent-results-once",
    "tracking-points-at-the-live-run",
    "readiness-tells-the-truth",
    "admission-has-an-owner",
    "restart-requests-end",
    "requests-share-a-restart",
    "requester-is-told",
    "promised-restart-happens",
    "restart-waits-only-for-work",
    "safe-restart-interrupts-nothing",
    "nothing-without-authentication",
    "buffers-are-bounded",
    "lifecycle-death-is-no-failure",
    "hooks-bounded-and-ordered",
    "expected-fates",
];

/// The names of all fates of a message.
pub const FATES: &[&str] = &["replied", "told", "refused", "cancelled", "kept", "dropped", "duplicated"];

/// What each of [`FATES`] means, in the same order.
#[cfg(test)]
pub(super) const FATE_MEANINGS: [&str; 7] = [
    "the sender received a reply that answers it",
    "the sender received an error or a notice about it; one notice may settle several messages of its conversation",
    "the sender knew at once that it was not accepted",
    "the sender stopped it, and the gateway confirmed",
    "the service was stopped for good before anybody told the sender, and what the next start has to tell stands in the \
     state folder, durably; or its platform still has the message, unconfirmed",
    "nobody told the sender anything by the end of the run; always breaks `no-silent-drop`",
    "answered or executed twice; always breaks `no-duplicate`. A reply that had to be sent to a platform again, since nobody \
     could know that it had been taken, is one reply",
];

/// What a scenario expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    /// The profiles this scenario is run under, in the order of the file, each with its outcome.
    pub outcomes: IndexMap<String, Expected>,
    /// For single messages, the fates that are all right, by name.
    pub fates: IndexMap<MessageId, Vec<String>>,
}

impl Expectations {
    /// What is expected under `profile`: a profile that the file does not mention is expected to pass.
    pub fn under(&self, profile: &str) -> Expected {
        self.outcomes.get(profile).cloned().unwrap_or(Expected::Pass)
    }
}
