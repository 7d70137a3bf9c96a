//! The shutdown: connections are told, closed and, when they do not follow, reset.
//!
//! What is done, in what order and for how long is a [plan](mod@plan); here it is carried out, step by step. A step that
//! fails or hangs does not stop the next, and the exit is forced when all of them together take too long, or when a
//! signal asks for it.

use std::pin::pin;
use std::rc::Rc;

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::budgets;
use super::phase::{Ending, Phase};
use super::requests::{Change, Requests};
use crate::env::Task;
use crate::gateway::Gateway;
use crate::wire::close_code;

mod plan;
mod step;

pub(crate) use plan::frees_port_first;
use plan::{IfLate, Step, Work, plan};
use step::Outcome;
pub(crate) use step::step;

/// What a restarting gateway announces to its clients (OpenClaw: 1 500).
const RESTART_EXPECTED_MS: u64 = 1_500;

/// Why a shutdown did not come to its end, in the words of a log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A signal said so.
    BySignal { step: &'static str },
    /// It took longer than it may.
    OutOfTime { step: &'static str },
    /// Something could not be closed, and that counts.
    Failed { step: &'static str },
}

impl Cut {
    /// The step that it was in.
    pub(crate) const fn step(self) -> &'static str {
        match self {
            Self::BySignal { step } | Self::OutOfTime { step } | Self::Failed { step } => step,
        }
    }

    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::BySignal { .. } => "a signal said so",
            Self::OutOfTime { .. } => "it took too long",
            Self::Failed { .. } => "something could not be closed",
        }
    }
}

/// Ends the task that accepts, if it has not ended, and frees the port with it.
pub(crate) async fn end_listener(listener: &mut Option<Task<()>>) {
    if let Some(task) = listener {
        task.abort();
        task.await;
    }
    *listener = None;
}

/// Closes the port and every connection. `listener` is the task that accepts, if it still does. Returns how the process is to end by
/// then.
pub(crate) async fn close(
    gateway: &Rc<Gateway>,
    listener: Option<Task<()>>,
    requests: &mut Requests,
    asked_at: Instant,
) -> Result<Ending, Cut> {
    let began = Instant::now();
    let mut shutdown = Shutdown { gateway, listener, done: 0, at: "" };
    let mut deadline = None;
    loop {
        let ending = requests.under_way().expect("a shutdown is asked for");
        let budget = budgets::close(&gateway.policies, &gateway.config, ending, asked_at.elapsed());
        // Who overtakes has a budget of his own, and no more time than there was.
        let own = budget.and_then(|budget| Instant::now().checked_add(budget));
        deadline = [deadline, own].into_iter().flatten().min();
        let steps = plan(gateway.policies.peer_close, budget);
        let closing = before(deadline, shutdown.run(&steps, ending));
        let closed = requests.unless_changed(Phase::Closing, pin!(closing)).await;
        let cut = match closed {
            Ok(Some(Ok(()))) => {
                let took_ms = began.elapsed().as_millis() as u64;
                tracing::info!(name: "shutdown.finished", took_ms, "everything is closed");
                return Ok(ending);
            }
            Ok(Some(Err(step))) => Cut::Failed { step },
            Ok(None) => Cut::OutOfTime { step: shutdown.at },
            Err(Change::Forced) => Cut::BySignal { step: shutdown.at },
            Err(Change::Asked(_)) => continue,
        };
        return Err(cut);
    }
}

/// What `work` comes to, if it does before `deadline`.
pub(crate) async fn before<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    let Some(deadline) = deadline else { return Some(work.await) };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = sleep_until(deadline) => None,
    }
}

/// How far a shutdown has come.
struct Shutdown<'a> {
    gateway: &'a Rc<Gateway>,
    listener: Option<Task<()>>,
    /// How many steps are over.
    done: usize,
    /// The step it is in.
    at: &'static str,
}

impl Shutdown<'_> {
    /// Carries out what is left of the steps. An error names the step because of which the shutdown has failed.
    async fn run(&mut self, steps: &[Step], ending: Ending) -> Result<(), &'static str> {
        if self.done == 0 && self.at.is_empty() {
            let peers = self.gateway.peers.count(crate::wire::Which::All);
            tracing::info!(name: "shutdown.started", ending = ending.name(), peers, "closing");
        }
        while let Some(next) = steps.get(self.done) {
            self.at = next.name;
            let outcome = step(next.name, next.limit, self.work(next.work, ending)).await;
            self.done += 1;
            if outcome == Outcome::TimedOut && next.if_late == IfLate::Fails {
                return Err(next.name);
            }
        }
        Ok(())
    }

    async fn work(&mut self, work: Work, ending: Ending) -> Result<(), crate::sessions::StateError> {
        let peers = &self.gateway.peers;
        match work {
            Work::Settlements => {
                return self.gateway.inbox.pay().inspect_err(|error| {
                    tracing::error!(name: "inbox.settlements-lost", %error, "the next life will not know of all ends");
                });
            }
            Work::Channels => self.gateway.channels.close().await,
            Work::Listener => {
                end_listener(&mut self.listener).await;
            }
            Work::Goodbye(which) => {
                let (reason, restart_expected_ms) = match ending {
                    Ending::Restart => ("gateway restarting", json!(RESTART_EXPECTED_MS)),
                    Ending::Stop => ("gateway stopping", json!(null)),
                };
                let payload = json!({"reason": reason, "restartExpectedMs": restart_expected_ms});
                let frame = json!({"type": "event", "event": "shutdown", "payload": payload});
                let (code, reason) = (close_code::SERVICE_RESTART, "service restart");
                peers.say_goodbye(which, frame.to_string(), code, reason);
            }
            Work::Dismiss(idle) => peers.dismiss(idle),
            Work::Gone(which) => peers.gone(which).await,
            Work::Reset(which) => peers.reset(which),
        }
        Ok(())
    }
}
