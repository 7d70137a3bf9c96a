//! Subagents, as they are seen from outside: by the model, which wants them and does their work, by the sender, who hears
//! what came of it, and by whoever looks into the gateway's books.
//!
//! A subagent is known by its mark, `[ann#1/2]`: the second that the model wanted for the first message of `ann`. The
//! mark goes wherever its task and its result go, and is no message's.

use std::fmt;
use std::time::Duration;

use super::words::{cut, quoted};
use super::{Fact, MessageId, Via};

/// How the text of an announcement begins that a gateway puts before the model.
pub(crate) const ANNOUNCEMENT_PREFIX: &str = "[subagent:";
/// How the ids of runs begin that are subagents', or about them.
pub(crate) const SUBAGENT_RUN: &str = "subagent:";

/// A subagent, as the model counts those of a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubagentId {
    /// The message for which the model wanted it.
    pub message: MessageId,
    /// Counting from 1.
    pub number: u32,
}

impl fmt::Display for SubagentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.message, self.number)
    }
}

impl SubagentId {
    /// The mark that its task and its result carry: `[ann#1/2]`.
    pub fn mark(&self) -> String {
        format!("[{self}]")
    }

    /// The subagent that is called `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let (message, number) = name.rsplit_once('/')?;
        let message = MessageId::marked_in(&format!("[{message}]")).pop()?;
        Some(Self { message, number: number.parse().ok()? })
    }

    /// Every subagent marked in `text`, in order.
    pub fn marked_in(text: &str) -> Vec<Self> {
        let ends = text.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
        ends.filter_map(|(name, _)| Self::named(name)).collect()
    }
}

/// What a message asks of the model, beside an answer; and what the model asks of a subagent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errand {
    /// How many subagents.
    pub(crate) spawns: u32,
    /// How long each takes.
    pub(crate) takes: Duration,
}

impl Errand {
    /// As a message's text carries it: `[spawn 2 5000ms]`.
    pub(crate) fn mark(self) -> String {
        format!("[spawn {} {}ms]", self.spawns, self.takes.as_millis())
    }

    /// The errand of a text, if it has one.
    pub(crate) fn in_text(text: &str) -> Option<Self> {
        let (spawns, takes) = text.split_once("[spawn ")?.1.split_once("ms]")?.0.split_once(' ')?;
        Some(Self { spawns: spawns.parse().ok()?, takes: Duration::from_millis(takes.parse().ok()?) })
    }

    /// What each of its subagents is to do.
    pub(crate) fn task(self, subagent: &SubagentId) -> String {
        format!("a part of it {} [takes {}ms]", subagent.mark(), self.takes.as_millis())
    }

    /// How long the task in `text` takes.
    pub(crate) fn time_of_task(text: &str) -> Option<Duration> {
        let ms = text.split_once("[takes ")?.1.split_once("ms]")?.0;
        ms.parse().ok().map(Duration::from_millis)
    }
}

/// What was seen of a subagent. Requests are counted by the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "fields are named for what they hold")]
pub enum SubagentSeen {
    /// The model asked for it.
    Wanted,
    /// The model was told that it is at work.
    Begun,
    /// The model was told that there will be none; `why` in words.
    Refused { why: String },
    /// The model received its task.
    Requested { request: u32 },
    /// The model finished its task.
    Answered { request: u32 },
    /// The model did not finish its task; `how` in words.
    Stopped { request: u32, how: String },
    /// The model received what came of it, to tell the sender.
    AnnouncementRequested { request: u32 },
    /// The model finished the words for the sender.
    AnnouncementAnswered { request: u32 },
    /// The model did not finish them; `how` in words.
    AnnouncementStopped { request: u32, how: String },
    /// Its sender heard what came of it: by a reply, or by a notice where `notice`.
    Heard { text: String, notice: bool, via: Via },
}

impl SubagentSeen {
    /// The fact's name; see [`Fact::name`].
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Wanted => "subagent.wanted",
            Self::Begun => "subagent.begun",
            Self::Refused { .. } => "subagent.refused",
            Self::Requested { .. } => "subagent.requested",
            Self::Answered { .. } => "subagent.answered",
            Self::Stopped { .. } => "subagent.stopped",
            Self::AnnouncementRequested { .. } => "announcement.requested",
            Self::AnnouncementAnswered { .. } => "announcement.answered",
            Self::AnnouncementStopped { .. } => "announcement.stopped",
            Self::Heard { .. } => "subagent.heard",
        }
    }

    /// In words, for a column of the timeline.
    pub(crate) fn words(&self, subagent: &SubagentId) -> String {
        match self {
            Self::Wanted => format!("wants {subagent}"),
            Self::Begun => format!("{subagent} is at work"),
            Self::Refused { why } => format!("{subagent} refused: {}", cut(why, 40)),
            Self::Requested { .. } => format!("<- {subagent}"),
            Self::Answered { .. } => format!("-> {subagent}"),
            Self::Stopped { how, .. } => format!("{subagent} broke off: {how}"),
            Self::AnnouncementRequested { .. } => format!("<- about {subagent}"),
            Self::AnnouncementAnswered { .. } => format!("-> about {subagent}"),
            Self::AnnouncementStopped { how, .. } => format!("about {subagent} broke off: {how}"),
            Self::Heard { text, notice, via } => {
                let (arrow, word) = (via.arrow(), if *notice { "notice about" } else { "about" });
                format!("{arrow} {word} {subagent} {}", quoted(&cut(text, 20)))
            }
        }
    }
}

/// What a text that reached `sender` says of subagents of its messages.
pub(crate) fn heard(sender: &str, text: &str, notice: bool, via: Via) -> Option<Fact> {
    let subagent = SubagentId::marked_in(text).into_iter().next()?;
    let is_its_own = subagent.message.sender == sender;
    let seen = SubagentSeen::Heard { text: text.to_owned(), notice, via };
    is_its_own.then_some(Fact::Subagent { subagent, seen })
}

/// One row of the gateway's books of subagents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubagentRow {
    /// The run that works on it.
    pub run: String,
    /// By the mark in its task.
    pub subagent: Option<SubagentId>,
    /// The life that works on it, in the gateway's word.
    pub generation: String,
    /// Where its work stands, in the gateway's word: `running`, `interrupted`, `ended`.
    pub status: String,
    /// Whether its sender has heard of it, in the gateway's word: `pending`, `made`, `not-wanted`.
    pub announcement: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subagent() -> SubagentId {
        SubagentId { message: MessageId { sender: "ann".into(), number: 1 }, number: 2 }
    }

    #[test]
    fn a_mark_names_its_subagent_and_no_message() {
        assert_eq!(subagent().mark(), "[ann#1/2]");
        assert_eq!(SubagentId::marked_in("x [ann#1] [ann#1/2] [a/b] [ann#1/2"), [subagent()]);
        assert_eq!(MessageId::marked_in("Re [ann#1/2]: yes"), []);
        assert_eq!(SubagentId::named("ann#1/2"), Some(subagent()));
    }

    #[test]
    fn an_errand_is_read_as_it_is_written() {
        let errand = Errand { spawns: 2, takes: Duration::from_secs(5) };
        assert_eq!(Errand::in_text(&format!("go {} [ann#1]", errand.mark())), Some(errand));
        let task = errand.task(&subagent());
        assert_eq!(Errand::time_of_task(&task), Some(errand.takes));
        assert_eq!(SubagentId::marked_in(&task), [subagent()]);
        assert_eq!(Errand::in_text("hello"), None);
    }

    #[test]
    fn only_the_senders_own_subagents_tell_it_something() {
        assert!(heard("ann", "Re [ann#1/2]: yes", false, Via::Live).is_some());
        assert!(heard("bob", "Re [ann#1/2]: yes", false, Via::Live).is_none());
        assert!(heard("ann", "Re [ann#1]: yes", false, Via::Live).is_none());
    }
}
