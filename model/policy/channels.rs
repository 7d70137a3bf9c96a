//! Choices about the accounts on chat platforms: when a message is confirmed, and how an account ends.

use serde::{Deserialize, Serialize};

/// When the Bot API hears that a message was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TelegramConfirmation {
    /// With the first poll after the message and the offset are durable.
    #[default]
    AfterDurable,
    /// With a poll before anything is done with it: OpenClaw 2026.3 to 2026.5 (openclaw/openclaw#30802).
    BeforeProcessing,
    /// Planted defect: as `after-durable`, but the offset is written before the messages that it covers.
    OffsetFirst,
}

/// When an event of Feishu is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeishuAcknowledgement {
    /// When its message is durable.
    #[default]
    AfterDurable,
    /// When it arrives: OpenClaw 2026.3.2, whose client library did that.
    AtReceipt,
}

/// By what a message of Feishu is recognised that comes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeishuMemory {
    /// By the message itself in the inbox: under its own name or another one. It is known when it is durable, not before.
    #[default]
    WithTheMessage,
    /// By its id, which is written to a file before anything is done with the message: OpenClaw 2026.3.2.
    IdRecordedFirst,
    /// By its id, as long as the process remembers: OpenClaw before 2026.3 (openclaw/openclaw#41195).
    IdsInMemory,
}

/// What becomes of Feishu's connection when the gateway takes no more messages, or closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeishuClose {
    /// It is closed, and its task is waited for.
    #[default]
    Joined,
    /// It is forgotten, and takes events for as long as the process lives: openclaw/openclaw#52844.
    Forgotten,
}

/// What becomes of the poll of Telegram's Bot API when the gateway takes no more messages, or closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TelegramClose {
    /// It is given up, and its task is waited for.
    #[default]
    Joined,
    /// It is forgotten, and polls for as long as the process lives; it and that of the next generation end each other,
    /// and what it is given nobody works on: OpenClaw 2026.2 and 2026.3 (openclaw/openclaw#31107, #56566, #69304).
    Forgotten,
}

/// Whose offset in Telegram's updates counts that an earlier life has kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TelegramOffset {
    /// That of the bot that polls.
    #[default]
    OfThisBot,
    /// Any: a bot that was changed and counts from less is deaf until it has caught up (openclaw/openclaw#80653).
    OfAnyBot,
}

/// When a platform's message is known, so that it is not taken again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArrivalMemory {
    /// When it is in the inbox, whose business that is.
    #[default]
    WhenTaken,
    /// When it arrives, in the memory of the process and for 20 minutes; so one that could not be taken, and comes again,
    /// counts as done: `src/auto-reply/reply/inbound-dedupe.ts` of OpenClaw 2026.3 to 2026.9 (openclaw/openclaw#139341, #51950).
    AtArrival,
}
