//! `[matrix]`: one file that stands for many scenarios, one for each combination of its axes' values.
//!
//! A cell is the file as if it had been written out: placeholders filled in, expectations of its own put in place,
//! matrix gone. It is then read like any other file, so that nothing is known here of what the values mean. An error
//! names the cells that it is about, unless it is about all.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::cell::Cell;
use super::error::{Problem, Read};
use super::placeholders::{self, Filled};
use super::read_cells::{self, Rule};
use super::table::{entries, in_file_order, wrong_type};
use super::{Scenario, limits, read, written};

/// The top-level key of the matrix.
pub(super) const KEY: &str = "matrix";

/// One axis, with its values in the order of the file.
pub(super) struct Axis<'t> {
    pub(super) name: String,
    /// Where the name stands.
    pub(super) place: Range<usize>,
    pub(super) values: Vec<AxisValue<'t>>,
}

/// One value of an axis.
pub(super) struct AxisValue<'t> {
    /// What it is called: a word or number is its own name, anything else was given one.
    pub(super) name: String,
    /// Where it stands.
    pub(super) place: Range<usize>,
    pub(super) value: DeValue<'t>,
}

/// The values of one cell, each with its axis.
type Values<'m, 't> = Vec<(&'m Axis<'t>, &'m AxisValue<'t>)>;

/// Reads every scenario that the file stands for: one, or as many as its matrix has cells.
pub(super) fn scenarios(path: &Path, source: &str) -> Read<Vec<Scenario>> {
    let document = read::document(source)?;
    let file = document.get_ref();
    if !file.contains_key(KEY) {
        read_cells::not_without_matrix(file)?;
        return Ok(vec![read::scenario(path, source, file)?]);
    }
    let axes = axes(file)?;
    let rules = read_cells::rules(file, &axes)?;
    let mut plain = file.clone();
    plain.remove(KEY);
    plain.remove(read_cells::KEY);
    let used = placeholders::used(&with_expectations(plain.clone(), &rules), &axes)?;
    if let Some(axis) = axes.iter().find(|axis| !used.contains(&axis.name)) {
        return Err(Problem::at(axis.place.clone(), format!("the axis `{}` is not used", axis.name))
            .label("its cells would all be the same")
            .help(format!("write `\"${{{}}}\"` where its values belong, or leave it out.", axis.name)));
    }
    let all = product(&axes);
    let cells: Vec<_> =
        all.iter().filter(|values| !rules.iter().any(|rule| rule.skips(&cell(values)))).collect();
    if cells.is_empty() {
        let place = file.get_key_value(KEY).map_or(0..0, |(name, _)| name.span());
        return Err(Problem::at(place, "every cell is skipped")
            .label("nothing is left of the matrix")
            .help("let some cells out of the `when` of what is skipped."));
    }
    let read = |values: &&Values<'_, '_>| read_cell(path, source, &plain, &rules, values);
    let read: Vec<_> = cells.into_iter().map(|values| (cell(values), read(&values))).collect();
    if let Some(first) = read.iter().position(|(_, outcome)| outcome.is_err()) {
        return Err(first_problem(read, first));
    }
    Ok(read.into_iter().filter_map(|(_, outcome)| outcome.ok()).collect())
}

fn cell(values: &Values<'_, '_>) -> Cell {
    Cell::at(values.iter().map(|(axis, value)| (axis.name.clone(), value.name.clone())))
}

/// The file with everything that some rule expects, for a look at all placeholders.
fn with_expectations<'t>(mut plain: DeTable<'t>, rules: &[Rule<'t>]) -> DeTable<'t> {
    // Merging could hide one behind another, so each stands under a name of its own.
    for (index, rule) in rules.iter().enumerate() {
        let name = Spanned::new(rule.place.clone(), format!("{} {index}", read_cells::KEY).into());
        plain.insert(name, Spanned::new(rule.place.clone(), DeValue::Table(rule.expectations())));
    }
    plain
}

fn read_cell<'t>(
    path: &Path,
    source: &str,
    plain: &DeTable<'t>,
    rules: &[Rule<'t>],
    values: &Values<'_, 't>,
) -> Read<Scenario> {
    let mut filled = Vec::new();
    let written_out = write_out(plain, rules, values, &mut filled)?;
    match read::scenario(path, source, &written_out) {
        Ok(scenario) => Ok(Scenario { cell: Some(cell(values)), ..scenario }),
        Err(problem) => Err(with_the_value(problem, &filled)),
    }
}

/// The file of one cell, as if it had been written for it alone.
fn write_out<'t>(
    plain: &DeTable<'t>,
    rules: &[Rule<'t>],
    values: &Values<'_, 't>,
    filled: &mut Vec<Filled>,
) -> Read<DeTable<'t>> {
    let place = cell(values);
    let mut written_out = plain.clone();
    for rule in rules.iter().filter(|rule| rule.is_about(&place)) {
        rule.expect_in(&mut written_out)?;
    }
    placeholders::fill(&mut written_out, values, filled)?;
    Ok(written_out)
}

/// The file as it is, or one cell of its matrix written out; the first, where none is named.
pub(super) fn written_out(source: &str, wanted: Option<&Cell>) -> Read<toml::Table> {
    let document = read::document(source)?;
    let file = document.get_ref();
    if !file.contains_key(KEY) {
        return Ok(written::table(file));
    }
    let axes = axes(file)?;
    let rules = read_cells::rules(file, &axes)?;
    let mut plain = file.clone();
    plain.remove(KEY);
    plain.remove(read_cells::KEY);
    let all = product(&axes);
    let found = all.iter().find(|values| wanted.is_none_or(|wanted| cell(values) == *wanted));
    let Some(values) = found else {
        return Err(Problem::at(0..0, "the matrix has no such cell").label("of this file"));
    };
    Ok(written::table(&write_out(&plain, &rules, values, &mut Vec::new())?))
}

/// A problem at the place of a placeholder also shows the value that stands there.
fn with_the_value(problem: Box<Problem>, filled: &[Filled]) -> Box<Problem> {
    match filled.iter().find(|filled| filled.place == problem.span()) {
        Some(filled) => problem.also(filled.value.clone(), format!("this value of `{}`", filled.axis)),
        None => problem,
    }
}

/// The first problem, and which cells have it; one that all cells have is not about cells.
fn first_problem(read: Vec<(Cell, Read<Scenario>)>, first: usize) -> Box<Problem> {
    let cells = read.len();
    let mut problems =
        read.into_iter().skip(first).filter_map(|(cell, outcome)| Some((cell, outcome.err()?)));
    let Some((cell, problem)) = problems.next() else { unreachable!("there is a first problem") };
    let others = problems.filter(|(_, other)| other.is_same(&problem)).count();
    match others {
        others if others + 1 == cells => problem,
        0 => problem.in_cell(&format!("in the cell {cell}")),
        _ => problem.in_cell(&format!("in the cell {cell} and {others} more")),
    }
}

/// Every combination; the last axis changes fastest.
fn product<'m, 't>(axes: &'m [Axis<'t>]) -> Vec<Values<'m, 't>> {
    axes.iter().fold(vec![Vec::new()], |cells: Vec<Values<'m, 't>>, axis| {
        let longer = |cell: &Values<'m, 't>, value| {
            let mut cell = cell.clone();
            cell.push((axis, value));
            cell
        };
        cells.iter().flat_map(|cell| axis.values.iter().map(move |value| longer(cell, value))).collect()
    })
}

fn axes<'t>(file: &DeTable<'t>) -> Read<Vec<Axis<'t>>> {
    let Some((key, value)) = file.get_key_value(KEY) else { return Ok(Vec::new()) };
    let mut axes = Vec::new();
    for (name, value) in in_file_order(entries(value, KEY)?) {
        if let Some(why) = read::unfit_word(name.get_ref()) {
            return Err(Problem::at(name.span(), format!("`{name}` cannot be an axis' name"))
                .label(why)
                .help("placeholders call it by its name, as in `${signal}`."));
        }
        axes.push(Axis {
            name: name.get_ref().to_string(),
            place: name.span(),
            values: values(name.get_ref(), value)?,
        });
    }
    if axes.is_empty() {
        return Err(Problem::at(key.span(), "the matrix has no axis")
            .label("this is empty")
            .help("add one, as in `signal = [\"SIGTERM\", \"SIGINT\"]`, or leave the matrix out."));
    }
    limits::cells(&axes, key.span())?;
    Ok(axes)
}

/// A list of words and numbers, or a table of values under names.
fn values<'t>(axis: &str, value: &Spanned<DeValue<'t>>) -> Read<Vec<AxisValue<'t>>> {
    if let Some(place) = placeholders::first_in(value) {
        return Err(Problem::at(place, format!("a value of `{axis}` has a placeholder itself"))
            .label("placeholders stand outside of the matrix")
            .help("write the value as it is."));
    }
    let mut values: Vec<AxisValue<'t>> = Vec::new();
    match value.get_ref() {
        DeValue::Array(items) => {
            for item in items {
                let value = in_a_list(axis, item)?;
                if values.iter().any(|other| other.name == value.name) {
                    return Err(Problem::at(
                        value.place,
                        format!("`{axis}` has the value `{}` twice", value.name),
                    )
                    .label("this stands here for the second time")
                    .help("leave it out."));
                }
                values.push(value);
            }
        }
        DeValue::Table(entries) => {
            for (name, value) in in_file_order(entries) {
                fit_to_be_called(name.get_ref(), name.span())?;
                let value = AxisValue {
                    name: name.get_ref().to_string(),
                    place: value.span(),
                    value: value.get_ref().clone(),
                };
                values.push(value);
            }
        }
        other => {
            let sample = "[\"a\", \"b\"]";
            return Err(wrong_type(
                axis,
                other,
                value.span(),
                "a list of values, or a table of named ones",
                sample,
            ));
        }
    }
    limits::axis_values(axis, values.len(), value.span())?;
    Ok(values)
}

fn in_a_list<'t>(axis: &str, item: &Spanned<DeValue<'t>>) -> Read<AxisValue<'t>> {
    let name = match item.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        _ => {
            return Err(Problem::at(item.span(), format!("a value in the list `{axis}` has no name"))
                .label("only texts and whole numbers are called what they are")
                .help(format!(
                    "give each a name: `[matrix.{axis}]`, and below it `name = ...` for every value."
                )));
        }
    };
    fit_to_be_called(&name, item.span())?;
    Ok(AxisValue { name, place: item.span(), value: item.get_ref().clone() })
}

/// Names stand in reports and on command lines, between commas and equals signs.
fn fit_to_be_called(name: &str, place: Range<usize>) -> Read<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:/+%#".contains(c);
    if !name.is_empty() && name.len() <= limits::LONGEST_NAME && name.chars().all(fits) {
        return Ok(());
    }
    Err(Problem::at(place, "this cannot be what a value is called")
        .label(format!("letters, digits and `-_.:/+%#` only, at most {}", limits::LONGEST_NAME))
        .help("give the value a name: instead of the list, write a table with `name = ...` for every value."))
}

#[cfg(test)]
mod tests;
