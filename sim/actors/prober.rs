//! The readiness prober: what a load balancer or an orchestrator sees of the gateway.
//!
//! It asks `GET /readyz` again and again, each time over a fresh connection, and records the answer. It does not
//! judge whether the answer was true; an oracle does. In the calm after the storm a gateway that is ready and stays so
//! is asked less and less often.

use std::time::Duration;

use gateway::env::Env;
use hyper::{Method, StatusCode};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::http;
use crate::timeline::{Fact, Recorder, Source};

/// How long a probe waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// For how long the gateway has to have been ready in the calm, answer after answer, before it is asked less often.
const STEADY: Duration = Duration::from_secs(5);

/// The longest time that it is left alone then.
const SELDOM: Duration = Duration::from_secs(4);

/// What the prober is told.
#[derive(Clone, Debug)]
pub struct ProberSettings {
    /// The gateway's port.
    pub port: u16,
    /// From one probe to the next; at least a millisecond.
    pub every: Duration,
}

/// Probes for as long as its process lives.
pub async fn run(env: Env, recorder: Recorder, settings: ProberSettings) {
    let every = settings.every.max(Duration::from_millis(1));
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut settling = recorder.nth_event(1, |event| event.fact == Fact::SettleBegan);
    let mut pace = Pace::new(every);
    let mut is_calm = false;
    loop {
        let tick = ticks.tick().await;
        let asked_at = recorder.now();
        let ask = http::ask(&env, settings.port, Method::GET, "/readyz", String::new());
        let ready = match timeout(PROBE_TIMEOUT, ask).await {
            Ok(Ok(StatusCode::OK)) => Some(true),
            Ok(Ok(StatusCode::SERVICE_UNAVAILABLE)) => Some(false),
            _ => None,
        };
        recorder.record(Source::Prober, Fact::ReadySeen { ready, asked_at });
        is_calm = is_calm || settling.try_recv().is_ok();
        let pause = pace.after(is_calm && ready == Some(true));
        if pause > every {
            ticks.reset_at(tick + pause);
        }
    }
}

/// How long to wait for the next probe. Nobody does anything to the gateway any more in the calm, so while it is ready
/// there is nothing to see; all else is watched as closely as ever: a drain, a start, a gateway that is away.
struct Pace {
    every: Duration,
    pause: Duration,
    /// For how long it has been steady by now.
    steady_for: Duration,
}

impl Pace {
    fn new(every: Duration) -> Self {
        Self { every, pause: every, steady_for: Duration::ZERO }
    }

    /// The pause after an answer, which is a `steady` one in the calm or is not.
    fn after(&mut self, steady: bool) -> Duration {
        if !steady {
            (self.pause, self.steady_for) = (self.every, Duration::ZERO);
        } else if self.steady_for < STEADY {
            self.steady_for += self.every;
        } else {
            self.pause = (self.pause * 2).min(SELDOM.max(self.every));
        }
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses in milliseconds after so many steady answers.
    fn pauses(pace: &mut Pace, steady: bool, answers: usize) -> Vec<u128> {
        (0..answers).map(|_| pace.after(steady).as_millis()).collect()
    }

    #[test]
    fn who_is_ready_and_stays_so_is_asked_less_and_less_often() {
        let mut pace = Pace::new(Duration::from_secs(1));
        assert_eq!(
            pauses(&mut pace, true, 9),
            [1_000, 1_000, 1_000, 1_000, 1_000, 2_000, 4_000, 4_000, 4_000]
        );
    }

    #[test]
    fn any_other_answer_brings_the_watch_back() {
        let mut pace = Pace::new(Duration::from_secs(1));
        pauses(&mut pace, true, 20);
        assert_eq!(pauses(&mut pace, false, 2), [1_000, 1_000]);
        assert_eq!(pauses(&mut pace, true, 6), [1_000, 1_000, 1_000, 1_000, 1_000, 2_000]);
    }

    #[test]
    fn nobody_is_asked_more_often_than_was_wanted() {
        let mut pace = Pace::new(Duration::from_secs(10));
        assert_eq!(pauses(&mut pace, true, 4), [10_000; 4]);
    }
}
