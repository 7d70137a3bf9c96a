//! Whole histories: arbitrary requests, work, time, signals, stops and deaths, against promises and the reference.
//!
//! A promise is checked on what the coordinator says alone, before its state is compared with the reference. Every way
//! in which history differed must break the promise that it is known to break, within some cases of a fixed seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use proptest_state_machine::ReferenceStateMachine;

use super::reference::{End, Event, FLOOR, GRACE, Histories, LIMIT, Reference, settings};
use super::*;

/// Which histories are tried, unless `PROPTEST_RNG_SEED` says otherwise.
const SEED: u64 = 47_711;
/// How long a history is.
const EVENTS: std::ops::Range<usize> = 1..60;
/// How many histories show that promises are kept, and at most that one is broken: times those that are configured.
const SHOW_KEPT: u32 = 2;
const SHOW_BROKEN: u32 = 10;

const ENDS_ONCE: &str = "every request ends exactly once";
const SAFE: &str = "a safe restart interrupts nothing";
const NOT_EARLY: &str = "nothing is interrupted before somebody's limit";
const LIVE: &str = "requests join only what is still to come";
const JOINS: &str = "what can be merged is not refused";
const NOT_LATE: &str = "nobody waits longer than the limit";
const NOT_FOR_NOTHING: &str = "nobody waits for nothing";
const ONE_BUDGET: &str = "deferral and drain share one budget";
const HAS_FLOOR: &str = "what is interrupted has had the floor";
const TAKEN: &str = "no order stands for ever";
const OWNED: &str = "admission is closed only while somebody owns that";
const ADDS_UP: &str = "the blockers are as many as the counts say";
const WAKES_LATER: &str = "a wake is always later than the last";
const AS_REFERENCE: &str = "as the reference";

type Kept = Result<(), String>;

fn promise(holds: bool, which: &str, why: impl FnOnce() -> String) -> Kept {
    if holds { Ok(()) } else { Err(format!("{which}: {}", why())) }
}

/// A request that was not refused, as its requester sees it.
#[derive(Debug)]
struct Asked {
    mode: Mode,
    due: u64,
    limit: Option<u64>,
}

/// A coordinator in the world of the reference.
struct World {
    policy: RestartPolicy,
    coordinator: Coordinator,
    now: u64,
    inventory: Inventory,
    order: Option<Order>,
    asked: BTreeMap<RequestId, Asked>,
    ended: BTreeMap<RequestId, End>,
    orders: Vec<u64>,
}

impl World {
    fn new(policy: RestartPolicy) -> Self {
        let mut coordinator = Coordinator::new(policy, settings(), Ledger::default());
        coordinator.server_up(at(0), &Inventory::new());
        Self {
            policy,
            coordinator,
            now: 0,
            inventory: Inventory::new(),
            order: None,
            asked: BTreeMap::new(),
            ended: BTreeMap::new(),
            orders: Vec::new(),
        }
    }

    /// Shows the coordinator what happened; `after` is what the reference makes of it.
    fn after(&mut self, event: &Event, after: &Reference) -> Kept {
        self.show_work(after);
        match *event {
            Event::Ask { who, mode, delay } => {
                let request = Request::new(who.source(), mode).after(secs(delay));
                let decision = self.coordinator.request(at(self.now), request, &self.inventory);
                self.decided(decision, mode, delay, after)?;
            }
            Event::Signal => self.signal(after)?,
            Event::EditReverted => drop(self.coordinator.edit_reverted()),
            Event::Arrives(..) | Event::Burst => {}
            Event::OldestEnds | Event::AllEnds => self.wake(after)?,
            Event::Passes(seconds) => {
                let until = self.now + seconds;
                while let Some(next) = self.coordinator.next_wake().filter(|next| *next <= at(until)) {
                    promise(next > at(self.now), WAKES_LATER, || format!("{next:?} at {}", self.now))?;
                    self.now = next.since(at(0)).as_secs();
                    self.wake(after)?;
                }
                self.now = until;
            }
            Event::Stalls(seconds) => {
                self.now += seconds;
                self.wake(after)?;
            }
            Event::Taken => self.take(after)?,
            Event::DrainOver { in_place } if self.state() == State::Draining => self.succeed(in_place)?,
            Event::DrainOver { .. } => {}
            Event::Up => {
                if self.state() == State::Starting {
                    self.count_from_now();
                }
                let action = self.coordinator.server_up(at(self.now), &self.inventory);
                self.done(action, after)?;
            }
            Event::Stop => self.coordinator.stop_requested(),
            Event::Dies => self.succeed(false)?,
        }
        self.hear_outcomes()
    }

    fn state(&self) -> State {
        self.coordinator.state(at(self.now))
    }

    fn show_work(&mut self, after: &Reference) {
        self.inventory = Inventory::new();
        for (number, (kind, status, owner)) in after.work.iter().enumerate() {
            self.inventory.add(Work::new(*kind, number.to_string(), Generation(*owner), *status));
        }
    }

    fn wake(&mut self, after: &Reference) -> Kept {
        let action = self.coordinator.wake(at(self.now), &self.inventory);
        self.done(action, after)
    }

    /// What was asked for before the server was up begins to wait when it is.
    fn count_from_now(&mut self) {
        let (now, generation) = (self.now, self.coordinator.generation());
        for (_, asked) in self.asked.iter_mut().filter(|(id, _)| id.generation == generation) {
            let later = now.saturating_sub(asked.due);
            asked.due += later;
            asked.limit = asked.limit.map(|limit| limit + later);
        }
    }

    fn done(&mut self, action: Option<Action>, after: &Reference) -> Kept {
        match action {
            Some(Action::Restart(order)) => {
                self.order = Some(order);
                self.ordered(after)?;
            }
            Some(Action::ShortenDrain { deadline }) => {
                promise(deadline >= at(self.now + FLOOR), HAS_FLOOR, || format!("{deadline:?}"))?;
            }
            None => {}
        }
        self.hear_outcomes()
    }

    /// A restart is ordered, or begins without: who has asked for what it interrupts?
    fn ordered(&mut self, after: &Reference) -> Kept {
        self.orders.push(self.now);
        let in_hand = after.in_the_way();
        let open = self.open();
        let mut interrupting = open.iter().filter(|(_, asked)| asked.mode != Mode::Safe).peekable();
        let may_interrupt = in_hand == 0 || interrupting.peek().is_some();
        let is_time =
            in_hand == 0 || interrupting.any(|(_, asked)| asked.limit.is_some_and(|limit| limit <= self.now));
        let why = || format!("{in_hand} in hand at {}, {open:?}", self.now);
        promise(may_interrupt, SAFE, why)?;
        promise(is_time, NOT_EARLY, why)
    }

    fn decided(&mut self, decision: Decision, mode: Mode, delay: u64, after: &Reference) -> Kept {
        if let Status::Refused(why) = decision.status {
            let limited = matches!(why, Refusal::RateLimited { .. });
            let could_join = limited && !self.open().is_empty();
            promise(!could_join, JOINS, || format!("{} {why}", decision.request))?;
            return self.done(decision.action, after);
        }
        if let Status::Coalesced { onto, .. } = decision.status {
            let is_live = self.asked.contains_key(&onto)
                && !self.ended.contains_key(&onto)
                && onto.generation == self.coordinator.generation();
            promise(is_live, LIVE, || format!("{} onto {onto}", decision.request))?;
        }
        let patience = match mode {
            Mode::Plain | Mode::Safe => Some(LIMIT),
            Mode::Force => Some(0),
            Mode::Wait(Patience::AtMost(patience)) => Some(patience.as_secs()),
            Mode::Wait(Patience::Unlimited) => None,
        };
        let wait = if mode == Mode::Force { 0 } else { delay.min(60) + decision.cooldown.as_secs() };
        let due = self.now + wait;
        let limit = patience.map(|patience| due + patience);
        self.asked.insert(decision.request, Asked { mode, due, limit });
        self.done(decision.action, after)
    }

    fn signal(&mut self, after: &Reference) -> Kept {
        let answer = self.coordinator.signal(at(self.now), &self.inventory);
        match answer.heard {
            Heard::Own(terms) => {
                // It may have been ordered a moment before, or past everything.
                if self.order.take().is_none_or(|order| order.token != terms.token) {
                    self.ordered(after)?;
                }
                self.drain_began(terms, after)
            }
            Heard::Asked(decision) => {
                self.decided(Decision { action: answer.action, ..decision }, Mode::Plain, 0, after)
            }
            Heard::Ignored(why) => promise(self.state() != State::Ordered, TAKEN, || why.to_string()),
        }
    }

    fn take(&mut self, after: &Reference) -> Kept {
        let Some(order) = self.order.take().filter(|_| self.state() == State::Ordered) else { return Ok(()) };
        match self.coordinator.drain_began(at(self.now), order.token) {
            Ok(terms) => self.drain_began(terms, after),
            Err(stale) => promise(false, TAKEN, || stale.to_string()),
        }
    }

    /// `after` has the requests that this drain serves.
    fn drain_began(&mut self, terms: DrainTerms, after: &Reference) -> Kept {
        let limit = after.first_limit();
        let may_interrupt = after.waiting.iter().any(|waiting| waiting.mode != Mode::Safe);
        promise(terms.may_interrupt == may_interrupt, AS_REFERENCE, || format!("{terms:?}"))?;
        let Some(deadline) = terms.deadline.map(|deadline| deadline.since(at(0)).as_secs()) else {
            return promise(limit.is_none(), ONE_BUDGET, || format!("no limit, and {limit:?} was asked for"));
        };
        promise(deadline >= self.now + FLOOR, HAS_FLOOR, || format!("{terms:?} at {}", self.now))?;
        let all = after.waiting.iter().filter_map(|waiting| waiting.limit).min();
        let budget = limit.or(all).unwrap_or(u64::MAX).max(self.now + FLOOR);
        promise(deadline <= budget, ONE_BUDGET, || format!("until {deadline}, not {budget}"))
    }

    /// Another generation follows, in this process or in one that reads what this one wrote.
    fn succeed(&mut self, in_place: bool) -> Kept {
        self.order = None;
        if in_place {
            self.coordinator.generation_began();
            return Ok(());
        }
        let written = serde_json::to_string(&self.coordinator.ledger()).map_err(|error| error.to_string())?;
        let read: Ledger = serde_json::from_str(&written).map_err(|error| error.to_string())?;
        self.coordinator = Coordinator::new(self.policy, settings(), read);
        Ok(())
    }

    fn hear_outcomes(&mut self) -> Kept {
        for outcome in self.coordinator.untold().to_vec() {
            let request = outcome.of.request;
            self.coordinator.told(request);
            let end = match outcome.ending {
                Ending::Done { generation } => End::Done(generation.0),
                Ending::Merged { into, generation } => End::Merged(into, generation.0),
                Ending::Refused { .. } => End::Refused,
                Ending::TimedOut { .. } => End::TimedOut,
            };
            let before = self.ended.insert(request, end);
            promise(before.is_none(), ENDS_ONCE, || format!("{request}: {before:?}, then {end:?}"))?;
        }
        Ok(())
    }

    /// The requests that were accepted and have not ended.
    fn open(&self) -> Vec<(RequestId, &Asked)> {
        let open = self.asked.iter().filter(|(id, _)| !self.ended.contains_key(id));
        open.map(|(id, asked)| (*id, asked)).collect()
    }

    /// What holds at every moment.
    fn check(&self, reference: &Reference) -> Kept {
        let now = self.now;
        let open = self.open();
        let first = |moments: &mut dyn Iterator<Item = u64>| moments.min().filter(|moment| *moment <= now);
        if matches!(self.state(), State::Deferred | State::HoldingOff) {
            let due = first(&mut open.iter().map(|(_, asked)| asked.due));
            let idle = reference.in_the_way() == 0;
            promise(!(idle && due.is_some()), NOT_FOR_NOTHING, || format!("due since {due:?}, now {now}"))?;
            let limits = open.iter().filter_map(|(_, asked)| {
                Some(asked.limit? + if asked.mode == Mode::Safe { FLOOR } else { 0 })
            });
            let limit = first(&mut limits.into_iter());
            promise(limit.is_none(), NOT_LATE, || format!("limit {limit:?}, now {now}: {open:?}"))?;
        }
        let kept = self.coordinator.ledger().open;
        let lost = open.iter().find(|(id, _)| !kept.iter().any(|carried| carried.request == *id));
        promise(lost.is_none(), ENDS_ONCE, || format!("nobody will be told of {lost:?}"))?;
        if self.state() == State::Ordered {
            let given = self.orders.last().copied().unwrap_or_default();
            promise(now < given + GRACE, TAKEN, || format!("given at {given}, now {now}"))?;
        }
        let owned = match self.coordinator.admission(at(now)) {
            Admission::Open => true,
            Admission::HeldOffFor(id) => open.iter().any(|(open, _)| *open == id),
            Admission::ClosedBy(token) => {
                token.generation == self.coordinator.generation()
                    && matches!(self.state(), State::Ordered | State::Draining)
            }
            Admission::Stopping => self.state() == State::Stopping,
        };
        promise(owned, OWNED, || format!("{:?}", self.coordinator.admission(at(now))))?;
        let preflight = Preflight::of(&self.inventory, self.coordinator.generation(), self.policy);
        let named: u64 = preflight.blockers.iter().map(|blocker| blocker.count).sum();
        promise(named == preflight.counts.total_active, ADDS_UP, || preflight.summary.clone())
    }

    fn compare(&self, reference: &Reference) -> Kept {
        let told: BTreeMap<_, _> = self.ended.iter().map(|(id, end)| (*id, *end)).collect();
        promise(self.now == reference.now, AS_REFERENCE, || format!("now {}", self.now))?;
        let states = (self.state(), reference.state());
        promise(states.0 == states.1, AS_REFERENCE, || format!("{states:?}"))?;
        promise(told == reference.ended, AS_REFERENCE, || format!("{told:?}, not {:?}", reference.ended))?;
        promise(self.orders == reference.orders, AS_REFERENCE, || {
            format!("ordered at {:?}, not {:?}", self.orders, reference.orders)
        })?;
        let admits = self.coordinator.admission(at(self.now)) == Admission::Open;
        promise(admits == reference.admits(), AS_REFERENCE, || format!("admits: {admits}"))
    }
}

/// Plays a history, and then an end in which everything goes well.
fn play(policy: RestartPolicy, mut reference: Reference, events: &[Event], seen: impl Fn()) -> Kept {
    let mut world = World::new(policy);
    let mut step = |reference: &mut Reference, event: &Event| {
        *reference = Histories::apply(reference.clone(), event);
        let kept = world.after(event, reference);
        kept.and_then(|()| world.check(reference)).and_then(|()| world.compare(reference))
    };
    for event in events {
        seen();
        step(&mut reference, event)?;
    }
    for _ in 0..20 {
        let next = match reference.state() {
            State::Starting => Event::Up,
            State::Idle => break,
            State::Scheduled => Event::Passes(100),
            State::Deferred | State::HoldingOff => Event::AllEnds,
            State::Ordered => Event::Taken,
            State::Draining => Event::DrainOver { in_place: true },
            State::Stopping => Event::Dies,
        };
        step(&mut reference, &next)?;
    }
    let open = world.open();
    promise(open.is_empty(), ENDS_ONCE, || format!("never ended: {open:?}"))?;
    let left = world.coordinator.ledger();
    promise(left.open.is_empty() && left.untold.is_empty(), ENDS_ONCE, || format!("left: {left:?}"))?;
    let admission = world.coordinator.admission(at(world.now));
    promise(admission == Admission::Open, OWNED, || format!("{admission:?} at the end"))
}

/// The first history, of as many as `cases`, that breaks a promise that counts.
fn search(
    policy: RestartPolicy,
    cases: u32,
    shrinking: u32,
    counts: impl Fn(&str) -> bool,
) -> Option<String> {
    let from_environment = Config::default();
    let config = Config {
        cases: cases * from_environment.cases,
        rng_seed: match from_environment.rng_seed {
            RngSeed::Random => RngSeed::Fixed(SEED),
            chosen => chosen,
        },
        failure_persistence: None,
        max_shrink_iters: shrinking,
        ..from_environment
    };
    // Events that are not counted as seen are taken for superfluous when a failure is made smaller.
    let keeps = |(start, events, seen): (Reference, Vec<Event>, Option<Arc<AtomicUsize>>)| {
        let count = || {
            if let Some(seen) = seen.as_ref().filter(|_| shrinking > 0) {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        };
        match play(policy, start, &events, count) {
            Err(broken) if counts(&broken) => Err(TestCaseError::fail(broken)),
            _ => Ok(()),
        }
    };
    match TestRunner::new(config).run(&Histories::sequential_strategy(EVENTS), keeps) {
        Ok(()) => None,
        Err(TestError::Fail(broken, (_, events, _))) => Some(format!("{broken}\n{events:#?}")),
        Err(TestError::Abort(why)) => panic!("gave up: {why}"),
    }
}

#[test]
fn no_history_breaks_a_promise() {
    if let Some(broken) = search(RestartPolicy::default(), SHOW_KEPT, 5_000, |_| true) {
        panic!("{broken}");
    }
}

/// A way of history must be found, by the promise that it breaks.
fn assert_found(policy: RestartPolicy, breaks: &str) {
    assert_ne!(policy, RestartPolicy::default());
    let found = search(policy, SHOW_BROKEN, 0, |broken| broken.starts_with(breaks));
    assert!(found.is_some(), "no history shows that {policy:?} breaks \"{breaks}\"");
}

#[test]
fn every_way_of_history_is_found() {
    let d = RestartPolicy::default;
    let ways = [
        (RestartPolicy { deferral_limit: DeferralLimit::ThirtySeconds, ..d() }, NOT_EARLY),
        (RestartPolicy { deferral_limit: DeferralLimit::FiveMinutes, ..d() }, NOT_LATE),
        (RestartPolicy { wait_budget: WaitBudget::EachInFull, ..d() }, ONE_BUDGET),
        (RestartPolicy { task_records: TaskRecords::QueuedToo, ..d() }, NOT_FOR_NOTHING),
        (RestartPolicy { task_records: TaskRecords::NotCounted, ..d() }, SAFE),
        (RestartPolicy { old_work: OldWork::Counted, ..d() }, NOT_FOR_NOTHING),
        (RestartPolicy { rate_limit_order: RateLimitOrder::BeforeMerging, ..d() }, JOINS),
        (RestartPolicy { cycle_token: CycleToken::StuckOnExpiry, ..d() }, TAKEN),
        (RestartPolicy { notices: Notices::OneSlot, ..d() }, ENDS_ONCE),
        (RestartPolicy { notices: Notices::Nobody, ..d() }, ENDS_ONCE),
        (RestartPolicy { external_signal: ExternalSignal::DrainsAtOnce, ..d() }, NOT_EARLY),
        (RestartPolicy { at_limit: AtLimit::Force, ..d() }, HAS_FLOOR),
        (RestartPolicy { safe_at_limit: SafeAtLimit::GoesAhead, ..d() }, SAFE),
        (RestartPolicy { force_drain: ForceDrain::Skipped, ..d() }, HAS_FLOOR),
        (RestartPolicy { task_aggregate: TaskAggregate::Forgotten, ..d() }, ADDS_UP),
    ];
    for (policy, breaks) in ways {
        assert_found(policy, breaks);
    }
}

#[test]
fn every_version_of_history_is_found() {
    for name in crate::policy::profile_names().skip(1) {
        let policy = restart_policy(name).expect("a listed set");
        // Of some versions nothing is known about restarts.
        let is_known = policy != RestartPolicy::default();
        assert!(!is_known || search(policy, SHOW_BROKEN, 0, |_| true).is_some(), "{name}");
    }
}
