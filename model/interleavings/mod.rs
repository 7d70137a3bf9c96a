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

/// Lets everything happen that the schedule says; the first promise that was broken, and what happened.
fn play(schedule: &Schedule, program: Program) -> (Option<String>, Vec<String>) {
    let machine = Arc::new(Machine::new(schedule));
    let closing = schedule.places.len();
    thread::scope(|scope| {
        for (place, lives) in schedule.places.iter().enumerate() {
            let machine = &machine;
            scope.spawn(move || {
                machine.enter(place);
                for life in lives {
                    process::live(machine, place, life.pid, |doors| writers::live(doors, program, life.clone()));
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

/// Tries random schedules on a program; the smallest that breaks a promise which `counts`.
fn search(program: Program, cases: u32, counts: fn(&str) -> bool) -> Option<Schedule> {
    let from_environment = Config::default();
    let config = Config {
        cases,
        rng_seed: match from_environment.rng_seed {
            RngSeed::Random => RngSeed::Fixed(CASES_OF),
            chosen => chosen,
        },
        failure_persistence: None,
        max_shrink_iters: 3_000,
        ..from_environment
    };
    let keeps_promises = |schedule: Schedule| match play(&schedule, program).0 {
        Some(breach) if counts(&breach) => Err(TestCaseError::fail(breach)),
        _ => Ok(()),
    };
    match TestRunner::new(config).run(&schedule(), keeps_promises) {
        Ok(()) => None,
        Err(TestError::Fail(_, schedule)) => Some(schedule),
        Err(TestError::Abort(why)) => panic!("gave up: {why}"),
    }
}

/// The failure as a person needs it.
fn explain(schedule: &Schedule, program: Program) -> String {
    let (breach, log) = play(schedule, program);
    format!("{program:?}: {}\n{schedule}\n{}\n", breach.unwrap_or_default(), log.join("\n"))
}

fn assert_kept(schedule: &Schedule) {
    let (breach, log) = play(schedule, HARDENED);
    assert!(breach.is_none(), "{}\n{schedule}\n{}\n", breach.unwrap_or_default(), log.join("\n"));
}

#[test]
fn no_schedule_breaks_a_promise() {
    if let Some(schedule) = search(HARDENED, 4 * Config::default().cases, |_| true) {
        panic!("{}", explain(&schedule, HARDENED));
    }
}

fn life(pid: u32, tasks: &[Task]) -> Life {
    Life { pid, tasks: tasks.to_vec() }
}

/// Two processes that write, beside each other and one after the other.
fn plain() -> Schedule {
    let places =
        vec![vec![life(7, &[Task::Note, Task::Note]), life(7, &[Task::Note])], vec![life(8, &[Task::TwoNotes])]];
    Schedule { places, ..Schedule::default() }
}

#[test]
fn undisturbed_processes_keep_every_promise() {
    assert_kept(&plain());
}
