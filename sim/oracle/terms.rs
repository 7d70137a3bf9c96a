//! The numbers a run is judged by.
//!
//! They come from the scenario and from the unit of the simulated supervisor, never from the gateway. One value,
//! made in one place, so that a report can print all of it.

use std::time::Duration;

use indexmap::IndexMap;

use crate::timeline::{Fate, GATEWAY_PROGRAM};

/// The terms of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The machine the service runs on.
    pub machine: String,
    /// The program name of the service's processes.
    pub program: String,
    /// The port the service listens on.
    pub port: u16,
    /// The directory that holds all of its state; absolute, without a slash at the end.
    pub state_dir: String,
    /// Whether a supervisor starts the service again when it ends.
    pub supervised: bool,
    /// Whether a boot of the machine starts the service although it had been stopped.
    pub boot_starts_what_was_stopped: bool,
    /// Whether a restart that is asked for directly is to happen in the same process.
    pub restarts_in_place: bool,
    /// The same of a gateway that was started by hand, which nobody supervises.
    pub by_hand_restarts_in_place: bool,
    /// How long a shutdown may take before the supervisor kills it.
    pub stop_timeout: Duration,
    /// How long work in flight may keep a shutdown from closing the port.
    pub drain_budget: Duration,
    /// How long a restart may wait for work in hand before it goes ahead; `None`: without limit.
    pub deferral_limit: Option<Duration>,
    /// How long the port may stay bound once no work is in flight.
    pub port_release_budget: Duration,
    /// How long the disk may take to make something durable, for which the process that asked it waits.
    pub longest_sync: Duration,
    /// How many starts may fail in a row.
    pub restart_loop_limit: RestartLoopLimit,
    /// How long a gateway may serve beside a lock file whose owner is dead, or stands still, before it breaks it. To
    /// judge a lock it may have to see it twice, and nobody asks it to look more often than once a minute.
    pub orphan_lock_grace: Duration,
    /// How long a gateway may hold a lock, other than the one on the whole state directory.
    pub longest_lock_hold: Duration,
    /// How long a gateway must have stood still before another one may end it.
    pub stuck_after: Duration,
    /// How long a gateway may take from its start until it listens.
    pub longest_boot: Duration,
    /// Whether the service must be up when the run ends. A stop by the operator excuses it anyway.
    pub expected_up_at_end: bool,
    /// Fates that the scenario asks for: message name (`ann#1`) and the fates that are right for it.
    pub expected_fates: IndexMap<String, Vec<Fate>>,
    /// The scheduled jobs.
    pub cron_jobs: Vec<CronTerm>,
    /// The hooks of its configuration.
    pub hooks: Vec<HookTerm>,
    /// How long a life must have served after a job's time for the run to be over.
    pub cron_grace: Duration,
    /// Groups of peers that read nothing, each with the sender whose conversation it follows.
    pub never_reading: Vec<(String, String)>,
    /// How many bytes may wait for a client that does not read fast enough.
    pub max_buffered: u64,
    /// How many bytes more it may be owed: those which the windows of its connection hold, those which are being
    /// written, and those which the count of an attentive follower lags behind.
    pub buffer_slack: u64,
    /// How long the end of its connection may take when it is sent away.
    pub farewell_grace: Duration,
    /// What the machine's wall clock showed when the world began, in milliseconds since the Unix epoch.
    pub wall_epoch_ms: u64,
}

/// A scheduled job: it is due at the multiples of `every` since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronTerm {
    /// Its name.
    pub job: String,
    /// From one time to the next.
    pub every: Duration,
    /// The sender in whose conversation it writes; `None`: in one of its own.
    pub session_of: Option<String>,
}

/// A hook that the gateway's configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookTerm {
    /// When it is run: `pre-stop` or `post-start`, as it reads itself.
    pub event: &'static str,
    /// How long it may take.
    pub limit: Duration,
    /// Whether the machine has its program.
    pub can_be_run: bool,
}

/// More failed starts than this within this time are a restart loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLoopLimit {
    /// So many starts may fail.
    pub failed_starts: usize,
    /// Within this time.
    pub within: Duration,
}

impl Default for Terms {
    /// A gateway under systemd with `TimeoutStopSec=90`, of which a drain may use 85 s.
    fn default() -> Self {
        Self {
            machine: "gateway".to_string(),
            program: GATEWAY_PROGRAM.to_string(),
            port: 18789,
            state_dir: "/state".to_string(),
            supervised: true,
            boot_starts_what_was_stopped: true,
            restarts_in_place: false,
            by_hand_restarts_in_place: true,
            stop_timeout: Duration::from_secs(90),
            drain_budget: Duration::from_secs(85),
            deferral_limit: Some(Duration::from_secs(300)),
            port_release_budget: Duration::from_secs(2),
            longest_sync: Duration::ZERO,
            restart_loop_limit: RestartLoopLimit { failed_starts: 4, within: Duration::from_secs(60) },
            orphan_lock_grace: Duration::from_secs(150),
            longest_lock_hold: Duration::from_secs(60),
            stuck_after: Duration::from_secs(60),
            longest_boot: Duration::from_secs(10 * 60),
            expected_up_at_end: true,
            expected_fates: IndexMap::new(),
            cron_jobs: Vec::new(),
            hooks: Vec::new(),
            // A turn of ten minutes that has waited for its place.
            cron_grace: Duration::from_secs(15 * 60),
            never_reading: Vec::new(),
            max_buffered: 4 << 20,
            // Twice 64 KiB of windows, a long frame, and a step of the count.
            buffer_slack: 256 << 10,
            farewell_grace: Duration::from_secs(5),
            wall_epoch_ms: 0,
        }
    }
}
