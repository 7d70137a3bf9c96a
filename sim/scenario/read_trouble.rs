//! Reading the verbs that trouble disk, locks and clock.
//!
//! Combinations that can do nothing, or that say two things at once, are refused here.

use std::path::{Component, Path};

use gateway::env::FsOp;

use super::Verb;
use super::error::{Problem, Read};
use super::read_platforms;
use super::read_steps::{World, sender};
use super::table::{Input, Table, choice, duration, range, some_range, some_text, whole, whole_range};
use super::trouble::{Crash, CrashDeath, DiskCalls, DiskTrouble, LeftLock, LockFile, ProviderTrouble, Squat};

/// Reads the step `table`, whose verb is `word`; `None` when that is no verb of this kind.
pub(super) fn verb(table: &Table<'_>, word: &str, world: &World<'_>) -> Read<Option<Verb>> {
    Ok(Some(match word {
        "disk-fault" => Verb::DiskFault(disk_fault(table)?),
        "crash-at" => Verb::CrashAt(crash_at(table)?),
        "clock-jump" => {
            Verb::ClockJump { by: table.get("by", some_range)?, direction: table.get("direction", choice)? }
        }
        "squat-lock" => Verb::SquatLock(Squat {
            lock: lock_file(table, world)?,
            lasting: table.get("for", range)?,
            patience: table.get("patience", range)?,
        }),
        "squat-port" => {
            Verb::SquatPort { lasting: table.get("for", range)?, patience: table.get("patience", range)? }
        }
        "suspend" => Verb::Suspend { lasting: table.get("for", some_range)? },
        "name-unknown" => Verb::NameUnknown {
            machine: read_platforms::is_there(table, "machine", world, table.get("machine", choice)?)?,
            lasting: table.get("for", some_range)?,
        },
        "provider-down" => Verb::ProviderTrouble(ProviderTrouble::Down {
            how: table.get("how", choice)?,
            lasting: table.get("for", some_range)?,
        }),
        "provider-slow" => Verb::ProviderTrouble(ProviderTrouble::Slow {
            by: table.get("by", duration)?,
            lasting: table.get("for", some_range)?,
        }),
        "leave-lock" => Verb::LeaveLock(LeftLock {
            lock: lock_file(table, world)?,
            owner: table.get("owner", choice)?,
            age: table.get("age", range)?,
        }),
        _ => return Ok(None),
    }))
}

fn disk_fault(table: &Table<'_>) -> Read<DiskTrouble> {
    let trouble = DiskTrouble {
        calls: disk_calls(table)?,
        error: table.get("error", choice)?,
        count: table.optional("calls", whole)?,
        torn: None,
        lasting: table.optional("for", some_range)?,
    };
    if trouble.count.is_none() && trouble.lasting.is_none() {
        return Err(Problem::at(table.span_of("do"), "this fault never ends")
            .label("how long, or how often?")
            .help("add `for = \"10s\"`, or let a few calls fail with `calls = 1`."));
    }
    Ok(DiskTrouble { torn: torn(table, trouble.calls.operation)?, ..trouble })
}

fn crash_at(table: &Table<'_>) -> Read<Crash> {
    let calls = disk_calls(table)?;
    let torn = torn(table, calls.operation)?;
    if let (Some(_), Some(span)) = (torn, table.span_of_key("moment")) {
        return Err(Problem::at(span, "this step has both `moment` and `torn`")
            .label("`torn` says how far the operation comes")
            .help("keep one of the two."));
    }
    let death = table.get("death", choice)?;
    if let (CrashDeath::Kill, Some(span)) = (death, table.span_of_key("off-for")) {
        return Err(Problem::at(span, "`off-for` has no meaning for a process that is killed")
            .label("the power stays on")
            .help("leave it out, or write `death = \"power-loss\"`."));
    }
    Ok(Crash {
        calls,
        moment: table.get("moment", choice)?,
        torn,
        death,
        off_for: table.get("off-for", range)?,
    })
}

fn disk_calls(table: &Table<'_>) -> Read<DiskCalls> {
    Ok(DiskCalls {
        operation: table.optional("operation", choice)?,
        file: table.get("file", pattern)?,
        from_call: table.get("from-call", whole_range)?,
    })
}

/// Only what is written can be torn.
fn torn(table: &Table<'_>, operation: Option<FsOp>) -> Read<Option<usize>> {
    let torn = table.optional("torn", whole)?;
    match (table.span_of_key("torn"), operation) {
        (Some(span), op) if !matches!(op, Some(FsOp::Append | FsOp::Write)) => {
            Err(Problem::at(span, "`torn` goes with `append` and `write` only")
                .label(match op {
                    Some(op) => format!("`{op}` happens as a whole or not at all"),
                    None => "other operations happen as a whole or not at all".into(),
                })
                .help("add `operation = \"append\"` or `operation = \"write\"`, or leave it out."))
        }
        _ => Ok(torn),
    }
}

/// Reads a pattern that some path of the disk can match.
pub(super) fn pattern(input: &Input<'_>) -> Read<String> {
    let pattern = some_text(input)?;
    let names_no_file = pattern.ends_with('/') || pattern.split('/').any(|name| matches!(name, "." | ".."));
    match names_no_file {
        false => Ok(pattern),
        true => Err(Problem::at(input.span.clone(), format!("no file can match `{pattern}`"))
            .label("paths are absolute, and hold neither `.` nor `..`")
            .help("name the end of a path, as in `sessions.json*`, `sessions/*.jsonl` or `*`.")),
    }
}

fn lock_file(table: &Table<'_>, world: &World<'_>) -> Read<LockFile> {
    match (table.span_of_key("transcript-of"), table.span_of_key("file")) {
        (Some(_), Some(span)) => Err(Problem::at(span, "this step has both `file` and `transcript-of`")
            .label("one lock at a time")
            .help("keep one of the two.")),
        (Some(_), None) => Ok(LockFile::OfTranscript(sender(table, "transcript-of", world)?)),
        (None, _) => Ok(LockFile::At(table.get("file", state_file)?)),
    }
}

/// Reads the path of a file inside the state folder.
pub(super) fn state_file(input: &Input<'_>) -> Read<String> {
    let file = some_text(input)?;
    let stays_inside = Path::new(&file).components().all(|part| matches!(part, Component::Normal(_)));
    let why = match () {
        () if !stays_inside => "this leaves the state folder",
        () if file.ends_with('/') || file.split('/').any(|name| name == ".") => {
            "this is not the name of a file"
        }
        () if file.chars().any(char::is_control) => "a name of control characters says nothing to people",
        () if file.contains('*') => "this is one file, and no pattern",
        () => return Ok(file),
    };
    let what = format!("`{}` is not a file of the state folder", file.escape_debug());
    Err(Problem::at(input.span.clone(), what)
        .label(why)
        .help("name a file inside it, without a leading `/` and without `..`."))
}
