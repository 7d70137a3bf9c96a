//! The actors against a scripted gateway, over the simulated network.

mod console;
mod fake_gateway;
mod intruder_and_prober;
mod platforms;
mod provider;
mod rude;
mod stage;
mod webchat;

use std::time::Duration;

use super::backoff;

#[test]
fn backoff_doubles_to_half_a_minute_and_jitters_upwards() {
    let bases: Vec<_> = (1..=7).map(|failures| backoff(failures, 0).as_secs()).collect();
    assert_eq!(bases, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(backoff(u32::MAX, 0), Duration::from_secs(30));
    assert!((0..10_000).all(|draw| backoff(1, draw) <= Duration::from_millis(1250)));
    assert_eq!(backoff(1, 250), Duration::from_millis(1250));
}
