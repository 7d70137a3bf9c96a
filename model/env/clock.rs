//! The wall clock: milliseconds since the Unix epoch, and the text form used in files.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The door to the wall clock of the machine.
pub trait Clock {
    /// Wall-clock time now. May jump forwards and backwards.
    fn wall(&self) -> WallTime;
}

/// A moment of wall-clock time, in whole milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(u64);

impl WallTime {
    /// The moment `ms` milliseconds after the Unix epoch.
    pub const fn from_epoch_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn epoch_ms(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero when the clock has gone back behind it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Reads the RFC 3339 form that [`Display`](fmt::Display) writes; `None` when `text` is not a time.
    pub fn parse(text: &str) -> Option<Self> {
        let time = humantime::parse_rfc3339(text).ok()?;
        let since_epoch = time.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since_epoch.as_millis()).ok().map(Self)
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time: SystemTime = UNIX_EPOCH + Duration::from_millis(self.0);
        write!(f, "{}", humantime::format_rfc3339_millis(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let time = WallTime::from_epoch_ms(1_772_000_000_123);
        assert_eq!(time.to_string(), "2026-02-25T06:13:20.123Z");
        assert_eq!(WallTime::parse(&time.to_string()), Some(time));
        assert_eq!(WallTime::parse("yesterday"), None);
    }
}
