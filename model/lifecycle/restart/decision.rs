//! What the coordinator says: its answer to a request, what is to be done now, and where it stands.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::request::{Reason, RequestId, Source};
use super::{Generation, Moment};

/// Why there will be no restart for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "reason")]
pub enum Refusal {
    /// The gateway was asked to stop, and a stop goes before a restart.
    #[error("the gateway is stopping")]
    Stopping,
    /// The requester has begun too many restarts lately.
    #[error("too many restart requests, try again in {} s", retry_after_ms.div_ceil(1_000))]
    RateLimited {
        /// When it may ask again, in milliseconds.
        retry_after_ms: u64,
    },
    /// `commands.restart` is off, and somebody outside asked.
    #[error("restarts are switched off: commands.restart is false")]
    SwitchedOff,
    /// The authorisation of the gateway's own signal had expired, and nothing was made of it: only in history
    /// (openclaw/openclaw#79577).
    #[error("the authorisation of this signal has expired")]
    Expired,
    /// The edit of the configuration that asked for it was taken back, or followed by one that no start would accept.
    #[error("the edit that asked for it was taken back")]
    EditReverted,
    /// The disk does not take the record of who asks, without which nobody could be told what came of it.
    #[error(
        "the state directory cannot be written, so nobody could say what came of it; a signal needs no record"
    )]
    NotRecorded,
    /// As many requests as are kept wait for this restart already.
    #[error("too many requests wait for this restart already")]
    TooMany,
}

/// The name of one restart order. Who takes it shows it again, so that an old one begins nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token {
    /// The generation that is to end.
    pub generation: Generation,
    /// Its number among all orders of this process.
    pub number: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.generation, self.number)
    }
}

/// In what way a restart goes ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// Nothing was in hand when it was ordered.
    Idle,
    /// The limit was reached: drain, and mark what is interrupted.
    DrainAndMark,
    /// Somebody forced it: the shortest drain, and mark what is interrupted.
    Forced,
    /// A signal began it past the coordinator: only in history.
    Direct,
}

/// The order to restart. Whoever takes it calls [`Coordinator::drain_began`](super::Coordinator::drain_began).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its name.
    pub token: Token,
    /// In what way the restart goes ahead, as far as is known when it is ordered.
    pub manner: Manner,
}

/// What holds for the drain of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainTerms {
    /// The order that it follows.
    pub token: Token,
    /// In what way the restart goes ahead.
    pub manner: Manner,
    /// When it must be over; `None`: it has no limit.
    pub deadline: Option<Moment>,
    /// Whether somebody asked for this restart who accepts that work is interrupted. If nobody did, nothing was in
    /// hand when it was ordered, and nothing was admitted since.
    pub may_interrupt: bool,
}

/// An order that is not in force, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the restart order {0} is not in force")]
pub struct StaleOrder(pub Token);

/// Something to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Restart. No new work is admitted from now on.
    Restart(Order),
    /// The drain that is under way must be over earlier than it was told.
    ShortenDrain {
        /// By when.
        deadline: Moment,
    },
}

/// What becomes of a request, as far as is known when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The restart comes as soon as it is due: now, if that is past.
    Scheduled {
        /// When that is.
        due: Moment,
    },
    /// It waits for work in hand.
    Deferred {
        /// When it is due at the earliest.
        due: Moment,
        /// How long it waits at most; `None`: without limit.
        limit: Option<Moment>,
    },
    /// It joined a restart that was asked for already.
    Coalesced {
        /// The oldest request for it.
        onto: RequestId,
        /// When that restart is due at the earliest.
        due: Moment,
    },
    /// It was asked before, under the same key, and has its outcome.
    Over,
    /// There will be no restart for it. This is its outcome; no other follows.
    Refused(Refusal),
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The request's name. Who asked again with the same key has the same.
    pub request: RequestId,
    /// What becomes of it.
    pub status: Status,
    /// How much of its delay is the pause after the last restart.
    pub cooldown: Duration,
    /// What is to be done now.
    pub action: Option<Action>,
}

/// What a restart signal was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The gateway's own: the drain begins now.
    Own(DrainTerms),
    /// Somebody else's, who asks for a restart.
    Asked(Decision),
    /// Somebody else's, of which nothing is made.
    Ignored(Refusal),
}

/// The answer to a restart signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalDecision {
    /// What it was.
    pub heard: Heard,
    /// Whether signals from outside come so often that a second supervisor may be at work.
    pub insistent: bool,
    /// What is to be done now.
    pub action: Option<Action>,
}

/// Whether new work is admitted, and who keeps it out. Follows from where the coordinator stands and is stored
/// nowhere, so that nobody can forget to admit again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is.
    Open,
    /// A safe restart has reached its limit and holds it off, so that what is in hand can end.
    HeldOffFor(RequestId),
    /// A restart is under way.
    ClosedBy(Token),
    /// The gateway stops.
    Stopping,
}

/// Where the coordinator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The server is not up yet; requests wait until it is.
    Starting,
    /// Nobody has asked for anything.
    Idle,
    /// A restart was asked for and is not due yet.
    Scheduled,
    /// A restart is due and waits for work in hand.
    Deferred,
    /// The same, and new work is held off.
    HoldingOff,
    /// A restart was ordered and nobody has taken the order yet.
    Ordered,
    /// The drain is under way.
    Draining,
    /// The gateway stops.
    Stopping,
}

/// Where the coordinator stands, for people: what a deferral waits for and how long it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// In one word.
    pub state: State,
    /// The requests that have not ended, the oldest first.
    pub requests: Vec<StandingRequest>,
    /// In how many milliseconds the restart is due at the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_in_ms: Option<u64>,
    /// In how many milliseconds it waits no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_in_ms: Option<u64>,
}

/// A request that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StandingRequest {
    /// Its name.
    pub request: RequestId,
    /// Who asked.
    pub source: Source,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}
