//! Whether somebody stopped the service for good: from orders, signals and the process table.
//!
//! A stop is an order to the supervisor that it did not refuse, or a stop signal that a gateway obeyed. It is for good
//! when no gateway started after it; and it is none when it was the first half of a restart. Where nobody supervises,
//! whoever kills the gateway has stopped it, and so where the supervisor leaves it down after that.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway::env::{ExitCode, Pid, Signal};

use super::{DeathCause, Event, Fact, GATEWAY_PROGRAM, OperatorOrder, TOOL_PROGRAM};

/// What has been seen of the service so far.
#[derive(Default)]
pub(super) struct Stopping {
    living: BTreeSet<Pid>,
    /// Those that handled a stop signal.
    asked: BTreeSet<Pid>,
    /// Somebody minds the service.
    is_supervised: bool,
    last_order: Option<OperatorOrder>,
    /// The order before, if there was one, until it is known that the last one was not refused.
    order_before: Option<Option<OperatorOrder>>,
    /// When the last process ended, and whether it had been asked to.
    ended: Option<(Duration, bool)>,
    /// Those that an operator started.
    by_hand: BTreeSet<Pid>,
    /// The last one that its supervisor started left the service to one of these.
    gave_way: bool,
    /// A process has begun since the last order.
    was_started: bool,
    /// Whether it was struck down.
    was_struck: bool,
    /// The tool that loads the service anew: it starts what it ends, as long as it lives.
    reloads: Option<Pid>,
}

impl Stopping {
    pub(super) fn take(&mut self, event: &Event) {
        match &event.fact {
            Fact::ProcessStarted { pid, program, .. } if program == GATEWAY_PROGRAM => {
                self.living.insert(*pid);
                self.ended = None;
                match self.last_order == Some(OperatorOrder::StartByHand) && !self.was_started {
                    true => drop(self.by_hand.insert(*pid)),
                    false => self.gave_way = false,
                }
                self.was_started = true;
                // Who wanted it to come up again has what he wanted: a stop after that is one for good.
                if matches!(self.last_order, Some(OperatorOrder::Restart | OperatorOrder::Reload)) {
                    (self.last_order, self.order_before) = (None, None);
                }
            }
            Fact::ProcessStarted { pid, program, .. }
                if program == TOOL_PROGRAM && self.last_order == Some(OperatorOrder::Reload) =>
            {
                self.reloads.get_or_insert(*pid);
            }
            Fact::ProcessExited { pid, cause, .. } if self.reloads == Some(*pid) => {
                self.reloads = None;
                if !matches!(cause, DeathCause::Exited(_)) && self.last_order == Some(OperatorOrder::Reload) {
                    self.last_order = Some(OperatorOrder::Stop);
                }
            }
            Fact::ProcessExited { pid, program, cause, .. } if program == GATEWAY_PROGRAM => {
                self.living.remove(pid);
                let by_hand = self.by_hand.remove(pid);
                self.gave_way |= !by_hand && *cause == DeathCause::Exited(ExitCode::CONFIG);
                let nobody_minds = by_hand && self.gave_way && *cause == DeathCause::Killed;
                let was_asked = self.asked.remove(pid) || self.is_stop(*cause) || nobody_minds;
                // Who ends in the same instant goes down with it: a container is one thing.
                let with_it = self.ended.is_some_and(|(at, was_asked)| was_asked && at == event.at);
                self.ended = Some((event.at, was_asked || with_it));
                self.was_struck = matches!(cause, DeathCause::Killed | DeathCause::Signal(_));
            }
            // Whoever minds it was told to leave it down after such a death.
            Fact::ServiceInactive { .. } if self.was_struck => {
                self.ended = self.ended.map(|(at, _)| (at, true));
            }
            Fact::SignalDelivered { pid, signal, handled: true }
                if is_stop_signal(*signal) && self.living.contains(pid) =>
            {
                self.asked.insert(*pid);
            }
            Fact::ServiceStarting { .. } => self.is_supervised = true,
            Fact::Ordered { order } => {
                self.order_before = Some(self.last_order.replace(*order));
                self.was_started = false;
            }
            Fact::ServiceOrderRefused { .. } => {
                if let Some(before) = self.order_before.take() {
                    self.last_order = before;
                }
            }
            _ => {}
        }
    }

    /// Whether an end like this is what somebody wanted, and nobody else will start it again.
    fn is_stop(&self, cause: DeathCause) -> bool {
        match cause {
            DeathCause::Signal(signal) if is_stop_signal(signal) => true,
            DeathCause::Signal(_) | DeathCause::Killed | DeathCause::PowerLoss => !self.is_supervised,
            DeathCause::Exited(_) | DeathCause::Panicked => false,
        }
    }

    /// When the last process of a service ended that was stopped for good.
    pub(super) fn stopped_for_good(&self) -> Option<Duration> {
        let (at, was_asked) = self.ended.filter(|_| self.living.is_empty())?;
        let is_wanted = match self.last_order {
            Some(OperatorOrder::Stop) => true,
            Some(OperatorOrder::Restart | OperatorOrder::Reload) => false,
            Some(OperatorOrder::Start | OperatorOrder::StartByHand) | None => was_asked,
        };
        is_wanted.then_some(at)
    }
}

fn is_stop_signal(signal: Signal) -> bool {
    matches!(signal, Signal::Terminate | Signal::Interrupt | Signal::Quit)
}
