//! What can be wrong with a scenario file, as one diagnostic: what, where, why, and what to do about it.
//!
//! The readers make a [`Problem`], which knows a span; the file's entrance turns it into a [`ScenarioError`],
//! which also knows the file. Suggestions for misspelt words are made here, too.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource};

/// A scenario file that cannot be used. Rendered by `miette`, it shows the file, the line and a hint.
#[derive(Clone, Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct ScenarioError {
    message: String,
    #[source_code]
    file: Option<Arc<NamedSource<String>>>,
    #[label(collection)]
    labels: Vec<LabeledSpan>,
    #[help]
    help: Option<String>,
}

impl ScenarioError {
    /// The file could not be read at all.
    pub(super) fn unreadable(path: &Path, why: &str, help: &str) -> Self {
        let message = format!("cannot read {}: {why}", path.display());
        Self::without_source(message, Some(help.into()))
    }

    fn without_source(message: String, help: Option<String>) -> Self {
        Self { message, file: None, labels: Vec::new(), help }
    }

    /// The file could be read and says something wrong. An empty file has no place to point at, and lines that
    /// would flood or confuse a terminal are not shown.
    pub(super) fn in_file(path: &Path, text: &str, problem: Problem) -> Self {
        let name = path.display().to_string();
        let start = problem.span.start.min(text.len());
        let end = problem.span.end.min(text.len()).max(start);
        let message = cut(&problem.message, 2 * LONGEST_MESSAGE);
        if text.trim().is_empty() || !is_showable(text, start..end) {
            let (line, column) = line_and_column(text, start);
            let message = match text.trim().is_empty() {
                true => format!("{name}: {message}"),
                false => {
                    format!("{name}:{line}:{column}: {message}: {}", cut(&problem.label, LONGEST_MESSAGE))
                }
            };
            return Self::without_source(message, problem.help);
        }
        let length = end - start;
        let also = problem.also.filter(|(span, _)| span.end <= text.len() && is_showable(text, span.clone()));
        let here = LabeledSpan::new_primary_with_span(Some(problem.label), (start, length));
        let there = also.map(|(span, label)| LabeledSpan::new_with_span(Some(label), span));
        Self {
            message,
            file: Some(Arc::new(NamedSource::new(name, text.to_string()))),
            labels: std::iter::once(here).chain(there).collect(),
            help: problem.help,
        }
    }
}

const LONGEST_MESSAGE: usize = 200;
const LONGEST_LINE: usize = 500;

/// `text`, or as much of it as fits into so many characters.
fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// Whether the lines around `span` can be shown on a terminal.
fn is_showable(text: &str, span: Range<usize>) -> bool {
    let before = text[..span.start].rmatch_indices('\n').nth(1).map_or(0, |(at, _)| at);
    let after = text[span.end..].match_indices('\n').nth(1).map_or(text.len(), |(at, _)| span.end + at);
    let is_plain = |c: char| !c.is_control() || matches!(c, '\t' | '\r');
    text[before..after].lines().all(|line| line.len() <= LONGEST_LINE && line.chars().all(is_plain))
}

/// Both counted from 1, columns in characters.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// So many choices are listed although one of them was probably meant.
const FEW: usize = 6;

/// Something wrong at a place of the file.
#[derive(Debug)]
pub(super) struct Problem {
    span: Range<usize>,
    message: String,
    label: String,
    also: Option<(Range<usize>, String)>,
    help: Option<String>,
}

impl Problem {
    /// `message` says what is wrong, as a sentence without full stop.
    pub(super) fn at(span: Range<usize>, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { span, message: message.into(), label: "here".into(), also: None, help: None })
    }

    /// The place.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Another place that has to do with it.
    pub(super) fn also(mut self: Box<Self>, span: Range<usize>, label: impl Into<String>) -> Box<Self> {
        self.also = Some((span, label.into()));
        self
    }

    /// `which` says for which of the scenarios that a file stands for it is wrong.
    pub(super) fn in_cell(mut self: Box<Self>, which: &str) -> Box<Self> {
        self.message = format!("{}, {which}", cut(&self.message, LONGEST_MESSAGE));
        self
    }

    /// Whether `other` says the same of the same place.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.span == other.span && self.message == other.message && self.label == other.label
    }

    /// The few words under the marked place: why.
    pub(super) fn label(mut self: Box<Self>, label: impl Into<String>) -> Box<Self> {
        self.label = label.into();
        self
    }

    /// What to do.
    pub(super) fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.help = Some(help.into());
        self
    }

    /// Help that suggests the nearest of `known`, or lists them all.
    pub(super) fn choices<'a>(
        self: Box<Self>,
        word: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Box<Self> {
        match (nearest(word, known.clone()), known.clone().into_iter().count()) {
            (Some(close), 1..=FEW) => {
                self.help(format!("did you mean `{close}`? The choices are {}.", list(known)))
            }
            (Some(close), _) => self.help(format!("did you mean `{close}`?")),
            (None, 1) => self.help(format!("the only choice is {}.", list(known))),
            (None, _) => self.help(format!("the choices are {}.", list(known))),
        }
    }
}

/// What readers return. The box keeps the good path small.
pub(super) type Read<T> = Result<T, Box<Problem>>;

/// The one of `known` that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_within((word.chars().count() / 3).max(1), word, known)
}

/// The one of `known` that is at most `limit` slips away from `word`.
pub(super) fn nearest_within<'a>(
    limit: usize,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', ' '], "-");
    // Comparing takes the product of both lengths, and no word of the vocabulary is nearly this long.
    if word.len() > LONGEST_MESSAGE {
        return None;
    }
    let word = plain(word);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(slips, _)| *slips <= limit)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// `a`, `b` and `c`, in backticks.
pub(super) fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> impl fmt::Display {
    let mut words: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} and {last}", words.join(", ")),
        None => "none".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let known = ["storm-limit", "settle", "steps", "at"];
        assert_eq!(nearest("stepps", known), Some("steps"));
        assert_eq!(nearest("storm_limit", known), Some("storm-limit"));
        assert_eq!(nearest("SETTLE", known), Some("settle"));
        assert_eq!(nearest("flavour", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn lists_read_as_prose() {
        assert_eq!(list(["a", "b", "c"]).to_string(), "`a`, `b` and `c`");
        assert_eq!(list(["a"]).to_string(), "`a`");
    }
}
