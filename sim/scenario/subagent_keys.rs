//! The keys of steps that make the model ask for subagents.

use super::keys::Need::Default;
use super::keys::{Key, Shape, key};

/// As many as a conversation may have at work.
const MOST_SPAWNS: u64 = 5;

pub(super) const SPAWNS: Key = key(
    "spawns",
    Shape::Whole(0, MOST_SPAWNS),
    Default("0"),
    "How many subagents the model asks for before it answers each of these messages",
);

pub(super) const CHILD_TAKES: Key = key(
    "child-takes",
    Shape::Range,
    Default("5s"),
    "With `spawns`: how long it takes the model to begin its answer to each subagent; drawn once",
);
