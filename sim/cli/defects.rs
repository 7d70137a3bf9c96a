//! `gatesim defects`: every planted defect is looked for on its own, several of them at a time.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use gateway::policy::{self, PLANTED_PREFIX};

use super::args::Format;
use super::defects_args::DefectsArgs;
use super::defects_report::{Progress, Table, text};
use super::input::Problem;
use super::search::{Outcome, finish};
use super::{Streams, interrupt, to_json};
use crate::scenario::nearest;
use crate::search::defects::{self, Hunted, Task};
use crate::search::{Run, bundle, explore};
use crate::workers;

/// `gatesim defects`.
pub(super) fn defects(args: &DefectsArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<u8> {
    let outcome = try_defects(args, run, streams);
    finish(outcome, streams)
}

fn try_defects(args: &DefectsArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let names = match named(args) {
        Ok(names) => names,
        Err(problems) => return Ok(Err(problems)),
    };
    let started = Instant::now();
    let all = hunt(args, run, &names, streams)?;
    if let Some(folder) = &args.save
        && let Err((folder, error)) = save(run, folder, &all)
    {
        let message = format!("cannot save in {folder}: {error}");
        return Ok(Err(vec![Problem::new(message, "check the folder and its permissions.")]));
    }
    let table = Table::of(all, names.len(), args.seed, args.seeds, started.elapsed());
    match args.format {
        Format::Text => write!(streams.out, "{}", text(&table))?,
        Format::Json => writeln!(streams.out, "{}", to_json(&table))?,
    }
    Ok(Ok(table.exit_code()))
}

/// The defects that are meant, each once, in the order of their areas.
fn named(args: &DefectsArgs) -> Result<Vec<&'static str>, Vec<Problem>> {
    if args.seed.checked_add(args.seeds).is_none() {
        let message = format!("there are no {} seeds from {} on", args.seeds, args.seed);
        return Err(vec![Problem::new(message, format!("the last seed is {}.", u64::MAX))]);
    }
    let mut names: Vec<&'static str> = policy::planted_names().collect();
    if !args.names.is_empty() {
        let whole = |name: &String| match name.starts_with(PLANTED_PREFIX) {
            true => name.clone(),
            false => format!("{PLANTED_PREFIX}{name}"),
        };
        let asked: BTreeSet<String> = args.names.iter().map(whole).collect();
        let unknown = asked.iter().filter(|name| !names.contains(&name.as_str()));
        let problems: Vec<_> = unknown.map(|name| unknown_defect(name)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        names.retain(|name| asked.contains(*name));
    }
    let place = |name: &&str| defects::AREAS.iter().position(|area| *area == defects::area_of(name));
    names.sort_by_key(place);
    Ok(names)
}

fn unknown_defect(name: &str) -> Problem {
    let help = match nearest(name, policy::planted_names()) {
        Some(close) => format!("did you mean `{}`?", close.trim_start_matches(PLANTED_PREFIX)),
        None => format!("`gatesim profiles` lists them: their names begin with `{PLANTED_PREFIX}`."),
    };
    Problem::new(format!("unknown defect `{}`", name.trim_start_matches(PLANTED_PREFIX)), help)
}

/// Looks for all of them, and tells of each as soon as it is known. Who is not begun when it is over, is left out.
fn hunt(
    args: &DefectsArgs,
    run: Run<'_>,
    names: &[&'static str],
    streams: &mut Streams<'_>,
) -> io::Result<Vec<Hunted>> {
    let jobs = args.jobs.unwrap_or_else(workers::as_many_as_fit);
    let task = Task {
        first_seed: args.seed,
        seeds: args.seeds,
        // Who is looked for alone is looked for by all.
        threads: NonZeroUsize::new(jobs.get() / names.len()).unwrap_or(NonZeroUsize::MIN),
        most_runs: args.most_runs,
        is_over: &interrupt::is_asked_for,
    };
    let mut progress = Progress::begin(names.len());
    let (tell, told) = mpsc::channel();
    let task = &task;
    let found = thread::scope(|scope| {
        let hunting = scope.spawn(move || {
            workers::in_order(names, jobs, &|name: &&'static str| {
                let hunted = (!(task.is_over)()).then(|| defects::hunt(run, name, task))?;
                // Who does not want to be told any more has gone.
                let _ = tell.send(hunted.clone());
                Some(hunted)
            })
        });
        for hunted in &told {
            progress.show(&hunted, streams);
        }
        hunting.join()
    });
    progress.end();
    match found {
        Ok(found) => Ok(found.into_iter().flatten().collect()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Writes a bundle for each that was found; else says which folder cannot be written, and why.
fn save(run: Run<'_>, folder: &Path, all: &[Hunted]) -> Result<(), (String, bundle::BundleError)> {
    for hunted in all {
        let Some(quarry) = &hunted.found else { continue };
        let folder = folder.join(hunted.defect.trim_start_matches(PLANTED_PREFIX));
        let because = |error| (folder.display().to_string(), error);
        let scenario =
            quarry.draft.scenario(&explore::path_of(quarry.seed)).map_err(|error| because(error.into()))?;
        let result = run(&scenario, &hunted.defect, quarry.seed);
        let parts = bundle::Failure {
            result: &result,
            draft: &quarry.draft,
            signature: &quarry.signature(),
            shrunk: (&quarry.shrunk_draft, quarry.shrunk_seed),
        };
        bundle::write(&folder, &parts).map_err(because)?;
    }
    Ok(())
}
