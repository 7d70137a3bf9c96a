//! Restarts that somebody asks for: how urgently, and what the asker may learn of it.
//!
//! The words are the operator's, as on the command line and in its answers; what the gateway calls the same is its own
//! business.

use std::fmt;
use std::time::Duration;

/// Whether a text tells what came of a restart, as whoever asked for it from a conversation reads it there. It says
/// nothing of messages.
pub(crate) fn is_about_a_restart(text: &str) -> bool {
    text.starts_with("restart ")
}

use super::words::span;

/// How urgently a restart is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartMode {
    /// As it comes: `restart`.
    Plain,
    /// Nothing may be interrupted: `restart --safe`.
    Safe,
    /// At once: `restart --force`.
    Force,
    /// Work in hand is waited for so long, without limit when it is `None`: `restart --wait`.
    Wait(Option<Duration>),
}

impl RestartMode {
    /// Whether work in hand may be interrupted for it.
    pub const fn may_interrupt(self) -> bool {
        !matches!(self, Self::Safe)
    }
}

impl fmt::Display for RestartMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("restart"),
            Self::Safe => f.write_str("restart --safe"),
            Self::Force => f.write_str("restart --force"),
            Self::Wait(None) => f.write_str("restart --wait 0"),
            Self::Wait(Some(limit)) => write!(f, "restart --wait {}", span(*limit).replace(' ', "")),
        }
    }
}

/// What came of a request, in the words of those who report it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartEnding {
    /// The gateway restarted for it.
    Done,
    /// The gateway restarted for another request, and for this one with it.
    Merged,
    /// There will be no restart for it.
    Refused,
    /// It was given up after its time.
    TimedOut,
}

impl RestartEnding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Merged, Self::Refused, Self::TimedOut];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Merged => "merged",
            Self::Refused => "refused",
            Self::TimedOut => "timed-out",
        }
    }

    /// The ending that reports call `word`.
    pub fn called(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.word() == word)
    }

    /// Whether it says that the gateway restarted.
    pub const fn restarted(self) -> bool {
        matches!(self, Self::Done | Self::Merged)
    }
}
