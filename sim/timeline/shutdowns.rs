//! How each gateway process came to its end once it was asked to: when the port was free, when the process was gone,
//! when somebody listened again, and in what it spent most of the time.
//!
//! All times are what anybody can see from outside. Only the name of the place where it waited longest comes from the
//! process' own log records. A plain fold over the timeline, which judges nothing.

use std::time::Duration;

use gateway::env::{Pid, Signal};
use serde::{Serialize, Serializer};

use super::{Event, Fact, GATEWAY_PROGRAM, LogRecord};

/// One shutdown of a process, or of a generation where a process begins again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shutdown {
    /// The process.
    #[serde(serialize_with = "as_text")]
    pub pid: Pid,
    /// What asked it to end first.
    #[serde(serialize_with = "as_text")]
    pub signal: Signal,
    /// When, in milliseconds since the world began. All times below count from here.
    pub at_ms: u64,
    /// When it listened no more, 0 if it never had; `None`: it still does when the run ends.
    pub port_free_ms: Option<u64>,
    /// When the process had ended; `None`: it began again itself, or never ended.
    pub ended_ms: Option<u64>,
    /// How it ended: `exit 0`, `killed by SIGKILL`.
    pub exit: Option<String>,
    /// When some gateway listened again; `None`: none did.
    pub up_again_ms: Option<u64>,
    /// How many starts found the port still taken.
    pub starts_refused: u32,
    /// The longest stretch of it in which the process said nothing new about its shutdown.
    pub longest_wait: Wait,
}

/// A stretch of a shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// What it was waiting in or after, by its own log records.
    pub place: String,
    /// How long, in milliseconds.
    pub ms: u64,
}

fn as_text<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Every shutdown of a run, in the order of the signals.
pub fn shutdowns(events: &[Event]) -> Vec<Shutdown> {
    let mut gateways: Vec<Gateway> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for event in events {
        take(&mut gateways, &mut open, event);
    }
    let end = events.last().map_or(Duration::ZERO, |event| event.at);
    open.into_iter().map(|shutdown| shutdown.finished(end)).collect()
}

/// A living gateway process.
struct Gateway {
    pid: Pid,
    listens: bool,
}

/// A shutdown as far as it has been seen.
struct Open {
    pid: Pid,
    signal: Signal,
    at: Duration,
    port_free: Option<Duration>,
    ended: Option<(Duration, String)>,
    up_again: Option<Duration>,
    starts_refused: u32,
    /// Nothing more will be seen of it, but that somebody listens again.
    is_over: bool,
    /// What was last said, and when.
    said: (Duration, Option<LogRecord>),
    longest: Option<(Duration, String)>,
}

fn take(gateways: &mut Vec<Gateway>, open: &mut Vec<Open>, event: &Event) {
    let at = event.at;
    match &event.fact {
        Fact::ProcessStarted { pid, program, .. } if program == GATEWAY_PROGRAM => {
            gateways.push(Gateway { pid: *pid, listens: false });
        }
        Fact::ProcessExited { pid, cause, .. } => {
            gateways.retain(|gateway| gateway.pid != *pid);
            with(open, *pid, |shutdown| shutdown.end(at, cause.to_string()));
        }
        Fact::PortBound { pid, .. } => {
            let Some(gateway) = gateways.iter_mut().find(|gateway| gateway.pid == *pid) else { return };
            gateway.listens = true;
            with(open, *pid, |shutdown| shutdown.begin_again(at));
            for shutdown in open.iter_mut().filter(|shutdown| shutdown.port_free.is_some()) {
                shutdown.up_again.get_or_insert(at);
            }
        }
        Fact::PortReleased { pid, .. } => {
            if let Some(gateway) = gateways.iter_mut().find(|gateway| gateway.pid == *pid) {
                gateway.listens = false;
            }
            with(open, *pid, |shutdown| {
                shutdown.port_free.get_or_insert(at);
            });
        }
        Fact::BindRefused { .. } => {
            for shutdown in open.iter_mut().filter(|shutdown| shutdown.port_free.is_none()) {
                shutdown.starts_refused += 1;
            }
        }
        Fact::SignalDelivered { pid, signal, handled: true } if asks_to_end(*signal) => {
            let gateway = gateways.iter().find(|gateway| gateway.pid == *pid);
            let is_open = open.iter().any(|shutdown| shutdown.pid == *pid && !shutdown.is_over);
            if let (Some(gateway), false) = (gateway, is_open) {
                open.push(Open::asked(gateway, *signal, at));
            }
        }
        Fact::Log { pid, record } if is_about_ending(record) => {
            with(open, *pid, |shutdown| shutdown.say(at, Some(record)));
        }
        _ => {}
    }
}

fn with(open: &mut [Open], pid: Pid, then: impl FnOnce(&mut Open)) {
    if let Some(shutdown) = open.iter_mut().rev().find(|shutdown| shutdown.pid == pid && !shutdown.is_over) {
        then(shutdown);
    }
}

const fn asks_to_end(signal: Signal) -> bool {
    matches!(signal, Signal::Terminate | Signal::Interrupt | Signal::Quit | Signal::User1)
}

fn is_about_ending(record: &LogRecord) -> bool {
    ["shutdown.", "drain."].iter().any(|prefix| record.name.starts_with(prefix))
}

impl Open {
    fn asked(gateway: &Gateway, signal: Signal, at: Duration) -> Self {
        Self {
            pid: gateway.pid,
            signal,
            at,
            port_free: (!gateway.listens).then_some(at),
            ended: None,
            up_again: None,
            starts_refused: 0,
            is_over: false,
            said: (at, None),
            longest: None,
        }
    }

    fn end(&mut self, at: Duration, cause: String) {
        self.say(at, None);
        self.port_free.get_or_insert(at);
        self.ended = Some((at, cause));
        self.is_over = true;
    }

    /// It listens again itself.
    fn begin_again(&mut self, at: Duration) {
        if self.port_free.is_some() {
            self.say(at, None);
            self.up_again.get_or_insert(at);
            self.is_over = true;
        }
    }

    /// `record` ends the stretch that began with the last one; without a record, the shutdown itself ended.
    fn say(&mut self, at: Duration, record: Option<&LogRecord>) {
        let (since, last) = &self.said;
        let length = at.saturating_sub(*since);
        if self.longest.as_ref().is_none_or(|(longest, _)| length > *longest) {
            self.longest = Some((length, place(last.as_ref(), record)));
        }
        self.said = (at, record.cloned());
    }

    fn finished(mut self, end: Duration) -> Shutdown {
        if !self.is_over {
            self.say(end, None);
        }
        let since = |at: Duration| millis(at.saturating_sub(self.at));
        let (length, place) = self.longest.unwrap_or_default();
        Shutdown {
            pid: self.pid,
            signal: self.signal,
            at_ms: millis(self.at),
            port_free_ms: self.port_free.map(since),
            ended_ms: self.ended.as_ref().map(|(at, _)| since(*at)),
            up_again_ms: self.up_again.map(since),
            starts_refused: self.starts_refused,
            longest_wait: Wait { place, ms: millis(length) },
            exit: self.ended.map(|(_, cause)| cause),
        }
    }
}

/// Where a process is between two records: in the step that the second one reports as over, or after the first.
fn place(before: Option<&LogRecord>, after: Option<&LogRecord>) -> String {
    if let Some(step) = after.and_then(|record| record.field("step")) {
        return step.to_string();
    }
    if let Some(phase) = after.and_then(|record| record.name.strip_suffix(".finished"))
        && before.is_some_and(|record| record.name.strip_suffix(".started") == Some(phase))
    {
        return phase.to_string();
    }
    match before {
        Some(record) if record.name.ends_with("started") && record.field("step").is_some() => {
            record.field("step").unwrap_or_default().to_string()
        }
        Some(record) => match record.field("step") {
            Some(step) => format!("after {step}"),
            None => format!("after {}", record.name),
        },
        None => "before the first word".to_string(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::DeathCause;
    use crate::timeline::story::Story;

    fn asked() -> Story {
        Story::new().at(0).serves(214).at(10_000).signal(Signal::User1)
    }

    fn of(story: Story) -> Vec<Shutdown> {
        shutdowns(&story.events())
    }

    #[test]
    fn times_count_from_the_signal() {
        let story =
            asked().at(10_200).releases().at(10_300).exits(75).at(11_500).serves(215).at(60_000).ended();
        let [shutdown] = &of(story)[..] else { panic!("one shutdown") };
        assert_eq!(shutdown.at_ms, 10_000);
        assert_eq!((shutdown.port_free_ms, shutdown.ended_ms), (Some(200), Some(300)));
        assert_eq!((shutdown.up_again_ms, shutdown.exit.as_deref()), (Some(1_500), Some("exit 75")));
        assert_eq!(shutdown.longest_wait, Wait { place: "before the first word".into(), ms: 300 });
    }

    #[test]
    fn a_port_that_is_never_given_back_refuses_starts() {
        let story = asked().log("shutdown.started", &[]).gateway(215).starts().at(12_000).bind_refused();
        let story = story.exits(1).gateway(216).starts().at(14_000).bind_refused().at(60_000).ended();
        let [shutdown] = &of(story)[..] else { panic!("one shutdown") };
        assert_eq!((shutdown.port_free_ms, shutdown.ended_ms, shutdown.up_again_ms), (None, None, None));
        assert_eq!(shutdown.starts_refused, 2);
        assert_eq!(shutdown.longest_wait, Wait { place: "after shutdown.started".into(), ms: 50_000 });
    }

    #[test]
    fn the_longest_wait_is_in_the_step_that_is_reported_as_over() {
        let story = asked().log("drain.started", &[]).at(11_000).log("drain.finished", &[]);
        let story = story.log("shutdown.started", &[]).log("shutdown.step", &[("step", "listener")]);
        let story = story.at(15_000).log("shutdown.step-timed-out", &[("step", "websocket clients")]);
        let found = of(story.at(15_250).dies(DeathCause::Killed));
        assert_eq!(found[0].longest_wait, Wait { place: "websocket clients".into(), ms: 4_000 });
        assert_eq!(found[0].exit.as_deref(), Some("killed by SIGKILL"));
        let drained = asked().log("drain.started", &[]).at(40_000).log("drain.finished", &[]).exits(0);
        assert_eq!(of(drained)[0].longest_wait, Wait { place: "drain".into(), ms: 30_000 });
    }

    #[test]
    fn a_process_that_begins_again_has_a_shutdown_for_each_time() {
        let story = asked().at(11_000).releases().at(11_100).binds().at(20_000).signal(Signal::Terminate);
        let found = of(story.signal(Signal::Interrupt).at(20_500).releases().exits(0).at(60_000).ended());
        let times: Vec<_> =
            found.iter().map(|one| (one.port_free_ms, one.ended_ms, one.up_again_ms)).collect();
        assert_eq!(times, [(Some(1_000), None, Some(1_100)), (Some(500), Some(500), None)]);
        assert_eq!(found[1].signal, Signal::Terminate, "what asked first");
    }
}
