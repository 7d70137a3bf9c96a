//! Every request for a restart, as the operator saw it: asked, answered, reported.
//!
//! A fold over the facts of the operator's side, and the bounds within which a request has to end. Time counts while
//! some gateway serves: what a frozen or dark machine, or one without a gateway, takes is nobody's to answer for here.

use std::time::Duration;

use super::life::Life;
use super::mishaps::Mishaps;
use super::{Evidence, Terms};
use crate::timeline::words::moment;
use crate::timeline::{DeathCause, Event, Fact, RestartEnding, RestartMode};

/// What a restart may take beyond the time for which work is waited for: the pause after the last restart (30 s), the
/// shortest drain (15 s), the close (15 s), and a start of the successor (30 s).
pub(super) const ALLOWANCE: Duration = Duration::from_secs(90);

/// What a command line says came of a request that went to the gateway as a signal.
const SIGNALLED: &str = "signalled";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RestartRequest {
    pub(super) number: u32,
    pub(super) mode: RestartMode,
    pub(super) asked_at: Duration,
    pub(super) answer: Option<Answer>,
    pub(super) report: Option<Report>,
    /// When a gateway took the port for the first time after it was asked for.
    pub(super) restarted_at: Option<Duration>,
    /// How long it may take beyond its own limit, for the drain of a restart that somebody else had asked for.
    drain: Duration,
}

/// What the command line said when it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) at: Duration,
    pub(super) ok: bool,
    pub(super) said: String,
    /// Whether it may have sent a signal: it says so, or does not say what it did.
    pub(super) may_have_signalled: bool,
}

/// What the operator learned in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) at: Duration,
    pub(super) ending: RestartEnding,
}

/// Every request of a run, in the order of asking.
pub(super) fn restart_requests(events: &[Event], terms: &Terms) -> Vec<RestartRequest> {
    let mut requests: Vec<RestartRequest> = Vec::new();
    for event in events {
        take(&mut requests, terms, event);
    }
    requests
}

fn take(requests: &mut Vec<RestartRequest>, terms: &Terms, event: &Event) {
    let at = event.at;
    match &event.fact {
        Fact::RestartAsked { request, mode } => requests.push(RestartRequest {
            number: *request,
            mode: *mode,
            asked_at: at,
            answer: None,
            report: None,
            restarted_at: None,
            drain: Duration::ZERO,
        }),
        Fact::RestartAnswered { request, ok, said, result } => {
            if let Some(request) = numbered(requests, *request) {
                // Who gives up says so when it had signalled.
                let may_have_signalled = match result.as_deref() {
                    Some(result) => result == SIGNALLED,
                    None => *ok,
                };
                let answer = Answer { at, ok: *ok, said: said.clone(), may_have_signalled };
                request.answer.get_or_insert(answer);
            }
        }
        Fact::RestartReported { request, ending, .. } => {
            if let Some(request) = numbered(requests, *request) {
                request.report.get_or_insert(Report { at, ending: *ending });
            }
        }
        Fact::PortBound { machine, port, .. } if *machine == terms.machine && *port == terms.port => {
            for request in requests {
                request.restarted_at.get_or_insert(at);
            }
        }
        _ => {}
    }
}

/// Gives each request that met a restart by signal the time of its drain: who asks then joins it.
pub(super) fn add_drains(requests: &mut [RestartRequest], lives: &[Life], mishaps: &Mishaps, terms: &Terms) {
    for request in requests {
        let until = request.restarted_at.unwrap_or(Duration::MAX);
        let joins = lives.iter().any(|life| {
            life.requests.iter().any(|signal| {
                let over = signal.followed.or(life.ended_at());
                let is_met = signal.at <= until && over.is_none_or(|over| over > request.asked_at);
                is_met && mishaps.restart_signals().any(|sent| sent == (life.pid, signal.at))
            })
        });
        if joins {
            request.drain = terms.drain_budget;
        }
    }
}

fn numbered(requests: &mut [RestartRequest], number: u32) -> Option<&mut RestartRequest> {
    requests.iter_mut().find(|request| request.number == number)
}

impl RestartRequest {
    /// For how long work may be waited for on its behalf; `None`: without limit.
    pub(super) const fn limit(&self, terms: &Terms) -> Option<Duration> {
        match self.mode {
            RestartMode::Plain | RestartMode::Safe => terms.deferral_limit,
            RestartMode::Force => Some(Duration::ZERO),
            RestartMode::Wait(limit) => limit,
        }
    }

    /// How long it may take in all until its restart has happened, or whoever asked knows that it will not.
    pub(super) fn bound(&self, terms: &Terms) -> Option<Duration> {
        self.limit(terms).map(|limit| limit + ALLOWANCE + self.drain)
    }

    /// Whoever asked was told at once that there will be no restart.
    pub(super) fn was_turned_away(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| !answer.ok)
    }

    /// Whether whoever asked was told that there is no restart for it.
    pub(super) fn was_given_up(&self) -> bool {
        self.was_turned_away() || self.report.as_ref().is_some_and(|report| !report.ending.restarted())
    }

    /// When nothing more is to come of it: it was turned away or reported. `None`: nobody said so.
    pub(super) fn ended_at(&self) -> Option<Duration> {
        match &self.answer {
            Some(answer) if !answer.ok => Some(answer.at),
            _ => self.report.as_ref().map(|report| report.at),
        }
    }

    /// Whether whoever asked knew before `moment` what had come of it.
    pub(super) fn ended_before(&self, moment: Duration) -> bool {
        self.ended_at().is_some_and(|ended| ended < moment)
    }

    /// How it was asked and answered, for a sentence: `"restart --safe" was asked for at 2.000 s and answered ...`.
    pub(super) fn words(&self) -> String {
        let asked = format!("\"{}\" was asked for at {}", self.mode, moment(self.asked_at));
        match &self.answer {
            Some(Answer { at, said, .. }) => format!("{asked} and answered at {}: {said:?}", moment(*at)),
            None => format!("{asked} and not answered"),
        }
    }
}

/// For how long some gateway served between two moments: it held the port and did not stand still.
pub(super) fn served_between(run: &Evidence<'_>, from: Duration, until: Duration) -> Duration {
    let served = run.lives.iter().flat_map(|life| {
        life.holds.iter().map(move |hold| {
            let begins = hold.from.max(from);
            let ends = hold.until.unwrap_or(until).min(until);
            ends.saturating_sub(begins).saturating_sub(life.frozen_between(begins, ends))
        })
    });
    served.sum()
}

/// For how long the command line of a request stood still: nobody can tell it anything then, nor may it have
/// asked.
pub(super) fn asker_stood_still(run: &Evidence<'_>, request: &RestartRequest, until: Duration) -> Duration {
    let asker = run.events.iter().find_map(|event| match &event.fact {
        Fact::ProcessStarted { pid, program, .. }
            if event.at == request.asked_at && *program != run.terms.program =>
        {
            Some(*pid)
        }
        _ => None,
    });
    asker.map_or(Duration::ZERO, |asker| run.mishaps.stood_still(asker, request.asked_at, until))
}

/// When the configuration was edited, each time.
pub(super) fn edits(run: &Evidence<'_>) -> impl Iterator<Item = Duration> {
    let edits = run.events.iter().filter(|event| matches!(event.fact, Fact::ConfigEdited { .. }));
    edits.map(|event| event.at)
}

/// Who served when the configuration was edited, and when it left, if that is what it left for.
pub(super) fn left_for_an_edit<'r>(run: &'r Evidence<'_>, edited: Duration) -> Option<(&'r Life, Duration)> {
    let life = run.lives.iter().find(|life| life.holds_port_at(edited))?;
    let left = life.holds.iter().find(|hold| hold.contains(edited))?.until?;
    let died = life.ended.is_some_and(|(at, cause)| at == left && !matches!(cause, DeathCause::Exited(_)));
    let is_wanted = |at: Duration| (life.began_before(edited)..=left).contains(&at);
    let asked = run.restarts.iter().any(|request| is_wanted(request.asked_at) && !request.was_turned_away());
    let began = life.began_before(edited);
    let signalled = run.mishaps.was_signalled(life.pid, began, left);
    let ordered = run.mishaps.was_ordered(began, left);
    // An edit that followed this one explains a later restart better.
    let edits_again = edits(run).any(|at| at > edited && at <= left);
    (!died && !asked && !signalled && !ordered && !edits_again).then_some((life, left))
}
