//! Accidents of the disk: crashes inside an operation, operations that fail, locks and files left behind.

use toml::{Table, Value};

use super::{Trouble, anchored, doing, one};
use crate::search::explore::cast::{Cast, one_of};
use crate::search::explore::dice::Die;

/// The files on which everything depends, as patterns.
const FILES: [&str; 5] = ["inbox.jsonl", "sessions.json*", "sessions/*.jsonl", "sessions/*.jsonl", "*"];

/// Those of the world's parts, too.
fn files(cast: &Cast) -> Vec<&'static str> {
    let mut files = FILES.to_vec();
    if !cast.platforms.is_empty() {
        files.extend(["outbox.jsonl", "telegram/*", "inbox.jsonl*"]);
    }
    if cast.has_jobs {
        files.push("cron/*");
    }
    if cast.has_subagents {
        files.push("subagents/*");
    }
    files
}

pub(super) fn crash(cast: &Cast, die: &Die) -> Table {
    let all = files(cast);
    // What only some worlds have, or what all have.
    let special = &all[FILES.len()..];
    let file = match () {
        // A conversation is what people look at.
        () if !cast.on_webchat.is_empty() && die.chance(25) => "sessions/*.jsonl",
        () if special.is_empty() || die.chance(50) => *die.pick(&FILES),
        () => *die.pick(special),
    };
    let most = if file == "*" { 30 } else { die.between(1, 4) };
    let mut step = doing("crash-at", &[("from-call", (die.between(1, most) as i64).into())]);
    if file != "*" {
        step.insert("file".into(), Value::from(file));
    }
    if file.ends_with("jsonl") && die.chance(60) {
        step.insert("operation".into(), Value::from("append"));
        step.insert("torn".into(), Value::from(die.between(1, 60) as i64));
    } else if die.chance(50) {
        step.insert("moment".into(), Value::from("after"));
    }
    if die.chance(25) {
        step.insert("death".into(), Value::from("power-loss"));
    }
    step
}

pub(super) fn disk_fault(cast: &Cast, die: &Die) -> Option<Trouble> {
    if cast.has_subagents && die.chance(40) {
        return Some(books_refused(die));
    }
    if let Some(platform) = one_of(&cast.platforms, die)
        && die.chance(25)
    {
        return Some(outbox_refused(platform, die));
    }
    // Whoever starts while nothing can be read, has to have died first.
    if die.chance(25) {
        let entries =
            [("error", "EIO".into()), ("operation", "read".into()), ("for", die.time(5_000, 40_000).into())];
        return Some(vec![(0, doing("kill", &[])), (0, doing("disk-fault", &entries))]);
    }
    let error = *die.pick(&["EIO", "ENOSPC", "EACCES"]);
    let mut step = doing("disk-fault", &[("error", error.into())]);
    let operation = *die.pick(&["append", "write", "sync-file", "rename", "sync-dir", "create-new"]);
    step.insert("operation".into(), Value::from(operation));
    let file = *die.pick(&FILES);
    if file != "*" {
        step.insert("file".into(), Value::from(file));
    }
    if matches!(operation, "append" | "write") && die.chance(30) {
        step.insert("torn".into(), Value::from(die.between(0, 40) as i64));
    }
    if die.chance(50) {
        step.insert("calls".into(), Value::from(die.between(1, 3) as i64));
    }
    step.insert("for".into(), Value::from(die.time(1_000, 40_000)));
    one(step)
}

/// A full disk for a while, as far as these files go.
pub(super) fn full(file: &str, operation: Option<&str>, die: &Die) -> Table {
    let entries =
        [("error", "ENOSPC".into()), ("file", file.into()), ("for", die.time(20_000, 60_000).into())];
    let mut step = doing("disk-fault", &entries);
    if let Some(operation) = operation {
        step.insert("operation".into(), Value::from(operation));
    }
    step
}

/// What is known of a subagent cannot be written down: while it begins, and then its gateway dies; or when it is done.
fn books_refused(die: &Die) -> Trouble {
    if die.chance(50) {
        return vec![(
            0,
            anchored("subagent.answered", die.between(1, 2), full("inbox.jsonl", Some("append"), die)),
        )];
    }
    let mut kill = anchored("subagent.requested", 1, doing("kill", &[]));
    kill.insert("after".into(), Value::from(die.time(500, 10_000)));
    vec![(0, anchored("message.sent", 1, full("subagents/runs.json*", None, die))), (0, kill)]
}

/// A text can neither be sent nor be written down.
fn outbox_refused(platform: &str, die: &Die) -> Trouble {
    let down =
        doing("platform-down", &[("platform", platform.into()), ("for", die.time(20_000, 60_000).into())]);
    let full = full("outbox.jsonl", Some("append"), die);
    vec![(0, anchored("provider.requested", 1, full)), (0, anchored("provider.requested", 1, down))]
}

pub(super) fn squat(die: &Die) -> Table {
    doing("squat-lock", &[("for", die.time(100, 60_000).into())])
}

pub(super) fn leave_lock(cast: &Cast, die: &Die) -> Option<Trouble> {
    let owner = *die.pick(&["dead", "reused", "reused-undated", "gateway", "nobody", "garbage"]);
    let mut step = doing("leave-lock", &[("owner", owner.into()), ("age", die.time(0, 600_000).into())]);
    if die.chance(20)
        && let Some(sender) = one_of(&cast.on_webchat, die)
    {
        step.insert("transcript-of".into(), Value::from(sender));
    }
    one(step)
}

/// The store is spoilt while nobody uses it: whoever does, keeps what it knows and is not promised to notice. It comes late,
/// so that there are sessions, and a copy of them.
pub(super) fn spoil_store(cast: &Cast, die: &Die) -> Option<Trouble> {
    if cast.platforms.iter().any(|platform| platform == "telegram") && die.chance(60) {
        return Some(offset_of_another_bot());
    }
    if !cast.is_supervised || cast.messages == 0 {
        return None;
    }
    let text = *die.pick(&["", "{", "not a store"]);
    let file = "agents/main/sessions/sessions.json";
    let stop = die.between(30_000, 120_000);
    let at = |ms: u64, step: Table| (0, super::at(stop + ms, step));
    let mut trouble = vec![
        at(0, doing("service-stop", &[])),
        at(95_000, doing("corrupt-state", &[("file", file.into()), ("text", text.into())])),
        at(96_000, doing("service-start", &[])),
    ];
    trouble.extend(newcomer(cast).map(|step| at(die.between(97_000, 130_000), step)));
    Some(trouble)
}

/// What a bot left behind in whose place the one of today has come.
fn offset_of_another_bot() -> Trouble {
    let text = r#"{"version":2,"lastUpdateId":987654321,"botId":1234,"at":1772409600000}"#;
    let file = "telegram/update-offset-main.json";
    let step = doing("corrupt-state", &[("file", file.into()), ("text", text.into())]);
    vec![(0, super::at(0, step))]
}

/// Who has said nothing yet begins a conversation.
pub(super) fn newcomer(cast: &Cast) -> Option<Table> {
    let name = cast.newcomer.as_deref()?;
    Some(doing("send", &[("from", name.into()), ("text", "a new conversation".into())]))
}

/// What others wrote down of background tasks: some wait, and may wait for ever.
pub(super) fn task_records(die: &Die) -> Trouble {
    let record = |generation: u64| {
        format!(r#"{{"taskId": "t-{generation}", "status": "queued", "generation": {generation}}}"#)
    };
    let records = format!("[{}]", (1..=5).map(record).collect::<Vec<_>>().join(", "));
    let ask = doing("ask-for-restart", &[("mode", (*die.pick(&["safe", "plain"])).into())]);
    vec![
        (0, doing("corrupt-state", &[("file", "tasks.json".into()), ("text", records.into())])),
        (die.between(1_000, 30_000), ask),
    ]
}
