//! What a scenario says of the chat platforms, as plain values.
//!
//! How a platform behaves while nothing is broken, and what steps do to it. What that comes to is the actors' business.

use std::time::Duration;

use super::{Choice, CountRange, DurationRange};
use crate::actors::platform::{Block, Outage};
use crate::timeline::Platform;

/// The chat platforms while nothing is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformsSetup {
    /// Telegram.
    pub telegram: PlatformSetup,
    /// Feishu.
    pub feishu: PlatformSetup,
}

/// One platform while nothing is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformSetup {
    /// From a request to its answer, and from an event to its push; drawn for each.
    pub latency: DurationRange,
    /// So long after a push an event that nobody acknowledged is pushed again; drawn for each.
    pub redeliver_after: DurationRange,
    /// So many of a hundred redelivered events come under a new name.
    pub new_ids: u32,
}

/// What a step does to a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlatformTrouble {
    /// It is not there for a while.
    Down {
        /// Which one.
        platform: Platform,
        /// How.
        how: Outage,
        /// For so long.
        lasting: DurationRange,
    },
    /// It takes longer for everything.
    Slow {
        /// Which one.
        platform: Platform,
        /// So much longer.
        by: Duration,
        /// For so long.
        lasting: DurationRange,
    },
    /// It takes no sends for now.
    Limits {
        /// Which one.
        platform: Platform,
        /// What it tells a bot to wait.
        retry_after: Duration,
        /// For so long.
        lasting: DurationRange,
    },
    /// It takes nothing for a user.
    Blocks {
        /// The user.
        sender: String,
        /// The user's platform.
        platform: Platform,
        /// Why.
        how: Block,
        /// For so long; `None`: until the end of the run.
        lasting: Option<DurationRange>,
    },
    /// It takes a send and cuts the line before the answer.
    CutsLine {
        /// Which one.
        platform: Platform,
        /// The first send that counts, from 1 on since the step was done.
        from_send: CountRange,
        /// So many sends.
        sends: u32,
    },
    /// An acknowledgement counts only a while after it came.
    TakesItsTime {
        /// Which one.
        platform: Platform,
        /// So long after it came.
        by: Duration,
        /// For so long.
        lasting: DurationRange,
    },
}

/// How long a platform's trouble lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold<'a> {
    /// For so long.
    For(&'a DurationRange),
    /// Until something else ends it.
    Open,
}

impl PlatformTrouble {
    /// Whose trouble it is.
    pub const fn platform(&self) -> Platform {
        match self {
            Self::Down { platform, .. }
            | Self::Slow { platform, .. }
            | Self::Limits { platform, .. }
            | Self::Blocks { platform, .. }
            | Self::CutsLine { platform, .. }
            | Self::TakesItsTime { platform, .. } => *platform,
        }
    }

    /// How long it lasts.
    pub const fn hold(&self) -> Hold<'_> {
        match self {
            Self::Down { lasting, .. }
            | Self::Slow { lasting, .. }
            | Self::Limits { lasting, .. }
            | Self::Blocks { lasting: Some(lasting), .. }
            | Self::TakesItsTime { lasting, .. } => Hold::For(lasting),
            Self::Blocks { lasting: None, .. } | Self::CutsLine { .. } => Hold::Open,
        }
    }

    /// In a few words.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Down { platform, .. } => format!("{platform} is down"),
            Self::Slow { platform, .. } => format!("{platform} is slow"),
            Self::Limits { platform, .. } => format!("{platform} limits sends"),
            Self::Blocks { platform, sender, .. } => format!("{platform} refuses sends to {sender}"),
            Self::CutsLine { platform, .. } => format!("{platform} cuts the line"),
            Self::TakesItsTime { platform, .. } => format!("{platform} acknowledges late"),
        }
    }
}

impl Choice for Platform {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (Self::Telegram.name(), Self::Telegram, "the platform that the gateway polls"),
        (Self::Feishu.name(), Self::Feishu, "the platform that pushes events"),
    ];
}

impl Choice for Outage {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("refuses", Self::Refuses, "it listens no more, and all its connections are reset"),
        (
            "fails",
            Self::Fails,
            "all its connections are reset, and every request is answered with status 502",
        ),
    ];
}

impl Choice for Block {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("blocked", Self::Blocked, "the user blocked the bot: status 403, on feishu code 230013"),
        (
            "chat-gone",
            Self::ChatGone,
            "the conversation is not there any more: status 400, on feishu code 230002",
        ),
    ];
}
