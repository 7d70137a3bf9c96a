//! No message is answered or executed twice.

use super::{Evidence, Oracle, Violation};
use crate::timeline::Fate;
use crate::timeline::words::{moment, quoted};

/// No message is answered or executed twice.
pub(super) struct NoDuplicate;

impl Oracle for NoDuplicate {
    fn invariant(&self) -> &'static str {
        "no-duplicate"
    }

    fn sentence(&self) -> &'static str {
        "No message is answered or executed twice."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let duplicated = run.ledger.entries().iter().filter(|entry| entry.fate == Fate::Duplicated);
        duplicated
            .map(|entry| Violation {
                invariant: self.invariant().to_string(),
                message: format!("{} was answered twice", entry.message),
                explanation: format!(
                    "{} sent {} at {}. {}",
                    entry.message.sender,
                    quoted(entry.text),
                    moment(entry.sent_at()),
                    entry.why()
                ),
                last_seen: Some(entry.last_seen()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::story::Story;

    #[test]
    fn one_reply_is_fine_and_two_are_not() {
        let once = || Story::new().sent(1).accepted(1).at(5).replied(1, "Hi");
        assert_eq!(complaints(&NoDuplicate, once().at(9).found_reply(1, "Hi")), [""; 0]);
        assert_eq!(complaints(&NoDuplicate, once().at(9).replied(1, "Hi")), ["ann#1 was answered twice"]);
    }
}
