//! The requests to end: hears every signal of the process, says what came of it, and remembers how the process is to
//! end by now.
//!
//! Whoever waits for something long waits through here, so that no signal goes unheard while it lasts. What a signal
//! does is decided by [`second_signal`](super::second_signal); what follows from that, by whoever waits.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::coordination::Restarts;
use super::phase::{Ending, Phase};
use super::second_signal::{Effect, effect, handled};
use crate::env::{Env, Signal, SignalStream};
use crate::policy::SecondRequest;
use crate::sessions::ProcessWide;

/// So often within [`HINT_WINDOW`] one signal comes from more than one impatient operator (OpenClaw 2026.9.6: three in
/// five minutes).
const HINT_AFTER: usize = 3;
const HINT_WINDOW: Duration = Duration::from_secs(300);

/// The exit is to be forced, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forced;

/// What a signal changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The process is to end like this from now on.
    Asked(Ending),
    Forced,
}

/// Everything that was asked of this process by signals.
pub(crate) struct Requests {
    signals: SignalStream,
    policy: SecondRequest,
    process_wide: ProcessWide,
    restarts: Restarts,
    under_way: Option<Ending>,
    /// Whether a restart has to wait until the server is up.
    recovers: bool,
    heard: BTreeMap<Signal, VecDeque<Instant>>,
}

impl Requests {
    /// Installs the handlers.
    pub(crate) fn of_process(env: &Env, policy: SecondRequest, process_wide: &ProcessWide) -> Self {
        Self {
            signals: env.process().handle_signals(handled(policy)),
            policy,
            process_wide: process_wide.clone(),
            restarts: Restarts::of_process(),
            under_way: None,
            recovers: false,
            heard: BTreeMap::new(),
        }
    }

    /// How the process is to end by now; `None` while nobody has asked.
    pub(crate) fn under_way(&self) -> Option<Ending> {
        self.under_way
    }

    /// The restarts of this process.
    pub(crate) fn restarts(&self) -> &Restarts {
        &self.restarts
    }

    /// The process is to restart, though no signal said so.
    pub(crate) fn ordered(&mut self) {
        self.under_way = Some(Ending::Restart);
    }

    /// Another generation follows: what was asked is done.
    pub(crate) fn done(&mut self) {
        self.under_way = None;
    }

    /// The next signal that changes something. The others are logged. Safe to drop.
    pub(crate) async fn next_change(&mut self, phase: Phase) -> Change {
        loop {
            let signal = self.signals.next().await;
            match self.hear(signal, phase) {
                Effect::Begins(ending) => return self.asked(ending),
                Effect::Overtakes => return self.asked(Ending::Stop),
                Effect::Forces => return Change::Forced,
                Effect::Waits => self.restarts.park_signal(),
                Effect::Merges | Effect::Repeats | Effect::Ignored => {}
            }
        }
    }

    /// Does `work`, through whatever is asked meanwhile, unless the exit is forced. Work stays where whoever wants it done
    /// has pinned it: it is large, and handed on, the process would have room for it at each step of the way.
    pub(crate) async fn unless_forced<T>(
        &mut self,
        phase: Phase,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Forced> {
        loop {
            let changed = self.unless_changed(phase, work.as_mut()).await;
            match changed {
                Ok(done) => return Ok(done),
                Err(Change::Forced) => return Err(Forced),
                Err(Change::Asked(_)) => {}
            }
        }
    }

    /// Does `work`, unless what is asked changes meanwhile. Work that can wait for long must be safe to drop.
    pub(crate) async fn unless_changed<T>(
        &mut self,
        phase: Phase,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Change> {
        tokio::select! {
            biased;
            change = self.next_change(phase) => Err(change),
            done = work => Ok(done),
        }
    }

    /// As [`Requests::unless_changed`], for a start that has the state and the port: a restart signal waits until the
    /// server is up. Whoever signals again and again would keep it from ever serving otherwise. History began anew at
    /// once; and so does a start that still waits for its lock or its port, since there is nothing to interrupt.
    pub(crate) async fn while_recovering<T>(
        &mut self,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Change> {
        self.recovers = self.policy == SecondRequest::StopOvertakes;
        let done = self.unless_changed(Phase::Starting, work).await;
        self.recovers = false;
        done
    }

    fn asked(&mut self, ending: Ending) -> Change {
        self.under_way = Some(ending);
        if ending == Ending::Stop {
            self.restarts.stopping();
        }
        Change::Asked(ending)
    }

    fn hear(&mut self, signal: Signal, phase: Phase) -> Effect {
        let effect = match effect(self.under_way, signal, self.policy) {
            Effect::Begins(Ending::Restart) if self.recovers => Effect::Waits,
            effect => effect,
        };
        let (by, phase) = (effect.name(), phase.name());
        match self.under_way {
            None => {
                tracing::info!(name: "signal.received", %signal, effect = by, phase, "asked to end");
            }
            Some(under_way) => {
                let under_way = under_way.name();
                match phase {
                    "draining" => {
                        tracing::info!(name: "signal.during-drain", %signal, effect = by, under_way, "a second signal");
                    }
                    _ => {
                        tracing::info!(name: "signal.during-close", %signal, effect = by, under_way, phase, "a second signal");
                    }
                }
            }
        }
        // History's locks were let go at once on SIGTERM and SIGINT, whoever was still writing, and kept on SIGUSR1:
        // openclaw/openclaw#77721.
        if matches!(signal, Signal::Terminate | Signal::Interrupt) {
            self.process_wide.locks.release_all();
        }
        if self.policy == SecondRequest::StopOvertakes {
            self.hint(signal);
        }
        effect
    }

    /// Says so when a signal comes so often that two supervisors may be at work.
    fn hint(&mut self, signal: Signal) {
        let now = Instant::now();
        let heard = self.heard.entry(signal).or_default();
        heard.retain(|at| now.duration_since(*at) < HINT_WINDOW);
        heard.push_back(now);
        if heard.len() >= HINT_AFTER {
            heard.clear();
            tracing::warn!(
                name: "signal.recurring",
                %signal,
                times = HINT_AFTER,
                within_ms = HINT_WINDOW.as_millis() as u64,
                "a second supervisor may be at work"
            );
        }
    }
}
