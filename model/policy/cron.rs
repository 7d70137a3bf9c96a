//! Choices about scheduled jobs.

use serde::{Deserialize, Serialize};

/// What becomes of a scheduled run that the end of a process interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CronInterruption {
    /// As the job says: it is tried again, or skipped with a record.
    #[default]
    ByJob,
    /// It is forgotten, and the job goes on at its next time: openclaw/openclaw#60495.
    Forgotten,
}

/// When the outcome of a scheduled run is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CronOutcome {
    /// With its effect, and it is consulted before the job runs again.
    #[default]
    Durable,
    /// Some time after it, so that a restart in between runs the job again: openclaw/openclaw#42640.
    Late,
}

/// What becomes of the times that passed while no gateway ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CronMissed {
    /// A few jobs catch up, one after another; the other times are recorded as skipped.
    #[default]
    LimitedAndStaggered,
    /// Every job that is overdue runs at once: openclaw/openclaw#42039.
    AllAtOnce,
}
