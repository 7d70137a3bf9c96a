//! The records of background tasks, `tasks.json` in the state directory, as those who run tasks write them down.
//!
//! The gateway runs none itself and writes nothing here: it reads what stands there, since a restart would interrupt a task
//! that runs. A record may outlive whoever would have ended it, so it names the generation that began it.

use std::error::Error;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

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
    /// What does it, such as `subagent`.
    #[serde(default)]
    runtime: Option<String>,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    title: Option<String>,
}

/// Every task that is recorded; none when nobody recorded any, or what stands there cannot be read. A record that nobody
/// understands hides no other.
pub(super) fn read(fs: &dyn Fs, state_dir: &Path) -> Vec<Work> {
    let path = state_dir.join("tasks.json");
    let not_read = |error: &dyn Error| {
        tracing::warn!(name: "restart.tasks-not-read", %error, "what stands there does not count as work in hand");
    };
    let bytes = match fs.read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            not_read(&error);
            return Vec::new();
        }
    };
    let records: Vec<Value> = serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        not_read(&error);
        Vec::new()
    });
    let read = records.into_iter().map(serde_json::from_value::<Record>);
    read.filter_map(|record| record.inspect_err(|error| not_read(error)).ok()).map(Record::work).collect()
}

impl Record {
    fn work(self) -> Work {
        let status = self.status.with_end(self.ended_at.is_some());
        let work = Work::new(WorkKind::Task, self.task_id, self.generation, status);
        let runtime = self.runtime.unwrap_or(work.runtime);
        Work { run_id: self.run_id, runtime, label: self.label, title: self.title, ..work }
    }
}
