//! What a platform refused for good is not sent to it again and again.
//!
//! A platform does not see which text it is that it refuses, so what counts is how many it refuses in one conversation:
//! there cannot be more texts than a reply and a notice for each message, what came of each subagent, and once more for each
//! life that may not know.

use std::collections::{BTreeMap, BTreeSet};

use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::moment;
use crate::timeline::{Event, Fact, Source, SubagentId};

/// The platforms' words for a refusal that nothing will change.
const FOR_GOOD: [&str; 2] = ["blocked by the user", "no such conversation"];
/// How many texts there may be for one message.
const TEXTS_OF_A_MESSAGE: usize = 2;

/// A refusal for good is final.
pub(super) struct RefusalsAreFinal;

impl Oracle for RefusalsAreFinal {
    fn invariant(&self) -> &'static str {
        "refusals-are-final"
    }

    fn sentence(&self) -> &'static str {
        "What a platform refused for good is not sent to it again and again."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut refused: BTreeMap<(&str, &str), Vec<_>> = BTreeMap::new();
        for event in run.events {
            let (Source::Platform(_), Fact::SendRefused { account, to, why }) = (&event.source, &event.fact)
            else {
                continue;
            };
            if FOR_GOOD.contains(&why.as_str()) {
                refused.entry((account, to)).or_default().push(event.at);
            }
        }
        let subagents: BTreeSet<_> = run.events.iter().filter_map(subagent_of).collect();
        let of_messages = TEXTS_OF_A_MESSAGE * run.ledger.entries().len();
        // Whoever asked for a restart from a conversation is told there what came of it.
        let allowed = of_messages + subagents.len() + run.restarts.len() + run.lives.len();
        let repeated = refused.into_iter().filter(|(_, times)| times.len() > allowed);
        let violation = |((account, to), times): ((&str, &str), Vec<std::time::Duration>)| {
            let (first, last) = (times[0], times[times.len() - 1]);
            let explanation = format!(
                "The platform refused what the bot {account} sent to {to} for good from {} to {}; there cannot have been \
                 more than {allowed} texts.",
                moment(first),
                moment(last)
            );
            breach(self, format!("A refusal for good was not believed {} times", times.len()), explanation)
        };
        repeated.map(violation).collect()
    }
}

fn subagent_of(event: &Event) -> Option<&SubagentId> {
    match &event.fact {
        Fact::Subagent { subagent, .. } => Some(subagent),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::story::Story;
    use crate::timeline::{Platform, SubagentSeen};

    fn refused(times: u64, why: &str) -> Story {
        let story = Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1);
        let refuse = |story: Story, number: u64| {
            let (account, to) = ("main".to_string(), "7".to_string());
            let fact = Fact::SendRefused { account, to, why: why.to_string() };
            story.at(2_000 + 1_000 * number).fact(Source::Platform(Platform::Telegram), fact)
        };
        (0..times).fold(story, refuse).at(90_000).ended()
    }

    #[test]
    fn a_text_for_each_message_may_be_refused_and_not_the_same_for_ever() {
        assert_eq!(complaints(&RefusalsAreFinal, refused(3, "blocked by the user")), [""; 0]);
        assert_eq!(
            complaints(&RefusalsAreFinal, refused(4, "blocked by the user")),
            ["A refusal for good was not believed 4 times"]
        );
        let more = |subagents: u32| {
            let story = (0..subagents).fold(refused(4, "blocked by the user"), |story, number| {
                story.subagent(number, SubagentSeen::Wanted)
            });
            complaints(&RefusalsAreFinal, story).len()
        };
        assert_eq!((more(0), more(1)), (1, 0), "what came of a subagent is a text, too");
        let asked =
            refused(4, "blocked by the user").asks_for_restart(1, crate::timeline::RestartMode::Plain);
        assert_eq!(complaints(&RefusalsAreFinal, asked), [""; 0], "and what came of a request for a restart");
        assert_eq!(complaints(&RefusalsAreFinal, refused(40, "too many requests, again after 5 s")), [""; 0]);
    }
}
