//! Placeholders: `${axis}` in the values of a scenario file, and what takes their place in a cell of the matrix.
//!
//! A placeholder that is a whole value gives way to the axis' value, whatever that is: a word, a number, a table. One
//! inside a text gives way to the words of a text or number, and to the name of anything else. Everything keeps the
//! place of the placeholder, so that an error points at it. `$${` is a `${` that is none.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Problem, Read};
use super::matrix::{Axis, AxisValue};
use super::table::in_file_order;

const OPEN: &str = "${";
const ESCAPED: &str = "$${";

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Words(&'a str),
    /// The name in a placeholder.
    Axis(&'a str),
}

/// The pieces of `text`; the error is what is open and never closed.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find(OPEN) {
        if rest[..open].ends_with('$') {
            // Of the two, the first dollar is the escape.
            found.extend([Piece::Words(&rest[..open - 1]), Piece::Words(OPEN)]);
            rest = &rest[open + OPEN.len()..];
            continue;
        }
        let after = &rest[open + OPEN.len()..];
        let close = after.find('}').ok_or(&rest[open..])?;
        found.extend([Piece::Words(&rest[..open]), Piece::Axis(after[..close].trim())]);
        rest = &after[close + 1..];
    }
    found.push(Piece::Words(rest));
    found.retain(|piece| *piece != Piece::Words(""));
    Ok(found)
}

/// Where the first text stands that has a placeholder in it.
pub(super) fn first_in(value: &Spanned<DeValue<'_>>) -> Option<Range<usize>> {
    match value.get_ref() {
        DeValue::String(text) => text.contains(OPEN).then(|| value.span()),
        DeValue::Array(items) => items.iter().find_map(first_in),
        DeValue::Table(entries) => in_file_order(entries).into_iter().find_map(|(_, value)| first_in(value)),
        _ => None,
    }
}

/// The axes that the values of `table` use; a placeholder that names none of `axes` is an error.
pub(super) fn used(table: &DeTable<'_>, axes: &[Axis<'_>]) -> Read<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (_, value) in in_file_order(table) {
        find(value, axes, &mut found)?;
    }
    Ok(found)
}

fn find(value: &Spanned<DeValue<'_>>, axes: &[Axis<'_>], found: &mut BTreeSet<String>) -> Read<()> {
    match value.get_ref() {
        DeValue::String(text) if text.contains(OPEN) => {
            let pieces = pieces(text).map_err(|open| unclosed(value.span(), open))?;
            for piece in pieces {
                let Piece::Axis(name) = piece else { continue };
                if !axes.iter().any(|axis| axis.name == name) {
                    return Err(Problem::at(value.span(), format!("`${{{name}}}` stands for nothing"))
                        .label(format!("the matrix has no axis `{name}`"))
                        .choices(name, axes.iter().map(|axis| axis.name.as_str())));
                }
                found.insert(name.to_string());
            }
            Ok(())
        }
        DeValue::Array(items) => items.iter().try_for_each(|item| find(item, axes, found)),
        DeValue::Table(entries) => {
            in_file_order(entries).into_iter().try_for_each(|(_, value)| find(value, axes, found))
        }
        _ => Ok(()),
    }
}

fn unclosed(span: Range<usize>, open: &str) -> Box<Problem> {
    Problem::at(span, "this placeholder does not end")
        .label(format!("`{open}` has no `}}`"))
        .help(format!("write `${{axis}}`, or `{ESCAPED}` for a text that has a `{OPEN}` in it."))
}

/// A place where an axis' value stands in a cell.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    /// Where the placeholder stands.
    pub(super) place: Range<usize>,
    /// Where the axis' value stands.
    pub(super) value: Range<usize>,
    pub(super) axis: String,
}

/// Puts the values of a cell in the place of all placeholders below `table`; what they are is in `filled`.
pub(super) fn fill<'t>(
    table: &mut DeTable<'t>,
    cell: &[(&Axis<'t>, &AxisValue<'t>)],
    filled: &mut Vec<Filled>,
) -> Read<()> {
    table.iter_mut().try_for_each(|(_, value)| fill_value(value, cell, filled))
}

fn fill_value<'t>(
    value: &mut Spanned<DeValue<'t>>,
    cell: &[(&Axis<'t>, &AxisValue<'t>)],
    filled: &mut Vec<Filled>,
) -> Read<()> {
    let place = value.span();
    match value.get_mut() {
        DeValue::Array(items) => items.iter_mut().try_for_each(|item| fill_value(item, cell, filled)),
        DeValue::Table(entries) => fill(entries, cell, filled),
        DeValue::String(text) if text.contains(OPEN) => {
            let made = made_of(text, place.clone(), cell, filled)?;
            *value = Spanned::new(place, made);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn made_of<'t>(
    text: &str,
    place: Range<usize>,
    cell: &[(&Axis<'t>, &AxisValue<'t>)],
    filled: &mut Vec<Filled>,
) -> Read<DeValue<'t>> {
    let pieces = pieces(text).map_err(|open| unclosed(place.clone(), open))?;
    let mut of_axis = |name: &str| {
        let found = cell.iter().find(|(axis, _)| axis.name == name);
        let (axis, value) = found.unwrap_or_else(|| unreachable!("{name} was found to be an axis"));
        filled.push(Filled { place: place.clone(), value: value.place.clone(), axis: axis.name.clone() });
        *value
    };
    if let [Piece::Axis(name)] = pieces[..] {
        return Ok(of_axis(name).value.clone());
    }
    let mut words = String::new();
    for piece in &pieces {
        match piece {
            Piece::Words(text) => words.push_str(text),
            Piece::Axis(name) => words.push_str(&as_words(of_axis(name))),
        }
    }
    Ok(DeValue::String(Cow::Owned(words)))
}

/// A text and a number are words; of anything else, only the name is.
fn as_words(value: &AxisValue<'_>) -> String {
    match &value.value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        _ => value.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_falls_into_words_and_axes() {
        use Piece::{Axis, Words};
        assert_eq!(pieces("${a}"), Ok(vec![Axis("a")]));
        assert_eq!(
            pieces("x ${a}/${ b }."),
            Ok(vec![Words("x "), Axis("a"), Words("/"), Axis("b"), Words(".")])
        );
        assert_eq!(pieces("$5 {a}"), Ok(vec![Words("$5 {a}")]));
        assert_eq!(pieces("$${a} $$"), Ok(vec![Words("${"), Words("a} $$")]));
        assert_eq!(pieces("x ${a"), Err("${a"));
    }
}
