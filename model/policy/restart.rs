//! Choices about restarts: what they wait for, for how long, who is told, and what is planted.

use serde::{Deserialize, Serialize};

use super::{Policies, RestartCommand, profile};

/// How long a restart waits for work in hand before it goes ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeferralLimit {
    /// As configured: `gateway.reload.deferralTimeoutMs`, 300 s by default, 0 without limit.
    #[default]
    Configured,
    /// 30 s: OpenClaw 2026.3.2.
    ThirtySeconds,
    /// 300 s whatever is configured: OpenClaw 2026.9 (openclaw/openclaw#152696).
    FiveMinutes,
}

/// How the waits before and within the drain are limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitBudget {
    /// One budget: what the deferral used is taken off the drain, down to a floor.
    #[default]
    Shared,
    /// Each has the full limit, so that they come to twice of it: OpenClaw up to 2026.5.
    EachInFull,
}

/// Which records of background tasks count as work in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskRecords {
    /// Those that run and have not ended: commit 103cdd9.
    #[default]
    RunningOnly,
    /// Those that are queued, too, which may never run: OpenClaw 2026.5.3-1.
    QueuedToo,
    /// None: OpenClaw 2026.3.2.
    NotCounted,
}

/// Whether work counts that an earlier generation began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldWork {
    /// It does not: nobody can end it.
    #[default]
    Ignored,
    /// It does, so that a record left `running` delays every restart: openclaw/openclaw#143420.
    Counted,
}

/// Whether too many requests are refused before it is seen that they could be merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateLimitOrder {
    /// What can be merged is merged.
    #[default]
    AfterMerging,
    /// Every request counts: OpenClaw up to 2026.5.
    BeforeMerging,
}

/// What becomes of a restart order that nobody takes before its authorisation expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CycleToken {
    /// The next one is given, and after some the restart ends as timed out.
    #[default]
    AdvancedOnExpiry,
    /// It stands for ever, and every later request is merged onto it: openclaw/openclaw#79577.
    StuckOnExpiry,
}

/// Who is told what came of a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notices {
    /// Everybody who asked.
    #[default]
    EveryRequester,
    /// Whoever asked last: one slot for the hooks around the restart, OpenClaw 2026.5.
    OneSlot,
    /// Nobody: a deferral's end is not reported (openclaw/openclaw#136387).
    Nobody,
}

/// What a restart signal from outside does; the command line used to send one (openclaw/openclaw#47711, bug 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExternalSignal {
    /// It asks like everybody else.
    #[default]
    Asks,
    /// It begins the drain at once, whatever is in hand: OpenClaw 2026.3.2.
    DrainsAtOnce,
}

/// What happens when the deferral limit is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AtLimit {
    /// A drain of at least the floor; what it interrupts is marked.
    #[default]
    DrainAndMark,
    /// No drain at all: openclaw/openclaw#152696.
    Force,
}

/// What becomes of a safe restart whose limit is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SafeAtLimit {
    /// New work is held off for the floor, so that the old can end; then it ends without a restart.
    #[default]
    GivesUp,
    /// It goes ahead like any other: OpenClaw 2026.5.4.
    GoesAhead,
}

/// How long a forced restart drains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForceDrain {
    /// For the floor.
    #[default]
    Bounded,
    /// Not at all: openclaw/openclaw#143233.
    Skipped,
}

/// What is said of the running tasks after the eighth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskAggregate {
    /// How many they are.
    #[default]
    Counted,
    /// Nothing: OpenClaw 2026.5.7 takes the number listed from the whole list.
    Forgotten,
}

/// When an edited configuration becomes the one that later edits are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigCurrent {
    /// When it is in force; so an edit that is taken back asks for nothing.
    #[default]
    WhenInForce,
    /// When it is seen: openclaw/openclaw#119360.
    WhenSeen,
}

/// What becomes of the admission that a safe restart closed at its limit, when the restart is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reopening {
    /// Messages are taken again.
    #[default]
    WhenGivenUp,
    /// Planted defect: nobody opens it again.
    Forgotten,
}

/// How far the pause between two restarts reaches, in which requests wait and share the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPause {
    /// It is the gateway's: 30 s from the order, and from when the gateway is up again; a process that follows keeps what
    /// is left of it. Whoever forces a restart does not wait.
    #[default]
    AcrossProcesses,
    /// Each process begins without one: every OpenClaw.
    WithinProcess,
    /// Planted defect: none, so that whoever asks again restarts the gateway that has just come up
    /// (openclaw/openclaw#33459).
    Forgotten,
}

/// One value for every choice about restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RestartPolicy {
    /// How long a restart waits for work in hand before it goes ahead.
    pub deferral_limit: DeferralLimit,
    /// How the waits before and within the drain are limited.
    pub wait_budget: WaitBudget,
    /// Which records of background tasks count as work in hand.
    pub task_records: TaskRecords,
    /// Whether work counts that an earlier generation began.
    pub old_work: OldWork,
    /// Whether too many requests are refused before it is seen that they could be merged.
    pub rate_limit_order: RateLimitOrder,
    /// What becomes of a restart order that nobody takes before its authorisation expires.
    pub cycle_token: CycleToken,
    /// Who is told what came of a restart.
    pub notices: Notices,
    /// What a restart signal from outside does.
    pub external_signal: ExternalSignal,
    /// What happens when the deferral limit is reached.
    pub at_limit: AtLimit,
    /// What becomes of a safe restart whose limit is reached.
    pub safe_at_limit: SafeAtLimit,
    /// How long a forced restart drains.
    pub force_drain: ForceDrain,
    /// What is said of the running tasks after the eighth.
    pub task_aggregate: TaskAggregate,
    /// When an edited configuration becomes the one that later edits are compared with.
    pub config_current: ConfigCurrent,
    /// How far the pause between two restarts reaches.
    pub pause: RestartPause,
}

impl Policies {
    /// The choices about restarts. Where the command line of the daemon sends signals, they drain at once.
    pub fn restart(&self) -> RestartPolicy {
        RestartPolicy {
            deferral_limit: self.restart_deferral_limit,
            wait_budget: self.restart_wait_budget,
            task_records: self.restart_task_records,
            old_work: self.restart_old_work,
            rate_limit_order: self.restart_rate_limit_order,
            cycle_token: self.restart_cycle_token,
            notices: self.restart_notices,
            at_limit: self.restart_at_limit,
            safe_at_limit: self.restart_safe_at_limit,
            force_drain: self.restart_force_drain,
            task_aggregate: self.restart_task_aggregate,
            config_current: self.restart_config_current,
            pause: self.restart_pause,
            external_signal: match self.restart_command {
                RestartCommand::Asks => ExternalSignal::Asks,
                RestartCommand::AsksIfSafe | RestartCommand::Signals => ExternalSignal::DrainsAtOnce,
            },
        }
    }
}

/// The choices about restarts of the profile called `name`, if there is one.
pub fn restart_policy(name: &str) -> Option<RestartPolicy> {
    profile(name).map(|policies| policies.restart())
}
