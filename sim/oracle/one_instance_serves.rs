//! At most one process of the service serves at a time.
//!
//! Seen from outside, a process serves from the moment it holds the port or changes a state file, whichever
//! comes first, until it exits. A second instance may start, look at the lock and give way; it may not write. Nor may it
//! take the lock on the state directory while a living process has it that has not given it back: whoever is past the
//! lock is about to serve, and only the port is left to keep the two apart.

use super::life::{INSTANCE_LOCK, Interval, Life, Stint};
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
        let mut serving: Vec<(&Life, &Stint)> = Vec::new();
        run.lives.iter().for_each(|life| serving.extend(life.stints.iter().map(|stint| (life, stint))));
        serving.sort_by_key(|(_, stint)| stint.time.from);
        let mut found = Vec::new();
        for (index, (later, stint)) in serving.iter().enumerate() {
            let from = stint.time.from;
            let overlaps = |(earlier, served): &&(&Life, &Stint)| {
                !std::ptr::eq(*earlier, *later) && served.time.until.is_none_or(|until| until > from)
            };
            for (earlier, served) in serving[..index].iter().filter(overlaps) {
                let since = served.time.from;
                let earlier_name = capital(&earlier.name());
                let message = format!("{earlier_name} and {} served at the same time", later.name());
                let explanation = format!(
                    "{earlier_name} served since {} ({}). At {} {} served too ({}), {} after; {}.",
                    moment(since),
                    served.sign,
                    moment(from),
                    later.name(),
                    stint.sign,
                    span(from.saturating_sub(since)),
                    first_end(earlier, later),
                );
                found.push(breach(self, message, explanation));
            }
        }
        found.extend(self.both_past_the_lock(run));
        found
    }
}

impl OneInstanceServes {
    fn both_past_the_lock(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut held: Vec<(&Life, &Interval)> = Vec::new();
        run.lives.iter().for_each(|life| held.extend(life.has_lock.iter().map(|lock| (life, lock))));
        held.sort_by_key(|(_, lock)| lock.from);
        let mut found = Vec::new();
        for (index, (later, lock)) in held.iter().enumerate() {
            let overlaps = |(earlier, other): &&(&Life, &Interval)| {
                !std::ptr::eq(*earlier, *later) && other.contains(lock.from)
            };
            for (earlier, other) in held[..index].iter().filter(overlaps) {
                let (first, second) = (capital(&earlier.name()), later.name());
                let message = format!("{first} and {second} were past the lock at the same time");
                let explanation = format!(
                    "{first} had taken {INSTANCE_LOCK} at {} and not given it back. At {}, {} later, {second} took it \
                     too; {}.",
                    moment(other.from),
                    moment(lock.from),
                    span(lock.from.saturating_sub(other.from)),
                    first_end(earlier, later),
                );
                found.push(breach(self, message, explanation));
            }
        }
        found
    }
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
    use crate::timeline::{DeathCause, RestartMode};
    use gateway::env::{FsOp, Signal};

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
    fn a_second_instance_that_takes_the_lock_of_one_that_lives_is_not_fine_although_it_never_serves() {
        let lock = "/state/gateway.lock";
        let first = || Story::new().at(0).gateway(214).starts().disk(FsOp::CreateNew, lock).at(50).binds();
        let second = |story: Story| story.at(1_000).gateway(215).starts().at(1_100);
        let takes = |story: Story| story.disk(FsOp::CreateNew, lock).bind_refused().at(1_200).exits(78);
        let robs =
            verdict(&OneInstanceServes, takes(second(first()).disk(FsOp::Remove, lock)), &Terms::default());
        assert_eq!(robs.len(), 1);
        assert_eq!(
            robs[0].message,
            "Gateway pid 214 and gateway pid 215 were past the lock at the same time"
        );
        let given_back = first().at(900).disk(FsOp::Remove, lock).releases();
        let handed_over = second(given_back).disk(FsOp::CreateNew, lock).gateway(214).exits(75);
        assert_eq!(complaints(&OneInstanceServes, handed_over), [""; 0]);
        let died = second(first().at(900).dies(DeathCause::Killed)).disk(FsOp::Remove, lock);
        assert_eq!(complaints(&OneInstanceServes, died.disk(FsOp::CreateNew, lock).binds()), [""; 0]);
    }

    #[test]
    fn who_begins_again_in_place_serves_until_it_gives_the_port_back_and_from_its_next_sign_on() {
        let terms = Terms { restarts_in_place: true, ..Terms::default() };
        let released = || Story::new().at(0).serves(214).at(900).signal(Signal::User1).at(910).releases();
        let another = |story: Story| story.at(920).gateway(215).starts().binds().at(930).exits(75);
        assert_eq!(verdict(&OneInstanceServes, another(released()).at(940).gateway(214).binds(), &terms), []);
        let ghost = another(released().at(915).disk(FsOp::Append, "/state/inbox.jsonl"));
        assert_eq!(verdict(&OneInstanceServes, ghost, &terms).len(), 1, "its old tasks still write");
        assert_eq!(complaints(&OneInstanceServes, another(released())).len(), 1, "it had to end");
    }

    #[test]
    fn who_begins_again_in_place_may_finish_what_it_writes_while_it_has_the_lock() {
        let terms = Terms { restarts_in_place: true, ..Terms::default() };
        let (lock, inbox) = ("/state/gateway.lock", "/state/inbox.jsonl");
        let left = || {
            let first = Story::new().at(0).gateway(214).starts().disk(FsOp::CreateNew, lock).binds();
            let left = first.at(900).signal(Signal::User1).at(910).releases();
            left.at(915).disk(FsOp::Append, inbox).at(920).disk(FsOp::Remove, lock)
        };
        let another = |story: Story| story.at(940).gateway(215).starts().binds().at(950).exits(75);
        let after = |story: Story| verdict(&OneInstanceServes, another(story), &terms).len();
        assert_eq!(after(left()), 0);
        assert_eq!(
            after(left().at(930).gateway(214).disk(FsOp::Append, inbox)),
            1,
            "it had given up the lock"
        );
    }

    #[test]
    fn who_gives_the_lock_back_because_it_did_not_come_to_the_port_serves_no_more() {
        let (lock, books) = ("/state/gateway.lock", "/state/restart-ledger.json");
        let begins =
            || Story::new().at(0).gateway(214).starts().disk(FsOp::CreateNew, lock).disk(FsOp::Write, books);
        let another = |story: Story| {
            let story = story.at(9_500).gateway(215).starts().disk(FsOp::CreateNew, lock).binds();
            complaints(&OneInstanceServes, story.at(12_000).gateway(214).exits(78)).len()
        };
        let given_back = |story: Story| story.at(9_000).disk(FsOp::Remove, lock);
        assert_eq!(another(given_back(begins().bind_refused())), 0);
        let writes_on = given_back(begins().bind_refused()).at(9_100).disk(FsOp::Write, books);
        assert_eq!(another(writes_on), 1, "without the lock");
        assert_eq!(another(given_back(begins().binds().at(8_000).releases())), 1, "it had served");
        assert!(another(begins().bind_refused()) >= 1, "it kept the lock");
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

    #[test]
    fn who_was_told_to_begin_again_in_place_does_not_serve_meanwhile() {
        let terms = Terms { restarts_in_place: true, ..Terms::default() };
        let beside = |story: Story| {
            let story = story.at(2_000).releases().gateway(215).starts().at(3_000).binds();
            verdict(&OneInstanceServes, story.at(4_000).gateway(214).exits(78), &terms).len()
        };
        let asked = |story: Story| {
            let story = story.asks_for_restart(1, RestartMode::Plain);
            story.answers_restart(1, true, Some("scheduled"), "restart requested")
        };
        let serves = || Story::new().at(0).serves(214).at(1_000);
        assert_eq!(beside(asked(serves())), 0);
        assert_eq!(beside(serves()), 1, "nobody had asked it");
        let again = asked(serves()).at(2_000).releases().at(2_500).binds();
        let again = again.at(3_000).gateway(215).starts().binds().at(4_000).gateway(214).exits(78);
        assert_eq!(verdict(&OneInstanceServes, again, &terms).len(), 1, "it had begun again");
    }
}
