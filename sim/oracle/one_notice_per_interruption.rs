//! An interrupted conversation hears of it once, and nobody else does.
//!
//! Looked at are notices on platforms that say the service restarted. A conversation is interrupted when a process, or a
//! generation of it, ends while a message that was handed out has no end yet, or had one by such a notice on the way out.
//! There are at most as many notices as interruptions; one notice may name several messages, and one that had to be
//! sent again counts once. A message that was answered is not said to be unanswered. That an interrupted message has some end at all is the business
//! of `no-silent-drop`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::life::Life;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{counted, moment, ordinal, quoted};
use crate::timeline::{Fact, MessageId, Via};

/// What a notice says of an interruption.
const RESTARTED: &str = "restarted";

/// An interrupted conversation hears of it once, and nobody else does.
pub(super) struct OneNoticePerInterruption;

impl Oracle for OneNoticePerInterruption {
    fn invariant(&self) -> &'static str {
        "one-notice-per-interruption"
    }

    fn sentence(&self) -> &'static str {
        "A conversation on a platform gets one notice for each interruption, and none when it was not interrupted or \
         the message was answered."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let talks = talks(run);
        if talks.is_empty() {
            return Vec::new();
        }
        let ends = ends(run);
        let of_talk = |(sender, talk): (&&str, &Talk<'_>)| {
            let contradicted = talk.contradicted.iter().map(|said| self.contradicted(said));
            contradicted.chain(self.too_many(run, sender, talk, &ends)).collect::<Vec<_>>()
        };
        talks.iter().flat_map(of_talk).collect()
    }
}

impl OneNoticePerInterruption {
    fn contradicted(&self, said: &Contradiction<'_>) -> Violation {
        let Contradiction { message, replied, at, text } = said;
        let (replied, at) = (moment(*replied), moment(*at));
        let explanation =
            format!("{} had the reply at {replied}, and at {at} was told: {}.", message.sender, quoted(text));
        breach(self, format!("{message} was answered, and told that it was not"), explanation)
    }

    /// The first notice for which there was no interruption.
    fn too_many(
        &self,
        run: &Evidence<'_>,
        sender: &str,
        talk: &Talk<'_>,
        ends: &[End<'_>],
    ) -> Option<Violation> {
        let leaving = run.terms.stop_timeout.max(run.terms.drain_budget);
        let hits: Vec<_> = ends.iter().filter(|end| talk.was_open_at(end, leaving)).collect();
        for (index, (at, text)) in talk.notices.iter().enumerate() {
            let interrupted = hits.iter().filter(|end| end.seen_from(*at) <= *at + leaving).count();
            if index < interrupted {
                continue;
            }
            let what = match interrupted {
                0 => format!("{sender} was told of an interruption, and there was none"),
                _ => format!("{sender} was told once too often of an interruption"),
            };
            let explanation = format!(
                "The conversation was interrupted {}; at {} it had its {} notice: {}.",
                counted(interrupted, "time"),
                moment(*at),
                ordinal(index as u32 + 1),
                quoted(text)
            );
            return Some(breach(self, what, explanation));
        }
        None
    }
}

/// When a process or a generation ended, and which.
struct End<'a> {
    at: Duration,
    life: &'a Life,
}

impl End<'_> {
    /// When it would have come if the process had not stood still since a moment.
    fn seen_from(&self, moment: Duration) -> Duration {
        self.at.saturating_sub(self.life.frozen_between(moment, self.at))
    }
}

/// Every end, in order. A process that ends after it gave its port back ends once.
fn ends<'a>(run: &'a Evidence<'_>) -> Vec<End<'a>> {
    let of_life = |life: &'a Life| {
        let mut ends: Vec<_> = life.holds.iter().filter_map(|hold| hold.until).collect();
        if let Some(ended) = life.ended_at() {
            ends.pop();
            ends.push(ended);
        }
        ends.into_iter().map(move |at| End { at, life })
    };
    let mut ends: Vec<_> = run.lives.iter().flat_map(of_life).collect();
    ends.sort_by_key(|end| end.at);
    ends
}

/// What is seen of a conversation.
#[derive(Default)]
struct Talk<'a> {
    messages: BTreeMap<&'a MessageId, Seen>,
    /// Notices of an interruption, with what they say.
    notices: Vec<(Duration, &'a str)>,
    last_notice: Option<(u32, &'a str)>,
    contradicted: Vec<Contradiction<'a>>,
}

/// What is seen of a message that was handed out.
struct Seen {
    handed_out: Duration,
    ended: Option<Duration>,
    by_notice: bool,
    replied: Option<(Duration, u32)>,
}

struct Contradiction<'a> {
    message: &'a MessageId,
    replied: Duration,
    at: Duration,
    text: &'a str,
}

impl<'a> Talk<'a> {
    /// Whether something of it was cut off by an end: open then, or settled by a notice so shortly before.
    fn was_open_at(&self, end: &End<'_>, leaving: Duration) -> bool {
        self.messages.values().any(|seen| {
            let open = match (seen.ended, seen.by_notice) {
                (None, _) => true,
                (Some(ended), true) => ended + leaving >= end.seen_from(ended),
                (Some(ended), false) => ended > end.at,
            };
            seen.handed_out <= end.at && open
        })
    }

    fn ends(&mut self, message: &MessageId, at: Duration, by_notice: bool) {
        if let Some(seen) = self.messages.get_mut(message).filter(|seen| seen.ended.is_none()) {
            (seen.ended, seen.by_notice) = (Some(at), by_notice);
        }
    }

    fn replies(&mut self, message: &MessageId, at: Duration, send: u32) {
        self.ends(message, at, false);
        if let Some(seen) = self.messages.get_mut(message) {
            seen.replied.get_or_insert((at, send));
        }
    }

    fn notice(&mut self, run: &Evidence<'_>, message: &'a MessageId, at: Duration, text: &'a str, send: u32) {
        let is_known = |first: u32| run.ledger.sends().unavoidable(first, send).is_none();
        let replied = self.messages.get(message).and_then(|seen| seen.replied);
        if let Some((replied, _)) = replied.filter(|(_, reply)| is_known(*reply)) {
            self.contradicted.push(Contradiction { message, replied, at, text });
        }
        let restarted = text.contains(RESTARTED);
        self.ends(message, at, restarted);
        if !restarted {
            return;
        }
        let before = self.last_notice.replace((send, text));
        let came_again = |before| run.ledger.sends().had_to_come_again(before, (send, text));
        let same = before.is_some_and(|before| before.0 == send || came_again(before));
        if !same {
            self.notices.push((at, text));
        }
    }
}

fn talks<'a>(run: &Evidence<'a>) -> BTreeMap<&'a str, Talk<'a>> {
    let mut talks: BTreeMap<&str, Talk<'a>> = BTreeMap::new();
    for event in run.events {
        let at = event.at;
        match &event.fact {
            Fact::UpdateHandedOut { message, .. } => {
                let new = Seen { handed_out: at, ended: None, by_notice: false, replied: None };
                talks.entry(&message.sender).or_default().messages.entry(message).or_insert(new);
            }
            Fact::MessageCancelled { message } => {
                if let Some(talk) = talks.get_mut(message.sender.as_str()) {
                    talk.ends(message, at, false);
                }
            }
            Fact::ReplyReceived { message, via: Via::Platform { send }, .. } => {
                talks.entry(&message.sender).or_default().replies(message, at, *send);
            }
            Fact::NoticeReceived { message: Some(message), text, via: Via::Platform { send } } => {
                talks.entry(&message.sender).or_default().notice(run, message, at, text, *send);
            }
            _ => {}
        }
    }
    talks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::DeathCause;
    use crate::timeline::story::Story;

    const ORACLE: OneNoticePerInterruption = OneNoticePerInterruption;
    const SORRY: &str = "Your message was not answered: the service restarted";

    fn written() -> Story {
        Story::new().at(0).serves(214).at(1_000).writes(1).writes(2).handed_out(1, 1).handed_out(2, 1)
    }

    fn killed() -> Story {
        written().at(2_000).dies(DeathCause::Killed).at(3_000).serves(215).at(4_000)
    }

    #[test]
    fn one_interruption_is_told_once() {
        assert_eq!(complaints(&ORACLE, killed().posts_notice(&[1], 1, SORRY)), [""; 0]);
        assert_eq!(
            complaints(&ORACLE, killed().posts_notice(&[1, 2], 1, SORRY)),
            [""; 0],
            "one that names both"
        );
        let twice =
            killed().posts_notice(&[1], 1, SORRY).at(5_000).posts_notice(&[2], 2, "it restarted again");
        assert_eq!(complaints(&ORACLE, twice), ["ann was told once too often of an interruption"]);
        let again = killed().posts_notice(&[1], 1, SORRY).at(4_010).dies(DeathCause::Killed).serves(216);
        let again = again.at(5_000).posts_notice(&[1], 2, SORRY);
        assert_eq!(complaints(&ORACLE, again), [""; 0], "nobody could know that it had been taken");
    }

    #[test]
    fn who_was_not_interrupted_is_told_nothing() {
        let none = ["ann was told of an interruption, and there was none"];
        assert_eq!(complaints(&ORACLE, written().at(3_000).posts_notice(&[1], 1, SORRY)), none);
        let way_out = written().at(3_000).posts_notice(&[1, 2], 1, SORRY).at(4_000).releases().exits(0);
        assert_eq!(complaints(&ORACLE, way_out), [""; 0], "on its way out");
        let later = written().at(3_000).posts_notice(&[1, 2], 1, SORRY).at(400_000).releases().exits(0);
        assert_eq!(complaints(&ORACLE, later), none);
        let stood_still = |until| {
            let told = written().at(3_000).posts_notice(&[1, 2], 1, SORRY).at(4_000).frozen();
            complaints(&ORACLE, told.at(until).thawed().at(400_000).releases().exits(0))
        };
        assert_eq!(stood_still(390_000), [""; 0], "on its way out, and stopped there");
        assert_eq!(stood_still(200_000), none, "and long after that");
        let over = written().at(1_500).posts_reply(1, 1, "a").posts_reply(2, 2, "b");
        let over = over.at(2_000).dies(DeathCause::Killed).at(3_000).serves(215).at(4_000);
        let told = over.at(5_000).writes(3).handed_out(3, 1).at(6_000).posts_notice(&[3], 3, SORRY);
        assert_eq!(complaints(&ORACLE, told), none);
        let failed = written().at(3_000).posts_notice(&[1], 1, "Your message could not be answered");
        assert_eq!(complaints(&ORACLE, failed), [""; 0]);
    }

    #[test]
    fn what_was_answered_is_not_said_to_be_unanswered() {
        let both = written().at(1_500).posts_reply(1, 1, "a").at(1_550).answers_send(1).at(3_000);
        assert_eq!(
            complaints(&ORACLE, both.posts_notice(&[1], 2, "Your message was not answered")),
            ["ann#1 was answered, and told that it was not"]
        );
        let doubt = written().at(1_500).posts_reply(1, 1, "a").at(1_510).dies(DeathCause::Killed).serves(215);
        assert_eq!(complaints(&ORACLE, doubt.at(3_000).posts_notice(&[1], 2, SORRY)), [""; 0]);
    }
}
