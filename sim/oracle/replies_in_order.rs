//! Replies come in the order in which their conversation's messages were handed over.
//!
//! Looked at is the first reply to each message, as it was pushed to its sender or taken by its platform. What ended
//! otherwise than by a reply does not count, nor what its sender handed over again, nor what was only found in the
//! history. A message of a platform counts as handed over when it was handed out for the last time: one that a lost
//! connection swallowed was overtaken by no doing of the gateway's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::moment;
use crate::timeline::{Fact, MessageId, Via};

/// Replies come in the order of handing over.
pub(super) struct RepliesInOrder;

impl Oracle for RepliesInOrder {
    fn invariant(&self) -> &'static str {
        "replies-in-order"
    }

    fn sentence(&self) -> &'static str {
        "The replies of a conversation come in the order in which its messages were handed over."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let seen = seen(run);
        let mut latest: BTreeMap<&str, Vec<&Seen<'_>>> = BTreeMap::new();
        let mut found = Vec::new();
        for message in seen.iter().filter(|seen| !seen.retried && seen.replied.is_some()) {
            let earlier = latest.entry(message.id.sender.as_str()).or_default();
            let overtaken = earlier.iter().find(|earlier| earlier.was_overtaken_by(message));
            found.extend(overtaken.map(|overtaken| self.overtaking(overtaken, message)));
            earlier.push(message);
        }
        found
    }
}

impl RepliesInOrder {
    fn overtaking(&self, overtaken: &Seen<'_>, by: &Seen<'_>) -> Violation {
        let at = |seen: &Seen<'_>| seen.replied.map_or_else(String::new, |(_, at)| moment(at));
        let message = format!("{} was answered before {}", by.id, overtaken.id);
        let explanation = format!(
            "{} was handed over before {} and answered at {}; the answer to {} had come at {}.",
            overtaken.id,
            by.id,
            at(overtaken),
            by.id,
            at(by),
        );
        breach(self, message, explanation)
    }
}

/// What is seen of one message. Places are those of events in the run.
struct Seen<'a> {
    id: &'a MessageId,
    retried: bool,
    /// When it was first and last handed over.
    first: usize,
    last: usize,
    /// The first reply that was pushed.
    replied: Option<(usize, Duration)>,
}

impl Seen<'_> {
    fn was_overtaken_by(&self, later: &Self) -> bool {
        let (Some((mine, mine_at)), Some((its, its_at))) = (self.replied, later.replied) else {
            return false;
        };
        self.last < later.first && its < mine && its_at < mine_at
    }
}

/// Every message, in the order of handing over.
fn seen<'a>(run: &Evidence<'a>) -> Vec<Seen<'a>> {
    let mut seen: Vec<Seen<'a>> = Vec::new();
    let mut index: BTreeMap<&MessageId, usize> = BTreeMap::new();
    for (place, event) in run.events.iter().enumerate() {
        match &event.fact {
            Fact::MessageSent { message, attempt, .. } => match index.get(message) {
                Some(at) => seen[*at].retried |= *attempt > 1,
                None => {
                    index.insert(message, seen.len());
                    seen.push(Seen { id: message, retried: false, first: place, last: place, replied: None });
                }
            },
            Fact::UpdateHandedOut { message, times, .. } => {
                let Some(message) = index.get(message).map(|at| &mut seen[*at]) else { continue };
                // What comes after the reply cannot have been what was answered.
                if message.replied.is_none() {
                    message.last = place;
                }
                if *times == 1 {
                    message.first = place;
                }
            }
            Fact::ReplyReceived { message, via: Via::Live | Via::Platform { .. }, .. } => {
                if let Some(message) = index.get(message).map(|at| &mut seen[*at]) {
                    message.replied.get_or_insert((place, event.at));
                }
            }
            _ => {}
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::story::Story;

    const ORACLE: RepliesInOrder = RepliesInOrder;
    const OVERTAKEN: [&str; 1] = ["ann#2 was answered before ann#1"];

    fn sent() -> Story {
        Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1).at(1_100).sent(2).accepted(2)
    }

    #[test]
    fn the_order_of_handing_over_is_the_order_of_replies() {
        assert_eq!(complaints(&ORACLE, sent().at(2_000).replied(1, "a").at(2_001).replied(2, "b")), [""; 0]);
        assert_eq!(
            complaints(&ORACLE, sent().at(2_000).replied(2, "b").at(2_001).replied(1, "a")),
            OVERTAKEN
        );
        let together = sent().at(2_000).replied(2, "both").replied(1, "both");
        assert_eq!(complaints(&ORACLE, together), [""; 0], "one reply to several");
        let others = sent().sender("bob").at(1_500).sent(1).at(1_600).replied(1, "b");
        assert_eq!(complaints(&ORACLE, others.sender("ann").at(2_000).replied(1, "a")), [""; 0]);
    }

    #[test]
    fn what_is_told_found_or_handed_over_again_has_no_place() {
        assert_eq!(complaints(&ORACLE, sent().at(2_000).replied(2, "b").at(2_001).told(1, "no")), [""; 0]);
        assert_eq!(
            complaints(&ORACLE, sent().at(2_000).replied(2, "b").at(2_001).found_reply(1, "a")),
            [""; 0]
        );
        let again = sent().at(1_500).sent_again(1, 2).at(2_000).replied(2, "b").at(2_001).replied(1, "a");
        assert_eq!(complaints(&ORACLE, again), [""; 0]);
    }

    #[test]
    fn what_a_platform_handed_out_again_later_was_not_overtaken() {
        let written = || Story::new().at(0).writes(1).writes(2).at(100).handed_out(1, 1);
        let ordered =
            written().handed_out(2, 1).at(200).posts_reply(2, 1, "b").at(300).posts_reply(1, 2, "a");
        assert_eq!(complaints(&ORACLE, ordered), OVERTAKEN);
        let again = written().at(110).handed_out(2, 1).at(150).handed_out(1, 2);
        let again = again.at(200).posts_reply(2, 1, "b").at(300).posts_reply(1, 2, "a");
        assert_eq!(complaints(&ORACLE, again), [""; 0]);
    }
}
