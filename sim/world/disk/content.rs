//! The bytes of one file: what processes see, and what a power loss may leave of it.
//!
//! Most edits are appends, so the synced content is usually a prefix of the live bytes and needs no copy of its
//! own; only an edit that reaches behind the synced length keeps one. Knows nothing of names.

use gateway::env::WallTime;
use rand_chacha::rand_core::Rng;

/// A file's content, live and durable.
pub(super) struct Content {
    live: Vec<u8>,
    modified: WallTime,
    /// So many leading live bytes are certain to survive together with the edits made since the last sync.
    kept: usize,
    /// What was last synced; `None` while that is exactly the `kept` leading live bytes.
    synced: Option<Vec<u8>>,
    synced_modified: WallTime,
}

impl Content {
    /// The content of a file that has just been created: empty, live and durable alike.
    pub(super) fn empty(now: WallTime) -> Self {
        Self { live: Vec::new(), modified: now, kept: 0, synced: None, synced_modified: now }
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    /// What survives for certain.
    pub(super) fn synced(&self) -> &[u8] {
        self.synced.as_deref().unwrap_or(&self.live[..self.kept])
    }

    pub(super) fn modified(&self) -> WallTime {
        self.modified
    }

    /// Gives the content another age, live and durable.
    pub(super) fn set_modified(&mut self, when: WallTime) {
        (self.modified, self.synced_modified) = (when, when);
    }

    /// Replaces the content in place: truncation, then the new bytes.
    pub(super) fn write(&mut self, bytes: &[u8], now: WallTime) {
        self.truncate(0, now);
        self.append(bytes, now);
    }

    pub(super) fn append(&mut self, bytes: &[u8], now: WallTime) {
        self.live.extend_from_slice(bytes);
        self.modified = now;
    }

    /// Cuts the content to `len` bytes, or fills it up with zeros, as `ftruncate` does.
    pub(super) fn truncate(&mut self, len: usize, now: WallTime) {
        if len < self.kept {
            let kept = std::mem::replace(&mut self.kept, len);
            if self.synced.is_none() {
                // Replacing the whole content is the common case: then the bytes move instead of being copied.
                let mut synced = if len == 0 { std::mem::take(&mut self.live) } else { self.live.clone() };
                synced.truncate(kept);
                self.synced = Some(synced);
            }
        }
        self.live.resize(len, 0);
        self.modified = now;
    }

    pub(super) fn sync(&mut self) {
        self.kept = self.live.len();
        self.synced = None;
        self.synced_modified = self.modified;
    }

    /// Power is lost: of the unsynced edits survives nothing, the beginning, a torn part, or all. Afterwards live
    /// and durable agree. Returns whether live content was lost. Draws only when there was something to lose.
    pub(super) fn lose_power(&mut self, rng: &mut (impl Rng + ?Sized)) -> bool {
        if self.synced.is_none() && self.kept == self.live.len() {
            return false;
        }
        let before = self.live.len();
        let survives = match rng.next_u64() % 4 {
            0 => {
                self.modified = self.synced_modified;
                match self.synced.take() {
                    Some(synced) => {
                        self.live = synced;
                        self.sync();
                        return true;
                    }
                    None => self.kept,
                }
            }
            1 => self.kept,
            2 => {
                let unsynced = (before - self.kept) as u64;
                self.kept + (rng.next_u64() % (unsynced + 1)) as usize
            }
            _ => before,
        };
        self.live.truncate(survives);
        self.sync();
        survives < before
    }
}
