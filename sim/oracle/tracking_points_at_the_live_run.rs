//! The books of subagents name runs that somebody works on: none is running, or waits to go on, for ever.
//!
//! Judged at every look into the state folder: what a row says is at work, or was cut short, must have been before the
//! model shortly before, or have been written by a life that had not had its time yet. A life has its time while it
//! serves and is not frozen.

use std::time::Duration;

use super::subagents::Subagents;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::SubagentRow;
use crate::timeline::words::moment;

/// How long nobody may work on a subagent that the books call running: a resume waits up to 20 s for its time, and
/// then for the disk, the store and the model.
const BOUND: Duration = Duration::from_secs(5 * 60);

/// The books of subagents name runs that somebody works on: none is running, or waits to go on, for ever.
pub(super) struct TrackingPointsAtTheLiveRun;

impl Oracle for TrackingPointsAtTheLiveRun {
    fn invariant(&self) -> &'static str {
        "tracking-points-at-the-live-run"
    }

    fn sentence(&self) -> &'static str {
        "The books of subagents name runs that somebody works on: none is running, or waits to go on, for ever."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let seen = Subagents::of(run);
        let mut found: Vec<Violation> = Vec::new();
        for (at, state) in &seen.looks {
            for row in state.subagents.iter().filter(|row| row.status != "ended") {
                let breach = self.is_nobodys(run, &seen, *at, row);
                // The same row is found at every look.
                found.extend(breach.filter(|new| found.iter().all(|old| old.message != new.message)));
            }
        }
        found
    }
}

impl TrackingPointsAtTheLiveRun {
    fn is_nobodys(
        &self,
        run: &Evidence<'_>,
        seen: &Subagents<'_>,
        at: Duration,
        row: &SubagentRow,
    ) -> Option<Violation> {
        let subagent = row.subagent.as_ref()?;
        let worked_until = seen.all.get(subagent).and_then(|known| known.worked_on_until(at));
        // Nobody knows better when it came into being.
        let since = worked_until.or(seen.all.get(subagent).and_then(|known| known.begun_at))?;
        let served = longest_served(run, since, at);
        if served < BOUND {
            return None;
        }
        let last = match worked_until {
            None => "The model was never given its task".to_string(),
            Some(until) => format!("The model saw the last of it at {}", moment(until)),
        };
        Some(breach(
            self,
            format!("{} is {} in the books, and nobody works on {subagent}", row.run, row.status),
            format!("{last}. A gateway served for {} s after that, until {}.", served.as_secs(), moment(at)),
        ))
    }
}

/// How long a life served between two moments, at the longest.
fn longest_served(run: &Evidence<'_>, from: Duration, until: Duration) -> Duration {
    let served = run.lives.iter().flat_map(|life| {
        life.holds.iter().map(move |hold| {
            let (from, until) = (hold.from.max(from), hold.until.unwrap_or(until).min(until));
            until.saturating_sub(from).saturating_sub(life.frozen_between(from, until.max(from)))
        })
    });
    served.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::SubagentSeen;
    use crate::timeline::story::Story;

    fn told(story: Story) -> Vec<String> {
        complaints(&TrackingPointsAtTheLiveRun, story)
    }

    fn at_work() -> Story {
        let story = Story::new().at(0).serves(214).at(1_000).subagent(1, SubagentSeen::Begun);
        story.at(1_100).subagent(1, SubagentSeen::Requested { request: 2 })
    }

    #[test]
    fn what_runs_in_the_books_is_before_the_model() {
        assert_eq!(told(at_work().at(900_000).subagent_books(&[(1, "running")]).ended()), [""; 0]);
        let done = || at_work().at(5_000).subagent(1, SubagentSeen::Answered { request: 2 });
        assert_eq!(told(done().at(900_000).subagent_books(&[(1, "ended")]).ended()), [""; 0]);
        for status in ["running", "interrupted"] {
            let forgotten = done().at(900_000).subagent_books(&[(1, status)]).ended();
            let said = format!("subagent:1:1 is {status} in the books, and nobody works on ann#1/1");
            assert_eq!(told(forgotten), [said]);
        }
    }

    #[test]
    fn a_life_that_has_just_begun_has_time() {
        let broken =
            at_work().at(5_000).subagent(1, SubagentSeen::Stopped { request: 2, how: "killed".into() });
        let again = broken.at(5_001).releases().exits(0).at(800_000).serves(215);
        assert_eq!(told(again.at(900_000).subagent_books(&[(1, "running")]).ended()), [""; 0]);
    }
}
