//! The keys and verbs of the chat platforms: a part of `keys`.

use super::Choice;
use super::keys::Need::{Default, Optional, Required};
use super::keys::{Key, Shape, VerbKeys, key, verb};
use crate::actors::platform::{Block, Outage};
use crate::timeline::Platform;

/// The most sends that a key can count.
const MANY: u64 = 1_000_000;

/// The bot of senders that name none.
pub(super) const DEFAULT_ACCOUNT: &str = "main";

pub(super) const SENDER_ACCOUNT: Key = key(
    "account",
    Shape::Text,
    Default(DEFAULT_ACCOUNT),
    "On a platform: the bot it writes to. The gateway's configuration has every bot that somebody writes to",
);

const LATENCY: Key = key(
    "latency",
    Shape::Range,
    Default("20ms..80ms"),
    "From a request to its answer, half before a message is taken and half after, and from an event to its push; drawn \
     for each",
);

pub(super) const PLATFORMS: &[Key] = &[
    key("telegram", Shape::Table(TELEGRAM), Optional, "The platform that the gateway polls"),
    key("feishu", Shape::Table(FEISHU), Optional, "The platform that pushes events"),
];

pub(super) const TELEGRAM: &[Key] = &[LATENCY];

pub(super) const FEISHU: &[Key] = &[
    LATENCY,
    key(
        "redeliver-after",
        Shape::Range,
        Default("15s"),
        "So long after a push, an event that nobody acknowledged is pushed again; drawn for each. After a reconnect it \
         is at once",
    ),
    key(
        "new-ids",
        Shape::Whole(0, 100),
        Default("0"),
        "So many of a hundred redelivered events come under a new event id and a new message id",
    ),
];

const PLATFORM: Key = key("platform", Shape::Choice(Platform::meanings), Required, "Which platform");

const fn lasting(doc: &'static str) -> Key {
    key("for", Shape::Range, Required, doc)
}

pub(super) const PLATFORM_DOWN: VerbKeys = verb(
    "platform-down",
    &[
        PLATFORM,
        key("how", Shape::Choice(Outage::meanings), Default("refuses"), "In which way it is not there"),
        lasting("How long"),
    ],
    "A platform is not there for a while. What users write waits",
);

pub(super) const PLATFORM_SLOW: VerbKeys = verb(
    "platform-slow",
    &[
        PLATFORM,
        key("by", Shape::Duration, Required, "How much longer everything takes"),
        lasting("How long it is slow"),
    ],
    "A platform takes longer for every request, and for every push",
);

pub(super) const PLATFORM_LIMITS: VerbKeys = verb(
    "platform-limits",
    &[
        PLATFORM,
        key("retry-after", Shape::Duration, Default("5s"), "What it tells the bot to wait; telegram only"),
        lasting("How long"),
    ],
    "A platform takes no messages of bots for a while: status 429",
);

pub(super) const PLATFORM_BLOCKS: VerbKeys = verb(
    "platform-blocks",
    &[
        key("sender", Shape::Sender, Required, "The user, who talks on a platform"),
        key("how", Shape::Choice(Block::meanings), Default("blocked"), "Why"),
        key("for", Shape::Range, Optional, "How long; without it, until the end of the run"),
    ],
    "A platform refuses what its bot sends to a user, for good as far as the bot can tell",
);

pub(super) const PLATFORM_CUTS_LINE: VerbKeys = verb(
    "platform-cuts-line",
    &[
        PLATFORM,
        key("from-send", Shape::WholeRange(1, MANY), Default("1"), "The first send that counts, from 1 on"),
        key("sends", Shape::Whole(1, MANY), Default("1"), "How many sends"),
    ],
    "A platform takes a bot's message and resets the line before the answer: the bot cannot know that it was taken. When \
     no send comes, the run is inconclusive",
);

pub(super) const PLATFORM_TAKES_ITS_TIME: VerbKeys = verb(
    "platform-acknowledges-late",
    &[
        PLATFORM,
        key("by", Shape::Duration, Required, "How long after it came an acknowledgement counts"),
        lasting("How long it is like that"),
    ],
    "What the gateway confirms counts only after a while, so that the platform hands it out again",
);
