//! Programs of the gateway's machine that it can run, as hooks or tools: what `[programs.NAME]` says.
//!
//! The keys, the plain value and the reading of it. What runs them, and why, is configured in the gateway.

use indexmap::IndexMap;

use super::error::{Problem, Read};
use super::keys::Need::Default;
use super::keys::{Key, Shape, key};
use super::read::unfit_word;
use super::table::{Table, choice, entries, in_file_order, range, whole};
use super::{Choice, DurationRange, limits};

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramEnd {
    /// By itself, when its time is over.
    Exits,
    /// Never by itself.
    Hangs,
}

impl Choice for ProgramEnd {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("exits", Self::Exits, "it ends by itself after `takes`, with `status`"),
        ("hangs", Self::Hangs, "it never ends by itself; any signal that kills, kills it"),
    ];
}

/// A program of the gateway's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSetup {
    /// From its start to its end; drawn for each run.
    pub takes: DurationRange,
    /// How it ends.
    pub end: ProgramEnd,
    /// Its exit status.
    pub status: u8,
    /// How many bytes it writes.
    pub output: u64,
}

pub(super) const PROGRAM: &[Key] = &[
    key("takes", Shape::Range, Default("100ms"), "From its start to its end; drawn for each run"),
    key("end", Shape::Choice(ProgramEnd::meanings), Default("exits"), "How it ends"),
    key("status", Shape::Whole(0, 255), Default("0"), "Its exit status"),
    key("output", Shape::Whole(0, 1 << 40), Default("0"), "How many bytes it writes to its standard output"),
];

/// Reads all programs of the file.
pub(super) fn programs(file: &Table<'_>) -> Read<IndexMap<String, ProgramSetup>> {
    let Some(value) = file.value("programs") else { return Ok(IndexMap::new()) };
    let mut programs = IndexMap::new();
    for (name, value) in in_file_order(entries(value, "programs")?) {
        if let Some(why) = unfit_word(name.get_ref()) {
            return Err(Problem::at(name.span(), format!("`{name}` cannot be a program's name")).label(why));
        }
        let what = format!("[programs.{name}]");
        let table = Table::open(what, value.span(), entries(value, name.get_ref())?, PROGRAM)?;
        let setup = ProgramSetup {
            takes: table.get("takes", range)?,
            end: table.get("end", choice)?,
            status: table.get("status", whole)?,
            output: table.get("output", whole)?,
        };
        programs.insert(name.get_ref().to_string(), setup);
    }
    limits::programs(file, &programs)?;
    Ok(programs)
}
