//! A predecessor that is stuck: it holds the lock or the port, and neither serves nor leaves.
//!
//! A live owner is never usurped, since what it does is not fenced. To end it is another matter: the dead hold
//! nothing, and the journal knows what they had accepted. But it must be proven first, beyond doubt and over time, and
//! looked at again before each blow. Whoever is healthy, starting, stopped for a while, somebody else, or above us in
//! the process tree is left alone. Nobody but a service does this: a person can look for himself.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::env::{EndSignal, Env, Pid, ProcessEntry, ProcessId};
use crate::policy::Predecessors;

/// How long a gateway must have been silent to count as stuck; longer than any step of a shutdown, and than a loop
/// that is only busy.
const SILENCE: Duration = Duration::from_secs(60);
/// How often it must have been asked in that time. After a pause of this process itself, time alone proves nothing.
const PROBES: u32 = 4;
/// One that somebody has stopped may be meant to go on: a debugger, a snapshot.
const STOPPED: Duration = Duration::from_secs(300);
/// Younger than this, a gateway that does not listen yet may be on its way (openclaw/openclaw#140162 took 181 s).
const BOOT: Duration = Duration::from_secs(600);
/// How long it may take to follow SIGTERM.
const GRACE: Duration = Duration::from_secs(10);
/// How long to wait for the port after SIGKILL, and how often to look (OpenClaw: the same).
const PORT_FREE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// More ancestors than anybody has.
const MOST_ANCESTORS: usize = 64;
/// History's pauses after SIGTERM and after SIGKILL.
const HISTORY_GRACE: Duration = Duration::from_millis(300);
const HISTORY_PAUSE: Duration = Duration::from_millis(200);

/// What is known of somebody in the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// It is this process, or one that this process descends from.
    pub(crate) is_above_us: bool,
    /// It runs the program that this process runs.
    pub(crate) is_gateway: bool,
    /// What it listens on, this process can ask.
    pub(crate) sees_our_network: bool,
    /// It listens on some port.
    pub(crate) listens: bool,
    /// It was started so long ago.
    pub(crate) running_for: Duration,
    /// Somebody has stopped it.
    pub(crate) is_stopped: bool,
    /// It has not answered for so long, as this process has watched it.
    pub(crate) silent_for: Duration,
    /// And so often.
    pub(crate) probes: u32,
}

/// What is to become of somebody in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is stuck.
    Stuck,
    /// It is left alone for now, or for good.
    Spared(Why),
}

/// Why somebody in the way is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is this process or an ancestor: openclaw/openclaw#68451.
    AboveUs,
    /// It is no gateway.
    NoGateway,
    /// It may serve where this process cannot see it.
    Elsewhere,
    /// It may be starting.
    Young,
    /// It has been stopped, not for long.
    Stopped,
    /// It has not been silent for long enough.
    NotLongEnough,
}

/// Judges somebody in the way who does not answer.
pub(crate) fn judge(facts: Facts, policy: Predecessors) -> Verdict {
    let spares_the_young = policy != Predecessors::EndedWhenSlow;
    let patience = if facts.is_stopped && spares_the_young { STOPPED } else { SILENCE };
    if facts.is_above_us {
        Verdict::Spared(Why::AboveUs)
    } else if !facts.is_gateway {
        Verdict::Spared(Why::NoGateway)
    } else if !facts.sees_our_network {
        Verdict::Spared(Why::Elsewhere)
    } else if spares_the_young && !facts.listens && facts.running_for < BOOT {
        Verdict::Spared(Why::Young)
    } else if facts.silent_for >= patience && facts.probes >= PROBES {
        Verdict::Stuck
    } else if facts.is_stopped {
        Verdict::Spared(Why::Stopped)
    } else {
        Verdict::Spared(Why::NotLongEnough)
    }
}

/// Who is suspected of being stuck, since when, and how often it was asked in vain.
#[derive(Default)]
pub(crate) struct Suspicion {
    of: Option<(ProcessId, Instant)>,
    probes: u32,
    said: Option<Why>,
}

impl Suspicion {
    /// `silent` was asked once more and did not answer; nobody, when somebody did. Whom to end, when it is proven.
    pub(crate) fn grows(
        &mut self,
        env: &Env,
        silent: Option<ProcessId>,
        policy: Predecessors,
    ) -> Option<ProcessId> {
        let Some(silent) = silent else {
            *self = Self::default();
            return None;
        };
        if self.of.is_none_or(|(known, _)| known != silent) {
            *self = Self { of: Some((silent, Instant::now())), ..Self::default() };
        }
        self.probes += 1;
        let (_, since) = self.of?;
        let ends_the_stuck = matches!(policy, Predecessors::EndedWhenStuck | Predecessors::EndedWhenSlow);
        if !ends_the_stuck || !is_service(env) {
            return None;
        }
        let entry = same(env, silent)?;
        let facts = Facts {
            is_above_us: is_above_us(env, silent.pid),
            is_gateway: runs_our_program(env, &entry),
            sees_our_network: entry.sees_our_network,
            listens: env.net().listeners()?.iter().any(|listening| listening.pid == silent.pid),
            running_for: entry.running_for,
            is_stopped: entry.is_stopped,
            silent_for: since.elapsed(),
            probes: self.probes,
        };
        match judge(facts, policy) {
            Verdict::Stuck => {
                let silent_s = facts.silent_for.as_secs();
                tracing::warn!(name: "predecessor.stuck", predecessor = %silent, silent_s, probes = facts.probes, "it neither serves nor leaves");
                *self = Self::default();
                Some(silent)
            }
            Verdict::Spared(why) => {
                if self.said.replace(why) != Some(why) {
                    tracing::info!(name: "predecessor.spared", predecessor = %silent, why = why.name(), "it does not answer, and is left alone");
                }
                None
            }
        }
    }
}

/// Ends a process that is proven to be stuck, and waits until it is gone and its port is free. All of it is bounded,
/// and whether it worked is for the next attempt to find out. One that is not silent any more after SIGTERM follows it,
/// and finishes what it accepted.
pub(crate) async fn end(env: &Env, stuck: ProcessId, port: u16, is_silent: impl AsyncFn() -> bool) {
    if !strike(env, stuck, EndSignal::Terminate) || is_gone_within(env, stuck, port, GRACE).await {
        return;
    }
    if !is_silent().await {
        tracing::info!(name: "predecessor.spared", predecessor = %stuck, why = "it answers again", "SIGTERM has woken it");
        return;
    }
    if strike(env, stuck, EndSignal::Kill) && !is_gone_within(env, stuck, port, PORT_FREE).await {
        tracing::error!(name: "predecessor.remains", predecessor = %stuck, port, "it is still there, or its port is");
    }
}

/// Waits until a process is gone and the port is nobody's, or somebody else's.
async fn is_gone_within(env: &Env, process: ProcessId, port: u16, limit: Duration) -> bool {
    let began = Instant::now();
    loop {
        let has_port = listening_on(env, port).contains(&process.pid);
        if same(env, process).is_none() && !has_port {
            let after_ms = began.elapsed().as_millis() as u64;
            tracing::info!(name: "predecessor.gone", predecessor = %process, port, after_ms, "it is gone, and the port is free of it");
            return true;
        }
        if began.elapsed() >= limit {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Sends a signal to a process that is still the one that was judged; whether it was sent.
fn strike(env: &Env, process: ProcessId, signal: EndSignal) -> bool {
    let is_the_one = same(env, process).is_some_and(|entry| runs_our_program(env, &entry));
    if !is_the_one || is_above_us(env, process.pid) {
        return false;
    }
    match env.process().end_process(process, signal) {
        Ok(()) => {
            tracing::warn!(name: "predecessor.signalled", predecessor = %process, signal = signal.name(), "it is ended");
            true
        }
        Err(error) => {
            tracing::error!(name: "predecessor.out-of-reach", predecessor = %process, %error, "it cannot be ended");
            false
        }
    }
}

/// Whether a start ends whoever listens on its port before it does anything else.
pub(crate) const fn cleans(policy: Predecessors) -> bool {
    match policy {
        Predecessors::EveryListenerEnded | Predecessors::EveryListenerEndedAndPortAwaited => true,
        Predecessors::EndedWhenStuck | Predecessors::EndedWhenSlow | Predecessors::LeftAlone => false,
    }
}

/// History's cleaning before a service's start: every gateway that listens on the port is ended, and how it is with the
/// port afterwards is looked at, or not.
pub(crate) async fn clean(env: &Env, port: u16, policy: Predecessors) {
    let spares_ancestors = policy != Predecessors::EveryListenerEnded;
    // On macOS its `lsof` calls every gateway `node`: openclaw/openclaw#70664.
    let is_blind = super::respawn::Facts::of(env).minded_by == super::respawn::MindedBy::Launchd;
    if !is_service(env) || is_blind {
        return;
    }
    let us = env.process().pid();
    let others = listening_on(env, port).into_iter().filter(|pid| *pid != us);
    let entries: Vec<_> = others.filter_map(|pid| env.process().look_up(pid)).collect();
    let gateways: Vec<_> = entries
        .into_iter()
        .filter(|entry| runs_our_program(env, entry))
        .map(|entry| entry.id)
        .filter(|id| !(spares_ancestors && is_above_us(env, id.pid)))
        .collect();
    if gateways.is_empty() {
        return;
    }
    for (signal, pause) in [(EndSignal::Terminate, HISTORY_GRACE), (EndSignal::Kill, HISTORY_PAUSE)] {
        for gateway in gateways.iter().filter(|id| same(env, **id).is_some()) {
            tracing::warn!(name: "predecessor.signalled", predecessor = %gateway, signal = signal.name(), "it is ended");
            // Whoever is gone by now needs none.
            let _ = env.process().end_process(*gateway, signal);
        }
        sleep(pause).await;
    }
    if policy == Predecessors::EveryListenerEndedAndPortAwaited {
        await_port(env, port).await;
    }
}

/// Waits until nobody listens on the port, for as long as history did.
async fn await_port(env: &Env, port: u16) {
    let began = Instant::now();
    while !listening_on(env, port).is_empty() && began.elapsed() < PORT_FREE {
        sleep(LOOK_EVERY).await;
    }
}

/// Who listens on the port, as far as that can be seen.
pub(crate) fn listening_on(env: &Env, port: u16) -> Vec<Pid> {
    let listeners = env.net().listeners().unwrap_or_default().into_iter();
    listeners.filter(|listening| listening.address.port() == port).map(|listening| listening.pid).collect()
}

/// Whether somebody has installed this process as a service.
fn is_service(env: &Env) -> bool {
    env.process().env_var("OPENCLAW_SERVICE_MARKER").is_some_and(|marker| !marker.trim().is_empty())
}

/// The entry of a process, if it is still the same one.
fn same(env: &Env, process: ProcessId) -> Option<ProcessEntry> {
    env.process().look_up(process.pid).filter(|entry| entry.id == process)
}

fn runs_our_program(env: &Env, entry: &ProcessEntry) -> bool {
    let process = env.process();
    process.look_up(process.pid()).is_some_and(|us| us.program == entry.program)
}

/// Whether `pid` is this process or one that it descends from. Where the line of ancestors cannot be followed to its
/// end, everybody is.
fn is_above_us(env: &Env, pid: Pid) -> bool {
    let process = env.process();
    let mut next = Some(process.pid());
    for _ in 0..MOST_ANCESTORS {
        let Some(one) = next else { return false };
        if one == pid {
            return true;
        }
        let Some(entry) = process.look_up(one) else { return true };
        next = entry.parent;
    }
    true
}

impl Why {
    const fn name(self) -> &'static str {
        match self {
            Self::AboveUs => "we descend from it",
            Self::NoGateway => "it is no gateway",
            Self::Elsewhere => "it may serve where we cannot see it",
            Self::Young => "it may be starting",
            Self::Stopped => "it was stopped, not for long",
            Self::NotLongEnough => "it has not been silent for long enough",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Spared, Stuck};
    use super::*;

    const ALMOST: Duration = Duration::from_millis(1);
    const A_DAY: Duration = Duration::from_secs(86_400);

    /// A gateway that listens and has been silent for long.
    fn stuck() -> Facts {
        Facts {
            is_above_us: false,
            is_gateway: true,
            sees_our_network: true,
            listens: true,
            running_for: A_DAY,
            is_stopped: false,
            silent_for: SILENCE,
            probes: PROBES,
        }
    }

    #[track_caller]
    fn check(facts: Facts, expected: Verdict) {
        assert_eq!(judge(facts, Predecessors::EndedWhenStuck), expected, "{facts:?}");
    }

    #[test]
    fn silence_is_a_proof_only_over_time_and_when_it_was_asked() {
        check(stuck(), Stuck);
        check(Facts { silent_for: SILENCE - ALMOST, ..stuck() }, Spared(Why::NotLongEnough));
        check(Facts { silent_for: A_DAY, probes: PROBES - 1, ..stuck() }, Spared(Why::NotLongEnough));
        check(Facts { running_for: ALMOST, ..stuck() }, Stuck);
    }

    #[test]
    fn who_does_not_listen_yet_has_time_to_start() {
        let starting = Facts { listens: false, silent_for: A_DAY, ..stuck() };
        check(Facts { running_for: BOOT - ALMOST, ..starting }, Spared(Why::Young));
        check(Facts { running_for: BOOT, ..starting }, Stuck);
        let planted = judge(Facts { running_for: ALMOST, ..starting }, Predecessors::EndedWhenSlow);
        assert_eq!(planted, Stuck);
    }

    #[test]
    fn who_was_stopped_has_time_to_go_on() {
        let stopped = Facts { is_stopped: true, ..stuck() };
        check(Facts { silent_for: STOPPED - ALMOST, ..stopped }, Spared(Why::Stopped));
        check(Facts { silent_for: STOPPED, ..stopped }, Stuck);
    }

    #[test]
    fn ancestors_and_strangers_are_never_touched() {
        let forever = Facts { silent_for: A_DAY, ..stuck() };
        check(Facts { is_above_us: true, ..forever }, Spared(Why::AboveUs));
        check(Facts { is_gateway: false, ..forever }, Spared(Why::NoGateway));
        check(Facts { sees_our_network: false, ..forever }, Spared(Why::Elsewhere));
    }
}
