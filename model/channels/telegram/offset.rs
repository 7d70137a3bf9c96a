//! The offset: up to which update everything is taken, as the next life has to know it.
//!
//! It is written when what it covers is durable, and the platform hears of it only after that (openclaw/openclaw#30802).
//! A bot that was changed counts otherwise (openclaw/openclaw#80653), and so may one that nobody wrote to for a week.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::{Env, WallTime};
use crate::policy::TelegramOffset;
use crate::sessions::{StateError, StateFiles};

/// The form of the file.
const VERSION: u32 = 2;
/// A platform keeps its updates for a day, and begins to count anew a week after the last.
const OLD: Duration = Duration::from_secs(6 * 24 * 60 * 60);

/// Where the offset is kept.
pub(super) struct OffsetFile {
    env: Env,
    files: StateFiles,
    path: PathBuf,
    policy: TelegramOffset,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    version: u32,
    last_update_id: i64,
    bot_id: i64,
    /// When it was written, in milliseconds since the epoch.
    at: u64,
}

impl OffsetFile {
    pub(super) fn new(
        env: Env,
        files: StateFiles,
        state_dir: &Path,
        account: &str,
        policy: TelegramOffset,
    ) -> Result<Self, StateError> {
        let dir = state_dir.join("telegram");
        files.create_dir(&dir)?;
        Ok(Self { env, files, path: dir.join(format!("update-offset-{account}.json")), policy })
    }

    /// The last update that was taken from this bot. Nothing is lost without it: the platform gives again what was not
    /// confirmed, and what was taken of that is known.
    pub(super) fn read(&self, bot_id: i64) -> Result<Option<i64>, StateError> {
        let Some(bytes) = self.files.read(&self.path)? else { return Ok(None) };
        let now = self.env.wall_clock();
        let why = match serde_json::from_slice::<Kept>(&bytes) {
            Err(_) => "it cannot be read",
            Ok(kept) if kept.version != VERSION => "its version is another",
            Ok(kept) if kept.bot_id != bot_id && self.policy == TelegramOffset::OfThisBot => {
                "it is another bot's"
            }
            Ok(kept) if now.since(WallTime::from_epoch_ms(kept.at)) > OLD => "it is too old",
            Ok(kept) => return Ok(Some(kept.last_update_id)),
        };
        tracing::warn!(name: "telegram.offset-ignored", file = %self.path.display(), why, "asking for every update");
        Ok(None)
    }

    /// Makes durable that every update up to this one is taken.
    pub(super) fn write(&self, bot_id: i64, last_update_id: i64) -> Result<(), StateError> {
        let at = self.env.wall_clock().epoch_ms();
        let kept = Kept { version: VERSION, last_update_id, bot_id, at };
        self.files.replace(&self.path, &serde_json::to_vec(&kept).expect("is plain JSON"))
    }
}
