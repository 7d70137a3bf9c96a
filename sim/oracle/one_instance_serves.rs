//! At most one process of the service serves at a time.
//!
//! Seen from outside, a process serves from the moment it holds the port or changes a state file, whichever
//! comes first, until it exits. A second instance may start, look at the lock and give way; it may not write.

use std::time::Duration;

use super::life::Life;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{capital, moment, span};

/// At most one process of the service serves at a time.
pub(super) struct OneInstanceServes;

impl Oracle for OneInstanceServes {
    fn invariant(&self) -> &'static str {
        "one-instance-serves"
    }

    fn sentence(&self) -> &'static str {
        "At most one process of the service serves at a time."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut serving: Vec<_> =
            run.lives.iter().filter_map(|life| Some((serves_from(life)?, life))).collect();
        serving.sort_by_key(|((from, _), _)| *from);
        let mut found = Vec::new();
        for (index, ((from, sign), later)) in serving.iter().enumerate() {
            let overlaps = |earlier: &&(Sign, &Life)| earlier.1.ended_at().is_none_or(|ended| ended > *from);
            for ((since, earlier_sign), earlier) in serving[..index].iter().filter(overlaps) {
                let earlier_name = capital(&earlier.name());
                let message = format!("{earlier_name} and {} served at the same time", later.name());
                let explanation = format!(
                    "{earlier_name} served since {} ({earlier_sign}). At {} {} served too ({sign}), {} after; {}.",
                    moment(*since),
                    moment(*from),
                    later.name(),
                    span(from.saturating_sub(*since)),
                    first_end(earlier, later),
                );
                found.push(breach(self, message, explanation));
            }
        }
        found
    }
}

/// When a process began to serve, and what showed it.
type Sign = (Duration, String);

fn serves_from(life: &Life) -> Option<Sign> {
    let bound = life.holds.first().map(|hold| (hold.from, "bound the port".to_string()));
    let wrote = life.first_change.as_ref().map(|(at, path)| (*at, format!("changed {path}")));
    [bound, wrote].into_iter().flatten().min_by_key(|(at, _)| *at)
}

fn first_end(one: &Life, other: &Life) -> String {
    let first =
        [one, other].into_iter().filter_map(|life| Some((life.ended?, life))).min_by_key(|((at, _), _)| *at);
    match first {
        Some(((at, cause), life)) => {
            format!("this lasted until {} ended at {} ({cause})", life.name(), moment(at))
        }
        None => "neither ended".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::story::Story;
    use gateway::env::FsOp;

    fn second_instance() -> Story {
        Story::new().at(0).serves(214).at(1_000).gateway(215).starts()
    }

    #[test]
    fn a_second_instance_that_looks_and_gives_way_is_fine() {
        let story = second_instance()
            .disk(FsOp::Read, "/state/gateway.lock")
            .disk(FsOp::CreateNew, "/state/gateway.lock")
            .disk_fails(FsOp::Append, "/state/inbox.jsonl", "no space left")
            .bind_refused()
            .at(1_010)
            .exits(78);
        assert_eq!(complaints(&OneInstanceServes, story), [""; 0]);
    }

    #[test]
    fn a_second_instance_that_writes_before_it_gives_way_is_not() {
        let story = second_instance().at(1_004).disk(FsOp::Append, "/state/inbox.jsonl").at(1_010).exits(78);
        let found = verdict(&OneInstanceServes, story, &Terms::default());
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].explanation,
            "Gateway pid 214 served since 0.000 s (bound the port). At 1.004 s gateway pid 215 served too \
             (changed /state/inbox.jsonl), 1.0 s after; this lasted until gateway pid 215 ended at 1.010 s (exit 78)."
        );
    }

    #[test]
    fn a_successor_that_serves_at_the_very_moment_of_the_exit_is_fine() {
        let handover = || Story::new().at(0).serves(214).at(900).gateway(215).starts();
        assert_eq!(
            complaints(&OneInstanceServes, handover().at(1_000).gateway(214).exits(75).gateway(215).binds()),
            [""; 0]
        );
        let early =
            handover().at(999).gateway(214).releases().gateway(215).binds().at(1_000).gateway(214).exits(75);
        assert_eq!(complaints(&OneInstanceServes, early).len(), 1);
    }
}
