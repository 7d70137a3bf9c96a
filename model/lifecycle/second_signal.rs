//! What a signal does, at every point of a life: the one function that says so.
//!
//! Pure. A stop overtakes a restart, since whoever asks for it wants nobody to follow; nothing overtakes a stop. Who
//! asks for a stop a second time by hand has lost patience, and SIGQUIT never had any. What is under way decides alone:
//! whether the process drains, closes or waits for its successor makes no difference to what somebody meant. Knows
//! nothing of how an end is carried out.

use super::phase::Ending;
use crate::env::Signal;
use crate::policy::SecondRequest;

/// What a signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The process begins to end like this.
    Begins(Ending),
    /// It is followed when the server is up.
    Waits,
    /// It ends as a stop from now on, with a stop's limits, and has no successor.
    Overtakes,
    /// It is the same restart.
    Merges,
    /// It is the same stop, and nothing gets any faster.
    Repeats,
    /// A restart of what has been told to stop: nothing comes of it.
    Ignored,
    /// The process exits now.
    Forces,
}

impl Effect {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Begins(_) => "begins",
            Self::Waits => "waits",
            Self::Overtakes => "overtakes",
            Self::Merges => "merges",
            Self::Repeats => "repeats",
            Self::Ignored => "ignored",
            Self::Forces => "forces",
        }
    }
}

/// The signals to install handlers for. All others, and these until then, have their default action.
pub(crate) const fn handled(policy: SecondRequest) -> &'static [Signal] {
    match policy {
        SecondRequest::StopOvertakes => &[Signal::Terminate, Signal::Interrupt, Signal::User1, Signal::Quit],
        SecondRequest::Dropped => &[Signal::Terminate, Signal::Interrupt, Signal::User1],
    }
}

/// What `signal` does to a process that has been asked to end as `under_way`, if at all.
pub(crate) const fn effect(under_way: Option<Ending>, signal: Signal, policy: SecondRequest) -> Effect {
    use SecondRequest::{Dropped, StopOvertakes};
    match (under_way, signal, policy) {
        (_, Signal::Hangup | Signal::User2, _) | (_, Signal::Quit, Dropped) => Effect::Ignored,
        (_, Signal::Quit, StopOvertakes) => Effect::Forces,
        (None, Signal::Terminate | Signal::Interrupt, _) => Effect::Begins(Ending::Stop),
        (None, Signal::User1, _) => Effect::Begins(Ending::Restart),
        (Some(_), _, Dropped) => Effect::Ignored,
        (Some(Ending::Restart), Signal::Terminate | Signal::Interrupt, StopOvertakes) => Effect::Overtakes,
        (Some(Ending::Restart), Signal::User1, StopOvertakes) => Effect::Merges,
        (Some(Ending::Stop), Signal::Terminate, StopOvertakes) => Effect::Repeats,
        (Some(Ending::Stop), Signal::Interrupt, StopOvertakes) => Effect::Forces,
        (Some(Ending::Stop), Signal::User1, StopOvertakes) => Effect::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::Effect::*;
    use super::Ending::{Restart, Stop};
    use super::*;

    /// The effects of SIGTERM, SIGINT, SIGUSR1 and SIGQUIT.
    fn effects(under_way: Option<Ending>, policy: SecondRequest) -> [Effect; 4] {
        let signals = [Signal::Terminate, Signal::Interrupt, Signal::User1, Signal::Quit];
        signals.map(|signal| effect(under_way, signal, policy))
    }

    #[test]
    fn the_table_of_hardened() {
        let check = |under_way, expected| {
            assert_eq!(effects(under_way, SecondRequest::StopOvertakes), expected, "{under_way:?}");
        };
        check(None, [Begins(Stop), Begins(Stop), Begins(Restart), Forces]);
        check(Some(Restart), [Overtakes, Overtakes, Merges, Forces]);
        check(Some(Stop), [Repeats, Forces, Ignored, Forces]);
    }

    #[test]
    fn history_dropped_whatever_came_second() {
        let check = |under_way, expected| {
            assert_eq!(effects(under_way, SecondRequest::Dropped), expected, "{under_way:?}");
        };
        check(None, [Begins(Stop), Begins(Stop), Begins(Restart), Ignored]);
        check(Some(Restart), [Ignored; 4]);
        check(Some(Stop), [Ignored; 4]);
    }

    #[test]
    fn what_has_no_handler_has_no_effect() {
        for policy in [SecondRequest::StopOvertakes, SecondRequest::Dropped] {
            for signal in Signal::ALL.into_iter().filter(|signal| !handled(policy).contains(signal)) {
                for under_way in [None, Some(Restart), Some(Stop)] {
                    assert_eq!(effect(under_way, signal, policy), Ignored, "{signal}");
                }
            }
        }
    }
}
