//! What somebody asks for: who asks, why, how urgently, and who is to be told what came of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Generation;

/// The longest reason that is kept, in characters.
const MAX_REASON_CHARS: usize = 200;

/// The name of a request, unique over all lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestId {
    /// The generation that was asked.
    pub generation: Generation,
    /// Its number among this generation's requests, from 1.
    pub number: u32,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.number)
    }
}

/// Who asks for a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Source {
    /// A restart signal from outside.
    Signal,
    /// The command line of the daemon.
    CommandLine,
    /// A client of the gateway.
    Rpc {
        /// Which one; requests are counted for each.
        client: String,
    },
    /// The watcher of the configuration file.
    ConfigWatcher {
        /// The settings that changed, as dotted paths.
        paths: Vec<String>,
    },
}

impl Source {
    /// Under which name its requests are counted; `None` for those that are not: signals cannot be told apart, and
    /// the watcher has a pause of its own.
    pub(super) fn counted_as(&self) -> Option<&str> {
        match self {
            Self::CommandLine => Some("command line"),
            Self::Rpc { client } => Some(client),
            Self::Signal | Self::ConfigWatcher { .. } => None,
        }
    }

    pub(super) const fn is_config(&self) -> bool {
        matches!(self, Self::ConfigWatcher { .. })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal => f.write_str("a signal"),
            Self::CommandLine => f.write_str("the command line"),
            Self::Rpc { client } => write!(f, "{client}"),
            Self::ConfigWatcher { paths } => write!(f, "a changed configuration ({})", paths.join(", ")),
        }
    }
}

/// How long a request may wait for work in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Patience {
    /// So long, and then no longer.
    AtMost(Duration),
    /// Until there is none.
    Unlimited,
}

/// How urgent a request is, and what it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Waits for work up to the deferral limit, then drains, and interrupts what is left.
    Plain,
    /// As plain, and interrupts nothing: rather it ends without a restart.
    Safe,
    /// Waits for nothing; what is in hand gets the shortest drain.
    Force,
    /// As plain, with a limit of its own.
    Wait(Patience),
}

impl Mode {
    /// Whether its restart may interrupt work.
    pub const fn may_interrupt(self) -> bool {
        !matches!(self, Self::Safe)
    }
}

/// Why a restart is wanted: trimmed, and at most 200 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// `None` when `text` has none.
    pub fn new(text: &str) -> Option<Self> {
        let trimmed: String = text.trim().chars().take(MAX_REASON_CHARS).collect();
        // What was cut off may leave a blank at the end.
        let trimmed = trimmed.trim_end();
        (!trimmed.is_empty()).then(|| Self(trimmed.to_string()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who is to be told what came of a request. Taken when the request is made, since what is stored about a
/// conversation may be overwritten meanwhile (openclaw/openclaw#34580).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The conversation.
    pub session_key: String,
    /// The channel it is held on; `None`: webchat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Whom the channel is to address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What the requester wants to be reminded of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A request for a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub source: Source,
    /// How urgently.
    pub mode: Mode,
    /// Why.
    pub reason: Option<Reason>,
    /// Not before this has passed; at most a minute.
    pub delay: Duration,
    /// Who is told what came of it, besides whoever waits for the answer.
    pub notice: Option<Notice>,
    /// Who asks again with the same key asks the same (openclaw/openclaw#33459).
    pub key: Option<String>,
}

impl Request {
    /// A request without delay, reason or notice.
    pub const fn new(source: Source, mode: Mode) -> Self {
        Self { source, mode, reason: None, delay: Duration::ZERO, notice: None, key: None }
    }

    /// The same with a reason, which is trimmed.
    pub fn because(self, reason: &str) -> Self {
        Self { reason: Reason::new(reason), ..self }
    }

    /// The same, not before `delay` has passed.
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The same, and somebody is told what came of it.
    pub fn telling(self, notice: Notice) -> Self {
        Self { notice: Some(notice), ..self }
    }

    /// The same under a key.
    pub fn keyed(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }
}
