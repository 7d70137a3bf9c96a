//! Every choice that history made differently, as data; and profiles, the named sets of choices.
//!
//! A choice is an enum tested in one place. The default of each is the correct behaviour; a historical profile
//! is another value of [`Policies`], and so is a planted defect, which exists to prove that an oracle sees it.

use serde::{Deserialize, Serialize};

/// One value for every choice. In scenario files the names are kebab-case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Policies {
    /// What SIGTERM and SIGINT do to work in flight.
    pub stop_drain: StopDrain,
    /// How long a drain may take.
    pub drain_budget: DrainBudget,
    /// What a second request to end does, while the first is being followed.
    pub second_request: SecondRequest,
    /// What becomes of work that a drain could not finish.
    pub interrupted_work: InterruptedWork,
    /// When `chat.send` is acknowledged.
    pub acknowledgement: Acknowledgement,
    /// What the next life does with messages that the last one accepted and did not settle.
    pub recovery: Recovery,
    /// How state files are written.
    pub state_write: StateWrite,
    /// How the WebSocket server ends its connections.
    pub peer_close: PeerClose,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// Whether `connect` asks for the token.
    pub authentication: Authentication,
    /// How the single-instance lock is treated.
    pub instance_lock: InstanceLock,
    /// With what status a start ends that must give way to another instance.
    pub start_conflict_exit: StartConflictExit,
    /// How a restart ends this process.
    pub restart_exit: RestartExit,
    /// How long closing may take before the exit is forced.
    pub close_budget: CloseBudget,
    /// With what status a shutdown that had to be forced ends.
    pub forced_exit: ForcedExit,
}

/// What SIGTERM and SIGINT do to work in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopDrain {
    /// Drain like the restart signal does.
    #[default]
    Drain,
    /// Close at once: openclaw/openclaw#38836, observation 1.
    Skip,
}

/// How long a drain may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainBudget {
    /// The configured budget, but never so long that the supervisor's stop timeout would cut in.
    #[default]
    WithinStopTimeout,
    /// 30 s whatever the supervisor allows: `DRAIN_TIMEOUT_MS` of OpenClaw 2026.3.2.
    ThirtySeconds,
    /// Planted defect: no limit, so that the supervisor kills a drain that does not end.
    Unlimited,
}

/// What a second request to end does, while the first is being followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondRequest {
    /// A stop overtakes a restart, and its limits apply from then on.
    #[default]
    StopOvertakes,
    /// It is dropped, whatever it asks for: OpenClaw 2026.3.2.
    Dropped,
}

/// What becomes of work that a drain could not finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterruptedWork {
    /// Its sender gets a notice before the connection closes, and a durable record says so.
    #[default]
    TellSender,
    /// Nothing is recorded and nobody is told: openclaw/openclaw#38836.
    Forget,
}

/// When `chat.send` is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledgement {
    /// After the message is durable.
    #[default]
    AfterDurable,
    /// Before anything is written: `chat.send` of OpenClaw up to 2026.5 (openclaw/openclaw#135880).
    BeforeDurable,
}

/// What the next life does with accepted, unsettled messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// Runs what had not started; tells the sender of what had, since running it again could act twice.
    #[default]
    ResumeOrTell,
    /// Looks at nothing: openclaw/openclaw#38836, observation 2.
    Skip,
    /// Planted defect: runs everything again that the journal still lists, answered or not.
    RerunEverything,
    /// Planted defect: recovers before it holds the lock or the port, so that a second instance that is about
    /// to give way has already written.
    BeforeLock,
}

/// How state files are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateWrite {
    /// Appends are synced; whole files go through a temporary file, sync, rename, directory sync.
    #[default]
    Durable,
    /// Temporary file and rename without any sync: OpenClaw 2026.3.2.
    Unsynced,
    /// Planted defect: written in place, unsynced; a power loss tears the file.
    InPlace,
}

/// How the WebSocket server ends its connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerClose {
    /// The listener closes first; peers get close 1012, a short grace, then a reset.
    #[default]
    GraceThenReset,
    /// Waits until every peer has answered the close frame, and frees the port only then:
    /// openclaw/openclaw#33149.
    WaitForPeers,
}

/// What `/readyz` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// 200 while messages are admitted, 503 while starting or draining.
    #[default]
    Truthful,
    /// Always 200: OpenClaw 2026.3.2.
    AlwaysReady,
}

/// Whether `connect` asks for the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// A wrong or missing token ends the connection with close 1008.
    #[default]
    Required,
    /// Planted defect: any token will do.
    Skipped,
}

/// How the single-instance lock is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceLock {
    /// A lock whose owner is provably gone is taken over; a live owner is respected.
    #[default]
    Verified,
    /// Planted defect: a lock file without a live owner still counts, for ever.
    NeverStale,
}

/// With what status a start ends that must give way to another instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartConflictExit {
    /// Exit status 78, on which the unit forbids a restart.
    #[default]
    Config,
    /// Exit status 1, on which `Restart=always` starts the same again: OpenClaw 2026.3.2
    /// (openclaw/openclaw#75115).
    Failure,
}

/// How a restart ends this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartExit {
    /// Exit status 75, which every restarting supervisor policy follows.
    #[default]
    AskForSuccessor,
    /// Exit status 0, which relies on `Restart=always`: OpenClaw 2026.3.2 and 2026.5.3-1.
    Clean,
    /// Planted defect: exit status 78, on which the unit forbids a restart.
    Config,
}

/// How long closing may take before the exit is forced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseBudget {
    /// A few seconds after the drain, inside what a stop keeps back of the supervisor's stop timeout.
    #[default]
    OfItsOwn,
    /// 5 s more than the drain was allowed, from the signal on, however much of that the drain used: the single
    /// force-exit timer of OpenClaw 2026.3.2.
    SharedWithDrain,
}

/// With what status a shutdown that had to be forced ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForcedExit {
    /// Exit status 1.
    #[default]
    Failure,
    /// Exit status 0: OpenClaw 2026.3.2.
    Clean,
}

/// The name of the default profile.
pub const HARDENED: &str = "hardened";

/// How names of planted-defect profiles begin.
pub const PLANTED_PREFIX: &str = "planted:";

/// The profile called `name`, if there is one.
pub fn profile(name: &str) -> Option<Policies> {
    let (_, policies) = PROFILES.iter().chain(PLANTED).find(|(known, _)| *known == name)?;
    Some(policies())
}

/// The names of the profiles that describe a real gateway: `hardened` first, then history.
pub fn profile_names() -> impl Iterator<Item = &'static str> {
    PROFILES.iter().map(|(name, _)| *name)
}

/// The names of the planted defects, each of which exists to prove an oracle.
pub fn planted_names() -> impl Iterator<Item = &'static str> {
    PLANTED.iter().map(|(name, _)| *name)
}

type NamedPolicies = (&'static str, fn() -> Policies);

const PROFILES: &[NamedPolicies] = &[(HARDENED, Policies::default), ("openclaw-2026.3.2", openclaw_2026_3_2)];

/// Era A of the gateway's history: SIGTERM never drains, SIGUSR1 drains for 30 s, nothing accepted is durable.
fn openclaw_2026_3_2() -> Policies {
    Policies {
        stop_drain: StopDrain::Skip,
        drain_budget: DrainBudget::ThirtySeconds,
        second_request: SecondRequest::Dropped,
        interrupted_work: InterruptedWork::Forget,
        acknowledgement: Acknowledgement::BeforeDurable,
        recovery: Recovery::Skip,
        state_write: StateWrite::Unsynced,
        peer_close: PeerClose::WaitForPeers,
        readiness: Readiness::AlwaysReady,
        start_conflict_exit: StartConflictExit::Failure,
        restart_exit: RestartExit::Clean,
        close_budget: CloseBudget::SharedWithDrain,
        forced_exit: ForcedExit::Clean,
        ..Policies::default()
    }
}

const PLANTED: &[NamedPolicies] = &[
    ("planted:recovery-skipped", || Policies { recovery: Recovery::Skip, ..Policies::default() }),
    ("planted:recovery-reruns-everything", || Policies {
        recovery: Recovery::RerunEverything,
        ..Policies::default()
    }),
    ("planted:recovery-before-lock", || Policies { recovery: Recovery::BeforeLock, ..Policies::default() }),
    ("planted:drain-unlimited", || Policies { drain_budget: DrainBudget::Unlimited, ..Policies::default() }),
    ("planted:acknowledge-before-durable", || Policies {
        acknowledgement: Acknowledgement::BeforeDurable,
        ..Policies::default()
    }),
    ("planted:state-written-in-place", || Policies {
        state_write: StateWrite::InPlace,
        ..Policies::default()
    }),
    ("planted:close-waits-for-peers", || Policies {
        peer_close: PeerClose::WaitForPeers,
        ..Policies::default()
    }),
    ("planted:always-ready", || Policies { readiness: Readiness::AlwaysReady, ..Policies::default() }),
    ("planted:authentication-skipped", || Policies {
        authentication: Authentication::Skipped,
        ..Policies::default()
    }),
    ("planted:lock-never-stale", || Policies {
        instance_lock: InstanceLock::NeverStale,
        ..Policies::default()
    }),
    ("planted:stale-lock-loops", || Policies {
        instance_lock: InstanceLock::NeverStale,
        start_conflict_exit: StartConflictExit::Failure,
        ..Policies::default()
    }),
    ("planted:restart-exits-with-config-error", || Policies {
        restart_exit: RestartExit::Config,
        ..Policies::default()
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardened_is_the_default_and_comes_first() {
        assert_eq!(profile(HARDENED), Some(Policies::default()));
        assert_eq!(profile_names().next(), Some(HARDENED));
        assert_eq!(profile("nope"), None);
    }

    #[test]
    fn every_planted_defect_differs_from_hardened_and_is_named_as_one() {
        for name in planted_names() {
            assert!(name.starts_with(PLANTED_PREFIX), "{name}");
            assert_ne!(profile(name), Some(Policies::default()), "{name}");
        }
    }
}
