//! The limits that the coordinator keeps, as they are configured.

use std::time::Duration;

/// The limits that the coordinator keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a restart waits for work in hand, and the budget that its drain shares; `None`: without limit.
    pub deferral_limit: Option<Duration>,
    /// What a drain has at least, however long the deferral took; and how long a safe restart holds new work off
    /// before it gives up.
    pub floor: Duration,
    /// The pause between two restarts.
    pub cooldown: Duration,
    /// How long an order is in force that nobody takes.
    pub token_grace: Duration,
    /// How often a restart is ordered that nobody takes.
    pub tries: u32,
    /// How many restarts one requester may begin within [`Settings::rate_window`].
    pub rate_limit: usize,
    /// See [`Settings::rate_limit`].
    pub rate_window: Duration,
    /// Whether restart signals from outside are followed: `commands.restart`.
    pub external_signals: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            deferral_limit: Some(Duration::from_secs(300)),
            floor: Duration::from_secs(15),
            cooldown: Duration::from_secs(30),
            token_grace: Duration::from_secs(5),
            tries: 3,
            rate_limit: 3,
            rate_window: Duration::from_secs(60),
            external_signals: true,
        }
    }
}

impl Settings {
    /// The same with `gateway.reload.deferralTimeoutMs`; 0 is without limit.
    pub fn with_deferral_timeout_ms(self, ms: u64) -> Self {
        Self { deferral_limit: (ms > 0).then(|| Duration::from_millis(ms)), ..self }
    }
}
