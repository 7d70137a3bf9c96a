//! What platforms took from bots, and whether a bot could know it: which second send nobody could avoid.
//!
//! A fold over the events. A bot that does not know whether its message was taken has to send it again, where a platform
//! has no key by which it would recognise it. The rule is tight: the process ended of no will of its own before it
//! could have noted the answer, or the platform cut the line, or no answer had come in ten seconds, be it that the process
//! stood still meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::env::{ExitCode, FsOp, Pid, Signal};

use super::words::moment;
use super::{DeathCause, Event, Fact, GATEWAY_PROGRAM, Platform, Source};

/// How long after an answer a process may take to note it.
const NOTING: Duration = Duration::from_millis(500);
/// Who has no answer for so long may take the line for broken.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a process that ends by itself has to have waited for the answer since its message was taken; or for as long
/// as it has to have patience, since that came to the platform.
const WAITED: Duration = Duration::from_secs(5);
/// How long what was sent at one moment from both ends of a line may be on its way, unless the network is slower.
const CROSSING: Duration = Duration::from_millis(50);
/// The machine that platforms run on: a cut link to it holds answers back.
const PLATFORMS: &str = "platforms";

/// Everything that platforms took.
#[derive(Clone, Debug, Default)]
pub struct Sends {
    sends: BTreeMap<u32, Send>,
    /// Stretches in which no packet passes to or from the platforms; the last one may be open.
    cuts: Vec<(Duration, Option<Duration>)>,
    /// The same for processes that stand still.
    still: BTreeMap<Pid, Vec<(Duration, Option<Duration>)>>,
    signals: BTreeMap<Pid, u32>,
    /// When processes were sent the first of them.
    signalled_at: BTreeMap<Pid, Duration>,
    /// How processes ended, with the signals that they had been sent. What they sent may still be on its way.
    dead: BTreeMap<Pid, (Duration, DeathCause, u32)>,
    failed_writes: BTreeMap<Pid, Vec<Duration>>,
    /// When processes may have waited for their disk, which do nothing else meanwhile.
    syncs: BTreeMap<Pid, Vec<(Duration, Option<Duration>)>>,
    delays: Delays,
}

/// What things may take in a world at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delays {
    /// The network, from one end of a line to the other.
    pub longest_way: Duration,
    /// The disk, to make something durable.
    pub longest_sync: Duration,
    /// A stop, before the supervisor kills; `None`: as long as it likes.
    pub stop_timeout: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Send {
    platform: Platform,
    key: Option<String>,
    pid: Option<Pid>,
    /// When it came to the platform.
    asked_at: Duration,
    taken_at: Duration,
    answered_at: Option<Duration>,
    cut_at: Option<Duration>,
    owner_died: Option<(Duration, DeathCause)>,
    /// How many signals its process had been sent by then; SIGQUIT, which allows no time at all, counts twice.
    signals: u32,
}

impl Sends {
    /// Nothing yet, in a world that may take so long.
    pub(super) fn within(delays: Delays) -> Self {
        Self { delays, ..Self::default() }
    }

    /// Takes note of one event.
    pub(super) fn take(&mut self, event: &Event) {
        let at = event.at;
        match &event.fact {
            Fact::SendTaken { send, key, pid, under_way, .. } => {
                let Source::Platform(platform) = event.source else { return };
                // On a connection that was opened by nobody who lives when it is accepted, it is the last word of who died.
                let last_to_die =
                    || self.dead.iter().max_by_key(|(_, (died, ..))| *died).map(|(pid, _)| *pid);
                let (key, pid) = (key.clone(), pid.or_else(last_to_die));
                let dead = pid.and_then(|pid| self.dead.get(&pid).copied());
                let taken = Send {
                    platform,
                    key,
                    pid,
                    asked_at: at.saturating_sub(*under_way),
                    taken_at: at,
                    answered_at: None,
                    cut_at: None,
                    owner_died: dead.map(|(died, cause, _)| (died, cause)),
                    signals: dead.map_or(0, |(.., signals)| signals),
                };
                self.sends.insert(*send, taken);
            }
            Fact::SendAnswered { send } => self.with(*send, |send| send.answered_at = Some(at)),
            Fact::SendUnanswered { send, cut: true } => self.with(*send, |send| send.cut_at = Some(at)),
            Fact::ProcessExited { pid, program, cause, .. } if program == GATEWAY_PROGRAM => {
                self.died(*pid, at, *cause);
            }
            // Ids are used again.
            Fact::ProcessStarted { pid, .. } => {
                self.dead.remove(pid);
                self.signalled_at.remove(pid);
            }
            // One that asks for an end at once hurries as much as a second one does.
            Fact::SignalDelivered { pid, signal, .. } => {
                self.signalled_at.entry(*pid).or_insert(at);
                *self.signals.entry(*pid).or_default() += if *signal == Signal::Quit { 2 } else { 1 };
            }
            Fact::ProcessFrozen { pid } => self.still.entry(*pid).or_default().push((at, None)),
            Fact::ProcessThawed { pid } => close(self.still.get_mut(pid), at),
            Fact::LinkPartitioned { a, b } if a == PLATFORMS || b == PLATFORMS => self.cuts.push((at, None)),
            Fact::LinkHealed { a, b } if a == PLATFORMS || b == PLATFORMS => close(Some(&mut self.cuts), at),
            Fact::Disk { pid, error: Some(_), .. } if !self.sends.is_empty() => {
                self.failed_writes.entry(*pid).or_default().push(at);
            }
            Fact::Disk { pid, op: FsOp::SyncFile | FsOp::SyncDir, error: None, .. } => {
                self.waits_for_disk(*pid, at);
            }
            _ => {}
        }
    }

    /// Each thing that is made durable waits for those before it.
    fn waits_for_disk(&mut self, pid: Pid, at: Duration) {
        let longest = self.delays.longest_sync;
        if longest.is_zero() {
            return;
        }
        let syncs = self.syncs.entry(pid).or_default();
        let from = syncs.last().and_then(|(_, until)| *until).map_or(at, |until| until.max(at));
        syncs.push((from, Some(from + longest)));
    }

    fn with(&mut self, number: u32, change: impl FnOnce(&mut Send)) {
        if let Some(send) = self.sends.get_mut(&number) {
            change(send);
        }
    }

    fn died(&mut self, pid: Pid, at: Duration, cause: DeathCause) {
        let signals = self.signals.remove(&pid).unwrap_or(0);
        self.dead.insert(pid, (at, cause, signals));
        close(self.still.get_mut(&pid), at);
        for send in self.sends.values_mut().filter(|send| send.pid == Some(pid) && send.owner_died.is_none())
        {
            send.owner_died = Some((at, cause));
            send.signals = signals;
        }
    }

    /// Whether the two that platforms took, in that order, are one text that had to be sent twice.
    pub(crate) fn had_to_come_again(&self, first: (u32, &str), second: (u32, &str)) -> bool {
        let (one, two) = match self.is_overtaken_by(second.0, first.0) {
            true => (second, first),
            false => (first, second),
        };
        is_repeated_by(one.1.trim(), two.1.trim()) && self.unavoidable(first.0, second.0).is_some()
    }

    /// Whether `late`, which was taken last, was sent before `early`: by a process that had died by then. What it sent
    /// was on its way, and its successor's was quicker.
    fn is_overtaken_by(&self, late: u32, early: u32) -> bool {
        let (Some(late), Some(early)) = (self.sends.get(&late), self.sends.get(&early)) else { return false };
        let of_earlier_life = |died| early.owner_died.is_none_or(|(end, _)| end > died);
        let was_dead = |died| died <= early.taken_at && of_earlier_life(died);
        late.taken_at >= early.taken_at && late.owner_died.is_some_and(|(died, _)| was_dead(died))
    }

    /// Why nobody could avoid that the same text, taken as `first`, was sent once more as `second`; `None`: somebody
    /// could.
    pub fn unavoidable(&self, first: u32, second: u32) -> Option<String> {
        let (first, second) =
            if self.is_overtaken_by(second, first) { (second, first) } else { (first, second) };
        let (one, two) = (self.sends.get(&first)?, self.sends.get(&second)?);
        if one.platform == Platform::Feishu && (one.key.is_none() || one.key != two.key) {
            // With a key it would have been recognised.
            return None;
        }
        let taken = moment(one.taken_at);
        if let Some(cut) = one.cut_at.filter(|cut| *cut <= two.taken_at) {
            return Some(format!(
                "{} took the first at {taken} and cut the line at {}",
                one.platform,
                moment(cut)
            ));
        }
        if let Some((died, cause)) = one.owner_died.filter(|(died, _)| *died <= two.taken_at) {
            return self.died_unknowing(one, died, cause).then(|| {
                format!(
                    "{} took the first at {taken}, and the gateway ended at {} ({cause}) before it could note that",
                    one.platform,
                    moment(died)
                )
            });
        }
        if self.was_overdue(one) {
            return Some(format!(
                "{} took the first at {taken}, from a gateway that had stood still and gave it up when it went on",
                one.platform
            ));
        }
        let waited = two.taken_at.saturating_sub(one.taken_at) >= PATIENCE;
        let answered = one.answered_at.filter(|at| *at < two.taken_at);
        let held_back = answered.is_none_or(|at| self.was_cut_off(at, two.taken_at.min(one.given_up_at())));
        (waited && held_back).then(|| {
            format!("{} took the first at {taken}, and no answer had come in ten seconds", one.platform)
        })
    }

    /// Whether the sender had just gone on after it stood still for longer than it waits for an answer, and had none
    /// then: what is overdue happens at once, and an answer that comes at the same time meets a line that was given up.
    fn was_overdue(&self, send: &Send) -> bool {
        let still = send.pid.and_then(|pid| self.still.get(&pid)).into_iter().flatten();
        let mut ended = still.filter_map(|(began, ended)| Some((*began, (*ended)?)));
        ended.any(|(began, ended)| {
            ended - began >= PATIENCE
                && (ended..=ended + NOTING).contains(&send.asked_at)
                && send.answered_at.is_none_or(|at| at <= ended + CROSSING.max(self.delays.longest_way))
        })
    }

    fn died_unknowing(&self, send: &Send, died: Duration, cause: DeathCause) -> bool {
        // An answer may still have been on its way.
        let answered = send.answered_at.filter(|at| *at + self.delays.longest_way <= died);
        let Some(pid) = send.pid else { return false };
        if let DeathCause::Exited(code) = cause {
            // Of its own will, unless it was hurried or had waited long enough.
            let waited = died.saturating_sub(send.taken_at) >= WAITED
                || died.saturating_sub(send.asked_at) >= PATIENCE;
            // Half of what the supervisor allows is for what comes after the texts.
            let used_up = |asked: &Duration| {
                self.delays.stop_timeout.is_some_and(|allowed| died.saturating_sub(*asked) >= allowed / 2)
            };
            let has_used_it_up = self.signalled_at.get(&pid).is_some_and(used_up);
            let is_hurried = send.signals > 1 || has_used_it_up;
            if answered.is_none_or(|at| self.was_cut_off(at, died.min(send.given_up_at()))) {
                return is_hurried || waited;
            }
            if !(has_used_it_up || is_hurried && code == ExitCode::FORCED) {
                return false;
            }
        }
        let could_not_write = || {
            let failed = self.failed_writes.get(&pid).into_iter().flatten();
            failed.into_iter().any(|at| (send.taken_at..=died).contains(at))
        };
        answered.is_none_or(|at| {
            let of = |stretches: &BTreeMap<_, Vec<_>>| {
                stretches.get(&pid).map_or(Duration::ZERO, |stretches| overlap(stretches, at, died))
            };
            died <= at + self.delays.longest_way + NOTING + of(&self.still) + of(&self.syncs)
                || self.was_cut_off(at, died.min(send.given_up_at()))
        }) || could_not_write()
    }

    /// Whether an answer given at `from` may have been held back by a cut link all the time until then.
    fn was_cut_off(&self, from: Duration, until: Duration) -> bool {
        let cut_off = |(began, ended): &(Duration, Option<Duration>)| {
            *began <= from + NOTING && ended.is_none_or(|ended| ended + NOTING >= until)
        };
        self.cuts.iter().any(cut_off)
    }
}

/// Whether `other` is the same text, or that with one more line, which may say that it comes again.
pub(crate) fn is_repeated_by(text: &str, other: &str) -> bool {
    let added = other.strip_prefix(text);
    added.is_some_and(|line| line.is_empty() || (line.starts_with('\n') && !line[1..].contains('\n')))
}

impl Send {
    /// When whoever waits for the answer may have taken the line for broken.
    fn given_up_at(&self) -> Duration {
        self.taken_at + PATIENCE
    }
}

/// Ends the stretch that is open.
fn close(stretches: Option<&mut Vec<(Duration, Option<Duration>)>>, at: Duration) {
    if let Some((_, ended)) = stretches.and_then(|stretches| stretches.last_mut()) {
        ended.get_or_insert(at);
    }
}

/// How much of the time from `from` to `until` lies in any of the stretches.
fn overlap(stretches: &[(Duration, Option<Duration>)], from: Duration, until: Duration) -> Duration {
    let lies = |(began, ended): &(Duration, Option<Duration>)| {
        ended.unwrap_or(until).min(until).saturating_sub((*began).max(from))
    };
    stretches.iter().map(lies).sum()
}

#[cfg(test)]
mod tests;
