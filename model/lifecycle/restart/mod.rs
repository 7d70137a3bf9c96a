//! Restarts: whoever asks for one, it goes through one [`Coordinator`] that knows the work in hand.
//!
//! The coordinator waits for a moment when nothing is interrupted, merges requests that one restart serves, and
//! ends every one of them: done, merged, refused or timed out, as data that somebody can be told in this life or the
//! next. All of it is a pure state machine: inputs with an explicit `now` go in, decisions and the next moment to
//! wake come out. It knows no clock, no task, no file and no socket; `docs/restart.md` shows what it does with each
//! request in each state. Reports: openclaw/openclaw#47711 (parts A and C) and #76923 (commit 103cdd9).

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod coordinator;
mod decision;
mod inventory;
mod limiter;
mod outcome;
mod preflight;
mod reload;
mod request;
mod settings;
mod signals;
#[cfg(test)]
mod tests;
mod waiting;
mod watch;

pub use crate::policy::{
    AtLimit, ConfigCurrent, CycleToken, DeferralLimit, ExternalSignal, ForceDrain, Notices, OldWork,
    RateLimitOrder, RestartPause, RestartPolicy, SafeAtLimit, TaskAggregate, TaskRecords, WaitBudget,
    restart_policy,
};
pub use coordinator::Coordinator;
pub use decision::{
    Action, Admission, Decision, DrainTerms, Heard, Manner, Order, Refusal, SignalDecision, StaleOrder,
    Standing, StandingRequest, State, Status, Token,
};
pub use inventory::{Inventory, RecordStatus, Work, WorkKind, WorkStatus};
pub use outcome::{Carried, Ending, Ledger, Outcome};
pub use preflight::{
    Blocker, Counts, EmitMode, Preflight, RequestResult, RequestStatus, Scheduled, TaskBlocker,
};
pub use reload::{Effect, Plan, changed_paths};

pub use request::{Mode, Notice, Patience, Reason, Request, RequestId, Source};
pub use settings::Settings;
pub use watch::{ConfigWatch, Look, News, Sighting};

/// A moment of monotonic time, since the process began. Means nothing in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment `elapsed` after the process began.
    pub const fn after_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after `earlier` this is; zero when it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// One start of the gateway, numbered over all its lives. A process has one, or several when it restarts in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one that follows.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
