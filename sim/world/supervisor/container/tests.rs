//! The engine's rules, against its documentation and the source of its restart manager.

use gateway::env::ExitCode;

use super::Input::*;
use super::*;
use crate::world::supervisor::rows::{self, KILLED, Row, exited, timer};

const STARTED: Row = (0, StartRequested, "starting 1, start", "running");

fn settings(restart: ContainerRestart) -> ContainerSettings {
    ContainerSettings { restart, ..ContainerSettings::default() }
}

fn check(what: &str, settings: ContainerSettings, rows: &[Row]) {
    rows::check(what, Container::new(settings), rows);
}

#[test]
fn which_end_leads_to_a_restart() {
    use ContainerRestart::{Always, No, OnFailure, UnlessStopped};
    let rows = [
        (DeathCause::Exited(ExitCode(0)), [false, false, true, true]),
        (DeathCause::Exited(ExitCode(75)), [false, true, true, true]),
        (DeathCause::Exited(ExitCode(78)), [false, true, true, true]),
        (DeathCause::Killed, [false, true, true, true]),
        (DeathCause::Panicked, [false, true, true, true]),
    ];
    for (cause, expected) in rows {
        for (restart, expected) in [No, OnFailure, Always, UnlessStopped].into_iter().zip(expected) {
            let mut container = Container::new(settings(restart));
            container.handle(Duration::ZERO, StartRequested);
            container.handle(Duration::from_secs(1), MainExited(cause));
            assert_eq!(container.is_up_expected(), expected, "{cause} with {restart:?}");
        }
    }
}

#[test]
fn the_pause_doubles_up_to_a_minute_and_begins_anew_after_a_long_run() {
    let mut container = Container::new(ContainerSettings::openclaw());
    let mut now = Duration::ZERO;
    container.handle(now, StartRequested);
    let mut pauses = Vec::new();
    for ran_for in [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 9, 10, 1] {
        now += Duration::from_secs(ran_for);
        let actions = container.handle(now, exited(1));
        let Some(Action::SetTimer { token, after }) = actions.last().cloned() else { panic!("{actions:?}") };
        pauses.push(after.as_millis());
        now += after;
        container.handle(now, TimerFired(token));
    }
    let doubled = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 60_000, 60_000];
    assert_eq!(pauses, [&doubled[..], &[100, 200]].concat());
}

#[test]
fn a_stop() {
    let stop = (5, StopRequested, "stopping within 10s, SIGTERM, timer 1 in 10s", "running");
    check(
        "is final under every policy",
        settings(ContainerRestart::Always),
        &[STARTED, stop, (6, exited(0), "inactive: stopped on request: exit 0", "exited")],
    );
    check(
        "kills after 10 s",
        ContainerSettings::openclaw(),
        &[
            STARTED,
            stop,
            (15, timer(1), "timed out, kill", "running"),
            (15, KILLED, "inactive: stopped on request: killed by SIGKILL", "exited"),
        ],
    );
    check(
        "cancels a pending restart",
        ContainerSettings::openclaw(),
        &[
            STARTED,
            (1, exited(1), "restart after 100ms, timer 1 in 100ms", "restarting"),
            (1, StopRequested, "inactive: stopped while it waited for its restart", "exited"),
            (2, timer(1), "", "exited"),
        ],
    );
    check(
        "of an exited container does nothing",
        settings(ContainerRestart::No),
        &[(0, StopRequested, "", "exited")],
    );
}

#[test]
fn a_restart_is_a_stop_and_a_start() {
    check(
        "without a pause",
        settings(ContainerRestart::No),
        &[
            STARTED,
            (5, RestartRequested, "stopping within 10s, SIGTERM, timer 1 in 10s", "running"),
            (6, exited(0), "starting 2, start", "running"),
            (15, timer(1), "", "running"),
        ],
    );
    check(
        "of an exited container is a start",
        settings(ContainerRestart::No),
        &[(0, RestartRequested, "starting 1, start", "running")],
    );
}

#[test]
fn what_a_boot_starts() {
    use ContainerRestart::{Always, No, OnFailure, UnlessStopped};
    let boot = |restart, what_then: &'static str, state| {
        let rows = [STARTED, (1, PowerLost, "", "off"), (2, Booted, what_then, state)];
        check("while it ran", settings(restart), &rows);
    };
    boot(Always, "starting 2, start", "running");
    boot(UnlessStopped, "starting 2, start", "running");
    boot(OnFailure, "inactive: a boot is no failure, with restart on-failure", "exited");
    boot(No, "inactive: with restart no", "exited");
    let after_stop = |restart, what_then: &'static str, state| {
        let rows = [
            STARTED,
            (5, StopRequested, "stopping within 10s, SIGTERM, timer 1 in 10s", "running"),
            (6, exited(0), "inactive: stopped on request: exit 0", "exited"),
            (7, PowerLost, "", "off"),
            (8, Booted, what_then, state),
        ];
        check("after a stop", settings(restart), &rows);
    };
    after_stop(Always, "starting 2, start", "running");
    after_stop(UnlessStopped, "inactive: it had been stopped before the boot", "exited");
    let taken_back = [
        STARTED,
        (5, StopRequested, "stopping within 10s, SIGTERM, timer 1 in 10s", "running"),
        (6, StartRequested, "", "running"),
        (7, PowerLost, "", "off"),
        (8, Booted, "starting 2, start", "running"),
    ];
    check("a start takes the stop back", settings(UnlessStopped), &taken_back);
}

#[test]
fn retries_run_out_and_are_counted_anew_by_a_start() {
    let most_one = ContainerSettings { max_retries: 1, ..settings(ContainerRestart::OnFailure) };
    check(
        "on-failure:1",
        most_one,
        &[
            STARTED,
            (1, exited(1), "restart after 100ms, timer 1 in 100ms", "restarting"),
            (2, timer(1), "starting 2, start", "running"),
            (3, exited(1), "inactive: exit 1, after the last of its retries", "exited"),
            (4, StartRequested, "starting 3, start", "running"),
            (5, exited(1), "restart after 100ms, timer 2 in 100ms", "restarting"),
        ],
    );
}

#[test]
fn whether_the_service_should_be_up() {
    let rows = [
        (StartRequested, true),
        (exited(75), true),
        (timer(1), true),
        (RestartRequested, true),
        (StopRequested, false),
        (exited(0), false),
    ];
    rows::check_up_expected(Container::new(ContainerSettings::openclaw()), &rows);
}
