//! Choices about delivery: what becomes of a text that a platform has to take.

use serde::{Deserialize, Serialize};

/// When a text is sent again that was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryRetry {
    /// After a pause that grows, for as long as the process lives.
    #[default]
    Continuous,
    /// At the next start of the gateway, oldest first, for 60 s in all: `src/infra/outbound/delivery-queue.ts` of
    /// OpenClaw 2026.3.2 (openclaw/openclaw#23777).
    AtStartOnly,
}

/// What is known of a text that is sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryRepeats {
    /// Whether an attempt may have been taken; the platform gets its name again, so that it can take it once.
    #[default]
    WithEvidence,
    /// Nothing: it is sent as if for the first time (openclaw/openclaw#29106).
    Blind,
    /// That it may have been taken, so it is never sent again, and nobody is told: OpenClaw 2026.6 to 2026.9
    /// (openclaw/openclaw#90233, #124517).
    Stranded,
}

/// How often a text is sent that its platform does not take for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryAttempts {
    /// For a day.
    #[default]
    UntilTooOld,
    /// Five times, whatever was wrong; then it is put aside, and whoever it is for hears nothing:
    /// `src/infra/outbound/delivery-queue.ts` of OpenClaw 2026.3.2 (openclaw/openclaw#15636).
    Five,
}

/// What becomes of a text that cannot be written down before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryRecord {
    /// Its message is not over before it can.
    #[default]
    First,
    /// It is sent once, unprotected, and whatever comes of that is all: `src/infra/outbound/deliver.ts` of OpenClaw
    /// 2026.3.2 (openclaw/openclaw#15636).
    FailureIgnored,
}

/// What a refusal for good does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryRefusals {
    /// The text goes to the dead letters, and its conversation says so.
    #[default]
    DeadLetters,
    /// It is tried again like any other (openclaw/openclaw#23777).
    TriedAgain,
}

/// What a text waits for before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryReadiness {
    /// Until its channel can send.
    #[default]
    Awaited,
    /// Nothing: before its channel is up it is an attempt that failed (openclaw/openclaw#6917).
    Ignored,
}

/// In which order the texts of a chat are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryOrder {
    /// As they came to be owed.
    #[default]
    OldestFirst,
    /// Planted defect: what is new goes before what waits.
    NewestFirst,
}

/// By what it is known where a word goes that answers no message: what came of a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeRoute {
    /// By the conversation that was named when it was asked for.
    #[default]
    WhenAsked,
    /// By the conversation's entry in the session store when it is delivered, as whoever had the last turn there left it;
    /// a heartbeat leaves a place where nobody reads: OpenClaw 2026.2 and 2026.3 (openclaw/openclaw#34580, #18239,
    /// #35300).
    FromTheStore,
}
