//! What can become of a message, and what it is called.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What can become of a message. Every message has exactly one fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The sender received a reply that answers it.
    Replied,
    /// The sender received an explicit error or notice about it.
    Told,
    /// The sender knew at once that it was not accepted.
    Refused,
    /// The sender stopped it.
    Cancelled,
    /// The service was stopped for good before the sender was told, and what is owed to it is durable.
    Kept,
    /// Nobody told the sender anything. Always a failure.
    Dropped,
    /// Answered or executed twice.
    Duplicated,
}

impl Fate {
    /// All of them, in the order in which reports count them.
    pub const ALL: [Self; 7] = [
        Self::Replied,
        Self::Told,
        Self::Refused,
        Self::Cancelled,
        Self::Kept,
        Self::Dropped,
        Self::Duplicated,
    ];

    /// The fate that scenario files call `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fate| fate.name() == name)
    }

    /// The word for it in scenario files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replied => "replied",
            Self::Told => "told",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Kept => "kept",
            Self::Dropped => "dropped",
            Self::Duplicated => "duplicated",
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
