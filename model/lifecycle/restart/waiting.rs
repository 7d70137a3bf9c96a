//! What waits: a request that has not ended, and the budget of the restart that will serve it.

use std::time::Duration;

use super::Moment;
use super::decision::Manner;
use super::outcome::Carried;
use super::policy::{RestartPolicy, SafeAtLimit};
use super::request::{Request, RequestId};

/// A request that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) due: Moment,
    /// How long it waits for work once it is due; `None`: without limit.
    pub(super) patience: Option<Duration>,
    /// Whether anybody will be told; always, but in history.
    pub(super) told: bool,
}

impl Open {
    /// When it waits no longer.
    pub(super) fn limit(&self) -> Option<Moment> {
        Some(self.due + self.patience?)
    }

    /// Whether it goes ahead at its limit, whatever is in hand.
    pub(super) fn goes_ahead(&self, policy: RestartPolicy) -> bool {
        self.request.mode.may_interrupt() || policy.safe_at_limit == SafeAtLimit::GoesAhead
    }

    pub(super) fn carried(&self) -> Carried {
        Carried {
            request: self.id,
            source: self.request.source.clone(),
            reason: self.request.reason.clone(),
            notice: self.request.notice.clone(),
        }
    }
}

/// What the drain of an ordered restart will be given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) manner: Manner,
    /// When deferral and drain together are over; `None`: without limit.
    pub(super) until: Option<Moment>,
    /// What the drain has at least.
    pub(super) floor: Duration,
}

impl Budget {
    /// When a drain must be over that begins now.
    pub(super) fn deadline(self, now: Moment) -> Option<Moment> {
        Some(self.until?.max(now + self.floor))
    }
}
