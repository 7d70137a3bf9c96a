//! A broken invariant, worded for the person who has to find out why.

use serde::Serialize;

use crate::timeline::Sighting;

/// One breach of one invariant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Violation {
    /// The invariant's name, such as `no-silent-drop`.
    pub invariant: String,
    /// What is wrong, in one line.
    pub message: String,
    /// What led to it, in sentences.
    pub explanation: String,
    /// Where the message in question was last seen, when it is about one.
    pub last_seen: Option<Sighting>,
}
