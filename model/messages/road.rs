//! What is done with a message as a whole: it is accepted, it ends, it is stopped; and what was said can be read.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::delivery::{self, Kind};
use super::inbox::{Accepted, Known, Settlement, Stage};
use super::lanes::{Interruption, Stopped};
use super::stop;
use crate::agents::{run, subagents};
use crate::channels::webchat::{ChatState, publish};
use crate::cron;
use crate::gateway::Gateway;
use crate::lifecycle::phase::Phase;
use crate::policy;
use crate::sessions::{Outcome, Role, StateError, TranscriptEntry};

/// How long the gateway waits before it tries again to write settlements that the disk refused.
const PAY_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The lane of a conversation that has but one.
const ONLY_LANE: u64 = 0;

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendRefused {
    #[error("the gateway is starting, draining or closing; nothing was accepted")]
    NotAdmitting,
    #[error("this idempotency key was used for a different message")]
    KeyReused,
    #[error("the message could not be stored, nothing was accepted: {0}")]
    NotDurable(StateError),
}

/// What became of a message that was handed over and not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// It was accepted now.
    Started,
    /// It was accepted before and is not over.
    InFlight,
    /// It was accepted before and ended like this; the history shows how.
    Over(Settlement),
}

impl Gateway {
    /// Accepts a message: durable first, then queued. A message that is known already is not accepted again.
    /// `connection` is whose message it is; a scheduled run is nobody's.
    pub(crate) fn accept(
        self: &Rc<Self>,
        message: &Accepted,
        connection: Option<u64>,
    ) -> Result<Receipt, SendRefused> {
        let accepted = self.try_accept(message, connection);
        if let Err(why) = &accepted {
            tracing::warn!(name: "message.refused", run = message.run_id, %why, "nothing was accepted");
        }
        accepted
    }

    /// As [`Self::accept`], for what follows from a message that was accepted before: it belongs to what a drain waits
    /// for, so it is taken until the connections are closed.
    pub(crate) fn accept_follow_up(self: &Rc<Self>, message: &Accepted) -> Result<Receipt, SendRefused> {
        self.accept_if(self.phase.get() < Phase::Closing, message, None)
    }

    fn try_accept(
        self: &Rc<Self>,
        message: &Accepted,
        connection: Option<u64>,
    ) -> Result<Receipt, SendRefused> {
        self.accept_if(self.admits_messages(), message, connection)
    }

    fn accept_if(
        self: &Rc<Self>,
        is_admitted: bool,
        message: &Accepted,
        connection: Option<u64>,
    ) -> Result<Receipt, SendRefused> {
        match self.inbox.knows(message) {
            Known::AsAnother => return Err(SendRefused::KeyReused),
            Known::AsThis(Stage::Settled(how)) => return Ok(Receipt::Over(how)),
            Known::AsThis(Stage::Accepted | Stage::Started) => return Ok(Receipt::InFlight),
            Known::No => {}
        }
        if !is_admitted {
            return Err(SendRefused::NotAdmitting);
        }
        self.inbox.accept(message).map_err(SendRefused::NotDurable)?;
        tracing::info!(
            name: "inbox.recorded",
            run = message.run_id,
            session = message.session_key,
            "accepted a message"
        );
        if stop::is_stop(message) {
            stop::carry_out(self, message);
            return Ok(Receipt::Started);
        }
        let lane = match self.policies.lanes {
            policy::Lanes::OnePerConversation => ONLY_LANE,
            policy::Lanes::OnePerConnection => connection.unwrap_or(ONLY_LANE),
        };
        self.enqueue_in(lane, message);
        Ok(Receipt::Started)
    }

    /// Gives an accepted message its place in its conversation's lane.
    pub(crate) fn enqueue(self: &Rc<Self>, message: &Accepted) {
        self.enqueue_in(ONLY_LANE, message);
    }

    fn enqueue_in(self: &Rc<Self>, lane: u64, message: &Accepted) {
        let gateway = self.clone();
        self.lanes.enqueue(&message.session_key, lane, &message.run_id, move |run_id, interrupted| {
            run::work(gateway.clone(), run_id, interrupted)
        });
    }

    /// Records that a message is over. It is, whatever the disk says: the record is owed until it is written.
    pub(crate) fn settle(self: &Rc<Self>, run_id: &str, how: Settlement) {
        let settled = self.inbox.settle(run_id, how);
        self.waits.end(run_id);
        cron::settled(self, run_id, how);
        subagents::settled(self, run_id, how);
        let Err(error) = settled else { return };
        tracing::error!(name: "message.settlement-not-durable", run = run_id, %error, "trying again");
        let gateway = self.clone();
        drop(self.env.spawn("settlements", async move {
            while gateway.inbox.pay().is_err() {
                sleep(PAY_RETRY_DELAY).await;
            }
        }));
    }

    /// Ends a message as its transcript says. Whoever has to be reached on a platform is owed that before the message is
    /// over, so that no crash comes in between.
    pub(crate) fn conclude(self: &Rc<Self>, message: &Accepted, outcome: &Outcome) -> Result<(), StateError> {
        if let Some(Stage::Settled(_)) = self.inbox.stage_of(&message.run_id) {
            // Its sender stopped it while its end could not be recorded.
            return Ok(());
        }
        let (Outcome::Reply(text) | Outcome::Notice(text)) = outcome;
        delivery::owe(self, message, Kind::Outcome, text)?;
        self.settle(&message.run_id, Settlement::from(outcome));
        Ok(())
    }

    /// Stops a conversation's runs for its sender, for good. Returns the ids of those that were stopped.
    pub(crate) fn cancel(self: &Rc<Self>, session_key: &str, run_id: Option<&str>) -> Vec<String> {
        let stopped = self.lanes.stop(session_key, run_id, Interruption::ByUser);
        let mut cancelled = Vec::new();
        for stopped in stopped {
            let (run_id, was_running) = match stopped {
                Stopped::Queued(run_id) => (run_id, false),
                Stopped::Running(run_id) => (run_id, true),
            };
            tracing::warn!(name: "message.cancelled", run = run_id, "stopped by its sender");
            self.settle(&run_id, Settlement::Cancelled);
            // A run at work says so itself, as its last event.
            if !was_running {
                publish(&self.peers, session_key, &run_id, 0, &ChatState::Aborted);
            }
            cancelled.push(run_id);
        }
        cancelled.extend(subagents::cancel(self, session_key, run_id));
        cancelled
    }

    /// A conversation's transcript; empty when it does not exist.
    pub(crate) fn history(&self, session_key: &str) -> Result<Vec<TranscriptEntry>, StateError> {
        match self.sessions.find_transcript(session_key)? {
            Some(transcript) => {
                let mut entries = transcript.entries()?;
                // How the model came to its answer is between it and its tools.
                entries.retain(|entry| !matches!(entry.role, Role::ToolCalls | Role::ToolResult));
                Ok(entries)
            }
            None => Ok(Vec::new()),
        }
    }
}
