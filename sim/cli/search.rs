//! The commands that search: shrink, bisect, sweep.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use gateway::policy;
use serde_json::json;

use super::args::Format;
use super::input::{self, Problem};
use super::search_args::{BisectArgs, OneScenario, ReplayArgs, ShrinkArgs, SweepArgs};
use super::{BAD_INPUT, Parts, Streams, cells, plan, to_json};
use crate::scenario::Scenario;
use crate::search::bisect::{self, Deciding};
use crate::search::bundle::{self, Replayed};
use crate::search::shrink::{self, SEEDS_TRIED};
use crate::search::sweep::{self, Place, Plan, Point, SweepError, Swept};
use crate::search::{Draft, Run, Signature};
use crate::verdict::{Expected, Verdict};
use crate::workers;

/// With how many seeds a failure is looked for that nobody named one for.
const SEEDS_LOOKED_AT: u64 = 200;

/// What a command came to: its exit status, or what it was given and cannot use.
pub(super) type Outcome = Result<u8, Vec<Problem>>;

/// Shows what cannot be used.
pub(super) fn finish(outcome: io::Result<Outcome>, streams: &mut Streams<'_>) -> io::Result<u8> {
    match outcome? {
        Ok(status) => Ok(status),
        Err(problems) => {
            for problem in &problems {
                streams.err.write_all(input::render(problem, streams.err_color).as_bytes())?;
            }
            Ok(BAD_INPUT)
        }
    }
}

/// The one scenario that is meant, and its draft.
fn one(args: &OneScenario) -> Result<(Arc<Scenario>, Draft), Vec<Problem>> {
    if args.path.is_dir() {
        let message = format!("{} is a folder", args.path.display());
        return Err(vec![Problem::new(message, "name one scenario file.")]);
    }
    let choices: Vec<String> = args.cell.iter().cloned().collect();
    let found = input::scenarios(std::slice::from_ref(&args.path))?;
    let mut chosen = cells::chosen(found, &choices)?;
    if chosen.len() > 1 {
        let message = format!("{} has {} cells", args.path.display(), chosen.len());
        let example = chosen[0].cell.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(vec![Problem::new(message, format!("name one, as in `--cell {example}`."))]);
    }
    let Some(scenario) = chosen.pop() else { unreachable!("a file stands for some scenario") };
    let draft = Draft::read(&scenario.path, scenario.cell.as_ref()).map_err(|error| vec![error.into()])?;
    Ok((scenario, draft))
}

pub(super) fn known(profiles: &[&str]) -> Result<(), Vec<Problem>> {
    let problems: Vec<_> = profiles.iter().filter_map(|name| plan::unknown_profile(name)).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// `gatesim shrink`.
pub(super) fn shrink(args: &ShrinkArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<u8> {
    let outcome = try_shrink(args, run, streams);
    finish(outcome, streams)
}

fn try_shrink(args: &ShrinkArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let (scenario, draft) = match one(&args.scenario) {
        Ok(found) => found,
        Err(problems) => return Ok(Err(problems)),
    };
    let profile = args.profile.clone().unwrap_or_else(|| red_profile(&scenario));
    if let Err(problems) = known(&[&profile]) {
        return Ok(Err(problems));
    }
    let Some((seed, signature)) = failure(run, &scenario, &profile, args) else {
        let tried = match args.seed {
            Some(seed) => format!("seed {seed}"),
            None => format!("the seeds from 1 to {SEEDS_LOOKED_AT}"),
        };
        let message = format!("{} does not fail under {profile} with {tried}", scenario.called());
        let help = "name the profile, seed and invariant of a run that fails: `gatesim run` prints them.";
        return Ok(Err(vec![Problem::new(message, help)]));
    };
    let started = Instant::now();
    let steps = draft.steps().len();
    let task = shrink::Task {
        draft: draft.clone(),
        path: &scenario.path,
        profile: &profile,
        seed,
        signature: signature.clone(),
        most_runs: args.most_runs,
        other_seeds: 3,
    };
    let mut shrunk = shrink::shrink(run, task);
    shrunk.draft.expect_failure(&profile, &signature.invariant);
    let text = shrunk.draft.to_text();
    match &args.out {
        Some(path) => {
            if let Err(error) = std::fs::write(path, &text) {
                let message = format!("cannot write {}: {error}", path.display());
                return Ok(Err(vec![Problem::new(message, "check the folder and its permissions.")]));
            }
        }
        None => streams.out.write_all(text.as_bytes())?,
    }
    if let Some(folder) = &args.bundle {
        let result = run(&scenario, &profile, seed);
        let failure = bundle::Failure {
            result: &result,
            draft: &draft,
            signature: &signature,
            shrunk: (&shrunk.draft, shrunk.seed),
        };
        if let Err(error) = bundle::write(folder, &failure) {
            return Ok(Err(vec![Problem::new(
                format!("cannot write the bundle: {error}"),
                "check the folder.",
            )]));
        }
    }
    let (small, path) = (&shrunk.draft, &scenario.path);
    let failing = shrink::seeds_failing(run, small, path, &profile, &signature).unwrap_or(0);
    let cut_short = if shrunk.is_cut_short { ", and then the runs were used up" } else { "" };
    writeln!(
        streams.err,
        "{steps} steps became {}, in {} runs and {:.1} s{cut_short}; it fails with seed {} and {} of the first {SEEDS_TRIED}: {signature}",
        shrunk.draft.steps().len(),
        shrunk.runs,
        started.elapsed().as_secs_f64(),
        shrunk.seed,
        failing,
    )?;
    Ok(Ok(0))
}

/// The profile that a scenario is most likely meant to be red under.
fn red_profile(scenario: &Scenario) -> String {
    let red = scenario.expect.outcomes.iter().find(|(_, expected)| matches!(expected, Expected::Fail(_)));
    red.map_or_else(|| policy::HARDENED.to_string(), |(profile, _)| profile.clone())
}

/// A seed with which the scenario fails, and how it does.
fn failure(run: Run<'_>, scenario: &Scenario, profile: &str, args: &ShrinkArgs) -> Option<(u64, Signature)> {
    let seeds = args.seed.map_or(1..=SEEDS_LOOKED_AT, |seed| seed..=seed);
    seeds.into_iter().find_map(|seed| {
        let result = run(scenario, profile, seed);
        let signature = match &args.invariant {
            Some(wanted) => {
                let all = Signature::all_of(&result, scenario);
                all.into_iter().find(|signature| signature.invariant == *wanted)
            }
            None => Signature::of(&result, scenario),
        };
        signature.map(|signature| (seed, signature))
    })
}

/// `gatesim replay`.
pub(super) fn replay(args: &ReplayArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<u8> {
    let (about, replayed) = match bundle::replay(run, &args.bundle) {
        Ok(replayed) => replayed,
        Err(error) => {
            let message = format!("this is no bundle that can be replayed: {error}");
            let help = "`gatesim shrink --bundle FOLDER` writes bundles.";
            return finish(Ok(Err(vec![Problem::new(message, help)])), streams);
        }
    };
    let builds = match about.build == bundle::fingerprint() {
        true => "by the build that made it",
        false => "by another build than the one that made it",
    };
    let (words, status) = match replayed {
        Replayed::Identical => ("the same run, event by event".to_string(), 0),
        Replayed::JudgedOtherwise => {
            ("the same run, event by event, in which this build does not find that failure".to_string(), 1)
        }
        Replayed::SameFailure => ("another run with the same failure".to_string(), 0),
        Replayed::ByAnchors { seed } => {
            (format!("the shrunk scenario fails in the same way, with seed {seed}"), 0)
        }
        Replayed::Fixed => ("it does not fail any more".to_string(), 1),
        Replayed::Drifted { unmet } => {
            (format!("it cannot be told: in the shrunk scenario {}", unmet.join("; ")), 2)
        }
    };
    let place = about.place.map(|place| format!(", last seen: {place}")).unwrap_or_default();
    writeln!(
        streams.out,
        "{}{place}, under {}, replayed {builds}:\n{words}",
        about.invariant, about.profile
    )?;
    Ok(status)
}

/// `gatesim bisect`.
pub(super) fn bisect(args: &BisectArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<u8> {
    let outcome = try_bisect(args, run, streams);
    finish(outcome, streams)
}

fn try_bisect(args: &BisectArgs, run: Run<'_>, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let found = known(&[&args.from, &args.to]).and_then(|()| one(&args.scenario));
    let (scenario, draft) = match found {
        Ok(found) => found,
        Err(problems) => return Ok(Err(problems)),
    };
    let question = bisect::Question {
        draft: &draft,
        path: &scenario.path,
        from: &args.from,
        to: &args.to,
        seeds: args.seed..args.seed.saturating_add(args.seeds),
    };
    let (deciding, runs) = match bisect::bisect(run, &question) {
        Ok(decided) => decided,
        Err(error) => return Ok(Err(vec![error.into()])),
    };
    if args.format == Format::Json {
        let (answer, choices) = match &deciding {
            Deciding::NotRed => ("not-red", &[][..]),
            Deciding::NotGreen => ("not-green", &[][..]),
            Deciding::EachAlone(choices) => ("each-alone", &choices[..]),
            Deciding::Together(choices) => ("together", &choices[..]),
        };
        let choice = |choice: &bisect::Choice| json!({"policy": choice.policy, "red": choice.red, "green": choice.green});
        let choices: Vec<_> = choices.iter().map(choice).collect();
        writeln!(streams.out, "{}", to_json(&json!({"answer": answer, "policies": choices, "runs": runs})))?;
    } else {
        write!(streams.out, "{}", bisected(&deciding, args, runs))?;
    }
    Ok(Ok(match deciding {
        Deciding::EachAlone(_) | Deciding::Together(_) => 0,
        Deciding::NotRed | Deciding::NotGreen => 1,
    }))
}

fn bisected(deciding: &Deciding, args: &BisectArgs, runs: u64) -> String {
    let (from, to) = (&args.from, &args.to);
    let (words, choices) = match deciding {
        Deciding::NotRed => (format!("{from} is green: there is nothing to decide."), &[][..]),
        Deciding::NotGreen => {
            (format!("{from} is not green even with every policy of {to}: no policy decides."), &[][..])
        }
        Deciding::EachAlone(choices) if choices.len() == 1 => {
            (format!("One policy turns {from} from red to green:"), &choices[..])
        }
        Deciding::EachAlone(choices) => {
            (format!("Each of these alone turns {from} from red to green:"), &choices[..])
        }
        Deciding::Together(choices) => {
            let words = format!("These together turn {from} from red to green, and none can be left out:");
            (words, &choices[..])
        }
    };
    let width = choices.iter().map(|choice| choice.policy.len()).max().unwrap_or(0);
    let line = |choice: &bisect::Choice| {
        format!("  {:width$}  {} in the place of {}\n", choice.policy, choice.green, choice.red)
    };
    format!("{words}\n{}\n{runs} runs\n", choices.iter().map(line).collect::<String>())
}

/// `gatesim sweep`.
pub(super) fn sweep(args: &SweepArgs, parts: &Parts<'_>, streams: &mut Streams<'_>) -> io::Result<u8> {
    let outcome = try_sweep(args, parts, streams);
    finish(outcome, streams)
}

fn try_sweep(args: &SweepArgs, parts: &Parts<'_>, streams: &mut Streams<'_>) -> io::Result<Outcome> {
    let found = known(&[&args.profile]).and_then(|()| one(&args.scenario));
    let (scenario, draft) = match found {
        Ok(found) => found,
        Err(problems) => return Ok(Err(problems)),
    };
    let plan = Plan {
        draft: &draft,
        path: &scenario.path,
        profile: &args.profile,
        seed: args.seed,
        injections: &args.inject,
        pairs_within: args.pairs,
        most_runs: args.most_runs,
        threads: args.jobs.unwrap_or_else(workers::as_many_as_fit),
    };
    let started = Instant::now();
    let swept = match sweep::sweep(parts.run_without_timeline, parts.traced, &plan) {
        Ok(swept) => swept,
        Err(SweepError::Scenario(error)) => return Ok(Err(vec![error.into()])),
        Err(error @ SweepError::Baseline(_)) => {
            let help = "a sweep disturbs a run that is green by itself; `gatesim run` shows this one.";
            return Ok(Err(vec![Problem::new(error.to_string(), help)]));
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    if let Some(folder) = &args.save
        && let Err(error) = save(&swept, folder, args)
    {
        let message = format!("cannot save in {}: {error}", folder.display());
        return Ok(Err(vec![Problem::new(message, "check the folder and its permissions.")]));
    }
    match args.format {
        Format::Text => write!(streams.out, "{}", swept_table(&swept, args, seconds))?,
        Format::Json => writeln!(streams.out, "{}", to_json(&swept_json(&swept)))?,
    }
    let any = |verdict| swept.points.iter().any(|point| point.verdict == verdict);
    Ok(Ok(match () {
        () if any(Verdict::Error) => BAD_INPUT,
        () if any(Verdict::Fail) => 1,
        () => 0,
    }))
}

/// The points that fail, by how they do.
fn failures(swept: &Swept) -> BTreeMap<&Signature, Vec<&Point>> {
    let mut failures: BTreeMap<&Signature, Vec<&Point>> = BTreeMap::new();
    for point in &swept.points {
        if let Some(signature) = point.signature.as_ref().filter(|_| point.failing.is_some()) {
            failures.entry(signature).or_default().push(point);
        }
    }
    failures
}

fn moment_words(point: &Point) -> String {
    let words =
        point.injected.iter().map(|(injection, moment)| format!("{} {}", injection.word(), moment.words()));
    words.collect::<Vec<_>>().join(", then ")
}

fn swept_table(swept: &Swept, args: &SweepArgs, seconds: f64) -> String {
    let mut table = String::new();
    let mut rows: BTreeMap<Vec<&'static str>, [usize; 4]> = BTreeMap::new();
    for point in &swept.points {
        let row =
            rows.entry(point.injected.iter().map(|(injection, _)| injection.word()).collect()).or_default();
        row[match point.verdict {
            Verdict::Pass => 0,
            Verdict::Fail => 1,
            Verdict::Inconclusive => 2,
            Verdict::Error => 3,
        }] += 1;
    }
    table.push_str("  injection                     points     green       red   not come to     error\n");
    for (injections, [green, red, inconclusive, error]) in rows {
        let points = green + red + inconclusive + error;
        let words = injections.join(", ");
        table.push_str(&format!(
            "  {words:28} {points:8}  {green:8}  {red:8}   {inconclusive:11}  {error:8}\n"
        ));
    }
    for (signature, points) in failures(swept) {
        table.push_str(&format!("\n  {signature}: {} points, the first\n", points.len()));
        for point in points.iter().take(3) {
            table.push_str(&format!("    {}\n", moment_words(point)));
        }
    }
    let made = swept.points.len();
    let rate = made as f64 / seconds.max(1e-9);
    let part = if made < swept.possible { format!(" of {} possible", swept.possible) } else { String::new() };
    let red: usize = failures(swept).values().map(Vec::len).sum();
    table.push_str(&format!(
        "\n{} moments, {made} points{part} under {}, {}, in {seconds:.1} s ({rate:.0} injections/s)\n",
        swept.moments,
        args.profile,
        if red == 0 { "all green".to_string() } else { format!("{red} red") },
    ));
    table
}

fn swept_json(swept: &Swept) -> serde_json::Value {
    let point = |point: &Point| {
        let injected = point.injected.iter().map(|(injection, moment)| {
            let at_ms = moment.at.as_millis() as u64;
            match &moment.place {
                Place::Event { name, nth } => {
                    json!({"what": injection.word(), "on": name, "nth": nth, "at_ms": at_ms})
                }
                Place::Packet => json!({"what": injection.word(), "at_ms": at_ms}),
                Place::Disk { call, op, is_after } => {
                    json!({"what": injection.word(), "operation": op.name(),
                    "call": call, "moment": if *is_after { "after" } else { "before" }, "at_ms": at_ms})
                }
            }
        });
        let signature = point.signature.as_ref().map(ToString::to_string);
        json!({"injected": injected.collect::<Vec<_>>(), "verdict": point.verdict, "signature": signature})
    };
    let points: Vec<_> = swept.points.iter().map(point).collect();
    json!({"moments": swept.moments, "possible": swept.possible, "points": points})
}

/// One scenario for each way to fail, named for it.
fn save(swept: &Swept, folder: &Path, args: &SweepArgs) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let stem = args.scenario.path.file_stem().unwrap_or_default().to_string_lossy().to_string();
    for (number, (signature, points)) in failures(swept).into_iter().enumerate() {
        let Some(mut draft) = points.first().and_then(|point| point.failing.clone()) else { continue };
        draft.expect_failure(&args.profile, &signature.invariant);
        let name = format!("{stem}-{}-{}.toml", signature.invariant, number + 1);
        std::fs::write(folder.join(name), draft.to_text())?;
    }
    Ok(())
}
