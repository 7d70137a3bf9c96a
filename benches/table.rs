//! The table: one line for each figure, with its bar and how far on the good side of it the figure is.

use std::fmt;
use std::io::{self, Write};

/// A figure and what it is held against.
pub(crate) struct Line {
    what: &'static str,
    figure: Option<Quantity>,
    bar: Option<Bar>,
}

impl Line {
    /// A figure that is there for comparison only; `None` where it cannot be measured.
    pub(crate) fn new(what: &'static str, figure: impl Into<Option<Quantity>>) -> Self {
        Self { what, figure: figure.into(), bar: None }
    }

    /// The same, with a bar in the figure's own unit: as much as this, or more.
    pub(crate) fn at_least(self, bar: f64) -> Self {
        Self { bar: Some(Bar::AtLeast(bar)), ..self }
    }

    /// The same, with a bar in the figure's own unit: as much as this, or less.
    pub(crate) fn at_most(self, bar: f64) -> Self {
        Self { bar: Some(Bar::AtMost(bar)), ..self }
    }
}

/// A number with its unit.
#[derive(Clone, Copy)]
pub(crate) struct Quantity {
    /// How many.
    pub(crate) value: f64,
    /// Of what, with a leading space where there should be one.
    pub(crate) unit: &'static str,
}

#[derive(Clone, Copy)]
enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    /// How many times better than the bar the figure is; below 1, it misses it.
    fn margin(self, value: f64) -> f64 {
        match self {
            Self::AtLeast(bar) => value / bar,
            Self::AtMost(bar) => bar / value.max(f64::MIN_POSITIVE),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.value.abs() {
            value if value < 10.0 => 2,
            value if value < 100.0 => 1,
            _ => 0,
        };
        write!(f, "{:.digits$}{}", self.value, self.unit)
    }
}

/// Prints a line. A reader who has left is no reason to stop, nor to cry out.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints the head of the table.
pub(crate) fn print_head() {
    say(format_args!("  {:<62} {:>12} {:>10} {:>8}", "figure", "measured", "bar", "ratio"));
}

/// Prints one line of the table.
pub(crate) fn print(line: &Line) {
    let Some(figure) = line.figure else {
        say(format_args!("  {:<62} {:>12}", line.what, "not here"));
        return;
    };
    let Some(bar) = line.bar else {
        say(format_args!("  {:<62} {:>12}", line.what, figure.to_string()));
        return;
    };
    let (Bar::AtLeast(bound) | Bar::AtMost(bound)) = bar;
    let margin = bar.margin(figure.value);
    let judgement = if margin >= 1.0 { "ok" } else { "below the bar" };
    let bound = format!("{bound}{}", figure.unit);
    say(format_args!(
        "  {:<62} {:>12} {bound:>10} {:>8}  {judgement}",
        line.what,
        figure.to_string(),
        if margin < 1e4 { format!("{margin:.2}x") } else { "large".to_string() }
    ));
}
