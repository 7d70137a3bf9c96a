//! What its sender has stopped stays stopped.
//!
//! Once the gateway has confirmed a stop, the model is not asked for the message any more and no reply reaches the sender,
//! whatever dies and starts after that. A short time is allowed for what was under way, and a message that its sender
//! hands over again is a new one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::moment;
use crate::timeline::{Fact, MessageId, Via};

/// How long after the confirmation a request for it may still reach the model.
const REQUEST_UNDER_WAY: Duration = Duration::from_secs(1);
/// How long after the confirmation a reply may still reach its sender.
const REPLY_UNDER_WAY: Duration = Duration::from_secs(5);

/// What its sender has stopped stays stopped.
pub(super) struct CancelledIsNeverResumed;

impl Oracle for CancelledIsNeverResumed {
    fn invariant(&self) -> &'static str {
        "cancelled-is-never-resumed"
    }

    fn sentence(&self) -> &'static str {
        "After a confirmed stop the model is never asked for the message again, and no reply reaches its sender."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut cancelled: BTreeMap<&MessageId, Duration> = BTreeMap::new();
        let mut found = Vec::new();
        for event in run.events {
            let (message, allowed, what) = match &event.fact {
                Fact::MessageCancelled { message } => {
                    cancelled.entry(message).or_insert(event.at);
                    continue;
                }
                Fact::MessageSent { message, .. } => {
                    cancelled.remove(message);
                    continue;
                }
                Fact::ProviderRequested { message, .. } => {
                    (message, REQUEST_UNDER_WAY, "the model was asked for it")
                }
                Fact::ReplyReceived { message, via: Via::Live, .. } => {
                    (message, REPLY_UNDER_WAY, "a reply to it came")
                }
                _ => continue,
            };
            // Once for each message.
            if let Some(stopped) = cancelled.get(message).filter(|at| event.at > **at + allowed).copied() {
                cancelled.remove(message);
                found.push(self.resumed(message, stopped, what, event.at));
            }
        }
        found
    }
}

impl CancelledIsNeverResumed {
    fn resumed(&self, id: &MessageId, stopped: Duration, what: &str, at: Duration) -> Violation {
        let explanation = format!(
            "{} had stopped it, and was told at {} that it was; at {} {what}.",
            id.sender,
            moment(stopped),
            moment(at)
        );
        breach(self, format!("{id} was resumed after it had been stopped"), explanation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::story::Story;

    const ORACLE: CancelledIsNeverResumed = CancelledIsNeverResumed;
    const RESUMED: [&str; 1] = ["ann#1 was resumed after it had been stopped"];

    fn stopped() -> Story {
        Story::new().at(1_000).sent(1).accepted(1).asked(1, 1).at(2_000).asks_to_stop(1).cancelled(1)
    }

    #[test]
    fn a_short_time_is_allowed_for_what_was_under_way() {
        assert_eq!(complaints(&ORACLE, stopped().at(3_000).asked(1, 2)), [""; 0]);
        assert_eq!(complaints(&ORACLE, stopped().at(3_001).asked(1, 2)), RESUMED);
        assert_eq!(complaints(&ORACLE, stopped().at(7_000).replied(1, "a")), [""; 0]);
        assert_eq!(complaints(&ORACLE, stopped().at(7_001).replied(1, "a")), RESUMED);
        let twice = stopped().at(8_000).asked(1, 2).at(9_000).replied(1, "a");
        assert_eq!(complaints(&ORACLE, twice), RESUMED, "once");
    }

    #[test]
    fn what_is_handed_over_again_may_be_answered() {
        let again = stopped().at(8_000).sent_again(1, 2).asked(1, 2).at(9_000).replied(1, "a");
        assert_eq!(complaints(&ORACLE, again), [""; 0]);
        assert_eq!(complaints(&ORACLE, stopped().at(9_000).sent(2).asked(2, 2).replied(2, "b")), [""; 0]);
    }
}
