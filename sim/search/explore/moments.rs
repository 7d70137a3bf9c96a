//! When something is done: at an instant, or at an event of the phase of the gateway's life that it aims at.
//!
//! Events are those that this world has: nobody waits for a platform where nobody talks on one, or for a third drain
//! where there is one end.

use std::time::Duration;

use toml::{Table, Value};

use super::cast::Cast;
use super::dice::{Die, written};
use super::faults::{Trouble, doing};
use super::weights::Weights;

/// A phase of life to aim at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    Instant,
    Booting,
    Starting,
    Working,
    Draining,
    Closing,
    Down,
}

impl Aim {
    const ALL: [Self; 7] = [
        Self::Instant,
        Self::Booting,
        Self::Starting,
        Self::Working,
        Self::Draining,
        Self::Closing,
        Self::Down,
    ];

    /// The word of the phase, as in the coverage.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Instant => "idle",
            Self::Booting => "booting",
            Self::Starting => "starting",
            Self::Working => "working",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Down => "down",
        }
    }

    /// Events at its beginning, or within, and how many there are at least, as far as that can be told before.
    fn events(self, cast: &Cast, past: &Past) -> Vec<(&'static str, u64)> {
        let (ends, lives) = (past.ends, past.ends + 1);
        match self {
            Self::Instant => Vec::new(),
            Self::Booting => vec![("process.started", lives)],
            Self::Starting => {
                vec![("gateway.starting", lives), ("port.bound", lives), ("gateway.ready", lives)]
            }
            Self::Working => working(cast),
            Self::Draining if past.asks => {
                vec![("restart.ordered", 1), ("signal.received", ends), ("drain.started", ends)]
            }
            Self::Draining => vec![("signal.received", ends), ("drain.started", ends)],
            Self::Closing => {
                vec![("drain.finished", ends), ("shutdown.started", ends), ("shutdown.finished", ends)]
            }
            Self::Down => vec![("process.exited", ends), ("port.released", ends)],
        }
    }
}

/// The events of what only some worlds have.
fn special(cast: &Cast, past: &Past) -> Vec<(&'static str, u64)> {
    let mut events = Vec::new();
    if !cast.on_platforms.is_empty() {
        events.extend([("update.handed-out", 2), ("message.accepted", 2), ("send.taken", 2)]);
    }
    if cast.has_jobs {
        events.extend([("cron.requested", 3), ("cron.answered", 3), ("cron.started", 2)]);
    }
    if cast.has_subagents {
        events.extend([
            ("subagent.requested", 2),
            ("subagent.answered", 1),
            ("announcement.requested", 2),
            ("announcement.requested", 1),
            ("announcement.answered", 1),
        ]);
    }
    if cast.has_programs {
        events.push(("command.began", 1));
    }
    if past.asks {
        events.extend([("restart.ordered", 1), ("restart.requested", 1)]);
    }
    if past.aborts {
        events.push(("message.stop-requested", 1));
    }
    events
}

/// The events of work that every world has.
fn working(cast: &Cast) -> Vec<(&'static str, u64)> {
    let messages = cast.messages;
    let mut events = vec![("disk.append", 20), ("disk.sync-file", 20), ("disk.rename", 3)];
    if messages > 0 {
        for event in ["message.sent", "inbox.recorded", "message.accepted"] {
            events.push((event, messages));
        }
        for event in ["run.started", "provider.requested", "provider.requested"] {
            events.push((event, messages.div_ceil(2)));
        }
        for event in ["provider.answered", "reply.received"] {
            events.push((event, messages.div_ceil(3)));
        }
    }
    events
}

/// What befalls the world already.
#[derive(Default)]
pub(super) struct Past {
    /// How often something makes a gateway end in an orderly way.
    pub(super) ends: u64,
    /// How often a gateway ends in any way.
    pub(super) deaths: u64,
    /// Somebody asks for a restart.
    pub(super) asks: bool,
    /// Somebody stops messages.
    pub(super) aborts: bool,
}

impl Past {
    /// Notes a trouble.
    pub(super) fn note(&mut self, word: &str) {
        let is_end = ENDS.contains(&word) || matches!(word, "service-stop" | "reload-service" | "SIGINT");
        self.ends += u64::from(is_end);
        self.deaths += u64::from(is_end || is_death(word) || DEATHS_AMONG_OTHER_THINGS.contains(&word));
        self.asks |= matches!(word, "ask-for-restart" | "task-records" | "write-config");
        self.aborts |= word == "abort";
    }
}

/// What makes a gateway end in an orderly way, for what aims at an end.
const ENDS: [&str; 4] = ["SIGTERM", "SIGUSR1", "service-restart", "ask-for-restart"];

/// What kills a gateway among other things, and nobody else's aim.
const DEATHS_AMONG_OTHER_THINGS: [&str; 2] = ["crash-on-the-road", "down-for-hours"];

/// The words of a gateway's sudden ends.
pub(super) fn is_death(word: &str) -> bool {
    matches!(word, "kill" | "power-loss" | "crash-at" | "SIGQUIT" | "SIGHUP" | "disk-fault")
}

/// What may come several times, one after the other.
pub(super) fn may_recur(word: &str) -> bool {
    ENDS.contains(&word) || is_death(word) && word != "disk-fault" || word == "freeze"
}

/// What is too much when it comes twice: what is promised of it takes its time.
pub(super) fn comes_once(word: &str) -> bool {
    matches!(word, "corrupt-state" | "start-second-instance" | "down-for-hours")
}

/// When a trouble begins.
#[derive(Clone, Debug)]
pub(super) enum Moment {
    /// At so many milliseconds.
    At(u64),
    /// So many milliseconds after an event.
    On {
        /// Which.
        event: &'static str,
        /// The how manyth of them.
        nth: u64,
        /// How long after.
        after: u64,
    },
}

impl Moment {
    /// A phase to aim at with a fault, by what is rare, and a moment of it.
    pub(super) fn draw(die: &Die, weights: &Weights, cast: &Cast, word: &str, past: &Past) -> (Aim, Self) {
        let choices: Vec<_> = Aim::ALL
            .into_iter()
            .filter(|aim| past.ends > 0 || !matches!(aim, Aim::Draining | Aim::Closing | Aim::Down))
            .map(|aim| {
                // Most of a life is work, and a platform or a sender matters to nothing else.
                let share = match aim {
                    Aim::Working if word.starts_with("platform-") || word == "abort" => 9,
                    Aim::Working | Aim::Instant => 3,
                    _ => 1,
                };
                (aim, share * weights.of_aim(aim.word(), word, &cast.supervisor))
            })
            .collect();
        let aim = die.weighted(&choices).unwrap_or(Aim::Instant);
        let special = if aim == Aim::Working && die.chance(50) { special(cast, past) } else { Vec::new() };
        let events = if special.is_empty() { aim.events(cast, past) } else { special };
        if events.is_empty() {
            // What waits for its prey is best there before.
            let last = match () {
                () if word == "crash-at" && die.chance(60) => 15_000,
                () if die.chance(70) => 60_000,
                () => 240_000,
            };
            return (aim, Self::At(die.between(200, last)));
        }
        let (event, most) = *die.pick(&events);
        let after = match die.between(0, 9) {
            0..=2 => 0,
            3..=6 => die.between(0, 300),
            _ => die.between(0, 5_000),
        };
        (aim, Self::On { event, nth: die.between(1, die.between(1, most.max(1))), after })
    }

    /// So much later.
    pub(super) fn later(&self, ms: u64) -> Self {
        match self {
            Self::At(at) => Self::At(at + ms),
            Self::On { event, nth, after } => Self::On { event, nth: *nth, after: after + ms },
        }
    }

    /// At the next event of the same kind, if it is one that comes once in each life or with each attempt.
    pub(super) fn next(&self) -> Option<Self> {
        const AGAIN: [&str; 6] = [
            "provider.requested",
            "run.started",
            "gateway.ready",
            "gateway.starting",
            "subagent.requested",
            "cron.requested",
        ];
        match self {
            Self::On { event, nth, after } if AGAIN.contains(event) => {
                Some(Self::On { event, nth: nth + 1, after: *after })
            }
            _ => None,
        }
    }

    /// The steps of a trouble that begins at this moment.
    pub(super) fn steps(&self, trouble: Trouble) -> impl Iterator<Item = Table> {
        trouble.into_iter().map(|(offset, step)| {
            if step.contains_key("on") || step.contains_key("at") {
                return step;
            }
            let mut timed = self.later(offset).words();
            timed.extend(step);
            timed
        })
    }

    fn words(&self) -> Table {
        let mut words = Table::new();
        match self {
            Self::At(at) => drop(words.insert("at".into(), Value::from(written(*at)))),
            Self::On { event, nth, after } => {
                words.insert("on".into(), Value::from(*event));
                if *nth > 1 {
                    words.insert("nth".into(), Value::from(*nth as i64));
                }
                if *after > 0 {
                    words.insert("after".into(), Value::from(written(*after)));
                }
            }
        }
        words
    }
}

/// The end that others aim at, at an instant.
pub(super) fn end(die: &Die, is_supervised: bool) -> (&'static str, Table) {
    let word = *die.pick(if is_supervised { &ENDS } else { &["SIGUSR1"] });
    let step = match word {
        "service-restart" | "ask-for-restart" => doing(word, &[]),
        signal => doing("signal", &[("signal", signal.into())]),
    };
    let mut timed = Moment::At(die.between(1_000, 40_000)).words();
    timed.extend(step);
    (word, timed)
}

/// How long the storm has to last for the last of these steps, if that is longer than usual.
pub(super) fn storm_limit(steps: &[Value]) -> Option<&'static str> {
    const USUAL: Duration = Duration::from_secs(540);
    let time = |step: &Value, key: &str| {
        step.get(key).and_then(Value::as_str).and_then(|words| humantime::parse_duration(words).ok())
    };
    let last = |step: &Value| time(step, "at").or_else(|| time(step, "after")).unwrap_or_default();
    let last = steps.iter().map(last).max().unwrap_or_default();
    match last {
        last if last < USUAL - Duration::from_secs(240) => None,
        last if last < USUAL + Duration::from_secs(300) => Some("20m"),
        _ => Some("2h"),
    }
}
