//! Cells: the single scenarios that a file with a `[matrix]` stands for, and how they are called and chosen.
//!
//! A cell is called by its place on every axis, `signal=SIGTERM,supervisor=systemd`, in the order of the file. Whoever
//! wants some of them names as many axes as matter. What a cell means is read elsewhere.

use std::fmt;

use indexmap::IndexMap;
use serde::Serialize;

/// The place of one cell: for every axis of the matrix, in the order of the file, what its value is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Cell(Places);

/// The axes and what their values are called. Sequences compare in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Places(Vec<(String, String)>);

impl Serialize for Places {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(axis, value)| (axis, value)))
    }
}

impl Cell {
    /// The cell at these places.
    pub(crate) fn at(places: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(Places(places.into_iter().collect()))
    }

    /// The axes with the cell's values on them.
    pub fn places(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.0.iter().map(|(axis, value)| (axis.as_str(), value.as_str()))
    }

    /// What the cell's value on this axis is called; `None`: there is no such axis.
    pub fn on(&self, axis: &str) -> Option<&str> {
        self.places().find(|(name, _)| *name == axis).map(|(_, value)| value)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_places(f, self.places())
    }
}

fn write_places<'a>(
    f: &mut fmt::Formatter<'_>,
    places: impl Iterator<Item = (&'a str, &'a str)>,
) -> fmt::Result {
    for (index, (axis, value)) in places.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(f, "{comma}{axis}={value}")?;
    }
    Ok(())
}

/// Some cells: those that have one of the given values on each of the given axes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellChoice(IndexMap<String, Vec<String>>);

impl CellChoice {
    /// Reads `signal=SIGTERM,supervisor=systemd`. An axis may stand there several times; the error is a few words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut choice = Self::default();
        for part in text.split(',') {
            match part.split_once('=').map(|(axis, value)| (axis.trim(), value.trim())) {
                Some((axis, value)) if !axis.is_empty() && !value.is_empty() => choice.allow(axis, value),
                _ => return Err(format!("`{part}` is not `AXIS=VALUE`")),
            }
        }
        Ok(choice)
    }

    /// Lets in this value on this axis.
    pub(crate) fn allow(&mut self, axis: &str, value: &str) {
        self.0.entry(axis.to_string()).or_default().push(value.to_string());
    }

    /// The axes that matter, with the values that are chosen.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(axis, values)| (axis.as_str(), values.as_slice()))
    }

    /// Whether the cell is one of them.
    pub fn includes(&self, cell: &Cell) -> bool {
        self.parts().all(|(axis, values)| cell.on(axis).is_some_and(|on| values.iter().any(|v| v == on)))
    }
}

impl fmt::Display for CellChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_places(
            f,
            self.parts().flat_map(|(axis, values)| values.iter().map(move |value| (axis, value.as_str()))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> Cell {
        let place =
            |part: &str| part.split_once('=').map(|(axis, value)| (axis.to_string(), value.to_string()));
        Cell::at(text.split(',').filter_map(place))
    }

    #[test]
    fn a_choice_names_as_many_axes_as_matter() {
        let includes =
            |choice: &str, of: &str| CellChoice::parse(choice).expect("a choice").includes(&cell(of));
        assert!(includes("a=1", "a=1,b=2") && includes("b=2, a=1", "a=1,b=2"));
        assert!(includes("a=1,a=3", "a=3,b=2"), "one of several values");
        assert!(!includes("a=2", "a=1,b=2") && !includes("c=1", "a=1,b=2"));
    }

    #[test]
    fn a_choice_that_names_no_axis_and_value_is_refused() {
        for text in ["", "a", "a=", "=1", "a=1,,b=2"] {
            assert!(CellChoice::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_cell_reads_as_it_is_chosen() {
        let cell = cell("signal=SIGTERM,peer=bare");
        assert_eq!(cell.to_string(), "signal=SIGTERM,peer=bare");
        assert_eq!(serde_json::to_string(&cell).expect("json"), r#"{"signal":"SIGTERM","peer":"bare"}"#);
        let choice = CellChoice::parse(&cell.to_string()).expect("a choice");
        assert!(choice.includes(&cell) && choice.to_string() == cell.to_string());
    }
}
