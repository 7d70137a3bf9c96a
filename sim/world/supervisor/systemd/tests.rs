//! systemd's rules, against systemd.service(5), systemd.kill(5) and systemd.unit(5).

use super::Input::*;
use super::RestartPolicy::{Always, No, OnAbnormal, OnAbort, OnFailure, OnSuccess};
use super::*;
use crate::world::supervisor::rows::{self, KILLED, Row, TERMINATED, exited, timer};

const STARTED: Row = (0, Booted, "starting 1, start", "active");

fn check(what: &str, unit: Unit, rows: &[Row]) {
    rows::check(what, Systemd::new(unit), rows);
}

#[test]
fn which_end_leads_to_a_restart() {
    use DeathCause::{Exited, Killed, Panicked};
    let signal = DeathCause::Signal;
    // The end, and whether it restarts under Restart=no, on-success, on-failure, on-abnormal, on-abort, always.
    let rows = [
        (Exited(ExitCode(0)), [false, true, false, false, false, true]),
        (Exited(ExitCode(1)), [false, false, true, false, false, true]),
        (Exited(ExitCode(75)), [false, false, true, false, false, true]),
        (Exited(ExitCode(143)), [false, true, false, false, false, true]),
        (Exited(ExitCode(78)), [false, false, false, false, false, false]),
        (Exited(ExitCode(79)), [true, true, true, true, true, true]),
        (signal(Signal::Terminate), [false, true, false, false, false, true]),
        (signal(Signal::Interrupt), [false, true, false, false, false, true]),
        (signal(Signal::Hangup), [false, true, false, false, false, true]),
        (signal(Signal::User1), [false, false, true, true, true, true]),
        (Killed, [false, false, true, true, true, true]),
        (Panicked, [false, false, true, false, false, true]),
    ];
    for (cause, expected) in rows {
        for (restart, expected) in
            [No, OnSuccess, OnFailure, OnAbnormal, OnAbort, Always].into_iter().zip(expected)
        {
            // What is prevented is not forced.
            let force_restart_exit_status = vec![78, 79];
            let mut systemd = Systemd::new(Unit { restart, force_restart_exit_status, ..Unit::openclaw() });
            systemd.handle(Duration::ZERO, Booted);
            systemd.handle(Duration::from_secs(1), MainExited(cause));
            assert_eq!(systemd.is_up_expected(), expected, "{cause} with {restart:?}");
            assert_eq!(systemd.state_name() == "auto-restart", expected, "{cause} with {restart:?}");
        }
    }
}

#[test]
fn an_end_nobody_asked_for() {
    check(
        "restarts after the pause",
        Unit::openclaw(),
        &[
            STARTED,
            (9, exited(1), "restart after 5s, timer 1 in 5s", "auto-restart"),
            (14, timer(1), "starting 2, start", "active"),
        ],
    );
    check(
        "a final exit status is a failure that stays",
        Unit::openclaw(),
        &[
            STARTED,
            (9, exited(78), "inactive: exit 78, an exit status in RestartPreventExitStatus", "failed"),
        ],
    );
    check(
        "a clean end stays down on-failure",
        Unit { restart: OnFailure, ..Unit::default() },
        &[
            STARTED,
            (9, TERMINATED, "inactive: killed by SIGTERM, a clean end, with Restart=on-failure", "inactive"),
        ],
    );
    check(
        "the defaults never restart, and 143 is a failure",
        Unit::default(),
        &[STARTED, (9, exited(143), "inactive: exit 143, with Restart=no", "failed")],
    );
}

#[test]
fn a_stop() {
    let stop = (5, StopRequested, "stopping within 90s, SIGTERM, timer 1 in 90s", "deactivating");
    check(
        "is final even with Restart=always",
        Unit::openclaw(),
        &[STARTED, stop, (6, exited(0), "inactive: stopped on request: exit 0", "inactive")],
    );
    check(
        "is final even after a failure",
        Unit::openclaw(),
        &[STARTED, stop, (6, exited(1), "inactive: stopped on request: exit 1", "failed")],
    );
    check(
        "kills when its time is over",
        Unit::openclaw(),
        &[
            STARTED,
            stop,
            (95, timer(1), "timed out, kill all", "deactivating"),
            (95, KILLED, "inactive: stopped on request: killed by SIGKILL", "failed"),
        ],
    );
    check("sends nothing twice", Unit::openclaw(), &[STARTED, stop, (6, StopRequested, "", "deactivating")]);
    check("of an inactive unit does nothing", Unit::openclaw(), &[(0, StopRequested, "", "inactive")]);
    check(
        "cancels a pending restart",
        Unit::openclaw(),
        &[
            STARTED,
            (1, exited(1), "restart after 5s, timer 1 in 5s", "auto-restart"),
            (2, StopRequested, "inactive: stopped while it waited for its restart", "inactive"),
            (6, timer(1), "", "inactive"),
        ],
    );
    check(
        "uses the unit's signal and may wait for ever",
        Unit { stop_signal: Signal::User2, stop_timeout: Duration::ZERO, ..Unit::openclaw() },
        &[STARTED, (1, StopRequested, "stopping within 0ns, SIGUSR2", "deactivating")],
    );
}

#[test]
fn a_manual_restart() {
    let restart = (5, RestartRequested, "stopping within 90s, SIGTERM, timer 1 in 90s", "deactivating");
    check(
        "starts without a pause, whatever the exit status and policy",
        Unit { restart: No, ..Unit::openclaw() },
        &[STARTED, restart, (6, exited(78), "starting 2, start", "active"), (95, timer(1), "", "active")],
    );
    check(
        "starts after a kill, too",
        Unit::openclaw(),
        &[
            STARTED,
            restart,
            (95, timer(1), "timed out, kill all", "deactivating"),
            (95, KILLED, "starting 2, start", "active"),
        ],
    );
    check(
        "of an inactive unit is a start",
        Unit::openclaw(),
        &[(0, RestartRequested, "starting 1, start", "active")],
    );
    check(
        "cuts the pause of an automatic one short",
        Unit::openclaw(),
        &[
            STARTED,
            (1, exited(1), "restart after 5s, timer 1 in 5s", "auto-restart"),
            (2, RestartRequested, "starting 2, start", "active"),
            (6, timer(1), "", "active"),
        ],
    );
    check(
        "turns a stop into a restart",
        Unit::openclaw(),
        &[
            STARTED,
            (5, StopRequested, "stopping within 90s, SIGTERM, timer 1 in 90s", "deactivating"),
            (6, RestartRequested, "", "deactivating"),
            (7, exited(0), "starting 2, start", "active"),
        ],
    );
    check(
        "is turned into a stop by a stop",
        Unit::openclaw(),
        &[
            STARTED,
            restart,
            (6, StopRequested, "", "deactivating"),
            (7, exited(0), "inactive: stopped on request: exit 0", "inactive"),
        ],
    );
}

#[test]
fn a_manual_start() {
    check("of an active unit does nothing", Unit::openclaw(), &[STARTED, (1, StartRequested, "", "active")]);
    check(
        "during a stop follows it",
        Unit::openclaw(),
        &[
            STARTED,
            (5, StopRequested, "stopping within 90s, SIGTERM, timer 1 in 90s", "deactivating"),
            (6, StartRequested, "", "deactivating"),
            (7, exited(0), "starting 2, start", "active"),
        ],
    );
    check(
        "does not cut the pause of an automatic restart short",
        Unit::openclaw(),
        &[
            STARTED,
            (1, exited(1), "restart after 5s, timer 1 in 5s", "auto-restart"),
            (2, StartRequested, "", "auto-restart"),
            (6, timer(1), "starting 2, start", "active"),
        ],
    );
    check(
        "brings a failed unit back",
        Unit::openclaw(),
        &[
            STARTED,
            (1, exited(78), "inactive: exit 78, an exit status in RestartPreventExitStatus", "failed"),
            (2, StartRequested, "starting 2, start", "active"),
        ],
    );
}

#[test]
fn the_start_limit() {
    let unit = Unit {
        start_limit_burst: 2,
        start_limit_interval: Duration::from_secs(10),
        restart_delay: Duration::from_secs(1),
        ..Unit::openclaw()
    };
    check(
        "gives up on a crash loop until the interval is over",
        unit.clone(),
        &[
            STARTED,
            (1, exited(1), "restart after 1s, timer 1 in 1s", "auto-restart"),
            (2, timer(1), "starting 2, start", "active"),
            (3, exited(1), "restart after 1s, timer 2 in 1s", "auto-restart"),
            (4, timer(2), "start limit hit", "failed"),
            (10, StartRequested, "start limit hit", "failed"),
            (11, StartRequested, "starting 3, start", "active"),
        ],
    );
    check(
        "counts manual starts and restarts",
        Unit { restart: No, ..unit.clone() },
        &[
            STARTED,
            (1, exited(0), "inactive: exit 0, with Restart=no", "inactive"),
            (2, StartRequested, "starting 2, start", "active"),
            (3, RestartRequested, "stopping within 90s, SIGTERM, timer 1 in 90s", "deactivating"),
            (4, exited(0), "start limit hit", "failed"),
        ],
    );
    check(
        "does not slide: two intervals can touch",
        unit.clone(),
        &[
            STARTED,
            (9, exited(1), "restart after 1s, timer 1 in 1s", "auto-restart"),
            (10, timer(1), "starting 2, start", "active"),
            (10, exited(1), "restart after 1s, timer 2 in 1s", "auto-restart"),
            (11, timer(2), "starting 3, start", "active"),
            (11, exited(1), "restart after 1s, timer 3 in 1s", "auto-restart"),
            (12, timer(3), "starting 4, start", "active"),
        ],
    );
    check(
        "is forgotten by a reboot",
        Unit { start_limit_burst: 1, ..unit.clone() },
        &[STARTED, (1, PowerLost, "", "off"), (2, Booted, "starting 2, start", "active")],
    );
    check(
        "can be switched off",
        Unit { start_limit_burst: 0, ..unit },
        &[
            STARTED,
            (0, exited(1), "restart after 1s, timer 1 in 1s", "auto-restart"),
            (1, timer(1), "starting 2, start", "active"),
            (1, exited(1), "restart after 1s, timer 2 in 1s", "auto-restart"),
            (2, timer(2), "starting 3, start", "active"),
        ],
    );
}

#[test]
fn a_power_loss() {
    check(
        "ends everything, timers included, until the boot",
        Unit::openclaw(),
        &[
            STARTED,
            (1, exited(1), "restart after 5s, timer 1 in 5s", "auto-restart"),
            (2, PowerLost, "", "off"),
            (3, StartRequested, "", "off"),
            (4, exited(0), "", "off"),
            (6, timer(1), "", "off"),
            (7, Booted, "starting 2, start", "active"),
        ],
    );
    check(
        "seen as the end of the process is no failure of it",
        Unit::openclaw(),
        &[STARTED, (1, MainExited(DeathCause::PowerLoss), "", "off")],
    );
    check(
        "brings a stopped unit back, since it is enabled",
        Unit::openclaw(),
        &[
            STARTED,
            (1, StopRequested, "stopping within 90s, SIGTERM, timer 1 in 90s", "deactivating"),
            (2, PowerLost, "", "off"),
            (3, Booted, "starting 2, start", "active"),
            (91, timer(1), "", "active"),
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
        (StopRequested, false),
        (exited(0), false),
        (StartRequested, true),
        (exited(78), false),
        (StartRequested, true),
        (PowerLost, false),
        (Booted, true),
    ];
    rows::check_up_expected(Systemd::new(Unit::openclaw()), &rows);
}

#[test]
fn what_becomes_of_the_others() {
    use KillMode::{Mixed, Process};
    const LEAVING: Input = MainExitedLeaving(DeathCause::Exited(ExitCode(75)));
    let unit = |kill_mode| Unit { kill_mode, ..Unit::openclaw() };
    check(
        "mixed: killed when the main process has ended by itself",
        unit(Mixed),
        &[STARTED, (5, LEAVING, "kill all, restart after 5s, timer 1 in 5s", "auto-restart")],
    );
    check(
        "mixed: and after a stop that was for the main process only",
        unit(Mixed),
        &[
            STARTED,
            (5, StopRequested, "stopping within 90s, SIGTERM, timer 1 in 90s", "deactivating"),
            (6, LEAVING, "kill all, inactive: stopped on request: exit 75", "failed"),
        ],
    );
    check(
        "process: they live on, also next to the next start",
        unit(Process),
        &[
            STARTED,
            (5, LEAVING, "restart after 5s, timer 1 in 5s", "auto-restart"),
            (10, timer(1), "starting 2, start", "active"),
            (11, StopRequested, "stopping within 90s, SIGTERM, timer 2 in 90s", "deactivating"),
            (101, timer(2), "timed out, kill", "deactivating"),
        ],
    );
}

#[test]
fn what_becomes_of_the_others_in_a_control_group() {
    use KillMode::ControlGroup;
    const LEAVING: Input = MainExitedLeaving(DeathCause::Exited(ExitCode(75)));
    let unit = |kill_mode| Unit { kill_mode, ..Unit::openclaw() };
    check(
        "control-group: asked like the main process, asked again when that is gone, and waited for",
        unit(ControlGroup),
        &[
            STARTED,
            (5, RestartRequested, "stopping within 90s, SIGTERM to all, timer 1 in 90s", "deactivating"),
            (6, LEAVING, "SIGTERM to all, timer 2 in 90s", "deactivating"),
            (9, GroupEmptied, "starting 2, start", "active"),
        ],
    );
    check(
        "control-group: the others have their own time",
        unit(ControlGroup),
        &[
            STARTED,
            (5, StopRequested, "stopping within 90s, SIGTERM to all, timer 1 in 90s", "deactivating"),
            (94, LEAVING, "SIGTERM to all, timer 2 in 90s", "deactivating"),
            (95, timer(1), "", "deactivating"),
            (184, timer(2), "kill all", "deactivating"),
            (184, GroupEmptied, "inactive: stopped on request: exit 75", "failed"),
        ],
    );
    check(
        "control-group: asked when the main process ends by itself, and killed in the end",
        unit(ControlGroup),
        &[
            STARTED,
            (5, LEAVING, "SIGTERM to all, timer 1 in 90s", "deactivating"),
            (95, timer(1), "kill all", "deactivating"),
            (95, GroupEmptied, "restart after 5s, timer 2 in 5s", "auto-restart"),
        ],
    );
    check(
        "control-group: a stop meanwhile is final",
        unit(ControlGroup),
        &[
            STARTED,
            (5, LEAVING, "SIGTERM to all, timer 1 in 90s", "deactivating"),
            (6, StopRequested, "", "deactivating"),
            (7, GroupEmptied, "inactive: stopped on request: exit 75", "failed"),
        ],
    );
}

#[test]
fn a_restart_asked_for_from_inside() {
    check(
        "stops the asking process, whose end the job outlives whatever the policy and its status",
        Unit { restart: No, ..Unit::openclaw() },
        &[
            STARTED,
            (5, RestartRequested, "stopping within 90s, SIGTERM, timer 1 in 90s", "deactivating"),
            (5, exited(0), "starting 2, start", "active"),
        ],
    );
}

#[test]
fn success_exit_statuses() {
    let unit = Unit { restart: OnFailure, success_exit_status: vec![75], ..Unit::openclaw() };
    check(
        "are clean ends, which on-failure does not restart",
        unit,
        &[STARTED, (5, exited(75), "inactive: exit 75, a clean end, with Restart=on-failure", "inactive")],
    );
}

#[test]
fn a_plain_supervisor_restarts_whatever_ends() {
    let second = Duration::from_secs(1);
    check(
        "without counting",
        Unit::plain(second, 90 * second),
        &[
            STARTED,
            (1, exited(78), "restart after 1s, timer 1 in 1s", "auto-restart"),
            (2, timer(1), "starting 2, start", "active"),
            (3, exited(0), "restart after 1s, timer 2 in 1s", "auto-restart"),
            (4, timer(2), "starting 3, start", "active"),
            (5, StopRequested, "stopping within 90s, SIGTERM, timer 3 in 90s", "deactivating"),
            (6, exited(0), "inactive: stopped on request: exit 0", "inactive"),
        ],
    );
}
