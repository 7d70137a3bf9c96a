//! The transcript of one conversation: JSONL, a header and then entries, only ever appended to.
//!
//! Entries name the run they belong to, so that a reply or notice can be recognised after a crash and is never
//! written twice. Every turn looks at the whole conversation; what stood there at the last look is compared, and only
//! what is new is read.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::files::{Reading, json_line, json_lines};
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "message", rename_all = "camelCase")]
pub(crate) struct TranscriptEntry {
    pub(crate) role: Role,
    pub(crate) text: String,
    pub(crate) run_id: String,
    /// The other runs that it is about as well, when it ends several at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) with: Vec<String>,
    /// Milliseconds since the epoch.
    #[serde(rename = "at")]
    pub(crate) at_ms: u64,
    /// What [`Role::ToolCalls`] asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) calls: Vec<ToolCall>,
    /// Which call a [`Role::ToolResult`] answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) call_id: Option<String>,
}

/// The entries of a conversation, oldest first; shared with whoever looked at it before.
pub(crate) type TranscriptEntries = Vec<Rc<TranscriptEntry>>;

impl TranscriptEntry {
    /// An entry about runs, at least one, of which the first gives it its name.
    pub(crate) fn new(role: Role, text: &str, run_ids: &[&str], at: WallTime) -> Self {
        let (run_id, with) = run_ids.split_first().expect("an entry is about a run");
        let with = with.iter().map(ToString::to_string).collect();
        let (text, run_id) = (text.to_string(), run_id.to_string());
        Self { role, text, run_id, with, at_ms: at.epoch_ms(), calls: Vec::new(), call_id: None }
    }

    /// Every run that it is about.
    pub(crate) fn run_ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.run_id).chain(&self.with).map(String::as_str)
    }
}

/// How a message ended, with the text that its sender reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Reply(String),
    Notice(String),
}

/// How a message ended, and together with which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) outcome: Outcome,
    /// The first of the runs that ended together, by whose name it goes out.
    pub(crate) lead: String,
}

/// The first line of a transcript.
#[derive(Serialize)]
#[serde(tag = "type", rename = "session", rename_all = "camelCase")]
struct Header<'a> {
    version: u32,
    /// The conversation it belongs to, from which a lost store is rebuilt. Older files do not say.
    session_key: &'a str,
}

/// A line, read.
#[derive(Deserialize)]
#[serde(try_from = "AnyLine")]
enum Line {
    Session { session_key: Option<String> },
    Message(Rc<TranscriptEntry>),
}

/// A [`Line`] as it is read: with the fields of every kind side by side. Told apart by its tag, which may come last, a
/// line would have to be kept whole before it is understood.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyLine {
    r#type: Kind,
    version: Option<u32>,
    session_key: Option<String>,
    role: Option<Role>,
    text: Option<String>,
    run_id: Option<String>,
    #[serde(default)]
    with: Vec<String>,
    at: Option<u64>,
    #[serde(default)]
    calls: Vec<ToolCall>,
    call_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Session,
    Message,
}

impl TryFrom<AnyLine> for Line {
    type Error = &'static str;

    fn try_from(line: AnyLine) -> Result<Self, Self::Error> {
        Ok(match line.r#type {
            Kind::Session => {
                line.version.ok_or("missing field `version`")?;
                Self::Session { session_key: line.session_key }
            }
            Kind::Message => Self::Message(Rc::new(TranscriptEntry {
                role: line.role.ok_or("missing field `role`")?,
                text: line.text.ok_or("missing field `text`")?,
                run_id: line.run_id.ok_or("missing field `runId`")?,
                with: line.with,
                at_ms: line.at.ok_or("missing field `at`")?,
                calls: line.calls,
                call_id: line.call_id,
            })),
        })
    }
}

/// What was read of the transcripts that were used last.
#[derive(Clone, Default)]
pub(super) struct Readings(Rc<RefCell<Vec<KnownFile>>>);

struct KnownFile {
    path: PathBuf,
    reading: Reading<Line>,
}

impl Readings {
    /// Of how many transcripts.
    const KEPT: usize = 16;

    /// What is known of a file.
    fn take(&self, path: &Path) -> Reading<Line> {
        let mut kept = self.0.borrow_mut();
        // As it is spelled: paths are compared part by part.
        let found = kept.iter().rposition(|known| known.path.as_os_str() == path.as_os_str());
        found.map(|place| kept.remove(place).reading).unwrap_or_default()
    }

    fn keep(&self, path: &Path, reading: Reading<Line>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() == Self::KEPT {
            kept.remove(0);
        }
        kept.push(KnownFile { path: path.to_path_buf(), reading });
    }
}

/// One transcript file.
pub(crate) struct Transcript {
    files: StateFiles,
    readings: Readings,
    path: PathBuf,
    session_key: String,
}

/// The conversation that the transcript in `path` says it belongs to, if it says so.
pub(super) fn session_key_of(files: &StateFiles, path: &Path) -> Result<Option<String>, StateError> {
    let Some(bytes) = files.read(path)? else { return Ok(None) };
    let header = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    match serde_json::from_slice(header) {
        Ok(Line::Session { session_key, .. }) => Ok(session_key),
        Ok(Line::Message(_)) | Err(_) => Ok(None),
    }
}

impl Transcript {
    /// The transcript of the conversation `session_key`, in `path`.
    pub(super) fn new(files: StateFiles, readings: Readings, path: PathBuf, session_key: String) -> Self {
        Self { files, readings, path, session_key }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every entry, oldest first. A torn last line is repaired on disk.
    pub(crate) fn entries(&self) -> Result<TranscriptEntries, StateError> {
        let mut reading = self.readings.take(&self.path);
        self.files.read_on(&self.path, &mut reading)?;
        // To be read it need not be durable: a conversation is shown even while the disk refuses every sync.
        let _ = self.files.settle(&self.path);
        let entry = |line: &Line| match line {
            Line::Session { .. } => None,
            Line::Message(entry) => Some(entry.clone()),
        };
        let entries = reading.records().iter().filter_map(entry).collect();
        self.readings.keep(&self.path, reading);
        Ok(entries)
    }

    /// Appends an entry durably, and returns it.
    pub(crate) fn append(
        &self,
        role: Role,
        text: &str,
        run_id: &str,
        at: WallTime,
    ) -> Result<Rc<TranscriptEntry>, StateError> {
        self.append_for(role, text, &[run_id], at)
    }

    /// Appends what the model wants done before it answers, durably and before any of it is done; `text` is what it
    /// said beside that.
    pub(crate) fn append_calls(
        &self,
        text: &str,
        calls: Vec<ToolCall>,
        run_id: &str,
        at: WallTime,
    ) -> Result<Rc<TranscriptEntry>, StateError> {
        let entry = TranscriptEntry::new(Role::ToolCalls, text, &[run_id], at);
        self.append_one(TranscriptEntry { calls, ..entry })
    }

    /// Appends what came of one use of a tool, durably.
    pub(crate) fn append_result(
        &self,
        call_id: &str,
        text: &str,
        run_id: &str,
        at: WallTime,
    ) -> Result<Rc<TranscriptEntry>, StateError> {
        let call_id = Some(call_id.to_string());
        let entry = TranscriptEntry::new(Role::ToolResult, text, &[run_id], at);
        self.append_one(TranscriptEntry { call_id, ..entry })
    }

    /// As [`Self::append`], for an entry that ends several runs at once, the first of which gives it its name: one
    /// line, so that a crash leaves all of it or nothing.
    pub(crate) fn append_for(
        &self,
        role: Role,
        text: &str,
        run_ids: &[&str],
        at: WallTime,
    ) -> Result<Rc<TranscriptEntry>, StateError> {
        self.append_one(TranscriptEntry::new(role, text, run_ids, at))
    }

    fn append_one(&self, entry: TranscriptEntry) -> Result<Rc<TranscriptEntry>, StateError> {
        let entry = Rc::new(entry);
        self.append_all(std::slice::from_ref(&entry))?;
        Ok(entry)
    }

    /// Appends entries in their order, durably, with one wait for the disk.
    pub(crate) fn append_all(&self, entries: &[Rc<TranscriptEntry>]) -> Result<(), StateError> {
        if entries.is_empty() {
            return Ok(());
        }
        let lines = json_lines(entries.iter().map(|entry| &**entry));
        let header = || json_line(&Header { version: FORMAT_VERSION, session_key: &self.session_key });
        self.files.append_headed(&self.path, header, &lines)?;
        let mut reading = self.readings.take(&self.path);
        reading.follow(&lines, entries.iter().cloned().map(Line::Message));
        self.readings.keep(&self.path, reading);
        Ok(())
    }

    /// How the message of `run_id` ended, if it did. A reply wins: it is what the sender asked for. What this returns
    /// survives a power loss, so that the message may be settled.
    pub(crate) fn outcome(&self, run_id: &str) -> Result<Option<Outcome>, StateError> {
        Ok(self.recorded(run_id)?.map(|recorded| recorded.outcome))
    }

    /// As [`Self::outcome`], with the runs that ended together.
    pub(crate) fn recorded(&self, run_id: &str) -> Result<Option<Recorded>, StateError> {
        let entries = self.entries()?;
        self.files.settle(&self.path)?;
        let mut found = None;
        for entry in entries.into_iter().filter(|entry| entry.run_ids().any(|it| it == run_id)) {
            let recorded = |outcome| Recorded { outcome, lead: entry.run_id.clone() };
            match entry.role {
                Role::User | Role::ToolCalls | Role::ToolResult => {}
                Role::Assistant => return Ok(Some(recorded(Outcome::Reply(entry.text.clone())))),
                Role::Notice => found = found.or(Some(recorded(Outcome::Notice(entry.text.clone())))),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::test_env::{World, on_paused_time};
    use crate::policy::StateWrite;

    const FILE: &str = "/state/a.jsonl";

    fn texts(transcript: &Transcript) -> Vec<String> {
        let entries = transcript.entries().expect("it can be read");
        entries.iter().map(|entry| entry.text.clone()).collect()
    }

    #[test]
    fn what_others_write_is_seen_whatever_was_read_before() {
        on_paused_time(async {
            let world = World::default();
            let files = StateFiles::new(world.process(1).env, StateWrite::Durable);
            files.create_dir(Path::new("/state")).expect("it is new");
            let transcript = Transcript::new(files, Readings::default(), FILE.into(), "main".into());
            let say = |text: &str| {
                let at = WallTime::from_epoch_ms(1);
                transcript.append(Role::User, text, "r", at).expect("it is written");
            };
            say("one");
            assert_eq!(texts(&transcript), ["one"]);
            say("two");
            assert_eq!(texts(&transcript), ["one", "two"]);

            let written = world.text(FILE);
            let last = written.lines().last().expect("three lines");
            world.put(FILE, &format!("{written}{}\n", last.replace("two", "three")));
            assert_eq!(texts(&transcript), ["one", "two", "three"], "somebody else added a line");
            world.put(FILE, &written.replace("one", "uno"));
            assert_eq!(texts(&transcript), ["uno", "two"], "somebody else changed one and took one away");
            say("four");
            assert_eq!(texts(&transcript), ["uno", "two", "four"]);
            world.remove(FILE);
            assert_eq!(texts(&transcript), [""; 0]);
        });
    }
}
