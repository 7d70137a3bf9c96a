//! `/readyz` tells the truth: ready means that messages are taken, not ready means that they are not.
//!
//! Three lies can be told apart from outside: ready though the process had been asked to end before the probe
//! was sent; ready while a message sent during the same probe is refused for want of readiness; and not ready,
//! for long, while messages are accepted.

use std::time::Duration;

use super::life::{Interval, Life, Request};
use super::restarts::RestartRequest;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{capital, moment, quoted, span};
use crate::timeline::{AttemptOutcome, Entry, Event, Fact, MessageId};

/// For how long a gateway that takes messages may call itself not ready.
const SLOW_TO_ADMIT: Duration = Duration::from_secs(5);

/// `/readyz` says ready exactly while messages are taken.
pub(super) struct ReadinessTellsTheTruth;

impl Oracle for ReadinessTellsTheTruth {
    fn invariant(&self) -> &'static str {
        "readiness-tells-the-truth"
    }

    fn sentence(&self) -> &'static str {
        "`/readyz` says ready exactly while messages are taken."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let lives = &run.lives;
        let probes = probes(run);
        let ready: Vec<_> = probes.iter().filter(|probe| probe.ready).collect();
        // One lie repeated at every probe is one violation: the first of each life and of each message.
        let mut found = Vec::new();
        for life in lives {
            found.extend(ready.iter().find_map(|probe| self.ready_while_ending(lives, life, probe)));
        }
        let was_refused = |entry: &&Entry<'_>| {
            entry.attempts.iter().any(|a| matches!(a.outcome, Some(AttemptOutcome::Refused(_))))
        };
        for entry in run.ledger.entries().iter().filter(was_refused) {
            found.extend(ready.iter().find_map(|probe| self.ready_yet_refusing(run, lives, entry, probe)));
        }
        found.extend(self.accepting_yet_not_ready(run, lives, &probes));
        found
    }
}

/// A probe that was answered.
struct Probe {
    asked_at: Duration,
    answered_at: Duration,
    ready: bool,
}

fn probes(run: &Evidence<'_>) -> Vec<Probe> {
    let answered = run.events.iter().filter_map(|event| match event.fact {
        Fact::ReadySeen { ready: Some(ready), asked_at } => {
            Some(Probe { asked_at, answered_at: event.at, ready })
        }
        _ => None,
    });
    answered.collect()
}

/// The process that must have answered a probe: the only one that held the port while it was under way.
fn answerer<'a>(lives: &'a [Life], probe: &Probe) -> Option<&'a Life> {
    let under_way = |hold: &Interval| {
        hold.from <= probe.answered_at && hold.until.is_none_or(|until| until >= probe.asked_at)
    };
    let mut holders = lives.iter().filter(|life| life.holds.iter().any(under_way));
    let only = holders.next()?;
    holders.next().is_none().then_some(only)
}

impl ReadinessTellsTheTruth {
    fn ready_while_ending(&self, lives: &[Life], life: &Life, probe: &Probe) -> Option<Violation> {
        let Request { at: asked_to_end, by, followed, .. } = life.request_at(probe.asked_at)?;
        let mine = answerer(lives, probe).is_some_and(|holder| std::ptr::eq(holder, life));
        let excused = !life.frozen_between(asked_to_end, probe.answered_at).is_zero();
        let began_again = followed.is_some_and(|followed| followed <= probe.answered_at);
        if !mine || asked_to_end >= probe.asked_at || excused || began_again {
            return None;
        }
        let message = format!("{} said ready although it was ending", capital(&life.name()));
        let explanation = format!(
            "{}. A probe sent at {}, {} later, was answered with ready at {}.",
            by.words(&life.name(), asked_to_end),
            moment(probe.asked_at),
            span(probe.asked_at.saturating_sub(asked_to_end)),
            moment(probe.answered_at),
        );
        Some(breach(self, message, explanation))
    }

    fn ready_yet_refusing(
        &self,
        run: &Evidence<'_>,
        lives: &[Life],
        entry: &Entry<'_>,
        probe: &Probe,
    ) -> Option<Violation> {
        let life = answerer(lives, probe)?;
        let (sent_at, reason) = entry.attempts.iter().find_map(|attempt| match &attempt.outcome {
            Some(AttemptOutcome::Refused(reason))
                if for_want_of_readiness(reason)
                    && (probe.asked_at..=probe.answered_at).contains(&attempt.sent_at) =>
            {
                Some((attempt.sent_at, reason))
            }
            _ => None,
        })?;
        let refused_at = refused_at(run, entry.message, sent_at)?;
        let changed_meanwhile =
            life.ending_signals.iter().any(|(at, _)| (probe.asked_at..=refused_at).contains(at))
                || began_meanwhile(run, life, probe, refused_at);
        if changed_meanwhile || run.mishaps.disk_failed(sent_at, refused_at) {
            return None;
        }
        let message = format!("{} said ready and refused {}", capital(&life.name()), entry.message);
        let explanation = format!(
            "A probe sent at {} was answered with ready at {}. {} was sent at {} and refused at {}: {}.",
            moment(probe.asked_at),
            moment(probe.answered_at),
            entry.message,
            moment(sent_at),
            moment(refused_at),
            quoted(reason),
        );
        Some(Violation { last_seen: Some(entry.last_seen()), ..breach(self, message, explanation) })
    }

    fn accepting_yet_not_ready(
        &self,
        run: &Evidence<'_>,
        lives: &[Life],
        probes: &[Probe],
    ) -> Option<Violation> {
        let accepted = run.events.iter().filter_map(|event| match &event.fact {
            // What a platform has confirmed to it was let in before.
            Fact::MessageAccepted { message } if run.ledger.is_on_platform(message) => None,
            Fact::MessageAccepted { message } => Some((event.at, message)),
            _ => None,
        });
        for (at, message) in accepted {
            let Some(life) = lives.iter().find(|life| life.holds_port_at(at)) else { continue };
            // It counts only between two probes that both said no: what holds after the last is not known.
            let Some(after) = probes.iter().position(|probe| probe.asked_at >= at) else { continue };
            // What an earlier life said says nothing about this one, nor what this one said before it began again.
            let began = life.began_before(at);
            let no = |probe: &&Probe| !probe.ready && probe.asked_at >= began;
            let since = probes[..=after].iter().rev().take_while(no).last();
            let Some(since) = since.map(|probe| probe.answered_at) else { continue };
            if at.saturating_sub(since) <= SLOW_TO_ADMIT {
                continue;
            }
            let took = span(at.saturating_sub(since));
            let title = format!("Messages were accepted {took} after the gateway said it was not ready");
            let explanation = format!(
                "Every probe from {} to {} was answered with not ready, and yet {message} was accepted at {}.",
                moment(since),
                moment(probes[after].answered_at),
                moment(at),
            );
            return Some(breach(self, title, explanation));
        }
        None
    }
}

/// Whether a refusal says that the gateway takes no messages at present, rather than that it dislikes this one.
fn for_want_of_readiness(reason: &str) -> bool {
    reason.contains("UNAVAILABLE") || reason.to_lowercase().contains("drain")
}

/// Whether a restart that somebody had asked for may have begun while a probe and a refusal were under way: nobody outside
/// knows when it does, but the next probe tells, unless whoever answered this one had gone by then.
fn began_meanwhile(run: &Evidence<'_>, life: &Life, probe: &Probe, refused_at: Duration) -> bool {
    let mut later = probes(run).into_iter().filter(|next| next.asked_at > probe.asked_at);
    let has_gone = |next: &Probe| {
        let held = life.holds.iter().rev().find(|hold| hold.from <= probe.answered_at);
        held.and_then(|hold| hold.until).is_some_and(|until| until <= next.asked_at)
    };
    let is_over = !later.next().is_some_and(|next| next.ready && !has_gone(&next));
    let is_open = |request: &RestartRequest| {
        let ended = [request.ended_at(), request.restarted_at].into_iter().flatten().min();
        request.asked_at <= refused_at && ended.is_none_or(|ended| ended >= probe.asked_at)
    };
    let edited = |event: &Event| matches!(event.fact, Fact::ConfigEdited { .. }) && event.at <= refused_at;
    is_over && (run.restarts.iter().any(is_open) || run.events.iter().any(edited))
}

/// When the attempt that was sent at `sent_at` was refused.
fn refused_at(run: &Evidence<'_>, message: &MessageId, sent_at: Duration) -> Option<Duration> {
    let refusal = run.events.iter().find(|event| {
        event.at >= sent_at
            && matches!(&event.fact, Fact::MessageRefused { message: refused, .. } if refused == message)
    });
    refusal.map(|event| event.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::story::Story;
    use gateway::env::{FsOp, Signal};

    const ORACLE: ReadinessTellsTheTruth = ReadinessTellsTheTruth;

    fn served() -> Story {
        Story::new().at(0).serves(214).at(1_000)
    }

    #[test]
    fn ready_before_the_signal_is_true_and_after_it_a_lie_told_once() {
        let story = |asked| served().at(2_000).signal(Signal::Terminate).at(2_010).ready(asked, Some(true));
        assert_eq!(complaints(&ORACLE, story(2_000)), [""; 0]);
        assert_eq!(
            complaints(&ORACLE, story(2_001).at(3_010).ready(3_000, Some(true))),
            ["Gateway pid 214 said ready although it was ending"]
        );
        let honest = served().at(2_000).signal(Signal::Terminate).at(2_010).ready(2_005, Some(false));
        assert_eq!(complaints(&ORACLE, honest.at(3_000).ready(2_990, None)), [""; 0]);
    }

    #[test]
    fn a_successor_may_say_ready() {
        let story = served().at(2_000).signal(Signal::Terminate).at(2_500).exits(75).at(2_600).gateway(215);
        assert_eq!(complaints(&ORACLE, story.starts().binds().at(2_610).ready(2_605, Some(true))), [""; 0]);
        let handover = served().at(2_000).signal(Signal::Terminate).at(2_500).exits(75).gateway(215).starts();
        assert_eq!(complaints(&ORACLE, handover.binds().at(2_510).ready(2_499, Some(true))), [""; 0]);
    }

    #[test]
    fn who_began_again_in_place_may_say_ready_and_owes_nothing_for_what_it_said_before() {
        let terms = Terms { restarts_in_place: true, ..Terms::default() };
        let again = || served().at(2_000).signal(Signal::User1).at(9_000).releases().at(9_010).binds();
        let ready = |asked| again().at(9_020).ready(asked, Some(true));
        assert_eq!(verdict(&ORACLE, ready(9_015), &terms), []);
        assert_eq!(verdict(&ORACLE, ready(8_999), &terms), [], "the new generation may have answered");
        let lie = served().at(2_000).signal(Signal::User1).at(2_010).ready(2_005, Some(true));
        assert_eq!(verdict(&ORACLE, lie.at(9_000).releases().binds(), &terms).len(), 1);

        let draining = served().at(2_000).signal(Signal::User1).at(2_020).ready(2_010, Some(false)).at(9_000);
        let accepted = draining.releases().at(9_010).binds().at(9_020).sent(1).accepted(1);
        assert_eq!(verdict(&ORACLE, accepted.at(9_031).ready(9_025, Some(false)), &terms), []);
    }

    #[test]
    fn a_message_refused_during_a_probe_that_says_ready_is_a_lie() {
        let refused = |sent| {
            served()
                .at(sent)
                .sent(1)
                .at(sent + 2)
                .refused(1, "UNAVAILABLE: draining")
                .at(2_010)
                .ready(2_000, Some(true))
        };
        assert_eq!(complaints(&ORACLE, refused(2_001)), ["Gateway pid 214 said ready and refused ann#1"]);
        assert_eq!(complaints(&ORACLE, refused(1_999)), [""; 0]);
        let disliked =
            served().at(2_001).sent(1).refused(1, "INVALID_REQUEST: empty").ready(2_000, Some(true));
        assert_eq!(complaints(&ORACLE, disliked), [""; 0]);
    }

    #[test]
    fn a_signal_or_a_failing_disk_during_the_probe_explains_the_refusal() {
        let signalled = served().at(2_001).signal(Signal::Terminate).at(2_002).sent(1).at(2_003);
        assert_eq!(
            complaints(&ORACLE, signalled.refused(1, "UNAVAILABLE").at(2_004).ready(2_000, Some(true))),
            [""; 0]
        );
        let disk = served().at(2_002).sent(1).disk_fails(FsOp::Append, "/state/inbox.jsonl", "no space left");
        assert_eq!(
            complaints(&ORACLE, disk.refused(1, "UNAVAILABLE").at(2_004).ready(2_000, Some(true))),
            [""; 0]
        );
    }

    #[test]
    fn a_restart_that_began_during_the_probe_is_not_told_by_what_the_successor_says() {
        let refused = |asks: bool, goes: bool| {
            let story = served();
            let story = match asks {
                true => story.asks_for_restart(1, crate::timeline::RestartMode::Plain).at(1_900),
                false => story,
            };
            let story = story.gateway(214).at(2_001).sent(1).at(2_002).refused(1, "UNAVAILABLE").at(2_004);
            let story = story.ready(2_000, Some(true)).gateway(214).at(2_500);
            let story = if goes { story.exits(75).at(2_600).serves(215) } else { story };
            complaints(&ORACLE, story.at(3_010).ready(3_000, Some(true)).at(9_000).ended()).len()
        };
        assert_eq!(refused(true, true), 0);
        assert_eq!([refused(true, false), refused(false, true)], [1, 1]);
    }

    #[test]
    fn not_ready_for_long_while_messages_are_accepted_is_a_lie() {
        let accepted_at = |at| {
            let story = served().at(1_010).ready(1_000, Some(false)).at(at).sent(1).accepted(1);
            story.at(8_000).ready(7_990, Some(false))
        };
        assert_eq!(complaints(&ORACLE, accepted_at(6_010)), [""; 0]);
        assert_eq!(
            complaints(&ORACLE, accepted_at(6_100)),
            ["Messages were accepted 5.1 s after the gateway said it was not ready"]
        );
        let earlier_life =
            served().at(1_010).ready(1_000, Some(false)).exits(75).at(9_000).serves(215).sent(1);
        assert_eq!(
            complaints(&ORACLE, earlier_life.accepted(1).at(9_010).ready(9_001, Some(false))),
            [""; 0]
        );
        let became_ready = served().at(1_010).ready(1_000, Some(false)).at(7_000).sent(1).accepted(1);
        assert_eq!(complaints(&ORACLE, became_ready.at(8_000).ready(7_990, Some(true))), [""; 0]);
    }
}
