//! The pauses between attempts to reach a platform: longer each time, and not the same for every account.

use std::time::Duration;

use crate::env::Env;

/// The first pause and the longest (OpenClaw: 2 s to 30 s, by a factor of 1.8, a quarter more or less).
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait next.
pub(super) struct Backoff {
    next: Duration,
    /// The random stream that the pauses are drawn from.
    stream: &'static str,
}

impl Backoff {
    pub(super) const fn new(stream: &'static str) -> Self {
        Self { next: FIRST, stream }
    }

    /// Something worked.
    pub(super) const fn reset(&mut self) {
        self.next = FIRST;
    }

    /// The next pause.
    pub(super) fn pause(&mut self, env: &Env) -> Duration {
        let pause = self.next;
        self.next = (pause * 9 / 5).min(LONGEST);
        // From three quarters of it to five quarters.
        let share = u32::try_from(env.random(self.stream) % 501).expect("is below 501");
        pause * (750 + share) / 1_000
    }
}
