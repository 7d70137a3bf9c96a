//! Interleavings: several processes on one disk, any two of whose operations may happen in either order.
//!
//! Whatever the schedule, crashes, freezes, clock jumps and refusals included: the store parses and keeps what was
//! acknowledged, nobody writes over what it has not read, no lock is taken from who lives and works, and who comes
//! last gets through in time. The cases are the same each time; `PROPTEST_RNG_SEED=7` tries others,
//! `PROPTEST_CASES=5000` more of them. Unlike the simulator, which runs a process until it waits, this stops it
//! between any two operations; in exchange there is nothing here but the session store.

use std::sync::Arc;
use std::thread;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use crate::policy::StoreLock;
use machine::Machine;
use schedule::{Disturbance, Life, REFUSALS, Schedule, Task, schedule};
use writers::{Flaw, Program};

mod disk;
mod machine;
mod process;
mod promises;
mod schedule;
mod writers;

const HARDENED: Program = Program::Store(StoreLock::Leased);
/// Which cases are tried unless `PROPTEST_RNG_SEED` says otherwise.
const CASES_OF: u64 = 77721;

/// Lets everything happen that the schedule says; the promises that were broken, and what happened.
fn play(schedule: &Schedule, program: Program) -> (Vec<String>, Vec<String>) {
    let machine = Arc::new(Machine::new(schedule));
    let closing = schedule.places.len();
    thread::scope(|scope| {
        for (place, lives) in schedule.places.iter().enumerate() {
            let machine = &machine;
            scope.spawn(move || {
                machine.enter(place);
                for life in lives {
                    process::live(machine, place, life.pid, |doors| {
                        writers::live(doors, program, life.clone())
                    });
                }
                machine.leave(place);
            });
        }
        scope.spawn(|| {
            machine.enter(closing);
            process::live(&machine, closing, 7, |doors| writers::close(doors, program));
            machine.leave(closing);
        });
    });
    machine.outcome()
}

/// Tries random schedules on a program; one that breaks a promise which `counts`, made as small as `shrinking`
/// attempts can.
fn search(program: Program, cases: u32, shrinking: u32, counts: impl Fn(&str) -> bool) -> Option<Schedule> {
    let from_environment = Config::default();
    let config = Config {
        cases,
        rng_seed: match from_environment.rng_seed {
            RngSeed::Random => RngSeed::Fixed(CASES_OF),
            chosen => chosen,
        },
        failure_persistence: None,
        max_shrink_iters: shrinking,
        ..from_environment
    };
    let keeps_promises = |schedule: Schedule| {
        let broken = play(&schedule, program).0.into_iter().find(|breach| counts(breach));
        broken.map_or(Ok(()), |breach| Err(TestCaseError::fail(breach)))
    };
    match TestRunner::new(config).run(&schedule(), keeps_promises) {
        Ok(()) => None,
        Err(TestError::Fail(_, schedule)) => Some(schedule),
        Err(TestError::Abort(why)) => panic!("gave up: {why}"),
    }
}

/// The failure as a person needs it.
fn explain(schedule: &Schedule, program: Program) -> String {
    let (broken, log) = play(schedule, program);
    format!("{program:?}: {}\n{schedule}\n{}\n", broken.join("; "), log.join("\n"))
}

fn assert_kept(schedule: &Schedule) {
    let (broken, _) = play(schedule, HARDENED);
    assert!(broken.is_empty(), "{}", explain(schedule, HARDENED));
}

/// A flaw must be found, by the promise that it breaks.
fn assert_found(program: Program, breach: &str) {
    let cases = 20 * Config::default().cases;
    let found = search(program, cases, 0, |broken| broken.contains(breach));
    assert!(found.is_some(), "{cases} schedules, and none shows {program:?} by \"{breach}\"");
}

fn life(pid: u32, tasks: &[Task]) -> Life {
    Life { pid, tasks: tasks.to_vec() }
}

/// Two processes that write, beside each other and one after the other.
fn plain() -> Schedule {
    let first = vec![life(7, &[Task::Note, Task::Touch(0)]), life(7, &[Task::Note])];
    let second = vec![life(8, &[Task::TwoNotes, Task::Touch(0)])];
    Schedule { places: vec![first, second], switches: vec![(5, 0), (3, 0), (6, 0)], ..Schedule::default() }
}

#[test]
fn undisturbed_processes_keep_every_promise() {
    assert_kept(&plain());
}

#[test]
fn the_same_schedule_is_the_same_run() {
    let disturbances = vec![(9, Disturbance::Freeze(31)), (20, Disturbance::CrashAmid(99))];
    let schedule = Schedule { disturbances, ..plain() };
    assert_eq!(play(&schedule, HARDENED), play(&schedule, HARDENED));
}

#[test]
fn no_schedule_breaks_a_promise() {
    let cases = 2 * Config::default().cases;
    if let Some(schedule) = search(HARDENED, cases, 3_000, |_| true) {
        panic!("{}", explain(&schedule, HARDENED));
    }
}

/// Everything that can go wrong once, at every step at which it can.
#[test]
fn nothing_that_goes_wrong_at_any_step_breaks_a_promise() {
    let mut wrongs = vec![Disturbance::CrashBefore, Disturbance::CrashAfter, Disturbance::CrashAmid(128)];
    wrongs.extend(REFUSALS.map(|why| Disturbance::Refused(why, 128)));
    wrongs.extend([12, 31, 3_600].map(Disturbance::Freeze));
    wrongs.extend([1_440, -1_440].map(Disturbance::ClockJump));
    wrongs.extend([0, 1, 128, 254, 255].map(Disturbance::PowerLoss));
    for wrong in wrongs {
        for step in 1.. {
            let schedule = Schedule { disturbances: vec![(step, wrong)], ..plain() };
            let (broken, log) = play(&schedule, HARDENED);
            assert!(broken.is_empty(), "{}", explain(&schedule, HARDENED));
            // Nothing goes wrong for the process that comes last.
            if !log.iter().any(|line| line.ends_with(&format!(": {wrong:?}"))) {
                break;
            }
        }
    }
}

/// A session that somebody was told of outlasts a power loss, also when the one who put it into the store died or was
/// refused before that was durable.
#[test]
fn what_was_told_survives_a_power_loss_whatever_went_wrong_before() {
    let lives =
        vec![life(7, &[Task::Touch(0), Task::Touch(0), Task::Note]), life(7, &[Task::Touch(0), Task::Note])];
    for wrong in [Disturbance::CrashBefore, Disturbance::Refused(REFUSALS[1], 0)] {
        for (first, second) in
            (1..36).flat_map(|first| (first + 1..first + 16).map(move |second| (first, second)))
        {
            let disturbances = vec![(first, wrong), (second, Disturbance::PowerLoss(0))];
            assert_kept(&Schedule { places: vec![lives.clone()], disturbances, ..Schedule::default() });
        }
    }
}

#[test]
fn a_lock_that_grows_stale_while_its_holder_lives_is_found() {
    assert_found(Program::Naive(Flaw::StaleByAge), "had not read");
    assert_found(Program::Naive(Flaw::StaleByAge), "is lost");
}

#[test]
fn a_lock_that_is_removed_unseen_at_the_end_is_found() {
    assert_found(Program::Naive(Flaw::ReleasesUnseen), "not the one that was judged");
}

#[test]
fn a_lock_that_is_judged_and_then_removed_unseen_is_found() {
    assert_found(Program::Naive(Flaw::JudgesThenRemoves), "not the one that was judged");
}

#[test]
fn a_holder_that_lost_its_lock_and_writes_all_the_same_is_found() {
    let planted = Program::Store(StoreLock::WritesWithoutLooking);
    assert_found(planted, "had not read");
    assert_found(planted, "is lost");
}

#[test]
fn a_silent_holder_that_is_respected_for_ever_is_found() {
    assert_found(Program::Store(StoreLock::RespectsTheSilent), "the last process could not write");
}
