//! Lanes: first-in first-out queues, with at most one run at a time in each. A conversation has one; in history it
//! had several.
//!
//! A lane knows order and interruption, nothing of what a run does: the work is a function given at start.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;

use tokio::sync::{Notify, oneshot};

use crate::env::Env;
use crate::policy::LaneState;

/// Why a run must stop before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interruption {
    /// Its sender asked for it: final, never resumed.
    ByUser,
    /// The gateway ends and the drain's budget is used up.
    ByShutdown,
}

/// What a lane was asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The run had not started; it is out of its lane.
    Queued(String),
    /// The run was at work and is being told.
    Running(String),
}

#[derive(Default)]
struct Lane {
    queue: VecDeque<String>,
    running: Option<Running>,
}

impl Lane {
    /// Stops one run, or all of them when `run_id` is `None`.
    fn stop(&mut self, run_id: Option<&str>, why: Interruption) -> Vec<Stopped> {
        let wanted = |id: &str| run_id.is_none_or(|run_id| run_id == id);
        let mut stopped = Vec::new();
        if let Some(running) = &mut self.running
            && wanted(&running.run_id)
            && let Some(interrupt) = running.interrupt.take()
        {
            // A worker that no longer listens has just finished the run.
            if interrupt.send(why).is_ok() {
                stopped.push(Stopped::Running(running.run_id.clone()));
            }
        }
        let (taken, kept): (VecDeque<String>, _) = self.queue.drain(..).partition(|id| wanted(id));
        self.queue = kept;
        stopped.extend(taken.into_iter().map(Stopped::Queued));
        stopped
    }
}

struct Running {
    run_id: String,
    interrupt: Option<oneshot::Sender<Interruption>>,
}

/// A conversation and the number of its lane.
type LaneName = (String, u64);

/// What is queued and what is at work, lane by lane. A lane in it is one that somebody works on.
#[derive(Default)]
pub(crate) struct LaneBook {
    lanes: RefCell<BTreeMap<LaneName, Lane>>,
    idle: Notify,
}

/// All lanes of the gateway.
#[derive(Clone)]
pub(crate) struct Lanes {
    env: Env,
    book: Rc<LaneBook>,
}

impl Lanes {
    /// Lanes that are empty; or, in history, as an earlier generation of this process left them in `of_process`, with
    /// runs at work on which nobody works any more (openclaw/openclaw#15177).
    pub(crate) fn new(env: Env, policy: LaneState, of_process: &Rc<LaneBook>) -> Self {
        let book = match policy {
            LaneState::Fresh => Rc::default(),
            LaneState::SurvivesRestart => of_process.clone(),
        };
        Self { env, book }
    }

    /// Queues a run in its conversation's lane of that number; `work` is called with its id when its turn comes, and with a receiver that fires when it
    /// must stop early.
    pub(crate) fn enqueue<W, F>(&self, session_key: &str, lane: u64, run_id: &str, work: W)
    where
        W: Fn(String, oneshot::Receiver<Interruption>) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        let name = (session_key.to_string(), lane);
        let start_worker = {
            let mut lanes = self.book.lanes.borrow_mut();
            let is_new = !lanes.contains_key(&name);
            lanes.entry(name.clone()).or_default().queue.push_back(run_id.to_string());
            is_new
        };
        if start_worker {
            let lanes = self.clone();
            drop(self.env.spawn("lane", async move {
                while let Some((run_id, interrupted)) = lanes.next(&name) {
                    work(run_id, interrupted).await;
                }
            }));
        }
    }

    /// The lane's next run; an empty lane ceases to exist.
    fn next(&self, name: &LaneName) -> Option<(String, oneshot::Receiver<Interruption>)> {
        let mut lanes = self.book.lanes.borrow_mut();
        let lane = lanes.get_mut(name)?;
        let Some(run_id) = lane.queue.pop_front() else {
            lanes.remove(name);
            if lanes.is_empty() {
                self.book.idle.notify_waiters();
            }
            return None;
        };
        let (interrupt, interrupted) = oneshot::channel();
        lane.running = Some(Running { run_id: run_id.clone(), interrupt: Some(interrupt) });
        Some((run_id, interrupted))
    }

    /// Stops one run of a conversation, or all of them when `run_id` is `None`.
    pub(crate) fn stop(&self, session_key: &str, run_id: Option<&str>, why: Interruption) -> Vec<Stopped> {
        let mut lanes = self.book.lanes.borrow_mut();
        let of_conversation = (session_key.to_string(), 0)..=(session_key.to_string(), u64::MAX);
        let stop = |(_, lane): (_, &mut Lane)| lane.stop(run_id, why);
        lanes.range_mut(of_conversation).flat_map(stop).collect()
    }

    /// Stops everything in every lane.
    pub(crate) fn stop_all(&self, why: Interruption) -> Vec<Stopped> {
        self.book.lanes.borrow_mut().values_mut().flat_map(|lane| lane.stop(None, why)).collect()
    }

    /// The runs that are at work.
    pub(crate) fn running(&self) -> Vec<String> {
        let lanes = self.book.lanes.borrow();
        lanes.values().filter_map(|lane| Some(lane.running.as_ref()?.run_id.clone())).collect()
    }

    /// How many runs are queued or at work.
    pub(crate) fn depth(&self) -> usize {
        let lanes = self.book.lanes.borrow();
        lanes.values().map(|lane| lane.queue.len() + usize::from(lane.running.is_some())).sum()
    }

    /// Resolves when no run is queued or at work.
    pub(crate) async fn idle(&self) {
        loop {
            let became_idle = self.book.idle.notified();
            if self.book.lanes.borrow().is_empty() {
                return;
            }
            became_idle.await;
        }
    }
}
