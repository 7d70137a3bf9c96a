//! A bot has one connection, or one poller, at a time: what served before is closed before its successor begins.
//!
//! A connection that an old generation forgot swallows the events that the platform pushes over it, and two pollers end
//! each other's polls for ever. A short time of both is allowed, as seen by the platform; time in which a process stands
//! still or no packet passes does not count, and of a process that is dead only the platform knows no better.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway::env::Pid;

use super::life::{Interval, Life, end_of};
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::{moment, span};
use crate::timeline::{Fact, Platform, Source};

/// How long two may be there.
const GRACE: Duration = Duration::from_secs(15);
/// Conflicts that are further apart are not of the same pair of pollers.
const LONGEST_PAUSE: Duration = Duration::from_secs(2 * 60);
/// The machine that the platforms run on.
const PLATFORMS: &str = "platforms";

/// A bot has one connection at a time.
pub(super) struct NoGhostConnection;

impl Oracle for NoGhostConnection {
    fn invariant(&self) -> &'static str {
        "no-ghost-connection"
    }

    fn sentence(&self) -> &'static str {
        "A bot has one connection to its platform at a time: what an earlier process or generation opened is closed."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let platforms = run.events.iter().any(|event| matches!(event.source, Source::Platform(_)));
        if !platforms {
            return Vec::new();
        }
        self.two_connections(run).into_iter().chain(self.two_pollers(run)).collect()
    }
}

impl NoGhostConnection {
    fn two_connections(&self, run: &Evidence<'_>) -> Option<Violation> {
        let connections = connections(run);
        let silent = silent(run);
        connections.iter().enumerate().find_map(|(index, second)| {
            let pair = |first: &&Connection<'_>| first.account == second.account;
            connections[..index].iter().filter(pair).find_map(|first| {
                let (from, until) = (second.from, first.until.min(second.until));
                let counts =
                    |part: &&Stretch| part.concerns.is_none_or(|pid| pid == first.pid || pid == second.pid);
                let quiet: Duration =
                    silent.iter().filter(counts).map(|part| part.overlap(from, until)).sum();
                let both = until.saturating_sub(from).saturating_sub(quiet);
                (both > GRACE).then(|| self.ghost(first, second, both))
            })
        })
    }

    fn ghost(&self, first: &Connection<'_>, second: &Connection<'_>, both: Duration) -> Violation {
        let explanation = format!(
            "Gateway pid {} opened one at {} and pid {} another at {}; for {} the platform had both, and pushed events \
             to either.",
            first.pid,
            moment(first.from),
            second.pid,
            moment(second.from),
            span(both)
        );
        breach(self, format!("The bot {} had two connections for {}", first.account, span(both)), explanation)
    }

    /// Two pollers of a bot go on ending each other's polls.
    fn two_pollers(&self, run: &Evidence<'_>) -> Vec<Violation> {
        // By bot: the first and the last conflict of those that belong together.
        let mut going: BTreeMap<&str, (Duration, Duration)> = BTreeMap::new();
        let mut found = BTreeMap::new();
        // Pids are used again: the poll that a process meets first may be that of a dead one of the same pid.
        let mut met = BTreeSet::new();
        for event in run.events {
            let Fact::PollConflict { account, ended: Some(ended), by: Some(by) } = &event.fact else {
                continue;
            };
            if !is_alive(run, *ended, event.at) || !is_alive(run, *by, event.at) {
                continue;
            }
            let is_first = met.insert((account.as_str(), *ended, begun(run, *by, event.at)));
            if ended == by && is_first && was_used_before(run, *by, event.at) {
                continue;
            }
            let (first, last) = going.get(account.as_str()).copied().unwrap_or((event.at, event.at));
            let first = if event.at.saturating_sub(last) > LONGEST_PAUSE { event.at } else { first };
            going.insert(account, (first, event.at));
            if event.at.saturating_sub(first) > GRACE {
                found.entry(account.as_str()).or_insert((first, event.at, *ended, *by));
            }
        }
        let violation = |(account, (first, at, ended, by)): (&str, (Duration, Duration, Pid, Pid))| {
            let explanation = format!(
                "A poll of gateway pid {by} ended one of pid {ended} at {}, as others had since {}.",
                moment(at),
                moment(first)
            );
            breach(self, format!("The bot {account} had two pollers"), explanation)
        };
        found.into_iter().map(violation).collect()
    }
}

fn is_alive(run: &Evidence<'_>, pid: Pid, at: Duration) -> bool {
    begun(run, pid, at).is_some()
}

/// When the process that lives under this pid began.
fn begun(run: &Evidence<'_>, pid: Pid, at: Duration) -> Option<Duration> {
    let lives_then = |life: &&Life| {
        life.pid == pid && life.started_at <= at && life.ended_at().is_none_or(|ended| ended > at)
    };
    run.lives.iter().find(lives_then).map(|life| life.started_at)
}

/// Whether a process of this pid had died by then.
fn was_used_before(run: &Evidence<'_>, pid: Pid, at: Duration) -> bool {
    run.lives.iter().any(|life| life.pid == pid && life.ended_at().is_some_and(|ended| ended <= at))
}

/// A connection of a bot, as long as its process lived.
struct Connection<'a> {
    account: &'a str,
    pid: Pid,
    from: Duration,
    until: Duration,
}

/// Those of platforms that push: a poller's many lines show nothing.
fn connections<'a>(run: &Evidence<'a>) -> Vec<Connection<'a>> {
    let end = end_of(run);
    let mut found: Vec<Connection<'a>> = Vec::new();
    let mut open: BTreeMap<u32, usize> = BTreeMap::new();
    for event in run.events {
        match &event.fact {
            Fact::BotConnected { account, connection, pid: Some(pid) }
                // Who died while its connection came about closes it no more.
                if event.source == Source::Platform(Platform::Feishu) && is_alive(run, *pid, event.at) =>
            {
                open.insert(*connection, found.len());
                found.push(Connection { account, pid: *pid, from: event.at, until: end });
            }
            Fact::BotDisconnected { connection, .. }
                if event.source == Source::Platform(Platform::Feishu) =>
            {
                if let Some(index) = open.remove(connection) {
                    // The platform may see long after its process was gone that nobody is there.
                    found[index].until = found[index].until.min(event.at);
                }
            }
            Fact::ProcessExited { pid, .. } => {
                for index in open.values() {
                    let connection = &mut found[*index];
                    if connection.pid == *pid {
                        connection.until = connection.until.min(event.at);
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// A stretch of time in which nothing can be learned: of one process, or of any.
struct Stretch {
    concerns: Option<Pid>,
    from: Duration,
    until: Duration,
}

impl Stretch {
    fn overlap(&self, from: Duration, until: Duration) -> Duration {
        self.until.min(until).saturating_sub(self.from.max(from))
    }
}

/// When processes stood still, and when no packet passed to the platforms.
fn silent(run: &Evidence<'_>) -> Vec<Stretch> {
    let end = end_of(run);
    let stretch =
        |concerns, time: Interval| Stretch { concerns, from: time.from, until: time.until.unwrap_or(end) };
    let still = run.mishaps.stillness().map(|(pid, time)| stretch(Some(pid), time));
    still.chain(run.mishaps.cuts_of(PLATFORMS).map(|time| stretch(None, time))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::DeathCause;
    use crate::timeline::story::Story;

    const ORACLE: NoGhostConnection = NoGhostConnection;

    fn connected() -> Story {
        Story::new().at(0).serves(214).at(1_000).bot_connects(1)
    }

    #[test]
    fn a_connection_that_a_generation_forgot_is_a_ghost() {
        let both = |until| connected().at(10_000).bot_connects(2).at(until).bot_leaves(1).at(90_000).ended();
        assert_eq!(complaints(&ORACLE, both(25_000)), [""; 0]);
        assert_eq!(complaints(&ORACLE, both(25_001)), ["The bot main had two connections for 15.0 s"]);
        let for_ever = connected().at(10_000).bot_connects(2).at(70_000).ended();
        assert_eq!(complaints(&ORACLE, for_ever), ["The bot main had two connections for 60.0 s"]);
        let one_after_the_other =
            connected().at(9_000).bot_leaves(1).at(10_000).bot_connects(2).at(90_000).ended();
        assert_eq!(complaints(&ORACLE, one_after_the_other), [""; 0]);
    }

    #[test]
    fn the_dead_the_frozen_and_the_cut_off_close_nothing() {
        let dead = connected().at(9_000).dies(DeathCause::PowerLoss).at(10_000).serves(215).bot_connects(2);
        assert_eq!(complaints(&ORACLE, dead.at(80_000).bot_leaves(1).at(90_000).ended()), [""; 0]);
        let died_meanwhile = Story::new().at(0).serves(214).at(1_000).dies(DeathCause::PowerLoss);
        let died_meanwhile = died_meanwhile.bot_connects(1).at(10_000).serves(215).bot_connects(2);
        assert_eq!(complaints(&ORACLE, died_meanwhile.at(90_000).ended()), [""; 0]);
        let frozen = connected().at(9_000).frozen().gateway(215).starts().at(10_000).bot_connects(2);
        assert_eq!(complaints(&ORACLE, frozen.at(90_000).ended()), [""; 0]);
        let (a, b) = ("gateway".to_string(), PLATFORMS.to_string());
        let cut = connected().at(9_000).fact(Source::World, Fact::LinkPartitioned { a, b });
        assert_eq!(complaints(&ORACLE, cut.at(10_000).bot_connects(2).at(90_000).ended()), [""; 0]);
    }

    #[test]
    fn two_pollers_that_go_on_are_found() {
        let conflicts = |times: &[u64]| {
            let story = Story::new().at(0).serves(214);
            times.iter().fold(story, |story, at| story.at(*at).polls_conflict(214, 214)).at(900_000).ended()
        };
        assert_eq!(complaints(&ORACLE, conflicts(&[1_000, 3_000, 16_000])), [""; 0]);
        assert_eq!(
            complaints(&ORACLE, conflicts(&[1_000, 16_001, 40_000])),
            ["The bot main had two pollers"]
        );
        assert_eq!(complaints(&ORACLE, conflicts(&[1_000, 121_001])), [""; 0], "two accidents");
        let dead = Story::new().at(0).serves(215).at(1_000).polls_conflict(214, 215).at(20_000);
        assert_eq!(complaints(&ORACLE, dead.polls_conflict(214, 215).ended()), [""; 0]);
    }

    #[test]
    fn the_poll_of_a_dead_process_of_the_same_pid_is_met_once() {
        let again = |times: &[u64]| {
            let story = Story::new().at(0).serves(214).at(500).dies(DeathCause::PowerLoss).serves(214);
            let story = story.at(1_000).polls_conflict(214, 214);
            let story = story.at(20_000).dies(DeathCause::PowerLoss).serves(214);
            times.iter().fold(story, |story, at| story.at(*at).polls_conflict(214, 214)).at(900_000).ended()
        };
        assert_eq!(complaints(&ORACLE, again(&[25_000])), [""; 0]);
        assert_eq!(complaints(&ORACLE, again(&[25_000, 27_000, 50_000])), ["The bot main had two pollers"]);
    }
}
