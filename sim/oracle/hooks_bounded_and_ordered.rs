//! Hooks are bounded and ordered: each is run when it is due, with a true list, and for no longer than it may.
//!
//! A hook is known by what it reads, which stands on the timeline, and by its process. A generation is known by its hold on the
//! port. `post-start` comes once that serves and has settled what was left; `pre-stop` when nothing more is taken, and
//! before the generation is over. What a machine cannot run is not missed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway::env::Pid;
use serde::Deserialize;

use super::life::{Interval, Life, end_of};
use super::{Evidence, HookTerm, Oracle, Violation, breach};
use crate::timeline::words::{capital, moment, span};
use crate::timeline::{DeathCause, Entry, Fact, LEFT_FOR_GOOD, MessageId, Source};

/// How much longer a program may live than it may take: its parent may be waiting for a disk.
const SLACK: Duration = Duration::from_secs(1);
/// How long an acknowledgement may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Who serves for so long has settled what was left, and runs `post-start`.
const SETTLED_BY: Duration = Duration::from_secs(120);

/// What a notice says of an interruption.
const RESTARTED: &str = "restarted";

/// Hooks are bounded and ordered.
pub(super) struct HooksBoundedAndOrdered;

impl Oracle for HooksBoundedAndOrdered {
    fn invariant(&self) -> &'static str {
        "hooks-bounded-and-ordered"
    }

    fn sentence(&self) -> &'static str {
        "Each hook is run once a generation, when it is due and with a true list, and for no longer than it may."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        if run.terms.hooks.is_empty() {
            return Vec::new();
        }
        let hooks = hooks(run);
        let mut found: Vec<_> = hooks.iter().filter_map(|hook| self.unbounded(run, hook)).collect();
        for generation in generations(run) {
            for term in run.terms.hooks.iter().filter(|term| term.can_be_run) {
                found.extend(self.missing(run, &hooks, &generation, term));
            }
            let of_it: Vec<_> = hooks.iter().filter(|hook| generation.ran(hook)).collect();
            found.extend(self.out_of_order(run, &generation, &of_it));
            found.extend(of_it.iter().filter_map(|hook| self.untrue(run, &generation, hook)));
        }
        found
    }
}

/// One run of a hook.
struct Hook<'e> {
    event: &'e str,
    by: Pid,
    /// How many gateways had begun by then under the number of the process that ran it.
    lives: usize,
    /// How often the process that ran it had taken the port by then.
    holds: usize,
    time: Interval,
    /// The messages that it is told of: the key of each, and what it is told became of it.
    listed: Vec<(&'e str, &'e str)>,
}

/// What a hook reads, as far as it matters.
#[derive(Deserialize)]
struct Report<'e> {
    event: &'e str,
    #[serde(borrow)]
    sessions: Vec<Session<'e>>,
}

#[derive(Deserialize)]
struct Session<'e> {
    #[serde(borrow)]
    runs: Vec<Run<'e>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run<'e> {
    run_id: &'e str,
    became: &'e str,
}

/// Every run of a hook, in order.
fn hooks<'e>(run: &'e Evidence<'_>) -> Vec<Hook<'e>> {
    let mut hooks: Vec<Hook<'_>> = Vec::new();
    let mut at_work: BTreeMap<Pid, usize> = BTreeMap::new();
    let mut holds: BTreeMap<Pid, usize> = BTreeMap::new();
    let mut lives: BTreeMap<Pid, usize> = BTreeMap::new();
    for event in run.events {
        match &event.fact {
            Fact::CommandBegan { pid, by, input, .. } => {
                let Ok(report) = serde_json::from_str::<Report<'_>>(input) else { continue };
                let runs = report.sessions.iter().flat_map(|session| &session.runs);
                at_work.insert(*pid, hooks.len());
                hooks.push(Hook {
                    event: report.event,
                    by: *by,
                    lives: lives.get(by).copied().unwrap_or_default(),
                    holds: holds.get(by).copied().unwrap_or_default(),
                    time: Interval { from: event.at, until: None },
                    listed: runs.map(|run| (run.run_id, run.became)).collect(),
                });
            }
            Fact::PortBound { pid, machine, port }
                if *machine == run.terms.machine && *port == run.terms.port =>
            {
                *holds.entry(*pid).or_default() += 1;
            }
            Fact::ProcessStarted { pid, machine, program }
                if *machine == run.terms.machine && *program == run.terms.program =>
            {
                *lives.entry(*pid).or_default() += 1;
            }
            Fact::ProcessExited { pid, .. } => {
                holds.remove(pid);
                if let Some(place) = at_work.remove(pid) {
                    hooks[place].time.until = Some(event.at);
                }
            }
            _ => {}
        }
    }
    hooks
}

/// A stretch of a life with the port, and what of the life comes after it and before the next one.
struct Generation<'a> {
    life: &'a Life,
    /// Which of the lives under its process number it is, counted from 1.
    of_number: usize,
    /// Which of its holds it is, counted from 1: one may begin in the instant in which another ends.
    number: usize,
    from: Duration,
    /// When it gave the port back.
    left_at: Option<Duration>,
    until: Option<Duration>,
    /// It came to its own end, and was not cut off.
    is_whole: bool,
}

impl Generation<'_> {
    fn ran(&self, hook: &Hook<'_>) -> bool {
        hook.by == self.life.pid && hook.lives == self.of_number && hook.holds == self.number
    }
}

fn generations<'a>(run: &'a Evidence<'_>) -> Vec<Generation<'a>> {
    let of_life = |(index, life): (usize, &'a Life)| {
        let of_number = run.lives[..=index].iter().filter(|other| other.pid == life.pid).count();
        life.holds.iter().enumerate().map(move |(number, hold)| {
            let next = life.holds.get(number + 1).map(|next| next.from);
            let politely = matches!(
                life.ended,
                Some((_, DeathCause::Exited(code))) if matches!(code.0, 0 | 75 | 78)
            );
            Generation {
                life,
                of_number,
                number: number + 1,
                from: hold.from,
                left_at: hold.until,
                until: next.or(life.ended_at()),
                is_whole: next.is_some() || politely,
            }
        })
    };
    run.lives.iter().enumerate().flat_map(of_life).collect()
}

impl HooksBoundedAndOrdered {
    fn unbounded(&self, run: &Evidence<'_>, hook: &Hook<'_>) -> Option<Violation> {
        let term = run.terms.hooks.iter().find(|term| term.event == hook.event)?;
        let by = |life: &&Life| {
            let time = Interval { from: life.started_at, until: life.ended_at() };
            life.pid == hook.by && (time.contains(hook.time.from) || life.ended_at() == Some(hook.time.from))
        };
        let life = run.lives.iter().find(by)?;
        let from = hook.time.from;
        let until = hook.time.until.unwrap_or_else(|| end_of(run));
        let said = format!("{} began at {}, under {}.", capital(hook.event), moment(from), life.name());
        // Whoever is killed kills nobody.
        let minded_until = until.min(life.ended_at().unwrap_or(until));
        let took = minded_until.saturating_sub(from);
        let most = term.limit.saturating_add(SLACK) + life.frozen_between(from, minded_until);
        if took > most {
            let message = format!("The hook {} ran for {}", hook.event, span(took));
            let explanation = format!("{said} It may take {}.", span(term.limit));
            return Some(breach(self, message, explanation));
        }
        let (ended_at, cause) = life.ended?;
        let left_at_work = hook.time.until.is_none_or(|until| until > ended_at);
        if matches!(cause, DeathCause::Exited(_)) && left_at_work {
            let message = format!("{} left its hook {} at work", capital(&life.name()), hook.event);
            return Some(breach(self, message, format!("{said} {} (hook).", capital(&life.end_words()))));
        }
        None
    }

    fn missing(
        &self,
        run: &Evidence<'_>,
        hooks: &[Hook<'_>],
        generation: &Generation<'_>,
        term: &HookTerm,
    ) -> Option<Violation> {
        let times = hooks.iter().filter(|hook| hook.event == term.event && generation.ran(hook)).count();
        let until = generation.left_at.unwrap_or_else(|| end_of(run));
        let is_due = match term.event {
            "pre-stop" => generation.is_whole,
            _ => generation.life.served_between(generation.from, until) >= SETTLED_BY,
        };
        let message = match times {
            0 if is_due => {
                format!("{} did not run its hook {}", capital(&generation.life.name()), term.event)
            }
            0 | 1 => return None,
            _ => {
                format!("{} ran its hook {} {times} times", capital(&generation.life.name()), term.event)
            }
        };
        let explanation = format!(
            "It listened from {}{}; {}.",
            moment(generation.from),
            generation.left_at.map_or_else(String::new, |at| format!(" to {}", moment(at))),
            generation.life.end_words(),
        );
        Some(breach(self, message, explanation))
    }

    /// What was run too early or too late, in one generation.
    fn out_of_order(
        &self,
        run: &Evidence<'_>,
        generation: &Generation<'_>,
        hooks: &[&Hook<'_>],
    ) -> Option<Violation> {
        let name = capital(&generation.life.name());
        let overlapping = hooks.windows(2).find(|pair| pair[0].time.contains(pair[1].time.from));
        if let Some([first, second]) = overlapping {
            let message = format!("{name} ran {} beside {}", second.event, first.event);
            let explanation = format!(
                "{} began at {} and was not over when {} began at {}.",
                capital(first.event),
                moment(first.time.from),
                second.event,
                moment(second.time.from),
            );
            return Some(breach(self, message, explanation));
        }
        hooks.iter().find_map(|hook| {
            let at = hook.time.from;
            let (message, seen) = match hook.event {
                "pre-stop" => {
                    let accepted = taken_after(run, generation, hook)?;
                    (
                        format!("{name} took messages after pre-stop"),
                        format!("One was accepted at {}", moment(accepted)),
                    )
                }
                _ => {
                    let probe = not_ready_after(run, generation, at)?;
                    (
                        format!("{name} ran post-start before it was ready"),
                        format!("A probe sent at {} was told so", moment(probe)),
                    )
                }
            };
            Some(breach(self, message, format!("The hook began at {}. {seen}.", moment(at))))
        })
    }

    /// What the list of a hook says wrongly or does not say.
    fn untrue(&self, run: &Evidence<'_>, generation: &Generation<'_>, hook: &Hook<'_>) -> Option<Violation> {
        let at = hook.time.from;
        let keys = keys(run);
        let listed_as = |entry: &Entry<'_>| {
            let keys = keys.get(entry.message)?;
            hook.listed.iter().find(|(listed, _)| keys.contains(listed)).map(|(_, became)| *became)
        };
        run.ledger.entries().iter().find_map(|entry| {
            let listed = listed_as(entry);
            let was = match hook.event {
                _ if listed.is_some() && replied_before(run, entry, at) => "had its reply",
                "pre-stop" if listed.is_none() && was_cut_off(run, generation, entry, at) => "was cut off",
                "post-start" if listed != Some("resumed") && is_resumed(run, generation, entry, at) => {
                    "was resumed"
                }
                _ => return None,
            };
            let said = match listed {
                Some(became) => format!("says {} was {became}", entry.message),
                None => format!("does not name {}", entry.message),
            };
            let message = format!("The list of {} {said}, and it {was}", hook.event);
            let explanation = format!("{} ran the hook at {}.", capital(&generation.life.name()), moment(at));
            Some(Violation { last_seen: Some(entry.last_seen()), ..breach(self, message, explanation) })
        })
    }
}

/// When a message was accepted in the time of a generation that had run `pre-stop` before. A platform may count an
/// acknowledgement late: what the model had been asked, or the hook had read, was taken before.
fn taken_after(run: &Evidence<'_>, generation: &Generation<'_>, hook: &Hook<'_>) -> Option<Duration> {
    let until = generation.until.unwrap_or_else(|| end_of(run));
    let late = hook.time.from + ON_ITS_WAY..until;
    let keys = keys(run);
    let was_listed = |message: &MessageId| {
        let is_it = |keys: &BTreeSet<&str>| hook.listed.iter().any(|(listed, _)| keys.contains(listed));
        keys.get(message).is_some_and(is_it)
    };
    run.events.iter().filter(|event| late.contains(&event.at)).find_map(|event| match &event.fact {
        Fact::MessageAccepted { message }
            if !was_asked(run, message, generation.from, hook.time.from) && !was_listed(message) =>
        {
            Some(event.at)
        }
        _ => None,
    })
}

/// Whether the model was asked about a message in that time.
fn was_asked(run: &Evidence<'_>, message: &MessageId, from: Duration, until: Duration) -> bool {
    let is_it =
        |fact: &Fact| matches!(fact, Fact::ProviderRequested { message: asked, .. } if asked == message);
    let in_time = run.events.iter().filter(|event| (from..until).contains(&event.at));
    in_time.into_iter().any(|event| is_it(&event.fact))
}

/// When a generation that had run `post-start`, and that nobody had asked for anything, said that it was not ready.
fn not_ready_after(run: &Evidence<'_>, generation: &Generation<'_>, at: Duration) -> Option<Duration> {
    let asked_to_go = run.events.iter().find_map(|event| match &event.fact {
        Fact::SignalDelivered { pid, .. } if *pid == generation.life.pid && event.at >= generation.from => {
            Some(event.at)
        }
        Fact::RestartAsked { .. } | Fact::ConfigEdited { .. } if event.at >= generation.from => {
            Some(event.at)
        }
        _ => None,
    });
    let until = [generation.left_at, asked_to_go].into_iter().flatten().min();
    let time = Interval { from: at, until: Some(until.unwrap_or_else(|| end_of(run))) };
    run.events.iter().find_map(|event| match event.fact {
        Fact::ReadySeen { ready: Some(false), asked_at }
            if time.contains(asked_at) && time.contains(event.at) =>
        {
            Some(asked_at)
        }
        _ => None,
    })
}

/// The idempotency keys of messages. One that is handed out again may come under another.
fn keys<'e>(run: &'e Evidence<'_>) -> BTreeMap<&'e MessageId, BTreeSet<&'e str>> {
    let mut keys: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for event in run.events {
        if let Fact::MessageSent { message, key, .. } | Fact::UpdateHandedOut { message, key, .. } =
            &event.fact
        {
            keys.entry(message).or_default().insert(key.as_str());
        }
    }
    keys
}

fn replied_before(run: &Evidence<'_>, entry: &Entry<'_>, at: Duration) -> bool {
    run.events
        .iter()
        .take_while(|event| event.at < at)
        .any(|event| matches!(&event.fact, Fact::ReplyReceived { message, .. } if message == entry.message))
}

/// Whether a message was accepted in the time of a generation, and nothing was known of its end when the hook was run.
/// Acknowledgements and answers take their time: a platform may learn only from the next generation that it was taken.
fn was_cut_off(run: &Evidence<'_>, generation: &Generation<'_>, entry: &Entry<'_>, at: Duration) -> bool {
    let in_time = entry.accepted_at.is_some_and(|accepted| {
        // What became of a notice takes its time, too; of one that was refused nobody hears.
        let was_heard = was_told(run, entry, accepted + ON_ITS_WAY, "")
            || was_told_before_its_end(run, generation, entry, at);
        let was_refused = || {
            let in_time = run.events.iter().filter(|event| (generation.from..=accepted).contains(&event.at));
            let is_it = |event: &crate::timeline::Event| matches!(event.fact, Fact::SendRefused { .. });
            in_time.into_iter().any(is_it) && !was_taken_up(run, entry, generation.from, at)
        };
        let is_older =
            was_handed_out(run, entry, Duration::ZERO, generation.from) && (was_heard || was_refused());
        (generation.from..at).contains(&accepted) && !is_older
    });
    let is_stopped = || run.mishaps.stops_of(&entry.message.sender).any(|stop| stop <= at);
    // Who has left hears nothing, and what the model was never asked may have come to its end without it; so has what the
    // model said and the disk refused.
    let may_be_over = || {
        let may_have_failed = || {
            !was_asked(run, entry.message, Duration::ZERO, at)
                || run.was_refused_by_the_disk(entry.message, at)
        };
        left_before(run, entry, at) && may_have_failed()
    };
    in_time
        && !is_stopped()
        && !may_be_over()
        && !run.events.iter().take_while(|event| event.at <= at).any(|event| match &event.fact {
            // Whoever cannot ask the model says so.
            Fact::ProviderStopped { message, how, .. } => {
                message == entry.message && how != crate::actors::provider::CLIENT_LEFT
            }
            Fact::ProviderAnswered { message, .. }
            | Fact::MessageCancelled { message }
            | Fact::MessageStopRequested { message } => message == entry.message,
            _ => false,
        })
        && !was_told_how_it_ended(run, entry, at)
}

/// Whether the sender of a message heard soon after that moment that it came to another end than a restart; or heard so at
/// last of a text that the platform did not take before, while the model was not asked again.
fn was_told_how_it_ended(run: &Evidence<'_>, entry: &Entry<'_>, at: Duration) -> bool {
    let told = run.events.iter().find(|event| {
        matches!(&event.fact, Fact::NoticeReceived { message: Some(message), text, .. }
            if message == entry.message && !text.contains(RESTARTED))
    });
    let Some(told) = told.map(|event| event.at) else { return false };
    let was_refused = || {
        let accepted = entry.accepted_at.unwrap_or(at);
        let mut in_time = run.events.iter().filter(|event| (accepted..=at).contains(&event.at));
        in_time.any(|event| {
            let is_here = matches!(event.source, Source::Platform(by) if Some(by) == entry.platform);
            is_here && matches!(event.fact, Fact::SendRefused { .. })
        })
    };
    told <= at + ON_ITS_WAY || was_refused() && !was_asked(run, entry.message, at, told)
}

/// Whether the sender of a message had left for good by then.
fn left_before(run: &Evidence<'_>, entry: &Entry<'_>, at: Duration) -> bool {
    let leaves = |fact: &Fact| matches!(fact, Fact::SenderDisconnected { how } if how == LEFT_FOR_GOOD);
    let sender = Source::Sender(entry.message.sender.clone());
    run.events
        .iter()
        .take_while(|event| event.at <= at)
        .any(|event| event.source == sender && leaves(&event.fact))
}

/// Whether the sender of a message had been told by then, in these words: not only for the first time, perhaps.
fn was_told(run: &Evidence<'_>, entry: &Entry<'_>, by: Duration, words: &str) -> bool {
    let is_it = |fact: &Fact| matches!(fact, Fact::NoticeReceived { message: Some(message), text, .. } if message == entry.message && text.contains(words));
    run.events.iter().take_while(|event| event.at <= by).any(|event| is_it(&event.fact))
}

/// Whether the sender of a message had been told that the service restarted before anybody asked this generation to go,
/// which never asked the model about it: by then it was over.
fn was_told_before_its_end(
    run: &Evidence<'_>,
    generation: &Generation<'_>,
    entry: &Entry<'_>,
    at: Duration,
) -> bool {
    let asked = generation.life.requests.iter().map(|request| request.at);
    let asked = asked.filter(|asked| (generation.from..=at).contains(asked)).min();
    asked.is_some_and(|asked| was_told(run, entry, asked, RESTARTED))
        && !was_asked(run, entry.message, generation.from, at)
}

/// Whether its platform handed out a message in that time.
fn was_handed_out(run: &Evidence<'_>, entry: &Entry<'_>, from: Duration, before: Duration) -> bool {
    let is_it =
        |fact: &Fact| matches!(fact, Fact::UpdateHandedOut { message, .. } if message == entry.message);
    let in_time = run.events.iter().filter(|event| (from..before).contains(&event.at));
    in_time.into_iter().any(|event| is_it(&event.fact))
}

/// Whether a generation that began then got a message, or went on with it.
fn was_taken_up(run: &Evidence<'_>, entry: &Entry<'_>, from: Duration, until: Duration) -> bool {
    was_handed_out(run, entry, from, until) || was_asked(run, entry.message, from, until)
}

/// Whether a message of an earlier generation was given to the model for the first time in this one, after the hook.
fn is_resumed(run: &Evidence<'_>, generation: &Generation<'_>, entry: &Entry<'_>, at: Duration) -> bool {
    let is_older = entry.accepted_at.is_some_and(|accepted| accepted < generation.from);
    let until = generation.left_at.unwrap_or_else(|| end_of(run));
    is_older
        && run.events.iter().any(|event| {
            (at..=until).contains(&event.at)
                && matches!(&event.fact, Fact::ProviderRequested { message, .. } if message == entry.message)
        })
}

#[cfg(test)]
mod tests;
