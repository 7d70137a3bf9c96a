//! The machine's wall clock.
//!
//! It may jump in both directions, as the door says; a clock set before 1970 reads as the epoch.

use std::time::{SystemTime, UNIX_EPOCH};

use gateway::env::{Clock, WallTime};

/// The door to the wall clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsClock;

impl Clock for OsClock {
    fn wall(&self) -> WallTime {
        wall_time(SystemTime::now())
    }
}

/// A time of the operating system, cut to whole milliseconds.
pub(crate) fn wall_time(time: SystemTime) -> WallTime {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_epoch_ms(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
