//! Troubles of chat platforms.

use toml::Value;

use super::{Trouble, anchored, doing, one};
use crate::search::explore::cast::{Cast, one_of};
use crate::search::explore::dice::{Die, written};

/// A step about one of the platforms on which somebody talks.
fn about(cast: &Cast, die: &Die, verb: &str, entries: &[(&str, Value)]) -> Option<Trouble> {
    let mut step = doing(verb, &[("platform", one_of(&cast.platforms, die)?.into())]);
    for (key, value) in entries {
        step.insert((*key).into(), value.clone());
    }
    one(step)
}

pub(super) fn down(cast: &Cast, die: &Die) -> Option<Trouble> {
    let how = *die.pick(&["refuses", "fails"]);
    about(cast, die, "platform-down", &[("how", how.into()), ("for", lasting(die).into())])
}

pub(super) fn slow(cast: &Cast, die: &Die) -> Option<Trouble> {
    let entries = [("by", die.time(100, 10_000).into()), ("for", die.time(1_000, 60_000).into())];
    about(cast, die, "platform-slow", &entries)
}

pub(super) fn limits(cast: &Cast, die: &Die) -> Option<Trouble> {
    about(cast, die, "platform-limits", &[("for", lasting(die).into())])
}

/// A moment, or long enough for a conversation.
fn lasting(die: &Die) -> String {
    if die.chance(50) { die.time(100, 120_000) } else { die.instant(10_000, 90_000) }
}

/// For good: what a bot cannot know is whether a user comes back.
pub(super) fn blocks(cast: &Cast, die: &Die) -> Option<Trouble> {
    let how = *die.pick(&["blocked", "chat-gone"]);
    let sender = one_of(&cast.on_platforms, die)?;
    one(doing("platform-blocks", &[("sender", sender.into()), ("how", how.into())]))
}

pub(super) fn cuts_line(cast: &Cast, die: &Die) -> Option<Trouble> {
    about(cast, die, "platform-cuts-line", &[("sends", (die.between(1, 2) as i64).into())])
}

pub(super) fn acknowledges_late(cast: &Cast, die: &Die) -> Option<Trouble> {
    let entries = [("by", die.instant(5_000, 150_000).into()), ("for", die.instant(20_000, 400_000).into())];
    about(cast, die, "platform-acknowledges-late", &entries)
}

/// The gateway dies when a message has just come from a platform, or a text is about to go there.
pub(super) fn crash_on_the_road(cast: &Cast, die: &Die) -> Option<Trouble> {
    if cast.on_platforms.is_empty() || !cast.is_revived {
        return None;
    }
    let crash = |file: &str, moment: &str| {
        doing("crash-at", &[("file", file.into()), ("operation", "append".into()), ("moment", moment.into())])
    };
    let (event, mut step) = match die.between(0, 2) {
        0 => ("message.accepted", doing("kill", &[])),
        1 => ("update.handed-out", crash("inbox.jsonl", "before")),
        _ => ("outbox.queued", crash("outbox.jsonl", "after")),
    };
    if event == "message.accepted" {
        step.insert("after".into(), written(die.between(0, 2)).into());
    }
    one(anchored(event, die.between(1, 3), step))
}
