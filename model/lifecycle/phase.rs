//! The phase of a life, and the two ways in which it is asked to end.

use std::cell::Cell;

use crate::env::Signal;
use crate::policy::SecondRequest;

/// Where in its life the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Not yet taking messages.
    Starting,
    /// Taking messages.
    Serving,
    /// Finishing what it took.
    Draining,
    /// Closing connections.
    Closing,
}

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// SIGTERM or SIGINT: stay down unless the supervisor says otherwise.
    Stop,
    /// SIGUSR1: a successor is wanted.
    Restart,
}

impl Ending {
    /// The signals that end a life, for installing their handlers.
    pub(crate) const SIGNALS: [Signal; 3] = [Signal::Terminate, Signal::Interrupt, Signal::User1];

    /// What a signal asks for.
    pub(crate) const fn asked_by(signal: Signal) -> Option<Self> {
        match signal {
            Signal::Terminate | Signal::Interrupt => Some(Self::Stop),
            Signal::User1 => Some(Self::Restart),
            Signal::Hangup | Signal::User2 => None,
        }
    }

    /// What holds when a second request arrives during the first.
    pub(crate) const fn overtaken_by(self, later: Self, policy: SecondRequest) -> Self {
        match (policy, self, later) {
            (SecondRequest::StopOvertakes, Self::Restart, Self::Stop) => Self::Stop,
            (SecondRequest::StopOvertakes | SecondRequest::Dropped, first, _) => first,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}

/// The current phase. Only ever moves forward.
pub(crate) struct PhaseCell(Cell<Phase>);

impl PhaseCell {
    pub(crate) fn new() -> Self {
        Self(Cell::new(Phase::Starting))
    }

    pub(crate) fn get(&self) -> Phase {
        self.0.get()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        debug_assert!(self.get() < phase, "from {:?} back to {phase:?}", self.get());
        self.0.set(phase);
    }

    pub(crate) fn admits_messages(&self) -> bool {
        self.get() == Phase::Serving
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.get() {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
            Phase::Closing => "closing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_overtakes_a_restart_and_never_the_other_way_round() {
        use SecondRequest::StopOvertakes;
        assert_eq!(Ending::Restart.overtaken_by(Ending::Stop, StopOvertakes), Ending::Stop);
        assert_eq!(Ending::Stop.overtaken_by(Ending::Restart, StopOvertakes), Ending::Stop);
        assert_eq!(Ending::Restart.overtaken_by(Ending::Restart, StopOvertakes), Ending::Restart);
    }

    #[test]
    fn history_dropped_a_second_request() {
        assert_eq!(Ending::Restart.overtaken_by(Ending::Stop, SecondRequest::Dropped), Ending::Restart);
    }
}
