//! What `gateway.restart.preflight` and `gateway.restart.request` answer: the shapes and words of commit 103cdd9
//! (openclaw/openclaw#76923), so that an existing client can read them.
//!
//! Kinds of work that the report does not know are added to the counts when there is any, and only then.

use serde::{Deserialize, Serialize};

use super::decision::{Decision, Refusal, Status};
use super::inventory::{Inventory, Work, WorkKind, WorkStatus};
use super::outcome::Outcome;
use super::request::{Reason, RequestId};
use super::{Generation, Moment};
use crate::env::Pid;
use crate::policy::{RestartPolicy, TaskAggregate};

/// How many tasks are named before the rest is summed up.
const MOST_TASKS_NAMED: usize = 8;
/// How much is shown of what a task is about, in characters.
const MAX_TITLE_CHARS: usize = 80;

/// The answer to `gateway.restart.preflight`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// Whether a restart now would interrupt nothing.
    pub safe: bool,
    /// How much work of which kind is in hand.
    pub counts: Counts,
    /// What stands in the way.
    pub blockers: Vec<Blocker>,
    /// The same in one line.
    pub summary: String,
}

/// How much work of which kind stands in the way of a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Operations in lanes, queued or active.
    pub queue_size: u64,
    /// Replies on their way.
    pub pending_replies: u64,
    /// Runs of the agent.
    pub embedded_runs: u64,
    /// Background tasks that run.
    pub active_tasks: u64,
    /// Runs that other runs began; not in the report.
    #[serde(default, skip_serializing_if = "is_none")]
    pub subagent_runs: u64,
    /// Scheduled runs; OpenClaw 2026.9.6.
    #[serde(default, skip_serializing_if = "is_none")]
    pub cron_runs: u64,
    /// Hooks; not in the report.
    #[serde(default, skip_serializing_if = "is_none")]
    pub hooks: u64,
    /// All of them.
    pub total_active: u64,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// What stands in the way of a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// What kind of work it is.
    pub kind: WorkKind,
    /// How many pieces of it.
    pub count: u64,
    /// The same in words.
    pub message: String,
    /// Which task it is, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskBlocker>,
}

/// A running task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskBlocker {
    /// Its name.
    pub task_id: String,
    /// The run that does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// How far it is.
    pub status: WorkStatus,
    /// What does it.
    pub runtime: String,
    /// Its short name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it is about; at most 80 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

impl TaskBlocker {
    fn of(work: &Work) -> Self {
        Self {
            task_id: work.id.clone(),
            run_id: work.run_id.clone(),
            status: work.status,
            runtime: work.runtime.clone(),
            label: work.label.clone(),
            title: work.title.as_ref().map(|title| title.chars().take(MAX_TITLE_CHARS).collect()),
        }
    }

    fn message(&self) -> String {
        let status = match self.status {
            WorkStatus::Queued => "queued",
            WorkStatus::Running => "running",
            WorkStatus::Ended => "ended",
        };
        let fields = [
            ("taskId", Some(self.task_id.as_str())),
            ("runId", self.run_id.as_deref()),
            ("status", Some(status)),
            ("runtime", Some(self.runtime.as_str())),
            ("label", self.label.as_deref()),
            ("title", self.title.as_deref()),
        ];
        let known = fields.iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}")));
        known.collect::<Vec<_>>().join(" ")
    }
}

impl Preflight {
    /// What a restart of `generation` would interrupt now.
    pub fn of(inventory: &Inventory, generation: Generation, policy: RestartPolicy) -> Self {
        let count = |kind| inventory.count(kind, generation, policy);
        let mut counts = Counts {
            queue_size: count(WorkKind::Queue),
            pending_replies: count(WorkKind::Reply),
            embedded_runs: count(WorkKind::EmbeddedRun),
            active_tasks: count(WorkKind::Task),
            subagent_runs: count(WorkKind::SubagentRun),
            cron_runs: count(WorkKind::CronRun),
            hooks: count(WorkKind::Hook),
            total_active: 0,
        };
        counts.total_active = WorkKind::ALL.map(count).into_iter().fold(0, u64::saturating_add);

        let mut blockers = Vec::new();
        for kind in WorkKind::ALL {
            match kind {
                WorkKind::Task => tasks(inventory, generation, policy, &mut blockers),
                _ => blockers.extend(Blocker::summed(kind, count(kind))),
            }
        }
        let messages: Vec<&str> = blockers.iter().map(|blocker| blocker.message.as_str()).collect();
        let summary = match messages.is_empty() {
            true => "safe to restart now".to_string(),
            false => format!("restart deferred: {}", messages.join("; ")),
        };
        Self { safe: counts.total_active == 0, counts, blockers, summary }
    }
}

impl Blocker {
    /// `count` pieces of work of one kind; `None` when there are none.
    fn summed(kind: WorkKind, count: u64) -> Option<Self> {
        let what = match kind {
            WorkKind::Queue => "queued or active operation(s)",
            WorkKind::Reply => "pending reply delivery operation(s)",
            WorkKind::EmbeddedRun => "active embedded run(s)",
            WorkKind::SubagentRun => "active subagent run(s)",
            WorkKind::CronRun => "active cron run(s)",
            WorkKind::Hook => "running hook(s)",
            WorkKind::Task => "active background task run(s)",
        };
        (count > 0).then(|| Self { kind, count, message: format!("{count} {what}"), task: None })
    }
}

/// The first tasks by name, and how many others there are.
fn tasks(inventory: &Inventory, generation: Generation, policy: RestartPolicy, blockers: &mut Vec<Blocker>) {
    let of_kind = inventory.blocking(generation, policy).filter(|work| work.kind == WorkKind::Task);
    let listed: Vec<_> = of_kind.map(TaskBlocker::of).collect();
    let unlisted = inventory.uncounted(WorkKind::Task, generation, policy);
    let unnamed = match policy.task_aggregate {
        TaskAggregate::Counted => listed.len().saturating_sub(MOST_TASKS_NAMED) as u64,
        TaskAggregate::Forgotten => 0,
    };
    blockers.extend(listed.into_iter().take(MOST_TASKS_NAMED).map(|task| Blocker {
        kind: WorkKind::Task,
        count: 1,
        message: task.message(),
        task: Some(task),
    }));
    blockers.extend(Blocker::summed(WorkKind::Task, unnamed.saturating_add(unlisted)));
}

/// The answer to `gateway.restart.request`. A refusal is an error of the protocol instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestResult {
    /// Always true.
    pub ok: bool,
    /// What became of the request so far.
    pub status: RequestStatus,
    /// The request's name, by which its outcome goes later; not in the report. Without it nobody can tell which outcome
    /// is his own (openclaw/openclaw#136387).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// What was in hand when it was made.
    pub preflight: Preflight,
    /// The restart that will serve it.
    pub restart: Scheduled,
    /// What came of it, when it was asked before and has ended; not in the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What became of a request so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestStatus {
    /// The restart comes as soon as it is due.
    Scheduled,
    /// It waits for work in hand.
    Deferred,
    /// It joined a restart that was asked for already.
    Coalesced,
}

/// A restart that will come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scheduled {
    /// Always true.
    pub ok: bool,
    /// The process that restarts.
    pub pid: Pid,
    /// The signal that stands for it, whether it is sent or not.
    pub signal: String,
    /// In how many milliseconds it is due, if nothing is in hand by then.
    pub delay_ms: u64,
    /// Why, as this requester said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// How it comes about.
    pub mode: EmitMode,
    /// Whether the request joined another one.
    pub coalesced: bool,
    /// How much of the delay is the pause after the last restart, in milliseconds.
    pub cooldown_ms_applied: u64,
}

/// How a restart comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmitMode {
    /// Within the process.
    Emit,
    /// By a signal of the process to itself.
    Signal,
    /// By the supervisor.
    Supervisor,
}

impl RequestResult {
    /// What `decision`, made at `now`, is in the protocol.
    ///
    /// Errors: the refusal, when it is one.
    pub fn of(
        decision: &Decision,
        now: Moment,
        preflight: Preflight,
        reason: Option<Reason>,
        pid: Pid,
    ) -> Result<Self, Refusal> {
        let (status, due) = match decision.status {
            Status::Scheduled { due } => (RequestStatus::Scheduled, due),
            Status::Deferred { due, .. } => (RequestStatus::Deferred, due),
            Status::Coalesced { due, .. } => (RequestStatus::Coalesced, due),
            Status::Over => (RequestStatus::Coalesced, now),
            Status::Refused(refusal) => return Err(refusal),
        };
        let restart = Scheduled {
            ok: true,
            pid,
            signal: "SIGUSR1".to_string(),
            delay_ms: due.since(now).as_millis() as u64,
            reason,
            mode: EmitMode::Emit,
            coalesced: status == RequestStatus::Coalesced,
            cooldown_ms_applied: decision.cooldown.as_millis() as u64,
        };
        Ok(Self { ok: true, status, request: Some(decision.request), preflight, restart, outcome: None })
    }
}
