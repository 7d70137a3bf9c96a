//! What comes of a subagent reaches the sender who asked for it, once; and what the sender stopped stays stopped.
//!
//! A subagent is owed to its sender once the model was told that it is at work. Then one reply or one notice about it must
//! reach the sender; excused are those whose sender stopped everything, left for good or never listens, which the model
//! is still at work on, which stand in line at the end behind a message of the conversation, and, where nobody serves at the end, which the books keep for the next start. As with
//! messages, work that the model finished twice is a breach, unless a gateway died in between.

use std::collections::BTreeMap;
use std::time::Duration;

use super::life::end_of;
use super::subagents::{Heard, Subagent, Subagents};
use super::{Evidence, LONGEST_TURN, Oracle, Violation, breach};
use crate::timeline::words::{moment, quoted};
use crate::timeline::{Fact, Sends, SubagentId, Via};

/// What was on its way to the model when a stop was confirmed, or a gateway died.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What comes of a subagent reaches the sender who asked for it, once; and what the sender stopped stays stopped.
pub(super) struct SubagentResultsOnce;

impl Oracle for SubagentResultsOnce {
    fn invariant(&self) -> &'static str {
        "subagent-results-once"
    }

    fn sentence(&self) -> &'static str {
        "What comes of a subagent reaches the sender who asked for it, once; and what the sender stopped stays stopped."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let seen = Subagents::of(run);
        let of_one = |(id, subagent): (&&SubagentId, &Subagent)| {
            self.never_heard(run, &seen, id, subagent)
                .or_else(|| self.heard_twice(run, id, subagent))
                .or_else(|| self.done_twice(run, id, subagent))
                .or_else(|| self.resumed_although_stopped(&seen, id, subagent))
        };
        seen.all.iter().filter_map(of_one).collect()
    }
}

impl SubagentResultsOnce {
    fn never_heard(
        &self,
        run: &Evidence<'_>,
        seen: &Subagents<'_>,
        id: &SubagentId,
        subagent: &Subagent,
    ) -> Option<Violation> {
        let begun = subagent.begun_at?;
        let end = end_of(run);
        let sender = seen.sender_of(id);
        // A stop ends what it finds, which may have begun after it was asked for.
        let is_stopped = sender.is_some_and(|sender| {
            sender.stops.iter().chain(&sender.confirmed).any(|stop_or_its_end| *stop_or_its_end >= begun)
        });
        let is_absent = sender.is_some_and(|sender| sender.is_absent);
        let is_at_work = subagent.requests.iter().any(|request| request.ended_at.is_none());
        let row = seen
            .looks
            .last()
            .and_then(|(_, state)| state.subagents.iter().find(|row| row.subagent.as_ref() == Some(id)));
        let is_up = Subagents::is_up_at_the_end(run);
        if !subagent.heard.is_empty() || is_stopped || is_absent {
            return None;
        }
        if is_up && (is_at_work || stands_in_line(run, &id.message.sender)) {
            return None;
        }
        if !is_up && row.is_some() {
            return None;
        }
        let work = match subagent.worked_on_until(end) {
            None => "The model was never given its task".to_string(),
            Some(_) if subagent.requests.iter().any(|request| request.is_answered) => {
                let done = subagent.requests.iter().filter(|request| request.is_answered);
                let done = done.filter_map(|request| request.ended_at).max().unwrap_or(end);
                format!("The model finished its task at {}", moment(done))
            }
            Some(until) => {
                format!("The model worked on its task until {}, and did not finish", moment(until))
            }
        };
        let books = match row {
            None => "the books do not know it".to_string(),
            Some(row) => format!("the books say that {} is {}", row.run, row.status),
        };
        Some(breach(
            self,
            format!("{} never heard what came of {id}", id.message.sender),
            format!("It was at work since {}. {work}; at the end {books}.", moment(begun)),
        ))
    }

    fn heard_twice(&self, run: &Evidence<'_>, id: &SubagentId, subagent: &Subagent) -> Option<Violation> {
        let (one, other) = twice(&subagent.heard, run.ledger.sends())?;
        Some(breach(
            self,
            format!("{} heard twice what came of {id}", id.message.sender),
            format!(
                "At {}: {}. At {}: {}.",
                moment(one.at),
                quoted(&one.text),
                moment(other.at),
                quoted(&other.text)
            ),
        ))
    }

    fn done_twice(&self, run: &Evidence<'_>, id: &SubagentId, subagent: &Subagent) -> Option<Violation> {
        let done: Vec<_> = subagent
            .requests
            .iter()
            .filter_map(|request| Some((request.at, request.ended_at.filter(|_| request.is_answered)?)))
            .collect();
        let (first, second) = done.windows(2).find_map(|pair| {
            let [(asked, first), (asked_again, second)] = *pair else { return None };
            let ended = run.lives.iter().flat_map(|life| life.holds.iter().filter_map(|hold| hold.until));
            let died = ended.chain(run.lives.iter().filter_map(|life| life.ended_at()));
            // What a gateway has sent is on its way when it dies.
            let asked = asked.saturating_sub(ON_ITS_WAY);
            let mut between = died.filter(|at| (asked..=asked_again).contains(at));
            between.next().is_none().then_some((first, second))
        })?;
        Some(breach(
            self,
            format!("the task of {id} was done twice"),
            format!("The model finished it at {} and at {}.", moment(first), moment(second)),
        ))
    }

    fn resumed_although_stopped(
        &self,
        seen: &Subagents<'_>,
        id: &SubagentId,
        subagent: &Subagent,
    ) -> Option<Violation> {
        let begun = subagent.begun_at?;
        let confirmed = seen.sender_of(id)?.confirmed.iter().find(|at| **at > begun)?;
        let again = subagent.requests.iter().find(|request| request.at > *confirmed + ON_ITS_WAY)?;
        Some(breach(
            self,
            format!("{id} went on although {} had stopped it", id.message.sender),
            format!(
                "The stop was confirmed at {}, and the model was given its task at {}.",
                moment(*confirmed),
                moment(again.at)
            ),
        ))
    }
}

/// Whether the model is at work at the end on a message of the conversation in which what came of a subagent is to be told,
/// after those that were there before, and for no longer than a turn may take.
fn stands_in_line(run: &Evidence<'_>, sender: &str) -> bool {
    let conversation = run.mishaps.conversation_of(sender);
    let mut at_work = BTreeMap::new();
    for event in run.events {
        match &event.fact {
            Fact::ProviderRequested { message, request }
                if run.mishaps.conversation_of(&message.sender) == conversation =>
            {
                at_work.insert(*request, event.at);
            }
            Fact::ProviderAnswered { request, .. }
            | Fact::ProviderWantedTools { request, .. }
            | Fact::ProviderStopped { request, .. } => drop(at_work.remove(request)),
            _ => {}
        }
    }
    at_work.values().any(|asked| end_of(run).saturating_sub(*asked) <= LONGEST_TURN)
}

/// Two things that were heard and should have been one. The same words live and in the history are one, and those that a
/// platform took once more because nobody could know that it had them.
fn twice<'a>(heard: &'a [Heard], sends: &Sends) -> Option<(&'a Heard, &'a Heard)> {
    let had_to_come_again = |pair: &[Heard]| match (pair[0].via, pair[1].via) {
        (Via::Platform { send: first }, Via::Platform { send: second }) => {
            sends.had_to_come_again((first, &pair[0].text), (second, &pair[1].text))
        }
        _ => false,
    };
    let again = heard.windows(2).take_while(|pair| had_to_come_again(pair)).count();
    let (first, rest) = heard.get(again..)?.split_first()?;
    rest.iter().find_map(|other| {
        let is_other = other.text.trim() != first.text.trim();
        let both_live = first.via == Via::Live && other.via == Via::Live;
        // One reading of the history is one instant.
        let in_one_history = other.via == Via::History && first.via == Via::History && first.at == other.at;
        (is_other || both_live || in_one_history).then_some((first, other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::story::Story;
    use crate::timeline::{Platform, SubagentSeen};

    #[test]
    fn what_stands_in_line_behind_a_message_at_the_end_is_still_to_be_told() {
        let heard = |sender: &str, asked_at: u64, answered: bool| {
            let story = Story::new().at(0).serves(214).at(1_000).subagent(1, SubagentSeen::Wanted);
            let story = story.subagent(1, SubagentSeen::Begun);
            let story = story.subagent(1, SubagentSeen::Requested { request: 1 }).at(2_000);
            let story = story.subagent(1, SubagentSeen::Answered { request: 1 }).sender(sender);
            let story = story.sent(9).at(asked_at).asked(9, 2);
            let story = if answered { story.answered(9, 2) } else { story };
            complaints(&SubagentResultsOnce, story.at(1_000_000).ended()).len()
        };
        assert_eq!(heard("ann", 340_000, false), 0);
        assert_eq!(heard("ann", 339_999, false), 1, "no turn is as long");
        assert_eq!(heard("ann", 340_000, true), 1, "nothing is in the way");
        assert_eq!(heard("bob", 340_000, false), 1, "in another conversation");
    }

    #[test]
    fn what_somebody_stopped_who_shares_the_conversation_is_owed_to_nobody() {
        let source = |name: &str| crate::timeline::Source::Sender(name.into());
        let never_heard = |whose: &str| {
            let joins = crate::timeline::Fact::SenderJoined { whose: "bob".into() };
            let story = Story::new().fact(source("ann"), joins).at(0).serves(214).at(1_000).sent(1);
            let stop = crate::timeline::Fact::ConversationStopRequested { whose: whose.into() };
            let story = story.subagent(1, SubagentSeen::Begun).at(2_000).fact(source("bob"), stop);
            told(story.at(900_000).ended()).len()
        };
        assert_eq!((never_heard("bob"), never_heard("eve")), (0, 1));
    }

    #[test]
    fn a_stop_ends_what_began_before_it_was_confirmed() {
        let asked = || Story::new().at(0).serves(214).at(1_000).by_sender(Fact::SubagentsStopRequested);
        let begun = || asked().at(1_100).subagent(1, SubagentSeen::Begun);
        let confirmed = Fact::SubagentsCancelled { runs: 1 };
        assert_eq!(told(begun().at(1_200).by_sender(confirmed.clone()).at(900_000).ended()), [""; 0]);
        let confirmed_before = asked().by_sender(confirmed).at(1_100).subagent(1, SubagentSeen::Begun);
        assert_eq!(told(confirmed_before.at(900_000).ended()), ["ann never heard what came of ann#1/1"]);
    }

    fn told(story: Story) -> Vec<String> {
        complaints(&SubagentResultsOnce, story)
    }

    fn at_work() -> Story {
        let story = Story::new().at(0).serves(214).at(1_000).subagent(1, SubagentSeen::Begun);
        story.at(1_100).subagent(1, SubagentSeen::Requested { request: 2 })
    }

    fn done() -> Story {
        at_work().at(5_000).subagent(1, SubagentSeen::Answered { request: 2 })
    }

    fn heard(story: Story, text: &str, via: Via) -> Story {
        story.subagent(1, SubagentSeen::Heard { text: text.into(), notice: false, via })
    }

    #[test]
    fn a_result_is_heard_once() {
        let once = || heard(done().at(6_000), "yes", Via::Live);
        assert_eq!(told(once().at(9_000).ended()), [""; 0]);
        assert_eq!(told(heard(once().at(7_000), "yes", Via::History).ended()), [""; 0]);
        assert_eq!(told(done().at(9_000).ended()), ["ann never heard what came of ann#1/1"]);
        for (text, via) in [("yes", Via::Live), ("no", Via::History)] {
            let again = heard(once().at(7_000), text, via).ended();
            assert_eq!(told(again), ["ann heard twice what came of ann#1/1"]);
        }
    }

    #[test]
    fn what_a_platform_may_not_have_taken_is_heard_again() {
        let taken = |story: Story, send| story.takes(Platform::Telegram, send, None);
        let heard_by = |story: Story, text: &str, send| heard(story, text, Via::Platform { send });
        let once = || heard_by(taken(done().at(6_000), 1), "yes", 1);
        let again = |story: Story, text| heard_by(taken(story.at(7_000), 2), text, 2).at(9_000).ended();
        let marked = "yes\n(You may have got this before.)";
        assert_eq!(told(again(once().loses_send(1, true), marked)), [""; 0]);
        let twice = ["ann heard twice what came of ann#1/1"];
        assert_eq!(told(again(once().answers_send(1), marked)), twice, "its sender knew");
        assert_eq!(told(again(once().loses_send(1, true), "no")), twice, "it says something else");
    }

    #[test]
    fn what_was_never_at_work_or_still_is_is_not_owed() {
        let wanted = Story::new().at(0).serves(214).at(1_000).subagent(1, SubagentSeen::Wanted);
        assert_eq!(told(wanted.at(9_000).ended()), [""; 0]);
        assert_eq!(told(at_work().at(9_000).ended()), [""; 0]);
    }

    #[test]
    fn a_task_is_done_once_unless_a_gateway_died_in_between() {
        let again = |story: Story| {
            let story = story.at(7_000).subagent(1, SubagentSeen::Requested { request: 3 });
            let story = story.at(8_000).subagent(1, SubagentSeen::Answered { request: 3 });
            heard(story.at(8_500), "yes", Via::Live).ended()
        };
        assert_eq!(told(again(done())), ["the task of ann#1/1 was done twice"]);
        assert_eq!(told(again(done().at(6_000).releases().exits(0).at(6_500).serves(215))), [""; 0]);
    }

    #[test]
    fn what_was_stopped_stays_stopped() {
        let stopped = || at_work().at(2_000).subagents_stopped();
        assert_eq!(told(stopped().at(9_000).ended()), [""; 0]);
        let on = stopped().at(8_000).subagent(1, SubagentSeen::Requested { request: 3 }).ended();
        assert_eq!(told(on), ["ann#1/1 went on although ann had stopped it"]);
    }
}
