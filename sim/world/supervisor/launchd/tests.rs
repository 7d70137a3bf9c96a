//! launchd's rules, against launchd.plist(5), launchctl(1) and what people saw of both.

use super::Input::*;
use super::*;
use crate::world::supervisor::rows::{self, KILLED, Row, exited, timer};

const BOOTED: Row = (0, Booted, "starting 1, start", "running");
const BOOTOUT: Row = (30, StopRequested, "stopping within 20s, SIGTERM, timer 1 in 20s", "SIGTERMed");

fn check(what: &str, job: Job, rows: &[Row]) {
    rows::check(what, Launchd::new(job), rows);
}

#[test]
fn keep_alive_true_restarts_whatever_the_end() {
    for (end, cause) in [(exited(0), "exit 0"), (exited(78), "exit 78"), (KILLED, "killed")] {
        check(
            cause,
            Job::openclaw(),
            &[BOOTED, (60, end, "restart after 0ns, starting 2, start", "running")],
        );
    }
}

#[test]
fn the_throttle_counts_from_start_to_start() {
    check(
        "a life shorter than the interval is followed by its rest",
        Job::openclaw(),
        &[
            BOOTED,
            (3, exited(1), "restart after 7s, timer 1 in 7s", "spawn scheduled"),
            (10, timer(1), "starting 2, start", "running"),
            (20, exited(1), "restart after 0ns, starting 3, start", "running"),
        ],
    );
    check(
        "as OpenClaw set it in spring 2026",
        Job { throttle: Duration::from_secs(1), ..Job::openclaw() },
        &[BOOTED, (0, exited(1), "restart after 1s, timer 1 in 1s", "spawn scheduled")],
    );
}

#[test]
fn other_values_of_keep_alive() {
    let unless_successful = Job { keep_alive: KeepAlive::UnlessSuccessful, ..Job::default() };
    let down = "inactive: exit 0, and KeepAlive does not ask for it";
    check("SuccessfulExit=false", unless_successful.clone(), &[BOOTED, (60, exited(0), down, "not running")]);
    check(
        "SuccessfulExit=false after a failure",
        unless_successful,
        &[BOOTED, (60, exited(75), "restart after 0ns, starting 2, start", "running")],
    );
    let down = "inactive: exit 1, and KeepAlive does not ask for it";
    check("false", Job::default(), &[BOOTED, (60, exited(1), down, "not running")]);
}

#[test]
fn bootout_does_not_wait_and_bootstrap_fails_until_the_process_is_gone() {
    check(
        "openclaw/openclaw#133647",
        Job::openclaw(),
        &[
            BOOTED,
            BOOTOUT,
            (
                33,
                StartRequested,
                "no bootstrap: 5: Input/output error, since the job that was booted out is still running",
                "SIGTERMed",
            ),
            (45, exited(0), "inactive: booted out: exit 0", "not loaded"),
            (46, StartRequested, "starting 2, start", "running"),
        ],
    );
    check(
        "who does not go is killed after ExitTimeOut",
        Job::openclaw(),
        &[
            BOOTED,
            BOOTOUT,
            (50, timer(1), "timed out, kill", "SIGTERMed"),
            (50, KILLED, "inactive: booted out: killed by SIGKILL", "not loaded"),
        ],
    );
    check(
        "ExitTimeOut 0 is for ever",
        Job { exit_timeout: Duration::ZERO, ..Job::openclaw() },
        &[BOOTED, (30, StopRequested, "stopping within 0ns, SIGTERM", "SIGTERMed")],
    );
    check(
        "a throttled job is deregistered at once",
        Job::openclaw(),
        &[
            BOOTED,
            (3, exited(1), "restart after 7s, timer 1 in 7s", "spawn scheduled"),
            (4, StopRequested, "inactive: booted out while it was not running", "not loaded"),
            (10, timer(1), "", "not loaded"),
        ],
    );
    check(
        "twice is an error",
        Job::openclaw(),
        &[
            BOOTED,
            BOOTOUT,
            (31, StopRequested, "no bootout: 3: No such process, since the job is not loaded", "SIGTERMed"),
        ],
    );
}

#[test]
fn bootstrap_of_a_loaded_job_is_an_error() {
    let refused = "no bootstrap: 37: Operation already in progress, since the job is loaded";
    check("running", Job::openclaw(), &[BOOTED, (1, StartRequested, refused, "running")]);
    check("not loaded yet", Job::openclaw(), &[(0, StartRequested, "starting 1, start", "running")]);
}

#[test]
fn kickstart_kills_and_starts() {
    check(
        "without a signal before, and without the throttle",
        Job::openclaw(),
        &[
            BOOTED,
            (3, RestartRequested, "stopping within 0ns, kill", "SIGKILLed"),
            (3, KILLED, "starting 2, start", "running"),
        ],
    );
    check(
        "a throttled job starts at once",
        Job::openclaw(),
        &[
            BOOTED,
            (3, exited(1), "restart after 7s, timer 1 in 7s", "spawn scheduled"),
            (4, RestartRequested, "starting 2, start", "running"),
            (10, timer(1), "", "running"),
        ],
    );
    let unknown = "no kickstart: 113: Could not find the service, since the job is not loaded";
    check("what is not loaded cannot", Job::openclaw(), &[(0, RestartRequested, unknown, "not loaded")]);
    check(
        "nor what has been booted out",
        Job::openclaw(),
        &[BOOTED, BOOTOUT, (31, RestartRequested, unknown, "SIGTERMed")],
    );
    check(
        "a bootout meanwhile is final",
        Job::openclaw(),
        &[
            BOOTED,
            (3, RestartRequested, "stopping within 0ns, kill", "SIGKILLed"),
            (3, StopRequested, "stopping within 20s, SIGTERM, timer 1 in 20s", "SIGTERMed"),
            (3, KILLED, "inactive: booted out: killed by SIGKILL", "not loaded"),
        ],
    );
}

#[test]
fn a_boot_loads_the_job_again() {
    check(
        "booted out or not",
        Job::openclaw(),
        &[
            BOOTED,
            BOOTOUT,
            (31, exited(0), "inactive: booted out: exit 0", "not loaded"),
            (40, PowerLost, "", "off"),
            (41, StartRequested, "", "off"),
            (50, Booted, "starting 2, start", "running"),
            (51, MainExited(DeathCause::PowerLoss), "", "off"),
        ],
    );
}

#[test]
fn what_it_leaves_behind_is_killed() {
    check(
        "with its process group",
        Job::openclaw(),
        &[
            BOOTED,
            (
                60,
                MainExitedLeaving(DeathCause::Killed),
                "kill all, restart after 0ns, starting 2, start",
                "running",
            ),
        ],
    );
}

#[test]
fn whether_the_service_should_be_up() {
    let rows = [
        (Booted, true),
        (exited(1), true),
        (timer(1), true),
        (RestartRequested, true),
        (KILLED, true),
        (StopRequested, false),
        (StartRequested, false),
        (exited(0), false),
    ];
    rows::check_up_expected(Launchd::new(Job::openclaw()), &rows);
}
