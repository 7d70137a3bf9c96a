//! What an earlier life left long ago is not taken up again: whoever asked is told.
//!
//! Nobody waits any more for what was asked for yesterday, and what a subagent had half done hours ago may be wrong by now.
//! The age is taken by the machine's wall clock, when a later life begins to serve. Knows only what the gateway
//! acknowledged itself: what a platform kept meanwhile is news.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wall_clock::WallClock;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::moment;
use crate::timeline::{Fact, MessageId, SubagentId, SubagentSeen};

/// How long after its acknowledgement a message may be begun by another life.
const MESSAGE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long after the model was asked to do its work a subagent may be gone on with by another life
/// (openclaw/openclaw#90817).
const SUBAGENT_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
/// A life looks at what was left some time after it has begun, and before it serves.
const SLACK: Duration = Duration::from_secs(60);

/// What an earlier life left long ago is not taken up again.
pub(super) struct StaleWorkIsNotResumed;

impl Oracle for StaleWorkIsNotResumed {
    fn invariant(&self) -> &'static str {
        "stale-work-is-not-resumed"
    }

    fn sentence(&self) -> &'static str {
        "What an earlier life left is not begun by one that starts a day later, nor a subagent gone on with two hours later."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let clock = WallClock::of(run);
        let mut accepted: BTreeMap<&MessageId, Duration> = BTreeMap::new();
        let mut at_work: BTreeMap<&SubagentId, Duration> = BTreeMap::new();
        let mut found = Vec::new();
        for event in run.events {
            let at = event.at;
            match &event.fact {
                // A message that its sender hands over again is a new one.
                Fact::MessageSent { message, .. } => drop(accepted.remove(message)),
                Fact::MessageAccepted { message } => drop(accepted.insert(message, at)),
                Fact::ProviderRequested { message, .. } => {
                    let since = accepted.remove(message);
                    let later = since.and_then(|since| later_life(run, &clock, since, at, MESSAGE_LIMIT));
                    found.extend(later.map(|life| self.breach_of(message.to_string(), &life)));
                }
                Fact::Subagent { subagent, seen: SubagentSeen::Requested { .. } } => {
                    let since = at_work.insert(subagent, at);
                    let later = since.and_then(|since| later_life(run, &clock, since, at, SUBAGENT_LIMIT));
                    found.extend(later.map(|life| self.breach_of(subagent.to_string(), &life)));
                }
                _ => {}
            }
        }
        found
    }
}

/// A life that began to serve long after something was left.
struct LaterLife {
    from: Duration,
    age: Duration,
    begun_at: Duration,
}

impl StaleWorkIsNotResumed {
    fn breach_of(&self, what: String, LaterLife { from, age, begun_at }: &LaterLife) -> Violation {
        let explanation = format!(
            "It was {} minutes old when the gateway began to serve that handed it to the model at {}, since {}.",
            age.as_secs() / 60,
            moment(*begun_at),
            moment(*from),
        );
        breach(self, format!("{what} was taken up again long after it had been left"), explanation)
    }
}

/// The life that did at `at` what an earlier one had left `since`, if that was longer ago than `limit` when it began to
/// serve. Whoever served then and goes on, takes up nothing.
fn later_life(
    run: &Evidence<'_>,
    clock: &WallClock,
    since: Duration,
    at: Duration,
    limit: Duration,
) -> Option<LaterLife> {
    let goes_on = run.lives.iter().any(|life| {
        let serves = life.holds.iter().rfind(|hold| hold.from <= at);
        serves.is_some_and(|hold| hold.contains(since)) && life.ended_at().is_none_or(|ended| ended > at)
    });
    if goes_on {
        return None;
    }
    let begins = run.lives.iter().flat_map(|life| &life.holds).map(|hold| hold.from);
    let from = begins.filter(|from| (since..=at).contains(from)).max()?;
    // A clock that was set back made everything young again.
    let shown = clock.shows_at(from).min(clock.shows_at(at));
    let age = Duration::from_millis(shown.saturating_sub(clock.shows_at(since)));
    (age > limit + SLACK).then_some(LaterLife { from, age, begun_at: at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::DeathCause;
    use crate::timeline::story::Story;

    const HOUR_MS: u64 = 60 * 60 * 1_000;

    fn told(story: Story) -> Vec<String> {
        complaints(&StaleWorkIsNotResumed, story)
    }

    fn accepted() -> Story {
        Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1)
    }

    #[test]
    fn a_message_of_yesterday_is_not_begun() {
        let begun_after = |hours: u64| {
            let killed = accepted().at(2_000).dies(DeathCause::Killed).at(hours * HOUR_MS);
            told(killed.serves(215).asked(1, 1))
        };
        assert_eq!(begun_after(23), [""; 0]);
        assert_eq!(begun_after(25), ["ann#1 was taken up again long after it had been left"]);
    }

    #[test]
    fn who_goes_on_or_asks_again_takes_up_nothing() {
        assert_eq!(
            told(accepted().at(25 * HOUR_MS).asked(1, 1)),
            [""; 0],
            "the same life, after a long sleep"
        );
        let again = accepted().at(2_000).dies(DeathCause::Killed).at(25 * HOUR_MS).serves(215);
        assert_eq!(told(again.sent(1).accepted(1).asked(1, 1)), [""; 0], "its sender wants it again");
    }

    #[test]
    fn the_age_is_that_of_the_wall_clock() {
        let jumps = |by_ms: i64| {
            let killed = accepted().at(2_000).dies(DeathCause::Killed).at(3_000).clock_jumps(by_ms);
            told(killed.at(4_000).serves(215).asked(1, 1))
        };
        assert_eq!(jumps(25 * HOUR_MS as i64), ["ann#1 was taken up again long after it had been left"]);
        let set_back = accepted().at(2_000).dies(DeathCause::Killed).at(25 * HOUR_MS).serves(215);
        assert_eq!(told(set_back.clock_jumps(-2 * HOUR_MS as i64).asked(1, 1)), [""; 0]);
    }

    #[test]
    fn a_subagent_is_not_gone_on_with_after_hours() {
        let resumed_after = |ms: u64| {
            let requested = |story: Story, request| story.subagent(1, SubagentSeen::Requested { request });
            let at_work = requested(Story::new().at(0).serves(214).at(1_000), 1);
            let killed = at_work.at(2_000).dies(DeathCause::Killed).at(ms);
            told(requested(killed.serves(215).at(ms + 5_000), 2))
        };
        assert_eq!(resumed_after(HOUR_MS), [""; 0]);
        assert_eq!(resumed_after(3 * HOUR_MS), ["ann#1/1 was taken up again long after it had been left"]);
    }
}
