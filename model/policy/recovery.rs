//! Choices about what waits, what is interrupted, and what the next life does about it.

use serde::{Deserialize, Serialize};

/// Where a message is kept that waits for its conversation to come free, or to be quiet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FollowUps {
    /// On disk before it is acknowledged, like any other; a drain waits for it.
    #[default]
    Durable,
    /// In memory, acknowledged all the same, and no drain counts it: the debounce buffer and the follow-up queue of
    /// OpenClaw up to 2026.9 (openclaw/openclaw#51620, #46303, #135880).
    InMemory,
}

/// How many messages may wait behind the turn of their conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FollowUpCap {
    /// As many as come.
    #[default]
    None,
    /// Twenty; the oldest makes room for the next, and nobody is told: `messages.queue.drop = "old"` of OpenClaw since
    /// 2026.3.2 (openclaw/openclaw#115888).
    TwentyOldestDropped,
    /// Twenty; the oldest makes room for the next, and a line of it is shown to the model with the next turn. Until then
    /// the line is in memory, and the message is over: `messages.queue.drop = "summarize"`, the default of OpenClaw since
    /// 2026.3.2.
    TwentyOldestSummarized,
    /// Twenty; another is acknowledged and dropped: `messages.queue.drop = "new"` of OpenClaw since 2026.3.2.
    TwentyNewestDropped,
}

/// Which work a drain waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainInventory {
    /// All of it.
    #[default]
    Everything,
    /// Not for the turns of conversations: OpenClaw 2026.6.10 (openclaw/openclaw#118147).
    MissesTurns,
    /// For the turns that are at work when it begins, and for nothing that comes after them: `getActiveTaskCount` of
    /// OpenClaw 2026.3.2 and 2026.5.3-1 (openclaw/openclaw#135880).
    AtWorkAtItsBeginning,
}

/// Where it stands that a conversation is at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionStatus {
    /// In the journal of messages, with the generation. What the store says of another generation means that it was
    /// interrupted.
    #[default]
    OfThisGeneration,
    /// In the session store, as `running`, whoever wrote that; a conversation at which nobody works but that says so
    /// takes no message: OpenClaw 2026.4 to 2026.8 (openclaw/openclaw#71263, #92712, #137355).
    AsTheStoreSays,
}

/// By what a start knows the turns that the end of an earlier life interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterruptionEvidence {
    /// By the journal of messages, which says of each how far it came, whatever ended the life.
    #[default]
    Journal,
    /// By `abortedLastRun` in the session store, which nothing sets but a user's stop: OpenClaw 2026.3.2, where nobody
    /// looked for it. Who does, as openclaw/openclaw#38836 proposes, finds what was stopped and nothing else.
    FlagOfUsers,
    /// By the same flag, which a start sets, too, where the store calls a conversation running and the lock of its
    /// transcript was left stale; a lock that was given back in good order leaves nothing to find: OpenClaw 2026.5.3-1
    /// (openclaw/openclaw#47711 part B, #71263).
    FlagOrStaleLock,
}

/// When a message that recovery takes up counts as recovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryDispatch {
    /// When it is over.
    #[default]
    WhenOver,
    /// When it is in its lane, whether it ever runs: openclaw/openclaw#128827.
    WhenQueued,
}

/// What is recorded of a run that its sender stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserStop {
    /// That it is over, for good.
    #[default]
    Final,
    /// That it was interrupted, as by a restart: openclaw/openclaw#120315.
    AsInterruption,
}

/// What the next life does with a turn that had begun and has no recorded end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BegunTurn {
    /// Its sender is told: running it again could act twice.
    #[default]
    Told,
    /// It runs again, whatever it did already and whether its reply is recorded: openclaw/openclaw#88015.
    Replayed,
}

/// How often a message is taken up again whose lives have died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResumeLimit {
    /// Three times, each after a longer pause; then its sender is told.
    #[default]
    ThreeTimes,
    /// As often as it takes: openclaw/openclaw#96230.
    Unlimited,
}

/// How old may be what the end of an earlier life left, to be taken up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResumeAge {
    /// A message that nobody has begun, a day; a subagent, two hours after its run began. Whoever asked is told of what is
    /// older.
    #[default]
    Limited,
    /// Any age: OpenClaw up to openclaw/openclaw#90817, which set the two hours.
    Any,
}

/// Where the answer of a resumed turn goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResumedReply {
    /// Where the answer of any turn goes: to the place that its message came from.
    #[default]
    ToItsSender,
    /// Into the transcript only: openclaw/openclaw#127339.
    TranscriptOnly,
}

/// Who is told of an interruption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterruptionNotice {
    /// Each conversation that was interrupted, once.
    #[default]
    Once,
    /// Planted defect: again at every start.
    AtEveryStart,
    /// Planted defect: every conversation, interrupted or not.
    EveryConversation,
    /// Planted defect: a conversation once for each of its messages.
    EachMessage,
}
