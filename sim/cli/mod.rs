//! The gatesim command: from arguments to an exit status.
//!
//! It finds scenarios, plans the runs, has them made and reported, and says in the exit status what came of it:
//! 0 as expected, 1 something unexpected, 2 something inconclusive, 3 bad input or an error. How a run is made
//! and how results are shown are handed in as [`Parts`]; the command knows no world.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use clap::Parser;
use clap::error::ErrorKind as ClapErrorKind;
use gateway::policy;
use serde::Serialize;

mod args;
mod cells;
mod defects;
mod defects_args;
mod defects_report;
mod execute;
mod explore;
mod explore_args;
mod explore_report;
mod input;
mod interrupt;
mod plan;
mod search;
mod search_args;
#[cfg(test)]
mod tests;

use crate::scenario::{self, About, EVENTS};
use crate::search::{Run, Traced};
use crate::verdict::{RunResult, Summary};
use crate::workers;
use args::{Command, CommandLine, Format, RunArgs};
use plan::PlannedRun;

/// Exit status for bad input.
const BAD_INPUT: u8 = 3;

/// What the command does not do itself.
pub struct Parts<'a> {
    /// Makes one run of a scenario under the named profile and a seed. Must not panic, and must leave nothing
    /// behind that the next run could meet.
    pub run: Run<'a>,
    /// The same, of which nobody wants to see the timeline.
    pub run_without_timeline: Run<'a>,
    /// The same, with a trace of all that its world did.
    pub traced: Traced<'a>,
    /// Shows results as text, ending with a line break. Timelines are there when they are asked for.
    pub report: &'a dyn Fn(&[RunResult], ReportOptions) -> String,
}

/// How results are shown as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// Show each run's timeline.
    pub timeline: bool,
    /// Explain failures also where they were expected.
    pub explain_expected: bool,
    /// How long all runs took together on this machine.
    pub wall_time: Duration,
    /// Use colours.
    pub color: bool,
}

/// Where the command writes.
pub struct Streams<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
    /// Whether standard output takes colours.
    pub out_color: bool,
    /// Whether standard error takes colours.
    pub err_color: bool,
}

/// Runs the command with `args`, the first of which is its own name, and gives its exit status. A reader who
/// leaves early (a closed pipe) is no error; anything else that keeps output from being written is.
pub fn main<A: Into<OsString> + Clone>(
    args: impl IntoIterator<Item = A>,
    parts: &Parts<'_>,
    mut streams: Streams<'_>,
) -> u8 {
    let dispatched = dispatch(args, parts, &mut streams);
    let flushed = streams.out.flush();
    match (dispatched, flushed) {
        (Ok(status), Ok(())) => status,
        // Whoever left early may still want to know how it went.
        (Ok(status), Err(error)) if error.kind() == ErrorKind::BrokenPipe => status,
        (Err(error), _) if error.kind() == ErrorKind::BrokenPipe => 0,
        (Err(error), _) | (_, Err(error)) => {
            // If this cannot be written either, the exit status has to do.
            let _ = writeln!(streams.err, "gatesim: cannot write: {error}");
            BAD_INPUT
        }
    }
}

fn dispatch<A: Into<OsString> + Clone>(
    args: impl IntoIterator<Item = A>,
    parts: &Parts<'_>,
    streams: &mut Streams<'_>,
) -> io::Result<u8> {
    match CommandLine::try_parse_from(args) {
        Ok(CommandLine { command: Command::Run(args) }) => run(&args, parts, streams),
        Ok(CommandLine { command: Command::Shrink(args) }) => search::shrink(&args, parts.run, streams),
        Ok(CommandLine { command: Command::Replay(args) }) => search::replay(&args, parts.run, streams),
        Ok(CommandLine { command: Command::Bisect(args) }) => {
            search::bisect(&args, parts.run_without_timeline, streams)
        }
        Ok(CommandLine { command: Command::Explore(args) }) => explore::explore(&args, parts.run, streams),
        Ok(CommandLine { command: Command::Merge(args) }) => explore::merge(&args, streams),
        Ok(CommandLine { command: Command::Defects(args) }) => defects::defects(&args, parts.run, streams),
        Ok(CommandLine { command: Command::Sweep(args) }) => search::sweep(&args, parts, streams),
        Ok(CommandLine { command: Command::Schema }) => {
            write!(streams.out, "{}", scenario::schema_text())?;
            Ok(0)
        }
        Ok(CommandLine { command: Command::Events(args) }) => {
            events(&args.words, streams.out)?;
            Ok(0)
        }
        Ok(CommandLine { command: Command::Profiles }) => {
            profiles(streams.out)?;
            Ok(0)
        }
        Err(answer)
            if matches!(answer.kind(), ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion) =>
        {
            write!(streams.out, "{}", styled(&answer, streams.out_color))?;
            Ok(0)
        }
        Err(mistake) => {
            write!(streams.err, "{}", styled(&mistake, streams.err_color))?;
            Ok(BAD_INPUT)
        }
    }
}

/// Every profile, and below it what it chooses differently from the default.
fn events(words: &[String], out: &mut dyn Write) -> io::Result<()> {
    for (name, about, meaning) in EVENTS {
        let has = |word: &String| name.contains(word.as_str()) || meaning.contains(word.as_str());
        if words.iter().all(has) {
            let narrowed = match about {
                _ if name.starts_with("disk.") => " [path]",
                About::Sender => " [of a sender]",
                About::Peers => " [of a group of peers]",
                About::Nobody => "",
            };
            writeln!(out, "{name}{narrowed}: {meaning}")?;
        }
    }
    Ok(())
}

fn profiles(out: &mut dyn Write) -> io::Result<()> {
    for name in policy::profile_names().chain(policy::planted_names()) {
        writeln!(out, "{name}")?;
        let policies = policy::profile(name).unwrap_or_default();
        for (policy, choice) in scenario::differences(&policies) {
            writeln!(out, "  {policy} = {choice:?}")?;
        }
    }
    Ok(())
}

fn styled(message: &clap::Error, color: bool) -> String {
    let message = message.render();
    if color { message.ansi().to_string() } else { message.to_string() }
}

fn run(args: &RunArgs, parts: &Parts<'_>, streams: &mut Streams<'_>) -> io::Result<u8> {
    let scenarios = input::scenarios(&args.paths).and_then(|found| cells::chosen(found, &args.cells));
    let plan = match scenarios.and_then(|scenarios| plan::plan(&scenarios, args)) {
        Ok(plan) => plan,
        Err(problems) => {
            for problem in &problems {
                streams.err.write_all(input::render(problem, streams.err_color).as_bytes())?;
            }
            return Ok(BAD_INPUT);
        }
    };
    if args.list {
        list(&plan, args.format, streams.out)?;
        return Ok(0);
    }
    let started = Instant::now();
    let make = |planned: &PlannedRun| match (args.check_determinism, args.timeline) {
        (true, _) => {
            let result = execute::twice(parts.run, parts.traced, planned);
            // A long campaign would otherwise keep every event of every run in memory.
            if args.timeline { result } else { RunResult { timeline: Vec::new(), ..result } }
        }
        (false, true) => execute::once(parts.run, planned),
        (false, false) => execute::once(parts.run_without_timeline, planned),
    };
    let threads = args.jobs.unwrap_or_else(workers::as_many_as_fit);
    let results = workers::in_order(&plan, threads, &make);
    let summary = Summary::of(&results);
    let report = match args.format {
        Format::Text => {
            let options = ReportOptions {
                timeline: args.timeline,
                explain_expected: args.explain || !args.profiles.is_empty(),
                wall_time: started.elapsed(),
                color: streams.out_color,
            };
            (parts.report)(&results, options)
        }
        Format::Json => to_json(&Results { runs: &results, summary }) + "\n",
    };
    match streams.out.write_all(report.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(summary.exit_code())
}

/// The JSON report.
#[derive(Serialize)]
struct Results<'a> {
    runs: &'a [RunResult],
    summary: Summary,
}

/// The JSON plan.
#[derive(Serialize)]
struct Plan<'a> {
    plan: &'a [PlannedRun],
}

fn list(plan: &[PlannedRun], format: Format, out: &mut dyn Write) -> io::Result<()> {
    if format == Format::Json {
        return writeln!(out, "{}", to_json(&Plan { plan }));
    }
    let paths: Vec<_> = plan.iter().map(|run| run.scenario.called()).collect();
    let path_width = paths.iter().map(|path| path.chars().count()).max().unwrap_or(0);
    let profile_width = plan.iter().map(|run| run.profile.len()).max().unwrap_or(0);
    for (path, PlannedRun { profile, seed, expected, .. }) in paths.iter().zip(plan) {
        writeln!(out, "{path:path_width$}  {profile:profile_width$}  seed {seed}  {expected}")?;
    }
    Ok(())
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain values have a JSON form")
}
