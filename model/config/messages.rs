//! `messages` of the configuration: what becomes of a message that finds its conversation busy, and how long a
//! conversation has to be quiet before it is answered. Whatever stands here, a message is durable before it is
//! acknowledged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest debounce. A conversation may be kept waiting five times as long.
const LONGEST_DEBOUNCE_MS: u64 = 60_000;

/// What is done with messages before they are run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MessagesConfig {
    /// What waits for its conversation.
    #[serde(default)]
    pub queue: QueueConfig,
}

/// What waits for its conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct QueueConfig {
    /// What becomes of a message that comes while another one of its conversation is at work.
    #[serde(default)]
    pub mode: QueueMode,
    /// How long a conversation has to be quiet before its next turn begins, in milliseconds; 0: not at all (OpenClaw:
    /// 1 000, later 500). Whoever does not stop writing is answered after five times that.
    #[serde(default)]
    pub debounce_ms: u64,
}

/// What becomes of a message that comes while another one of its conversation is at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueMode {
    /// It has a turn of its own when its time comes.
    #[default]
    Followup,
    /// Everything that waits when the conversation comes free is one turn, with one reply.
    Collect,
    /// It joins the turn that is at work: the model is asked again, with both.
    Steer,
}

impl QueueConfig {
    /// [`QueueConfig::debounce_ms`] as a duration.
    pub fn debounce(&self) -> Duration {
        Duration::from_millis(self.debounce_ms)
    }
}

impl MessagesConfig {
    /// What makes no sense about it, if anything: the key, and why.
    pub(super) fn trouble(&self) -> Option<(String, &'static str)> {
        let too_long = self.queue.debounce_ms > LONGEST_DEBOUNCE_MS;
        too_long.then(|| ("messages.queue.debounceMs".to_string(), "must be at most 60000"))
    }
}
