//! History's memory of messages: their ids in a file, each written before anything is done with the message.
//!
//! A crash in between leaves an id without a message, and the platform's repetition of it is taken for one that was
//! answered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::env::{Env, WallTime};
use crate::sessions::{StateError, StateFiles};

/// Ids and when they were recorded, in milliseconds since the epoch.
type Ids = BTreeMap<String, u64>;

/// The file and what it says: `feishu/dedup/ACCOUNT.json`.
pub(super) struct RecordedIds {
    env: Env,
    files: StateFiles,
    path: PathBuf,
    ids: RefCell<Ids>,
}

impl RecordedIds {
    pub(super) fn open(
        env: &Env,
        files: &StateFiles,
        state_dir: &Path,
        account: &str,
    ) -> Result<Self, StateError> {
        let dir = state_dir.join("feishu").join("dedup");
        files.create_dir(&dir)?;
        let path = dir.join(format!("{account}.json"));
        let bytes = files.read(&path)?.unwrap_or_default();
        // What could not be read was empty.
        let ids = RefCell::new(serde_json::from_slice(&bytes).unwrap_or_default());
        Ok(Self { env: env.clone(), files: files.clone(), path, ids })
    }

    /// Whether this id was not there yet. It is, from now on.
    pub(super) fn is_new(&self, id: &str) -> bool {
        let now = self.env.wall_clock();
        let mut ids = self.ids.borrow_mut();
        ids.retain(|_, at| now.since(WallTime::from_epoch_ms(*at)) < super::REMEMBERED);
        let is_new = ids.insert(id.to_string(), now.epoch_ms()).is_none();
        let written = self.files.replace(&self.path, &serde_json::to_vec(&*ids).expect("is plain JSON"));
        if let Err(error) = written {
            tracing::warn!(name: "feishu.id-not-recorded", %error, "it is remembered in memory only");
        }
        is_new
    }
}
