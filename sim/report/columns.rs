//! The columns of a timeline: how wide each is, and how words are laid out in them.
//!
//! Every column gets what it needs; when that is more than there is, the widest give way first. What is too long for
//! its column goes on below, and is cut when that does not suffice.

use std::collections::BTreeMap;

use textwrap::WordSplitter;

use super::phrases::NO_BREAK;
use crate::timeline::words::cut;

/// The width of the first column, and what stands between columns.
pub(super) const TIME: usize = 9;
pub(super) const GAP: &str = "  ";
/// A column narrower than this says nothing; one wider than this is hard to follow.
const NARROW: usize = 10;
pub(super) const WIDE: usize = 44;
/// How many lines a cell may have.
const LINES: usize = 2;
/// What happens to files has the longest names.
const LINES_OF_DISK: usize = 3;

/// The columns, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Supervisor,
    /// Processes share a slot when one starts after the other has ended.
    Slot(usize),
    Sender(usize),
    /// All rude peers.
    Peers,
    Prober,
    Platforms,
    Model,
    Disk,
}

impl Column {
    /// How many lines a cell may have before its end is cut.
    const fn lines(self) -> usize {
        match self {
            Self::Disk => LINES_OF_DISK,
            _ => LINES,
        }
    }
}

/// The columns of a log with their widths.
pub(super) struct Columns {
    pub(super) titles: BTreeMap<Column, String>,
    widths: BTreeMap<Column, usize>,
}

impl Columns {
    /// Every column gets what it needs; when that is more than there is, the widest give way first.
    pub(super) fn fit<'r>(
        rows: impl Iterator<Item = &'r BTreeMap<Column, String>>,
        titles: &BTreeMap<Column, String>,
        width: usize,
    ) -> Self {
        let mut widths: BTreeMap<Column, usize> =
            titles.iter().map(|(column, title)| (*column, length(title).clamp(NARROW, WIDE))).collect();
        for row in rows {
            for (column, words) in row {
                if let Some(width) = widths.get_mut(column) {
                    *width = (*width).max(length(words)).min(WIDE);
                }
            }
        }
        let gaps = TIME + widths.len() * GAP.len();
        let available = width.saturating_sub(gaps);
        while widths.values().sum::<usize>() > available {
            let Some(widest) = widths.values_mut().rev().max_by_key(|width| **width) else { break };
            if *widest <= NARROW {
                break;
            }
            *widest -= 1;
        }
        Self { titles: titles.clone(), widths }
    }

    /// The lines of a row: what is too long for its column goes on below.
    pub(super) fn lines(&self, time: &str, cells: &BTreeMap<Column, String>) -> String {
        let wrapped: BTreeMap<_, _> = self
            .widths
            .iter()
            .filter_map(|(column, width)| Some((*column, wrap(cells.get(column)?, *width, column.lines()))))
            .collect();
        let height = wrapped.values().map(Vec::len).max().unwrap_or(1).max(1);
        let mut text = String::new();
        for index in 0..height {
            let mut line = format!("{:>TIME$}", if index == 0 { time } else { "" });
            for (column, width) in &self.widths {
                let words = wrapped.get(column).and_then(|lines| lines.get(index)).map_or("", String::as_str);
                line.push_str(GAP);
                line.push_str(&format!("{words:<width$}"));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.replace(NO_BREAK, " ")
    }
}

/// `words` in lines of `width`; all but the first are indented, and what is too long for all of them is cut.
fn wrap(words: &str, width: usize, most: usize) -> Vec<String> {
    let options = textwrap::Options::new(width)
        .subsequent_indent("  ")
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(true);
    let mut lines: Vec<String> = textwrap::wrap(words, options).into_iter().map(String::from).collect();
    if lines.len() > most {
        let rest: Vec<_> = lines.drain(most - 1..).map(|line| line.trim().to_string()).collect();
        let rest = format!("  {}", rest.join(" "));
        lines.push(cut(&rest, width));
    }
    lines
}

pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_goes_on_below_and_is_cut_at_its_end() {
        assert_eq!(wrap("closed 1012 service restart", 17, 2), ["closed 1012", "  service restart"]);
        assert_eq!(
            wrap("a notice that has a lot to say about itself", 17, 2),
            ["a notice that has", "  a lot to say a…"]
        );
    }
}
