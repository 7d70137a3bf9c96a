//! The coordinator: every request for a restart, from its arrival to its one outcome.
//!
//! It holds the requests that have not ended and one phase. Everything else follows from these and from `now`: when
//! a restart is due, how long it waits, whether new work is held off, when to look again. Each input first catches up
//! with the time, so that a wake that comes late changes nothing but the time. What is in hand is shown to it by the
//! caller each time, and it keeps no copy that could be out of date.

use std::time::Duration;

use super::decision::{
    Action, Admission, Decision, DrainTerms, Heard, Manner, Order, Refusal, SignalDecision, StaleOrder,
    Standing, StandingRequest, State, Status, Token,
};
use super::inventory::Inventory;
use super::limiter::Limiter;
use super::outcome::{Carried, Ending, Ledger, Outcome, Remembered, served_by};
use super::preflight::Preflight;
use super::request::{Mode, Patience, Request, RequestId, Source};
use super::settings::Settings;
use super::signals::{Authorisation, Insistence};
use super::waiting::Open;
use super::{Generation, Moment};
use crate::policy::{
    AtLimit, CycleToken, DeferralLimit, ExternalSignal, ForceDrain, Notices, RateLimitOrder, RestartPause,
    RestartPolicy, WaitBudget,
};

/// The longest delay that a request may ask for.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// How many requests wait for one restart at most, the first forced one aside.
const MAX_OPEN: usize = 256;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Starting,
    Serving,
    Ordered { token: Token, manner: Manner, expires: Moment, tries: u32 },
    Draining { terms: DrainTerms },
    Stopping,
}

/// Every request for a restart of this process. See the module.
#[derive(Clone, Debug)]
pub struct Coordinator {
    policy: RestartPolicy,
    settings: Settings,
    generation: Generation,
    /// The newest one that anybody wrote down, should that have been learned too late to be its successor.
    newest: Generation,
    phase: Phase,
    /// The requests of this generation that have not ended, the oldest first. One restart serves them all.
    open: Vec<Open>,
    /// Those of earlier generations, which end when this one is up.
    carried: Vec<Carried>,
    untold: Vec<Outcome>,
    /// What somebody was told lately.
    told: Remembered,
    /// How many requests this generation has had.
    requests: u32,
    /// How many orders this process has given.
    orders: u64,
    /// Until when the pause after the last restart lasts.
    pause_ends: Moment,
    /// Up to when everything was seen to.
    caught_up: Moment,
    authorisation: Authorisation,
    insistence: Insistence,
    limiter: Limiter,
}

impl Coordinator {
    /// The coordinator of a process that begins, with what the last one wrote down. Its server is not up yet.
    pub fn new(policy: RestartPolicy, settings: Settings, last: Ledger) -> Self {
        Self {
            policy,
            settings,
            generation: last.generation.next(),
            newest: last.generation,
            phase: Phase::Starting,
            open: Vec::new(),
            carried: last.open,
            untold: last.untold,
            told: Remembered::new(last.told),
            requests: 0,
            orders: 0,
            pause_ends: Moment::default(),
            caught_up: Moment::default(),
            authorisation: Authorisation::default(),
            insistence: Insistence::default(),
            limiter: Limiter::new(settings.rate_limit, settings.rate_window),
        }
    }

    /// The same, `left` of the pause after a restart that an earlier process began.
    pub fn after_pause(self, now: Moment, left: Duration) -> Self {
        Self { pause_ends: now + left.min(self.settings.cooldown), ..self }
    }

    /// What the last life wrote down could not be read when this one began, and now it can.
    pub fn learn_of_last(&mut self, last: Ledger) {
        let Ledger { generation, open, untold, told } = last;
        // It goes by its own number until it ends; the next one's is higher than all.
        self.newest = self.newest.max(generation);
        match self.phase {
            Phase::Starting => self.carried.extend(open),
            _ => self.untold.extend(served_by(self.generation, open)),
        }
        self.untold.extend(untold);
        told.into_iter().for_each(|outcome| self.told.push(outcome));
    }

    /// Whether this generation starts because somebody asked for a restart.
    pub fn is_awaited(&self) -> bool {
        matches!(self.phase, Phase::Starting) && !self.carried.is_empty()
    }

    /// The server of this generation is up: what earlier ones were asked for is done, and what was asked for
    /// meanwhile is seen to.
    pub fn server_up(&mut self, now: Moment, inventory: &Inventory) -> Option<Action> {
        if !matches!(self.phase, Phase::Starting) {
            return None;
        }
        self.phase = Phase::Serving;
        // Whoever saw no restart and asks again would restart a gateway that has just come up (openclaw/openclaw#33459).
        if !self.carried.is_empty() && self.policy.pause != RestartPause::WithinProcess {
            self.pause_ends = self.pause_ends.max(now + self.settings.cooldown);
        }
        let done = served_by(self.generation, std::mem::take(&mut self.carried));
        self.untold.extend(done);
        for open in &mut self.open {
            open.due = open.due.max(now);
        }
        self.catch_up(now, inventory)
    }

    /// Somebody asks for a restart.
    pub fn request(&mut self, now: Moment, request: Request, inventory: &Inventory) -> Decision {
        let action = self.catch_up(now, inventory);
        if let Some((known, status)) = self.known(now, &request) {
            return Decision { request: known, status, cooldown: Duration::ZERO, action };
        }
        self.requests += 1;
        let id = RequestId { generation: self.generation, number: self.requests };
        let joined = self.open.first().map(|oldest| oldest.id);
        if let Err(refusal) = self.admit(now, &request) {
            return Decision {
                request: id,
                status: Status::Refused(refusal),
                cooldown: Duration::ZERO,
                action,
            };
        }
        let (due, cooldown) = self.due(now, &request);
        let mode = request.mode;
        self.push(id, request, due);
        let action = match self.phase {
            Phase::Serving => self.decide(now, inventory),
            Phase::Ordered { .. } | Phase::Draining { .. } => self.hurry(now, mode),
            Phase::Starting | Phase::Stopping => None,
        }
        .or(action);
        let ordered = matches!(self.phase, Phase::Ordered { .. });
        let status = match joined {
            Some(onto) => Status::Coalesced { onto, due: self.due_from(now) },
            None if ordered || mode == Mode::Force || inventory.is_idle(self.generation, self.policy) => {
                Status::Scheduled { due }
            }
            None => Status::Deferred { due, limit: self.open.last().and_then(Open::limit) },
        };
        Decision { request: id, status, cooldown, action }
    }

    /// To be called when work ends, and at [`Coordinator::next_wake`].
    pub fn wake(&mut self, now: Moment, inventory: &Inventory) -> Option<Action> {
        self.catch_up(now, inventory)
    }

    /// When to call [`Coordinator::wake`] if nothing happens before.
    pub fn next_wake(&self) -> Option<Moment> {
        match self.phase {
            Phase::Starting | Phase::Draining { .. } | Phase::Stopping => None,
            Phase::Ordered { expires, .. } => match self.policy.cycle_token {
                CycleToken::AdvancedOnExpiry => Some(expires),
                CycleToken::StuckOnExpiry => None,
            },
            Phase::Serving => {
                let moments = self.open.iter().flat_map(|open| {
                    let gives_up = open.limit().filter(|_| !open.goes_ahead(self.policy));
                    [Some(open.due), open.limit(), gives_up.map(|limit| limit + self.settings.floor)]
                });
                moments.flatten().filter(|moment| *moment > self.caught_up).min()
            }
        }
    }

    /// A restart signal has arrived.
    pub fn signal(&mut self, now: Moment, inventory: &Inventory) -> SignalDecision {
        let action = self.catch_up(now, inventory);
        if let Phase::Ordered { token, manner, .. } = self.phase {
            if self.authorisation.take(now) {
                let heard = Heard::Own(self.begin_drain(now, token, manner));
                return SignalDecision { heard, insistent: false, action: None };
            }
            if self.policy.cycle_token == CycleToken::StuckOnExpiry {
                let heard = Heard::Ignored(Refusal::Expired);
                return SignalDecision { heard, insistent: false, action };
            }
        }
        let insistent = self.insistence.heard(now);
        if !self.settings.external_signals {
            return SignalDecision { heard: Heard::Ignored(Refusal::SwitchedOff), insistent, action };
        }
        if self.policy.external_signal == ExternalSignal::DrainsAtOnce
            && let Phase::Serving = self.phase
        {
            let heard = Heard::Own(self.drain_at_once(now));
            return SignalDecision { heard, insistent, action: None };
        }
        let decision = self.request(now, Request::new(Source::Signal, Mode::Plain), inventory);
        SignalDecision { heard: Heard::Asked(decision), insistent, action: action.or(decision.action) }
    }

    /// Whoever carries out restarts has taken an order, and drains. Taking it twice changes nothing.
    ///
    /// Errors: the order is not in force: its time was over and it was given anew, or a stop overtook it.
    pub fn drain_began(&mut self, now: Moment, token: Token) -> Result<DrainTerms, StaleOrder> {
        match self.phase {
            Phase::Ordered { token: given, manner, expires, .. } if given == token => {
                if now >= expires && self.policy.cycle_token == CycleToken::StuckOnExpiry {
                    return Err(StaleOrder(token));
                }
                Ok(self.begin_drain(now, token, manner))
            }
            Phase::Draining { terms } if terms.token == token => Ok(terms),
            _ => Err(StaleOrder(token)),
        }
    }

    /// Another generation begins in this process. Nothing of the last one counts any more; what it was asked for is
    /// done when this one is up.
    pub fn generation_began(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.carried.extend(open.iter().filter(|open| open.told).map(Open::carried));
        self.generation = self.generation.next();
        self.requests = 0;
        self.phase = Phase::Starting;
        self.authorisation.revoke();
    }

    /// The policy and the limits are these from now on. Requests keep the limits that they were made under.
    pub fn reconfigure(&mut self, policy: RestartPolicy, settings: Settings) {
        self.policy = policy;
        self.settings = settings;
    }

    /// The gateway was asked to stop, and will. Everybody who waits for a restart is told so.
    pub fn stop_requested(&mut self) {
        let refused = Ending::Refused { why: Refusal::Stopping };
        let carried = std::mem::take(&mut self.carried);
        self.untold.extend(carried.into_iter().map(|of| Outcome { of, ending: refused.clone() }));
        self.end_where(&refused, |_| true);
        self.phase = Phase::Stopping;
        self.authorisation.revoke();
    }

    /// The configuration file says again what is in force. A restart that was wanted for nothing else is given up,
    /// unless it was ordered already. Returns whether any request was.
    pub fn edit_reverted(&mut self) -> bool {
        let waiting = matches!(self.phase, Phase::Starting | Phase::Serving);
        let ending = Ending::Refused { why: Refusal::EditReverted };
        waiting && self.end_where(&ending, |open| open.request.source.is_config())
    }

    /// What came of requests and nobody was told yet, the oldest first.
    pub fn untold(&self) -> &[Outcome] {
        &self.untold
    }

    /// Somebody was told, or written down as owed a notice, what came of `request`.
    pub fn told(&mut self, request: RequestId) {
        let told = self.untold.extract_if(.., |outcome| outcome.of.request == request);
        told.for_each(|outcome| self.told.push(outcome));
    }

    /// What came of the latest requests, the oldest first, whether somebody was told yet or not.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.told.iter().chain(&self.untold)
    }

    /// What must be written down now, so that the next life can see to it.
    pub fn ledger(&self) -> Ledger {
        let open = self.open.iter().filter(|open| open.told).map(Open::carried);
        Ledger {
            generation: self.generation.max(self.newest),
            open: self.carried.iter().cloned().chain(open).collect(),
            untold: self.untold.clone(),
            told: self.told.iter().cloned().collect(),
        }
    }

    /// The generation that would restart.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether new work is admitted at `now`.
    pub fn admission(&self, now: Moment) -> Admission {
        match self.phase {
            Phase::Starting => Admission::Open,
            Phase::Serving => self.holding_off(now).map_or(Admission::Open, Admission::HeldOffFor),
            // In history nobody was kept out before the drain, and nobody opened again after an order that had expired.
            Phase::Ordered { .. } if self.policy.cycle_token == CycleToken::StuckOnExpiry => Admission::Open,
            Phase::Ordered { token, .. } => Admission::ClosedBy(token),
            Phase::Draining { terms } => Admission::ClosedBy(terms.token),
            Phase::Stopping => Admission::Stopping,
        }
    }

    /// Where the coordinator stands at `now`, in one word.
    pub fn state(&self, now: Moment) -> State {
        match self.phase {
            Phase::Starting => State::Starting,
            Phase::Ordered { .. } => State::Ordered,
            Phase::Draining { .. } => State::Draining,
            Phase::Stopping => State::Stopping,
            Phase::Serving => match self.first_due() {
                None => State::Idle,
                Some(due) if now < due => State::Scheduled,
                Some(_) if self.holding_off(now).is_some() => State::HoldingOff,
                Some(_) => State::Deferred,
            },
        }
    }

    /// Where the coordinator stands at `now`, for people.
    pub fn standing(&self, now: Moment) -> Standing {
        let request = |open: &Open| StandingRequest {
            request: open.id,
            source: open.request.source.clone(),
            reason: open.request.reason.clone(),
        };
        let in_ms = |moment: Moment| moment.since(now).as_millis() as u64;
        let waits = matches!(self.phase, Phase::Serving);
        Standing {
            state: self.state(now),
            requests: self.open.iter().map(request).collect(),
            due_in_ms: self.first_due().filter(|_| waits).map(in_ms),
            limit_in_ms: self.first_limit(|_| true).filter(|_| waits).map(in_ms),
        }
    }
}

/// How requests are admitted and ended.
impl Coordinator {
    /// A request that is the same, and where it stands. The answer to it may have been lost with the life that gave it:
    /// whoever asks again then wants no second restart (openclaw/openclaw#33459).
    fn known(&self, now: Moment, request: &Request) -> Option<(RequestId, Status)> {
        let key = request.key.as_ref()?;
        let same = |open: &&Open| {
            open.request.key.as_ref() == Some(key)
                && open.request.mode == request.mode
                && open.request.source == request.source
        };
        if let Some(open) = self.open.iter().find(same) {
            let status = Status::Coalesced { onto: self.open[0].id, due: self.due_from(now) };
            return Some((open.id, status));
        }
        let is_it = |of: &Carried| of.key.as_ref() == Some(key) && of.source == request.source;
        if let Some(carried) = self.carried.iter().find(|of| is_it(of)) {
            return Some((carried.request, Status::Coalesced { onto: self.carried[0].request, due: now }));
        }
        let over = self.outcomes().find(|outcome| is_it(&outcome.of))?;
        Some((over.of.request, Status::Over))
    }

    fn admit(&mut self, now: Moment, request: &Request) -> Result<(), Refusal> {
        if matches!(self.phase, Phase::Stopping) {
            return Err(Refusal::Stopping);
        }
        let counts = self.open.is_empty() || self.policy.rate_limit_order == RateLimitOrder::BeforeMerging;
        if counts && let Some(who) = request.source.counted_as() {
            self.limiter.admit(who, now).map_err(|wait| {
                // Rounded up: who comes back exactly then is let through.
                let retry_after_ms = wait.as_micros().div_ceil(1_000) as u64;
                Refusal::RateLimited { retry_after_ms }
            })?;
        }
        let is_first_to_force =
            request.mode == Mode::Force && self.open.iter().all(|open| open.request.mode != Mode::Force);
        match self.open.len() >= MAX_OPEN && !is_first_to_force {
            true => Err(Refusal::TooMany),
            false => Ok(()),
        }
    }

    /// When a request is due, and how much of that is the pause after the last restart.
    fn due(&self, now: Moment, request: &Request) -> (Moment, Duration) {
        let under_way = matches!(self.phase, Phase::Ordered { .. } | Phase::Draining { .. });
        if under_way || request.mode == Mode::Force {
            return (now, Duration::ZERO);
        }
        let cooldown = self.pause_ends.since(now);
        (now + request.delay.min(MAX_DELAY) + cooldown, cooldown)
    }

    fn push(&mut self, id: RequestId, request: Request, due: Moment) {
        let limit = match self.policy.deferral_limit {
            DeferralLimit::Configured => self.settings.deferral_limit,
            DeferralLimit::ThirtySeconds => Some(Duration::from_secs(30)),
            DeferralLimit::FiveMinutes => Some(Duration::from_secs(300)),
        };
        let patience = match request.mode {
            Mode::Plain | Mode::Safe => limit,
            Mode::Force => Some(Duration::ZERO),
            Mode::Wait(Patience::AtMost(patience)) => Some(patience),
            Mode::Wait(Patience::Unlimited) => None,
        };
        if self.policy.notices == Notices::OneSlot {
            self.open.iter_mut().for_each(|open| open.told = false);
        }
        let told = self.policy.notices != Notices::Nobody;
        self.open.push(Open { id, request, due, patience, told });
    }

    /// Ends every open request for which `is_over` holds. Returns whether there was any.
    fn end_where(&mut self, ending: &Ending, is_over: impl Fn(&Open) -> bool) -> bool {
        let (over, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open).into_iter().partition(is_over);
        self.open = open;
        let told = over.iter().filter(|open| open.told);
        self.untold.extend(told.map(|open| Outcome { of: open.carried(), ending: ending.clone() }));
        !over.is_empty()
    }
}

/// How a restart comes to be ordered.
impl Coordinator {
    /// Sees to everything whose time has come.
    fn catch_up(&mut self, now: Moment, inventory: &Inventory) -> Option<Action> {
        self.caught_up = self.caught_up.max(now);
        match self.phase {
            Phase::Starting | Phase::Draining { .. } | Phase::Stopping => None,
            Phase::Serving => self.decide(now, inventory),
            Phase::Ordered { manner, expires, tries, .. } if now >= expires => {
                self.expire(now, manner, tries)
            }
            Phase::Ordered { .. } => None,
        }
    }

    /// Nobody took the order in time. It is given anew, and given up after some tries: an order that stands for ever
    /// would swallow every later request (openclaw/openclaw#79577).
    fn expire(&mut self, now: Moment, manner: Manner, tries: u32) -> Option<Action> {
        if self.policy.cycle_token == CycleToken::StuckOnExpiry {
            return None;
        }
        self.authorisation.revoke();
        if tries < self.settings.tries {
            return Some(self.give_order(now, manner, tries + 1));
        }
        self.phase = Phase::Serving;
        let waiting_for = format!("nobody took the order to restart, which was given {tries} times");
        self.end_where(&Ending::TimedOut { waiting_for }, |_| true);
        None
    }

    /// Whether the requests that wait are to be followed now.
    fn decide(&mut self, now: Moment, inventory: &Inventory) -> Option<Action> {
        if self.first_due()? > now {
            return None;
        }
        let manner = if inventory.is_idle(self.generation, self.policy) {
            Manner::Idle
        } else if self.open.iter().any(|open| open.request.mode == Mode::Force) {
            Manner::Forced
        } else if self.first_limit(|open| open.goes_ahead(self.policy)).is_some_and(|limit| limit <= now) {
            Manner::DrainAndMark
        } else {
            self.give_up(now, inventory);
            return None;
        };
        self.pause_ends = now + self.settings.cooldown;
        Some(self.give_order(now, manner, 1))
    }

    /// Ends the requests that would rather have no restart than interrupt anything.
    fn give_up(&mut self, now: Moment, inventory: &Inventory) {
        let floor = self.settings.floor;
        let policy = self.policy;
        let is_over =
            |open: &Open| !open.goes_ahead(policy) && open.limit().is_some_and(|limit| limit + floor <= now);
        if self.open.iter().any(is_over) {
            let waiting_for = Preflight::of(inventory, self.generation, self.policy).summary;
            self.end_where(&Ending::TimedOut { waiting_for }, is_over);
        }
    }

    fn give_order(&mut self, now: Moment, manner: Manner, tries: u32) -> Action {
        self.orders += 1;
        let token = Token { generation: self.generation, number: self.orders };
        let expires = now + self.settings.token_grace;
        self.authorisation.give(now, self.settings.token_grace);
        self.phase = Phase::Ordered { token, manner, expires, tries };
        Action::Restart(Order { token, manner })
    }

    /// When a drain must be over that goes on at `now`, for the requests that there are; `None`: without limit.
    fn deadline(&self, now: Moment, manner: Manner) -> Option<Moment> {
        let floor = now + self.settings.floor;
        match (manner, self.policy.wait_budget) {
            (Manner::Forced, _) => Some(match self.policy.force_drain {
                ForceDrain::Bounded => floor,
                ForceDrain::Skipped => now,
            }),
            (Manner::DrainAndMark, _) if self.policy.at_limit == AtLimit::Force => Some(now),
            (_, WaitBudget::Shared) => {
                let interrupting = self.first_limit(|open| open.request.mode.may_interrupt());
                Some(interrupting.or_else(|| self.first_limit(|_| true))?.max(floor))
            }
            (_, WaitBudget::EachInFull) => {
                Some(now + self.open.iter().filter_map(|open| open.patience).min()?)
            }
        }
    }

    fn begin_drain(&mut self, now: Moment, token: Token, manner: Manner) -> DrainTerms {
        let deadline = self.deadline(now, manner);
        let may_interrupt = self.open.iter().any(|open| open.goes_ahead(self.policy));
        let terms = DrainTerms { token, manner, deadline, may_interrupt };
        self.phase = Phase::Draining { terms };
        terms
    }

    /// A request has joined a restart that is under way, and may have less patience than the others.
    fn hurry(&mut self, now: Moment, mode: Mode) -> Option<Action> {
        if let Phase::Ordered { manner, .. } = &mut self.phase
            && mode == Mode::Force
        {
            *manner = Manner::Forced;
        }
        let Phase::Draining { mut terms } = self.phase else { return None };
        let manner = if mode == Mode::Force { Manner::Forced } else { terms.manner };
        let deadline = self.deadline(now, manner)?;
        if !mode.may_interrupt() || terms.deadline.is_some_and(|earlier| earlier <= deadline) {
            return None;
        }
        terms = DrainTerms { manner, deadline: Some(deadline), may_interrupt: true, ..terms };
        self.phase = Phase::Draining { terms };
        Some(Action::ShortenDrain { deadline })
    }

    /// A signal from outside, in history: past every deferral.
    fn drain_at_once(&mut self, now: Moment) -> DrainTerms {
        self.requests += 1;
        let id = RequestId { generation: self.generation, number: self.requests };
        self.push(id, Request::new(Source::Signal, Mode::Plain), now);
        self.pause_ends = now + self.settings.cooldown;
        self.orders += 1;
        let token = Token { generation: self.generation, number: self.orders };
        self.begin_drain(now, token, Manner::Direct)
    }
}

/// What follows from the requests that wait.
impl Coordinator {
    fn first_due(&self) -> Option<Moment> {
        self.open.iter().map(|open| open.due).min()
    }

    /// When their restart is due, as they see it who ask at `now`.
    fn due_from(&self, now: Moment) -> Moment {
        match self.phase {
            Phase::Starting | Phase::Serving => self.first_due().unwrap_or(now),
            Phase::Ordered { .. } | Phase::Draining { .. } | Phase::Stopping => now,
        }
    }

    fn first_limit(&self, of: impl Fn(&Open) -> bool) -> Option<Moment> {
        self.open.iter().filter(|open| of(open)).filter_map(Open::limit).min()
    }

    /// The request for which new work is held off at `now`.
    fn holding_off(&self, now: Moment) -> Option<RequestId> {
        let is_at_limit =
            |open: &&Open| !open.goes_ahead(self.policy) && open.limit().is_some_and(|limit| limit <= now);
        self.open.iter().find(is_at_limit).map(|open| open.id)
    }
}
