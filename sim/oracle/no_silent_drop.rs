//! No message is ever silently dropped.
//!
//! The invariant the testbed exists for. The ledger decides; this file tells the story of the drop: when the
//! message was handed over and acknowledged, what befell the gateway then, and where it was last seen.

use std::time::Duration;

use super::life::{Life, Request, end_of};
use super::{Evidence, Oracle, Violation};
use crate::timeline::words::{capital, moment, quoted, span};
use crate::timeline::{Entry, Fact, Fate, MessageId};

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
        dropped
            .map(|entry| Violation {
                invariant: self.invariant().to_string(),
                message: format!("{} was dropped silently", entry.message),
                explanation: explain(run, lives, entry),
                last_seen: Some(entry.last_seen.clone()),
            })
            .collect()
    }
}

fn explain(run: &Evidence<'_>, lives: &[Life], entry: &Entry) -> String {
    let Entry { message, text, .. } = entry;
    let sender = &message.sender;
    let sent_at = entry.sent_at();
    let mut sentences = vec![format!("{sender} sent {} at {}.", quoted(text), moment(sent_at))];
    match entry.accepted_at {
        Some(accepted) => sentences.push(format!("The gateway acknowledged it at {}.", moment(accepted))),
        None => sentences.push(entry.why.clone()),
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
    run.events.iter().rev().find_map(|event| {
        let Fact::State(state) = &event.fact else { return None };
        let at = moment(event.at);
        Some(match (state.answered.contains(message), state.mentioned.contains(message)) {
            (true, _) => format!(
                "A reply to it stands in the state directory, as found at {at}, unseen by its sender."
            ),
            (false, true) => format!("Its text still stands in the state directory, as found at {at}."),
            (false, false) => format!("Nothing of it stands in the state directory, as found at {at}."),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::DeathCause;
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
    fn one_violation_per_message() {
        let story = accepted().sent(2).accepted(2).sent(3).accepted(3).replied(3, "Hi").ended();
        assert_eq!(
            complaints(&NoSilentDrop, story),
            ["ann#1 was dropped silently", "ann#2 was dropped silently"]
        );
    }
}
