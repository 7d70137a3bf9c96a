//! The profiles: named sets of choices, of history and of planted defects.

use super::*;

pub(super) type NamedPolicies = (&'static str, fn() -> Policies);

pub(super) const PROFILES: &[NamedPolicies] = &[
    (HARDENED, Policies::default),
    ("openclaw-2026.3.2", openclaw_2026_3_2),
    ("openclaw-2026.5.3-1", openclaw_2026_5_3),
    ("openclaw-2026.5.4", openclaw_2026_5_4),
    ("openclaw-2026.6.10", openclaw_2026_6_10),
    ("openclaw-2026.8.2", openclaw_2026_8_2),
    ("openclaw-2026.9.3", openclaw_2026_9_3),
];

/// Era A of the gateway's history: SIGTERM never drains, SIGUSR1 drains for 30 s, nothing accepted is durable, and
/// one kind of lock file serves the store and the transcripts.
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
        slow_consumer: SlowConsumer::FiftyMebibytes,
        readiness: Readiness::AlwaysReady,
        instance_lock: InstanceLock::ByPort,
        start_conflict: StartConflict::EndsWithFailure,
        bind_patience: BindPatience::OneAttempt,
        predecessors: Predecessors::EveryListenerEnded,
        failed_start: FailedStart::Ends,
        restart_exit: RestartExit::Clean,
        successor: Successor::KickstartOrSpawn,
        hand_off: HandOff::UntilTaken,
        reload: Reload::AtOnce,
        restart_command: RestartCommand::Signals,
        restart_deferral_limit: DeferralLimit::ThirtySeconds,
        restart_wait_budget: WaitBudget::EachInFull,
        restart_task_records: TaskRecords::NotCounted,
        restart_old_work: OldWork::Counted,
        restart_rate_limit_order: RateLimitOrder::BeforeMerging,
        restart_cycle_token: CycleToken::StuckOnExpiry,
        restart_notices: Notices::OneSlot,
        restart_safe_at_limit: SafeAtLimit::GoesAhead,
        restart_force_drain: ForceDrain::Skipped,
        restart_config_current: ConfigCurrent::WhenSeen,
        restart_pause: RestartPause::WithinProcess,
        close_budget: CloseBudget::SharedWithDrain,
        forced_exit: ForcedExit::Clean,
        store_lock: StoreLock::Unfenced,
        transcript_lock: TranscriptLock::WaitsTenSeconds,
        lock_failure: LockFailure::Forget,
        lock_sweep: LockSweep::TranscriptsOnly,
        unreadable_store: UnreadableStore::TreatAsEmpty,
        torn_line: TornLine::PassedOver,
        old_generation: OldGeneration::LeftRunning,
        ..messages_of_2026_3_2()
    }
}

/// What became of messages, jobs and subagents in era A: texts are sent again at a start only, what waits is in memory, and
/// nobody looks for what an end interrupted.
fn messages_of_2026_3_2() -> Policies {
    Policies {
        delivery_retry: DeliveryRetry::AtStartOnly,
        delivery_repeats: DeliveryRepeats::Blind,
        delivery_attempts: DeliveryAttempts::Five,
        delivery_record: DeliveryRecord::FailureIgnored,
        delivery_readiness: DeliveryReadiness::Ignored,
        follow_ups: FollowUps::InMemory,
        follow_up_cap: FollowUpCap::TwentyOldestSummarized,
        key_memory: KeyMemory::FiveMinutes,
        admission_fence: AdmissionFence::NotTheDoor,
        drain_inventory: DrainInventory::AtWorkAtItsBeginning,
        arrival_memory: ArrivalMemory::AtArrival,
        notice_route: NoticeRoute::FromTheStore,
        interruption_evidence: InterruptionEvidence::FlagOfUsers,
        telegram_confirmation: TelegramConfirmation::BeforeProcessing,
        telegram_close: TelegramClose::Forgotten,
        feishu_acknowledgement: FeishuAcknowledgement::AtReceipt,
        feishu_memory: FeishuMemory::IdRecordedFirst,
        feishu_close: FeishuClose::Forgotten,
        cron_interruption: CronInterruption::Forgotten,
        cron_outcome: CronOutcome::Late,
        cron_missed: CronMissed::AllAtOnce,
        subagent_restore: SubagentRestore::WaitForDeadRun,
        subagent_spawn: SubagentSpawn::RowFirst,
        subagent_without_session: SubagentWithoutSession::Pruned,
        subagent_record: SubagentRecord::FailureIgnored,
        subagent_announcement: SubagentAnnouncement::ThreeTries,
        subagent_announcement_expiry: SubagentAnnouncementExpiry::ThirtyMinutes,
        subagent_sweep: SubagentSweep::ByAge,
        lifecycle_hooks: LifecycleHooks::Missing,
        restart_sentinel: RestartSentinel::DeletedFirst,
        tool_death: ToolDeath::ToolFailed,
        ..Policies::default()
    }
}

/// Era B of the gateway's history: a restart drains for as long as it is configured, a stop does not drain; the
/// store is locked within the process only.
///
/// What was read in its code and differs from era A:
/// - A restart's drain lasts 300 s or `gateway.reload.deferralTimeoutMs`; a plain SIGTERM still does not drain, and a
///   second request is still dropped (`src/cli/gateway-cli/run-loop.ts`).
/// - The exit is forced 25 s after the drain's time is over, and says 1. Each step of the close is bounded: the
///   WebSocket server waits 1 s, terminates every socket, and goes on; the port is still freed after that
///   (`src/gateway/server-close.ts`).
/// - A port that is taken is tried for 2 s more. "Already running": a healthy other ends the start with 78 under systemd
///   and with 0 elsewhere; any other is waited for, 30 s (`src/cli/gateway-cli/run.ts`). Gateways on the port are still
///   killed before a service's start, but no ancestor (openclaw/openclaw#68451), and the port is awaited
///   (openclaw/openclaw#33410, `src/infra/restart-stale-pids.ts`). A supervised restart still exits with 0
///   (`src/infra/process-respawn.ts`).
/// - `/readyz` says 503 until the start is done, and does not look at the drain.
/// - `chat.send` still acknowledges before anything is durable (openclaw/openclaw#135880).
/// - `sessions.json` is written with file and directory synced, and without a lock file; transcripts are appended to
///   without a sync, under a lock that others wait 60 s for (`src/agents/session-write-lock.ts`).
/// - Several lanes may write to one transcript (openclaw/openclaw#13744).
/// - What does not parse is still an empty store (openclaw/openclaw#77783, seen with this version); a torn line is
///   still repaired in memory only (openclaw/openclaw#65060); the sweep still looks at `*.jsonl.lock` alone.
///
/// - A start looks for conversations that are called running and whose transcript's lock is stale, runs their last message
///   again after 5 s, as often as it takes, and delivers the answer to nobody (`src/agents/main-session-restart-recovery.ts`,
///   openclaw/openclaw#127339, #74864). A lock that was given back in good order leaves nothing to find: the conversation
///   is called running, and takes no message (openclaw/openclaw#71263).
///
/// One of its ways has no choice of its own: it aborted embedded runs when a drain timed out, but their locks were seen to
/// outlive them (openclaw/openclaw#77721, #86004, #86530), as those of runs left running do.
fn openclaw_2026_5_3() -> Policies {
    Policies {
        drain_budget: DrainBudget::Configured,
        state_write: StateWrite::ReplacementsSynced,
        peer_close: PeerClose::StepByStep,
        readiness: Readiness::IgnoresDrain,
        start_conflict: StartConflict::RetriesForThirtySeconds,
        bind_patience: BindPatience::TwoSeconds,
        predecessors: Predecessors::EveryListenerEndedAndPortAwaited,
        successor: Successor::HandOffOrSpawn,
        close_budget: CloseBudget::LongerSharedWithDrain,
        forced_exit: ForcedExit::Failure,
        store_lock: StoreLock::InProcess,
        lanes: Lanes::OnePerConnection,
        transcript_lock: TranscriptLock::WaitsSixtySeconds,
        restart_deferral_limit: DeferralLimit::Configured,
        restart_task_records: TaskRecords::QueuedToo,
        feishu_close: FeishuClose::Joined,
        telegram_close: TelegramClose::Joined,
        admission_fence: AdmissionFence::EveryDoor,
        notice_route: NoticeRoute::WhenAsked,
        recovery: Recovery::ResumeOrTell,
        interruption_evidence: InterruptionEvidence::FlagOrStaleLock,
        session_status: SessionStatus::AsTheStoreSays,
        begun_turn: BegunTurn::Replayed,
        resume_limit: ResumeLimit::Unlimited,
        resume_age: ResumeAge::Any,
        resumed_reply: ResumedReply::TranscriptOnly,
        subagent_restore: SubagentRestore::ResumeBeforeTracking,
        restart_sentinel: RestartSentinel::FortyFiveTries,
        ..openclaw_2026_3_2()
    }
}

/// The first with the safe restart of commit 103cdd9 (openclaw/openclaw#76923), which the command line has to be asked
/// for: `restart` alone still sends the signal. Queued records of tasks count no more, and of the tasks after the
/// eighth nothing is said.
fn openclaw_2026_5_4() -> Policies {
    Policies {
        restart_command: RestartCommand::AsksIfSafe,
        restart_task_records: TaskRecords::RunningOnly,
        restart_task_aggregate: TaskAggregate::Forgotten,
        ..openclaw_2026_5_3()
    }
}

/// Era C, of which only the restarts are known here, from the reports of its users; all the rest is as it should be.
///
/// - `--force` meant a drain of 0 ms (openclaw/openclaw#143233), up to openclaw/openclaw#154300. A deferral that came to
///   its limit ended with the same force; the limit was 300 s, and no setting changed it (openclaw/openclaw#152696).
/// - Runs that were cut off were taken up again in main sessions only, and nobody was told of the others.
/// - Records of tasks that a dead generation left running counted as work in hand (openclaw/openclaw#143420).
/// - An edit that was taken back restarted all the same (openclaw/openclaw#119360).
fn openclaw_2026_9_3() -> Policies {
    Policies {
        interrupted_work: InterruptedWork::Forget,
        recovery: Recovery::MainSessionOnly,
        restart_exit: RestartExit::Clean,
        restart_deferral_limit: DeferralLimit::FiveMinutes,
        restart_wait_budget: WaitBudget::EachInFull,
        restart_old_work: OldWork::Counted,
        restart_at_limit: AtLimit::Force,
        restart_safe_at_limit: SafeAtLimit::GoesAhead,
        restart_force_drain: ForceDrain::Skipped,
        restart_config_current: ConfigCurrent::WhenSeen,
        ..Policies::default()
    }
}

/// What is known of one version between eras B and C, and nothing else: what waits is kept in memory
/// (openclaw/openclaw#51620), no drain waits for the turns of conversations (openclaw/openclaw#118147), a conversation's status is believed (openclaw/openclaw#71263), a user's stop is an
/// interruption like any other (openclaw/openclaw#120315), and what was interrupted is run again, as often as it takes
/// (openclaw/openclaw#96230).
fn openclaw_2026_6_10() -> Policies {
    Policies {
        drain_inventory: DrainInventory::MissesTurns,
        follow_ups: FollowUps::InMemory,
        session_status: SessionStatus::AsTheStoreSays,
        user_stop: UserStop::AsInterruption,
        begun_turn: BegunTurn::Replayed,
        resume_limit: ResumeLimit::Unlimited,
        ..Policies::default()
    }
}

/// What is known of one version of era C, and nothing else: as 2026.6.10, but recovery has a budget, and a drain waits for all there is; a text that may
/// have been sent is never sent again (openclaw/openclaw#90233); a message that could not be taken is known all the same when
/// it comes again (openclaw/openclaw#139341); what recovery hands over
/// counts as recovered (openclaw/openclaw#128827), and its answers go to the transcript only
/// (openclaw/openclaw#127339).
fn openclaw_2026_8_2() -> Policies {
    Policies {
        drain_inventory: DrainInventory::Everything,
        delivery_repeats: DeliveryRepeats::Stranded,
        arrival_memory: ArrivalMemory::AtArrival,
        recovery_dispatch: RecoveryDispatch::WhenQueued,
        resumed_reply: ResumedReply::TranscriptOnly,
        resume_limit: ResumeLimit::ThreeTimes,
        ..openclaw_2026_6_10()
    }
}

pub(super) const PLANTED: &[NamedPolicies] = &[
    ("planted:hooks-unbounded", || Policies {
        lifecycle_hooks: LifecycleHooks::Unbounded,
        ..Policies::default()
    }),
    ("planted:post-start-first", || Policies {
        lifecycle_hooks: LifecycleHooks::PostStartFirst,
        ..Policies::default()
    }),
    ("planted:tool-death-is-a-failure", || Policies {
        tool_death: ToolDeath::ToolFailed,
        ..Policies::default()
    }),
    ("planted:sentinel-deleted-first", || Policies {
        restart_sentinel: RestartSentinel::DeletedFirst,
        ..Policies::default()
    }),
    ("planted:pre-stop-skipped", || Policies {
        lifecycle_hooks: LifecycleHooks::PreStopSkipped,
        ..Policies::default()
    }),
    ("planted:users-flag-is-searched-for", || Policies {
        interruption_evidence: InterruptionEvidence::FlagOfUsers,
        ..Policies::default()
    }),
    ("planted:notices-follow-the-store", || Policies {
        notice_route: NoticeRoute::FromTheStore,
        ..Policies::default()
    }),
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
    ("planted:http-connections-forgotten", || Policies {
        peer_close: PeerClose::HttpForgotten,
        ..Policies::default()
    }),
    ("planted:close-step-unbounded", || Policies {
        peer_close: PeerClose::GraceUnbounded,
        close_budget: CloseBudget::Unlimited,
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
    ("planted:live-lock-broken", || Policies {
        instance_lock: InstanceLock::BreaksTheLiving,
        ..Policies::default()
    }),
    ("planted:failed-start-ends", || Policies { failed_start: FailedStart::Ends, ..Policies::default() }),
    ("planted:stale-lock-loops", || Policies {
        instance_lock: InstanceLock::NeverStale,
        start_conflict: StartConflict::EndsWithFailure,
        ..Policies::default()
    }),
    ("planted:kills-healthy-gateways", || Policies {
        predecessors: Predecessors::EveryListenerEnded,
        ..Policies::default()
    }),
    ("planted:kills-slow-starters", || Policies {
        predecessors: Predecessors::EndedWhenSlow,
        ..Policies::default()
    }),
    ("planted:buffers-unbounded", || Policies { slow_consumer: SlowConsumer::Kept, ..Policies::default() }),
    ("planted:cron-forgets-interrupted", || Policies {
        cron_interruption: CronInterruption::Forgotten,
        ..Policies::default()
    }),
    ("planted:cron-outcome-late", || Policies { cron_outcome: CronOutcome::Late, ..Policies::default() }),
    ("planted:cron-missed-at-once", || Policies {
        cron_missed: CronMissed::AllAtOnce,
        ..Policies::default()
    }),
    ("planted:subagents-untracked", || Policies {
        subagent_restore: SubagentRestore::ResumeUntracked,
        ..Policies::default()
    }),
    ("planted:subagents-wait-for-dead-runs", || Policies {
        subagent_restore: SubagentRestore::WaitForDeadRun,
        ..Policies::default()
    }),
    ("planted:subagents-announced-under-new-names", || Policies {
        subagent_announcement: SubagentAnnouncement::NewNameEachTime,
        ..Policies::default()
    }),
    ("planted:subagents-swept-by-age", || Policies {
        subagent_sweep: SubagentSweep::ByAge,
        ..Policies::default()
    }),
    ("planted:torn-line-passed-over", || Policies { torn_line: TornLine::PassedOver, ..Policies::default() }),
    ("planted:restart-exits-with-config-error", || Policies {
        restart_exit: RestartExit::Config,
        ..Policies::default()
    }),
    ("planted:stop-has-a-successor", || Policies {
        successor: Successor::SpawnAfterAnyEnd,
        ..Policies::default()
    }),
    // What OpenClaw 2026.2.14 did to its lanes, which no longer told who was interrupted either.
    ("planted:lanes-survive-restart", || Policies {
        lane_state: LaneState::SurvivesRestart,
        interrupted_work: InterruptedWork::Forget,
        ..Policies::default()
    }),
    ("planted:restart-outcomes-untold", || Policies {
        restart_notices: Notices::Nobody,
        ..Policies::default()
    }),
    ("planted:restart-order-stuck", || Policies {
        restart_cycle_token: CycleToken::StuckOnExpiry,
        ..Policies::default()
    }),
    ("planted:queued-records-block", || Policies {
        restart_task_records: TaskRecords::QueuedToo,
        ..Policies::default()
    }),
    ("planted:safe-restart-goes-ahead", || Policies {
        restart_safe_at_limit: SafeAtLimit::GoesAhead,
        ..Policies::default()
    }),
    ("planted:admission-stays-closed", || Policies {
        restart_reopening: Reopening::Forgotten,
        ..Policies::default()
    }),
    ("planted:restarts-without-a-pause", || Policies {
        restart_pause: RestartPause::Forgotten,
        ..Policies::default()
    }),
    ("planted:waits-each-in-full", || Policies {
        restart_wait_budget: WaitBudget::EachInFull,
        ..Policies::default()
    }),
    ("planted:deferral-limit-ignored", || Policies {
        restart_deferral_limit: DeferralLimit::FiveMinutes,
        ..Policies::default()
    }),
    // What OpenClaw 2026.9.x did at the limit of a deferral (openclaw/openclaw#152696), and with `--force` before
    // openclaw/openclaw#154300 (openclaw/openclaw#143233). Runs other than main sessions were not recovered.
    ("planted:deferral-ends-in-force", || Policies {
        restart_at_limit: AtLimit::Force,
        interrupted_work: InterruptedWork::Forget,
        recovery: Recovery::Skip,
        ..Policies::default()
    }),
    ("planted:force-skips-the-drain", || Policies {
        restart_force_drain: ForceDrain::Skipped,
        interrupted_work: InterruptedWork::Forget,
        recovery: Recovery::Skip,
        ..Policies::default()
    }),
    ("planted:reload-waits-three-seconds", || Policies {
        reload: Reload::ThreeSeconds,
        ..Policies::default()
    }),
    ("planted:hand-off-believes-the-manager", || Policies {
        hand_off: HandOff::UntilTaken,
        ..Policies::default()
    }),
    ("planted:missing-manager-is-a-failure", || Policies {
        missing_manager: MissingManager::Failure,
        ..Policies::default()
    }),
    ("planted:writes-without-looking", || Policies {
        store_lock: StoreLock::WritesWithoutLooking,
        ..Policies::default()
    }),
    ("planted:respects-the-silent", || Policies {
        store_lock: StoreLock::RespectsTheSilent,
        ..Policies::default()
    }),
    ("planted:store-locked-in-process-only", || Policies {
        store_lock: StoreLock::InProcess,
        ..Policies::default()
    }),
    ("planted:store-lock-never-swept", || Policies {
        lock_sweep: LockSweep::TranscriptsOnly,
        ..Policies::default()
    }),
    ("planted:answers-not-delivered", || Policies {
        resumed_reply: ResumedReply::TranscriptOnly,
        ..Policies::default()
    }),
    ("planted:told-at-every-start", || Policies {
        interruption_notice: InterruptionNotice::AtEveryStart,
        ..Policies::default()
    }),
    ("planted:everybody-is-told", || Policies {
        interruption_notice: InterruptionNotice::EveryConversation,
        ..Policies::default()
    }),
    ("planted:told-one-by-one", || Policies {
        interruption_notice: InterruptionNotice::EachMessage,
        ..Policies::default()
    }),
    ("planted:newest-text-first", || Policies {
        delivery_order: DeliveryOrder::NewestFirst,
        ..Policies::default()
    }),
    ("planted:telegram-confirms-first", || Policies {
        telegram_confirmation: TelegramConfirmation::BeforeProcessing,
        ..Policies::default()
    }),
    ("planted:telegram-offset-first", || Policies {
        telegram_confirmation: TelegramConfirmation::OffsetFirst,
        ..Policies::default()
    }),
    ("planted:feishu-acknowledges-first", || Policies {
        feishu_acknowledgement: FeishuAcknowledgement::AtReceipt,
        ..Policies::default()
    }),
    ("planted:feishu-records-ids-first", || Policies {
        feishu_memory: FeishuMemory::IdRecordedFirst,
        ..Policies::default()
    }),
    ("planted:feishu-forgets-ids", || Policies {
        feishu_memory: FeishuMemory::IdsInMemory,
        ..Policies::default()
    }),
    // A generation that ends ends its tasks, so the connection outlives it only where those are left, too.
    ("planted:feishu-ghost-connection", || Policies {
        feishu_close: FeishuClose::Forgotten,
        feishu_acknowledgement: FeishuAcknowledgement::AtReceipt,
        old_generation: OldGeneration::LeftRunning,
        ..Policies::default()
    }),
    ("planted:delivery-at-start-only", || Policies {
        delivery_retry: DeliveryRetry::AtStartOnly,
        ..Policies::default()
    }),
    ("planted:delivery-without-evidence", || Policies {
        delivery_repeats: DeliveryRepeats::Blind,
        ..Policies::default()
    }),
    ("planted:delivery-refusals-tried-again", || Policies {
        delivery_refusals: DeliveryRefusals::TriedAgain,
        ..Policies::default()
    }),
    // An attempt that comes too early matters where it is the only one of a life.
    ("planted:delivery-before-channels", || Policies {
        delivery_readiness: DeliveryReadiness::Ignored,
        delivery_retry: DeliveryRetry::AtStartOnly,
        ..Policies::default()
    }),
    ("planted:unreadable-store-is-empty", || Policies {
        unreadable_store: UnreadableStore::TreatAsEmpty,
        ..Policies::default()
    }),
    ("planted:follow-ups-in-memory", || Policies { follow_ups: FollowUps::InMemory, ..Policies::default() }),
    ("planted:drain-misses-turns", || Policies {
        drain_inventory: DrainInventory::MissesTurns,
        ..Policies::default()
    }),
    ("planted:session-status-left-running", || Policies {
        session_status: SessionStatus::AsTheStoreSays,
        ..Policies::default()
    }),
    ("planted:recovered-when-queued", || Policies {
        recovery_dispatch: RecoveryDispatch::WhenQueued,
        ..Policies::default()
    }),
    ("planted:stopped-runs-resume", || Policies {
        user_stop: UserStop::AsInterruption,
        begun_turn: BegunTurn::Replayed,
        ..Policies::default()
    }),
    ("planted:begun-turns-replayed", || Policies { begun_turn: BegunTurn::Replayed, ..Policies::default() }),
    ("planted:resumed-without-limit", || Policies {
        begun_turn: BegunTurn::Replayed,
        resume_limit: ResumeLimit::Unlimited,
        ..Policies::default()
    }),
    ("planted:oldest-follow-up-dropped", || Policies {
        follow_up_cap: FollowUpCap::TwentyOldestDropped,
        ..Policies::default()
    }),
    ("planted:oldest-follow-up-summarized", || Policies {
        follow_up_cap: FollowUpCap::TwentyOldestSummarized,
        ..Policies::default()
    }),
    ("planted:newest-follow-up-dropped", || Policies {
        follow_up_cap: FollowUpCap::TwentyNewestDropped,
        ..Policies::default()
    }),
    ("planted:resumed-at-any-age", || Policies { resume_age: ResumeAge::Any, ..Policies::default() }),
    ("planted:keys-forgotten", || Policies { key_memory: KeyMemory::FiveMinutes, ..Policies::default() }),
    ("planted:announcements-expire", || Policies {
        subagent_announcement_expiry: SubagentAnnouncementExpiry::ThirtyMinutes,
        ..Policies::default()
    }),
    ("planted:stranded-texts", || Policies {
        delivery_repeats: DeliveryRepeats::Stranded,
        ..Policies::default()
    }),
    ("planted:texts-given-up-after-five", || Policies {
        delivery_attempts: DeliveryAttempts::Five,
        ..Policies::default()
    }),
    ("planted:texts-sent-unrecorded", || Policies {
        delivery_record: DeliveryRecord::FailureIgnored,
        ..Policies::default()
    }),
    ("planted:arrivals-known-at-once", || Policies {
        arrival_memory: ArrivalMemory::AtArrival,
        ..Policies::default()
    }),
    // As with Feishu's connection below.
    ("planted:telegram-ghost-poll", || Policies {
        telegram_close: TelegramClose::Forgotten,
        old_generation: OldGeneration::LeftRunning,
        ..Policies::default()
    }),
    ("planted:telegram-offset-of-any-bot", || Policies {
        telegram_offset: TelegramOffset::OfAnyBot,
        ..Policies::default()
    }),
    ("planted:subagents-unrecorded", || Policies {
        subagent_record: SubagentRecord::FailureIgnored,
        ..Policies::default()
    }),
    ("planted:announced-three-times", || Policies {
        subagent_announcement: SubagentAnnouncement::ThreeTries,
        ..Policies::default()
    }),
];
