//! The coordinator of restarts in a process: what it is shown, what is done for it, and who hears of it.
//!
//! A thin layer of time, files and clients around [`restart`](super::restart), where everything is decided. It belongs
//! to the process, since requests outlive a generation that restarts in place; the present generation is behind a weak
//! handle. What must outlive the process stands in `restart-ledger.json`, written before anybody is answered.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::phase::{self, Phase};
use super::requests::{Change, Forced, Requests};
use super::restart::{
    Action, Admission, Coordinator, DrainTerms, Ending, ExternalSignal, Generation, Heard, Inventory, Ledger,
    Manner, Mode, Moment, Order, Outcome, Preflight, Reason, Refusal, Request, RequestId, RequestResult,
    RestartPolicy, Settings, Source, State, Status, Work, WorkKind, WorkStatus,
};
use super::task_records;
use crate::agents::subagents;
use crate::channels::webchat::{ChatState, publish};
use crate::config::{Config, SignalMode};
use crate::cron;
use crate::gateway::Gateway;
use crate::policy::RestartSentinel;
use crate::sessions::{LOCK_DEADLINE, Role, StateError, StateFiles};
use crate::wire;

/// How often it is looked whether work in hand is over, besides when the lanes say so (OpenClaw: 500 ms).
const POLL: Duration = Duration::from_millis(500);
/// How many outcomes `gateway.restart.status` still knows.
const REMEMBERED: usize = 32;
/// When a notice that could not be recorded is tried again.
const NOTICE_RETRY: Duration = Duration::from_secs(5);

/// The restarts of this process.
#[derive(Clone)]
pub(crate) struct Restarts(Rc<Inner>);

struct Inner {
    began: Instant,
    /// Present once the first generation has the state directory.
    coordinator: RefCell<Option<Coordinator>>,
    gateway: RefCell<Weak<Gateway>>,
    changed: Notify,
    /// The present generation follows a restart.
    came_back: Cell<bool>,
    /// An order that nobody has taken yet.
    order: Cell<Option<Order>>,
    drain: Cell<Option<DrainTerms>>,
    hurried: Notify,
    /// What stands in the file; `None`: there is none.
    written: RefCell<Option<Ledger>>,
    /// What came of the latest requests, the oldest first.
    ended: RefCell<VecDeque<Outcome>>,
    /// The requests whose outcome is on its way into a transcript.
    being_told: RefCell<Vec<RequestId>>,
    /// Where clients were told last that the coordinator stands.
    said: Cell<Option<State>>,
}

fn settings(config: &Config) -> Settings {
    let settings = Settings { external_signals: config.commands.restart, ..Settings::default() };
    settings.with_deferral_timeout_ms(config.gateway.reload.deferral_timeout_ms)
}

/// The policy of restarts. Whoever sends a signal has decided, unless it is configured that he only asks.
fn policy(gateway: &Gateway) -> RestartPolicy {
    let policy = gateway.policies.restart();
    match gateway.config.gateway.reload.signal {
        SignalMode::Drain => RestartPolicy { external_signal: ExternalSignal::DrainsAtOnce, ..policy },
        SignalMode::Ask => policy,
    }
}

fn file(config: &Config) -> PathBuf {
    config.gateway.state_dir.join("restart-ledger.json")
}

impl Restarts {
    pub(crate) fn of_process() -> Self {
        Self(Rc::new(Inner {
            began: Instant::now(),
            coordinator: RefCell::default(),
            gateway: RefCell::default(),
            came_back: Cell::default(),
            changed: Notify::new(),
            order: Cell::default(),
            drain: Cell::default(),
            hurried: Notify::new(),
            written: RefCell::default(),
            ended: RefCell::default(),
            being_told: RefCell::default(),
            said: Cell::default(),
        }))
    }

    /// A generation has the state directory. The first one of a process reads what the last process left open.
    pub(crate) fn begin(&self, gateway: &Rc<Gateway>) {
        let inner = &self.0;
        *inner.gateway.borrow_mut() = Rc::downgrade(gateway);
        inner.order.set(None);
        inner.drain.set(None);
        inner.said.set(None);
        // Whoever was telling them has ended with its generation.
        inner.being_told.borrow_mut().clear();
        let settings = settings(&gateway.config);
        let mut coordinator = inner.coordinator.borrow_mut();
        match &mut *coordinator {
            Some(coordinator) => {
                inner.came_back.set(true);
                coordinator.generation_began();
                coordinator.reconfigure(settings);
            }
            None => {
                let ledger = read(&files(gateway), &gateway.config);
                *inner.written.borrow_mut() = ledger.clone();
                let ledger = ledger.unwrap_or_default();
                inner.came_back.set(!ledger.open.is_empty());
                *coordinator = Some(Coordinator::new(policy(gateway), settings, ledger));
            }
        }
    }

    /// The generation serves.
    pub(crate) fn up(&self) {
        self.with(|coordinator, now, inventory| (coordinator.server_up(now, inventory), ()));
    }

    /// The number of the present generation, as far as restarts are counted.
    pub(crate) fn generation(&self) -> u64 {
        self.0.coordinator.borrow().as_ref().map_or(0, |coordinator| coordinator.generation().0)
    }

    /// Whether this generation follows one that was asked to restart, and not by a signal from outside alone.
    pub(crate) fn came_back(&self) -> bool {
        self.0.came_back.get()
    }

    /// Whether new work is admitted.
    pub(crate) fn admits(&self) -> bool {
        let coordinator = self.0.coordinator.borrow();
        let admission = coordinator.as_ref().map(|coordinator| coordinator.admission(self.now()));
        !matches!(admission, Some(Admission::HeldOffFor(_)))
    }

    /// The next order to restart. Safe to drop.
    pub(crate) async fn order(&self) -> Order {
        loop {
            let changed = self.0.changed.notified();
            self.show(|coordinator, now, inventory| (coordinator.wake(now, inventory), ()));
            if let Some(order) = self.0.order.get() {
                return order;
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = self.time_to_look() => {}
            }
        }
    }

    async fn time_to_look(&self) {
        let looked = self.0.coordinator.borrow().as_ref().map(|coordinator| {
            let waits = matches!(coordinator.state(self.now()), State::Deferred | State::HoldingOff);
            (waits, coordinator.next_wake())
        });
        let Some((waits, next)) = looked else { return std::future::pending().await };
        let at = next.and_then(|moment| self.instant(moment));
        let gateway = self.0.gateway.borrow().upgrade();
        match (at, gateway) {
            (at, Some(gateway)) if waits => {
                let poll = Instant::now() + POLL;
                let at = at.map_or(poll, |at| at.min(poll));
                tokio::select! {
                    biased;
                    // Who is idle already waits for something that the lanes do not know.
                    () = gateway.lanes.idle(), if gateway.lanes.depth() > 0 => {}
                    () = sleep_until(at) => {}
                }
            }
            (Some(at), _) => sleep_until(at).await,
            (None, _) => std::future::pending().await,
        }
    }

    /// Takes an order: the drain begins. `false` when it is not in force any more.
    pub(crate) fn take(&self, order: Order) -> bool {
        self.0.order.set(None);
        let terms = self.with(|coordinator, now, _| (None, coordinator.drain_began(now, order.token).ok()));
        self.0.drain.set(terms.flatten());
        self.0.drain.get().is_some()
    }

    /// A restart signal has arrived. Returns whether the drain begins.
    pub(crate) fn signal(&self) -> bool {
        let heard = self.with(|coordinator, now, inventory| {
            let decision = coordinator.signal(now, inventory);
            (decision.action, decision.heard)
        });
        match heard {
            Some(Heard::Own(terms)) => {
                self.0.drain.set(Some(terms));
                true
            }
            // Nobody is there yet who could keep it from restarting.
            None => true,
            Some(Heard::Asked(decision)) => {
                self.log(&Request::new(Source::Signal, Mode::Plain), decision.status);
                false
            }
            Some(Heard::Ignored(why)) => {
                tracing::warn!(name: "restart.refused", source = %Source::Signal, %why, "a signal is not followed");
                false
            }
        }
    }

    /// When the drain of a restart must be over, by the terms of the coordinator. One that a signal began has no
    /// other limit than its own.
    pub(crate) fn drain_deadline(&self) -> Option<Instant> {
        let terms = self.0.drain.get().filter(|terms| terms.manner != Manner::Direct)?;
        self.instant(terms.deadline?)
    }

    /// Resolves when the drain that is under way must be over earlier than it was told.
    pub(crate) async fn hurried(&self) {
        self.0.hurried.notified().await;
    }

    /// The process stops: nobody who waits for a restart will have one.
    pub(crate) fn stopping(&self) {
        self.with(|coordinator, _, _| {
            coordinator.stop_requested();
            (None, ())
        });
    }

    /// Somebody asks for a restart.
    ///
    /// Errors: there will be none.
    pub(crate) fn request(&self, request: Request) -> Result<RequestResult, Refusal> {
        let (for_log, reason) = (request.clone(), request.reason.clone());
        let gateway = self.0.gateway.borrow().upgrade().ok_or(Refusal::Stopping)?;
        if !gateway.config.commands.restart && !matches!(request.source, Source::ConfigWatcher { .. }) {
            tracing::warn!(name: "restart.refused", source = %request.source, why = %Refusal::SignalsOff, "no restart");
            return Err(Refusal::SignalsOff);
        }
        let answer = self.with(|coordinator, now, inventory| {
            let decision = coordinator.request(now, request, inventory);
            let preflight = Preflight::of(inventory, coordinator.generation(), policy(&gateway));
            (decision.action, (decision, now, preflight))
        });
        let (decision, now, preflight) = answer.ok_or(Refusal::Stopping)?;
        self.log(&for_log, decision.status);
        RequestResult::of(&decision, now, preflight, reason, gateway.env.process().pid())
    }

    /// The edit that asked for a restart was taken back.
    pub(crate) fn edit_reverted(&self) {
        self.with(|coordinator, _, _| (None, coordinator.edit_reverted()));
    }

    /// What a restart now would interrupt.
    pub(crate) fn preflight(&self) -> Option<Preflight> {
        let gateway = self.0.gateway.borrow().upgrade()?;
        self.with(|coordinator, _, inventory| {
            (None, Preflight::of(inventory, coordinator.generation(), policy(&gateway)))
        })
    }

    /// Where the coordinator stands, and what came of the latest requests.
    pub(crate) fn status(&self) -> Value {
        let preflight = self.preflight();
        let coordinator = self.0.coordinator.borrow();
        let Some(coordinator) = &*coordinator else { return json!({"state": State::Starting}) };
        let mut status = json!(coordinator.standing(self.now()));
        let outcomes: Vec<_> = self.0.ended.borrow().iter().map(described).collect();
        status["generation"] = json!(coordinator.generation());
        status["preflight"] = json!(preflight);
        status["outcomes"] = json!(outcomes);
        status
    }
}

/// What everything goes through.
impl Restarts {
    /// The present moment, as the coordinator counts it.
    pub(crate) fn now(&self) -> Moment {
        Moment::after_start(self.0.began.elapsed())
    }

    fn instant(&self, moment: Moment) -> Option<Instant> {
        self.0.began.checked_add(moment.since(Moment::default()))
    }

    /// As [`Restarts::show`], and lets whoever waits for an order look again.
    fn with<T>(
        &self,
        show: impl FnOnce(&mut Coordinator, Moment, &Inventory) -> (Option<Action>, T),
    ) -> Option<T> {
        let said = self.show(show);
        self.0.changed.notify_waiters();
        said
    }

    /// Shows the coordinator something, and does what it says. `None` before there is one.
    fn show<T>(
        &self,
        show: impl FnOnce(&mut Coordinator, Moment, &Inventory) -> (Option<Action>, T),
    ) -> Option<T> {
        let gateway = self.0.gateway.borrow().upgrade();
        let (action, said) = {
            let mut coordinator = self.0.coordinator.borrow_mut();
            let coordinator = coordinator.as_mut()?;
            let generation = coordinator.generation();
            let inventory =
                gateway.as_ref().map_or_else(Inventory::new, |gateway| inventory(gateway, generation));
            show(coordinator, self.now(), &inventory)
        };
        if let Some(gateway) = &gateway {
            self.write(gateway);
            self.tell(gateway);
            self.say(gateway);
        }
        match action {
            Some(Action::Restart(order)) => {
                let (token, mode) = (order.token, json!(order.manner));
                let mode = mode.as_str().unwrap_or_default();
                tracing::info!(name: "restart.ordered", %token, mode, "the gateway restarts");
                self.0.order.set(Some(order));
            }
            Some(Action::ShortenDrain { deadline }) => {
                let terms = self.0.drain.get();
                self.0.drain.set(terms.map(|terms| DrainTerms {
                    deadline: Some(deadline),
                    manner: Manner::Forced,
                    ..terms
                }));
                self.0.hurried.notify_waiters();
            }
            None => {}
        }
        Some(said)
    }

    /// Writes down what must outlive this process. A disk that refuses is tried again with the next change: it must not
    /// keep anybody from a restart that may mend it.
    fn write(&self, gateway: &Gateway) {
        let Some(ledger) = self.0.coordinator.borrow().as_ref().map(Coordinator::ledger) else { return };
        // Nobody can be told what came of a signal.
        let open: Vec<_> = ledger.open.into_iter().filter(|open| open.source != Source::Signal).collect();
        let untold: Vec<_> =
            ledger.untold.into_iter().filter(|outcome| outcome.of.source != Source::Signal).collect();
        let ledger = Ledger { open, untold, ..ledger };
        let is_new = match &*self.0.written.borrow() {
            None => !ledger.open.is_empty() || !ledger.untold.is_empty(),
            Some(written) => (&written.open, &written.untold) != (&ledger.open, &ledger.untold),
        };
        if !is_new {
            return;
        }
        let bytes = serde_json::to_vec(&ledger).expect("a ledger is a plain value");
        match files(gateway).replace(&file(&gateway.config), &bytes) {
            Ok(()) => *self.0.written.borrow_mut() = Some(ledger),
            Err(error) => {
                tracing::error!(name: "restart.ledger-not-written", %error, "the next life may not know who asked for it");
            }
        }
    }

    /// Tells everybody what came of their requests.
    fn tell(&self, gateway: &Rc<Gateway>) {
        let untold = match &*self.0.coordinator.borrow() {
            Some(coordinator) => coordinator.untold().to_vec(),
            None => return,
        };
        for outcome in untold {
            let request = outcome.of.request;
            if self.0.being_told.borrow().contains(&request) {
                continue;
            }
            let is_silent = outcome.of.source == Source::Signal
                && gateway.config.gateway.reload.signal == SignalMode::Drain;
            if !is_silent {
                announce(gateway, &outcome);
                let mut ended = self.0.ended.borrow_mut();
                ended.push_back(outcome.clone());
                let surplus = ended.len().saturating_sub(REMEMBERED);
                ended.drain(..surplus);
            }
            match outcome.of.notice {
                None => self.told(gateway, request),
                Some(_) => {
                    self.0.being_told.borrow_mut().push(request);
                    if gateway.policies.restart_sentinel == RestartSentinel::DeletedFirst {
                        self.forget(gateway, request);
                    }
                    let telling = record_notice(self.clone(), gateway.clone(), outcome);
                    drop(gateway.env.spawn("restart notice", telling));
                }
            }
        }
    }

    fn told(&self, gateway: &Gateway, request: RequestId) {
        self.0.being_told.borrow_mut().retain(|other| *other != request);
        self.forget(gateway, request);
    }

    /// Nobody is owed anything for a request any more.
    fn forget(&self, gateway: &Gateway, request: RequestId) {
        if let Some(coordinator) = &mut *self.0.coordinator.borrow_mut() {
            coordinator.told(request);
        }
        self.write(gateway);
    }

    /// Tells clients where a restart stands, when that has changed.
    fn say(&self, gateway: &Gateway) {
        let standing = match &*self.0.coordinator.borrow() {
            Some(coordinator) => coordinator.standing(self.now()),
            None => return,
        };
        let by_signal_alone = standing.requests.iter().all(|request| request.source == Source::Signal);
        let before = self.0.said.replace(Some(standing.state));
        let is_news = match standing.state {
            State::Starting | State::Idle | State::Stopping => false,
            State::Draining if by_signal_alone => false,
            state => before != Some(state),
        };
        if is_news {
            let mut payload = json!(standing);
            payload["status"] = payload["state"].take();
            payload.as_object_mut().expect("it is one").remove("state");
            payload["deadline"] =
                json!(standing.limit_in_ms.map(|ms| gateway.env.wall_clock().epoch_ms() + ms));
            gateway.peers.broadcast(wire::event("restart", payload));
        }
    }

    fn log(&self, request: &Request, status: Status) {
        let source = &request.source;
        let reason = request.reason.as_ref().map_or("", Reason::as_str);
        let mode = match request.mode {
            Mode::Plain => "plain",
            Mode::Safe => "safe",
            Mode::Force => "force",
            Mode::Wait(_) => "wait",
        };
        tracing::info!(name: "restart.requested", %source, reason, mode, "somebody asks for a restart");
        match status {
            Status::Scheduled { .. } => {}
            Status::Deferred { limit, .. } => {
                let deadline_ms = limit.map(|limit| limit.since(self.now()).as_millis() as u64);
                let blockers = self.preflight().map(|preflight| preflight.summary).unwrap_or_default();
                tracing::info!(name: "restart.deferred", deadline_ms, blockers, "it waits for work in hand");
            }
            Status::Coalesced { onto, .. } => {
                tracing::info!(name: "restart.coalesced", into = %onto, "it joins another request");
            }
            Status::Refused(why) => {
                tracing::warn!(name: "restart.refused", %source, %why, "there will be no restart for it");
            }
        }
    }
}

/// Serves until the process is to end, by a signal or by order of the coordinator of restarts.
pub(crate) async fn until_asked(gateway: &Rc<Gateway>, requests: &mut Requests) -> Result<(), Forced> {
    gateway.restarts.up();
    loop {
        let restarts = gateway.restarts.clone();
        match requests.unless_changed(Phase::Serving, restarts.order()).await {
            Ok(order) if restarts.take(order) => {
                requests.ordered();
                return Ok(());
            }
            Ok(_stale) => {}
            Err(Change::Forced) => return Err(Forced),
            Err(Change::Asked(phase::Ending::Stop)) => return Ok(()),
            Err(Change::Asked(phase::Ending::Restart)) if restarts.signal() => return Ok(()),
            // It goes on serving for the time being.
            Err(Change::Asked(phase::Ending::Restart)) => requests.done(),
        }
    }
}

fn files(gateway: &Gateway) -> StateFiles {
    StateFiles::new(gateway.env.clone(), gateway.policies.state_write)
}

/// What the last life left; `None` when it left nothing. What does not parse was left by nobody of ours.
fn read(files: &StateFiles, config: &Config) -> Option<Ledger> {
    let path = file(config);
    let read: Result<_, StateError> = files.read(&path);
    let bytes = read.unwrap_or_else(|error| {
        tracing::error!(name: "restart.ledger-not-read", %error, "who asked for this restart is not told");
        None
    })?;
    serde_json::from_slice(&bytes)
        .inspect_err(|error| {
            tracing::error!(name: "restart.ledger-not-read", %error, file = %path.display(), "who asked for this restart is not told");
        })
        .ok()
}

/// Everything that a restart of this generation would interrupt.
fn inventory(gateway: &Gateway, generation: Generation) -> Inventory {
    let mut inventory = Inventory::new();
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    inventory.add_count(WorkKind::Queue, generation, count(gateway.lanes.depth()));
    inventory.add_count(WorkKind::Reply, generation, count(gateway.waits.count()));
    for run_id in gateway.lanes.running() {
        let kind = match () {
            () if cron::is_run(&run_id) => WorkKind::CronRun,
            () if subagents::is_work(&run_id) => WorkKind::SubagentRun,
            () => WorkKind::EmbeddedRun,
        };
        inventory.add(Work::new(kind, run_id, generation, WorkStatus::Running));
    }
    let tasks = task_records::read(gateway.env.fs(), &gateway.config.gateway.state_dir);
    tasks.into_iter().for_each(|task| inventory.add(task));
    inventory
}

fn ending_name(ending: &Ending) -> &'static str {
    match ending {
        Ending::Done { .. } => "done",
        Ending::Merged { .. } => "merged",
        Ending::Refused { .. } => "refused",
        Ending::TimedOut { .. } => "timed-out",
    }
}

fn described(outcome: &Outcome) -> Value {
    let mut described = json!(outcome);
    described["status"] = json!(ending_name(&outcome.ending));
    described["message"] = json!(outcome.words());
    described
}

fn announce(gateway: &Gateway, outcome: &Outcome) {
    let (request, source) = (outcome.of.request, &outcome.of.source);
    let (name, words) = (ending_name(&outcome.ending), outcome.words());
    match &outcome.ending {
        Ending::TimedOut { waiting_for } => {
            tracing::warn!(name: "restart.timed-out", %request, %source, waiting_for, "given up");
        }
        Ending::Done { .. } => tracing::info!(name: "restart.done", %request, %source, "{words}"),
        Ending::Merged { .. } | Ending::Refused { .. } => {}
    }
    tracing::info!(name: "restart.outcome", %request, %source, outcome = name, "{words}");
    gateway.peers.broadcast(wire::event("restart", described(outcome)));
}

/// Writes into the conversation of whoever asked what came of it, however long that takes; whoever follows it hears it
/// at once. That is the conversation named in the request, whatever has happened to it since.
async fn record_notice(restarts: Restarts, gateway: Rc<Gateway>, outcome: Outcome) {
    let request = outcome.of.request;
    let Some(notice) = outcome.of.notice.clone() else { return };
    let run_id = format!("restart:{request}");
    let words = match &notice.text {
        Some(text) => format!("{} {text}", outcome.words()),
        None => outcome.words(),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let recorded = async {
            let transcript = gateway.sessions.open_transcript(&notice.session_key, LOCK_DEADLINE).await?;
            if transcript.outcome(&run_id)?.is_none() {
                transcript.append(Role::Notice, &words, &run_id, gateway.env.wall_clock())?;
                publish(&gateway.peers, &notice.session_key, &run_id, 0, &ChatState::Error(&words));
            }
            Ok::<(), StateError>(())
        };
        match recorded.await {
            Ok(()) => return restarts.told(&gateway, request),
            Err(error) => {
                let Some(pause) = next_try(gateway.policies.restart_sentinel, tries) else {
                    tracing::debug!(name: "restart.notice-lost", %request, %error, "nobody tries again");
                    return restarts.told(&gateway, request);
                };
                tracing::warn!(name: "restart.notice-not-recorded", %request, %error, "trying again");
                sleep(pause).await;
            }
        }
    }
}

/// How long it is waited before another try to tell a conversation, after so many; `None`: there is none.
fn next_try(policy: RestartSentinel, tries: u32) -> Option<Duration> {
    match policy {
        RestartSentinel::KeptUntilTold => Some(NOTICE_RETRY),
        RestartSentinel::FortyFiveTries => (tries < 45).then_some(Duration::from_secs(1)),
        RestartSentinel::DeletedFirst => None,
    }
}
