//! `gatesim explore`: a campaign, its progress, its failures and what it reached.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Streams;
use super::explore_args::ExploreArgs;
use super::input::Problem;
use super::search::{Outcome, finish, known};
use crate::search::explore::{self, Campaign, Coverage, Explored, Failure, Weights};
use crate::search::{Run, Signature, bundle, shrink};
use crate::verdict::Verdict;
use crate::workers;

/// How many seeds are tried when nobody says how many, or for how long.
const SEEDS: u64 = 1_000;

/// `gatesim explore`.
pub(super) fn explore(args: &ExploreArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<u8> {
    let outcome = try_explore(args, run, streams);
    finish(outcome, streams)
}

fn try_explore(args: &ExploreArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    if let Err(problems) = known(&[&args.profile]) {
        return Ok(Err(problems));
    }
    let seeds = args.seeds.or((args.lasting.is_none()).then_some(SEEDS));
    if args.list {
        for seed in (args.seed..).take(seeds.unwrap_or(SEEDS) as usize) {
            let drawn = explore::invent(seed, &Weights::default());
            write!(streams.out, "# {}\n{}\n", drawn.line, drawn.draft.to_text())?;
        }
        return Ok(Ok(0));
    }
    let campaign = Campaign {
        profile: &args.profile,
        first_seed: args.seed,
        seeds,
        threads: args.jobs.unwrap_or_else(workers::as_many_as_fit),
    };
    let started = Instant::now();
    let explored = explore::explore(run, &campaign, &mut |so_far| {
        let _ = writeln!(streams.err, "{}", progress(so_far, started.elapsed()));
        args.lasting.is_none_or(|lasting| started.elapsed() < lasting)
    });
    let elapsed = started.elapsed();
    write!(streams.out, "{}", summary(&explored, args, elapsed))?;
    for (signature, failure) in &explored.failures {
        write!(streams.out, "\n{signature}\n  {} runs, the first: {}\n", failure.times, failure.drawn.line)?;
        if let Some(folder) = &args.save
            && let Err(error) = save(run, folder, args, signature, failure, streams)?
        {
            let message = format!("cannot save in {}: {error}", folder.display());
            return Ok(Err(vec![Problem::new(message, "check the folder and its permissions.")]));
        }
    }
    Ok(Ok(match () {
        () if explored.count(Verdict::Error) > 0 => super::BAD_INPUT,
        () if explored.count(Verdict::Fail) > 0 => 1,
        () => 0,
    }))
}

fn progress(explored: &Explored, elapsed: Duration) -> String {
    let (reached, pairs) = explored.coverage.pairs();
    format!(
        "{} runs, {:.0} runs/s, {} simulated, {} red in {} ways, {reached} of {pairs} moments of life disturbed",
        explored.runs,
        explored.runs as f64 / elapsed.as_secs_f64(),
        humantime::format_duration(Duration::from_secs(explored.virtual_time.as_secs())),
        explored.count(Verdict::Fail) + explored.count(Verdict::Error),
        explored.failures.len(),
    )
}

fn summary(explored: &Explored, args: &ExploreArgs, elapsed: Duration) -> String {
    let never = explored.coverage.never();
    format!(
        "{} runs under {}: {} green, {} red, {} without evidence, {} errors, in {:.1} s\n{} of {} cells reached\nnever: {}\n",
        explored.runs,
        args.profile,
        explored.count(Verdict::Pass),
        explored.count(Verdict::Fail),
        explored.count(Verdict::Inconclusive),
        explored.count(Verdict::Error),
        elapsed.as_secs_f64(),
        explored.coverage.cells.len(),
        Coverage::possible(),
        never.join(", "),
    )
}

/// Shrinks a failure and writes its bundle into a folder of its own below `folder`.
fn save(
    run: Run<'_>,
    folder: &Path,
    args: &ExploreArgs,
    signature: &Signature,
    failure: &Failure,
    streams: &mut Streams<'_>,
) -> io::Result<Result<(), bundle::BundleError>> {
    let draft = explore::failing(failure, &args.profile, signature);
    let path = format!("seed-{}.toml", failure.seed);
    let path = Path::new(&path);
    let task = shrink::Task {
        draft: draft.clone(),
        path,
        profile: &args.profile,
        seed: failure.seed,
        signature: signature.clone(),
        most_runs: args.most_runs,
        other_seeds: 1,
    };
    let mut shrunk = shrink::shrink(run, task);
    shrunk.draft.expect_failure(&args.profile, &signature.invariant);
    let Ok(scenario) = draft.scenario(path) else { unreachable!("it has failed, so it is a scenario") };
    let result = run(&scenario, &args.profile, failure.seed);
    let name = format!("{}-seed-{}", signature.invariant, failure.seed);
    let parts = bundle::Failure {
        result: &result,
        draft: &draft,
        signature,
        shrunk: (&shrunk.draft, shrunk.seed),
    };
    let written = bundle::write(&folder.join(&name), &parts);
    if written.is_ok() {
        let (from, to) = (draft.steps().len(), shrunk.draft.steps().len());
        writeln!(streams.out, "  saved as {name}, {from} steps became {to}")?;
    }
    Ok(written)
}
