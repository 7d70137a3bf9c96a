//! No message is taken up for ever by lives that die over it.
//!
//! What wedged one process may wedge the next. Counted are the deaths of the gateway between requests to the model for
//! the same message: after a few of them somebody has to be told instead.

use std::collections::BTreeMap;

use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::{Fact, GATEWAY_PROGRAM, MessageId};

/// In how many lives the model may be asked for one message: the first, and three that take it up again (OpenClaw
/// 2026.9.6).
const MOST_LIVES: usize = 4;

/// No message is taken up for ever by lives that die over it.
pub(super) struct ResumesAreBounded;

impl Oracle for ResumesAreBounded {
    fn invariant(&self) -> &'static str {
        "resumes-are-bounded"
    }

    fn sentence(&self) -> &'static str {
        "A message is handed to the model in at most four lives of the gateway; then its sender is told."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut deaths = 0_usize;
        let mut lives: BTreeMap<&MessageId, Vec<usize>> = BTreeMap::new();
        for event in run.events {
            match &event.fact {
                Fact::ProcessExited { program, .. } if program == GATEWAY_PROGRAM => deaths += 1,
                // A message that its sender hands over again is a new one.
                Fact::MessageSent { message, .. } => drop(lives.remove(message)),
                Fact::ProviderRequested { message, .. } => {
                    let lives = lives.entry(message).or_default();
                    if lives.last() != Some(&deaths) {
                        lives.push(deaths);
                    }
                }
                _ => {}
            }
        }
        let too_many = lives.into_iter().filter(|(_, lives)| lives.len() > MOST_LIVES);
        too_many
            .map(|(message, lives)| {
                let explanation = format!(
                    "The model was asked for it in {} lives, and all but the last died.",
                    lives.len()
                );
                breach(self, format!("{message} was taken up again and again"), explanation)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::DeathCause;
    use crate::timeline::story::Story;

    fn asked_in(lives: u32) -> Story {
        let begun = Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1);
        (1..=lives).fold(begun, |story, life| {
            story.asked(1, 2 * life).asked(1, 2 * life + 1).dies(DeathCause::Killed).serves(214 + life)
        })
    }

    #[test]
    fn four_lives_are_enough() {
        assert_eq!(complaints(&ResumesAreBounded, asked_in(4)), [""; 0]);
        assert_eq!(complaints(&ResumesAreBounded, asked_in(5)), ["ann#1 was taken up again and again"]);
        let again =
            asked_in(3).sent(1).accepted(1).asked(1, 20).dies(DeathCause::Killed).serves(300).asked(1, 21);
        assert_eq!(complaints(&ResumesAreBounded, again), [""; 0], "its sender wants it again");
    }
}
