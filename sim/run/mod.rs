//! One run: a world built from a scenario, the storm of its steps, the time to settle, and the judgement.
//!
//! The only place that knows both scenarios and worlds. It shows nothing and expects nothing: what a run came to
//! is a [`RunResult`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::determinism::{self, Trace};
use crate::oracle::{self, CronTerm, Evidence, Terms};
use crate::scenario::{ConfigEdit, NewContents, Scenario, Step, Supervisor, Verb, When, is_quiet};
use crate::timeline::{self, Delays, Event, EventHash, Fact, Fate, Ledger, Level, Source};
use crate::verdict::{Expected, RunResult, Verdict};
use crate::world::{World, WorldSettings};

mod cast;
mod hooks;
mod isolation;
mod near_misses;
mod observer;
mod peers;
mod platforms;
mod restarts;
mod script;
mod service;
mod stage;
#[cfg(test)]
mod tests;
mod tools;
mod trouble;

use script::{Cast, Script, Storm};
use stage::Stage;

/// Runs a scenario under a profile with a seed, on a fresh thread: no thread-local state outlives a run.
///
/// A panic of the harness becomes a result with the verdict [`Verdict::Error`].
pub fn run(scenario: &Scenario, profile: &str, seed: u64) -> RunResult {
    finished(scenario, profile, seed, |result| result)
}

/// The same run without its timeline, for campaigns: what nobody is going to read is best dropped where it was made.
pub fn run_without_timeline(scenario: &Scenario, profile: &str, seed: u64) -> RunResult {
    finished(scenario, profile, seed, |result| RunResult { timeline: Vec::new(), ..result })
}

/// The same run, with a trace of every step of its world. What went wrong in the harness has an empty one.
pub fn traced(scenario: &Scenario, profile: &str, seed: u64) -> (RunResult, Trace) {
    let recorded = || determinism::recording(|| played(scenario, profile, seed));
    let ran = isolation::on_fresh_thread(recorded);
    ran.unwrap_or_else(|why| (RunResult::error(scenario, profile, seed, why), Trace::default()))
}

/// A run that `finish` has seen on its own thread, with the time that all of it took on this machine.
fn finished(
    scenario: &Scenario,
    profile: &str,
    seed: u64,
    finish: impl FnOnce(RunResult) -> RunResult + Send,
) -> RunResult {
    let started = Instant::now();
    let ran = isolation::on_fresh_thread(|| finish(played(scenario, profile, seed)));
    let result = ran.unwrap_or_else(|why| RunResult::error(scenario, profile, seed, why));
    RunResult { wall_time: started.elapsed(), ..result }
}

/// A run and what it came to, on this thread.
fn played(scenario: &Scenario, profile: &str, seed: u64) -> RunResult {
    match play(scenario, profile, seed) {
        Ok(recording) => judge(scenario, profile, seed, recording),
        Err(error) => {
            let why = format!("the world could not be built: {error}");
            RunResult::error(scenario, profile, seed, why)
        }
    }
}

/// What a run leaves behind.
struct Recording {
    events: Vec<Event>,
    hash: EventHash,
    storm: Storm,
}

fn play(scenario: &Scenario, profile: &str, seed: u64) -> std::io::Result<Recording> {
    let settings = WorldSettings {
        latency: scenario.network.latency.min..=scenario.network.latency.max,
        disk_sync: scenario.disk.sync.min..=scenario.disk.sync.max,
        process_slots: process_slots(scenario),
        log_level: log_level(scenario),
        ..WorldSettings::seeded(seed)
    };
    World::run(settings, async |world| {
        let stage = Stage::build(&world, scenario, profile)?;
        observer::watch(&stage);
        let (mut senders, provider) = cast::enter(&world, scenario)?;
        let platforms = platforms::enter(&world, scenario, &mut senders)?;
        let groups = peers::enter(&world, scenario)?;
        let script = Script::begin(&stage, scenario, Cast { senders, provider, groups, platforms });
        let storm = script.storm(scenario.storm_limit).await;
        stage.end_faults();
        world.recorder().record(Source::World, Fact::SettleBegan);
        tokio::time::sleep(scenario.settle).await;
        observer::observe(&stage);
        world.recorder().record(Source::World, Fact::RunEnded);
        let hash = world.recorder().hash();
        Ok(Recording { events: world.recorder().take_events(), hash, storm })
    })
}

/// What the gateway only whispers is kept when a step waits for it.
fn log_level(scenario: &Scenario) -> Level {
    let waits_for_quiet = |step: &Step| matches!(&step.when, When::On(anchor) if is_quiet(&anchor.event));
    if scenario.steps.iter().any(waits_for_quiet) { Level::Debug } else { Level::Info }
}

/// Provider, senders, prober, intruder, whom the steps bring, the gateway and a second instance, and room for lives
/// whose last packets
/// are still on their way.
fn process_slots(scenario: &Scenario) -> usize {
    const LIVES: usize = 4;
    let onlookers = usize::from(scenario.probe.is_some()) + usize::from(scenario.intruder.is_some());
    2 + onlookers
        + trouble::processes(scenario)
        + peers::processes(scenario)
        + platforms::processes(scenario)
        + tools::count(scenario)
        + restarts::processes(scenario)
        + hooks::processes(scenario)
        + LIVES
}

fn judge(scenario: &Scenario, profile: &str, seed: u64, recording: Recording) -> RunResult {
    let Recording { events, hash, storm } = recording;
    let terms = terms(scenario, profile);
    let delays = Delays {
        longest_way: scenario.network.latency.max,
        longest_sync: scenario.disk.sync.max,
        stop_timeout: terms.supervised.then_some(terms.stop_timeout),
    };
    let ledger = Ledger::within(delays, &events);
    let violations = oracle::judge(&Evidence::new(&events, &ledger, &terms));
    let mut notes = storm.unplayed;
    notes.extend(never_sent(&storm.told_to_send, &ledger));
    notes.extend(tools::never_ended(&events));
    notes.extend(peers::never_came(scenario, &events));
    let verdict = match (violations.is_empty(), notes.is_empty()) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Inconclusive,
        (true, true) => Verdict::Pass,
    };
    let expected = scenario.expect.under(profile);
    let fates = ledger.entries().iter().map(|entry| (entry.message.to_string(), entry.fate.to_string()));
    RunResult {
        scenario: scenario.path.display().to_string(),
        cell: scenario.cell.clone(),
        profile: profile.to_string(),
        seed,
        verdict,
        as_expected: expected.is_met_by(verdict, &violations),
        expected,
        violations,
        fates: fates.collect(),
        shutdowns: timeline::shutdowns(&events),
        virtual_time: events.last().map_or(Duration::ZERO, |event| event.at),
        wall_time: Duration::ZERO,
        events: events.len() as u64,
        hash,
        notes,
        timeline: events,
    }
}

/// What senders were told to send and never handed over: a run without them is no evidence about them.
fn never_sent(told: &BTreeMap<String, u32>, ledger: &Ledger<'_>) -> Vec<String> {
    let missing = |(sender, told): (&String, &u32)| {
        let sent = ledger.entries().iter().filter(|entry| entry.message.sender == *sender).count();
        (sent < *told as usize).then(|| match told {
            1 => format!("{sender} never handed over its message"),
            _ => format!("{sender} handed over {sent} of its {told} messages"),
        })
    };
    told.iter().filter_map(missing).collect()
}

fn cron_jobs(scenario: &Scenario) -> Vec<CronTerm> {
    let term = |(job, setup): (&String, &crate::scenario::CronSetup)| CronTerm {
        job: job.clone(),
        every: setup.every,
        session_of: setup.session_of.clone(),
    };
    scenario.cron.iter().map(term).collect()
}

/// The most that the configuration ever lets wait for a client.
fn max_buffered(scenario: &Scenario) -> u64 {
    let edited = scenario.steps.iter().filter_map(|step| match &step.verb {
        Verb::EditConfig(ConfigEdit { contents: NewContents::Set(settings), .. }) => {
            settings.get("gateway.maxBufferedBytes")?.as_u64()
        }
        _ => None,
    });
    edited.fold(scenario.gateway.max_buffered, u64::max)
}

/// The numbers this scenario is judged by under a profile.
fn terms(scenario: &Scenario, profile: &str) -> Terms {
    let stop_timeout = service::stop_timeout(&scenario.gateway.supervisor);
    // Fates are what a good gateway gives; where a profile is to fail, its invariants say how.
    let asks_for_fates = scenario.expect.under(profile) == Expected::Pass;
    let fates = scenario.expect.fates.iter().filter(|_| asks_for_fates).map(|(message, names)| {
        (message.to_string(), names.iter().filter_map(|name| Fate::named(name)).collect())
    });
    let policies = scenario.gateway.policies_under(profile);
    let restarts_in_place = |minded_by: &Supervisor| {
        policies.as_ref().is_some_and(|policies| service::restarts_in_place(minded_by, policies))
    };
    Terms {
        machine: stage::GATEWAY_MACHINE.to_string(),
        port: scenario.gateway.port,
        state_dir: stage::STATE_DIR.to_string(),
        supervised: scenario.gateway.supervisor != Supervisor::None,
        restarts_in_place: restarts_in_place(&scenario.gateway.supervisor),
        by_hand_restarts_in_place: restarts_in_place(&Supervisor::None),
        boot_starts_what_was_stopped: service::boot_starts_what_was_stopped(&scenario.gateway.supervisor),
        stop_timeout,
        drain_budget: restarts::drain_budget(&scenario.gateway),
        deferral_limit: restarts::deferral_limit(&scenario.gateway),
        expected_fates: fates.collect(),
        cron_jobs: cron_jobs(scenario),
        hooks: hooks::terms(scenario),
        never_reading: peers::never_reading(scenario)
            .map(|(group, sender)| (group.to_string(), sender.to_string()))
            .collect(),
        max_buffered: max_buffered(scenario),
        longest_sync: scenario.disk.sync.max,
        wall_epoch_ms: WorldSettings::default().wall_epoch.epoch_ms(),
        ..Terms::default()
    }
}
