//! What is done with a message as a whole: it is accepted, it ends, it is stopped; and what was said can be read.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::delivery::{self, Kind};
use super::gathering::Waiting;
use super::inbox::{Accepted, Known, Settlement, Stage};
use super::lanes::{Interruption, Stopped};
use super::{overflow, stop, traces};
use crate::agents::{run, subagents};
use crate::channels::webchat::{ChatState, publish};
use crate::cron;
use crate::gateway::Gateway;
use crate::lifecycle::phase::Phase;
use crate::policy::{self, FollowUps, SessionStatus, UserStop};
use crate::sessions::{Outcome, Recorded, Role, StateError, TranscriptEntries};

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
    /// History's guard, whose word for it is a lie when nobody works there (openclaw/openclaw#71263).
    #[error("the conversation is busy")]
    Busy,
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
    /// It was accepted before and ended like this.
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
        let is_busy = self.lanes.is_busy(&message.session_key);
        // It kept senders away, not the gateway's own runs.
        let is_guarded = !is_busy && !subagents::is_ours(&message.run_id);
        if is_guarded && self.store_says_running(&message.session_key) {
            return Err(SendRefused::Busy);
        }
        let waits = is_busy || !self.config.messages.queue.debounce().is_zero();
        let kept = if waits { self.policies.follow_ups } else { FollowUps::Durable };
        self.inbox.accept(message, kept).map_err(SendRefused::NotDurable)?;
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
        if overflow::make_room(self, message) {
            return Ok(Receipt::Started);
        }
        let lane = match self.policies.lanes {
            policy::Lanes::OnePerConversation => ONLY_LANE,
            policy::Lanes::OnePerConnection => connection.unwrap_or(ONLY_LANE),
        };
        self.enqueue_in(lane, message, None);
        Ok(Receipt::Started)
    }

    /// Whether the session store says that the conversation is at work, where that counts. What a generation of this
    /// process says is true: its run goes on.
    fn store_says_running(&self, session_key: &str) -> bool {
        let said_by = || self.sessions.runs_by_word_of(session_key).ok().flatten();
        self.policies.session_status == SessionStatus::AsTheStoreSays
            && said_by().is_some_and(|generation| !self.restarts.is_of_this_process(generation))
    }

    /// In one breath with the end of admission, so that the drain counts whatever is accepted: what waits for quiet has
    /// its turn. History forgot what it kept in memory.
    pub(crate) fn flush_queues(&self) {
        if self.policies.follow_ups == FollowUps::InMemory {
            self.lanes.forget(&self.inbox.forget_kept_in_memory());
        }
        self.lanes.flush();
    }

    /// Gives a message of an earlier life its place in its conversation's lane; its turn does not begin before
    /// `not_before`.
    pub(crate) fn enqueue_again(self: &Rc<Self>, message: &Accepted, not_before: Option<Instant>) {
        self.enqueue_in(ONLY_LANE, message, not_before);
    }

    fn enqueue_in(self: &Rc<Self>, lane: u64, message: &Accepted, not_before: Option<Instant>) {
        let gateway = self.clone();
        // A run of our own is told apart by its name, and so is its answer.
        let is_ours = cron::is_run(&message.run_id) || subagents::is_ours(&message.run_id);
        let shares = (!is_ours).then(|| message.route.place());
        let waiting = Waiting { run_id: message.run_id.clone(), shares, since: Instant::now(), not_before };
        self.lanes.enqueue(&message.session_key, lane, waiting, move |turn| run::work(gateway.clone(), turn));
    }

    /// Records that messages are over, all at once. They are, whatever the disk says: the records are owed until they
    /// are written.
    pub(crate) fn settle(self: &Rc<Self>, run_ids: &[&str], how: Settlement) {
        let settled = self.inbox.settle(run_ids, how);
        for run_id in run_ids {
            self.waits.end(run_id);
            cron::settled(self, run_id, how);
            subagents::settled(self, run_id, how);
        }
        let Err(error) = settled else { return };
        for run_id in run_ids {
            tracing::error!(name: "message.settlement-not-durable", run = run_id, %error, "trying again");
        }
        let gateway = self.clone();
        let stopped = run_ids.iter().filter(|_| how == Settlement::Cancelled);
        let stopped: Vec<String> = stopped.map(ToString::to_string).collect();
        drop(self.env.spawn("settlements", async move {
            while gateway.inbox.pay().is_err() {
                sleep(PAY_RETRY_DELAY).await;
            }
            // Not before: a crash would have brought it back.
            for run_id in &stopped {
                let Some(session_key) = gateway.inbox.session_of(run_id) else { continue };
                publish(&gateway.peers, &session_key, run_id, 0, &ChatState::Aborted);
            }
        }));
    }

    /// Whether what was stopped is stopped for good. What the disk refuses is owed, and a crash before it is written would
    /// bring it back.
    pub(crate) fn confirm_stops(&self) -> Result<(), StateError> {
        self.inbox.pay()?;
        self.subagents.confirm()
    }

    /// Ends messages together, as their transcript says. Whoever has to be reached on a platform is owed that before they
    /// are over, so that no crash comes in between; once, by the name of the first. Those that their sender stopped while
    /// their end could not be recorded are over already.
    pub(crate) fn conclude(
        self: &Rc<Self>,
        messages: &[Accepted],
        outcome: &Outcome,
    ) -> Result<(), StateError> {
        let is_open =
            |message: &&Accepted| !matches!(self.inbox.stage_of(&message.run_id), Some(Stage::Settled(_)));
        let messages: Vec<&Accepted> = messages.iter().filter(is_open).collect();
        let Some(first) = messages.first() else { return Ok(()) };
        let (Outcome::Reply(text) | Outcome::Notice(text)) = outcome;
        delivery::owe(self, first, Kind::Outcome, text)?;
        let run_ids: Vec<&str> = messages.iter().map(|message| message.run_id.as_str()).collect();
        self.settle(&run_ids, Settlement::from(outcome));
        Ok(())
    }

    /// Ends a message of an earlier life as its transcript says. What ended together with others went out by the name of
    /// the first, and before any of them was over.
    pub(crate) fn conclude_recorded(
        self: &Rc<Self>,
        message: &Accepted,
        recorded: &Recorded,
    ) -> Result<(), StateError> {
        if recorded.lead == message.run_id {
            return self.conclude(std::slice::from_ref(message), &recorded.outcome);
        }
        self.settle(&[&message.run_id], Settlement::from(&recorded.outcome));
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
            match self.policies.user_stop {
                UserStop::Final => self.settle(&[&run_id], Settlement::Cancelled),
                UserStop::AsInterruption => self.stop_as_interrupted(&run_id),
            }
            // A run at work says so itself, as its last event.
            if !was_running && self.inbox.is_over_for_good(&run_id) {
                publish(&self.peers, session_key, &run_id, 0, &ChatState::Aborted);
            }
            cancelled.push(run_id);
        }
        if !cancelled.is_empty() {
            traces::note_stop(self, session_key);
        }
        cancelled.extend(subagents::cancel(self, session_key, run_id));
        cancelled
    }

    fn stop_as_interrupted(&self, run_id: &str) {
        let generation = self.restarts.generation();
        if let Err(error) = self.inbox.stop_as_interrupted(run_id, generation) {
            tracing::warn!(name: "message.settlement-not-durable", run = run_id, %error, "it may be resumed");
        }
    }

    /// The words in which a message of a conversation ended, as far as its transcript can be read.
    pub(crate) fn ended_as(&self, session_key: &str, run_id: &str) -> Option<Outcome> {
        let transcript = self.sessions.find_transcript(session_key).ok().flatten()?;
        transcript.outcome(run_id).ok().flatten()
    }

    /// A conversation's transcript; empty when it does not exist.
    pub(crate) fn history(&self, session_key: &str) -> Result<TranscriptEntries, StateError> {
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
