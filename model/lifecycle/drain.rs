//! The drain: admission is closed, and what was accepted gets the time it needs, up to a budget.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::phase::Ending;
use crate::agents::run::{NoticeCause, tell};
use crate::config::Config;
use crate::env::SignalStream;
use crate::gateway::Gateway;
use crate::messages::lanes::{Interruption, Stopped};
use crate::policy::{DrainBudget, ERA_A_DRAIN, InterruptedWork, Policies, StopDrain};

/// What a stop keeps back from the supervisor's stop timeout: 10 s for closing and 5 s of margin, as OpenClaw
/// 2026.9.6 does; of a short timeout, half.
const CLOSE_RESERVE: Duration = Duration::from_secs(15);
/// How long interrupted runs may take to write down that they were.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// How long a drain may take; `None` is without limit.
pub(crate) fn budget(policies: &Policies, config: &Config, ending: Ending) -> Option<Duration> {
    if ending == Ending::Stop && policies.stop_drain == StopDrain::Skip {
        return Some(Duration::ZERO);
    }
    match policies.drain_budget {
        DrainBudget::Unlimited => None,
        DrainBudget::ThirtySeconds => Some(ERA_A_DRAIN),
        DrainBudget::WithinStopTimeout => {
            let configured = config.drain_budget();
            Some(match ending {
                // Nobody's stop timeout runs: the process was asked directly.
                Ending::Restart => configured,
                Ending::Stop => {
                    let stop_timeout = config.stop_timeout();
                    configured.min(stop_timeout - CLOSE_RESERVE.min(stop_timeout / 2))
                }
            })
        }
    }
}

/// Waits for the work in flight, then stops what is left. Returns how the process should end by now, since a
/// stop may overtake a restart meanwhile.
pub(crate) async fn drain(gateway: &Rc<Gateway>, signals: &mut SignalStream, asked: Ending) -> Ending {
    let started = Instant::now();
    let mut ending = asked;
    tracing::info!(
        name: "drain.started",
        ending = ending.name(),
        work = gateway.lanes.depth(),
        budget_ms = budget(&gateway.policies, &gateway.config, ending).map(|budget| budget.as_millis() as u64),
        "finishing accepted work"
    );
    let in_time = loop {
        let budget = budget(&gateway.policies, &gateway.config, ending);
        // A limit too far away to be an instant is no limit.
        let deadline = budget.and_then(|budget| started.checked_add(budget));
        tokio::select! {
            biased;
            () = gateway.lanes.idle() => break true,
            () = reached(deadline) => break false,
            signal = signals.next() => {
                tracing::info!(name: "signal.during-drain", %signal, "a second signal");
                if let Some(later) = Ending::asked_by(signal) {
                    ending = ending.overtaken_by(later);
                }
            }
        }
    };
    tracing::info!(
        name: "drain.finished",
        in_time,
        left = gateway.lanes.depth(),
        took_ms = started.elapsed().as_millis() as u64,
        "the drain is over"
    );
    if !in_time {
        interrupt(gateway, ending).await;
    }
    ending
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Stops what the drain could not wait for. Runs settle themselves; what is still queued is left to a
/// successor on a restart, and told on a stop, since nobody may come after.
async fn interrupt(gateway: &Rc<Gateway>, ending: Ending) {
    if gateway.policies.interrupted_work == InterruptedWork::Forget {
        return;
    }
    let stopped = gateway.lanes.stop_all(Interruption::ByShutdown);
    for stopped in stopped {
        let Stopped::Queued(run_id) = stopped else { continue };
        let Some((message, _)) = gateway.inbox.find(&run_id) else { continue };
        match ending {
            Ending::Restart => {
                tracing::warn!(name: "message.left-to-successor", run = run_id, "queued, not started");
            }
            Ending::Stop => tell(gateway, &message, NoticeCause::Interrupted).await,
        }
    }
    let settled = timeout_at(Instant::now() + SETTLE_TIME, gateway.lanes.idle()).await;
    if settled.is_err() {
        tracing::error!(
            name: "drain.work-left",
            left = gateway.lanes.depth(),
            "work did not stop; the journal keeps it for the next start"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::{HARDENED, profile};

    fn config(stop_timeout_ms: u64) -> Config {
        let text = format!(
            r#"{{"gateway":{{"auth":{{"token":"t"}},"stateDir":"/s","stopTimeoutMs":{stop_timeout_ms}}},
                "model":{{"baseUrl":"http://p/v1","name":"m"}}}}"#
        );
        Config::parse(text.as_bytes(), Path::new("c")).expect("is valid")
    }

    fn check(profile_name: &str, stop_timeout_ms: u64, ending: Ending, expected_ms: Option<u64>) {
        let policies = profile(profile_name).expect("exists");
        let budget = budget(&policies, &config(stop_timeout_ms), ending);
        assert_eq!(budget, expected_ms.map(Duration::from_millis), "{profile_name} {ending:?}");
    }

    #[test]
    fn a_stop_stays_below_the_stop_timeout_and_a_restart_has_its_own_budget() {
        check(HARDENED, 90_000, Ending::Stop, Some(75_000));
        check(HARDENED, 20_000, Ending::Stop, Some(10_000));
        check(HARDENED, 10_000_000, Ending::Stop, Some(300_000));
        check(HARDENED, 90_000, Ending::Restart, Some(300_000));
    }

    #[test]
    fn history_did_not_drain_a_stop_and_gave_a_restart_thirty_seconds() {
        check("openclaw-2026.3.2", 90_000, Ending::Stop, Some(0));
        check("openclaw-2026.3.2", 90_000, Ending::Restart, Some(30_000));
    }
}
