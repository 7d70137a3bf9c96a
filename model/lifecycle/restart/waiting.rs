//! What waits: a request that has not ended, and how long it may.

use std::time::Duration;

use super::Moment;
use super::outcome::Carried;
use super::request::{Request, RequestId};
use crate::policy::{RestartPolicy, SafeAtLimit};

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
            // An edit that is made again is another edit.
            key: self.request.key.clone().filter(|_| !self.request.source.is_config()),
        }
    }
}
