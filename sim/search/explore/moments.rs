//! When something is done: at an instant, or at an event of the phase of the gateway's life that it aims at.

use toml::{Table, Value};

use super::dice::Die;
use super::faults::{Fault, doing};
use super::weights::Weights;

/// A phase of life to aim at, and the events from which it is within reach.
pub(super) struct Aim {
    /// The word of the phase, as in the coverage.
    pub(super) phase: &'static str,
    /// Events at its beginning, or within; none: an instant.
    events: &'static [&'static str],
    /// It only comes about when something makes the gateway end.
    needs_an_end: bool,
}

const AIMS: &[Aim] = &[
    Aim { phase: "idle", events: &[], needs_an_end: false },
    Aim { phase: "booting", events: &["process.started"], needs_an_end: false },
    Aim { phase: "starting", events: &["gateway.starting", "port.bound"], needs_an_end: false },
    Aim {
        phase: "working",
        events: &[
            "message.sent",
            "inbox.recorded",
            "message.accepted",
            "run.started",
            "provider.requested",
            "provider.answered",
            "reply.received",
            "disk.append",
            "disk.sync-file",
            "disk.rename",
        ],
        needs_an_end: false,
    },
    Aim { phase: "draining", events: &["signal.received", "drain.started"], needs_an_end: true },
    Aim {
        phase: "closing",
        events: &["drain.finished", "shutdown.started", "shutdown.step"],
        needs_an_end: true,
    },
    Aim { phase: "down", events: &["process.exited", "port.released"], needs_an_end: true },
];

/// What makes a gateway end in an orderly way, for what aims at an end.
const ENDS: [&str; 4] = ["SIGTERM", "SIGUSR1", "service-restart", "ask-for-restart"];

/// The words that end a gateway in an orderly way.
pub(super) fn is_an_end(word: &str) -> bool {
    ENDS.contains(&word)
}

/// A phase to aim at with `fault`, by what is rare.
pub(super) fn aim(
    die: &Die,
    weights: &Weights,
    supervisor: &str,
    fault: &Fault,
    has_an_end: bool,
) -> &'static Aim {
    let choices: Vec<_> = AIMS
        .iter()
        .filter(|aim| has_an_end || !aim.needs_an_end)
        .map(|aim| (aim, weights.of_aim(aim.phase, fault.word, supervisor)))
        .collect();
    die.weighted(&choices).unwrap_or(&AIMS[0])
}

/// The step with its moment before it.
pub(super) fn timed(die: &Die, aim: &Aim, step: Table) -> Table {
    let mut timed = Table::new();
    if aim.events.is_empty() {
        timed.insert("at".into(), Value::from(die.instant(200, 60_000)));
    } else {
        let event = *die.pick(aim.events);
        timed.insert("on".into(), Value::from(event));
        let most = if event.starts_with("disk.") { 40 } else { 3 };
        let nth = die.between(1, die.between(1, most));
        if nth > 1 {
            timed.insert("nth".into(), Value::from(nth as i64));
        }
        if die.chance(60) {
            timed.insert("after".into(), Value::from(die.time(1, 5_000)));
        }
    }
    timed.extend(step);
    timed
}

/// The end that others aim at, at an instant.
pub(super) fn end(die: &Die, is_supervised: bool) -> (&'static str, Table) {
    let word = *die.pick(if is_supervised { &ENDS } else { &ENDS[..2] });
    let step = match word {
        "service-restart" => doing(word, &[]),
        "ask-for-restart" => doing(word, &[]),
        signal => doing("signal", &[("signal", signal.into())]),
    };
    let mut timed = Table::new();
    timed.insert("at".into(), Value::from(die.instant(1_000, 30_000)));
    timed.extend(step);
    (word, timed)
}
