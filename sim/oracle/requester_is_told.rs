//! Whoever asks for a restart from a conversation hears there what came of it, once.
//!
//! What counts is what the conversation's own sender received. Nothing is owed before the gateway has promised the restart,
//! and nothing can be told while nobody serves. Whoever comes for the first time afterwards does not look what was said before.

use std::time::Duration;

use super::life::{Life, end_of};
use super::restarts::RestartRequest;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::moment;
use crate::timeline::{Fact, LEFT_FOR_GOOD, Source, Via};

/// Who has served for so long has told what it owes: a store that is held for a while is waited for.
const TOLD_WITHIN: Duration = Duration::from_secs(120);

/// Whoever asks for a restart from a conversation hears there what came of it.
pub(super) struct RequesterIsTold;

impl Oracle for RequesterIsTold {
    fn invariant(&self) -> &'static str {
        "requester-is-told"
    }

    fn sentence(&self) -> &'static str {
        "Whoever asks for a restart from a conversation hears there what came of it, once."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let asked = run.events.iter().filter_map(|event| match &event.fact {
            Fact::RestartAskedFrom { request, sender, note } => Some((*request, sender, note)),
            _ => None,
        });
        asked.filter_map(|(request, sender, note)| self.of(run, request, sender, note)).collect()
    }
}

impl RequesterIsTold {
    fn of(&self, run: &Evidence<'_>, request: u32, sender: &str, note: &str) -> Option<Violation> {
        let promised = run.events.iter().find_map(|event| match event.fact {
            Fact::RestartAnswered { request: answered, ok: true, .. } if answered == request => {
                Some(event.at)
            }
            _ => None,
        })?;
        let source = Source::Sender(sender.to_string());
        let of_sender = || run.events.iter().filter(|event| event.source == source);
        let listens_no_more = of_sender().any(|event| match &event.fact {
            Fact::SenderStoppedListening => true,
            Fact::SenderDisconnected { how } => how == LEFT_FOR_GOOD,
            _ => false,
        });
        let first_there = of_sender().find(|event| event.fact == Fact::SenderConnected);
        let came_later = first_there.is_some_and(|event| event.at > promised);
        let heard: Vec<_> = of_sender()
            .filter_map(|event| match &event.fact {
                Fact::NoticeReceived { text, via, .. } if text.contains(note) => Some((*via, text)),
                _ => None,
            })
            .collect();
        // What a platform took while nobody could know that it had it had to come once more.
        let had_to_come_again = |pair: &&[(Via, &String)]| match **pair {
            [(Via::Platform { send: first }, text), (Via::Platform { send: second }, again)] => {
                run.ledger.sends().had_to_come_again((first, text), (second, again))
            }
            _ => false,
        };
        let times = heard.len() - heard.windows(2).filter(had_to_come_again).count();
        // What came of it has to be known, by the end of who promised it, and somebody to serve after that.
        let asked = run.restarts.iter().find(|asked| asked.number == request);
        let promiser = run.lives.iter().find(|life| life.holds.iter().any(|hold| hold.contains(promised)));
        let ended = asked.and_then(RestartRequest::ended_at).or(promiser.and_then(Life::ended_at));
        let known = ended.map_or(promised, |ended| ended.max(promised));
        let served = run.lives.iter().map(|life| life.served_between(known, end_of(run)));
        let is_due =
            served.max().is_some_and(|longest| longest >= TOLD_WITHIN) && !listens_no_more && !came_later;
        let message = match times {
            0 if is_due => format!("{sender} never heard what came of the restart of request {request}"),
            0 | 1 => return None,
            _ => format!("{sender} heard {times} times what came of the restart of request {request}"),
        };
        let explanation =
            format!("It was promised at {}, and asked for from its conversation.", moment(promised));
        Some(breach(self, message, explanation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::story::Story;
    use crate::timeline::{Platform, RestartEnding, RestartMode};

    const ORACLE: RequesterIsTold = RequesterIsTold;

    fn promised() -> Story {
        asked(Story::new().at(0).serves(214).at(1_000))
    }

    fn asked(story: Story) -> Story {
        let asked = Fact::RestartAsked { request: 1, mode: RestartMode::Plain };
        let from = Fact::RestartAskedFrom { request: 1, sender: "ann".into(), note: "back".into() };
        let answered = Fact::RestartAnswered { request: 1, ok: true, result: None, said: String::new() };
        let story = story.fact(Source::Operator, asked);
        let story = story.fact(Source::Operator, from).at(1_010).fact(Source::Operator, answered);
        story.at(1_100).exits(75).at(1_200).serves(215)
    }

    fn hears(story: Story, text: &str) -> Story {
        let fact = Fact::NoticeReceived { message: None, text: text.into(), via: Via::Live };
        story.fact(Source::Sender("ann".into()), fact)
    }

    #[test]
    fn once_is_right_and_never_and_twice_are_not() {
        assert_eq!(
            complaints(&ORACLE, hears(promised().at(2_000), "done. back").at(200_000).ended()),
            [""; 0]
        );
        assert_eq!(
            complaints(&ORACLE, hears(promised().at(2_000), "something else").at(200_000).ended()),
            ["ann never heard what came of the restart of request 1"]
        );
        let twice = hears(hears(promised().at(2_000), "back"), "back").at(200_000).ended();
        assert_eq!(complaints(&ORACLE, twice), ["ann heard 2 times what came of the restart of request 1"]);
    }

    #[test]
    fn nobody_is_told_by_a_service_that_is_down_when_it_is_known() {
        let refused = |is_reported: bool, then: fn(Story) -> Story| {
            let asked = Fact::RestartAsked { request: 1, mode: RestartMode::Plain };
            let from = Fact::RestartAskedFrom { request: 1, sender: "ann".into(), note: "back".into() };
            let said = Fact::RestartAnswered { request: 1, ok: true, result: None, said: String::new() };
            let story = Story::new().at(0).serves(214).at(1_000).fact(Source::Operator, asked);
            let story = story.fact(Source::Operator, from).at(1_010).fact(Source::Operator, said);
            let story = story.at(200_000);
            let story = if is_reported { story.reports_restart(1, RestartEnding::Refused) } else { story };
            let story = story.gateway(214);
            complaints(&ORACLE, then(story.at(200_010).exits(0)).at(500_000).ended()).len()
        };
        for is_reported in [true, false] {
            assert_eq!(refused(is_reported, |story| story), 0);
            assert_eq!(refused(is_reported, |story| story.at(201_000).serves(215)), 1, "it came back");
        }
    }

    #[test]
    fn who_was_never_there_before_need_not_hear_it() {
        let ann = || Source::Sender("ann".into());
        let later = promised().at(3_000).fact(ann(), Fact::SenderConnected);
        assert_eq!(complaints(&ORACLE, later.at(200_000).ended()), [""; 0]);
        let before = Story::new().at(0).serves(214).at(1_000).fact(ann(), Fact::SenderConnected);
        let back = asked(before).at(3_000).fact(ann(), Fact::SenderConnected);
        assert_eq!(complaints(&ORACLE, back.at(200_000).ended()).len(), 1);
    }

    #[test]
    fn what_a_platform_may_not_have_taken_is_said_again() {
        let hears = |story: Story, send, text: &str| {
            let via = Via::Platform { send };
            let fact = Fact::NoticeReceived { message: None, text: text.into(), via };
            story.takes(Platform::Telegram, send, None).fact(Source::Sender("ann".into()), fact)
        };
        let marked = "back\n(You may have got this before.)";
        let twice = |story: Story| complaints(&ORACLE, hears(story.at(3_000), 2, marked).at(200_000).ended());
        let once = || hears(promised().at(2_000), 1, "back");
        assert_eq!(twice(once().loses_send(1, true)), [""; 0]);
        assert_eq!(twice(once().answers_send(1)).len(), 1, "its sender knew");
    }

    #[test]
    fn nothing_is_owed_to_who_left_or_while_nobody_serves() {
        assert_eq!(complaints(&ORACLE, promised().at(60_000).ended()), [""; 0], "it may still come");
        assert_eq!(complaints(&ORACLE, promised().at(2_000).left().at(200_000).ended()), [""; 0]);
    }
}
