//! What `gatesim explore` shows: its progress while it runs, and its findings as text.

use std::fmt::Write as _;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Streams;
use super::explore::whole_seconds;
use crate::scenario::EVENTS;
use crate::search::explore::coverage::{CLIENTS, HAPPENINGS, PHASES, SUPERVISORS};
use crate::search::explore::{Coverage, Explored, Findings};
use crate::verdict::Verdict;

/// How often progress is told where nobody can watch it.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Progress on standard error: a line that changes on a terminal, and else a line now and then.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    told_at: Duration,
}

impl Progress {
    /// Of so many runs, if it is known how many there will be.
    pub(super) fn begin(runs: Option<u64>) -> Self {
        let bar = (stderr().is_terminal() && !cfg!(test)).then(|| {
            let bar = runs.map_or_else(ProgressBar::no_length, ProgressBar::new);
            bar.set_draw_target(ProgressDrawTarget::stderr());
            let template = if runs.is_some() { "{bar:20} {pos}/{len} {msg}" } else { "{pos} runs {msg}" };
            bar.with_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        });
        Self { bar, told_at: Duration::ZERO }
    }

    pub(super) fn show(&mut self, explored: &Explored, elapsed: Duration, streams: &mut Streams<'_>) {
        let (reached, pairs) = explored.coverage.pairs();
        let words = format!(
            "{:.0} runs/s, {} simulated, {} red in {} ways, {reached} of {pairs} moments of life disturbed",
            explored.runs as f64 / elapsed.as_secs_f64().max(0.001),
            whole_seconds(explored.virtual_time),
            explored.count(Verdict::Fail) + explored.count(Verdict::Error),
            explored.failures.len(),
        );
        match &self.bar {
            Some(bar) => {
                bar.set_position(explored.runs);
                bar.set_message(words);
            }
            None if elapsed >= self.told_at + PLAIN_EVERY => {
                self.told_at = elapsed;
                // Progress that nobody can read is no reason to stop.
                let _ = writeln!(streams.err, "{} runs, {words}", explored.runs);
            }
            None => {}
        }
    }

    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The findings for people.
pub(super) fn text(findings: &Findings) -> String {
    let mut text = String::new();
    for found in &findings.failures {
        let place = found.place.as_ref().map(|place| format!(", last seen: {place}")).unwrap_or_default();
        let _ = writeln!(text, "{}{place}", found.invariant);
        let _ = writeln!(text, "  {} runs, the first: {}", found.runs, found.drawn);
        if let Some(known) = &found.known {
            let _ = writeln!(text, "  known: {known} fails in the same way");
        }
        if let Some(bundle) = &found.bundle {
            let steps =
                found.shrunk_steps.map(|steps| format!(", shrunk to {steps} steps")).unwrap_or_default();
            let _ = writeln!(text, "  saved in {bundle}{steps}");
        }
        text.push('\n');
    }
    let coverage = findings.coverage();
    lifecycle(&mut text, &coverage);
    never(&mut text, &coverage);
    let seconds = findings.wall_ms as f64 / 1_000.0;
    let ranges: Vec<_> = findings.seeds.iter().map(|range| format!("from {}", range.first)).collect();
    let _ = writeln!(
        text,
        "{} runs under {}, seeds {}: {} green, {} red, {} errors; {} simulated in {seconds:.1} s ({:.0} runs/s)\n\
         of {} steps {} came to nothing, in {} of the green runs",
        findings.runs,
        findings.profile,
        ranges.join(" and "),
        findings.green + findings.inconclusive,
        findings.red,
        findings.errors,
        whole_seconds(Duration::from_millis(findings.virtual_ms)),
        findings.runs as f64 / seconds.max(0.001),
        findings.steps,
        findings.unmet,
        findings.inconclusive,
    );
    text
}

/// In how many runs what befell the gateway in which phase of its life, a run once for each state of its clients then;
/// and the sums over the other two.
fn lifecycle(text: &mut String, coverage: &Coverage) {
    let _ = write!(text, "{:26}", "runs that reached it");
    for phase in PHASES {
        let _ = write!(text, "{phase:>9}");
    }
    text.push('\n');
    for fault in HAPPENINGS {
        let _ = write!(text, "  {fault:24}");
        for phase in PHASES {
            let runs = coverage.sum(|cell| cell.phase == phase && cell.fault == fault);
            let runs = if runs == 0 { ".".to_string() } else { runs.to_string() };
            let _ = write!(text, "{runs:>9}");
        }
        text.push('\n');
    }
    let sums = |words: &[&str], runs: &dyn Fn(&str) -> u64| {
        words.iter().map(|word| format!("{word} {}", runs(word))).collect::<Vec<_>>().join(", ")
    };
    let clients = sums(&CLIENTS, &|word| coverage.sum(|cell| cell.client == word));
    let supervisors = sums(&SUPERVISORS, &|word| coverage.sum(|cell| cell.supervisor == word));
    let (pairs, all) = coverage.pairs();
    let _ = writeln!(text, "\n  clients: {clients}\n  supervisors: {supervisors}");
    let _ = writeln!(
        text,
        "  {pairs} of {all} moments of life disturbed; with clients and supervisors, {} of {} cells\n",
        coverage.cells.len(),
        Coverage::possible()
    );
}

/// What never came to pass: what was never seen, and what the gateway never had reason to say.
fn never(text: &mut String, coverage: &Coverage) {
    let never = coverage.never();
    let is_said = |name: &str| {
        EVENTS.iter().any(|(known, _, meaning)| *known == name && meaning.starts_with("the gateway says"))
    };
    let (said, seen): (Vec<_>, Vec<_>) = never.into_iter().partition(|name| is_said(name));
    for (words, names) in [("never seen", seen), ("the gateway never said", said)] {
        if !names.is_empty() {
            let listed = textwrap::fill(
                &names.join(", "),
                textwrap::Options::new(110).initial_indent("  ").subsequent_indent("  "),
            );
            let _ = writeln!(text, "{words}:\n{listed}\n");
        }
    }
}
