//! What the model provider is asked: which messages, scheduled run or subagent a request is about.
//!
//! Read from the prompt alone, by the marks in what the user said.

use gateway::env::WallTime;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::actors::frames::Content;
use crate::actors::lenient::Lenient;
use crate::timeline::{ANNOUNCEMENT_PREFIX, MessageId, SubagentId};

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The messages that are to be answered together, at least one.
    Messages(Vec<MessageId>),
    /// A run that the gateway schedules itself, by its job and its time in milliseconds of the wall clock.
    Scheduled {
        job: String,
        slot_ms: u64,
    },
    /// The task of a subagent.
    Subagent(SubagentId),
    /// What came of a subagent, and whether that is a result.
    Announcement {
        of: SubagentId,
        is_done: bool,
    },
    Nothing,
}

/// The job and the time of a scheduled run, whose message begins with them: `[cron:report 2026-03-02T00:05:00.000Z]`.
fn scheduled(text: &str) -> Option<(String, u64)> {
    let (job, slot) = text.strip_prefix("[cron:")?.split_once(']')?.0.split_once(' ')?;
    Some((job.to_owned(), WallTime::parse(slot)?.epoch_ms()))
}

/// A request, with the messages of the prompt as text: only the last ones are looked at.
#[derive(Deserialize)]
pub(super) struct Asked<'a> {
    pub(super) stream: Option<bool>,
    #[serde(borrow, default)]
    pub(super) messages: Vec<&'a RawValue>,
}

/// A message of the prompt.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    role: Lenient<String>,
    #[serde(default)]
    content: Lenient<Content>,
    #[serde(default, rename = "tool_calls", deserialize_with = "is_there")]
    wants_tools: bool,
}

impl Said {
    fn into_text(self) -> String {
        self.content.0.map(Content::into_text).unwrap_or_default()
    }
}

fn is_there<'de, D: Deserializer<'de>>(whatever: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(whatever).map(|_| true)
}

impl Asked<'_> {
    /// What the user said since the last answer, in that order. A model that wanted tools has not answered yet.
    pub(super) fn said_since_the_answer(&self) -> Vec<String> {
        let said =
            self.messages.iter().rev().filter_map(|said| serde_json::from_str::<Said>(said.get()).ok());
        let is_answer = |said: &Said| said.role.text() == Some("assistant") && !said.wants_tools;
        let open = said.skip_while(is_answer).take_while(|said| !is_answer(said));
        let mut texts: Vec<String> =
            open.filter(|said| said.role.text() == Some("user")).map(Said::into_text).collect();
        texts.reverse();
        texts
    }
}

/// What a request is about: what the last user message says at its beginning, or the marks in all that are not answered.
pub(super) fn about(texts: &[String]) -> About {
    let last = texts.last().map(String::as_str).unwrap_or_default();
    if let Some((job, slot_ms)) = scheduled(last) {
        return About::Scheduled { job, slot_ms };
    }
    let subagent = SubagentId::marked_in(last).into_iter().next();
    // What stands before it in a line is quoted.
    let lines = texts.iter().flat_map(|text| text.lines());
    let mut marked: Vec<MessageId> = lines.filter_map(|line| MessageId::marked_in(line).pop()).collect();
    marked.sort();
    marked.dedup();
    match (subagent, last.strip_prefix(ANNOUNCEMENT_PREFIX)) {
        (Some(of), Some(said)) => {
            let is_done = said.split_once(']').is_some_and(|(head, _)| head.ends_with(" done"));
            About::Announcement { of, is_done }
        }
        (Some(subagent), None) => About::Subagent(subagent),
        (None, _) if marked.is_empty() => About::Nothing,
        (None, _) => About::Messages(marked),
    }
}
