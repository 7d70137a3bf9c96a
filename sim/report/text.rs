//! The table of runs, the explanation of every failure, and the line that sums up.
//!
//! Runs of one scenario under one profile that came to the same share a line. A result that nobody expected is
//! explained with its evidence and with the command that replays it. No colours; columns are aligned.

use std::collections::BTreeSet;
use std::time::Duration;

use textwrap::WordSplitter;

use super::figure::Figure;
use crate::timeline::Fate;
use crate::timeline::words::{counted, cut, seconds, span};
use crate::verdict::{Expected, RunResult, Verdict};

/// One line for each scenario, profile and result, in the order of the runs.
pub fn table(runs: &[RunResult]) -> String {
    let of_block = |block: &&[RunResult]| {
        let runs: Vec<_> = block.iter().collect();
        match block.first() {
            Some(run) if run.cell.is_some() => matrix_lines(&runs),
            _ => alike(&runs, same_line).iter().map(|group| line(group)).collect(),
        }
    };
    let lines: Vec<[String; 6]> = blocks(runs).iter().flat_map(of_block).collect();
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for [scenario, profile, status, detail, virtual_time, wall_time] in &lines {
        let [scenario_width, profile_width, status_width, detail_width, virtual_width, wall_width] = widths;
        let line = format!(
            "  {scenario:<scenario_width$}   {profile:<profile_width$}   {status:<status_width$}   \
             {detail:<detail_width$}   {virtual_time:>virtual_width$}   {wall_time:>wall_width$}"
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What happened in every run that did not come to what was expected, with the command that replays it; with
/// `also_expected`, in every failure. Seeds that fail alike are explained once. Empty when there is nothing to
/// explain.
pub fn explanations(runs: &[RunResult], also_expected: bool) -> String {
    let is_told = |run: &&RunResult| !run.as_expected || also_expected && run.verdict != Verdict::Pass;
    let of_block = |block: &[RunResult]| -> Vec<String> {
        let told: Vec<_> = block.iter().filter(is_told).collect();
        if told.iter().any(|run| run.cell.is_some()) {
            // Cells that fail alike need not be neighbours.
            return grouped_by(&told, same_failure).iter().map(|group| explanation(group)).collect();
        }
        alike(&told, same_failure).iter().map(|group| explanation(group)).collect()
    };
    let told: Vec<_> = blocks(runs).into_iter().flat_map(of_block).collect();
    told.join("\n")
}

/// The runs of each file under each profile.
pub(super) fn blocks(runs: &[RunResult]) -> Vec<&[RunResult]> {
    runs.chunk_by(|one, other| one.scenario == other.scenario && one.profile == other.profile).collect()
}

/// `24 runs, 23 as expected, 1 unexpected, in 0.02 s (1,310 runs/s, 96,000x real time)`
pub fn summary(runs: &[RunResult], wall_time: Duration) -> String {
    let unexpected = runs.iter().filter(|run| !run.as_expected).count();
    let outcome = match unexpected {
        0 => "all as expected".to_string(),
        _ => format!("{} as expected, {} unexpected", grouped(runs.len() - unexpected), grouped(unexpected)),
    };
    let noun = if runs.len() == 1 { "run" } else { "runs" };
    let hundredths = (wall_time.as_millis() + 5) / 10;
    let took = format!("{}.{:02} s", hundredths / 100, hundredths % 100);
    let mut text = format!("{} {noun}, {outcome}, in {took}", grouped(runs.len()));
    let virtual_time: Duration = runs.iter().map(|run| run.virtual_time).sum();
    if let (Some(rate), Some(speed)) = (
        (runs.len() as u128 * 1_000_000).checked_div(wall_time.as_micros()),
        virtual_time.as_micros().checked_div(wall_time.as_micros()),
    ) {
        text.push_str(&format!(
            " ({} runs/s, {}x real time)",
            grouped(rounded(rate)),
            grouped(rounded(speed))
        ));
    }
    text.push('\n');
    text
}

/// Neighbours that are the same by `same`, as groups.
fn alike<'a, 'r>(
    runs: &'a [&'r RunResult],
    same: fn(&RunResult, &RunResult) -> bool,
) -> Vec<&'a [&'r RunResult]> {
    runs.chunk_by(|one, other| one.cell == other.cell && same(one, other)).collect()
}

/// All that are the same by `same`, as groups in the order of their first.
fn grouped_by<'r>(
    runs: &[&'r RunResult],
    same: fn(&RunResult, &RunResult) -> bool,
) -> Vec<Vec<&'r RunResult>> {
    let mut groups: Vec<Vec<&RunResult>> = Vec::new();
    for run in runs {
        match groups.iter_mut().find(|group| same(group[0], run)) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
}

fn same_line(one: &RunResult, other: &RunResult) -> bool {
    status(one) == status(other) && detail(one) == detail(other)
}

fn same_failure(one: &RunResult, other: &RunResult) -> bool {
    one.verdict == other.verdict && invariants(one) == invariants(other) && one.notes == other.notes
}

/// The cells of a line: scenario, profile, status, detail, virtual time, wall time.
fn line(group: &[&RunResult]) -> [String; 6] {
    let run = group[0];
    let seeds = if group.len() > 1 { format!(", {} seeds", group.len()) } else { String::new() };
    let virtual_time: Duration = group.iter().map(|run| run.virtual_time).sum();
    let wall_time: Duration = group.iter().map(|run| run.wall_time).sum();
    [
        name(run),
        run.profile.clone(),
        status(run).to_string(),
        format!("{}{seeds}", detail(run)),
        format!("{} virtual", span(virtual_time)),
        millis(wall_time),
    ]
}

/// So many cells that came to something unexpected have a line of their own.
const LISTED: usize = 12;

/// The lines of a matrix under one profile: one for each status, and below them one for each cell that came to
/// something unexpected.
fn matrix_lines(runs: &[&RunResult]) -> Vec<[String; 6]> {
    let all = cells(runs);
    let mut by_status = grouped_by(runs, |one, other| status(one) == status(other));
    by_status.sort_by_key(|group| !group[0].as_expected);
    let mut lines: Vec<_> = by_status.iter().map(|group| matrix_line(group, all)).collect();
    let unexpected: Vec<_> = runs.iter().filter(|run| !run.as_expected).copied().collect();
    let each = alike(&unexpected, same_line);
    for group in each.iter().take(LISTED) {
        let [_, profile, status, detail, virtual_time, wall_time] = line(group);
        let cell = group[0].cell.as_ref().map(|cell| format!("  [{cell}]")).unwrap_or_default();
        lines.push([cell, profile, status, detail, virtual_time, wall_time]);
    }
    if each.len() > LISTED {
        let mut more: [String; 6] = Default::default();
        more[0] = format!("  ... and {}", counted(each.len() - LISTED, "more line"));
        lines.push(more);
    }
    lines
}

/// How many cells these runs are of.
fn cells(runs: &[&RunResult]) -> usize {
    runs.iter().map(|run| &run.cell).collect::<BTreeSet<_>>().len()
}

/// One line for runs of several cells, of which the matrix has so many in `all`.
fn matrix_line(group: &[&RunResult], all: usize) -> [String; 6] {
    let [_, profile, status, _, virtual_time, wall_time] = line(group);
    let of = cells(group);
    let cells = if of == all { counted(of, "cell") } else { format!("{of} of {all} cells") };
    let seeds = group.iter().map(|run| run.seed).collect::<BTreeSet<_>>().len();
    let seeds = if seeds > 1 { format!(" x {seeds} seeds") } else { String::new() };
    let mut broken: Vec<&str> = group.iter().flat_map(|run| invariants(run)).collect();
    broken.sort_unstable();
    broken.dedup();
    let broken = if broken.is_empty() { String::new() } else { format!(", {}", broken.join(", ")) };
    let detail = format!("{cells}{seeds}{broken}{}", port_free(group));
    [matrix_name(group[0]).to_string(), profile, status, detail, virtual_time, wall_time]
}

/// `, port free in 0.1-4.9 s`
fn port_free(group: &[&RunResult]) -> String {
    let shutdowns = group.iter().flat_map(|run| &run.shutdowns);
    match shutdowns.map(|shutdown| Figure::of(shutdown.port_free_ms)).reduce(Figure::both) {
        Some(figure) if figure.is_of_something() => format!(", port free in {}", figure.words()),
        Some(_) => ", port never free".to_string(),
        None => String::new(),
    }
}

/// The name of the file that a run is of, whatever its cell.
pub(super) fn matrix_name(run: &RunResult) -> &str {
    short_name(&run.scenario)
}

/// `bugs/x`, or `bugs/x[signal=SIGTERM]` for a cell.
fn name(run: &RunResult) -> String {
    let cell = run.cell.as_ref().map(|cell| format!("[{cell}]")).unwrap_or_default();
    format!("{}{cell}", short_name(&run.scenario))
}

/// `scenarios/bugs/x.toml` is known as `bugs/x`.
fn short_name(scenario: &str) -> &str {
    let name = scenario.strip_suffix(".toml").unwrap_or(scenario);
    let name = name.strip_prefix("./").unwrap_or(name);
    name.strip_prefix("scenarios/").unwrap_or(name)
}

const fn status(run: &RunResult) -> &'static str {
    match (run.verdict, run.as_expected) {
        (Verdict::Pass, true) => "green",
        (Verdict::Fail, true) => "red as reported",
        (Verdict::Inconclusive, true) => "inconclusive as expected",
        (Verdict::Pass, false) => "GREEN, unexpected",
        (Verdict::Fail, false) => "RED, unexpected",
        (Verdict::Inconclusive, false) => "INCONCLUSIVE",
        (Verdict::Error, _) => "ERROR",
    }
}

fn detail(run: &RunResult) -> String {
    match run.verdict {
        Verdict::Fail => invariants(run).join(", "),
        Verdict::Pass => fates(run),
        Verdict::Inconclusive | Verdict::Error => {
            run.notes.first().map_or_else(String::new, |note| cut(note.trim_end_matches('.'), 60))
        }
    }
}

/// The violated invariants, each once, in the order of the violations.
pub(super) fn invariants(run: &RunResult) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for violation in &run.violations {
        if !names.contains(&violation.invariant.as_str()) {
            names.push(&violation.invariant);
        }
    }
    names
}

/// `2 replied, 1 told`
fn fates(run: &RunResult) -> String {
    let count = |fate: Fate| run.fates.values().filter(|name| *name == fate.name()).count();
    let counts: Vec<_> = Fate::ALL
        .into_iter()
        .filter(|fate| count(*fate) > 0)
        .map(|fate| format!("{} {fate}", count(fate)))
        .collect();
    if counts.is_empty() { "no messages".to_string() } else { counts.join(", ") }
}

/// How wide explanations are, and how many violations of one run are told in full.
const WIDTH: usize = 110;
const TOLD: usize = 5;

/// `bugs/33149-tab-never-closes on hardened, seed 7`
pub fn title(run: &RunResult) -> String {
    format!("{} on {}, seed {}", name(run), run.profile, run.seed)
}

fn explanation(group: &[&RunResult]) -> String {
    let run = group[0];
    let mut text = format!("  {}\n", title(run));
    if !run.as_expected && (run.verdict != Verdict::Fail || run.expected != Expected::Pass) {
        paragraph(&mut text, &format!("Expected {}, and the run came to: {}.", run.expected, run.verdict));
    }
    let several = invariants(run).len() > 1;
    for violation in run.violations.iter().take(TOLD) {
        let name = if several { format!("{}: ", violation.invariant) } else { String::new() };
        paragraph(&mut text, &format!("{name}{}.", violation.message.trim_end_matches('.')));
        paragraph(&mut text, &violation.explanation);
        if let Some(seen) = &violation.last_seen {
            let at = seconds(Duration::from_millis(seen.at_ms));
            paragraph(&mut text, &format!("Last seen at {at} s: {}.", seen.place));
        }
    }
    if run.violations.len() > TOLD {
        let more = counted(run.violations.len() - TOLD, "more violation");
        paragraph(&mut text, &format!("... and {more}."));
    }
    for note in &run.notes {
        paragraph(&mut text, note);
    }
    for same in same_elsewhere(group) {
        paragraph_of(&mut text, &same, WordSplitter::NoHyphenation);
    }
    text.push_str(&format!("    replay   {}\n", replay(run)));
    text
}

/// On which other seeds and in which other cells it was the same.
fn same_elsewhere(group: &[&RunResult]) -> Vec<String> {
    let listed = |found: Vec<String>, most: usize, noun: &str, preposition: &str| {
        if found.is_empty() {
            return None;
        }
        let rest = if found.len() > most { ", ..." } else { "" };
        let first = &found[..found.len().min(most)];
        Some(format!("The same {preposition} {}: {}{rest}.", counted(found.len(), noun), first.join(", ")))
    };
    let (here, elsewhere): (Vec<&RunResult>, Vec<&RunResult>) =
        group[1..].iter().partition(|run| run.cell == group[0].cell);
    let seeds = here.iter().map(|run| run.seed.to_string()).collect();
    let mut cells: Vec<_> =
        elsewhere.iter().filter_map(|run| run.cell.as_ref()).map(|cell| format!("[{cell}]")).collect();
    cells.dedup();
    [listed(seeds, 12, "more seed", "on"), listed(cells, 6, "more cell", "in")]
        .into_iter()
        .flatten()
        .collect()
}

fn paragraph(text: &mut String, sentence: &str) {
    paragraph_of(text, sentence, WordSplitter::HyphenSplitter);
}

fn paragraph_of(text: &mut String, sentence: &str, splitter: WordSplitter) {
    let indent = "    ";
    let options = textwrap::Options::new(WIDTH)
        .initial_indent(indent)
        .subsequent_indent(indent)
        .break_words(false)
        .word_splitter(splitter);
    text.push_str(&textwrap::fill(sentence, options));
    text.push('\n');
}

/// The command that makes exactly this run again and shows its timeline.
pub fn replay(run: &RunResult) -> String {
    let (scenario, profile) = (shell_word(&run.scenario), shell_word(&run.profile));
    let cell = run.cell.as_ref().map(|cell| format!(" --cell {}", shell_word(&cell.to_string())));
    let cell = cell.unwrap_or_default();
    format!("gatesim run {scenario}{cell} --profile {profile} --seed {} --timeline", run.seed)
}

/// `word` as a POSIX shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Milliseconds with one decimal: `0.4 ms`.
fn millis(time: Duration) -> String {
    let tenths = (time.as_micros() + 50) / 100;
    format!("{}.{} ms", tenths / 10, tenths % 10)
}

/// A figure to three digits, since the rest of a measurement is noise.
fn rounded(figure: u128) -> u128 {
    let mut unit = 1;
    while figure / unit >= 1_000 {
        unit *= 10;
    }
    (figure + unit / 2) / unit * unit
}

/// Digits in groups of three: `96,000`.
fn grouped(number: impl ToString) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ReportOptions;
    use crate::timeline::{EventHash, Sighting};
    use crate::verdict::Violation;

    fn run(scenario: &str, profile: &str, seed: u64, verdict: Verdict, expected: Expected) -> RunResult {
        RunResult {
            scenario: format!("scenarios/bugs/{scenario}.toml"),
            cell: None,
            profile: profile.into(),
            seed,
            verdict,
            as_expected: expected.is_met_by(verdict, &[]),
            expected,
            violations: Vec::new(),
            fates: [("ann#1".to_string(), "replied".to_string())].into_iter().collect(),
            shutdowns: Vec::new(),
            virtual_time: Duration::from_millis(4_200),
            wall_time: Duration::from_micros(612),
            events: 12,
            hash: EventHash(1),
            notes: Vec::new(),
            timeline: Vec::new(),
        }
    }

    fn violated(mut run: RunResult, invariant: &str, last_seen: Option<Sighting>) -> RunResult {
        run.violations.push(Violation {
            invariant: invariant.into(),
            message: "The port 18789 was still bound 4.0 s after SIGUSR1 (budget 2.0 s)".into(),
            explanation:
                "SIGUSR1 reached gateway pid 214 at 8.310 s; no work was in flight. It held the port until \
                          12.310 s; it ended at 12.310 s (exit 0)."
                    .into(),
            last_seen,
        });
        run.as_expected = run.expected.is_met_by(run.verdict, &run.violations);
        run
    }

    fn mixed() -> Vec<RunResult> {
        let red = Expected::Fail(vec!["no-silent-drop".into()]);
        let seen = Sighting { at_ms: 1_003, place: "run r1 on gateway pid 214 was waiting".into() };
        let reported = run("38836-sigterm-mid-reply", "openclaw-2026.3.2", 7, Verdict::Fail, red.clone());
        let green = |seed| run("38836-sigterm-mid-reply", "hardened", seed, Verdict::Pass, Expected::Pass);
        let port = |seed| {
            let run = run("33149-tab-never-closes", "hardened", seed, Verdict::Fail, Expected::Pass);
            violated(run, "port-is-released", None)
        };
        let mut inconclusive = run("77721-lock", "hardened", 7, Verdict::Inconclusive, Expected::Pass);
        inconclusive.notes.push("The step \"signal\" never happened.".into());
        let wrongly_green = run("77721-lock", "openclaw-2026.3.2", 7, Verdict::Pass, red);
        vec![
            violated(reported, "no-silent-drop", Some(seen)),
            green(7),
            green(8),
            port(7),
            port(8),
            inconclusive,
            wrongly_green,
        ]
    }

    #[test]
    fn a_report_with_everything_in_it() {
        let options = ReportOptions {
            timeline: false,
            explain_expected: false,
            wall_time: Duration::from_micros(18_321),
            color: false,
        };
        insta::with_settings!({ snapshot_path => "../../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("report_mixed", crate::report::of_runs(&mixed(), options));
        });
    }

    #[test]
    fn all_as_expected_needs_no_explanation() {
        let runs = [run("a", "hardened", 1, Verdict::Pass, Expected::Pass)];
        assert_eq!(explanations(&runs, false), "");
        assert_eq!(
            summary(&runs, Duration::from_micros(763)),
            "1 run, all as expected, in 0.00 s (1,310 runs/s, 5,500x real time)\n"
        );
        assert_eq!(summary(&[], Duration::ZERO), "0 runs, all as expected, in 0.00 s\n");
    }

    #[test]
    fn a_replay_command_survives_the_shell() {
        let mut run = run("a", "planted:always-ready", 3, Verdict::Pass, Expected::Pass);
        run.scenario = "my scenarios/it's.toml".into();
        assert_eq!(
            replay(&run),
            r"gatesim run 'my scenarios/it'\''s.toml' --profile planted:always-ready --seed 3 --timeline"
        );
    }

    #[test]
    fn figures_keep_three_digits_and_are_grouped() {
        let shown: Vec<_> = [0, 999, 1_314, 95_960, 1_234_567].map(|n| grouped(rounded(n))).into();
        assert_eq!(shown, ["0", "999", "1,310", "96,000", "1,230,000"]);
    }
}
