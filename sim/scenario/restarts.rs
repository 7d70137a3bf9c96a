//! What steps do to make a gateway restart: they ask its command line, or edit its configuration.
//!
//! Plain values in the words of the file format; what they come to is the business of the run.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Choice, DurationRange};
use crate::timeline::RestartMode;

/// Somebody runs the gateway's command line to have it restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartAsk {
    /// How urgently.
    pub mode: RestartMode,
    /// How many command lines, each a process of its own.
    pub count: u32,
    /// The sender from whose conversation it is asked, by a tool of the model and not by the command line.
    pub session_of: Option<String>,
    /// From one start to the next.
    pub every: Duration,
}

/// A word for how urgently a restart is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    Plain,
    Safe,
    Force,
    Wait,
}

impl Choice for Urgency {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("plain", Self::Plain, "`gateway restart`: work in hand is waited for, up to the deferral limit"),
        ("safe", Self::Safe, "`gateway restart --safe`: nothing is interrupted"),
        ("force", Self::Force, "`gateway restart --force`: nothing is waited for"),
        ("wait", Self::Wait, "`gateway restart --wait DURATION`: work in hand is waited for so long"),
    ];
}

/// Somebody edits the gateway's configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEdit {
    /// What is in it from then on.
    pub contents: NewContents,
    /// Half of it stands there first, for so long.
    pub half_first: Option<DurationRange>,
}

/// What an edit makes of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewContents {
    /// This text.
    Text(String),
    /// What it was, with these settings: dotted paths with their values.
    Set(Map<String, Value>),
    /// What it was when the world began.
    Original,
}
