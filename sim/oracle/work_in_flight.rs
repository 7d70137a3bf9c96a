//! The work that kept a gateway from going: what was in flight when it was asked to, and when that was done.
//!
//! Seen from outside: messages whose sender waits, requests that the model has not finished, what came of a subagent that
//! its sender has not heard, programs that turns run. Knows nothing of what a gateway holds for work, nor who asks.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::env::Pid;

use super::Evidence;
use super::life::Interval;
use super::lock_has_a_live_owner::is_trouble;
use super::terms::CronTerm;
use super::wall_clock::WallClock;
use crate::actors::provider::CLIENT_LEFT;
use crate::timeline::{Event, Fact, MessageId, Platform, Source, SubagentId, SubagentSeen, Via};

/// How long before the model is asked the work of a subagent may have been taken up again. Who cannot reach the model tries
/// again after one second and after two.
const TAKEN_UP: Duration = Duration::from_secs(4);
/// What stands in a notice that a message is kept, which settles nothing.
const WAITS: &str = " waits: ";

/// What was at work in a run, whoever asks about which moment.
#[derive(Clone, Debug)]
pub(super) struct Work<'a> {
    /// When the model last answered each message.
    answered: BTreeMap<&'a MessageId, Duration>,
    /// When each sender last heard of a message, other than by its reply.
    told: BTreeMap<&'a MessageId, Duration>,
    /// What the model, subagents and programs were at, in the order of its beginning.
    requests: Vec<Interval>,
}

impl<'a> Work<'a> {
    pub(super) fn of(run: &Evidence<'a>) -> Self {
        Self { answered: answered(run), told: told(run), requests: requests(run) }
    }
}

/// When the last work that was in flight at the signal was done; at the latest when the drain budget is used up. What
/// is handed over after the signal is no reason to keep the port: nobody has to take it.
pub(super) fn work_done(run: &Evidence<'_>, signalled: Duration, until: Duration) -> Duration {
    let limit = signalled + run.terms.drain_budget;
    let in_flight =
        |work: &Interval| work.from <= signalled && work.until.is_none_or(|done| done > signalled);
    let end = |work: Interval| work.until.unwrap_or(limit);
    // From the hand-over on, not from the acknowledgement: that may have got lost, or nobody may be reading it. Where
    // nobody waits for an end, or none came, the model's answer has to do.
    let Work { answered, told, requests } = run.work();
    let entries = run.ledger.entries().iter();
    let messages = entries.map(|entry| Interval {
        from: entry.sent_at(),
        until: match (entry.settled_at, answered.get(entry.message)) {
            // Who was told that a message waits, may get its answer all the same, or be told how it ended.
            (Some(settled), answered) => Some(
                settled.max(*answered.unwrap_or(&settled)).max(*told.get(entry.message).unwrap_or(&settled)),
            ),
            (None, Some(answered)) => Some(
                entry.platform.and_then(|platform| refused(run, platform, *answered)).unwrap_or(*answered),
            ),
            (None, None) => None,
        },
    });
    let messages = messages.chain(kept(run, signalled)).chain(due(run, signalled));
    let mut done = messages.filter(in_flight).map(end).fold(signalled, Duration::max);
    // In the order of their beginning: what stood in line behind work begins when that is done.
    for request in requests.iter().filter(|request| request.from <= until) {
        if in_flight(request) || (signalled..=done).contains(&request.from) {
            done = done.max(end(*request));
        }
    }
    done.min(limit)
}

/// Messages of which a gateway that was asked to go at `signalled` said last that they wait: they have no end.
fn kept(run: &Evidence<'_>, signalled: Duration) -> Vec<Interval> {
    let Some(life) = run.lives.iter().find(|life| life.holds_port_at(signalled)) else { return Vec::new() };
    let mut last = BTreeMap::new();
    for event in run.events.iter().filter(|event| event.at >= life.started_at) {
        match &event.fact {
            Fact::NoticeReceived { message: Some(message), text, .. } => {
                last.insert(message, text.contains(WAITS));
            }
            Fact::ReplyReceived { message, .. } | Fact::MessageCancelled { message } => {
                last.insert(message, false);
            }
            _ => {}
        }
    }
    let waits = run.ledger.entries().iter().filter(|entry| last.get(entry.message) == Some(&true));
    waits.map(|entry| Interval { from: entry.sent_at(), until: None }).collect()
}

/// Scheduled runs that came due before `signalled` and that nobody can make, since the store was spoilt.
fn due(run: &Evidence<'_>, signalled: Duration) -> Vec<Interval> {
    let life = run.lives.iter().find(|life| life.holds_port_at(signalled));
    let hold = life.and_then(|life| life.holds.iter().find(|hold| hold.contains(signalled)));
    let Some(hold) = hold.filter(|_| run.mishaps.store_is_spoilt(signalled)) else {
        return Vec::new();
    };
    let clock = WallClock::of(run);
    let due = |job: &CronTerm| {
        let every_ms = (job.every.as_millis() as u64).max(1);
        let slot_ms = clock.shows_at(signalled) / every_ms * every_ms;
        let came = clock
            .last_came(slot_ms, signalled + Duration::from_millis(1))
            .filter(|came| *came >= hold.from)?;
        let was_asked = run.events.iter().any(|event| {
            matches!(&event.fact, Fact::CronRunRequested { job: of, slot_ms: slot, .. } if *of == job.job && *slot == slot_ms)
        });
        (!was_asked).then_some(Interval { from: came, until: None })
    };
    run.terms.cron_jobs.iter().filter_map(due).collect()
}

/// When a gateway can have heard that a platform refused what was answered then: the way back takes as long as the way
/// there.
fn refused(run: &Evidence<'_>, platform: Platform, answered: Duration) -> Option<Duration> {
    let is_it = |event: &&Event| {
        let by_it = event.source == Source::Platform(platform);
        by_it && event.at >= answered && matches!(event.fact, Fact::SendRefused { .. })
    };
    run.events.iter().find(is_it).map(|event| event.at + (event.at - answered))
}

/// When the model last answered each message.
fn answered<'a>(run: &Evidence<'a>) -> BTreeMap<&'a MessageId, Duration> {
    let answer = |event: &'a Event| match &event.fact {
        Fact::ProviderAnswered { message, .. } => Some((message, event.at)),
        _ => None,
    };
    run.events.iter().filter_map(answer).collect()
}

/// When each sender last heard of a message, other than by its reply: a notice, or that it was stopped.
fn told<'a>(run: &Evidence<'a>) -> BTreeMap<&'a MessageId, Duration> {
    let told = |event: &'a Event| match &event.fact {
        Fact::NoticeReceived { message: Some(message), via, .. } if *via != Via::History => {
            Some((message, event.at))
        }
        Fact::MessageCancelled { message } => Some((message, event.at)),
        _ => None,
    };
    run.events.iter().filter_map(told).collect()
}

/// Every request to the model, from when it was received until the model was done with it; what came of a subagent, until
/// its sender has heard it; and every program that a turn runs, as long as it does. What is not over has no end.
pub(super) fn requests(run: &Evidence<'_>) -> Vec<Interval> {
    let mut requests = Requests::default();
    let clock = WallClock::of(run);
    for event in run.events {
        requests.take(run, &clock, event);
    }
    let mut found = requests.found;
    found.extend(programs(run));
    found.sort_by_key(|request| request.from);
    found
}

/// What is seen of requests and of subagents, event by event.
#[derive(Default)]
struct Requests<'a> {
    found: Vec<Interval>,
    /// Which of these belongs to a request.
    numbered: BTreeMap<u32, usize>,
    /// Which of them tells what came of a subagent, by the model's words.
    told_by: BTreeMap<&'a SubagentId, usize>,
    /// Which of them waits to be told, before the model is asked for the words.
    owed: BTreeMap<&'a SubagentId, usize>,
    /// When the work of a subagent was last cut off that was not taken up again since, as far as is seen.
    cut_at: BTreeMap<&'a SubagentId, Duration>,
}

impl<'a> Requests<'a> {
    fn take(&mut self, run: &Evidence<'_>, clock: &WallClock, event: &'a Event) {
        let at = event.at;
        match &event.fact {
            Fact::ProviderRequested { request, .. } => self.begins(*request, at),
            // A job's run is work from its time on: it may wait for the store, and none begins in a drain.
            Fact::CronRunRequested { request, slot_ms, .. } => {
                self.begins(*request, clock.last_came(*slot_ms, at).unwrap_or(at));
            }
            Fact::ProviderAnswered { request, .. }
            | Fact::ProviderWantedTools { request, .. }
            | Fact::ProviderStopped { request, .. }
            | Fact::CronRunAnswered { request, .. }
            | Fact::CronRunStopped { request, .. } => self.ends(*request, at),
            Fact::Subagent { subagent, seen } => self.subagent(subagent, seen, at),
            Fact::SubagentsStopRequested => {
                if let Source::Sender(sender) = &event.source {
                    self.stopped(run, run.mishaps.conversation_of(sender), at);
                }
            }
            Fact::ConversationStopRequested { whose } => self.stopped(run, whose, at),
            // What was cut off and cannot be written down cannot go on either: from then on it may be over and not told.
            Fact::Disk { pid, op, error: Some(error), .. }
                if is_trouble(*op, error) && run.lives.iter().any(|life| life.pid == *pid) =>
            {
                let cut: Vec<_> = std::mem::take(&mut self.cut_at).into_keys().collect();
                cut.into_iter().for_each(|subagent| self.is_owed(subagent, at));
            }
            _ => {}
        }
    }

    fn begins(&mut self, request: u32, from: Duration) {
        self.numbered.insert(request, self.found.len());
        self.found.push(Interval { from, until: None });
    }

    fn ends(&mut self, request: u32, at: Duration) {
        if let Some(index) = self.numbered.get(&request) {
            self.found[*index].until = Some(at);
        }
    }

    fn subagent(&mut self, subagent: &'a SubagentId, seen: &SubagentSeen, at: Duration) {
        match seen {
            SubagentSeen::Requested { request } => {
                // What was cut off is taken up again some time before.
                let cut = self.cut_at.remove(subagent).map(|cut| at.saturating_sub(TAKEN_UP).max(cut));
                self.is_settled(subagent, at);
                self.begins(*request, cut.unwrap_or(at));
            }
            SubagentSeen::Answered { request } => {
                self.ends(*request, at);
                self.is_owed(subagent, at);
            }
            SubagentSeen::Stopped { request, how } => {
                self.ends(*request, at);
                match how == CLIENT_LEFT {
                    true => drop(self.cut_at.insert(subagent, at)),
                    false => self.is_owed(subagent, at),
                }
            }
            SubagentSeen::AnnouncementRequested { request } => {
                self.is_settled(subagent, at);
                self.begins(*request, at);
            }
            SubagentSeen::AnnouncementAnswered { request } => {
                self.ends(*request, at);
                let index = self.numbered.get(request).copied();
                self.told_by.extend(index.map(|index| (subagent, index)));
            }
            SubagentSeen::AnnouncementStopped { request, .. } => {
                self.ends(*request, at);
                self.is_owed(subagent, at);
            }
            SubagentSeen::Heard { via: Via::History, .. }
            | SubagentSeen::Wanted
            | SubagentSeen::Begun
            | SubagentSeen::Refused { .. } => {}
            SubagentSeen::Heard { .. } => {
                // Whoever cannot ask the model for the words says so.
                self.is_settled(subagent, at);
                if let Some(index) = self.told_by.get(subagent) {
                    self.found[*index].until = Some(at);
                }
            }
        }
    }

    /// From now on its sender is to be told what came of it: by the model's words, when that can be asked.
    fn is_owed(&mut self, subagent: &'a SubagentId, at: Duration) {
        self.is_settled(subagent, at);
        self.owed.insert(subagent, self.found.len());
        self.found.push(Interval { from: at, until: None });
    }

    fn is_settled(&mut self, subagent: &SubagentId, at: Duration) {
        self.cut_at.remove(subagent);
        if let Some(index) = self.owed.remove(subagent) {
            self.found[index].until = Some(at);
        }
    }

    /// Nobody is told what came of subagents of a conversation in which everything was stopped.
    fn stopped(&mut self, run: &Evidence<'_>, conversation: &str, at: Duration) {
        let is_here =
            |subagent: &&SubagentId| run.mishaps.conversation_of(&subagent.message.sender) == conversation;
        let open = self.owed.keys().chain(self.cut_at.keys());
        let here: Vec<_> = open.copied().filter(is_here).collect();
        here.into_iter().for_each(|subagent| self.is_settled(subagent, at));
    }
}

/// The programs that turns run, which are told nothing; a hook is told what for.
fn programs(run: &Evidence<'_>) -> Vec<Interval> {
    let mut found: Vec<Interval> = Vec::new();
    let mut at_work: BTreeMap<Pid, usize> = BTreeMap::new();
    for event in run.events {
        match &event.fact {
            Fact::CommandBegan { pid, input, .. } if input.is_empty() => {
                at_work.insert(*pid, found.len());
                found.push(Interval { from: event.at, until: None });
            }
            Fact::ProcessExited { pid, .. } => {
                if let Some(index) = at_work.remove(pid) {
                    found[index].until = Some(event.at);
                }
            }
            _ => {}
        }
    }
    found
}
