//! The coordinator of restarts in a process: what it is shown, what is done for it, and who hears of it.
//!
//! A thin layer of time, files and clients around [`restart`](super::restart), where everything is decided. It belongs
//! to the process, since requests outlive a generation that restarts in place; the present generation is behind a weak
//! handle. What must outlive the process stands in `restart-ledger.json`, written before anybody is answered.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::phase::{self, Phase};
use super::requests::{Change, Forced, Requests};
use super::restart::{
    Action, Admission, Coordinator, Decision, DrainTerms, ExternalSignal, Heard, Inventory, Manner, Mode,
    Moment, Order, Outcome, Preflight, Reason, Refusal, Request, RequestId, RequestResult, RestartPause,
    RestartPolicy, Settings, Source, State, Status,
};
use super::work_in_hand;
use crate::config::{Config, ReloadConfig, SignalMode};
use crate::gateway::Gateway;
use crate::policy::{Reopening, RestartSentinel};
use crate::wire;

mod ledger_file;
mod outcomes;

use ledger_file::{Entry, LedgerFile, pause_left};
use outcomes::{announce, described, record_notice};

/// How often it is looked whether work in hand is over, besides when the lanes say so (OpenClaw: 500 ms).
const POLL: Duration = Duration::from_millis(500);

/// How often it is tried again to read what the last life left.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// The restarts of this process.
#[derive(Clone)]
pub(crate) struct Restarts(Rc<Inner>);

struct Inner {
    began: Instant,
    /// Present once the first generation has the state directory.
    coordinator: RefCell<Option<Coordinator>>,
    gateway: RefCell<Weak<Gateway>>,
    changed: Notify,
    /// The first generation of this process.
    first: Cell<u64>,
    /// The present generation follows a restart.
    came_back: Cell<bool>,
    /// An order that nobody has taken yet.
    order: Cell<Option<Order>>,
    drain: Cell<Option<DrainTerms>>,
    hurried: Notify,
    /// A restart signal arrived before the server was up.
    parked: Cell<bool>,
    /// What is configured about restarts by now.
    reload: RefCell<ReloadConfig>,
    file: LedgerFile,
    /// When a restart was ordered last, or was over, in milliseconds since the Unix epoch.
    ordered_at_ms: Cell<Option<u64>>,
    /// The requests whose outcome is on its way into a transcript.
    being_told: RefCell<Vec<RequestId>>,
    /// Where clients were told last that the coordinator stands.
    said: Cell<Option<State>>,
    /// Admission was closed and nobody will open it again: a planted defect.
    closed: Cell<bool>,
}

fn settings(policy: RestartPolicy, config: &Config, reload: &ReloadConfig) -> Settings {
    let settings = Settings { external_signals: config.commands.restart, ..Settings::default() };
    let settings = match policy.pause {
        RestartPause::AcrossProcesses | RestartPause::WithinProcess => settings,
        RestartPause::Forgotten => Settings { cooldown: Duration::ZERO, ..settings },
    };
    settings.with_deferral_timeout_ms(reload.deferral_timeout_ms)
}

impl Restarts {
    pub(crate) fn of_process() -> Self {
        Self(Rc::new(Inner {
            began: Instant::now(),
            coordinator: RefCell::default(),
            gateway: RefCell::default(),
            first: Cell::default(),
            came_back: Cell::default(),
            changed: Notify::new(),
            order: Cell::default(),
            drain: Cell::default(),
            hurried: Notify::new(),
            parked: Cell::default(),
            reload: RefCell::default(),
            file: LedgerFile::default(),
            ordered_at_ms: Cell::default(),
            being_told: RefCell::default(),
            said: Cell::default(),
            closed: Cell::default(),
        }))
    }

    /// A generation has the state directory. The first one of a process reads what the last process left open.
    pub(crate) fn begin(&self, gateway: &Rc<Gateway>) {
        let inner = &self.0;
        *inner.gateway.borrow_mut() = Rc::downgrade(gateway);
        inner.order.set(None);
        inner.drain.set(None);
        inner.said.set(None);
        inner.closed.set(false);
        // Whoever was telling them has ended with its generation.
        inner.being_told.borrow_mut().clear();
        // It was asked of an attempt to start that came to nothing, and this is another one.
        inner.parked.set(false);
        inner.reload.replace(gateway.config.gateway.reload.clone());
        let (policy, settings) = self.terms(gateway);
        let next = match inner.coordinator.take() {
            Some(mut coordinator) => {
                inner.came_back.set(true);
                coordinator.generation_began();
                coordinator.reconfigure(policy, settings);
                coordinator
            }
            None => {
                let Entry { ledger, ordered_at_ms } = inner.file.read(gateway);
                inner.came_back.set(!ledger.open.is_empty());
                inner.ordered_at_ms.set(ordered_at_ms);
                let left = pause_left(gateway, policy, settings, ordered_at_ms);
                let first = Coordinator::new(policy, settings, ledger).after_pause(self.now(), left);
                inner.first.set(first.generation().0);
                first
            }
        };
        inner.coordinator.replace(Some(next));
        self.write(gateway);
        if inner.file.is_unread() {
            drop(gateway.env.spawn("restart ledger", self.clone().read_at_last()));
        }
    }

    /// Until what the last life left can be read, and whoever waits for it is told.
    async fn read_at_last(self) {
        while self.0.file.is_unread() {
            sleep(READ_AGAIN).await;
            self.with(|_, _, _| (None, ()));
        }
    }

    /// What is configured about restarts is this from now on. Requests keep the limits that they were made under.
    pub(crate) fn reconfigure(&self, gateway: &Gateway, reload: &ReloadConfig) {
        self.0.reload.replace(reload.clone());
        let (policy, settings) = self.terms(gateway);
        if let Some(coordinator) = &mut *self.0.coordinator.borrow_mut() {
            coordinator.reconfigure(policy, settings);
        }
    }

    /// The policy of restarts and their limits. Whoever sends a signal has decided, unless it is configured that he
    /// only asks.
    fn terms(&self, gateway: &Gateway) -> (RestartPolicy, Settings) {
        let reload = self.0.reload.borrow();
        let policy = gateway.policies.restart();
        let policy = match reload.signal {
            SignalMode::Drain => RestartPolicy { external_signal: ExternalSignal::DrainsAtOnce, ..policy },
            SignalMode::Ask => policy,
        };
        (policy, settings(policy, &gateway.config, &reload))
    }

    /// The generation serves.
    pub(crate) fn up(&self) {
        if self.0.coordinator.borrow().as_ref().is_some_and(Coordinator::is_awaited) {
            // The pause begins anew, for the next process, too.
            self.note_order();
        }
        self.with(|coordinator, now, inventory| (coordinator.server_up(now, inventory), ()));
    }

    /// The number of the present generation.
    pub(crate) fn generation(&self) -> u64 {
        self.0.coordinator.borrow().as_ref().map_or(0, |coordinator| coordinator.generation().0)
    }

    /// Whether a generation is, or was, one of this process.
    pub(crate) fn is_of_this_process(&self, generation: u64) -> bool {
        generation >= self.0.first.get()
    }

    /// Whether this generation follows one that was asked to restart, and not by a signal from outside alone.
    pub(crate) fn came_back(&self) -> bool {
        self.0.came_back.get()
    }

    /// Whether new work is admitted. It is not from the moment that a restart is ordered, though whoever takes the
    /// order does so a little later: what came in between would be interrupted by a restart that waited for idleness.
    pub(crate) fn admits(&self) -> bool {
        let coordinator = self.0.coordinator.borrow();
        let admission = coordinator.as_ref().map(|coordinator| coordinator.admission(self.now()));
        matches!(admission, None | Some(Admission::Open)) && !self.0.closed.get()
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

    /// A restart signal has arrived before the server is up. It is followed when it is.
    pub(crate) fn park_signal(&self) {
        self.0.parked.set(true);
    }

    /// A restart signal has arrived. Returns whether the drain begins.
    pub(crate) fn signal(&self) -> bool {
        let heard = self.with(|coordinator, now, inventory| {
            let decision = coordinator.signal(now, inventory);
            if let Heard::Own(DrainTerms { manner: Manner::Direct, .. }) = decision.heard {
                self.note_order();
            }
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
                log_request(&Request::new(Source::Signal, Mode::Plain));
                self.log_decision(&Source::Signal, &decision);
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
        let (source, reason) = (request.source.clone(), request.reason.clone());
        let gateway = self.0.gateway.borrow().upgrade().ok_or(Refusal::Stopping)?;
        if !gateway.config.commands.restart && !matches!(request.source, Source::ConfigWatcher { .. }) {
            tracing::warn!(name: "restart.refused", source = %request.source, why = %Refusal::SwitchedOff, "no restart");
            return Err(Refusal::SwitchedOff);
        }
        log_request(&request);
        let policy = self.terms(&gateway).0;
        // What the gateway wants for itself it does whether it can be told of it or not.
        let is_owed = !matches!(request.source, Source::ConfigWatcher { .. });
        let answer = self.show_if(is_owed, |coordinator, now, inventory| {
            let decision = coordinator.request(now, request, inventory);
            let preflight = Preflight::of(inventory, coordinator.generation(), policy);
            let outcome = match decision.status {
                Status::Over => coordinator.outcomes().find(|outcome| outcome.of.request == decision.request),
                _ => None,
            };
            (decision.action, (decision, now, preflight, outcome.cloned()))
        });
        self.0.changed.notify_waiters();
        let (decision, now, preflight, outcome) = answer.ok_or(Refusal::Stopping)?.inspect_err(|why| {
            tracing::warn!(name: "restart.refused", %source, %why, "there will be no restart for it");
        })?;
        self.log_decision(&source, &decision);
        let result = RequestResult::of(&decision, now, preflight, reason, gateway.env.process().pid())?;
        Ok(RequestResult { outcome, ..result })
    }

    /// The edit that asked for a restart was taken back.
    pub(crate) fn edit_reverted(&self) {
        self.with(|coordinator, _, _| (None, coordinator.edit_reverted()));
    }

    /// What a restart now would interrupt.
    pub(crate) fn preflight(&self) -> Option<Preflight> {
        let gateway = self.0.gateway.borrow().upgrade()?;
        let policy = self.terms(&gateway).0;
        self.with(|coordinator, _, inventory| {
            (None, Preflight::of(inventory, coordinator.generation(), policy))
        })
    }

    /// Where the coordinator stands, and what came of the latest requests.
    pub(crate) fn status(&self) -> Value {
        let preflight = self.preflight();
        let coordinator = self.0.coordinator.borrow();
        let Some(coordinator) = &*coordinator else { return json!({"state": State::Starting}) };
        let mut status = json!(coordinator.standing(self.now()));
        let drains_on_signal = self.0.reload.borrow().signal == SignalMode::Drain;
        let has_requester = |outcome: &&Outcome| !(outcome.of.source == Source::Signal && drains_on_signal);
        let outcomes: Vec<_> = coordinator.outcomes().filter(has_requester).map(described).collect();
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
        self.show_if(false, show).and_then(Result::ok)
    }

    /// As [`Restarts::show`]. Where it `must_be_written` and cannot be, it is as if it had never been shown.
    fn show_if<T>(
        &self,
        must_be_written: bool,
        show: impl FnOnce(&mut Coordinator, Moment, &Inventory) -> (Option<Action>, T),
    ) -> Option<Result<T, Refusal>> {
        let gateway = self.0.gateway.borrow().upgrade();
        let before =
            must_be_written.then(|| (self.0.coordinator.borrow().clone(), self.0.ordered_at_ms.get()));
        let (action, said) = {
            let mut coordinator = self.0.coordinator.borrow_mut();
            let coordinator = coordinator.as_mut()?;
            let generation = coordinator.generation();
            let inventory = gateway
                .as_ref()
                .map_or_else(Inventory::new, |gateway| work_in_hand::inventory(gateway, generation));
            show(coordinator, self.now(), &inventory)
        };
        if let Some(Action::Restart(_)) = action {
            self.note_order();
        }
        if let Some(gateway) = &gateway {
            if gateway.policies.restart_reopening == Reopening::Forgotten && !self.admits() {
                self.0.closed.set(true);
            }
            if !self.write(gateway)
                && let Some((coordinator, ordered_at_ms)) = before
            {
                self.0.coordinator.replace(coordinator);
                self.0.ordered_at_ms.set(ordered_at_ms);
                return Some(Err(Refusal::NotRecorded));
            }
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
        Some(Ok(said))
    }

    /// A restart is ordered now, or over, so another one pauses first, in the next process, too.
    fn note_order(&self) {
        if let Some(gateway) = self.0.gateway.borrow().upgrade() {
            self.0.ordered_at_ms.set(Some(gateway.env.wall_clock().epoch_ms()));
        }
    }

    /// Writes down what the next life must know. Returns whether it stands there now.
    fn write(&self, gateway: &Gateway) -> bool {
        let mut coordinator = self.0.coordinator.borrow_mut();
        let Some(coordinator) = coordinator.as_mut() else { return true };
        if let Some(last) = self.0.file.read_at_last(gateway) {
            coordinator.learn_of_last(last);
        }
        let entry = Entry { ledger: coordinator.ledger(), ordered_at_ms: self.0.ordered_at_ms.get() };
        self.0.file.write(gateway, entry)
    }

    /// Tells everybody what came of their requests.
    fn tell(&self, gateway: &Rc<Gateway>) {
        let untold = match &*self.0.coordinator.borrow() {
            Some(coordinator) => coordinator.untold().to_vec(),
            None => return,
        };
        let mut told = Vec::new();
        for outcome in untold {
            let request = outcome.of.request;
            if self.0.being_told.borrow().contains(&request) {
                continue;
            }
            let is_silent =
                outcome.of.source == Source::Signal && self.0.reload.borrow().signal == SignalMode::Drain;
            if !is_silent {
                announce(gateway, &outcome);
            }
            match outcome.of.notice {
                None => told.push(request),
                Some(_) => {
                    self.0.being_told.borrow_mut().push(request);
                    if gateway.policies.restart_sentinel == RestartSentinel::DeletedFirst {
                        self.forget(gateway, &[request]);
                    }
                    let telling = record_notice(self.clone(), gateway.clone(), outcome);
                    drop(gateway.env.spawn("restart notice", telling));
                }
            }
        }
        if !told.is_empty() {
            self.told(gateway, &told);
        }
    }

    fn told(&self, gateway: &Gateway, requests: &[RequestId]) {
        self.0.being_told.borrow_mut().retain(|other| !requests.contains(other));
        self.forget(gateway, requests);
    }

    /// Nobody is owed anything for these requests any more.
    fn forget(&self, gateway: &Gateway, requests: &[RequestId]) {
        if let Some(coordinator) = &mut *self.0.coordinator.borrow_mut() {
            requests.iter().for_each(|request| coordinator.told(*request));
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

    fn log_decision(&self, source: &Source, decision: &Decision) {
        match decision.status {
            Status::Scheduled { .. } => {}
            Status::Deferred { limit, .. } => {
                let deadline_ms = limit.map(|limit| limit.since(self.now()).as_millis() as u64);
                let blockers = self.preflight().map(|preflight| preflight.summary).unwrap_or_default();
                tracing::info!(name: "restart.deferred", deadline_ms, blockers, "it waits for work in hand");
            }
            Status::Coalesced { onto, .. } => {
                tracing::info!(name: "restart.coalesced", into = %onto, "it joins another request");
            }
            Status::Over => {
                tracing::info!(name: "restart.coalesced", into = %decision.request, "it was asked before and is over");
            }
            Status::Refused(why) => {
                tracing::warn!(name: "restart.refused", %source, %why, "there will be no restart for it");
            }
        }
    }
}

fn log_request(request: &Request) {
    let source = &request.source;
    let reason = request.reason.as_ref().map_or("", Reason::as_str);
    let mode = match request.mode {
        Mode::Plain => "plain",
        Mode::Safe => "safe",
        Mode::Force => "force",
        Mode::Wait(_) => "wait",
    };
    tracing::info!(name: "restart.requested", %source, reason, mode, "somebody asks for a restart");
}

/// Serves until the process is to end, by a signal or by order of the coordinator of restarts.
pub(crate) async fn until_asked(gateway: &Rc<Gateway>, requests: &mut Requests) -> Result<(), Forced> {
    gateway.restarts.up();
    if gateway.restarts.0.parked.take() && gateway.restarts.signal() {
        requests.ordered();
        return Ok(());
    }
    loop {
        let restarts = gateway.restarts.clone();
        match requests.unless_changed(Phase::Serving, pin!(restarts.order())).await {
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
