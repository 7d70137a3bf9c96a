//! Reading `[[cells]]`: what is different in some cells of a matrix.
//!
//! An entry says which cells it is about, and either why they are skipped or what they are to come to. Of several
//! entries about one cell, each adds to those before it, and replaces what they say of the same profile or message.

use std::borrow::Cow;
use std::ops::Range;

use gateway::policy;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::cell::{Cell, CellChoice};
use super::error::{Problem, Read};
use super::keys;
use super::matrix::{self, Axis};
use super::table::{Table, entries, in_file_order, some_text, wrong_type};

/// The top-level key of the entries.
pub(super) const KEY: &str = "cells";
const EXPECT: &str = "expect";
const OUTCOMES: &str = "outcomes";
const EXPECTATIONS: [&str; 2] = [OUTCOMES, "fates"];

/// One entry.
pub(super) struct Rule<'t> {
    about: CellChoice,
    is_skipped: bool,
    /// `outcomes` and `fates`, as far as it has them.
    expectations: Vec<(Spanned<Cow<'t, str>>, Spanned<DeValue<'t>>)>,
    /// Where it stands.
    pub(super) place: Range<usize>,
}

impl<'t> Rule<'t> {
    /// Whether it is about this cell.
    pub(super) fn is_about(&self, cell: &Cell) -> bool {
        self.about.includes(cell)
    }

    /// Whether the cell is not run.
    pub(super) fn skips(&self, cell: &Cell) -> bool {
        self.is_skipped && self.is_about(cell)
    }

    /// What it expects, as a table.
    pub(super) fn expectations(&self) -> DeTable<'t> {
        self.expectations.iter().cloned().collect()
    }

    /// Puts what it expects in the place of what `file` expects.
    pub(super) fn expect_in(&self, file: &mut DeTable<'t>) -> Read<()> {
        for (name, value) in &self.expectations {
            let expect = table_in(file, EXPECT, &self.place)?;
            let has_some = expect.contains_key(name.get_ref().as_ref());
            let outcomes = table_in(expect, name.get_ref(), &name.span())?;
            if name.get_ref() == OUTCOMES && !has_some {
                // What holds where a file names no profile.
                let pass = Spanned::new(name.span(), DeValue::String("pass".into()));
                outcomes.insert(Spanned::new(name.span(), policy::HARDENED.into()), pass);
            }
            for (of, expected) in entries(value, name.get_ref())? {
                // The old key goes, too, since its place is part of it.
                outcomes.remove(of.get_ref().as_ref());
                outcomes.insert(of.clone(), expected.clone());
            }
        }
        Ok(())
    }
}

/// The table under `name`, made at `place` if there is none.
fn table_in<'f, 't>(
    file: &'f mut DeTable<'t>,
    name: &str,
    place: &Range<usize>,
) -> Read<&'f mut DeTable<'t>> {
    let key = Spanned::new(place.clone(), name.to_string().into());
    let empty = || Spanned::new(place.clone(), DeValue::Table(DeTable::new()));
    let value = file.entry(key).or_insert_with(empty);
    let span = value.span();
    match value.get_mut() {
        DeValue::Table(entries) => Ok(entries),
        other => Err(wrong_type(name, other, span, "a table", "{ ... }")),
    }
}

/// Cells without a matrix are a mistake.
pub(super) fn not_without_matrix(file: &DeTable<'_>) -> Read<()> {
    match file.get_key_value(KEY) {
        None => Ok(()),
        Some((name, _)) => Err(Problem::at(name.span(), "there are no cells without a matrix")
            .label("these would be cells of nothing")
            .help("add a `[matrix]`, or say in `[expect]` what this scenario is to come to.")),
    }
}

/// Reads all entries.
pub(super) fn rules<'t>(file: &DeTable<'t>, axes: &[Axis<'t>]) -> Read<Vec<Rule<'t>>> {
    let Some(value) = file.get(KEY) else { return Ok(Vec::new()) };
    let Some(entries) = value.get_ref().as_array() else {
        return Err(wrong_type(KEY, value.get_ref(), value.span(), "a list of tables", "[]")
            .help("begin each entry with a line `[[cells]]`, in double brackets."));
    };
    entries.iter().map(|entry| rule(entry, axes)).collect()
}

fn rule<'t>(value: &Spanned<DeValue<'t>>, axes: &[Axis<'t>]) -> Read<Rule<'t>> {
    let found = entries(value, KEY)?;
    let table = Table::open("[[cells]]", value.span(), found, keys::CELLS)?;
    let why_skipped = table.optional("skip", some_text)?;
    let expectations: Vec<_> = EXPECTATIONS
        .iter()
        .filter_map(|name| found.get_key_value(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    match (&why_skipped, expectations.first()) {
        (Some(_), Some((name, _))) => Err(Problem::at(name.span(), "these cells are skipped")
            .label("nothing is to come of what is not run")
            .help("leave out either this or `skip`.")),
        (None, None) => Err(Problem::at(value.span(), "this says nothing about these cells")
            .label("what is different in them?")
            .help("add `outcomes`, `fates`, or `skip` and why.")),
        _ => Ok(Rule {
            about: about(&table, axes)?,
            is_skipped: why_skipped.is_some(),
            expectations,
            place: value.span(),
        }),
    }
}

/// `when = { signal = "SIGTERM", peer = ["bare", "silent"] }`
fn about(table: &Table<'_>, axes: &[Axis<'_>]) -> Read<CellChoice> {
    let mut choice = CellChoice::default();
    let Some(when) = table.value("when") else { return Ok(choice) };
    for (name, value) in in_file_order(entries(when, "when")?) {
        let Some(axis) = axes.iter().find(|axis| axis.name == name.get_ref().as_ref()) else {
            return Err(Problem::at(name.span(), format!("the matrix has no axis `{name}`"))
                .label("there is no such axis")
                .choices(name.get_ref(), axes.iter().map(|axis| axis.name.as_str())));
        };
        let words: Vec<_> = match value.get_ref().as_array() {
            Some(words) => words.iter().collect(),
            None => vec![value],
        };
        if words.is_empty() {
            return Err(Problem::at(value.span(), "no cell is like this").label("this is empty"));
        }
        for word in words {
            let called = match word.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                other => {
                    return Err(wrong_type(
                        name.get_ref(),
                        other,
                        word.span(),
                        "what a value is called",
                        "\"...\"",
                    ));
                }
            };
            if !axis.values.iter().any(|value| value.name == called) {
                return Err(Problem::at(word.span(), format!("`{name}` has no value `{called}`"))
                    .label(format!("there is no such value in `[{}]`", matrix::KEY))
                    .choices(&called, axis.values.iter().map(|value| value.name.as_str())));
            }
            choice.allow(&axis.name, &called);
        }
    }
    Ok(choice)
}
