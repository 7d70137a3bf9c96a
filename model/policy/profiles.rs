//! The profiles: named sets of choices, of history and of planted defects.

use super::*;

pub(super) type NamedPolicies = (&'static str, fn() -> Policies);

pub(super) const PROFILES: &[NamedPolicies] = &[
    (HARDENED, Policies::default),
    ("openclaw-2026.3.2", openclaw_2026_3_2),
    ("openclaw-2026.5.3-1", openclaw_2026_5_3),
];

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
        successor: Successor::KickstartOrSpawn,
        close_budget: CloseBudget::SharedWithDrain,
        forced_exit: ForcedExit::Clean,
        store_lock: StoreLock::Unfenced,
        transcript_lock: TranscriptLock::WaitsTenSeconds,
        lock_failure: LockFailure::Forget,
        lock_sweep: LockSweep::TranscriptsOnly,
        unreadable_store: UnreadableStore::TreatAsEmpty,
        torn_line: TornLine::PassedOver,
        old_generation: OldGeneration::LeftRunning,
        cron_interruption: CronInterruption::Forgotten,
        cron_outcome: CronOutcome::Late,
        cron_missed: CronMissed::AllAtOnce,
        ..Policies::default()
    }
}

/// Era B of the gateway's history: a restart drains for as long as it is configured, a stop does not drain; the
/// store is locked within the process only.
fn openclaw_2026_5_3() -> Policies {
    Policies {
        drain_budget: DrainBudget::Configured,
        state_write: StateWrite::ReplacementsSynced,
        peer_close: PeerClose::GraceThenReset,
        start_conflict_exit: StartConflictExit::Config,
        successor: Successor::HandOffOrSpawn,
        close_budget: CloseBudget::OfItsOwn,
        forced_exit: ForcedExit::Failure,
        store_lock: StoreLock::InProcess,
        transcript_lock: TranscriptLock::WaitsSixtySeconds,
        ..openclaw_2026_3_2()
    }
}

pub(super) const PLANTED: &[NamedPolicies] = &[
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
