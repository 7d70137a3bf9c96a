//! Admission never stays closed without an owner: whoever closes it ends the process, or opens it again.
//!
//! Closed is what senders and the prober see: refused for want of readiness, not ready. An owner is a start, a request to
//! end, a restart that is asked for and has not ended, an edit of the configuration that may be one.

use std::time::Duration;

use super::life::{Interval, Life};
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{capital, moment, span};
use crate::timeline::{Event, Fact};

/// For how long admission may be closed when nobody owns that: a start, a floor, and a look now and then.
const GRACE: Duration = Duration::from_secs(60);

/// Admission is closed only while a start, a stop or a restart is under way.
pub(super) struct AdmissionHasAnOwner;

impl Oracle for AdmissionHasAnOwner {
    fn invariant(&self) -> &'static str {
        "admission-has-an-owner"
    }

    fn sentence(&self) -> &'static str {
        "Messages are refused for want of readiness only while a start, a stop or a restart is under way."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let signs = signs(run);
        let owners = owners(run);
        run.lives.iter().filter_map(|life| self.closed_too_long(run, life, &signs, &owners)).collect()
    }
}

/// What somebody saw of admission.
struct Sign {
    at: Duration,
    open: bool,
}

fn signs(run: &Evidence<'_>) -> Vec<Sign> {
    let sign = |event: &Event| {
        let open = match &event.fact {
            // What a platform has confirmed to it was let in before.
            Fact::MessageAccepted { message } if run.ledger.is_on_platform(message) => return None,
            Fact::MessageAccepted { .. } => true,
            Fact::ReadySeen { ready: Some(ready), .. } => *ready,
            Fact::MessageRefused { reason, .. } if reason.contains("UNAVAILABLE") => false,
            _ => return None,
        };
        Some(Sign { at: event.at, open })
    };
    run.events.iter().filter_map(sign).collect()
}

/// When somebody may have wanted admission to be closed, other than by a request to a process.
fn owners(run: &Evidence<'_>) -> Vec<Interval> {
    let requests = run.restarts.iter().map(|request| {
        let bound = request.bound(run.terms).map(|bound| request.asked_at + bound);
        let ended = [request.ended_at(), request.restarted_at, bound].into_iter().flatten().min();
        Interval { from: request.asked_at, until: ended }
    });
    let passing = run.events.iter().filter_map(|event| match event.fact {
        Fact::ConfigEdited { .. } => {
            let limit = run.terms.deferral_limit?;
            Some(Interval { from: event.at, until: Some(event.at + limit + GRACE) })
        }
        _ => None,
    });
    // A disk in trouble refuses messages, too.
    let disk = run.mishaps.disk_failures().map(|at| Interval { from: at, until: Some(at + GRACE) });
    requests.chain(passing).chain(disk).collect()
}

impl AdmissionHasAnOwner {
    fn closed_too_long(
        &self,
        run: &Evidence<'_>,
        life: &Life,
        signs: &[Sign],
        owners: &[Interval],
    ) -> Option<Violation> {
        let is_owned = |at: Duration| {
            life.request_at(at).is_some()
                || owners.iter().any(|owner| owner.contains(at))
                || at.saturating_sub(life.began_before(at)) < GRACE
        };
        let mut closed_since: Option<Duration> = None;
        for sign in signs.iter().filter(|sign| life.holds_port_at(sign.at)) {
            if sign.open || is_owned(sign.at) {
                closed_since = None;
                continue;
            }
            let since = *closed_since.get_or_insert(sign.at);
            let closed_for =
                sign.at.saturating_sub(since).saturating_sub(life.frozen_between(since, sign.at));
            if closed_for > GRACE {
                let message = format!(
                    "{} took no messages for {} and nobody had asked for that",
                    capital(&life.name()),
                    span(closed_for)
                );
                return Some(breach(self, message, self.explain(run, since, sign.at)));
            }
        }
        None
    }

    fn explain(&self, run: &Evidence<'_>, since: Duration, until: Duration) -> String {
        let closed = format!(
            "From {} to {} it was not ready or refused messages, while no start, no stop and no restart was under way",
            moment(since),
            moment(until)
        );
        match run.restarts.iter().rev().find(|request| request.asked_at < since) {
            Some(last) => format!("{closed}. The last before that: {}.", last.words()),
            None => format!("{closed}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway::env::Signal;

    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::story::Story;
    use crate::timeline::{RestartEnding, RestartMode};

    const ORACLE: AdmissionHasAnOwner = AdmissionHasAnOwner;

    fn probed(story: Story, from_s: u64, until_s: u64, ready: bool) -> Story {
        (from_s..=until_s).fold(story, |story, s| story.at(s * 1_000).ready(s * 1_000 - 1, Some(ready)))
    }

    fn serving() -> Story {
        probed(Story::new().at(0).serves(214), 1, 100, true)
    }

    #[test]
    fn closed_without_an_owner_is_a_breach_after_a_while() {
        assert_eq!(complaints(&ORACLE, probed(serving(), 101, 161, false)), [""; 0]);
        assert_eq!(
            complaints(&ORACLE, probed(serving(), 101, 162, false)),
            ["Gateway pid 214 took no messages for 61.0 s and nobody had asked for that"]
        );
        let reopened = probed(probed(serving(), 101, 140, false), 141, 141, true);
        assert_eq!(complaints(&ORACLE, probed(reopened, 142, 180, false)), [""; 0]);
    }

    #[test]
    fn refusals_are_signs_and_so_is_what_is_accepted() {
        let refused = |accepts: bool| {
            (110..200).fold(serving(), |story, s| {
                let story = story.at(s * 1_000).sent(s as u32);
                match accepts && s == 150 {
                    true => story.accepted(s as u32),
                    false => story.refused(s as u32, "UNAVAILABLE: the gateway is draining"),
                }
            })
        };
        assert_eq!(complaints(&ORACLE, refused(false)).len(), 1);
        assert_eq!(complaints(&ORACLE, refused(true)), [""; 0]);
    }

    #[test]
    fn a_start_a_stop_and_a_restart_own_it() {
        let starting = probed(Story::new().at(0).serves(214), 1, 60, false);
        assert_eq!(complaints(&ORACLE, starting), [""; 0]);
        let draining = serving().at(100_500).signal(Signal::Terminate);
        assert_eq!(complaints(&ORACLE, probed(draining, 101, 300, false)), [""; 0]);
        let asked = || serving().at(100_500).asks_for_restart(1, RestartMode::Safe);
        assert_eq!(complaints(&ORACLE, probed(asked(), 101, 400, false)), [""; 0]);
        let given_up = probed(asked(), 101, 130, false).reports_restart(1, RestartEnding::TimedOut);
        assert_eq!(complaints(&ORACLE, probed(given_up, 131, 200, false)).len(), 1);
    }

    #[test]
    fn standing_still_is_not_closing() {
        let frozen = probed(serving(), 101, 130, false).frozen().at(300_000).thawed();
        assert_eq!(complaints(&ORACLE, probed(frozen, 301, 320, false)), [""; 0]);
    }
}
