//! The transcript of one conversation: JSONL, a header and then entries, only ever appended to.
//!
//! Entries name the run they belong to, so that a reply or notice can be recognised after a crash and is never
//! written twice.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::json_line;
use super::{StateError, StateFiles};
use crate::env::WallTime;

const FORMAT_VERSION: u32 = 1;

/// Who an entry is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// The sender.
    User,
    /// The model.
    Assistant,
    /// The model, which wants tools to be used before it answers.
    ToolCalls,
    /// What came of the use of a tool.
    ToolResult,
    /// The gateway itself, about what happened to a message.
    Notice,
}

impl Role {
    /// The role's name in `chat.history`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::ToolCalls => "tool-calls",
            Self::ToolResult => "tool-result",
            Self::Notice => "notice",
        }
    }
}

/// One use of a tool that the model asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToolCall {
    /// The model's name for this use, by which the result is given back.
    pub(crate) id: String,
    /// The tool.
    pub(crate) name: String,
    /// A JSON object, as text.
    pub(crate) arguments: String,
}

/// One entry of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TranscriptEntry {
    pub(crate) role: Role,
    pub(crate) text: String,
    pub(crate) run_id: String,
    /// Milliseconds since the epoch.
    pub(crate) at_ms: u64,
    /// What [`Role::ToolCalls`] asks for.
    pub(crate) calls: Vec<ToolCall>,
    /// Which call a [`Role::ToolResult`] answers.
    pub(crate) call_id: Option<String>,
}

/// How a message ended, with the text that its sender reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Reply(String),
    Notice(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Line {
    Session {
        version: u32,
        /// The conversation it belongs to, from which a lost store is rebuilt. Older files do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_key: Option<String>,
    },
    Message {
        role: Role,
        text: String,
        run_id: String,
        at: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        call_id: Option<String>,
    },
}

/// One transcript file.
pub(crate) struct Transcript {
    files: StateFiles,
    path: PathBuf,
    session_key: String,
}

/// The conversation that the transcript in `path` says it belongs to, if it says so.
pub(super) fn session_key_of(files: &StateFiles, path: &Path) -> Result<Option<String>, StateError> {
    let Some(bytes) = files.read(path)? else { return Ok(None) };
    let header = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    match serde_json::from_slice(header) {
        Ok(Line::Session { session_key, .. }) => Ok(session_key),
        Ok(Line::Message { .. }) | Err(_) => Ok(None),
    }
}

impl Transcript {
    /// The transcript of the conversation `session_key`, in `path`.
    pub(crate) fn new(files: StateFiles, path: PathBuf, session_key: String) -> Self {
        Self { files, path, session_key }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every entry, oldest first. A torn last line is repaired on disk.
    pub(crate) fn entries(&self) -> Result<Vec<TranscriptEntry>, StateError> {
        let lines: Vec<Line> = self.files.read_records_as_they_are(&self.path)?;
        // To be read it need not be durable: a conversation is shown even while the disk refuses every sync.
        let _ = self.files.settle(&self.path);
        let entry = |line| match line {
            Line::Session { .. } => None,
            Line::Message { role, text, run_id, at: at_ms, calls, call_id } => {
                Some(TranscriptEntry { role, text, run_id, at_ms, calls, call_id })
            }
        };
        Ok(lines.into_iter().filter_map(entry).collect())
    }

    /// Appends an entry durably, and returns it.
    pub(crate) fn append(
        &self,
        role: Role,
        text: &str,
        run_id: &str,
        at: WallTime,
    ) -> Result<TranscriptEntry, StateError> {
        let (text, run_id, at_ms) = (text.to_string(), run_id.to_string(), at.epoch_ms());
        self.write(TranscriptEntry { role, text, run_id, at_ms, calls: Vec::new(), call_id: None })
    }

    /// Appends what the model wants done before it answers, durably and before any of it is done; `text` is what it
    /// said beside that.
    pub(crate) fn append_calls(
        &self,
        text: &str,
        calls: Vec<ToolCall>,
        run_id: &str,
        at: WallTime,
    ) -> Result<TranscriptEntry, StateError> {
        let (text, run_id, at_ms) = (text.to_string(), run_id.to_string(), at.epoch_ms());
        self.write(TranscriptEntry { role: Role::ToolCalls, text, run_id, at_ms, calls, call_id: None })
    }

    /// Appends what came of one use of a tool, durably.
    pub(crate) fn append_result(
        &self,
        call_id: &str,
        text: &str,
        run_id: &str,
        at: WallTime,
    ) -> Result<TranscriptEntry, StateError> {
        let (text, run_id, at_ms) = (text.to_string(), run_id.to_string(), at.epoch_ms());
        let call_id = Some(call_id.to_string());
        self.write(TranscriptEntry {
            role: Role::ToolResult,
            text,
            run_id,
            at_ms,
            calls: Vec::new(),
            call_id,
        })
    }

    fn write(&self, entry: TranscriptEntry) -> Result<TranscriptEntry, StateError> {
        let TranscriptEntry { role, text, run_id, at_ms: at, calls, call_id } = entry.clone();
        let message = Line::Message { role, text, run_id, at, calls, call_id };
        let header =
            || Line::Session { version: FORMAT_VERSION, session_key: Some(self.session_key.clone()) };
        self.files.append_headed(&self.path, || json_line(&header()), &json_line(&message))?;
        Ok(entry)
    }

    /// Appends an entry unless the run has one of this role.
    pub(crate) fn append_once(
        &self,
        role: Role,
        text: &str,
        run_id: &str,
        at: WallTime,
    ) -> Result<(), StateError> {
        let is_it = |entry: &TranscriptEntry| entry.role == role && entry.run_id == run_id;
        if !self.entries()?.iter().any(is_it) {
            self.append(role, text, run_id, at)?;
        }
        Ok(())
    }

    /// How the message of `run_id` ended, if it did. A reply wins: it is what the sender asked for. What this returns
    /// survives a power loss, so that the message may be settled.
    pub(crate) fn outcome(&self, run_id: &str) -> Result<Option<Outcome>, StateError> {
        let entries = self.entries()?;
        self.files.settle(&self.path)?;
        let mut outcome = None;
        for entry in entries.into_iter().filter(|entry| entry.run_id == run_id) {
            match entry.role {
                Role::User | Role::ToolCalls | Role::ToolResult => {}
                Role::Assistant => return Ok(Some(Outcome::Reply(entry.text))),
                Role::Notice => outcome = outcome.or(Some(Outcome::Notice(entry.text))),
            }
        }
        Ok(outcome)
    }
}
