//! One row per rule: what happens at which second, what systemd does about it, and the state it is in then.

use super::Input::*;
use super::RestartPolicy::{Always, No, OnFailure};
use super::*;

type Row = (u64, Input, &'static str, &'static str);

const STARTED: Row = (0, Booted, "starting 1, start", "active");

/// Plays `rows` of (second, input, actions, state) and compares.
fn check(what: &str, unit: Unit, rows: &[Row]) {
    let mut systemd = Systemd::new(unit);
    for (at, input, actions, state) in rows {
        let done = systemd.handle(Duration::from_secs(*at), *input);
        let done: Vec<_> = done.iter().map(in_short).collect();
        assert_eq!(done.join(", "), *actions, "{what}: {input:?} at {at} s");
        assert_eq!(systemd.state_name(), *state, "{what}: {input:?} at {at} s");
    }
}

fn in_short(action: &Action) -> String {
    match action {
        Action::Start => "start".into(),
        Action::Signal(signal) => signal.to_string(),
        Action::Kill => "kill".into(),
        Action::SetTimer { token, after } => format!("timer {} in {after:?}", token.0),
        Action::Record(Fact::ServiceStarting { attempt }) => format!("starting {attempt}"),
        Action::Record(Fact::ServiceStopping { stop_timeout }) => format!("stopping within {stop_timeout:?}"),
        Action::Record(Fact::StopTimedOut) => "timed out".into(),
        Action::Record(Fact::ServiceInactive { why }) => format!("inactive: {why}"),
        Action::Record(Fact::RestartScheduled { after }) => format!("restart after {after:?}"),
        Action::Record(Fact::StartLimitHit) => "start limit hit".into(),
        Action::Record(fact) => panic!("not a supervisor's fact: {fact:?}"),
    }
}

fn exited(code: u8) -> Input {
    MainExited(DeathCause::Exited(ExitCode(code)))
}

fn timer(token: u64) -> Input {
    TimerFired(TimerToken(token))
}

const KILLED: Input = MainExited(DeathCause::Killed);
const TERMINATED: Input = MainExited(DeathCause::Signal(Signal::Terminate));

#[test]
fn which_end_leads_to_a_restart() {
    use DeathCause::{Exited, Killed, Panicked};
    let signal = DeathCause::Signal;
    // The end, and whether it restarts under Restart=no, on-failure, always.
    let rows = [
        (Exited(ExitCode(0)), [false, false, true]),
        (Exited(ExitCode(1)), [false, true, true]),
        (Exited(ExitCode(75)), [false, true, true]),
        (Exited(ExitCode(143)), [false, false, true]),
        (Exited(ExitCode(78)), [false, false, false]),
        (signal(Signal::Terminate), [false, false, true]),
        (signal(Signal::Interrupt), [false, false, true]),
        (signal(Signal::Hangup), [false, false, true]),
        (signal(Signal::User1), [false, true, true]),
        (Killed, [false, true, true]),
        (Panicked, [false, true, true]),
    ];
    for (cause, expected) in rows {
        for (restart, expected) in [No, OnFailure, Always].into_iter().zip(expected) {
            let mut systemd = Systemd::new(Unit { restart, ..Unit::openclaw() });
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
            (95, timer(1), "timed out, kill", "deactivating"),
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
            (95, timer(1), "timed out, kill", "deactivating"),
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
    let mut systemd = Systemd::new(Unit::openclaw());
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
    for (input, expected) in rows {
        systemd.handle(Duration::ZERO, input);
        assert_eq!(systemd.is_up_expected(), expected, "after {input:?}");
    }
}
