//! The table of a matrix: how each cell's shutdown went, where it hangs and for how long, by what it breaks.
//!
//! Of each run, the shutdown counts that took longest. Cells that went alike share a row. Times are what was seen from
//! outside; where a process waited is what its own log says.

use std::collections::BTreeSet;

use indexmap::{IndexMap, IndexSet};

use super::figure::Figure;
use super::fold::{Row, Says, folded};
use super::text::{invariants, matrix_name};
use crate::timeline::words::counted;
use crate::timeline::{Shutdown, Wait};
use crate::verdict::{RunResult, Verdict};

/// How wide the table may be, and what one column may take of it.
const WIDEST: usize = 120;
const WIDEST_COLUMN: usize = 32;
const INDENT: &str = "      ";
const GAP: &str = "  ";
/// What takes no longer is no hang, in milliseconds.
const NO_HANG: u64 = 500;

/// The table of the runs of one file under one profile, which are cells of one matrix.
pub(super) fn table(runs: &[RunResult]) -> String {
    let Some(first) = runs.first() else { return String::new() };
    let axes = axes(runs);
    let cells: BTreeSet<_> = runs.iter().map(|run| &run.cell).collect();
    let mut text = format!(
        "  {} on {}, {}: how each shutdown went, from the signal on\n",
        matrix_name(first),
        first.profile,
        counted(cells.len(), "cell"),
    );
    let mut sections: IndexMap<String, Vec<&RunResult>> = IndexMap::new();
    for run in runs {
        sections.entry(heading(run)).or_default().push(run);
    }
    let holds = |heading: &String| heading == HOLDS;
    sections.sort_by(|one, _, other, _| holds(one).cmp(&holds(other)));
    let sections: Vec<_> = sections
        .into_iter()
        .map(|(heading, runs)| (summed_up(&heading, &runs), rows(&runs, &axes)))
        .collect();
    let head = head(&axes);
    let all = std::iter::once(&head).chain(sections.iter().flat_map(|(_, rows)| rows));
    let widths = widths(all);
    text.push('\n');
    push_row(&mut text, &head, &widths);
    for (heading, rows) in &sections {
        text.push_str(&format!("\n    {heading}\n"));
        for row in rows {
            push_row(&mut text, row, &widths);
        }
    }
    text
}

/// The axes with their values, in the order of the file.
fn axes(runs: &[RunResult]) -> IndexMap<&str, IndexSet<&str>> {
    let mut axes: IndexMap<&str, IndexSet<&str>> = IndexMap::new();
    for (axis, value) in runs.iter().filter_map(|run| run.cell.as_ref()).flat_map(|cell| cell.places()) {
        axes.entry(axis).or_default().insert(value);
    }
    axes
}

const HOLDS: &str = "everything holds";

/// What kind of end the run came to.
fn heading(run: &RunResult) -> String {
    match run.verdict {
        Verdict::Pass => HOLDS.to_string(),
        Verdict::Fail => {
            let mut broken = invariants(run);
            broken.sort_unstable();
            format!("breaks {}", broken.join(", "))
        }
        Verdict::Inconclusive => "no evidence".to_string(),
        Verdict::Error => "an error of the harness".to_string(),
    }
}

fn summed_up(heading: &str, runs: &[&RunResult]) -> String {
    let cells: BTreeSet<_> = runs.iter().map(|run| &run.cell).collect();
    let of =
        if cells.len() == runs.len() { String::new() } else { format!(", {}", counted(runs.len(), "run")) };
    format!("{heading}: {}{of}", counted(cells.len(), "cell"))
}

/// What is told of a cell: the range of each figure, over the seeds and over the cells that went alike.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Went {
    /// The run had a shutdown at all.
    shut_down: bool,
    port_free: Figure,
    gone: Figure,
    exits: BTreeSet<String>,
    begins_again: bool,
    up_again: Figure,
    refused: u32,
    wait: Figure,
    place: String,
}

impl Went {
    /// How the longest shutdown of a run went.
    fn of(run: &RunResult) -> Self {
        let long = |ms: Option<u64>| ms.unwrap_or(u64::MAX);
        let key = |one: &&Shutdown| {
            let gone = if one.ended_ms.is_none() { one.up_again_ms } else { one.ended_ms };
            (long(one.port_free_ms), long(gone), one.longest_wait.ms)
        };
        // Of several that took equally long, the first.
        match run.shutdowns.iter().rev().max_by_key(key) {
            Some(one) => Self {
                shut_down: true,
                port_free: Figure::of(one.port_free_ms),
                gone: Figure::of(one.ended_ms),
                exits: one.exit.iter().map(|exit| exit.replace("killed by ", "")).collect(),
                begins_again: one.ended_ms.is_none() && one.up_again_ms.is_some(),
                up_again: Figure::of(one.up_again_ms),
                refused: one.starts_refused,
                wait: Figure::of(Some(one.longest_wait.ms)),
                place: place(&one.longest_wait),
            },
            None => Self {
                shut_down: false,
                port_free: Figure::default(),
                gone: Figure::default(),
                exits: BTreeSet::new(),
                begins_again: false,
                up_again: Figure::default(),
                refused: 0,
                wait: Figure::default(),
                place: String::new(),
            },
        }
    }

    fn both(&self, other: &Self) -> Self {
        let (longest, _) =
            if self.wait.longest() >= other.wait.longest() { (self, other) } else { (other, self) };
        Self {
            shut_down: self.shut_down || other.shut_down,
            port_free: self.port_free.both(other.port_free),
            gone: self.gone.both(other.gone),
            exits: self.exits.union(&other.exits).cloned().collect(),
            begins_again: self.begins_again || other.begins_again,
            up_again: self.up_again.both(other.up_again),
            refused: self.refused.max(other.refused),
            wait: self.wait.both(other.wait),
            place: longest.place.clone(),
        }
    }

    fn words(&self) -> [String; 4] {
        if !self.shut_down {
            return ["-", "-", "-", "was not asked to end"].map(str::to_string);
        }
        let exits: Vec<_> = self.exits.iter().map(String::as_str).collect();
        let gone = match (self.begins_again, exits.is_empty()) {
            (true, true) => "begins again".to_string(),
            (_, true) => self.gone.words(),
            (_, false) => format!("{}, {}", self.gone.words(), exits.join("/")),
        };
        let refused = if self.refused > 0 { format!(", {} refused", self.refused) } else { String::new() };
        [
            self.port_free.words(),
            gone,
            format!("{}{refused}", self.up_again.words()),
            if self.place.is_empty() {
                "-".to_string()
            } else {
                format!("{} {}", self.wait.words(), self.place)
            },
        ]
    }
}

/// Where it hung, `in drain`; nothing where it did not.
fn place(wait: &Wait) -> String {
    match wait.ms {
        0..=NO_HANG => String::new(),
        _ if wait.place.starts_with("after ") || wait.place.starts_with("before ") => wait.place.clone(),
        _ => format!("in {}", wait.place),
    }
}

impl Says for Went {
    fn joined(&self, other: &Self) -> Option<Self> {
        let figures = [
            (self.port_free, other.port_free),
            (self.gone, other.gone),
            (self.up_again, other.up_again),
            (self.wait, other.wait),
        ];
        let alike = self.shut_down == other.shut_down
            && self.exits == other.exits
            && self.begins_again == other.begins_again
            && (self.refused > 0) == (other.refused > 0)
            && self.place == other.place
            && figures.into_iter().all(|(one, other)| one.is_like(other));
        alike.then(|| self.both(other))
    }
}

/// A line of the table before it is wrapped: axes, then the words of [`Went`].
type Line = Vec<String>;

fn head(axes: &IndexMap<&str, IndexSet<&str>>) -> Line {
    let columns = ["port free", "process gone", "up again", "hangs"];
    axes.keys().chain(&columns).map(ToString::to_string).collect()
}

fn rows(runs: &[&RunResult], axes: &IndexMap<&str, IndexSet<&str>>) -> Vec<Line> {
    let mut cells: IndexMap<Vec<usize>, Went> = IndexMap::new();
    for run in runs {
        let Some(cell) = &run.cell else { continue };
        let number = |(axis, values): (&&str, &IndexSet<&str>)| {
            cell.on(axis).and_then(|value| values.get_index_of(value)).unwrap_or_default()
        };
        let place: Vec<_> = axes.iter().map(number).collect();
        let went = Went::of(run);
        cells.entry(place).and_modify(|known| *known = known.both(&went)).or_insert(went);
    }
    let row = |(place, says): (Vec<usize>, Went)| Row {
        values: place.into_iter().map(|number| BTreeSet::from([number])).collect(),
        says,
    };
    let line = |row: Row<Went>| {
        let on_axes = row.values.iter().zip(axes.values()).map(|(values, all)| which(values, all));
        on_axes.chain(row.says.words()).collect()
    };
    folded(cells.into_iter().map(row).collect()).into_iter().map(line).collect()
}

/// `any`, `all but launchd`, `systemd, container`
fn which(values: &BTreeSet<usize>, all: &IndexSet<&str>) -> String {
    let names = |chosen: &dyn Fn(usize) -> bool| {
        let names: Vec<_> =
            all.iter().enumerate().filter(|(number, _)| chosen(*number)).map(|(_, name)| *name).collect();
        names.join(", ")
    };
    match (values.len(), all.len() - values.len()) {
        (2.., 0) => "any".to_string(),
        (these, others @ 1..) if others * 2 <= these => {
            format!("all but {}", names(&|number| !values.contains(&number)))
        }
        _ => names(&|number| values.contains(&number)),
    }
}

/// How wide each column is: as its words need it, and less where they can be wrapped and there is no room.
fn widths<'l>(lines: impl Iterator<Item = &'l Line>) -> Vec<usize> {
    let mut columns: Vec<(usize, usize)> = Vec::new();
    for line in lines {
        columns.resize(line.len(), (0, 0));
        for ((width, least), words) in columns.iter_mut().zip(line) {
            *width = (*width).max(longest_line(words, WIDEST_COLUMN));
            *least = (*least).max(longest_line(words, 1));
        }
    }
    let gaps = INDENT.len() + GAP.len() * columns.len().saturating_sub(1);
    while columns.iter().map(|(width, _)| width).sum::<usize>() + gaps > WIDEST {
        let can_shrink = columns.iter_mut().filter(|(width, least)| width > least);
        match can_shrink.max_by_key(|(width, _)| *width) {
            Some((width, _)) => *width -= 1,
            None => break,
        }
    }
    columns.into_iter().map(|(width, _)| width).collect()
}

fn wrapped(words: &str, width: usize) -> Vec<String> {
    let options = textwrap::Options::new(width)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::AsciiSpace);
    textwrap::wrap(words, options).into_iter().map(|line| line.into_owned()).collect()
}

fn longest_line(words: &str, width: usize) -> usize {
    wrapped(words, width).iter().map(|line| line.chars().count()).max().unwrap_or(0)
}

fn push_row(text: &mut String, line: &Line, widths: &[usize]) {
    let columns: Vec<_> = line.iter().zip(widths).map(|(words, width)| wrapped(words, *width)).collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    for number in 0..height {
        let mut shown = INDENT.to_string();
        for (column, width) in columns.iter().zip(widths) {
            let words = column.get(number).map_or("", String::as_str);
            shown.push_str(&format!("{words:<width$}{GAP}"));
        }
        text.push_str(shown.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests;
