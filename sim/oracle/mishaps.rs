//! What befell the world and its people, moment by moment: one fold over the timeline.
//!
//! Whether something was in the way that nobody could help is asked by many oracles. Here stands what was in the way, since
//! when and until when: disks that refused, links that were cut, processes that stood still, a store that was spoilt,
//! and everybody who wanted a gateway to go. What follows from it is for whoever asks.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::env::{FsOp, Pid, Signal};

use super::life::{Interval, Life};
use super::lock_has_a_live_owner::is_trouble;
use super::restarts::RestartRequest;
use super::{Terms, file_name};
use crate::timeline::{DeathCause, Event, Fact, Injection, OperatorOrder, STORE_FILE, Source, TOOL_PROGRAM};

/// Everything that befell a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Mishaps {
    refusals: Vec<Refusal>,
    cuts: Vec<Cut>,
    still: Vec<(Pid, Interval)>,
    /// When processes may have waited for their disk to make something durable, in order.
    syncs: Vec<(Pid, Interval)>,
    wishes: Vec<Wish>,
    damages: Vec<Damage>,
    reloads: Vec<Reload>,
    foreign_locks: Vec<ForeignLock>,
    /// Whose conversation senders talk in, who have none of their own.
    joined: BTreeMap<String, String>,
    /// When all of a conversation was to be stopped, and whose.
    stops: Vec<(Duration, String)>,
}

/// Somebody has the service loaded anew by a tool, which ends it and starts it again.
#[derive(Clone, Copy, Debug)]
struct Reload {
    ordered_at: Duration,
    /// The tool, once it has begun.
    tool: Option<Pid>,
    /// When the tool ended, and whether somebody killed it.
    ended: Option<(Duration, bool)>,
}

/// A lock of the gateway's that another program had.
#[derive(Clone, Debug)]
struct ForeignLock {
    path: String,
    time: Interval,
}

/// An operation of the disk that failed.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    at: Duration,
    pid: Pid,
}

/// A link that let nothing through.
#[derive(Clone, Debug)]
struct Cut {
    ends: [String; 2],
    time: Interval,
}

/// Somebody wanted a gateway to go, or what it serves to change.
#[derive(Clone, Copy, Debug)]
struct Wish {
    at: Duration,
    kind: WishKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WishKind {
    /// An order to whoever supervises the service.
    Order,
    /// An edit of the configuration.
    Edit,
    /// A signal to a process that handled it.
    Signal { to: Pid, signal: Signal, by_command_line: bool },
}

/// The session store was overwritten from outside.
#[derive(Clone, Copy, Debug)]
struct Damage {
    /// Until a gateway that began after it has the port: by then it has put the store in order.
    time: Interval,
    /// There had been a conversation by then, of which a copy or a transcript tells.
    can_be_mended: bool,
}

impl Mishaps {
    /// From the events, the lives and the requests for restarts.
    pub(super) fn of(events: &[Event], terms: &Terms, lives: &[Life], restarts: &[RestartRequest]) -> Self {
        let mut found = Self::default();
        let mut has_talked = false;
        for event in events {
            found.take(event, terms, lives, has_talked);
            has_talked |=
                matches!(event.fact, Fact::ProviderRequested { .. } | Fact::CronRunRequested { .. });
        }
        for life in lives {
            let signals = life.ending_signals.iter().map(|(at, signal)| Wish {
                at: *at,
                kind: WishKind::Signal {
                    to: life.pid,
                    signal: *signal,
                    by_command_line: is_by_command_line(restarts, *at, *signal),
                },
            });
            found.wishes.extend(signals);
        }
        found
    }

    fn take(&mut self, event: &Event, terms: &Terms, lives: &[Life], has_talked: bool) {
        let at = event.at;
        let open = Interval { from: at, until: None };
        match &event.fact {
            Fact::Disk { pid, op, error: Some(error), .. } if is_trouble(*op, error) => {
                self.refusals.push(Refusal { at, pid: *pid })
            }
            Fact::Disk { pid, op: FsOp::SyncFile | FsOp::SyncDir, error: None, .. } => {
                self.waits_for_disk(*pid, at, terms.longest_sync);
            }
            Fact::LinkPartitioned { a, b } => {
                self.cuts.push(Cut { ends: [a.clone(), b.clone()], time: open });
            }
            Fact::LinkHealed { a, b } => {
                let healed = |cut: &&mut Cut| cut.ends == [a.as_str(), b.as_str()];
                self.cuts.iter_mut().filter(healed).for_each(|cut| close(&mut cut.time, at));
            }
            Fact::ProcessFrozen { pid } => self.still.push((*pid, open)),
            Fact::ProcessThawed { pid } => self.goes_on(*pid, at),
            Fact::ProcessExited { pid, cause, .. } => {
                self.goes_on(*pid, at);
                let of_it = |reload: &&mut Reload| reload.tool == Some(*pid) && reload.ended.is_none();
                if let Some(reload) = self.reloads.iter_mut().rev().find(of_it) {
                    reload.ended = Some((at, !matches!(cause, DeathCause::Exited(_))));
                }
            }
            Fact::Ordered { order } => {
                self.wishes.push(Wish { at, kind: WishKind::Order });
                if *order == OperatorOrder::Reload {
                    self.reloads.push(Reload { ordered_at: at, tool: None, ended: None });
                }
            }
            Fact::ProcessStarted { pid, program, .. } if program == TOOL_PROGRAM => {
                if let Some(reload) = self.reloads.last_mut() {
                    reload.tool.get_or_insert(*pid);
                }
            }
            Fact::Disk { pid, op, path, error: None, .. } if path.ends_with(".lock") => {
                self.lock_is_handled(*pid, *op, path, at, lives);
            }
            Fact::SenderJoined { whose } => {
                if let Source::Sender(sender) = &event.source {
                    self.joined.insert(sender.clone(), whose.clone());
                }
            }
            Fact::ConversationStopRequested { whose } => self.stops.push((at, whose.clone())),
            Fact::ConfigEdited { .. } => self.wishes.push(Wish { at, kind: WishKind::Edit }),
            Fact::Injected { fault: Injection::CorruptState, what } if spoils_the_store(what) => {
                self.damages.push(Damage { time: open, can_be_mended: has_talked });
            }
            Fact::Injected { fault: Injection::LeaveLock, what } => {
                let file = what.split(" was left behind").next().unwrap_or_default();
                self.foreign_locks
                    .push(ForeignLock { path: format!("{}/{file}", terms.state_dir), time: open });
            }
            Fact::PortBound { pid, machine, port } if *machine == terms.machine && *port == terms.port => {
                // Another program mends nothing.
                let began = lives.iter().rev().find(|life| life.pid == *pid && life.started_at <= at);
                let seen = self
                    .damages
                    .iter_mut()
                    .filter(|damage| began.is_some_and(|life| damage.time.from <= life.started_at));
                seen.for_each(|damage| close(&mut damage.time, at));
            }
            _ => {}
        }
    }

    fn waits_for_disk(&mut self, pid: Pid, at: Duration, longest: Duration) {
        if longest.is_zero() {
            return;
        }
        let before = self.syncs.iter().rev().find(|(of, _)| *of == pid);
        let from = before.and_then(|(_, time)| time.until).map_or(at, |until| until.max(at));
        self.syncs.push((pid, Interval { from, until: Some(from + longest) }));
    }

    fn goes_on(&mut self, pid: Pid, at: Duration) {
        let of_it = self.still.iter_mut().filter(|(still, _)| *still == pid);
        of_it.for_each(|(_, time)| close(time, at));
    }

    fn lock_is_handled(&mut self, pid: Pid, op: FsOp, path: &str, at: Duration, lives: &[Life]) {
        let held = |lock: &&mut ForeignLock| lock.path == path && lock.time.until.is_none();
        match op {
            // Whoever takes one over that was left behind puts its own there.
            FsOp::Remove | FsOp::Rename => {
                self.foreign_locks.iter_mut().filter(held).for_each(|lock| close(&mut lock.time, at))
            }
            FsOp::CreateNew if lives.iter().all(|life| life.pid != pid) => {
                let time = Interval { from: at, until: None };
                self.foreign_locks.push(ForeignLock { path: path.to_string(), time });
            }
            _ => {}
        }
    }

    /// When another program gave back a lock of the gateway's, or one that was left behind was taken over, for which many may
    /// have waited.
    pub(super) fn locks_came_free(&self) -> impl Iterator<Item = Duration> {
        self.foreign_locks.iter().filter_map(|lock| lock.time.until)
    }

    /// Whether the tool is at work by which somebody has the service loaded anew.
    pub(super) fn is_being_loaded_anew(&self, at: Duration) -> bool {
        self.reloads.iter().any(|reload| {
            reload.ordered_at <= at
                && reload.tool.is_some()
                && reload.ended.is_none_or(|(ended, _)| at < ended)
        })
    }

    /// Whether somebody killed the tool that was to load the service anew, for the last time before it could have.
    pub(super) fn reload_was_killed(&self) -> bool {
        self.reloads.last().is_some_and(|reload| reload.ended.is_some_and(|(_, was_killed)| was_killed))
    }

    /// Who has the conversation in which a sender talks: themselves, unless they joined somebody else's.
    pub(super) fn conversation_of<'a>(&'a self, sender: &'a str) -> &'a str {
        self.joined.get(sender).map_or(sender, String::as_str)
    }

    /// When all of the conversation was to be stopped in which a sender talks, each time, where several share it.
    pub(super) fn stops_of<'a>(&'a self, sender: &'a str) -> impl Iterator<Item = Duration> + 'a {
        let own = self.conversation_of(sender);
        self.stops.iter().filter(move |(_, whose)| whose == own).map(|(at, _)| *at)
    }

    /// Whether any operation of a disk failed, the ends of the time included.
    pub(super) fn disk_failed(&self, from: Duration, until: Duration) -> bool {
        self.refusals.iter().any(|refusal| (from..=until).contains(&refusal.at))
    }

    /// When operations of the disk failed, in order.
    pub(super) fn disk_failures(&self) -> impl Iterator<Item = Duration> {
        self.refusals.iter().map(|refusal| refusal.at)
    }

    /// The last time that the disk refused something to this process, the ends of the time included.
    pub(super) fn last_refusal(&self, to: Pid, from: Duration, until: Duration) -> Option<Duration> {
        let of_it = self.refusals.iter().rev().filter(|refusal| refusal.pid == to);
        of_it.map(|refusal| refusal.at).filter(|at| (from..=until).contains(at)).max()
    }

    /// Whether any link was cut at some moment of the time.
    pub(super) fn any_link_was_cut(&self, from: Duration, until: Duration) -> bool {
        self.cuts.iter().any(|cut| overlaps(&cut.time, from, until))
    }

    /// When nothing passed to or from a machine.
    pub(super) fn cuts_of<'a>(&'a self, machine: &'a str) -> impl Iterator<Item = Interval> + 'a {
        self.cuts.iter().filter(move |cut| cut.ends.iter().any(|end| end == machine)).map(|cut| cut.time)
    }

    /// When processes stood still, and which.
    pub(super) fn stillness(&self) -> impl Iterator<Item = (Pid, Interval)> {
        self.still.iter().copied()
    }

    /// For how long a process, of whatever program, stood still in that time.
    pub(super) fn stood_still(&self, who: Pid, from: Duration, until: Duration) -> Duration {
        let of_it = self.still.iter().filter(|(pid, _)| *pid == who);
        of_it.map(|(_, time)| overlap(time, from, until)).sum()
    }

    /// For how long a process may have waited for its disk in that time, which does nothing else meanwhile: each thing
    /// that it makes durable waits for those before it.
    pub(super) fn waited_for_disk(&self, who: Pid, from: Duration, until: Duration) -> Duration {
        let of_it = self.syncs.iter().filter(|(pid, _)| *pid == who);
        of_it.map(|(_, time)| overlap(time, from, until)).sum()
    }

    /// Whether somebody gave the supervisor an order, the ends of the time included.
    pub(super) fn was_ordered(&self, from: Duration, until: Duration) -> bool {
        self.wishes(from, until).any(|kind| kind == WishKind::Order)
    }

    /// Whether somebody edited the configuration, the ends of the time included.
    pub(super) fn was_edited(&self, from: Duration, until: Duration) -> bool {
        self.wishes(from, until).any(|kind| kind == WishKind::Edit)
    }

    /// Whether somebody else than the command line of a restart sent the process a signal that asks it to go, the ends of
    /// the time included.
    pub(super) fn was_signalled(&self, who: Pid, from: Duration, until: Duration) -> bool {
        self.wishes(from, until)
            .any(|kind| matches!(kind, WishKind::Signal { to, by_command_line: false, .. } if to == who))
    }

    /// When somebody else than the command line asked a gateway to begin again with a signal.
    pub(super) fn restart_signals(&self) -> impl Iterator<Item = (Pid, Duration)> {
        self.wishes.iter().filter_map(|wish| match wish.kind {
            WishKind::Signal { to, signal: Signal::User1, by_command_line: false } => Some((to, wish.at)),
            _ => None,
        })
    }

    /// Whether the store was spoilt by then, and no gateway has had occasion to put it in order since.
    pub(super) fn store_is_spoilt(&self, at: Duration) -> bool {
        self.damages.iter().any(|damage| damage.time.contains(at))
    }

    /// The same, and nothing says what was in it: it is for its owner to look, and a gateway begins only afterwards.
    pub(super) fn store_is_beyond_repair(&self, at: Duration) -> bool {
        self.damages.iter().any(|damage| damage.time.contains(at) && !damage.can_be_mended)
    }

    /// When it was so.
    pub(super) fn stores_beyond_repair(&self) -> impl Iterator<Item = Interval> {
        self.damages.iter().filter(|damage| !damage.can_be_mended).map(|damage| damage.time)
    }

    /// Whether somebody spoilt the store in that time.
    pub(super) fn store_was_spoilt(&self, from: Duration, until: Duration) -> bool {
        self.damages.iter().any(|damage| (from..=until).contains(&damage.time.from))
    }

    fn wishes(&self, from: Duration, until: Duration) -> impl Iterator<Item = WishKind> {
        self.wishes.iter().filter(move |wish| (from..=until).contains(&wish.at)).map(|wish| wish.kind)
    }
}

/// A restart signal that comes while a command line is at work is the command line's, unless that says it did something
/// else; it sends no other signal.
fn is_by_command_line(restarts: &[RestartRequest], at: Duration, signal: Signal) -> bool {
    let is_at_work = |request: &RestartRequest| {
        let until = request.answer.as_ref().map_or(Duration::MAX, |answer| answer.at);
        let may = request.answer.as_ref().is_none_or(|answer| answer.may_have_signalled);
        may && (request.asked_at..=until).contains(&at)
    };
    signal == Signal::User1 && restarts.iter().any(is_at_work)
}

/// Whether what was injected is a new content of the session store.
fn spoils_the_store(what: &str) -> bool {
    let spoilt = what.strip_suffix(" in the state directory is overwritten");
    spoilt.is_some_and(|file| file_name(file) == STORE_FILE)
}

fn close(time: &mut Interval, at: Duration) {
    time.until.get_or_insert(at);
}

fn overlaps(time: &Interval, from: Duration, until: Duration) -> bool {
    time.from <= until && time.until.is_none_or(|ended| ended >= from)
}

fn overlap(time: &Interval, from: Duration, until: Duration) -> Duration {
    time.until.unwrap_or(until).min(until).saturating_sub(time.from.max(from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Evidence;
    use crate::timeline::story::Story;
    use crate::timeline::{Ledger, RestartMode};

    const SPOILT: &str = "agents/main/sessions/sessions.json in the state directory is overwritten";

    fn ask<T>(story: Story, question: impl FnOnce(&Mishaps) -> T) -> T {
        let events = story.events();
        let (ledger, terms) = (Ledger::of(&events), Terms::default());
        question(&Evidence::new(&events, &ledger, &terms).mishaps)
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_spoilt_store_is_in_order_again_when_a_gateway_that_began_later_has_the_port() {
        let talked = || Story::new().at(0).serves(214).at(1_000).sent(1).asked(1, 1).at(2_000).exits(0);
        let spoilt =
            || talked().at(3_000).injected(Injection::CorruptState, SPOILT).at(4_000).gateway(215).starts();
        let looks = |mishaps: &Mishaps| [2, 3, 5, 7].map(|at| mishaps.store_is_spoilt(s(at)));
        assert_eq!(ask(spoilt().at(6_000).binds(), looks), [false, true, true, false]);
        assert_eq!(ask(spoilt().at(6_000).exits(1), looks), [false, true, true, true]);
        let squatter = talked().at(3_000).injected(Injection::CorruptState, SPOILT).at(6_000);
        let squatter = squatter.program("squatter", 900).starts().binds();
        assert!(ask(squatter, |mishaps| mishaps.store_is_spoilt(s(7))));
        let other = talked()
            .at(3_000)
            .injected(Injection::CorruptState, "tasks.json in the state directory is overwritten");
        assert_eq!(ask(other, looks), [false; 4]);
        let while_it_began =
            talked().at(2_500).gateway(215).starts().at(3_000).injected(Injection::CorruptState, SPOILT);
        assert!(ask(while_it_began.at(6_000).binds(), |mishaps| mishaps.store_is_spoilt(s(7))));
    }

    #[test]
    fn a_store_is_beyond_repair_when_nobody_had_ever_talked() {
        let story = |talks: bool| {
            let story = Story::new().at(0).serves(214).at(1_000).sent(1);
            let story = if talks { story.asked(1, 1) } else { story };
            story.at(2_000).exits(0).at(3_000).injected(Injection::CorruptState, SPOILT).at(9_000)
        };
        assert!(!ask(story(true), |mishaps| mishaps.store_is_beyond_repair(s(5))));
        assert!(ask(story(false), |mishaps| mishaps.store_is_beyond_repair(s(5))));
        assert!(!ask(story(false), |mishaps| mishaps.store_is_beyond_repair(s(2))));
    }

    #[test]
    fn a_restart_signal_is_the_command_lines_while_that_is_at_work_and_a_stop_signal_never_is() {
        let signalled = |at, signal, result| {
            let story = Story::new().at(0).serves(214).at(1_000).asks_for_restart(1, RestartMode::Plain);
            let story = story.at(3_000).answers_restart(1, true, result, "it comes");
            let mut events = story.events();
            let signal = Story::new().at(at).gateway(214).signal(signal).events().remove(0);
            let place = events.partition_point(|event| event.at <= signal.at);
            events.insert(place, signal);
            let (ledger, terms) = (Ledger::of(&events), Terms::default());
            Evidence::new(&events, &ledger, &terms).mishaps.was_signalled(Pid(214), s(0), s(9))
        };
        let gave_up = |at| {
            let story = Story::new().at(0).serves(214).at(1_000).asks_for_restart(1, RestartMode::Plain);
            let story = story.gateway(214).at(at).signal(Signal::User1).at(3_000);
            let events = story.answers_restart(1, false, None, "closed 1012 service restart").events();
            let (ledger, terms) = (Ledger::of(&events), Terms::default());
            Evidence::new(&events, &ledger, &terms).mishaps.was_signalled(Pid(214), s(0), s(9))
        };
        assert!(gave_up(2_000), "who gives up had sent nothing");
        let sent = Some("signalled");
        assert_eq!([2_000, 4_000].map(|at| signalled(at, Signal::User1, sent)), [false, true]);
        assert_eq!([2_000, 4_000].map(|at| signalled(at, Signal::User1, Some("deferred"))), [true, true]);
        assert_eq!([2_000, 4_000].map(|at| signalled(at, Signal::Terminate, sent)), [true, true]);
    }

    #[test]
    fn stillness_ends_with_the_process_and_cuts_when_they_heal() {
        let still = Story::new().at(0).serves(214).at(1_000).frozen().at(4_000).exits(0).at(9_000).ended();
        assert_eq!(ask(still, |mishaps| mishaps.stood_still(Pid(214), s(2), s(9))), s(2));
        let world = || crate::timeline::Source::World;
        let cut = Fact::LinkPartitioned { a: "clients".into(), b: "gateway".into() };
        let healed = Fact::LinkHealed { a: "clients".into(), b: "gateway".into() };
        let story = Story::new().at(2_000).fact(world(), cut).at(4_000).fact(world(), healed);
        let was_cut = |mishaps: &Mishaps| {
            [(0, 1), (1, 3), (3, 9), (5, 9)].map(|(from, until)| mishaps.any_link_was_cut(s(from), s(until)))
        };
        assert_eq!(ask(story, was_cut), [false, true, true, false]);
    }

    #[test]
    fn refusals_of_the_disk_are_known_by_whom_they_met() {
        let append = gateway::env::FsOp::Append;
        let story = Story::new().at(1_000).gateway(214).disk_fails(append, "/state/inbox.jsonl", "no space");
        let met = |mishaps: &Mishaps| {
            let last = [214, 215].map(|pid| mishaps.last_refusal(Pid(pid), s(0), s(9)).is_some());
            (mishaps.disk_failed(s(0), s(1)), mishaps.disk_failed(s(2), s(9)), last)
        };
        assert_eq!(ask(story, met), (true, false, [true, false]));
    }
}
