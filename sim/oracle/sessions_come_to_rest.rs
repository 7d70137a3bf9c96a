//! No conversation counts as at work for ever.
//!
//! The session store is a file that anybody can read, and what it calls running keeps others from working there. At the
//! end of a run, long after the last message, nothing of it may say so without a message that is open. Where the service
//! is down it is for the next start to put right.

use std::time::Duration;

use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::moment;
use crate::timeline::{Entry, Event, Fact, Fate};

/// A turn may take ten minutes, and wait before it begins.
const LONGEST_WORK: Duration = Duration::from_secs(15 * 60);

/// No conversation counts as at work for ever.
pub(super) struct SessionsComeToRest;

impl Oracle for SessionsComeToRest {
    fn invariant(&self) -> &'static str {
        "sessions-come-to-rest"
    }

    fn sentence(&self) -> &'static str {
        "At the end no session is called running at which nobody works."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let seen = run.events.iter().rev().find_map(|Event { at, fact, .. }| match fact {
            Fact::State(state) => Some((*at, state)),
            _ => None,
        });
        let is_up = run.lives.last().is_some_and(|life| life.ended.is_none());
        let Some((at, state)) = seen.filter(|_| is_up) else { return Vec::new() };
        // What is dropped is open for ever, and nobody works on it for so long.
        let is_old = |entry: &Entry<'_>| at.saturating_sub(entry.sent_at()) > LONGEST_WORK;
        let is_at_work =
            |entry: &Entry<'_>| entry.open_at(at) && !(entry.fate == Fate::Dropped && is_old(entry));
        let is_open = run.ledger.entries().iter().any(is_at_work);
        let stuck = state.running.iter().filter(|_| !is_open);
        stuck
            .map(|session| {
                let explanation = format!(
                    "The session store as found at {} calls {session} running, and no message is open there.",
                    moment(at)
                );
                breach(self, format!("the session {session} runs for ever"), explanation)
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
    fn a_session_that_runs_has_an_open_message() {
        let served = || Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1);
        let over = served().at(2_000).replied(1, "Hi").at(9_000);
        assert_eq!(complaints(&SessionsComeToRest, over.running(&[])), [""; 0]);
        let over = served().at(2_000).replied(1, "Hi").at(9_000).running(&["main"]);
        assert_eq!(complaints(&SessionsComeToRest, over), ["the session main runs for ever"]);
        assert_eq!(complaints(&SessionsComeToRest, served().at(9_000).running(&["main"])), [""; 0]);
        let dropped = served().at(1_000_000).running(&["main"]);
        assert_eq!(complaints(&SessionsComeToRest, dropped), ["the session main runs for ever"]);
        let down = served().at(2_000).replied(1, "Hi").exits(0).running(&["main"]);
        assert_eq!(complaints(&SessionsComeToRest, down), [""; 0], "it is for the next start");
    }
}
