//! Every message ends in one of the fates that the scenario names for it.

use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::Fate;

/// Every message ends in one of the fates that the scenario names for it.
pub(super) struct ExpectedFates;

impl Oracle for ExpectedFates {
    fn invariant(&self) -> &'static str {
        "expected-fates"
    }

    fn sentence(&self) -> &'static str {
        "Every message ends in one of the fates that the scenario names for it."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let expected = run.terms.expected_fates.iter();
        expected.filter_map(|(name, right)| self.wrong(run, name, right)).collect()
    }
}

impl ExpectedFates {
    fn wrong(&self, run: &Evidence<'_>, name: &str, right: &[Fate]) -> Option<Violation> {
        let expected = right.iter().map(|fate| fate.name()).collect::<Vec<_>>().join(" or ");
        let Some(entry) = run.ledger.entries().iter().find(|entry| entry.message.to_string() == name) else {
            let message = format!("{name} was never sent (expected: {expected})");
            let explanation = format!("The scenario expects a fate of {name}, and no sender handed it over.");
            return Some(breach(self, message, explanation));
        };
        if right.contains(&entry.fate) {
            return None;
        }
        let message = format!("{name} was {} (expected: {expected})", entry.fate);
        let mut violation = breach(self, message, entry.why());
        violation.last_seen = Some(entry.last_seen());
        Some(violation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::verdict;
    use crate::timeline::story::Story;

    fn complaints(expected: &[(&str, &[Fate])]) -> Vec<String> {
        let expected_fates = expected.iter().map(|(name, fates)| ((*name).into(), fates.to_vec())).collect();
        let terms = Terms { expected_fates, ..Terms::default() };
        let story = Story::new().sent(1).accepted(1).at(5).replied(1, "Hi");
        verdict(&ExpectedFates, story, &terms).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn any_of_the_named_fates_is_right() {
        assert_eq!(complaints(&[("ann#1", &[Fate::Told, Fate::Replied])]), [""; 0]);
        assert_eq!(
            complaints(&[("ann#1", &[Fate::Told, Fate::Refused])]),
            ["ann#1 was replied (expected: told or refused)"]
        );
    }

    #[test]
    fn a_message_that_was_never_sent_has_no_fate() {
        assert_eq!(complaints(&[("bob#1", &[Fate::Replied])]), ["bob#1 was never sent (expected: replied)"]);
    }
}
