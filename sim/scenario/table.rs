//! Reading one table of a scenario file against its list of keys, with a span for everything.
//!
//! Opening a table refuses unknown and missing keys, so that what follows can ask for values by name. Values are
//! read by the functions at the bottom, one per shape.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration::{parse_duration, parse_range};
use super::error::{Problem, Read};
use super::keys::{Key, Need, Shape};
use super::{Choice, CountRange, DurationRange};

/// A table whose keys are all known and which has all it must have.
pub(super) struct Table<'t> {
    /// What it is, for messages: `[gateway]`.
    what: String,
    span: Range<usize>,
    keys: Vec<&'static Key>,
    entries: Option<&'t DeTable<'t>>,
}

impl<'t> Table<'t> {
    /// Opens the table `entries`, whose header or braces are at `span`.
    pub(super) fn open(
        what: impl Into<String>,
        span: Range<usize>,
        entries: &'t DeTable<'t>,
        keys: impl IntoIterator<Item = &'static Key>,
    ) -> Read<Self> {
        let table =
            Self { what: what.into(), span, keys: keys.into_iter().collect(), entries: Some(entries) };
        for (name, _) in in_file_order(entries) {
            if !table.keys.iter().any(|key| key.name == name.get_ref().as_ref()) {
                return Err(table.unknown(name));
            }
        }
        let is_missing = |key: &&&Key| key.need == Need::Required && !entries.contains_key(key.name);
        match table.keys.iter().find(is_missing) {
            Some(key) => Err(table.missing(key)),
            None => Ok(table),
        }
    }

    /// An empty table in the place of one that the file does not have.
    pub(super) fn empty(
        what: impl Into<String>,
        span: Range<usize>,
        keys: impl IntoIterator<Item = &'static Key>,
    ) -> Self {
        Self { what: what.into(), span, keys: keys.into_iter().collect(), entries: None }
    }

    /// The table under `name`, or an empty one in its place.
    pub(super) fn table(&self, name: &str, what: impl Into<String>) -> Read<Self> {
        let what = what.into();
        let Shape::Table(keys) = self.key(name).shape else { unreachable!("{name} is a table") };
        match self.value(name) {
            Some(value) => Self::open(what, value.span(), entries(value, name)?, keys),
            None => Ok(Self::empty(what, self.span.clone(), keys)),
        }
    }

    /// The value of `name`, if the file has one.
    pub(super) fn value(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.entries?.get(name)
    }

    /// The value of `name` as `read` understands it, if the file has one.
    pub(super) fn optional<T>(&self, name: &str, read: fn(&Input<'_>) -> Read<T>) -> Read<Option<T>> {
        let key = self.key(name);
        self.value(name)
            .map(|value| read(&Input { value: value.get_ref(), span: value.span(), key }))
            .transpose()
    }

    /// The value of `name` as `read` understands it, or its default.
    pub(super) fn get<T>(&self, name: &str, read: fn(&Input<'_>) -> Read<T>) -> Read<T> {
        let key = self.key(name);
        if let Some(found) = self.optional(name, read)? {
            return Ok(found);
        }
        let Need::Default(default) = key.need else { return Err(self.missing(key)) };
        let value = match key.shape {
            Shape::Whole(..) | Shape::WholeRange(..) | Shape::Statuses => {
                DeValue::parse(default).map(Spanned::into_inner)
            }
            _ => Ok(DeValue::String(Cow::Borrowed(default))),
        };
        match value {
            Ok(value) => read(&Input { value: &value, span: self.span.clone(), key }),
            Err(_) => unreachable!("the default of {name} is TOML"),
        }
    }

    /// Where the value of `name` stands, or the table if it has none.
    pub(super) fn span_of(&self, name: &str) -> Range<usize> {
        self.value(name).map_or(self.span.clone(), Spanned::span)
    }

    /// Where the key `name` itself stands, if the file has it.
    pub(super) fn span_of_key(&self, name: &str) -> Option<Range<usize>> {
        Some(self.entries?.get_key_value(name)?.0.span())
    }

    fn key(&self, name: &str) -> &'static Key {
        match self.keys.iter().find(|key| key.name == name) {
            Some(key) => key,
            None => unreachable!("{name} is not in the list of keys of {}", self.what),
        }
    }

    fn unknown(&self, name: &Spanned<Cow<'_, str>>) -> Box<Problem> {
        Problem::at(name.span(), format!("unknown key `{name}` in {}", self.what))
            .label("there is no such key")
            .choices(name.get_ref(), self.keys.iter().map(|key| key.name))
    }

    fn missing(&self, key: &Key) -> Box<Problem> {
        Problem::at(self.span.clone(), format!("{} has no `{}`", self.what, key.name))
            .label(format!("`{}` is missing here", key.name))
            .help(format!("add `{} = {}`: {}.", key.name, key.sample(), key.gist()))
    }
}

/// The entries of a table in the order the author wrote them.
pub(super) fn in_file_order<'r, 't>(
    entries: &'r DeTable<'t>,
) -> Vec<(&'r Spanned<Cow<'t, str>>, &'r Spanned<DeValue<'t>>)> {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// The entries of the value of `name`, which has to be a table.
pub(super) fn entries<'r, 't>(value: &'r Spanned<DeValue<'t>>, name: &str) -> Read<&'r DeTable<'t>> {
    let table = value.get_ref().as_table();
    table.ok_or_else(|| wrong_type(name, value.get_ref(), value.span(), "a table", "{ ... }"))
}

/// A value on its way to be read.
pub(super) struct Input<'a> {
    pub(super) value: &'a DeValue<'a>,
    pub(super) span: Range<usize>,
    pub(super) key: &'static Key,
}

impl Input<'_> {
    fn wrong_type(&self, wanted: &str) -> Box<Problem> {
        wrong_type(self.key.name, self.value, self.span.clone(), wanted, &self.key.sample())
    }

    fn as_text(&self, wanted: &str) -> Read<&str> {
        self.value.as_str().ok_or_else(|| self.wrong_type(wanted))
    }

    fn refuse(&self, wanted: &str, why: impl Into<String>) -> Box<Problem> {
        Problem::at(self.span.clone(), format!("`{}` is not {wanted}", self.key.name))
            .label(why)
            .help(format!("write it as in `{} = {}`: {}.", self.key.name, self.key.sample(), self.key.gist()))
    }
}

pub(super) fn wrong_type(
    name: &str,
    value: &DeValue<'_>,
    span: Range<usize>,
    wanted: &str,
    sample: &str,
) -> Box<Problem> {
    let found = match value.type_str() {
        "array" => "an array".into(),
        "integer" => "an integer".into(),
        other => format!("a {other}"),
    };
    Problem::at(span, format!("`{name}` has to be {wanted}, not {found}"))
        .label(format!("this is {found}"))
        .help(format!("write it as in `{name} = {sample}`."))
}

/// Reads text.
pub(super) fn text(input: &Input<'_>) -> Read<String> {
    input.as_text("text").map(Into::into)
}

/// Reads text that says something.
pub(super) fn some_text(input: &Input<'_>) -> Read<String> {
    match text(input)? {
        text if text.trim().is_empty() => {
            Err(Problem::at(input.span.clone(), format!("`{}` is empty", input.key.name))
                .label("this says nothing")
                .help(format!("{}.", input.key.gist())))
        }
        text => Ok(text),
    }
}

/// Reads a duration.
pub(super) fn duration(input: &Input<'_>) -> Read<Duration> {
    let text = input.as_text("a duration in quotes")?;
    parse_duration(text).map_err(|why| input.refuse("a duration", why))
}

/// Reads a duration longer than zero.
pub(super) fn period(input: &Input<'_>) -> Read<Duration> {
    match duration(input)? {
        Duration::ZERO => Err(input.refuse("a duration longer than zero", "this is no time at all")),
        period => Ok(period),
    }
}

/// Reads a duration or a range of two.
pub(super) fn range(input: &Input<'_>) -> Read<DurationRange> {
    let text = input.as_text("a duration in quotes")?;
    parse_range(text).map_err(|why| input.refuse("a duration or a range of durations", why))
}

/// Reads a duration or a range of two that may be longer than zero.
pub(super) fn some_range(input: &Input<'_>) -> Read<DurationRange> {
    match range(input)? {
        range if range.max.is_zero() => {
            Err(input.refuse("a duration longer than zero", "this is no time at all"))
        }
        range => Ok(range),
    }
}

/// Reads a whole number within the bounds of its key.
pub(super) fn whole<T: TryFrom<u64>>(input: &Input<'_>) -> Read<T> {
    let (Shape::Whole(min, max) | Shape::WholeRange(min, max)) = input.key.shape else {
        unreachable!("{} is a number", input.key.name)
    };
    let number = input.value.as_integer().ok_or_else(|| input.wrong_type("a whole number"))?;
    let number = i128::from_str_radix(number.as_str(), number.radix()).ok();
    number
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| (min..=max).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| {
            Problem::at(input.span.clone(), format!("`{}` is out of bounds", input.key.name))
                .label(format!("this has to be from {min} to {max}"))
                .help(format!("{}.", input.key.gist()))
        })
}

/// Reads a whole number or a range of two, within the bounds of its key.
pub(super) fn whole_range(input: &Input<'_>) -> Read<CountRange> {
    let Some(text) = input.value.as_str() else {
        return whole(input).map(|number| CountRange { min: number, max: number });
    };
    let Shape::WholeRange(min, max) = input.key.shape else {
        unreachable!("{} is a range of numbers", input.key.name)
    };
    let number = |text: &str| {
        let number = text.trim().parse().ok();
        number.filter(|number| (min..=max).contains(&u64::from(*number)))
    };
    match text.split_once("..").map(|(first, last)| (number(first), number(last))) {
        Some((Some(first), Some(last))) if first <= last => Ok(CountRange { min: first, max: last }),
        Some((Some(first), Some(last))) => {
            Err(input.refuse("a range of numbers", format!("did you mean `{last}..{first}`?")))
        }
        _ => Err(Problem::at(input.span.clone(), format!("`{}` is not a range of numbers", input.key.name))
            .label(format!("both ends have to be from {min} to {max}"))
            .help(format!("write it as in `{0} = 3` or `{0} = \"1..20\"`.", input.key.name))),
    }
}

/// Reads one of a few words.
pub(super) fn choice<T: Choice>(input: &Input<'_>) -> Read<T> {
    let word = input.as_text("a word in quotes")?;
    match T::WORDS.iter().find(|(known, ..)| *known == word) {
        Some((_, value, _)) => Ok(*value),
        None => Err(Problem::at(input.span.clone(), format!("unknown {} `{word}`", input.key.name))
            .label("there is no such choice")
            .choices(word, T::words())),
    }
}

/// Reads a list of exit statuses.
pub(super) fn statuses(input: &Input<'_>) -> Read<Vec<u8>> {
    let list = input.value.as_array().ok_or_else(|| input.wrong_type("a list of exit statuses"))?;
    let status = |item: &Spanned<DeValue<'_>>| {
        let number = item.get_ref().as_integer()?;
        u8::from_str_radix(number.as_str(), number.radix()).ok()
    };
    let read = |item: &Spanned<DeValue<'_>>| {
        status(item).ok_or_else(|| {
            Problem::at(item.span(), format!("`{}` holds something that is no exit status", input.key.name))
                .label("an exit status is a whole number from 0 to 255")
                .help(format!("write it as in `{} = [78]`.", input.key.name))
        })
    };
    list.iter().map(read).collect()
}
