//! The reference: what is expected of a coordinator, as the shortest thing that can be said.
//!
//! It looks at every second anew, knows no tokens, no wakes and no budgets, and shares no code with the coordinator
//! but the plain types. It also says which histories are worth trying.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::super::{Mode, Patience, RequestId, Source, State, WorkKind, WorkStatus};
use super::*;

/// The limits of the histories, in seconds. The deferral limit is none that any version had.
pub(super) const LIMIT: u64 = 40;
pub(super) const FLOOR: u64 = 15;
const COOLDOWN: u64 = 30;
pub(super) const GRACE: u64 = 5;
const TRIES: u32 = 3;
const RATE: usize = 3;
const RATE_WINDOW: u64 = 60;

pub(super) fn settings() -> Settings {
    Settings::default().with_deferral_timeout_ms(LIMIT * 1_000)
}

/// What may happen next.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Ask {
        who: Who,
        mode: Mode,
        delay: u64,
    },
    Signal,
    EditReverted,
    /// New work, if it is admitted.
    Arrives(WorkKind, WorkStatus),
    /// Nine tasks at once, if they are admitted.
    Burst,
    /// The oldest work in hand ends.
    OldestEnds,
    AllEnds,
    /// Time passes, and whoever is to wake does.
    Passes(u64),
    /// Time passes in which nobody could do anything.
    Stalls(u64),
    /// The order is taken, if there is one.
    Taken,
    /// The drain is over, if there is one; what it could not wait for was interrupted.
    DrainOver {
        in_place: bool,
    },
    /// The server is up, if it was not.
    Up,
    Stop,
    /// The process dies, and another one follows.
    Dies,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    CommandLine,
    Client,
    Config,
}

impl Who {
    pub(super) fn source(self) -> Source {
        match self {
            Self::CommandLine => Source::CommandLine,
            Self::Client => Source::Rpc { client: RPC.into() },
            Self::Config => Source::ConfigWatcher { paths: vec!["gateway.port".into()] },
        }
    }
}

/// A request that has not ended.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) id: RequestId,
    pub(super) mode: Mode,
    pub(super) due: u64,
    pub(super) limit: Option<u64>,
    is_config: bool,
}

/// How a request ended, without the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done(u64),
    Merged(RequestId, u64),
    Refused,
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Starting,
    Serving,
    Ordered { at: u64, tries: u32 },
    Draining,
    Stopping,
}

#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) now: u64,
    pub(super) stage: Stage,
    pub(super) generation: u64,
    pub(super) waiting: Vec<Waiting>,
    /// Asked of earlier generations.
    carried: Vec<RequestId>,
    pub(super) ended: BTreeMap<RequestId, End>,
    /// When a restart was ordered, each time.
    pub(super) orders: Vec<u64>,
    /// Kind, status and the generation that began it.
    pub(super) work: Vec<(WorkKind, WorkStatus, u64)>,
    numbers: u32,
    last_order: Option<u64>,
    begun: Vec<(Who, u64)>,
}

impl Reference {
    fn new() -> Self {
        Self {
            now: 0,
            stage: Stage::Serving,
            generation: 1,
            waiting: Vec::new(),
            carried: Vec::new(),
            ended: BTreeMap::new(),
            orders: Vec::new(),
            work: Vec::new(),
            numbers: 0,
            last_order: None,
            begun: Vec::new(),
        }
    }

    /// How much of the work in hand is in the way of a restart.
    pub(super) fn in_the_way(&self) -> usize {
        let is_in_the_way = |(kind, status, owner): &&(WorkKind, WorkStatus, u64)| {
            let waits_and_counts = matches!(kind, WorkKind::Queue | WorkKind::Reply);
            *owner == self.generation && (*status == WorkStatus::Running || waits_and_counts)
        };
        self.work.iter().filter(is_in_the_way).count()
    }

    pub(super) fn state(&self) -> State {
        match self.stage {
            Stage::Starting => State::Starting,
            Stage::Ordered { .. } => State::Ordered,
            Stage::Draining => State::Draining,
            Stage::Stopping => State::Stopping,
            Stage::Serving if self.waiting.is_empty() => State::Idle,
            Stage::Serving if self.waiting.iter().all(|waiting| waiting.due > self.now) => State::Scheduled,
            Stage::Serving if self.holds_off() => State::HoldingOff,
            Stage::Serving => State::Deferred,
        }
    }

    fn holds_off(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.mode == Mode::Safe && waiting.limit <= Some(self.now))
    }

    pub(super) fn admits(&self) -> bool {
        matches!(self.state(), State::Starting | State::Idle | State::Scheduled | State::Deferred)
    }

    /// The limit at which somebody waits no longer, whatever is in hand.
    pub(super) fn first_limit(&self) -> Option<u64> {
        let goes_ahead = self.waiting.iter().filter(|waiting| waiting.mode != Mode::Safe);
        goes_ahead.filter_map(|waiting| waiting.limit).min()
    }

    /// What happens at this second by itself.
    fn look(&mut self) {
        let now = self.now;
        match self.stage {
            Stage::Serving if self.waiting.iter().any(|waiting| waiting.due <= now) => {
                if self.in_the_way() == 0 || self.first_limit().is_some_and(|limit| limit <= now) {
                    self.order(1);
                    self.last_order = Some(now);
                } else {
                    self.end(End::TimedOut, |waiting| {
                        waiting.mode == Mode::Safe && waiting.limit.is_some_and(|limit| limit + FLOOR <= now)
                    });
                }
            }
            Stage::Ordered { at, tries } if at + GRACE <= now => match tries {
                TRIES => {
                    self.stage = Stage::Serving;
                    self.end(End::TimedOut, |_| true);
                }
                _ => self.order(tries + 1),
            },
            _ => {}
        }
    }

    fn order(&mut self, tries: u32) {
        self.orders.push(self.now);
        self.stage = Stage::Ordered { at: self.now, tries };
    }

    fn end(&mut self, end: End, is_over: impl Fn(&Waiting) -> bool) {
        let over = self.waiting.iter().filter(|waiting| is_over(waiting)).map(|waiting| (waiting.id, end));
        self.ended.extend(over);
        self.waiting.retain(|waiting| !is_over(waiting));
    }

    fn ask(&mut self, who: Option<Who>, mode: Mode, delay: u64) {
        self.look();
        self.numbers += 1;
        let id = RequestId { generation: Generation(self.generation), number: self.numbers };
        if self.stage == Stage::Stopping {
            return;
        }
        if let Some(who) = who.filter(|who| *who != Who::Config && self.waiting.is_empty()) {
            self.begun.retain(|(_, at)| at + RATE_WINDOW > self.now);
            if self.begun.iter().filter(|(begun, _)| *begun == who).count() == RATE {
                return;
            }
            self.begun.push((who, self.now));
        }
        let pause = self.last_order.map_or(0, |last| (last + COOLDOWN).saturating_sub(self.now));
        let due = match (mode, self.stage) {
            (Mode::Force, _) | (_, Stage::Ordered { .. } | Stage::Draining) => self.now,
            _ => self.now + delay.min(60) + pause,
        };
        let limit = match mode {
            Mode::Plain | Mode::Safe => Some(due + LIMIT),
            Mode::Force => Some(due),
            Mode::Wait(Patience::AtMost(patience)) => Some(due + patience.as_secs()),
            Mode::Wait(Patience::Unlimited) => None,
        };
        self.waiting.push(Waiting { id, mode, due, limit, is_config: who == Some(Who::Config) });
        self.look();
    }

    /// Another generation begins. Of the last one's work the records remain.
    fn succeed(&mut self) {
        self.carried.extend(self.waiting.drain(..).map(|waiting| waiting.id));
        self.work.retain(|(kind, ..)| *kind == WorkKind::Task);
        self.generation += 1;
        self.numbers = 0;
        self.stage = Stage::Starting;
    }

    fn forget(&mut self) {
        self.last_order = None;
        self.begun.clear();
    }

    fn up(&mut self) {
        self.stage = Stage::Serving;
        if let Some(first) = self.carried.first().copied() {
            self.last_order = Some(self.now);
            let generation = self.generation;
            let end = |id| if id == first { End::Done(generation) } else { End::Merged(first, generation) };
            self.ended.extend(self.carried.drain(..).map(|id| (id, end(id))));
        }
        for waiting in &mut self.waiting {
            let later = self.now.saturating_sub(waiting.due);
            waiting.due += later;
            waiting.limit = waiting.limit.map(|limit| limit + later);
        }
        self.look();
    }

    fn stop(&mut self) {
        self.ended.extend(self.carried.drain(..).map(|id| (id, End::Refused)));
        self.end(End::Refused, |_| true);
        self.stage = Stage::Stopping;
    }

    fn after(&mut self, event: &Event) {
        match *event {
            Event::Ask { who, mode, delay } => self.ask(Some(who), mode, delay),
            Event::Signal => {
                self.look();
                match self.stage {
                    Stage::Ordered { .. } => self.stage = Stage::Draining,
                    _ => self.ask(None, Mode::Plain, 0),
                }
            }
            Event::EditReverted if matches!(self.stage, Stage::Starting | Stage::Serving) => {
                self.end(End::Refused, |waiting| waiting.is_config);
            }
            Event::Arrives(kind, status) if self.admits() => self.work.push((kind, status, self.generation)),
            Event::Burst if self.admits() => {
                self.work.extend([(WorkKind::Task, WorkStatus::Running, self.generation); 9]);
            }
            Event::OldestEnds if !self.work.is_empty() => {
                self.work.remove(0);
                self.look();
            }
            Event::AllEnds => {
                self.work.clear();
                self.look();
            }
            Event::Passes(seconds) => (0..seconds).for_each(|_| {
                self.now += 1;
                self.look();
            }),
            Event::Stalls(seconds) => {
                self.now += seconds;
                self.look();
            }
            Event::Taken if matches!(self.stage, Stage::Ordered { .. }) => self.stage = Stage::Draining,
            Event::DrainOver { in_place } if self.stage == Stage::Draining => {
                self.succeed();
                if !in_place {
                    self.forget();
                }
            }
            Event::Up if self.stage == Stage::Starting => self.up(),
            Event::Stop => self.stop(),
            Event::Dies => {
                self.succeed();
                self.forget();
            }
            _ => {}
        }
    }
}

/// Which histories are tried.
pub(super) struct Histories;

impl ReferenceStateMachine for Histories {
    type State = Reference;
    type Transition = Event;

    fn init_state() -> BoxedStrategy<Reference> {
        Just(Reference::new()).boxed()
    }

    fn transitions(state: &Reference) -> BoxedStrategy<Event> {
        let is_ordered = matches!(state.stage, Stage::Ordered { .. });
        let likely = |is_likely: bool| if is_likely { 12 } else { 1 };
        prop_oneof![
            8 => (who(), mode(), prop_oneof![3 => Just(0), 1 => 0_u64..90])
                .prop_map(|(who, mode, delay)| Event::Ask { who, mode, delay }),
            2 => Just(Event::Signal),
            1 => Just(Event::EditReverted),
            8 => (kind(), prop_oneof![2 => Just(WorkStatus::Running), 1 => Just(WorkStatus::Queued)])
                .prop_map(|(kind, status)| Event::Arrives(kind, status)),
            1 => Just(Event::Burst),
            4 => Just(Event::OldestEnds),
            2 => Just(Event::AllEnds),
            8 => (1_u64..50).prop_map(Event::Passes),
            2 => (1_u64..50).prop_map(Event::Stalls),
            likely(is_ordered) => Just(Event::Taken),
            likely(state.stage == Stage::Draining) =>
                any::<bool>().prop_map(|in_place| Event::DrainOver { in_place }),
            likely(state.stage == Stage::Starting) => Just(Event::Up),
            1 => Just(Event::Stop),
            likely(state.stage == Stage::Stopping) => Just(Event::Dies),
        ]
        .boxed()
    }

    fn apply(mut state: Reference, event: &Event) -> Reference {
        state.after(event);
        state
    }
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![Just(Who::CommandLine), Just(Who::Client), Just(Who::Config)]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        4 => Just(Mode::Plain),
        4 => Just(Mode::Safe),
        1 => Just(Mode::Force),
        1 => (0_u64..100).prop_map(|patience| Mode::Wait(Patience::AtMost(secs(patience)))),
        1 => Just(Mode::Wait(Patience::Unlimited)),
    ]
}

fn kind() -> impl Strategy<Value = WorkKind> {
    prop::sample::select(&WorkKind::ALL[..])
}
