//! Budgets: how the time of a shutdown is divided between draining, settling what was interrupted, and closing.
//!
//! Pure arithmetic. A stop runs against the supervisor's stop timeout, so its three parts and a margin share it;
//! a restart was asked for directly, and nobody's timer runs. Who does not keep to a budget is cut off by
//! [`drain`](super::drain) and by the life itself.

use std::time::Duration;

use super::phase::Ending;
use crate::config::Config;
use crate::policy::{CloseBudget, DrainBudget, LifecycleHooks, Policies, StopDrain};

/// What a stop keeps back from the supervisor's stop timeout, as OpenClaw 2026.9.6 does; of a short timeout, half.
/// A third of it each is for settling, for closing, and a margin.
const STOP_RESERVE: Duration = Duration::from_secs(15);
/// How long the drain of [`DrainBudget::ThirtySeconds`] may take.
const ERA_A_DRAIN: Duration = Duration::from_secs(30);
/// What [`CloseBudget::SharedWithDrain`] adds to the drain.
const ERA_A_CLOSE: Duration = Duration::from_secs(5);
/// What [`CloseBudget::LongerSharedWithDrain`] adds to the drain.
const ERA_B_CLOSE: Duration = Duration::from_secs(25);

fn stop_reserve(config: &Config) -> Duration {
    STOP_RESERVE.min(config.stop_timeout() / 2)
}

/// How long a drain may take; `None` is without limit.
pub(crate) fn drain(policies: &Policies, config: &Config, ending: Ending) -> Option<Duration> {
    if ending == Ending::Stop && policies.stop_drain == StopDrain::Skip {
        return Some(Duration::ZERO);
    }
    match policies.drain_budget {
        DrainBudget::Unlimited => None,
        DrainBudget::ThirtySeconds => Some(ERA_A_DRAIN),
        DrainBudget::Configured => Some(config.drain_budget()),
        DrainBudget::WithinStopTimeout => Some(match ending {
            Ending::Restart => config.drain_budget(),
            Ending::Stop => {
                config.drain_budget().min(before_reserve(config) - pre_stop_share(policies, config))
            }
        }),
    }
}

/// What a stop has before its reserve is touched.
fn before_reserve(config: &Config) -> Duration {
    config.stop_timeout() - stop_reserve(config)
}

/// What the drain of a stop leaves to a `pre-stop` hook in any case: its limit, and no more than a third of what both have.
fn pre_stop_share(policies: &Policies, config: &Config) -> Duration {
    match &config.gateway.hooks.pre_stop {
        Some(hook) if policies.lifecycle_hooks != LifecycleHooks::Missing => {
            hook.timeout().min(before_reserve(config) / 3)
        }
        _ => Duration::ZERO,
    }
}

/// How long a `pre-stop` hook may take: its limit; of a stop, no more than what the drain has left of its own time and
/// the hook's share. `since_asked` is the age of the request to end.
pub(crate) fn pre_stop(
    policies: &Policies,
    config: &Config,
    ending: Ending,
    since_asked: Duration,
) -> Duration {
    let Some(hook) = &config.gateway.hooks.pre_stop else { return Duration::ZERO };
    match ending {
        Ending::Restart => hook.timeout(),
        Ending::Stop => {
            let left = before_reserve(config).saturating_sub(since_asked);
            hook.timeout().min(left.max(pre_stop_share(policies, config)))
        }
    }
}

/// How long interrupted runs may take to write down that they were.
pub(crate) fn settle(config: &Config, ending: Ending) -> Duration {
    third_of_reserve(config, ending)
}

/// How long the notices of interrupted work may wait for the session store, so that whoever holds it leaves time to
/// say at least that. A restart gives them no less than a stop.
pub(crate) fn notice_patience(config: &Config, ending: Ending) -> Duration {
    settle(config, ending) / 3
}

/// How long closing may take; `None` is without limit. `since_asked` is the age of the request to end.
pub(crate) fn close(
    policies: &Policies,
    config: &Config,
    ending: Ending,
    since_asked: Duration,
) -> Option<Duration> {
    match policies.close_budget {
        CloseBudget::OfItsOwn => Some(third_of_reserve(config, ending)),
        CloseBudget::SharedWithDrain => {
            let both = drain(policies, config, ending)?.saturating_add(ERA_A_CLOSE);
            Some(both.saturating_sub(since_asked))
        }
        CloseBudget::LongerSharedWithDrain => Some(match drain(policies, config, ending) {
            Some(drain) => drain.saturating_add(ERA_B_CLOSE).saturating_sub(since_asked),
            None => ERA_B_CLOSE,
        }),
        CloseBudget::Unlimited => None,
    }
}

/// How long it may take to give back what a life held, once everything is closed: half of the margin.
pub(crate) fn leave(config: &Config, ending: Ending) -> Duration {
    third_of_reserve(config, ending) / 2
}

fn third_of_reserve(config: &Config, ending: Ending) -> Duration {
    match ending {
        Ending::Restart => STOP_RESERVE / 3,
        Ending::Stop => stop_reserve(config) / 3,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::config::Hook;
    use crate::policy::{HARDENED, profile};

    const ERA_A: &str = "openclaw-2026.3.2";
    const ERA_B: &str = "openclaw-2026.5.3-1";

    fn config(stop_timeout_ms: u64) -> Config {
        let text = format!(
            r#"{{"gateway":{{"auth":{{"token":"t"}},"stateDir":"/s","stopTimeoutMs":{stop_timeout_ms}}},
                "model":{{"baseUrl":"http://p/v1","name":"m"}}}}"#
        );
        Config::parse(text.as_bytes(), Path::new("c")).expect("is valid")
    }

    fn policies(name: &str) -> Policies {
        profile(name).expect("exists")
    }

    fn check(profile_name: &str, stop_timeout_ms: u64, ending: Ending, expected_ms: u64) {
        let budget = drain(&policies(profile_name), &config(stop_timeout_ms), ending);
        assert_eq!(budget, Some(Duration::from_millis(expected_ms)), "{profile_name} {ending:?}");
    }

    #[test]
    fn a_stop_stays_below_the_stop_timeout_and_a_restart_has_its_own_budget() {
        check(HARDENED, 90_000, Ending::Stop, 75_000);
        check(HARDENED, 20_000, Ending::Stop, 10_000);
        check(HARDENED, 10_000_000, Ending::Stop, 300_000);
        check(HARDENED, 90_000, Ending::Restart, 300_000);
    }

    #[test]
    fn the_parts_of_a_stop_fit_into_the_stop_timeout() {
        for stop_timeout_ms in (0..100).chain((100..60_000).step_by(631)).chain([90_000, 330_000]) {
            let config = config(stop_timeout_ms);
            let hardened = policies(HARDENED);
            let parts = [
                drain(&hardened, &config, Ending::Stop).expect("is limited"),
                settle(&config, Ending::Stop),
                close(&hardened, &config, Ending::Stop, Duration::ZERO).expect("is limited"),
                leave(&config, Ending::Stop),
            ];
            let all: Duration = parts.iter().sum();
            assert!(all <= config.stop_timeout(), "{parts:?} of {stop_timeout_ms} ms");
            assert!(all < config.stop_timeout() || stop_timeout_ms == 0, "no margin: {stop_timeout_ms} ms");
        }
    }

    #[test]
    fn a_hook_has_its_share_of_a_stop_and_what_the_drain_leaves() {
        let hardened = policies(HARDENED);
        for stop_timeout_ms in (0..100).chain((100..60_000).step_by(631)).chain([90_000, 330_000]) {
            for timeout_ms in [1, 500, 10_000, 1_000_000] {
                let hook: Hook = serde_json::from_value(json!({"command": "x", "timeoutMs": timeout_ms}))
                    .expect("is valid");
                let mut config = config(stop_timeout_ms);
                config.gateway.hooks.pre_stop = Some(hook);
                let budget = drain(&hardened, &config, Ending::Stop).expect("is limited");
                let settled = settle(&config, Ending::Stop);
                let after = close(&hardened, &config, Ending::Stop, Duration::ZERO).expect("is limited")
                    + leave(&config, Ending::Stop);
                for drained in [Duration::ZERO, budget / 2, budget] {
                    for settling in [Duration::ZERO, settled] {
                        let since = drained + settling;
                        let limit = pre_stop(&hardened, &config, Ending::Stop, since);
                        assert!(limit <= Duration::from_millis(timeout_ms));
                        assert!(
                            since + limit + after <= config.stop_timeout(),
                            "{stop_timeout_ms} {since:?}"
                        );
                        assert!(
                            !limit.is_zero() || stop_timeout_ms < 10,
                            "no time at all: {stop_timeout_ms}"
                        );
                    }
                }
                assert_eq!(
                    pre_stop(&hardened, &config, Ending::Restart, budget).as_millis(),
                    timeout_ms.into()
                );
            }
        }
    }

    #[test]
    fn history_did_not_drain_a_stop_and_gave_a_restart_thirty_seconds() {
        check(ERA_A, 90_000, Ending::Stop, 0);
        check(ERA_A, 90_000, Ending::Restart, 30_000);
    }

    #[test]
    fn history_forced_the_exit_at_one_time_whatever_the_drain_had_used() {
        let left = |ending, since_asked| {
            close(&policies(ERA_A), &config(90_000), ending, Duration::from_secs(since_asked))
        };
        assert_eq!(left(Ending::Restart, 0), Some(Duration::from_secs(35)));
        assert_eq!(left(Ending::Restart, 30), Some(Duration::from_secs(5)));
        assert_eq!(left(Ending::Stop, 0), Some(Duration::from_secs(5)));
    }

    #[test]
    fn later_history_gave_twenty_five_seconds_beyond_the_drain() {
        let left = |ending, since_asked| {
            close(&policies(ERA_B), &config(90_000), ending, Duration::from_secs(since_asked))
        };
        assert_eq!(left(Ending::Restart, 0), Some(Duration::from_secs(325)));
        assert_eq!(left(Ending::Restart, 300), Some(Duration::from_secs(25)));
        assert_eq!(left(Ending::Stop, 0), Some(Duration::from_secs(25)));
        let unlimited = Policies { drain_budget: DrainBudget::Unlimited, ..policies(ERA_B) };
        let after_an_hour = close(&unlimited, &config(90_000), Ending::Restart, Duration::from_secs(3_600));
        assert_eq!(after_an_hour, Some(Duration::from_secs(25)));
    }
}
