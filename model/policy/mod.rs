//! Every choice that history made differently, as data; and profiles, the named sets of choices.
//!
//! A choice is an enum tested in one place. The default of each is the correct behaviour; a historical profile
//! is another value of [`Policies`], and so is a planted defect, which exists to prove that an oracle sees it.

use serde::{Deserialize, Serialize};

mod agents;
mod channels;
mod cron;
mod delivery;
mod hooks;
mod lifecycle;
mod profiles;
mod recovery;
mod restart;
mod state;

pub use agents::*;
pub use channels::*;
pub use cron::*;
pub use delivery::*;
pub use hooks::*;
pub use lifecycle::*;
use profiles::{PLANTED, PROFILES};
pub use recovery::*;
pub use restart::*;
pub use state::*;

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
    /// How long the key of a message that is over is known.
    pub key_memory: KeyMemory,
    /// How state files are written.
    pub state_write: StateWrite,
    /// How connections are ended, and when the port is free.
    pub peer_close: PeerClose,
    /// What becomes of a client that reads more slowly than it is written to.
    pub slow_consumer: SlowConsumer,
    /// What `/readyz` says.
    pub readiness: Readiness,
    /// Whether `connect` asks for the token.
    pub authentication: Authentication,
    /// How the single-instance lock is treated.
    pub instance_lock: InstanceLock,
    /// What a start does that finds the lock or the port in somebody else's hands.
    pub start_conflict: StartConflict,
    /// How long a start goes on trying to listen while its port is taken.
    pub bind_patience: BindPatience,
    /// What a service's start does about gateways that earlier lives left behind.
    pub predecessors: Predecessors,
    /// What a start does that meets trouble of the machine which may pass.
    pub failed_start: FailedStart,
    /// How a restart ends this process.
    pub restart_exit: RestartExit,
    /// Who starts the successor of a gateway that restarts.
    pub successor: Successor,
    /// How long closing may take before the exit is forced.
    pub close_budget: CloseBudget,
    /// With what status a shutdown that had to be forced ends.
    pub forced_exit: ForcedExit,
    /// How changes of the session store exclude each other.
    pub store_lock: StoreLock,
    /// How many lanes a conversation has.
    pub lanes: Lanes,
    /// Whether a run locks its transcript.
    pub transcript_lock: TranscriptLock,
    /// What becomes of a message whose run cannot have a lock in time.
    pub lock_failure: LockFailure,
    /// Which locks that earlier processes left behind a start removes.
    pub lock_sweep: LockSweep,
    /// What a session store is taken for that does not parse.
    pub unreadable_store: UnreadableStore,
    /// What becomes of a transcript's last line that a crash cut short.
    pub torn_line: TornLine,
    /// When a start script believes that its gateway has a successor.
    pub hand_off: HandOff,
    /// What it means for a restart that nobody can be asked for it.
    pub missing_manager: MissingManager,
    /// How the command-line tool loads the service anew.
    pub reload: Reload,
    /// How the gateway gets a successor when it is asked to restart.
    pub restart_mode: RestartMode,
    /// How the command line of the daemon gets a gateway restarted.
    pub restart_command: RestartCommand,
    /// How long a restart waits for work in hand before it goes ahead.
    pub restart_deferral_limit: DeferralLimit,
    /// How the waits before and within the drain are limited.
    pub restart_wait_budget: WaitBudget,
    /// Which records of background tasks count as work in hand.
    pub restart_task_records: TaskRecords,
    /// Whether work counts that an earlier generation began.
    pub restart_old_work: OldWork,
    /// Whether too many requests are refused before it is seen that they could be merged.
    pub restart_rate_limit_order: RateLimitOrder,
    /// What becomes of a restart order that nobody takes before its authorisation expires.
    pub restart_cycle_token: CycleToken,
    /// Who is told what came of a restart.
    pub restart_notices: Notices,
    /// What happens when the deferral limit is reached.
    pub restart_at_limit: AtLimit,
    /// What becomes of a safe restart whose limit is reached.
    pub restart_safe_at_limit: SafeAtLimit,
    /// How long a forced restart drains.
    pub restart_force_drain: ForceDrain,
    /// What is said of the running tasks after the eighth.
    pub restart_task_aggregate: TaskAggregate,
    /// When an edited configuration becomes the one that later edits are compared with.
    pub restart_config_current: ConfigCurrent,
    /// What becomes of the admission that a safe restart closed, when it is given up.
    pub restart_reopening: Reopening,
    /// How far the pause between two restarts reaches.
    pub restart_pause: RestartPause,
    /// What becomes of tasks that an in-process restart finds still at work.
    pub old_generation: OldGeneration,
    /// What a restart in place does to the lanes' own record of what is at work.
    pub lane_state: LaneState,
    /// When Telegram's Bot API hears that a message was taken.
    pub telegram_confirmation: TelegramConfirmation,
    /// What becomes of the poll of Telegram at an end.
    pub telegram_close: TelegramClose,
    /// Whose offset in Telegram's updates counts that an earlier life has kept.
    pub telegram_offset: TelegramOffset,
    /// When a platform's message is known, so that it is not taken again.
    pub arrival_memory: ArrivalMemory,
    /// When an event of Feishu is acknowledged.
    pub feishu_acknowledgement: FeishuAcknowledgement,
    /// By what a message of Feishu is recognised that comes again.
    pub feishu_memory: FeishuMemory,
    /// What becomes of Feishu's connection at an end.
    pub feishu_close: FeishuClose,
    /// When a text is sent again that a platform did not take.
    pub delivery_retry: DeliveryRetry,
    /// In which order the texts of a chat are sent.
    pub delivery_order: DeliveryOrder,
    /// What is known of a text that is sent again.
    pub delivery_repeats: DeliveryRepeats,
    /// How often a text is sent that its platform does not take for now.
    pub delivery_attempts: DeliveryAttempts,
    /// What becomes of a text that cannot be written down before it is sent.
    pub delivery_record: DeliveryRecord,
    /// What a platform's refusal for good does.
    pub delivery_refusals: DeliveryRefusals,
    /// What a text waits for before it is sent.
    pub delivery_readiness: DeliveryReadiness,
    /// By what it is known where a word goes that answers no message.
    pub notice_route: NoticeRoute,
    /// Where a message is kept that waits for its conversation to come free, or to be quiet.
    pub follow_ups: FollowUps,
    /// How many messages may wait behind the turn of their conversation.
    pub follow_up_cap: FollowUpCap,
    /// Who learns that the gateway takes no more messages.
    pub admission_fence: AdmissionFence,
    /// Which work a drain waits for.
    pub drain_inventory: DrainInventory,
    /// Where it stands that a conversation is at work.
    pub session_status: SessionStatus,
    /// By what a start knows the turns that the end of an earlier life interrupted.
    pub interruption_evidence: InterruptionEvidence,
    /// When a message that recovery takes up counts as recovered.
    pub recovery_dispatch: RecoveryDispatch,
    /// What is recorded of a run that its sender stopped.
    pub user_stop: UserStop,
    /// What the next life does with a turn that had begun and has no recorded end.
    pub begun_turn: BegunTurn,
    /// How often a message is taken up again whose lives have died.
    pub resume_limit: ResumeLimit,
    /// How old may be what the end of an earlier life left, to be taken up again.
    pub resume_age: ResumeAge,
    /// Where the answer of a resumed turn goes.
    pub resumed_reply: ResumedReply,
    /// Who is told of an interruption.
    pub interruption_notice: InterruptionNotice,
    /// What becomes of a scheduled run that the end of a process interrupted.
    pub cron_interruption: CronInterruption,
    /// When the outcome of a scheduled run is recorded.
    pub cron_outcome: CronOutcome,
    /// What becomes of the times that passed while no gateway ran.
    pub cron_missed: CronMissed,
    /// What a start does about subagents whose work the last life did not finish.
    pub subagent_restore: SubagentRestore,
    /// In which order a subagent comes into being on the disk.
    pub subagent_spawn: SubagentSpawn,
    /// What becomes of a subagent's row whose conversation is not there.
    pub subagent_without_session: SubagentWithoutSession,
    /// How the result of a subagent is announced.
    pub subagent_announcement: SubagentAnnouncement,
    /// How long the result of a subagent is owed to whoever asked for it.
    pub subagent_announcement_expiry: SubagentAnnouncementExpiry,
    /// What becomes of a subagent that cannot be written into the books.
    pub subagent_record: SubagentRecord,
    /// Which subagents are swept away an hour after their time.
    pub subagent_sweep: SubagentSweep,
    /// What becomes of the hooks that the configuration names.
    pub lifecycle_hooks: LifecycleHooks,
    /// When what a restart leaves behind for a conversation is forgotten.
    pub restart_sentinel: RestartSentinel,
    /// What the death of a program by a signal is, when its service is being ended.
    pub tool_death: ToolDeath,
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
