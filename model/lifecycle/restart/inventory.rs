//! The work in hand: one list for all kinds of it, each entry owned by the generation that began it.
//!
//! The parts of the gateway fill it in; whether something stands in the way of a restart is decided here and nowhere
//! else. What an earlier generation began and left in a record is nobody's any more: it can never end, so it does not
//! count (openclaw/openclaw#143420).

use serde::{Deserialize, Serialize};

use super::Generation;
use crate::policy::{OldWork, RestartPolicy, TaskRecords};

/// What kind of work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkKind {
    /// An operation in a lane: whatever was accepted and is not over.
    Queue,
    /// A reply on its way to its channel.
    Reply,
    /// A run of the agent.
    EmbeddedRun,
    /// A run that another run began.
    SubagentRun,
    /// A background task, of which there is a record.
    Task,
    /// A scheduled run.
    CronRun,
    /// A hook.
    Hook,
}

impl WorkKind {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 7] = [
        Self::Queue,
        Self::Reply,
        Self::EmbeddedRun,
        Self::SubagentRun,
        Self::CronRun,
        Self::Hook,
        Self::Task,
    ];

    /// Whether work of this kind stands in the way while it waits for its turn. What waits in a lane was accepted
    /// and will run, and so will a reply be sent; a record of a task may be queued for ever (commit 103cdd9).
    const fn counts_while_queued(self, tasks: TaskRecords) -> bool {
        match self {
            Self::Queue | Self::Reply => true,
            Self::Task => matches!(tasks, TaskRecords::QueuedToo),
            Self::EmbeddedRun | Self::SubagentRun | Self::CronRun | Self::Hook => false,
        }
    }
}

/// How far some work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkStatus {
    /// It waits for its turn.
    Queued,
    /// It is being done.
    Running,
    /// It is over, whatever else is said of it.
    Ended,
}

/// What a durable record of a task says of its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordStatus {
    /// It waits for its turn.
    Queued,
    /// It is being done, or was when the record was written.
    Running,
    /// It is over: done, failed, cancelled, lost.
    Over,
}

impl RecordStatus {
    /// How far the work is, given whether the record has a time at which it ended: a record may still say `running`
    /// by then.
    pub const fn with_end(self, has_end: bool) -> WorkStatus {
        match self {
            _ if has_end => WorkStatus::Ended,
            Self::Queued => WorkStatus::Queued,
            Self::Running => WorkStatus::Running,
            Self::Over => WorkStatus::Ended,
        }
    }
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What kind of work it is.
    pub kind: WorkKind,
    /// Its name: a run id, a task id.
    pub id: String,
    /// The generation that does it.
    pub owner: Generation,
    /// How far it is.
    pub status: WorkStatus,
    /// The run that does it, when that is another name than its own.
    pub run_id: Option<String>,
    /// What does it, such as `subagent` or `cron`.
    pub runtime: String,
    /// Its short name, for people.
    pub label: Option<String>,
    /// What it is about, for people.
    pub title: Option<String>,
}

impl Work {
    /// Work of which no more is known than this.
    pub fn new(kind: WorkKind, id: impl Into<String>, owner: Generation, status: WorkStatus) -> Self {
        let (id, runtime) = (id.into(), "gateway".to_string());
        Self { kind, id, owner, status, run_id: None, runtime, label: None, title: None }
    }
}

/// A number of pieces of work of which only the number is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tally {
    kind: WorkKind,
    owner: Generation,
    /// As the part says that counts them; below zero when it miscounted.
    count: i64,
}

/// All work that anybody in the gateway knows of, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    work: Vec<Work>,
    tallies: Vec<Tally>,
}

impl Inventory {
    /// No work at all.
    pub const fn new() -> Self {
        Self { work: Vec::new(), tallies: Vec::new() }
    }

    /// One piece of work more.
    pub fn add(&mut self, work: Work) {
        self.work.push(work);
    }

    /// Some pieces of work more of which only the number is known. A number below zero is a miscount; it hides no
    /// other work.
    pub fn add_count(&mut self, kind: WorkKind, owner: Generation, count: i64) {
        self.tallies.push(Tally { kind, owner, count });
    }

    /// Everything that is listed, whether it counts or not.
    pub fn work(&self) -> &[Work] {
        &self.work
    }

    /// The pieces of work that stand in the way of a restart of `generation`.
    pub fn blocking(&self, generation: Generation, policy: RestartPolicy) -> impl Iterator<Item = &Work> {
        self.work.iter().filter(move |work| {
            is_of(work.owner, generation, policy)
                && is_counted(work.kind, policy)
                && match work.status {
                    WorkStatus::Queued => work.kind.counts_while_queued(policy.task_records),
                    WorkStatus::Running => true,
                    WorkStatus::Ended => false,
                }
        })
    }

    /// How much work of a kind stands in the way of a restart of `generation`, listed or only counted.
    pub fn count(&self, kind: WorkKind, generation: Generation, policy: RestartPolicy) -> u64 {
        let listed = self.blocking(generation, policy).filter(|work| work.kind == kind).count() as u64;
        listed + self.uncounted(kind, generation, policy)
    }

    /// How much of it is not listed.
    pub(super) fn uncounted(&self, kind: WorkKind, generation: Generation, policy: RestartPolicy) -> u64 {
        let tallies = self.tallies.iter().filter(|tally| {
            tally.kind == kind && is_of(tally.owner, generation, policy) && is_counted(kind, policy)
        });
        tallies.map(|tally| u64::try_from(tally.count).unwrap_or(0)).fold(0, u64::saturating_add)
    }

    /// Whether nothing stands in the way.
    pub fn is_idle(&self, generation: Generation, policy: RestartPolicy) -> bool {
        self.blocking(generation, policy).next().is_none()
            && WorkKind::ALL.iter().all(|kind| self.uncounted(*kind, generation, policy) == 0)
    }
}

fn is_of(owner: Generation, generation: Generation, policy: RestartPolicy) -> bool {
    owner == generation || policy.old_work == OldWork::Counted
}

fn is_counted(kind: WorkKind, policy: RestartPolicy) -> bool {
    kind != WorkKind::Task || policy.task_records != TaskRecords::NotCounted
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Generation = Generation(2);

    fn blocks(kind: WorkKind, status: WorkStatus, owner: Generation, policy: RestartPolicy) -> bool {
        let mut inventory = Inventory::new();
        inventory.add(Work::new(kind, "w", owner, status));
        assert_eq!(inventory.is_idle(NOW, policy), inventory.count(kind, NOW, policy) == 0);
        !inventory.is_idle(NOW, policy)
    }

    #[test]
    fn what_runs_blocks_and_what_ended_does_not() {
        let policy = RestartPolicy::default();
        for kind in WorkKind::ALL {
            assert!(blocks(kind, WorkStatus::Running, NOW, policy), "{kind:?}");
            assert!(!blocks(kind, WorkStatus::Ended, NOW, policy), "{kind:?}");
        }
    }

    #[test]
    fn what_waits_in_a_lane_blocks_and_a_record_that_waits_does_not() {
        let policy = RestartPolicy::default();
        let blocking =
            WorkKind::ALL.into_iter().filter(|kind| blocks(*kind, WorkStatus::Queued, NOW, policy));
        assert_eq!(blocking.collect::<Vec<_>>(), [WorkKind::Queue, WorkKind::Reply]);

        let before = RestartPolicy { task_records: TaskRecords::QueuedToo, ..policy };
        assert!(blocks(WorkKind::Task, WorkStatus::Queued, NOW, before));
        let none = RestartPolicy { task_records: TaskRecords::NotCounted, ..policy };
        assert!(!blocks(WorkKind::Task, WorkStatus::Running, NOW, none));
    }

    #[test]
    fn what_another_generation_left_behind_is_nobodys() {
        let policy = RestartPolicy::default();
        let before = RestartPolicy { old_work: OldWork::Counted, ..policy };
        for kind in WorkKind::ALL {
            assert!(!blocks(kind, WorkStatus::Running, Generation(1), policy), "{kind:?}");
            assert!(blocks(kind, WorkStatus::Running, Generation(1), before), "{kind:?}");
        }
    }

    #[test]
    fn a_miscount_hides_nothing() {
        let policy = RestartPolicy::default();
        let mut inventory = Inventory::new();
        inventory.add_count(WorkKind::Reply, NOW, -3);
        assert!(inventory.is_idle(NOW, policy));
        inventory.add_count(WorkKind::Reply, NOW, 2);
        inventory.add_count(WorkKind::Queue, NOW, i64::MIN);
        assert_eq!(inventory.count(WorkKind::Reply, NOW, policy), 2);
        assert_eq!(inventory.count(WorkKind::Queue, NOW, policy), 0);
        assert!(!inventory.is_idle(NOW, policy));
    }

    #[test]
    fn a_record_with_an_end_has_ended_whatever_it_says() {
        assert_eq!(RecordStatus::Running.with_end(true), WorkStatus::Ended);
        assert_eq!(RecordStatus::Running.with_end(false), WorkStatus::Running);
        assert_eq!(RecordStatus::Queued.with_end(false), WorkStatus::Queued);
        assert_eq!(RecordStatus::Over.with_end(false), WorkStatus::Ended);
    }
}
