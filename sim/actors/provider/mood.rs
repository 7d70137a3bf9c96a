//! How the model provider behaves at present: what scenario steps change for a while.
//!
//! Plain state that the script sets and the provider asks. Of two troubles of one kind the later one holds.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use gateway::env::watch;
use hyper::StatusCode;

/// How the provider is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It listens no more, and its connections are reset.
    Refuses,
    /// It answers every request with status 503, at once.
    Fails,
    /// It answers every request with status 429, at once.
    Limits,
    /// It takes requests and never says a word to them.
    Hangs,
    /// It begins its answers, and resets the line in the middle of each.
    CutsLine,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Present {
    outage: Option<Outage>,
    slow: Duration,
}

/// The present behaviour, shared by the provider and whoever troubles it.
#[derive(Clone)]
pub struct Mood(Rc<watch::Sender<Present>>);

impl Default for Mood {
    fn default() -> Self {
        Self(Rc::new(watch::Sender::new(Present::default())))
    }
}

impl fmt::Debug for Mood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mood").field("outage", &self.outage()).field("slow", &self.slow()).finish()
    }
}

impl Mood {
    /// It is down, or up again.
    pub fn set_outage(&self, outage: Option<Outage>) {
        self.0.send_modify(|present| present.outage = outage);
    }

    /// Each first token takes so much longer; zero: no longer.
    pub fn set_slow(&self, slow: Duration) {
        self.0.send_modify(|present| present.slow = slow);
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.0.borrow().outage
    }

    pub(super) fn slow(&self) -> Duration {
        self.0.borrow().slow
    }

    /// What every request is answered with at once, if it is.
    pub(super) fn refusal(&self) -> Option<(StatusCode, &'static str)> {
        match self.outage()? {
            Outage::Fails => Some((StatusCode::SERVICE_UNAVAILABLE, "failed with 503")),
            Outage::Limits => Some((StatusCode::TOO_MANY_REQUESTS, "failed with 429")),
            Outage::Refuses | Outage::Hangs | Outage::CutsLine => None,
        }
    }

    /// Resolves when it listens, or does not: at once where that is so already.
    pub(super) async fn listens(&self, listens: bool) {
        let mut present = self.0.subscribe();
        // The sender lives as long as this.
        let _ = present.wait_for(|present| (present.outage != Some(Outage::Refuses)) == listens).await;
    }
}
