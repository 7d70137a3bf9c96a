//! Choices about what is kept: files, locks, the session store and the transcripts.

use serde::{Deserialize, Serialize};

/// When `chat.send` is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledgement {
    /// After the message is durable.
    #[default]
    AfterDurable,
    /// Before anything is written: `chat.send` of OpenClaw up to 2026.5 (openclaw/openclaw#135880).
    BeforeDurable,
}

/// How long the key of a message that is over is known, so that who asks again hears how it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyMemory {
    /// A day, across restarts.
    #[default]
    ADay,
    /// Five minutes; the same key is a new message then: `chat.send` of OpenClaw up to 2026.5 (openclaw/openclaw#135880).
    FiveMinutes,
}

/// How state files are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateWrite {
    /// Appends are synced; whole files go through a temporary file, sync, rename, directory sync.
    #[default]
    Durable,
    /// Temporary file and rename without any sync: OpenClaw 2026.3.2.
    Unsynced,
    /// Whole files are synced, appended lines are not: OpenClaw 2026.5.3-1.
    ReplacementsSynced,
    /// Planted defect: written in place, unsynced; a power loss tears the file.
    InPlace,
}

/// How the single-instance lock is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceLock {
    /// A lock whose owner is provably gone is taken over; a live owner is respected.
    #[default]
    Verified,
    /// The port says who lives: an owner at whose port nobody answers a connection within 1 s is dead, whatever the
    /// process table says, and one that starts or closes loses its lock: OpenClaw 2026.3.2 and 2026.5.3-1.
    ByPort,
    /// Planted defect: a lock file without a live owner still counts, for ever.
    NeverStale,
    /// Planted defect: a live owner's is taken over like any other.
    BreaksTheLiving,
}

/// How changes of the session store exclude each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreLock {
    /// First in, first out within the process; between processes a lock file with a lease, taken over from the
    /// dead and from the silent, and no write without it.
    #[default]
    Leased,
    /// A lock file that counts as stale after 30 s, whoever lives; removed without looking again, and written
    /// without looking: OpenClaw 2026.3.2.
    Unfenced,
    /// In the process only, on a cached copy: OpenClaw 2026.5.3-1 (openclaw/openclaw#88210).
    InProcess,
    /// As `leased`, but a holder that lives is respected for ever, however silent: openclaw/openclaw#89673.
    RespectsTheSilent,
    /// Planted defect: as `leased`, but who lost the lock writes all the same.
    WritesWithoutLooking,
}

/// How many lanes a conversation has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lanes {
    /// One, so that whoever comes next waits in the process for as long as it takes.
    #[default]
    OnePerConversation,
    /// One for each connection that takes part in it, so that two runs may want the same transcript: the lanes `main`
    /// and `session:...` of OpenClaw 2026.4.26 to 2026.5.22 (openclaw/openclaw#13744, #86004, #86801).
    OnePerConnection,
}

/// Whether a run locks its transcript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TranscriptLock {
    /// It need not: one lane per conversation, in one process per state directory.
    #[default]
    NotNeeded,
    /// For as long as it lasts; whoever comes meanwhile waits 10 s: OpenClaw 2026.3.2.
    WaitsTenSeconds,
    /// For as long as it lasts; whoever comes meanwhile waits 60 s: OpenClaw 2026.5.3-1
    /// (openclaw/openclaw#86801).
    WaitsSixtySeconds,
}

/// What becomes of a message whose run cannot have a lock in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockFailure {
    /// Its sender is told; it is kept and tried again.
    #[default]
    TellAndRetry,
    /// It is dropped, and nobody hears of it: openclaw/openclaw#77721.
    Forget,
}

/// Which locks that earlier processes left behind a start removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockSweep {
    /// Every kind.
    #[default]
    EveryKind,
    /// Those of transcripts, not the store's: openclaw/openclaw#77721.
    TranscriptsOnly,
}

/// What a session store is taken for that does not parse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnreadableStore {
    /// Damaged: the last good copy is restored, or the start is refused; nothing is overwritten.
    #[default]
    RestoreLastGood,
    /// Empty, and written over: openclaw/openclaw#77783.
    TreatAsEmpty,
}

/// What becomes of a transcript's last line that a crash cut short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TornLine {
    /// It is cut off on the disk.
    #[default]
    CutOnDisk,
    /// It is passed over when reading, and the next entry is written behind it on the same line:
    /// openclaw/openclaw#10310.
    PassedOver,
}
