//! What a sender reads of the frames that the gateway sends: answers to its requests, and `chat` events.

use serde::Deserialize;

use crate::actors::frames::{Content, Said};
use crate::actors::lenient::{Fields, Lenient};

/// The fields of every payload that a sender reads; each has some of them.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Heard {
    /// Whose conversation it is about.
    pub(super) session_key: Lenient<String>,
    /// Of which run an event tells.
    pub(super) run_id: Lenient<String>,
    /// What happened to it.
    pub(super) state: Lenient<String>,
    /// Its answer, or as much of it as there is.
    pub(super) message: Lenient<Said>,
    /// Why there is none.
    pub(super) error_message: Lenient<String>,
    /// Why it was stopped.
    pub(super) stop_reason: Lenient<String>,
    /// What becomes of a message that was handed over, and what became of one that is over.
    pub(super) status: Lenient<String>,
    pub(super) outcome: Lenient<String>,
    /// What a stop has stopped, and what was stopped before.
    pub(super) run_ids: Texts,
    pub(super) already_stopped: Texts,
    /// The history, and what of it was stopped.
    pub(super) messages: Lenient<Vec<Lenient<Entry>>>,
    pub(super) stopped: Texts,
}

impl Fields for Heard {}

impl Heard {
    /// The text of the answer, empty if there is none.
    pub(super) fn message_text(&self) -> &str {
        self.message.0.as_ref().map_or("", Said::text)
    }
}

pub(super) type Texts = Lenient<Vec<Lenient<String>>>;

/// An entry of a history.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) role: Lenient<String>,
    /// The run that it is about, or those.
    pub(super) run_id: Lenient<String>,
    pub(super) run_ids: Texts,
    content: Lenient<Content>,
}

impl Fields for Entry {}

impl Entry {
    /// What it says.
    pub(super) fn text(&self) -> &str {
        self.content.0.as_ref().map_or("", Content::text)
    }
}
