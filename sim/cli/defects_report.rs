//! What `gatesim defects` shows: each defect as soon as it is known, and the table.

use std::fmt::Write as _;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use gateway::policy::PLANTED_PREFIX;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Streams;
use crate::search::defects::{AREAS, Hunted};

/// What became of all that was looked for.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    first_seed: u64,
    seeds: u64,
    /// How many defects were to be looked for.
    defects: usize,
    /// How many were found.
    found: usize,
    /// After how many seeds half of the defects were found; `null` when fewer than half were.
    median_seeds: Option<u64>,
    /// The most seeds that one took which was found.
    most_seeds: Option<u64>,
    /// The most steps that a shrunk scenario has.
    most_shrunk_steps: Option<usize>,
    wall_ms: u64,
    results: Vec<Hunted>,
}

impl Table {
    /// The table of what was looked for, of so many in all.
    pub(super) fn of(
        results: Vec<Hunted>,
        defects: usize,
        first_seed: u64,
        seeds: u64,
        wall: Duration,
    ) -> Self {
        let found = || results.iter().filter(|hunted| hunted.found.is_some());
        let mut taken: Vec<u64> = found().map(|hunted| hunted.seeds).collect();
        taken.sort_unstable();
        Self {
            first_seed,
            seeds,
            defects,
            found: taken.len(),
            median_seeds: taken.get(defects / 2).copied(),
            most_seeds: taken.last().copied(),
            most_shrunk_steps: found().filter_map(|hunted| Some(hunted.found.as_ref()?.shrunk_steps)).max(),
            wall_ms: wall.as_millis() as u64,
            results,
        }
    }

    /// 0 when all were found, else 1.
    pub(super) const fn exit_code(&self) -> u8 {
        (self.found < self.defects) as u8
    }
}

/// Progress on standard error: a line for each defect when it is known, and on a terminal how many are done.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Of so many defects.
    pub(super) fn begin(defects: usize) -> Self {
        let bar = (stderr().is_terminal() && !cfg!(test)).then(|| {
            let bar = ProgressBar::new(defects as u64);
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.with_style(
                ProgressStyle::with_template("{bar:20} {pos}/{len} defects, {elapsed}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        Self { bar }
    }

    /// Tells of one.
    pub(super) fn show(&mut self, hunted: &Hunted, streams: &mut Streams<'_>) {
        let line = line(hunted);
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.println(line);
            }
            // Progress that nobody can read is no reason to stop.
            None => drop(writeln!(streams.err, "{line}")),
        }
    }

    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The table for people, by area.
pub(super) fn text(table: &Table) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:43}{:34}{:>6}{:>9}{:>9}{:>7}{:>9}",
        "", "found by", "seeds", "in", "steps", "shrunk", "in"
    );
    for area in AREAS {
        let mut in_area = table.results.iter().filter(|hunted| hunted.area == area).peekable();
        if in_area.peek().is_some() {
            let _ = writeln!(text, "{area}");
        }
        for hunted in in_area {
            let _ = writeln!(text, "{}", line(hunted));
        }
    }
    text.push('\n');
    unfound(&mut text, table);
    red(&mut text, table);
    summary(&mut text, table);
    text
}

fn line(hunted: &Hunted) -> String {
    let name = hunted.defect.trim_start_matches(PLANTED_PREFIX);
    let (seeds, search) = (hunted.seeds, seconds(hunted.search_ms));
    match &hunted.found {
        Some(quarry) => format!(
            "  {name:41}{:34}{seeds:>6}{search:>9}{:>9}{:>7}{:>9}",
            quarry.invariant,
            quarry.steps,
            quarry.shrunk_steps,
            seconds(quarry.shrink_ms)
        ),
        None => format!("  {name:41}{:34}{seeds:>6}{search:>9}", "not found"),
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

/// What those are that were not found.
fn unfound(text: &mut String, table: &Table) {
    for hunted in table.results.iter().filter(|hunted| hunted.found.is_none()) {
        let _ = writeln!(text, "{} was not found in {} seeds.", hunted.defect, hunted.seeds);
        for choice in &hunted.choices {
            let meaning = choice.meaning.as_deref().unwrap_or_default();
            let _ = writeln!(text, "  {} = {:?}: {meaning}", choice.policy, choice.choice);
        }
    }
}

/// The seeds that say nothing about a defect, since no gateway passes.
fn red(text: &mut String, table: &Table) {
    let mut hardened: Vec<u64> =
        table.results.iter().flat_map(|hunted| hunted.red_on_hardened.iter().copied()).collect();
    hardened.sort_unstable();
    hardened.dedup();
    let errors: usize = table.results.iter().map(|hunted| hunted.errors.len()).sum();
    if let Some(first) = hardened.first() {
        let _ = writeln!(
            text,
            "{} scenarios fail on the hardened gateway as well, and say nothing about a defect; the first is of seed {first}.",
            hardened.len()
        );
    }
    if errors > 0 {
        let _ = writeln!(text, "{errors} runs could not be made.");
    }
}

fn summary(text: &mut String, table: &Table) {
    let number = |number: Option<String>| number.unwrap_or_else(|| "-".to_string());
    let _ = writeln!(
        text,
        "{} of {} defects found within {} seeds: half of them within {}, all that were found within {}; \
         shrunk to {} steps at most; in {}",
        table.found,
        table.defects,
        table.seeds,
        number(table.median_seeds.map(|seeds| seeds.to_string())),
        number(table.most_seeds.map(|seeds| seeds.to_string())),
        number(table.most_shrunk_steps.map(|steps| steps.to_string())),
        seconds(table.wall_ms),
    );
}
