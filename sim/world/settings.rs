//! The settings of a world: everything a scenario may choose before the first instant.
//!
//! Plain values with defaults that suit a small deployment (a gateway machine and a few peers). What the seed
//! decides is drawn elsewhere, from the named streams of `random`; nothing here is random.

use std::ops::RangeInclusive;
use std::time::Duration;

use gateway::env::WallTime;

use crate::timeline::Level;

/// What a world is made with.
#[derive(Clone, Debug)]
pub struct WorldSettings {
    /// Decides everything that may differ between two runs.
    pub seed: u64,
    /// One-way delay of a packet, drawn for each in whole milliseconds. A connection never reorders.
    pub latency: RangeInclusive<Duration>,
    /// How long a disk takes to make something durable, drawn for each sync in whole milliseconds. The process
    /// that asked stands still meanwhile, as one with a single thread does.
    pub disk_sync: RangeInclusive<Duration>,
    /// How many processes can live at once; the addresses of dead ones are used again. Every slot costs a
    /// little at every step of the world, so take what the scenario needs.
    pub process_slots: usize,
    /// How many process ids a machine has before it starts to use them again.
    pub pid_space: u32,
    /// Wall-clock time at the first instant.
    pub wall_epoch: WallTime,
    /// How long a connect that gets no answer keeps trying before it fails with `TimedOut`.
    pub connect_timeout: Duration,
    /// How long a packet may wait at a cut link before its connection is reset at both ends.
    pub tcp_user_timeout: Duration,
    /// Gateway log records less severe than this are not recorded.
    pub log_level: Level,
}

impl WorldSettings {
    /// The defaults, with `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }
}

impl Default for WorldSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            latency: Duration::from_millis(1)..=Duration::from_millis(3),
            disk_sync: Duration::ZERO..=Duration::from_millis(2),
            process_slots: 16,
            pid_space: 64,
            // 2026-03-02T00:00:00Z
            wall_epoch: WallTime::from_epoch_ms(1_772_409_600_000),
            // What Linux makes of six SYN retries.
            connect_timeout: Duration::from_secs(127),
            tcp_user_timeout: Duration::from_secs(15 * 60),
            log_level: Level::Info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_begins_on_a_monday_at_midnight() {
        assert_eq!(WorldSettings::default().wall_epoch.to_string(), "2026-03-02T00:00:00.000Z");
    }
}
