//! The lives of the service's processes, as seen from outside.
//!
//! A life begins and ends in the process table; in between it may hold the port, change state files, be frozen,
//! and receive signals that end it. Pids are reused, so a life is known by when it lived. Where restarts happen in
//! place, a life follows a request to restart by giving the port back and taking it again. Log records play no part
//! here.

use std::fmt;
use std::time::Duration;

use gateway::env::{FsOp, Pid, Signal};

use super::{Evidence, Terms, file_name};
use crate::timeline::words::{capital, moment};
use crate::timeline::{DeathCause, Event, Fact, OperatorOrder};

/// One process life of the service.
#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) pid: Pid,
    pub(super) started_at: Duration,
    pub(super) ended: Option<(Duration, DeathCause)>,
    /// Every time it held the service's port.
    pub(super) holds: Vec<Interval>,
    /// Every time it had the lock on the whole state directory, as far as it knew: until it gave it back, whoever else
    /// may have taken it away.
    pub(super) has_lock: Vec<Interval>,
    /// The stretches in which it served: from a sign of serving until it ended, or gave the port back in order to
    /// begin again, or gave the lock back because it had not come to the port.
    pub(super) stints: Vec<Stint>,
    /// The signals it handled that ask a gateway to end, in order.
    pub(super) ending_signals: Vec<(Duration, Signal)>,
    /// What it was asked for, in order: of several signals before it had followed, the first counts. What no signal
    /// announced is here too, from when it is known to have begun.
    pub(super) requests: Vec<Request>,
    /// When it did something that others can see, for the first time: until then the program had not begun.
    first_act: Option<Duration>,
    /// When a signal that asks a gateway to end found nobody who handled it.
    missed_signals: Vec<Duration>,
    /// Whether an operator started it, beside whatever supervises the service.
    pub(super) by_hand: bool,
    /// Whether it is to begin again in place when it is asked to restart.
    pub(super) in_place: bool,
    frozen: Vec<Interval>,
}

/// What made a life end or begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A signal that it handled.
    Signal(Signal),
    /// Its own order to restart, because somebody had asked for that in words, or edited the configuration.
    Order,
}

impl Cause {
    /// Whether it asks for a restart, for which nobody's stop timeout runs.
    pub(super) fn is_restart(self) -> bool {
        matches!(self, Self::Order | Self::Signal(Signal::User1))
    }

    /// The beginning of a sentence: how it came to the process called `name`, and when.
    pub(super) fn words(self, name: &str, at: Duration) -> String {
        match self {
            Self::Signal(signal) => format!("{signal} reached {name} at {}", moment(at)),
            Self::Order => {
                format!("{} was following an order to restart at {}", capital(name), moment(at))
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => signal.fmt(f),
            Self::Order => f.write_str("an order to restart"),
        }
    }
}

/// A request to end or to begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) at: Duration,
    pub(super) by: Cause,
    /// When it had begun again; never, unless restarts happen in place and nothing but a restart was asked for.
    pub(super) followed: Option<Duration>,
    /// The first signal that asked for a stop, be it this one or one that overtook it.
    pub(super) stop: Option<(Duration, Signal)>,
}

/// A stretch of serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stint {
    pub(super) time: Interval,
    /// What showed that it served: `bound the port`, `changed /state/inbox.jsonl`.
    pub(super) sign: String,
}

/// A stretch of time; open when it has no end yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) from: Duration,
    pub(super) until: Option<Duration>,
}

impl Interval {
    /// Whether `moment` lies in it: the beginning does, the end does not.
    pub(super) fn contains(&self, moment: Duration) -> bool {
        self.from <= moment && self.until.is_none_or(|until| moment < until)
    }
}

/// Every life of the service's processes, in the order of starting.
pub(super) fn lives(events: &[Event], terms: &Terms) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    let mut by_hand = false;
    for event in events {
        if let Fact::Ordered { order } = &event.fact {
            by_hand = *order == OperatorOrder::StartByHand;
        }
        let known = lives.len();
        take(&mut lives, terms, event);
        // Whoever is started by hand is nobody's, whatever supervises the service.
        if lives.len() > known && std::mem::take(&mut by_hand) {
            lives[known].by_hand = true;
            lives[known].in_place = terms.by_hand_restarts_in_place;
        }
    }
    lives
}

/// When the events of a run end.
pub(super) fn end_of(run: &Evidence<'_>) -> Duration {
    run.events.last().map_or(Duration::ZERO, |event| event.at)
}

fn take(lives: &mut Vec<Life>, terms: &Terms, event: &Event) {
    let at = event.at;
    if let Fact::Disk { pid, .. } | Fact::PortBound { pid, .. } = &event.fact {
        with_life(lives, *pid, |life| {
            life.first_act.get_or_insert(at);
        });
    }
    match &event.fact {
        Fact::ProcessStarted { pid, machine, program }
            if *machine == terms.machine && *program == terms.program =>
        {
            lives.push(Life::new(*pid, at, terms.restarts_in_place));
        }
        Fact::ProcessExited { pid, machine, cause, .. } if *machine == terms.machine => {
            with_life(lives, *pid, |life| life.end(at, *cause));
        }
        Fact::PortBound { pid, machine, port } if *machine == terms.machine && *port == terms.port => {
            with_life(lives, *pid, |life| life.bind(at));
        }
        Fact::PortReleased { pid, machine, port } if *machine == terms.machine && *port == terms.port => {
            with_life(lives, *pid, |life| life.release(at));
        }
        Fact::Disk { pid, op, path, error: None, .. } if is_instance_lock(path, &terms.state_dir) => {
            with_life(lives, *pid, |life| life.handles_lock(at, *op));
        }
        Fact::Disk { pid, op, path, error: None, .. } if changes_state(*op, path, &terms.state_dir) => {
            with_life(lives, *pid, |life| life.shows_service(at, || format!("changed {path}")));
        }
        Fact::SignalDelivered { pid, signal, handled: true } if ends_a_gateway(*signal) => {
            with_life(lives, *pid, |life| life.is_asked(at, *signal));
        }
        Fact::SignalDelivered { pid, signal, handled: false } if ends_a_gateway(*signal) => {
            with_life(lives, *pid, |life| life.missed_signals.push(at));
        }
        Fact::ProcessFrozen { pid } => {
            with_life(lives, *pid, |life| life.frozen.push(Interval { from: at, until: None }));
        }
        Fact::ProcessThawed { pid } => with_life(lives, *pid, |life| close(&mut life.frozen, at)),
        _ => {}
    }
}

/// Hands the living process with `pid` to `then`, if there is one.
fn with_life(lives: &mut [Life], pid: Pid, then: impl FnOnce(&mut Life)) {
    if let Some(life) = lives.iter_mut().rev().find(|life| life.pid == pid && life.ended.is_none()) {
        then(life);
    }
}

fn close(intervals: &mut [Interval], at: Duration) {
    if let Some(last) = intervals.last_mut() {
        last.until.get_or_insert(at);
    }
}

/// SIGTERM and SIGINT stop a gateway, SIGUSR1 restarts it, SIGQUIT ends it at once; the others do nothing of that.
const fn ends_a_gateway(signal: Signal) -> bool {
    matches!(signal, Signal::Terminate | Signal::Interrupt | Signal::User1 | Signal::Quit)
}

/// Whether an operation changes what a successor would find. Lock files are how instances find out about each
/// other, so touching them is not serving.
fn changes_state(op: FsOp, path: &str, state_dir: &str) -> bool {
    let changes = matches!(
        op,
        FsOp::Write | FsOp::Append | FsOp::CreateNew | FsOp::Rename | FsOp::Remove | FsOp::Truncate
    );
    let is_lock = || {
        let name = file_name(path);
        name.ends_with(".lock") || name.contains(".lock.")
    };
    changes && path.strip_prefix(state_dir).is_some_and(|rest| rest.starts_with('/')) && !is_lock()
}

/// The lock on the whole state directory, which says who may go on to the port.
pub(super) const INSTANCE_LOCK: &str = "gateway.lock";

fn is_instance_lock(path: &str, state_dir: &str) -> bool {
    // Asked of each disk operation, and mostly answered by the length.
    path.len() == state_dir.len() + 1 + INSTANCE_LOCK.len()
        && path.strip_prefix(state_dir).and_then(|rest| rest.strip_prefix('/')) == Some(INSTANCE_LOCK)
}

impl Request {
    const fn asks_to_begin_again(&self) -> bool {
        self.followed.is_none() && self.stop.is_none()
    }
}

impl Life {
    const fn new(pid: Pid, started_at: Duration, in_place: bool) -> Self {
        Self {
            pid,
            started_at,
            ended: None,
            holds: Vec::new(),
            has_lock: Vec::new(),
            stints: Vec::new(),
            ending_signals: Vec::new(),
            requests: Vec::new(),
            first_act: None,
            missed_signals: Vec::new(),
            by_hand: false,
            in_place,
            frozen: Vec::new(),
        }
    }

    fn end(&mut self, at: Duration, cause: DeathCause) {
        self.ended = Some((at, cause));
        close(&mut self.holds, at);
        close(&mut self.has_lock, at);
        close(&mut self.frozen, at);
        self.stop_serving(at);
    }

    fn handles_lock(&mut self, at: Duration, op: FsOp) {
        let is_held = self.has_lock.last().is_some_and(|held| held.until.is_none());
        match op {
            FsOp::CreateNew | FsOp::Rename if !is_held => {
                self.has_lock.push(Interval { from: at, until: None });
            }
            FsOp::Remove => {
                close(&mut self.has_lock, at);
                let had_port = |stint: &Stint| {
                    let from = stint.time.from;
                    self.holds.iter().any(|hold| hold.until.is_none_or(|until| until >= from))
                };
                // Who never came to the port lets others come first.
                if self.stints.last().is_some_and(|stint| !had_port(stint)) {
                    self.stop_serving(at);
                }
                // What it wrote until then was the end of what it is to begin again.
                if self.in_place && self.requests.last().is_some_and(Request::asks_to_begin_again) {
                    self.stop_serving(at);
                }
            }
            _ => {}
        }
    }

    fn bind(&mut self, at: Duration) {
        if self.in_place
            && let Some(request) = self.requests.last_mut().filter(|request| request.asks_to_begin_again())
        {
            request.followed = Some(at);
        }
        self.holds.push(Interval { from: at, until: None });
        self.shows_service(at, || "bound the port".to_string());
    }

    fn release(&mut self, at: Duration) {
        close(&mut self.holds, at);
        if self.in_place && self.requests.last().is_some_and(Request::asks_to_begin_again) {
            self.stop_serving(at);
        }
    }

    fn shows_service(&mut self, at: Duration, sign: impl FnOnce() -> String) {
        if self.stints.last().is_none_or(|stint| stint.time.until.is_some()) {
            self.stints.push(Stint { time: Interval { from: at, until: None }, sign: sign() });
        }
    }

    fn stop_serving(&mut self, at: Duration) {
        if let Some(stint) = self.stints.last_mut() {
            stint.time.until.get_or_insert(at);
        }
    }

    /// Without a signal it gave the port back in order to begin again in place, and had it again at `followed`, if at all.
    pub(super) fn pauses(&mut self, released: Duration, followed: Option<Duration>) {
        let place = self.stints.iter().position(|stint| stint.time.contains(released));
        let Some(place) = place.filter(|_| self.in_place) else { return };
        let until = self.stints[place].time.until.replace(released);
        if let Some(from) = followed {
            let again = Stint { time: Interval { from, until }, sign: "bound the port".to_string() };
            self.stints.insert(place + 1, again);
        }
    }

    fn is_asked(&mut self, at: Duration, signal: Signal) {
        self.ending_signals.push((at, signal));
        let stop = (signal != Signal::User1).then_some((at, signal));
        match self.requests.last_mut().filter(|request| request.followed.is_none()) {
            Some(open) => open.stop = open.stop.or(stop),
            None => self.requests.push(Request { at, by: Cause::Signal(signal), followed: None, stop }),
        }
    }

    /// `gateway pid 214`
    pub(super) fn name(&self) -> String {
        format!("gateway pid {}", self.pid)
    }

    /// When it ended, if it has.
    pub(super) fn ended_at(&self) -> Option<Duration> {
        self.ended.map(|(at, _)| at)
    }

    /// How it ended, for a sentence: `it ended at 2.958 s (exit 0)`.
    pub(super) fn end_words(&self) -> String {
        match self.ended {
            Some((at, cause)) => format!("it ended at {} ({cause})", moment(at)),
            None => "it never ended".to_string(),
        }
    }

    /// Whether it holds the port at `moment`.
    pub(super) fn holds_port_at(&self, moment: Duration) -> bool {
        self.holds.iter().any(|hold| hold.contains(moment))
    }

    /// Whether it has the lock on the whole state directory at `moment`.
    pub(super) fn has_lock_at(&self, moment: Duration) -> bool {
        self.has_lock.iter().any(|held| held.contains(moment))
    }

    /// For how long it served between two moments: it held the port, was not frozen, and had not been asked to end
    /// since it took the port.
    pub(super) fn served_between(&self, from: Duration, until: Duration) -> Duration {
        let served = |hold: &Interval| {
            let asked = self.ending_signals.iter().map(|(at, _)| *at).find(|at| *at >= hold.from);
            let ends = [hold.until, asked].into_iter().flatten().fold(until, Duration::min);
            let begins = hold.from.max(from);
            ends.saturating_sub(begins).saturating_sub(self.frozen_between(begins, ends))
        };
        self.holds.iter().map(served).sum()
    }

    /// Whether a signal that asked for its end came between two moments, and before the program had begun, so that
    /// nobody could hear it. Who lives on is the first process of a container, which such a signal spares.
    pub(super) fn could_not_hear_between(&self, from: Duration, until: Duration) -> bool {
        let missed = self.missed_signals.iter().find(|at| (from..=until).contains(*at));
        missed.is_some_and(|at| self.first_act.is_none_or(|acted| *at < acted))
    }

    /// The request that it was following at `moment`, if any.
    pub(super) fn request_at(&self, moment: Duration) -> Option<Request> {
        let is_open = |request: &&Request| {
            request.at <= moment && request.followed.is_none_or(|followed| moment < followed)
        };
        self.requests.iter().find(is_open).copied()
    }

    /// When what serves at `moment` began: with the process, or when it last began again.
    pub(super) fn began_before(&self, moment: Duration) -> Duration {
        let followed = self.requests.iter().filter_map(|request| request.followed);
        followed.filter(|at| *at <= moment).max().unwrap_or(self.started_at)
    }

    /// For how long it has been standing still at `moment`, be it the moment of its end.
    pub(super) fn still_for(&self, moment: Duration) -> Duration {
        let dies_so = |frozen: &Interval| frozen.until == Some(moment) && self.ended_at() == Some(moment);
        let now = self.frozen.iter().find(|frozen| frozen.contains(moment) || dies_so(frozen));
        now.map_or(Duration::ZERO, |frozen| moment.saturating_sub(frozen.from))
    }

    /// For how long it was frozen between two moments.
    pub(super) fn frozen_between(&self, from: Duration, until: Duration) -> Duration {
        let overlap = |frozen: &Interval| {
            let end = frozen.until.unwrap_or(until).min(until);
            end.saturating_sub(frozen.from.max(from))
        };
        self.frozen.iter().map(overlap).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::story::Story;

    fn lives_of(story: Story) -> Vec<Life> {
        let events = story.events();
        lives(&events, &Terms::default())
    }

    #[test]
    fn a_reused_pid_is_a_new_life() {
        let found = lives_of(Story::new().at(0).serves(1).at(5).exits(0).at(9).serves(1));
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].holds,
            [Interval { from: Duration::ZERO, until: Some(Duration::from_millis(5)) }]
        );
        assert!(found[1].ended.is_none() && found[1].holds_port_at(Duration::from_millis(9)));
    }

    #[test]
    fn a_life_follows_a_restart_in_place_when_it_binds_again_and_never_follows_a_stop() {
        let at = Duration::from_millis;
        let requests = |story: Story, restarts_in_place: bool| {
            let events = story.events();
            let terms = Terms { restarts_in_place, ..Terms::default() };
            lives(&events, &terms).remove(0).requests
        };
        let twice = || {
            let story = Story::new().at(0).serves(1).at(5).signal(Signal::User1).at(6).signal(Signal::User1);
            story.at(7).releases().at(8).binds().at(20).signal(Signal::User1).at(21).releases().binds()
        };
        let request = |from, followed: Option<u64>| Request {
            at: at(from),
            by: Cause::Signal(Signal::User1),
            followed: followed.map(at),
            stop: None,
        };
        assert_eq!(requests(twice(), true), [request(5, Some(8)), request(20, Some(21))]);
        assert_eq!(requests(twice(), false), [request(5, None)], "it had to end");
        let stopped =
            Story::new().at(0).serves(1).at(5).signal(Signal::User1).at(6).signal(Signal::Terminate);
        assert_eq!(
            requests(stopped.at(7).releases().at(8).binds(), true),
            [Request { stop: Some((at(6), Signal::Terminate)), ..request(5, None) }]
        );
    }

    #[test]
    fn who_was_started_by_hand_begins_again_in_place_whatever_supervises_the_others() {
        let by_hand = Fact::Ordered { order: OperatorOrder::StartByHand };
        let restarted = |story: Story, pid| {
            let story = story.gateway(pid).starts().binds().at(5).signal(Signal::User1).at(6).releases();
            story.at(7).binds()
        };
        let followed = |story| lives_of(story).last().expect("it lived").requests[0].followed;
        let hand = || Story::new().at(0).fact(crate::timeline::Source::Operator, by_hand.clone());
        assert_eq!(followed(restarted(hand(), 215)), Some(Duration::from_millis(7)));
        let next = restarted(hand().gateway(214).starts().exits(78), 215);
        assert_eq!(followed(next), None, "the one after it is the supervisor's");
    }

    #[test]
    fn only_changes_of_state_files_count_and_lock_files_do_not() {
        assert!(changes_state(FsOp::Append, "/state/inbox.jsonl", "/state"));
        assert!(!changes_state(FsOp::Read, "/state/inbox.jsonl", "/state"));
        assert!(!changes_state(FsOp::CreateNew, "/state/gateway.lock", "/state"));
        assert!(!changes_state(FsOp::Write, "/state/gateway.lock.tmp-3", "/state"));
        assert!(!changes_state(FsOp::Append, "/stateless/inbox.jsonl", "/state"));
    }

    #[test]
    fn a_life_serves_while_it_has_the_port_and_nobody_asked_it_to_end() {
        let first =
            Story::new().at(100).serves(1).at(200).frozen().at(300).thawed().at(500).signal(Signal::User1);
        let found = lives_of(first.at(600).releases().at(700).binds().at(900).exits(0));
        let served = |from, until| {
            found[0].served_between(Duration::from_millis(from), Duration::from_millis(until)).as_millis()
        };
        assert_eq!(
            [served(0, 1_000), served(150, 250), served(500, 650), served(800, 850)],
            [500, 50, 0, 50]
        );
    }

    #[test]
    fn frozen_time_is_clipped_to_the_question() {
        let found = lives_of(Story::new().serves(1).at(100).frozen().at(300).thawed().at(500).frozen());
        let frozen = |from, until| {
            found[0].frozen_between(Duration::from_millis(from), Duration::from_millis(until)).as_millis()
        };
        assert_eq!([frozen(0, 1_000), frozen(200, 250), frozen(300, 500), frozen(0, 600)], [700, 50, 0, 300]);
    }
}
