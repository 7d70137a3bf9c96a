//! Lanes: first-in first-out queues, with at most one turn at a time in each. A conversation has one; in history it
//! had several.
//!
//! What is a turn depends on how the lanes gather: one run, or whatever waits together when the lane comes free; and a
//! turn at work may take in what comes meanwhile. A lane knows order, patience and interruption, nothing of what a turn
//! does: the work is a function given at start.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::gathering::{Gathering, Waiting};
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
    queue: VecDeque<Waiting>,
    running: Option<Running>,
}

impl Lane {
    /// Stops one run, or all of them when `run_id` is `None`. What is at work together with the one begins again
    /// without it.
    fn stop(&mut self, run_id: Option<&str>, why: Interruption) -> Vec<Stopped> {
        let wanted = |waiting: &Waiting| run_id.is_none_or(|run_id| run_id == waiting.run_id);
        let mut stopped = Vec::new();
        let mut again = Vec::new();
        if let Some(running) = &mut self.running
            && running.turn.iter().any(wanted)
            && let Some(interrupt) = running.interrupt.take()
        {
            // A worker that no longer listens has just finished the turn.
            if interrupt.send(why).is_ok() {
                let (over, kept): (Vec<_>, Vec<_>) = running.turn.drain(..).partition(wanted);
                stopped.extend(over.into_iter().map(|waiting| Stopped::Running(waiting.run_id)));
                again = kept;
            }
        }
        let (taken, kept): (VecDeque<_>, _) = self.queue.drain(..).partition(wanted);
        self.queue = again.into_iter().chain(kept).collect();
        stopped.extend(taken.into_iter().map(|waiting| Stopped::Queued(waiting.run_id)));
        stopped
    }
}

struct Running {
    turn: Vec<Waiting>,
    interrupt: Option<oneshot::Sender<Interruption>>,
    /// How often it took in what came meanwhile.
    joins: u32,
}

/// A conversation and the number of its lane.
pub(crate) type LaneName = (String, u64);

/// One turn, as its worker gets it.
pub(crate) struct Turn {
    /// Its lane.
    pub(crate) lane: LaneName,
    /// The runs that it answers, at least one, in the order of acceptance.
    pub(crate) run_ids: Vec<String>,
    /// Fires when it must stop early.
    pub(crate) interrupted: oneshot::Receiver<Interruption>,
}

/// What is queued and what is at work, lane by lane. A lane in it is one that somebody works on.
#[derive(Default)]
pub(crate) struct LaneBook {
    lanes: RefCell<BTreeMap<LaneName, Lane>>,
    idle: Notify,
    /// Something was queued, or whoever waits has to look again.
    changed: Notify,
}

/// All lanes of the gateway.
#[derive(Clone)]
pub(crate) struct Lanes {
    env: Env,
    gathering: Rc<Gathering>,
    book: Rc<LaneBook>,
    /// Everything was stopped, and nothing begins any more.
    is_over: Rc<Cell<bool>>,
}

impl Lanes {
    /// Lanes that are empty; or, in history, as an earlier generation of this process left them in `of_process`, with
    /// runs at work on which nobody works any more (openclaw/openclaw#15177).
    pub(crate) fn new(env: Env, gathering: Gathering, policy: LaneState, of_process: &Rc<LaneBook>) -> Self {
        let book = match policy {
            LaneState::Fresh => Rc::default(),
            LaneState::SurvivesRestart => of_process.clone(),
        };
        Self { env, gathering: Rc::new(gathering), book, is_over: Rc::default() }
    }

    /// Queues a run in its conversation's lane of that number; `work` is called with each turn of that lane when its
    /// time comes.
    pub(crate) fn enqueue<W, F>(&self, session_key: &str, lane: u64, waiting: Waiting, work: W)
    where
        W: Fn(Turn) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        if self.is_over.get() {
            return;
        }
        let name = (session_key.to_string(), lane);
        let start_worker = {
            let mut lanes = self.book.lanes.borrow_mut();
            let is_new = !lanes.contains_key(&name);
            lanes.entry(name.clone()).or_default().queue.push_back(waiting);
            is_new
        };
        self.book.changed.notify_waiters();
        if start_worker {
            let lanes = self.clone();
            drop(self.env.spawn("lane", async move {
                while let Some(turn) = lanes.next(&name).await {
                    work(turn).await;
                }
            }));
        }
    }

    /// The lane's next turn, when the lane has been quiet for long enough; an empty lane ceases to exist.
    async fn next(&self, name: &LaneName) -> Option<Turn> {
        loop {
            let changed = self.book.changed.notified();
            let due = {
                let mut lanes = self.book.lanes.borrow_mut();
                let lane = lanes.get_mut(name)?;
                lane.running = None;
                if lane.queue.is_empty() {
                    lanes.remove(name);
                    if lanes.is_empty() {
                        self.book.idle.notify_waiters();
                    }
                    return None;
                }
                match self.gathering.due(lane.queue.make_contiguous()) {
                    Some(due) if due > Instant::now() => due,
                    _ => return Some(self.begin(name, lane)),
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(due) => {}
            }
        }
    }

    fn begin(&self, name: &LaneName, lane: &mut Lane) -> Turn {
        let count = self.gathering.turn(lane.queue.make_contiguous());
        let turn: Vec<Waiting> = lane.queue.drain(..count).collect();
        let run_ids = turn.iter().map(|waiting| waiting.run_id.clone()).collect();
        let (interrupt, interrupted) = oneshot::channel();
        lane.running = Some(Running { turn, interrupt: Some(interrupt), joins: 0 });
        Turn { lane: name.clone(), run_ids, interrupted }
    }

    /// Resolves with what joins the turn that is at work in a lane; never, where nothing does. Safe to drop.
    pub(crate) async fn joined(&self, name: &LaneName) -> Vec<String> {
        if !self.gathering.steers() {
            return std::future::pending().await;
        }
        loop {
            let changed = self.book.changed.notified();
            let joined = self.join(name);
            if !joined.is_empty() {
                return joined;
            }
            changed.await;
        }
    }

    fn join(&self, name: &LaneName) -> Vec<String> {
        let mut lanes = self.book.lanes.borrow_mut();
        let Some(Lane { queue, running: Some(running) }) = lanes.get_mut(name) else { return Vec::new() };
        let count = self.gathering.joining(&running.turn, running.joins, queue.make_contiguous());
        let joined: Vec<Waiting> = queue.drain(..count).collect();
        running.joins += u32::from(!joined.is_empty());
        let run_ids = joined.iter().map(|waiting| waiting.run_id.clone()).collect();
        running.turn.extend(joined);
        run_ids
    }

    /// Waits for nobody to be quiet any more: whatever is queued has its turn as soon as its lane is free.
    pub(crate) fn flush(&self) {
        self.gathering.flush();
        self.book.changed.notify_waiters();
    }

    /// Whether anything of a conversation is queued or at work.
    pub(crate) fn is_busy(&self, session_key: &str) -> bool {
        let of_conversation = (session_key.to_string(), 0)..=(session_key.to_string(), u64::MAX);
        self.book.lanes.borrow().range(of_conversation).next().is_some()
    }

    /// The runs of a conversation that have not begun, in their order.
    pub(crate) fn waiting(&self, session_key: &str) -> Vec<String> {
        let of_conversation = (session_key.to_string(), 0)..=(session_key.to_string(), u64::MAX);
        let lanes = self.book.lanes.borrow();
        let waiting = lanes.range(of_conversation).flat_map(|(_, lane)| &lane.queue);
        waiting.map(|waiting| waiting.run_id.clone()).collect()
    }

    /// Takes runs out of their lanes that have not begun.
    pub(crate) fn forget(&self, run_ids: &[String]) {
        for lane in self.book.lanes.borrow_mut().values_mut() {
            lane.queue.retain(|waiting| !run_ids.contains(&waiting.run_id));
        }
        self.book.changed.notify_waiters();
    }

    /// Stops one run of a conversation, or all of them when `run_id` is `None`.
    pub(crate) fn stop(&self, session_key: &str, run_id: Option<&str>, why: Interruption) -> Vec<Stopped> {
        let mut lanes = self.book.lanes.borrow_mut();
        let of_conversation = (session_key.to_string(), 0)..=(session_key.to_string(), u64::MAX);
        let stop = |(_, lane): (_, &mut Lane)| lane.stop(run_id, why);
        let stopped = lanes.range_mut(of_conversation).flat_map(stop).collect();
        self.book.changed.notify_waiters();
        stopped
    }

    /// Stops everything in every lane. What comes after that waits where it is recorded, for the next life: whoever is
    /// told of the end is told of it by now.
    pub(crate) fn stop_all(&self, why: Interruption) -> Vec<Stopped> {
        self.is_over.set(true);
        let stopped =
            self.book.lanes.borrow_mut().values_mut().flat_map(|lane| lane.stop(None, why)).collect();
        self.book.changed.notify_waiters();
        stopped
    }

    /// The runs that are at work.
    pub(crate) fn running(&self) -> Vec<String> {
        let lanes = self.book.lanes.borrow();
        let at_work = lanes.values().filter_map(|lane| lane.running.as_ref());
        at_work.flat_map(|running| running.turn.iter().map(|waiting| waiting.run_id.clone())).collect()
    }

    /// How many runs are queued or at work.
    pub(crate) fn depth(&self) -> usize {
        let lanes = self.book.lanes.borrow();
        let of =
            |lane: &Lane| lane.queue.len() + lane.running.as_ref().map_or(0, |running| running.turn.len());
        lanes.values().map(of).sum()
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
