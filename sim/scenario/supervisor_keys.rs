//! The keys of `[gateway.supervisor]`, by kind of supervisor, with the defaults of OpenClaw's installers.

use super::Choice;
use super::keys::Need::Default;
use super::keys::{Key, Shape, key};
use super::supervisor::{
    ContainerRestartWhen, KillWhom, RestartWhen, SupervisorKind, UnitEnvironment, UnitRestart,
};

/// A kind of supervisor with the keys that it brings.
pub(super) struct KindKeys {
    pub(super) kind: SupervisorKind,
    pub(super) keys: &'static [Key],
}

/// The key that decides which others there are.
pub(super) const KIND: Key =
    key("kind", Shape::Choice(SupervisorKind::meanings), Default("systemd"), "Which supervisor, if any");

/// The keys of each kind, the default kind first.
pub(super) const KINDS: &[KindKeys] = &[
    KindKeys { kind: SupervisorKind::Systemd, keys: SYSTEMD },
    KindKeys { kind: SupervisorKind::Launchd, keys: LAUNCHD },
    KindKeys { kind: SupervisorKind::TaskScheduler, keys: TASK_SCHEDULER },
    KindKeys { kind: SupervisorKind::Container, keys: CONTAINER },
    KindKeys { kind: SupervisorKind::None, keys: &[] },
    KindKeys { kind: SupervisorKind::Unsupported, keys: PLAIN },
];

/// The keys of a kind, without `kind` itself.
pub(super) fn of(kind: SupervisorKind) -> &'static [Key] {
    KINDS.iter().find(|keys| keys.kind == kind).map_or(&[], |keys| keys.keys)
}

const SYSTEMD: &[Key] = &[
    key(
        "restart",
        Shape::Choice(UnitRestart::meanings),
        Default("always"),
        "`Restart=`: when it is started again",
    ),
    key("restart-delay", Shape::Duration, Default("1s"), "`RestartSec=`: from an end to the next start"),
    key(
        "stop-timeout",
        Shape::Period,
        Default("90s"),
        "`TimeoutStopSec=`: from the stop signal to SIGKILL; the gateway knows it from its configuration",
    ),
    key(
        "kill-mode",
        Shape::Choice(KillWhom::meanings),
        Default("mixed"),
        "`KillMode=`: what becomes of processes that the gateway has started",
    ),
    key(
        "start-limit-burst",
        Shape::Whole(0, 10_000),
        Default("10"),
        "`StartLimitBurst=`: starts allowed in the interval; 0: any number",
    ),
    key(
        "start-limit-interval",
        Shape::Duration,
        Default("300s"),
        "`StartLimitIntervalSec=`: the interval in which starts are counted; `0s`: no limit",
    ),
    key(
        "success-on",
        Shape::Statuses,
        Default("[143]"),
        "`SuccessExitStatus=`: exit statuses that are as good as 0",
    ),
    key(
        "prevent-restart-on",
        Shape::Statuses,
        Default("[78]"),
        "`RestartPreventExitStatus=`: exit statuses after which it stays down",
    ),
    key(
        "force-restart-on",
        Shape::Statuses,
        Default("[]"),
        "`RestartForceExitStatus=`: exit statuses after which it is started again, whatever `restart` says",
    ),
    key(
        "environment",
        Shape::Choice(UnitEnvironment::meanings),
        Default("kept"),
        "What the gateway finds in its environment",
    ),
];

const LAUNCHD: &[Key] = &[
    key(
        "restart",
        Shape::Choice(RestartWhen::meanings),
        Default("always"),
        "`KeepAlive`: when it is started again",
    ),
    key(
        "throttle",
        Shape::Period,
        Default("10s"),
        "`ThrottleInterval`: it is not started sooner than this after its last start; in spring 2026 OpenClaw \
         installed `1s`",
    ),
    key(
        "exit-timeout",
        Shape::Period,
        Default("20s"),
        "`ExitTimeOut`: from SIGTERM to SIGKILL; the gateway knows it from its configuration",
    ),
];

const TASK_SCHEDULER: &[Key] = &[
    key(
        "restart-count",
        Shape::Whole(0, 999),
        Default("0"),
        "`RestartOnFailure`: how often a run that failed is tried again",
    ),
    key("restart-interval", Shape::Period, Default("1m"), "`RestartOnFailure`: how long after the failure"),
    key(
        "lingers",
        Shape::Duration,
        Default("0s"),
        "How long the task counts as running after the gateway has ended, as with scripts around it; a run that is \
         asked for meanwhile is ignored",
    ),
];

const CONTAINER: &[Key] = &[
    key(
        "restart",
        Shape::Choice(ContainerRestartWhen::meanings),
        Default("unless-stopped"),
        "`--restart`: when it is started again, after 100 ms, doubled each time up to a minute, and 100 ms again \
         after a run of 10 s",
    ),
    key(
        "max-retries",
        Shape::Whole(0, 10_000),
        Default("0"),
        "`--restart on-failure:N`: how often at most; 0: any number of times",
    ),
    key(
        "stop-timeout",
        Shape::Period,
        Default("10s"),
        "`--stop-timeout`: from SIGTERM to SIGKILL; the gateway knows it from its configuration",
    ),
];

const PLAIN: &[Key] = &[
    key("restart-delay", Shape::Period, Default("1s"), "From an end to the next start"),
    key(
        "stop-timeout",
        Shape::Period,
        Default("90s"),
        "From SIGTERM to SIGKILL; the gateway knows it from its configuration",
    ),
];
