//! What a scenario says about who minds the gateway: one value for each kind of supervisor.
//!
//! Plain validated values, each named as the supervisor itself names it. Defaults are written in `supervisor_keys`.

use std::time::Duration;

use super::Choice;

/// Who watches over the gateway's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// Nobody: a process that ends stays down unless it starts its own successor.
    None,
    /// A systemd unit.
    Systemd(SystemdUnit),
    /// An agent of launchd.
    Launchd(LaunchdJob),
    /// A task of the Windows Task Scheduler.
    TaskScheduler(ScheduledTask),
    /// The gateway's machine is a container, and the gateway its first process.
    Container(ContainerSetup),
    /// Some supervisor that the gateway knows of and does not know.
    Unsupported(PlainSupervisor),
}

/// The settings of a systemd unit that matter for a service's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemdUnit {
    /// `Restart=`
    pub restart: UnitRestart,
    /// `RestartSec=`
    pub restart_delay: Duration,
    /// `TimeoutStopSec=`
    pub stop_timeout: Duration,
    /// `KillMode=`
    pub kill_mode: KillWhom,
    /// `StartLimitBurst=`
    pub start_limit_burst: u32,
    /// `StartLimitIntervalSec=`
    pub start_limit_interval: Duration,
    /// `SuccessExitStatus=`, besides 0
    pub success_on: Vec<u8>,
    /// `RestartPreventExitStatus=`
    pub prevent_restart_on: Vec<u8>,
    /// `RestartForceExitStatus=`
    pub force_restart_on: Vec<u8>,
    /// What the gateway finds in its environment
    pub environment: UnitEnvironment,
}

/// The keys of a launchd job that matter for a service's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchdJob {
    /// `KeepAlive`
    pub keep_alive: RestartWhen,
    /// `ThrottleInterval`
    pub throttle: Duration,
    /// `ExitTimeOut`
    pub exit_timeout: Duration,
}

/// The settings of a scheduled task that matter for a service's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledTask {
    /// `RestartOnFailure` `Count`
    pub restart_count: u32,
    /// `RestartOnFailure` `Interval`
    pub restart_interval: Duration,
    /// How long it counts as running after its process has ended
    pub lingers: Duration,
}

/// The settings of a container that matter for a service's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSetup {
    /// `--restart`
    pub restart: ContainerRestartWhen,
    /// `--restart on-failure:N`
    pub max_retries: u32,
    /// `--stop-timeout`
    pub stop_timeout: Duration,
}

/// The settings of a supervisor that starts again whatever ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainSupervisor {
    /// From an end to the next start.
    pub restart_delay: Duration,
    /// From SIGTERM to SIGKILL.
    pub stop_timeout: Duration,
}

/// `Restart=` of a systemd unit. `on-watchdog` is not among them: no unit of ours has a watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitRestart {
    /// However the process ended.
    Always,
    /// When it ended with an unclean status or by an unclean signal.
    OnFailure,
    /// When it ended by an unclean signal, or for want of time.
    OnAbnormal,
    /// When it ended by an unclean signal.
    OnAbort,
    /// When it ended cleanly.
    OnSuccess,
    /// Never.
    No,
}

impl Choice for UnitRestart {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("always", Self::Always, "however the process ended"),
        (
            "on-failure",
            Self::OnFailure,
            "when it ended with a status other than 0 and those of `success-on`, or by a signal other than SIGHUP, \
             SIGINT or SIGTERM",
        ),
        (
            "on-abnormal",
            Self::OnAbnormal,
            "when it ended by such a signal; no status is followed by a restart",
        ),
        ("on-abort", Self::OnAbort, "the same, here: systemd's timeouts and watchdog tell them apart"),
        ("on-success", Self::OnSuccess, "when it ended otherwise than `on-failure` asks for"),
        ("no", Self::No, "never"),
    ];
}

/// After which ends of its process a service is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartWhen {
    /// However the process ended.
    Always,
    /// When it ended with a failure status or by a signal.
    OnFailure,
    /// Never.
    No,
}

impl Choice for RestartWhen {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("always", Self::Always, "however the process ended"),
        ("on-failure", Self::OnFailure, "when it ended with a status other than 0, or by a signal"),
        ("no", Self::No, "never"),
    ];
}

/// After which ends of its first process a container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerRestartWhen {
    /// However the process ended, and after a boot unless it had been stopped.
    UnlessStopped,
    /// However the process ended, and after every boot.
    Always,
    /// When it ended with a status other than 0.
    OnFailure,
    /// Never.
    No,
}

impl Choice for ContainerRestartWhen {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "unless-stopped",
            Self::UnlessStopped,
            "however the process ended, and after a boot unless it had been stopped",
        ),
        ("always", Self::Always, "however the process ended, and after every boot"),
        ("on-failure", Self::OnFailure, "when it ended with a status other than 0 or by a signal"),
        ("no", Self::No, "never"),
    ];
}

/// `KillMode=` of a systemd unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillWhom {
    /// SIGTERM, and when time is over SIGKILL, for all.
    ControlGroup,
    /// SIGTERM for the main process, then SIGKILL for the others.
    Mixed,
    /// The main process only.
    Process,
}

impl Choice for KillWhom {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("mixed", Self::Mixed, "SIGTERM for the main process, and when it has ended, SIGKILL for the others"),
        (
            "control-group",
            Self::ControlGroup,
            "SIGTERM for all processes, and SIGKILL for who stays too long",
        ),
        ("process", Self::Process, "the main process only; the others live on"),
    ];
}

/// What the process of a systemd unit finds in its environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitEnvironment {
    /// What systemd and OpenClaw's installer put there.
    Kept,
    /// Nothing by which it could know who minds it.
    Cleared,
}

impl Choice for UnitEnvironment {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("kept", Self::Kept, "what systemd and OpenClaw's installer put there"),
        (
            "cleared",
            Self::Cleared,
            "nothing, as behind `env -i`: the gateway does not know that it is minded",
        ),
    ];
}

/// The kinds of [`Supervisor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SupervisorKind {
    Systemd,
    Launchd,
    TaskScheduler,
    Container,
    None,
    Unsupported,
}

impl Choice for SupervisorKind {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("systemd", Self::Systemd, "a unit of systemd"),
        (
            "launchd",
            Self::Launchd,
            "an agent of launchd: stopped by `bootout`, started by `bootstrap`, restarted by `kickstart -k`",
        ),
        (
            "task-scheduler",
            Self::TaskScheduler,
            "a task of the Windows Task Scheduler: `/Run` is ignored while it runs, `/End` terminates it without a \
             signal, and nobody minds how it ends",
        ),
        (
            "container",
            Self::Container,
            "the gateway is process 1 of a container, which ends with it; an engine starts it again",
        ),
        (
            "none",
            Self::None,
            "nobody: the gateway is started once, and a process that ends stays down unless it sees to a successor itself",
        ),
        (
            "unsupported",
            Self::Unsupported,
            "some supervisor that starts again whatever ends, and that the gateway cannot ask for anything",
        ),
    ];
}
