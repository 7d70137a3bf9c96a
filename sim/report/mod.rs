//! What people read: the timeline of a run, and the table of many.
//!
//! Plain text, the same on every platform; colour and paging are the terminal's affair. Reports are made from
//! finished runs and know nothing of how one is run.

use anstyle::{AnsiColor, Style};

use crate::cli::ReportOptions;
use crate::verdict::{RunResult, Verdict};

mod columns;
mod crowds;
mod disk_words;
mod figure;
mod fold;
mod hangs;
mod log_words;
mod phrases;
mod platform_words;
pub mod text;
pub mod timeline;

/// The report of the `run` command: table, timelines where asked for, explanations, summary.
pub fn of_runs(runs: &[RunResult], options: ReportOptions) -> String {
    let mut report = text::table(runs);
    if options.color {
        report = paint(&report);
    }
    if options.timeline {
        for run in runs {
            report.push_str(&format!("\n{}\n", text::title(run)));
            report.push_str(&timeline::render(&run.timeline, &timeline::TimelineOptions::default()));
        }
    }
    for block in text::blocks(runs).into_iter().filter(|block| wants_hangs(block, options)) {
        report.push_str(&format!("\n{}", hangs::table(block)));
    }
    let explained = text::explanations(runs, options.explain_expected);
    if !explained.is_empty() {
        report.push_str(&format!("\n{explained}"));
    }
    report.push_str(&format!("\n{}", text::summary(runs, options.wall_time)));
    report
}

/// Whether it is told how the shutdowns of a matrix went: when it was asked for, or something broke unexpectedly.
fn wants_hangs(block: &[RunResult], options: ReportOptions) -> bool {
    let broke = |run: &RunResult| run.verdict == Verdict::Fail && !run.as_expected;
    block.iter().all(|run| run.cell.is_some()) && (options.explain_expected || block.iter().any(broke))
}

/// Colours the status words of a table; the text stays the same.
fn paint(table: &str) -> String {
    let bold = |color: AnsiColor| color.on_default().bold();
    let paints: [(&str, Style); 6] = [
        ("GREEN, unexpected", bold(AnsiColor::Red)),
        ("RED, unexpected", bold(AnsiColor::Red)),
        ("ERROR", bold(AnsiColor::Red)),
        ("INCONCLUSIVE", bold(AnsiColor::Yellow)),
        ("red as reported", AnsiColor::Magenta.on_default()),
        ("green", AnsiColor::Green.on_default()),
    ];
    let paint_line = |line: &str| {
        let found = paints.iter().find(|(word, _)| line.contains(&format!("   {word}   ")));
        match found {
            Some((word, style)) => line.replacen(word, &format!("{style}{word}{style:#}"), 1) + "\n",
            None => format!("{line}\n"),
        }
    };
    table.lines().map(paint_line).collect()
}

#[cfg(test)]
mod tests {
    use super::paint;

    #[test]
    fn colours_change_no_text() {
        let table =
            "  a   hardened   green             1 replied\n  b   planted:green   RED, unexpected   x\n";
        let painted = paint(table);
        assert!(painted.contains("\u{1b}[32mgreen\u{1b}[0m"), "{painted:?}");
        assert!(painted.contains("\u{1b}[1m\u{1b}[31mRED, unexpected\u{1b}[0m"), "{painted:?}");
        let mut plain = painted;
        for code in ["\u{1b}[32m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, table);
    }
}
