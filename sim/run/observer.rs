//! The observer of the disk: what anybody who looks into the state directory would find.
//!
//! It knows five files of the gateway's (`sessions.json`, which must parse, the journals of scheduled runs, of accepted
//! messages and of texts for platforms, and the books of subagents), that lock files end in `.lock`, and that a notice
//! says it is one; otherwise only that messages carry marks: whatever format the gateway keeps them in, their text is
//! somewhere.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::stage::{GATEWAY_MACHINE, STATE_DIR, Stage};
use crate::actors::REPLY_PREFIX;
use crate::timeline::{
    CronRecord, Fact, GATEWAY_PROGRAM, MessageId, STORE_FILE, Source, StateSeen, SubagentId, SubagentRow,
};

const CRON_JOURNAL: &str = "cron/runs.jsonl";
const SUBAGENT_BOOKS: &str = "subagents/runs.json";
const INBOX: &str = "inbox.jsonl";
const OUTBOX: &str = "outbox.jsonl";
const LOCK: &str = ".lock";
/// What a session's entry in the store says while somebody works there.
const RUNNING: &str = "running";
/// How a line of the journal of accepted messages begins that makes none of them open or settled.
const BEGUN: &str = "{\"type\":\"started\",";
/// What stands in a line that is a notice to a sender.
const NOTICE_ROLE: &str = "\"notice\"";

/// Looks at the state directory each time a gateway process has died.
pub(super) fn watch(stage: &Stage) {
    let stage = stage.clone();
    let recorder = stage.world.recorder().clone();
    stage.world.clone().spawn(async move {
        let is_death =
            |fact: &Fact| matches!(fact, Fact::ProcessExited { program, .. } if program == GATEWAY_PROGRAM);
        // The wait ends with the world.
        while recorder.nth_event(1, move |event| is_death(&event.fact)).await.is_ok() {
            observe(&stage);
        }
    });
}

/// Looks at the state directory now.
pub(super) fn observe(stage: &Stage) {
    let disk = stage.disk();
    let mut seen = StateSeen::default();
    disk.visit_under(Path::new(STATE_DIR), |path, file| {
        let inside = path.to_string_lossy();
        let marks = file.live.map(|bytes| look_into(&mut seen, &inside, bytes)).unwrap_or_default();
        if let Some(durable) = file.durable {
            // Most of it is what processes see, too, and has been looked at.
            let known = (file.live == Some(durable)).then_some(&marks);
            seen.kept.extend(kept(&inside, durable, known));
        }
        seen.mentioned.extend(marks.mentioned);
        seen.answered.extend(marks.answered);
        seen.noticed.extend(marks.noticed);
    });
    stage.world.recorder().record(Source::Machine(GATEWAY_MACHINE.to_string()), Fact::State(Box::new(seen)));
}

/// Notes what processes find in the file of that name inside the state directory. Gives the marks in it.
fn look_into(seen: &mut StateSeen, inside: &str, bytes: &[u8]) -> Marks {
    if is_named(inside, STORE_FILE) {
        let parsed = serde_json::from_slice::<serde_json::Map<String, Value>>(bytes);
        seen.store = Some(parsed.map_err(|error| error.to_string()).map(|sessions| {
            let is_running =
                |session: &&(String, Value)| session.1.get("status").and_then(Value::as_str) == Some(RUNNING);
            let sessions: Vec<_> = sessions.into_iter().collect();
            seen.running.extend(sessions.iter().filter(is_running).map(|(key, _)| key.clone()));
            seen.sessions.extend(sessions.into_iter().map(|(key, _)| key));
        }));
    }
    if inside.ends_with(LOCK) {
        seen.locks.insert(inside.to_owned());
    }
    let text = text_of(bytes);
    if is_named(inside, CRON_JOURNAL) {
        seen.cron.extend(text.lines().filter_map(cron_record));
    }
    if is_named(inside, SUBAGENT_BOOKS) {
        seen.subagents.extend(subagent_rows(&text));
    }
    Marks::of(&text)
}

/// Whether `name` is the end of the path `inside`.
fn is_named(inside: &str, name: &str) -> bool {
    inside.strip_suffix(name).is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
}

/// The lossy reading takes ten times as long, and is for files that something destroyed.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The messages whose marks stand in a file.
#[derive(Default)]
struct Marks {
    mentioned: Vec<MessageId>,
    answered: Vec<MessageId>,
    noticed: Vec<MessageId>,
}

impl Marks {
    /// Looks for marks and takes lines apart only where it finds one: most of a text has none.
    fn of(text: &str) -> Self {
        let mut found = Self::default();
        let (mut line_ends, mut line, mut is_notice) = (0, "", None);
        // A mark stands in one line.
        for (at, message) in MessageId::marks_in(text).filter(|(_, message)| !message.sender.contains('\n')) {
            let mut line_begins = line_ends - line.len();
            if at >= line_ends {
                line_begins = text[..at].rfind('\n').map_or(0, |end| end + 1);
                line_ends = text[at..].find('\n').map_or(text.len(), |len| at + len);
                (line, is_notice) = (&text[line_begins..line_ends], None);
            }
            if is_answered_at(&line[..at - line_begins]) {
                found.answered.push(message.clone());
            }
            if *is_notice.get_or_insert_with(|| line.contains(NOTICE_ROLE)) {
                found.noticed.push(message.clone());
            }
            found.mentioned.push(message);
        }
        found
    }
}

/// Whether what comes next is answered by a reply that begins here: a reply begins with the marks of all that it answers.
fn is_answered_at(mut before: &str) -> bool {
    // From the end, since a line may be long.
    while !before.ends_with(REPLY_PREFIX) {
        let mark = before.trim_end().strip_suffix(']').and_then(|rest| rest.rfind('['));
        let Some(open) = mark else { return false };
        before = &before[..open];
    }
    true
}

/// The messages of which the next start knows from this file for certain what it owes. `known`: the marks in it, if
/// somebody has looked already.
fn kept(inside: &str, durable: &[u8], known: Option<&Marks>) -> BTreeSet<MessageId> {
    if is_named(inside, INBOX) {
        return open_in_journal(&text_of(durable)).collect();
    }
    if is_named(inside, OUTBOX) {
        return unsent_in_journal(&text_of(durable)).collect();
    }
    let owed = |marks: &Marks| marks.answered.iter().chain(&marks.noticed).cloned().collect();
    known.map_or_else(|| owed(&Marks::of(&text_of(durable))), owed)
}

/// What a line of the journal of accepted messages says, as far as it is of interest here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JournalLine<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    run_id: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

/// The messages that were accepted and not settled since, by a journal of accepted messages.
fn open_in_journal(text: &str) -> impl Iterator<Item = MessageId> {
    let mut open: BTreeMap<Cow<'_, str>, Cow<'_, str>> = BTreeMap::new();
    for line in text.lines() {
        // A third of the lines, and reading one as JSON takes a while.
        if line.starts_with(BEGUN) {
            continue;
        }
        let Ok(JournalLine { kind, run_id, text }) = serde_json::from_str(line) else { continue };
        match &*kind {
            "accepted" => drop(open.insert(run_id, text)),
            "settled" | "tombstone" => drop(open.remove(&run_id)),
            _ => {}
        }
    }
    open.into_values().flat_map(|said| MessageId::marked_in(&said)).collect::<Vec<_>>().into_iter()
}

/// What a line of the journal of texts for platforms says, as far as it is of interest here.
#[derive(Deserialize)]
struct TextLine<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

/// The messages that are named in texts which no platform has yet, by a journal of these.
fn unsent_in_journal(text: &str) -> impl Iterator<Item = MessageId> {
    let mut unsent: BTreeMap<Cow<'_, str>, Cow<'_, str>> = BTreeMap::new();
    for line in text.lines() {
        let Ok(TextLine { kind, id, text }) = serde_json::from_str(line) else { continue };
        match &*kind {
            "queued" => drop(unsent.insert(id, text)),
            "sent" | "failed" | "tombstone" => drop(unsent.remove(&id)),
            _ => {}
        }
    }
    unsent.into_values().flat_map(|said| MessageId::marked_in(&said)).collect::<Vec<_>>().into_iter()
}

/// What the books of subagents say; nothing when they do not parse.
fn subagent_rows(text: &str) -> Vec<SubagentRow> {
    let book: Value = serde_json::from_str(text).unwrap_or_default();
    let rows = book.get("runs").and_then(Value::as_object).into_iter().flatten();
    let row = |(run, row): (&String, &Value)| {
        let text = |key| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        SubagentRow {
            run: run.clone(),
            subagent: SubagentId::marked_in(&text("task")).into_iter().next(),
            generation: text("generation"),
            status: text("status"),
            announcement: text("announcement"),
        }
    };
    rows.map(row).collect()
}

/// What a line of the journal says about a scheduled run; `None` when it is about something else, or torn.
fn cron_record(line: &str) -> Option<CronRecord> {
    let record: Value = serde_json::from_str(line).ok()?;
    let text = |key| record.get(key).and_then(Value::as_str);
    let number = |key| record.get(key).and_then(Value::as_u64);
    let status = match text("type")? {
        word @ ("started" | "interrupted" | "skipped") => word,
        "finished" | "remembered" => text("outcome")?,
        _ => return None,
    };
    let slot_ms = number("slot")?;
    let until_ms = number("until").unwrap_or(slot_ms);
    Some(CronRecord { job: text("job")?.to_owned(), slot_ms, until_ms, status: status.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(u64, u64, &str)>) {
        let expected = expected.map(|(slot_ms, until_ms, status)| CronRecord {
            job: "a".into(),
            slot_ms,
            until_ms,
            status: status.into(),
        });
        assert_eq!(cron_record(line), expected, "{line}");
    }

    #[test]
    fn who_was_accepted_and_not_settled_is_open() {
        let journal = [
            r#"{"type":"accepted","runId":"a","sessionKey":"s","text":"hello [ann#1]","at":1}"#,
            r#"{"type":"accepted","runId":"b","sessionKey":"s","text":"hello [ann#2]","at":2}"#,
            r#"{"type":"started","runId":"b"}"#,
            r#"{"type":"accepted","runId":"c","sessionKey":"s","text":"hello [ann#3]","at":3}"#,
            r#"{"type":"settled","runId":"a","how":"answered"}"#,
            r#"{"type":"accepted","runId":"d","sessionKey":"s","text":"hello [ann#4"#,
        ];
        let open: Vec<_> = open_in_journal(&journal.join("\n")).map(|message| message.to_string()).collect();
        assert_eq!(open, ["ann#2", "ann#3"]);
    }

    #[test]
    fn what_a_text_names_is_owed_until_a_platform_has_it() {
        let journal = [
            r#"{"type":"queued","id":"a","about":{},"chat":{},"text":"Stopped: \"hello [ann#1]\"","at":1}"#,
            r#"{"type":"queued","id":"b","about":{},"chat":{},"text":"Re [ann#2]: yes","at":2}"#,
            r#"{"type":"attempt","id":"a"}"#,
            r#"{"type":"attempt","id":"b"}"#,
            r#"{"type":"sent","id":"b","message":"7"}"#,
            r#"{"type":"queued","id":"c","about":{},"chat":{},"text":"hello [ann#3"#,
        ];
        let owed: Vec<_> =
            unsent_in_journal(&journal.join("\n")).map(|message| message.to_string()).collect();
        assert_eq!(owed, ["ann#1"]);
    }

    #[test]
    fn a_reply_answers_the_marks_that_it_begins_with() {
        let text = concat!(
            "{\"role\":\"user\",\"text\":\"hello [ann#1]\"}\n",
            "{\"text\":\"Re [ann#1] [ann#2]: as for [ann#3], yes\"}\n",
            "{\"role\":\"notice\",\"text\":\"of [ann#4]\"} [ann#5]",
        );
        let Marks { mentioned, answered, noticed } = Marks::of(text);
        let numbers = |found: Vec<MessageId>| found.iter().map(|id| id.number).collect::<Vec<_>>();
        assert_eq!(numbers(mentioned), [1, 1, 2, 3, 4, 5]);
        assert_eq!((numbers(answered), numbers(noticed)), (vec![1, 2], vec![4, 5]));
    }

    #[test]
    fn a_line_of_the_journal_is_one_record_of_a_run() {
        check(r#"{"type":"started","job":"a","slot":10,"attempt":1}"#, Some((10, 10, "started")));
        check(r#"{"type":"finished","job":"a","slot":10,"outcome":"ok"}"#, Some((10, 10, "ok")));
        check(r#"{"type":"skipped","job":"a","slot":10,"until":40,"count":4}"#, Some((10, 40, "skipped")));
        check(r#"{"type":"declared","job":"a","at":5}"#, None);
        check(r#"{"type":"finished","job":"a","slo"#, None);
    }
}
