//! Choices about subagents.

use serde::{Deserialize, Serialize};

/// What a start does about subagents whose work the last life did not finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubagentRestore {
    /// They are resumed, a few times at most: a new run takes the place of the dead one in the books in one write, and
    /// begins only then. Who asked for them hears of those that are given up.
    #[default]
    ResumeOrTell,
    /// The run of the dead process is waited for, which nobody works on any more: openclaw/openclaw#47711, bugs 2 and 3.
    WaitForDeadRun,
    /// Those whose conversation is known to have been interrupted are resumed under a random name each time, and begin
    /// before the books know of it: when the answer to that is late, they are resumed once more. For the others the dead
    /// run is waited for. OpenClaw 2026.5.3-1 (openclaw/openclaw#47719).
    ResumeBeforeTracking,
    /// They are resumed, and the books stay with the run of the dead process.
    ResumeUntracked,
}

/// In which order a subagent comes into being on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubagentSpawn {
    /// First its conversation, then its row in the books, then its run.
    #[default]
    SessionFirst,
    /// First its row; its conversation comes into being when it begins: openclaw/openclaw#98112.
    RowFirst,
}

/// What becomes of a row whose conversation is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubagentWithoutSession {
    /// The subagent is lost, and who asked for it is told.
    #[default]
    Told,
    /// The row is deleted without a word: openclaw/openclaw#98112.
    Pruned,
}

/// How the result of a subagent is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubagentAnnouncement {
    /// Under one name however often it is tried, so that it is made once.
    #[default]
    Once,
    /// Under a new name at each attempt, and again by each life that does not find it recorded as made.
    NewNameEachTime,
    /// Three times, a second or two apart; then nobody hears of it: OpenClaw 2026.3.2 (openclaw/openclaw#15549).
    ThreeTries,
}

/// How long the result of a subagent is owed to whoever asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubagentAnnouncementExpiry {
    /// Until it is announced.
    #[default]
    Never,
    /// Half an hour after its end; then nobody hears of it: OpenClaw 2026.3.2 (openclaw/openclaw#47711).
    ThirtyMinutes,
}

/// What becomes of a subagent that cannot be written into the books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubagentRecord {
    /// It does not begin, and the model is told.
    #[default]
    First,
    /// It begins all the same, and who dies before the next change is written takes it along: OpenClaw 2026.3.2, which
    /// passed over every error of `subagents/runs.json` (openclaw/openclaw#47711).
    FailureIgnored,
}

/// Which subagents are swept away an hour after their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubagentSweep {
    /// Those that have ended and are announced, an hour after their end.
    #[default]
    Announced,
    /// All of them, an hour after their beginning: openclaw/openclaw#47711.
    ByAge,
}

/// What the death of a program by a signal is, when its service is being ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolDeath {
    /// An interruption of the run that waits for it.
    #[default]
    RunInterrupted,
    /// A failure of the program, which the model is told and may answer to (openclaw/openclaw#140479, #32348).
    ToolFailed,
}
