//! The figures: how fast and how small simulated lifecycles are, each against its bar.
//!
//! `cargo bench` prints one table in under a minute. The workload is `full-lifecycle.toml`, run by the same
//! function that the command line uses, oracles included, and by the `turmoil::Sim` umbrella in the same
//! process; every run's result is checked, since a fast run of something else would be no figure. A figure below
//! its bar is said and is no error: timings on a shared machine are not a test. How to read the table stands in
//! `docs/performance.md`.

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use gatesim::scenario::Scenario;
use gatesim::timeline::{Event, Fact, Fate, GATEWAY_PROGRAM, Ledger};
use gatesim::verdict::{RunResult, Verdict};
use gateway::policy::HARDENED;

use measure::{Resident, best, median, samples, time};
use table::{Line, Quantity};
use umbrella::Hosts;

mod crowd;
mod floor;
mod measure;
mod sweep;
mod table;
mod umbrella;

/// The workload, as a file.
const WORKLOAD: &str = "benches/full-lifecycle.toml";
const WORKLOAD_TEXT: &str = include_str!("full-lifecycle.toml");
/// The workload's length in virtual time.
const LENGTH: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(300);
const MESSAGES: usize = 20;
/// The crowds whose round trips are timed.
const CROWDS: [(u32, &str); 4] = [
    (1, "1 connected client, one round trip"),
    (10, "10 connected clients, one round trip"),
    (100, "100 connected clients, one round trip"),
    (1_000, "1,000 connected clients, one round trip"),
];

/// With this argument the program makes one run and prints how many bytes that took.
const WEIGH_ONE_WORLD: &str = "--weigh-one-world";
/// With this argument it makes 50 runs: something for a profiler to look at.
const RUN_FOR_PROFILER: &str = "--run-for-profiler";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The command's own allocator: the figures are the command's. Both simulators have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match figures() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("no figures: {error}");
            ExitCode::FAILURE
        }
    }
}

fn figures() -> Outcome<()> {
    let scenario = Scenario::parse(Path::new(WORKLOAD), WORKLOAD_TEXT)?;
    let asked_for = |argument: &str| std::env::args().any(|given| given == argument);
    if asked_for(WEIGH_ONE_WORLD) {
        return weigh_one_world(&scenario);
    }
    if asked_for(RUN_FOR_PROFILER) {
        (0..50).for_each(|seed| drop(gatesim::run_without_timeline(&scenario, HARDENED, seed)));
        return Ok(());
    }
    // Cargo passes `--bench` when it is measuring; otherwise this is a test that everything works.
    if !asked_for("--bench") {
        return measure_all(&scenario, &Effort::TRY, drop);
    }
    let began = Instant::now();
    table::say(format_args!(
        "\n  3 senders, {MESSAGES} messages, a restart while answers are being written; 60 s virtual\n"
    ));
    table::print_head();
    measure_all(&scenario, &Effort::MEASURE, |line| table::print(&line))?;
    table::say(format_args!(
        "\n  measured in {:.0} s; a ratio above 1 is on the good side of the bar",
        began.elapsed().as_secs_f64()
    ));
    if let Some(load) = measure::foreign_load() {
        table::say(format_args!(
            "  the load average was {load:.1}: expect better figures on a quiet machine"
        ));
    }
    table::say(format_args!(""));
    Ok(())
}

/// How much work goes into one figure.
struct Effort {
    /// Time for one set of samples.
    budget: Duration,
    at_least: usize,
    umbrella_runs: usize,
    injections: usize,
    /// How many round trips a crowd makes in all, at least.
    round_trips: u32,
    most_clients: u32,
}

impl Effort {
    const MEASURE: Self = Self {
        budget: Duration::from_secs(4),
        at_least: 25,
        umbrella_runs: 7,
        injections: 2_000,
        round_trips: 10_000,
        most_clients: 1_000,
    };
    const TRY: Self = Self {
        budget: Duration::ZERO,
        at_least: 1,
        umbrella_runs: 1,
        injections: 10,
        round_trips: 1,
        most_clients: 10,
    };
}

/// Measures everything; `report` is given each line of the table as soon as it is known.
fn measure_all(scenario: &Scenario, effort: &Effort, mut report: impl FnMut(Line)) -> Outcome<()> {
    let (runs, idle) = lifecycle_and_idle(scenario, effort)?;
    let best_run = best(&runs);
    let run = median(runs);
    report(Line::new("full lifecycle runs per second, one core", per_second(run)).at_least(500.0));
    report(Line::new("  simulated over real time", times(LENGTH, run)));
    let wordy = wordy_run(scenario, effort)?;
    report(Line::new("  with answers of 20 pieces instead of 5", per_second(wordy)));
    report(Line::new("five more idle minutes, three clients connected", millis(idle)).at_most(1.0));
    let injection = sweep::per_injection(effort.injections)?;
    report(Line::new("injections of a sweep per second, one core", per_second(injection)).at_least(500.0));

    let machines = umbrella(scenario, effort, Hosts::PerMachine)?;
    report(Line::new("turmoil::Sim, same workload, a host for each machine (3)", millis(machines)));
    report(Line::new("  that many times slower than gatesim", times(machines, best_run)));
    let senders = umbrella(scenario, effort, Hosts::PerSender)?;
    report(Line::new("turmoil::Sim, same workload, a host for each sender (5)", millis(senders)));
    report(Line::new("  that many times slower than gatesim", times(senders, best_run)).at_least(200.0));

    let floor = floor_run(scenario, effort)?;
    report(Line::new("plain paused tokio, the same as channels and timers", millis(floor)));
    report(Line::new("  that many times faster than gatesim", times(best_run, floor)));

    for (clients, what) in CROWDS {
        let line = Line::new(what, micros(round_trip(clients, effort)?));
        report(if clients == 1_000 { line.at_most(100.0) } else { line });
    }

    let weight = weigh_in_a_fresh_process()?;
    report(Line::new("memory of one running world, at its peak", weight).at_most(8.0));
    let speedup = two_cores(scenario, effort)?;
    report(Line::new("two cores on independent seeds, against one", speedup).at_least(1.8));
    Ok(())
}

/// One run, checked: the time it took is only worth something when it did its work.
fn lifecycle(scenario: &Scenario, seed: u64) -> Outcome<RunResult> {
    let result = gatesim::run(scenario, HARDENED, seed);
    if result.verdict != Verdict::Pass {
        return Err(format!("seed {seed} ended with {}: {:?}", result.verdict, result.notes).into());
    }
    check(&result.timeline)?;
    Ok(result)
}

/// Both simulators must have done the same: two lives of the gateway, every message answered or its sender told.
fn check(events: &[Event]) -> Outcome<()> {
    let ledger = Ledger::of(events);
    let settled = |fate| matches!(fate, Fate::Replied | Fate::Told);
    let settled = ledger.entries().iter().filter(|entry| settled(entry.fate)).count();
    let lives = events.iter().filter(
        |event| matches!(&event.fact, Fact::ProcessStarted { program, .. } if program == GATEWAY_PROGRAM),
    );
    match (settled, lives.count()) {
        (MESSAGES, 2) => Ok(()),
        (settled, lives) => Err(format!("{settled} of {MESSAGES} messages settled in {lives} lives").into()),
    }
}

/// The times of runs, and what five more idle minutes add to one. The two kinds of run alternate, so that a slow
/// moment of the machine hits both.
fn lifecycle_and_idle(scenario: &Scenario, effort: &Effort) -> Outcome<(Vec<Duration>, Duration)> {
    let mut longer = scenario.clone();
    longer.settle += IDLE;
    let length = lifecycle(scenario, 0)?.virtual_time;
    if length != LENGTH {
        return Err(format!("the workload takes {length:?} and should take {LENGTH:?}").into());
    }
    let pairs = samples(effort.budget, effort.at_least, |seed| {
        let seed = seed as u64;
        (checked_time(scenario, seed), checked_time(&longer, seed))
    });
    let (short, long): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let short: Vec<_> = short.into_iter().collect::<Outcome<_>>()?;
    let long = long.into_iter().collect::<Outcome<_>>()?;
    let idle = median(long).saturating_sub(median(short.clone()));
    Ok((short, idle))
}

/// The time of a run in which the model says four times as much: what streaming costs.
fn wordy_run(scenario: &Scenario, effort: &Effort) -> Outcome<Duration> {
    let mut wordy = scenario.clone();
    wordy.provider.tokens *= 4;
    let runs = samples(effort.budget / 4, effort.at_least, |seed| checked_time(&wordy, seed as u64));
    Ok(median(runs.into_iter().collect::<Outcome<_>>()?))
}

/// The time that one run takes, from the scenario to the verdict; a second one, which is looked into, shows that it did
/// its work.
fn checked_time(scenario: &Scenario, seed: u64) -> Outcome<Duration> {
    let timed = gatesim::run_without_timeline(scenario, HARDENED, seed);
    if timed.hash != lifecycle(scenario, seed)?.hash {
        return Err(format!("seed {seed} was not the same run twice").into());
    }
    Ok(timed.wall_time)
}

/// The best time of the umbrella, which is compared with our best: whatever else the machine does would hit its
/// long runs harder than our short ones.
fn umbrella(scenario: &Scenario, effort: &Effort, hosts: Hosts) -> Outcome<Duration> {
    let runs = (0..effort.umbrella_runs).map(|seed| {
        let mut played = Ok(Vec::new());
        let took = time(|| played = umbrella::play(scenario, LENGTH, seed as u64, hosts));
        let events = played.map_err(|error| format!("turmoil: {error}"))?;
        check(&events).map_err(|error| format!("turmoil: {error}"))?;
        Ok(took)
    });
    Ok(best(&runs.collect::<Outcome<Vec<_>>>()?))
}

/// The best time of the same conversations without anything of a life, on a thread of its own as our runs are.
fn floor_run(scenario: &Scenario, effort: &Effort) -> Outcome<Duration> {
    let runs = samples(effort.budget / 8, effort.at_least, |_| {
        let mut answers = Ok(0);
        let took =
            time(|| thread::scope(|scope| drop(scope.spawn(|| answers = floor_answers(scenario)).join())));
        (took, answers)
    });
    let mut times = Vec::new();
    for (took, answers) in runs {
        match answers? as usize {
            MESSAGES => times.push(took),
            answers => return Err(format!("the floor gave {answers} of {MESSAGES} answers").into()),
        }
    }
    Ok(best(&times))
}

fn floor_answers(scenario: &Scenario) -> Result<u32, String> {
    floor::play(scenario, LENGTH).map_err(|error| error.to_string())
}

/// What a round trip costs in a world with so many clients.
fn round_trip(clients: u32, effort: &Effort) -> Outcome<Duration> {
    let clients = clients.min(effort.most_clients);
    let rounds = effort.round_trips.div_ceil(clients);
    let samples = samples(effort.budget / 4, effort.at_least.min(5), |_| crowd::round_trip(clients, rounds));
    Ok(median(samples.into_iter().collect::<Result<_, _>>()?))
}

/// How much more two threads do in the same time than one. The best of several batches of each counts: a core
/// that something else was using says nothing about ours.
fn two_cores(scenario: &Scenario, effort: &Effort) -> Outcome<Option<Quantity>> {
    if thread::available_parallelism()?.get() < 2 {
        return Ok(None);
    }
    let batch = effort.at_least as u64;
    let run_batch = |first: u64| {
        for seed in first..first + batch {
            gatesim::run_without_timeline(scenario, HARDENED, seed);
        }
    };
    let batches = samples(effort.budget, 1, |_| {
        let alone = time(|| run_batch(0));
        let together = time(|| {
            thread::scope(|scope| {
                scope.spawn(|| run_batch(0));
                scope.spawn(|| run_batch(batch));
            });
        });
        (alone, together)
    });
    let (alone, together): (Vec<_>, Vec<_>) = batches.into_iter().unzip();
    let speedup = 2.0 * best(&alone).as_secs_f64() / best(&together).as_secs_f64();
    Ok(Some(Quantity { value: speedup, unit: "x" }))
}

/// Memory is weighed in a process that has done nothing else: whatever ran before would leave its heap behind.
fn weigh_in_a_fresh_process() -> Outcome<Option<Quantity>> {
    let child = Command::new(std::env::current_exe()?).arg(WEIGH_ONE_WORLD).output()?;
    if !child.status.success() {
        return Err(String::from_utf8_lossy(&child.stderr).into());
    }
    let bytes: Option<u64> = String::from_utf8(child.stdout)?.trim().parse().ok();
    Ok(bytes.map(|bytes| Quantity { value: bytes as f64 / f64::from(1 << 20), unit: " MiB" }))
}

fn weigh_one_world(scenario: &Scenario) -> Outcome<()> {
    let before = Resident::now();
    lifecycle(scenario, 0)?;
    let grown = Resident::now().zip(before).map(|(after, before)| after.taken_since(&before));
    println!("{}", grown.map_or("unknown".to_string(), |bytes| bytes.to_string()));
    Ok(())
}

fn per_second(time: Duration) -> Quantity {
    Quantity { value: 1.0 / time.as_secs_f64(), unit: "/s" }
}

fn millis(time: Duration) -> Quantity {
    Quantity { value: time.as_secs_f64() * 1e3, unit: " ms" }
}

fn micros(time: Duration) -> Quantity {
    Quantity { value: time.as_secs_f64() * 1e6, unit: " us" }
}

fn times(slow: Duration, fast: Duration) -> Quantity {
    Quantity { value: slow.as_secs_f64() / fast.as_secs_f64(), unit: "x" }
}
