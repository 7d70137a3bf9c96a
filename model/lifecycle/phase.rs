//! The phase of a life, and the two ways in which it is asked to end.

use std::cell::Cell;

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
    /// Giving locks back and seeing to a successor.
    Leaving,
}

impl Phase {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Leaving => "leaving",
        }
    }
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
        self.get().name()
    }
}
