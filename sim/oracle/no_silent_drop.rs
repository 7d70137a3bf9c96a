//! No message is ever silently dropped.
//!
//! The invariant the testbed exists for. The ledger decides; this file tells the story of the drop: when the
//! message was handed over and acknowledged, what befell the gateway then, and where it was last seen.

use std::time::Duration;

use super::life::{Life, Request, end_of};
use super::{Evidence, LONGEST_TURN, Oracle, Violation};
use crate::timeline::words::{capital, moment, quoted, span};
use crate::timeline::{Entry, Fact, Fate, MessageId, StateSeen};

/// Every message that the gateway accepted is answered, or its sender is told.
pub(super) struct NoSilentDrop;

impl Oracle for NoSilentDrop {
    fn invariant(&self) -> &'static str {
        "no-silent-drop"
    }

    fn sentence(&self) -> &'static str {
        "Every message that the gateway accepted is answered, or its sender is told."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let lives = &run.lives;
        let dropped = run.ledger.entries().iter().filter(|entry| entry.fate == Fate::Dropped);
        let waits = |entry: &&Entry<'_>| {
            waits_its_turn(run, entry) || waits_for_the_store(run, entry) || waits_for_a_start(run, entry)
        };
        let dropped = dropped.filter(|entry| !waits(entry));
        dropped
            .map(|entry| Violation {
                invariant: self.invariant().to_string(),
                message: format!("{} was dropped silently", entry.message),
                explanation: explain(run, lives, entry),
                last_seen: Some(entry.last_seen()),
            })
            .collect()
    }
}

/// Whether the run ended too soon for a message: its conversation has been at work on others since it was accepted, and
/// the model is asked for it, or for one before it, for no longer than a turn may take.
fn waits_its_turn(run: &Evidence<'_>, entry: &Entry<'_>) -> bool {
    let Some(accepted) = entry.accepted_at else { return false };
    let end = end_of(run);
    let of_talk = |message: &MessageId| message.sender == entry.message.sender;
    let is_before = |message: &MessageId| of_talk(message) && message.number <= entry.message.number;
    let had_others =
        run.ledger.entries().iter().any(|other| {
            of_talk(other.message) && other.settled_at.is_some_and(|settled| settled > accepted)
        });
    let mut asked = None;
    for event in run.events {
        match &event.fact {
            Fact::ProviderRequested { message, request } if is_before(message) => {
                asked = Some((event.at, *request));
            }
            Fact::ProviderAnswered { request, .. }
            | Fact::ProviderStopped { request, .. }
            | Fact::ProviderWantedTools { request, .. } => {
                asked = asked.filter(|(_, asked)| asked != request)
            }
            _ => {}
        }
    }
    had_others && asked.is_some_and(|(at, _)| end.saturating_sub(at) <= LONGEST_TURN)
}

/// Whether a message that the gateway has, or that is still to be fetched, has to wait for somebody to look at the store,
/// which was spoilt and cannot be restored.
fn waits_for_the_store(run: &Evidence<'_>, entry: &Entry<'_>) -> bool {
    let is_kept = last_look(run).is_some_and(|(_, state)| state.mentioned.contains(entry.message));
    run.mishaps.store_is_beyond_repair(end_of(run)) && (is_kept || is_to_be_fetched(entry))
}

/// Whether the supervisor had enough of what people and the world did to the service, nobody has started it since, and the
/// next start will find what is owed.
fn waits_for_a_start(run: &Evidence<'_>, entry: &Entry<'_>) -> bool {
    let gave_up = run.events.iter().rev().find(|event| event.fact == Fact::StartLimitHit);
    let Some(at) = gave_up.map(|event| event.at) else { return false };
    let is_kept = last_look(run).is_some_and(|(_, state)| state.kept.contains(entry.message));
    run.lives.iter().all(|life| life.started_at <= at)
        && run.was_worn_out(at)
        && (is_kept || is_to_be_fetched(entry))
}

/// Whether its platform keeps a message for whoever asks for it.
fn is_to_be_fetched(entry: &Entry<'_>) -> bool {
    entry.platform.is_some() && entry.accepted_at.is_none()
}

/// When somebody looked into the state directory for the last time, and what was there.
fn last_look<'a>(run: &Evidence<'a>) -> Option<(Duration, &'a StateSeen)> {
    run.events.iter().rev().find_map(|event| match &event.fact {
        Fact::State(state) => Some((event.at, &**state)),
        _ => None,
    })
}

fn explain(run: &Evidence<'_>, lives: &[Life], entry: &Entry<'_>) -> String {
    let Entry { message, text, .. } = entry;
    let sender = &message.sender;
    let sent_at = entry.sent_at();
    let mut sentences = vec![format!("{sender} sent {} at {}.", quoted(text), moment(sent_at))];
    match entry.accepted_at {
        Some(accepted) => sentences.push(format!("The gateway acknowledged it at {}.", moment(accepted))),
        None => sentences.push(entry.why()),
    }
    sentences.extend(blow(lives, entry.accepted_at.unwrap_or(sent_at)));
    let silence = end_of(run).saturating_sub(sent_at);
    sentences
        .push(format!("In the {} until the end of the run nobody told {sender} anything.", span(silence)));
    sentences.extend(remains(run, message));
    sentences.join(" ")
}

/// What befell the process that had the message: a signal and its consequence, or a sudden death.
fn blow(lives: &[Life], since: Duration) -> Option<String> {
    let life = lives.iter().find(|life| life.ended_at().is_none_or(|ended| ended >= since))?;
    let open = |request: &&Request| request.followed.is_none_or(|followed| followed >= since);
    match (life.requests.iter().find(open), life.ended) {
        (Some(Request { at, by, followed, .. }), _) => {
            let then = match followed {
                Some(followed) => format!("it began again at {}", moment(*followed)),
                None => life.end_words(),
            };
            Some(format!("{}; {then}.", by.words(&life.name(), *at)))
        }
        (None, Some((at, cause))) => {
            Some(format!("{} ended at {} ({cause}).", capital(&life.name()), moment(at)))
        }
        (None, None) => None,
    }
}

/// What the last look into the state directory found of the message.
fn remains(run: &Evidence<'_>, message: &MessageId) -> Option<String> {
    let (at, state) = last_look(run)?;
    let at = moment(at);
    Some(match (state.answered.contains(message), state.mentioned.contains(message)) {
        (true, _) => {
            format!("A reply to it stands in the state directory, as found at {at}, unseen by its sender.")
        }
        (false, true) => format!("Its text still stands in the state directory, as found at {at}."),
        (false, false) => format!("Nothing of it stands in the state directory, as found at {at}."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::DeathCause;
    use crate::timeline::Injection;
    use crate::timeline::story::Story;
    use gateway::env::Signal;

    fn accepted() -> Story {
        Story::new().serves(214).at(1_000).sent(1).at(1_001).accepted(1)
    }

    #[test]
    fn a_message_with_a_fate_is_no_drop() {
        assert_eq!(complaints(&NoSilentDrop, accepted().at(2_000).told(1, "sorry").ended()), [""; 0]);
    }

    #[test]
    fn a_drop_is_told_as_a_story() {
        let story = accepted().log("run.started", &[("run", "r1"), ("message", "ann#1")]).asked(1, 1);
        let story = story.at(1_650).signal(Signal::Terminate).at(1_655).exits(0);
        let story = story.at(1_656).state(Some(Ok(())), &[], &[]).at(61_000).ended();
        let found = verdict(&NoSilentDrop, story, &Terms::default());
        assert_eq!(found[0].message, "ann#1 was dropped silently");
        assert_eq!(
            found[0].explanation,
            "ann sent \"hello [ann#1]\" at 1.000 s. The gateway acknowledged it at 1.001 s. \
             SIGTERM reached gateway pid 214 at 1.650 s; it ended at 1.655 s (exit 0). \
             In the 60.0 s until the end of the run nobody told ann anything. \
             Nothing of it stands in the state directory, as found at 1.656 s."
        );
        let seen = found[0].last_seen.clone().expect("a drop has a last sighting");
        assert_eq!(seen.place, "run r1 on gateway pid 214 was waiting for the model's answer");
    }

    #[test]
    fn a_kill_is_named_as_the_cause() {
        let story = accepted().at(1_500).dies(DeathCause::Killed).at(2_000).serves(215).at(9_000).ended();
        let found = verdict(&NoSilentDrop, story, &Terms::default());
        assert!(found[0].explanation.contains("Gateway pid 214 ended at 1.500 s (killed by SIGKILL)."));
    }

    #[test]
    fn who_stands_in_line_when_the_run_ends_is_not_forgotten() {
        let second = || accepted().asked(1, 1).sent(2).accepted(2).at(600_000).stopped(1, 1, "hung");
        let in_line = |ended| {
            let story = second().told(1, "it could not be answered").asked(2, 2).at(ended).ended();
            complaints(&NoSilentDrop, story)
        };
        assert_eq!(in_line(1_260_000), [""; 0]);
        assert_eq!(in_line(1_260_001), ["ann#2 was dropped silently"], "no turn takes so long");
        let alone = accepted().at(600_000).asked(1, 1).at(700_000).ended();
        assert_eq!(complaints(&NoSilentDrop, alone), ["ann#1 was dropped silently"], "nothing was before it");
        let idle = second().told(1, "it could not be answered").at(700_000).ended();
        assert_eq!(complaints(&NoSilentDrop, idle), ["ann#2 was dropped silently"], "nobody is at work");
    }

    #[test]
    fn what_is_kept_until_somebody_looks_at_the_store_is_not_dropped() {
        let what = "agents/main/sessions/sessions.json in the state directory is overwritten";
        let spoilt = || {
            Story::new()
                .serves(214)
                .at(500)
                .injected(Injection::CorruptState, what)
                .at(1_000)
                .sent(1)
                .accepted(1)
                .at(9_000)
        };
        let torn = || Some(Err("cut short".into()));
        assert_eq!(complaints(&NoSilentDrop, spoilt().state(torn(), &["ann#1"], &[]).ended()), [""; 0]);
        let lost = ["ann#1 was dropped silently"];
        assert_eq!(complaints(&NoSilentDrop, spoilt().state(torn(), &[], &[]).ended()), lost);
        let sound = accepted().at(9_000).state(Some(Ok(())), &["ann#1"], &[]).ended();
        assert_eq!(complaints(&NoSilentDrop, sound), lost);
    }

    #[test]
    fn what_is_durable_waits_for_whoever_starts_a_service_that_was_worn_out() {
        let told = |kept: bool, struck_by: DeathCause, comes_back: bool| {
            let accepted = Story::new().at(0).serves(100).at(10).sent(1).accepted(1).dies(struck_by);
            let all = (1..6)
                .fold(accepted, |story, n| story.at(u64::from(n) * 1_000).serves(100 + n).dies(struck_by));
            let given_up = all.at(6_000).supervisor(Fact::StartLimitHit);
            let story = if comes_back { given_up.at(7_000).serves(200) } else { given_up };
            complaints(&NoSilentDrop, story.at(900_000).keeps(if kept { &["ann#1"] } else { &[] }).ended())
                .len()
        };
        assert_eq!(told(true, DeathCause::Killed, false), 0);
        assert_eq!(told(false, DeathCause::Killed, false), 1, "nothing will tell of it");
        assert_eq!(told(true, DeathCause::Panicked, false), 1, "it did that itself");
        assert_eq!(told(true, DeathCause::Killed, true), 1, "it came back and said nothing");
        let unfetched = |struck_by: DeathCause| {
            let all = (0..6).fold(Story::new(), |story, n| {
                story.at(u64::from(n) * 1_000).serves(100 + n).dies(struck_by)
            });
            let given_up = all.at(6_000).supervisor(Fact::StartLimitHit).at(7_000).writes(1);
            complaints(&NoSilentDrop, given_up.at(900_000).keeps(&[]).ended()).len()
        };
        assert_eq!([unfetched(DeathCause::Killed), unfetched(DeathCause::Panicked)], [0, 1]);
    }

    #[test]
    fn one_violation_per_message() {
        let story = accepted().sent(2).accepted(2).sent(3).accepted(3).replied(3, "Hi").ended();
        assert_eq!(
            complaints(&NoSilentDrop, story),
            ["ann#1 was dropped silently", "ann#2 was dropped silently"]
        );
    }
}
