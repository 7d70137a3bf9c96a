//! Lanes: one first-in first-out queue per conversation, with at most one run at a time in each.
//!
//! A lane knows order and interruption, nothing of what a run does: the work is a function given at start.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;

use tokio::sync::{Notify, oneshot};

use crate::env::Env;

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

struct Running {
    run_id: String,
    interrupt: Option<oneshot::Sender<Interruption>>,
}

/// All lanes of the gateway.
#[derive(Clone)]
pub(crate) struct Lanes(Rc<Inner>);

struct Inner {
    env: Env,
    lanes: RefCell<BTreeMap<String, Lane>>,
    idle: Notify,
}

impl Lanes {
    pub(crate) fn new(env: Env) -> Self {
        Self(Rc::new(Inner { env, lanes: RefCell::default(), idle: Notify::new() }))
    }

    /// Queues a run; `work` is called with its id when its turn comes, and with a receiver that fires when it
    /// must stop early.
    pub(crate) fn enqueue<W, F>(&self, session_key: &str, run_id: &str, work: W)
    where
        W: Fn(String, oneshot::Receiver<Interruption>) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        let start_worker = {
            let mut lanes = self.0.lanes.borrow_mut();
            let is_new = !lanes.contains_key(session_key);
            lanes.entry(session_key.to_string()).or_default().queue.push_back(run_id.to_string());
            is_new
        };
        if start_worker {
            let lanes = self.clone();
            let session_key = session_key.to_string();
            drop(self.0.env.spawn("lane", async move {
                while let Some((run_id, interrupted)) = lanes.next(&session_key) {
                    work(run_id, interrupted).await;
                }
            }));
        }
    }

    /// The lane's next run; an empty lane ceases to exist.
    fn next(&self, session_key: &str) -> Option<(String, oneshot::Receiver<Interruption>)> {
        let mut lanes = self.0.lanes.borrow_mut();
        let lane = lanes.get_mut(session_key)?;
        let Some(run_id) = lane.queue.pop_front() else {
            lanes.remove(session_key);
            if lanes.is_empty() {
                self.0.idle.notify_waiters();
            }
            return None;
        };
        let (interrupt, interrupted) = oneshot::channel();
        lane.running = Some(Running { run_id: run_id.clone(), interrupt: Some(interrupt) });
        Some((run_id, interrupted))
    }

    /// Stops one run of a conversation, or all of them when `run_id` is `None`.
    pub(crate) fn stop(&self, session_key: &str, run_id: Option<&str>, why: Interruption) -> Vec<Stopped> {
        let mut lanes = self.0.lanes.borrow_mut();
        let Some(lane) = lanes.get_mut(session_key) else { return Vec::new() };
        let wanted = |id: &str| run_id.is_none_or(|run_id| run_id == id);
        let mut stopped = Vec::new();
        if let Some(running) = &mut lane.running
            && wanted(&running.run_id)
            && let Some(interrupt) = running.interrupt.take()
        {
            // A worker that no longer listens has just finished the run.
            if interrupt.send(why).is_ok() {
                stopped.push(Stopped::Running(running.run_id.clone()));
            }
        }
        let (taken, kept): (VecDeque<String>, _) = lane.queue.drain(..).partition(|id| wanted(id));
        lane.queue = kept;
        stopped.extend(taken.into_iter().map(Stopped::Queued));
        stopped
    }

    /// Stops everything in every lane.
    pub(crate) fn stop_all(&self, why: Interruption) -> Vec<Stopped> {
        let keys: Vec<String> = self.0.lanes.borrow().keys().cloned().collect();
        keys.iter().flat_map(|key| self.stop(key, None, why)).collect()
    }

    /// How many runs are queued or at work.
    pub(crate) fn depth(&self) -> usize {
        let lanes = self.0.lanes.borrow();
        lanes.values().map(|lane| lane.queue.len() + usize::from(lane.running.is_some())).sum()
    }

    /// Resolves when no run is queued or at work.
    pub(crate) async fn idle(&self) {
        loop {
            let became_idle = self.0.idle.notified();
            if self.0.lanes.borrow().is_empty() {
                return;
            }
            became_idle.await;
        }
    }
}
