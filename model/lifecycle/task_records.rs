//! The records of background tasks, `tasks.json` in the state directory, as those who run tasks write them down.
//!
//! The gateway runs none itself and writes nothing here: it reads what stands there, since a restart would interrupt a task
//! that runs. A record may outlive whoever would have ended it, so it names the generation that began it.

use std::path::Path;

use serde::Deserialize;

use super::restart::{Generation, RecordStatus, Work, WorkKind};
use crate::env::Fs;

/// One record. What else it says is for others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    task_id: String,
    status: RecordStatus,
    #[serde(default)]
    ended_at: Option<u64>,
    /// The generation that began it; without it, one before all.
    #[serde(default)]
    generation: Generation,
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    title: Option<String>,
}

/// Every task that is recorded; none when nobody recorded any, or what stands there cannot be read.
pub(super) fn read(fs: &dyn Fs, state_dir: &Path) -> Vec<Work> {
    let Ok(bytes) = fs.read(&state_dir.join("tasks.json")) else { return Vec::new() };
    let records: Vec<Record> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(name: "restart.tasks-not-read", %error, "no task counts as work in hand");
        Vec::new()
    });
    let work = |record: Record| {
        let status = record.status.with_end(record.ended_at.is_some());
        let work = Work::new(WorkKind::Task, record.task_id, record.generation, status);
        Work { run_id: record.run_id, title: record.title, ..work }
    };
    records.into_iter().map(work).collect()
}
