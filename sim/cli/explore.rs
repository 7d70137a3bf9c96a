//! `gatesim explore`: a campaign, its progress, what becomes of its failures; and `gatesim merge`, which adds up shards.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::args::Format;
use super::explore_args::{ExploreArgs, MergeArgs, Shard};
use super::explore_report::{Progress, text};
use super::input::{self, Problem};
use super::search::{Outcome, finish, known};
use super::{Streams, interrupt, to_json};
use crate::search::explore::{self, Campaign, Explored, Failure, Findings, Found, SeedRange, Weights};
use crate::search::{Draft, Run, Signature, bundle, shrink};
use crate::verdict::RunResult;
use crate::workers;

/// How many seeds are tried when nobody says how many, or for how long.
const SEEDS: u64 = 1_000;
/// How many seeds are more than any time is enough for.
const ENDLESS: u64 = 1_000_000_000;
/// With how many seeds a known scenario is run to see in which ways it fails.
const SEEDS_OF_KNOWN: u64 = 3;

/// `gatesim explore`.
pub(super) fn explore(args: &ExploreArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<u8> {
    let outcome = try_explore(args, run, streams);
    finish(outcome, streams)
}

fn try_explore(args: &ExploreArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let read = known(&[&args.profile]).and_then(|()| seeds(args)).and_then(|seeds| Ok((seeds, bases(args)?)));
    let (seeds, bases) = match read {
        Ok(read) => read,
        Err(problems) => return Ok(Err(problems)),
    };
    let started = Instant::now();
    let is_over =
        || interrupt::is_asked_for() || args.lasting.is_some_and(|lasting| started.elapsed() >= lasting);
    let campaign = Campaign {
        profile: &args.profile,
        bases: &bases,
        first_seed: seeds.first,
        seeds: seeds.count,
        threads: args.jobs.unwrap_or_else(workers::as_many_as_fit),
        is_over: &is_over,
    };
    if args.list {
        return list(&campaign, streams).map(|()| Ok(0));
    }
    let mut progress = Progress::begin(args.lasting.is_none().then_some(seeds.count));
    let explored =
        explore::explore(run, &campaign, &mut |so_far| progress.show(so_far, started.elapsed(), streams));
    progress.end();
    let names = args.paths.iter().map(|path| path.display().to_string()).collect();
    let mut findings = Findings::of(&explored, &args.profile, names, seeds, started.elapsed());
    if !findings.failures.is_empty() {
        recognise(run, args, &mut findings);
        if let Err(problem) = save(run, args, &explored, &mut findings, streams)? {
            return Ok(Err(vec![problem]));
        }
    }
    print(&findings, args.format, streams)?;
    Ok(Ok(findings.exit_code()))
}

/// The seeds of this campaign, or of its part.
fn seeds(args: &ExploreArgs) -> Result<SeedRange, Vec<Problem>> {
    let count = args.seeds.unwrap_or(if args.lasting.is_some() { ENDLESS } else { SEEDS });
    let Shard { index, of } = args.shard.unwrap_or(Shard { index: 1, of: 1 });
    let all = SeedRange { first: args.seed, count };
    if args.seed.checked_add(count).is_none() {
        let message = format!("there are no {count} seeds from {} on", args.seed);
        return Err(vec![Problem::new(message, format!("the last seed is {}.", u64::MAX))]);
    }
    let seeds = all.shard(index, of);
    if seeds.count == 0 {
        let message = format!("there are no seeds for part {index} of {of} of {count}");
        return Err(vec![Problem::new(message, "name more seeds, or fewer parts.")]);
    }
    Ok(seeds)
}

/// The scenarios that are varied.
fn bases(args: &ExploreArgs) -> Result<Vec<Draft>, Vec<Problem>> {
    let found = input::scenarios(&args.paths)?;
    let draft = |scenario: &std::sync::Arc<crate::scenario::Scenario>| {
        Draft::read(&scenario.path, scenario.cell.as_ref()).map_err(|error| vec![error.into()])
    };
    found.iter().map(draft).collect()
}

fn list(campaign: &Campaign<'_>, streams: &mut Streams<'_>) -> io::Result<()> {
    for seed in (campaign.first_seed..).take(campaign.seeds as usize) {
        let drawn = campaign.draw(seed, &Weights::default());
        write!(streams.out, "# {}\n{}\n", drawn.line, drawn.draft.to_text())?;
    }
    Ok(())
}

fn print(findings: &Findings, format: Format, streams: &mut Streams<'_>) -> io::Result<()> {
    match format {
        Format::Text => write!(streams.out, "{}", text(findings)),
        Format::Json => writeln!(streams.out, "{}", to_json(findings)),
    }
}

fn signature_of(found: &Found) -> Signature {
    Signature { invariant: found.invariant.clone(), place: found.place.clone() }
}

/// Names the scenarios that are known to fail in the same way under this profile.
fn recognise(run: Run<'_>, args: &ExploreArgs, findings: &mut Findings) {
    let Ok(scenarios) = input::scenarios(std::slice::from_ref(&args.known)) else { return };
    let mut known: BTreeMap<Signature, String> = BTreeMap::new();
    for scenario in scenarios {
        for seed in 1..=SEEDS_OF_KNOWN {
            let result = run(&scenario, &args.profile, seed);
            for signature in Signature::all_of(&result, &scenario) {
                known.entry(signature).or_insert_with(|| scenario.called());
            }
        }
    }
    for found in &mut findings.failures {
        found.known = known.get(&signature_of(found)).cloned();
    }
}

/// Shrinks the first failure of each kind that nobody knows yet, and writes its bundle.
fn save(
    run: Run<'_>,
    args: &ExploreArgs,
    explored: &Explored,
    findings: &mut Findings,
    streams: &mut Streams<'_>,
) -> io::Result<Result<(), Problem>> {
    let Some(folder) = &args.save else { return Ok(Ok(())) };
    for found in findings.failures.iter_mut().filter(|found| found.known.is_none()) {
        let signature = signature_of(found);
        let Some(failure) = explored.failures.get(&signature) else { continue };
        let folder = folder.join(bundle::folder_of(&signature));
        found.bundle = Some(folder.display().to_string());
        if bundle::is_of(&folder, &signature) {
            continue;
        }
        let started = Instant::now();
        match save_one(run, args, &folder, &signature, failure) {
            Ok((before, after)) => {
                found.shrunk_steps = Some(after);
                let words =
                    format!("{signature}: {before} steps became {after}, in {:.1} s", seconds(started));
                writeln!(streams.err, "{words}")?;
            }
            Err(error) => {
                let message = format!("cannot save in {}: {error}", folder.display());
                return Ok(Err(Problem::new(message, "check the folder and its permissions.")));
            }
        }
    }
    Ok(Ok(()))
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// How many steps the scenario has, and how many the shrunk one.
fn save_one(
    run: Run<'_>,
    args: &ExploreArgs,
    folder: &Path,
    signature: &Signature,
    failure: &Failure,
) -> Result<(usize, usize), bundle::BundleError> {
    let draft = explore::failing(failure, &args.profile, signature);
    let path = explore::path_of(failure.seed);
    let scenario = draft.scenario(&path)?;
    let result: RunResult = run(&scenario, &args.profile, failure.seed);
    let task = shrink::Task {
        draft: draft.clone(),
        path: &path,
        profile: &args.profile,
        seed: failure.seed,
        signature: signature.clone(),
        // Whoever wants to go does not want to wait for this.
        most_runs: if interrupt::is_asked_for() { 0 } else { args.most_runs },
        other_seeds: 1,
    };
    let mut shrunk = shrink::shrink(run, task);
    shrunk.draft.expect_failure(&args.profile, &signature.invariant);
    let parts =
        bundle::Failure { result: &result, draft: &draft, signature, shrunk: (&shrunk.draft, shrunk.seed) };
    bundle::write(folder, &parts)?;
    Ok((draft.steps().len(), shrunk.draft.steps().len()))
}

/// `gatesim merge`.
pub(super) fn merge(args: &MergeArgs, streams: &mut Streams<'_>) -> io::Result<u8> {
    let outcome = match merged(args) {
        Ok(findings) => print(&findings, args.format, streams).map(|()| Ok(findings.exit_code())),
        Err(problem) => Ok(Err(vec![problem])),
    };
    finish(outcome, streams)
}

fn merged(args: &MergeArgs) -> Result<Findings, Problem> {
    let help = "a file is what `gatesim explore --format json` printed.";
    let read = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).map_err(|error| error.to_string());
        let findings =
            bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        findings.map_err(|error| Problem::new(format!("cannot use {}: {error}", path.display()), help))
    };
    let all = args.files.iter().map(read).collect::<Result<Vec<Findings>, _>>()?;
    let help = "name each part of one campaign once.";
    match explore::merge(all) {
        Ok(Some(findings)) => Ok(findings),
        Ok(None) => unreachable!("there is at least one file"),
        Err(error) => Err(Problem::new(format!("these cannot be added up: {error}"), help)),
    }
}

/// A time in whole seconds, in words.
pub(super) fn whole_seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}
