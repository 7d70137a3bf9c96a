//! Programs beside the gateway that see to it that it runs again: the tool that loads its service anew, and the script
//! that a restart leaves behind where the service manager starts nothing by itself.
//!
//! Managers say "done" when they have done nothing: launchd's `bootout` returns before the job is gone, and until then
//! its `bootstrap` fails (openclaw/openclaw#133647); the Task Scheduler takes a `/Run` and ignores it while the task
//! runs (openclaw/openclaw#138833). History believed them. A hardened program believes what it sees: the old process is
//! gone, and somebody listens on the port; or it says that this is not so. What a gateway does is not known here.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::Launch;
use crate::config::Config;
use crate::env::{Detached, Env, ExitCode, Liveness, Pid, ServiceOrder, ServiceState, StartTime};
use crate::policy::{HandOff, Reload};

/// How often it is looked whether something has happened.
const POLL: Duration = Duration::from_millis(100);
/// How long an old process may take beyond what it was allowed.
const LENIENCE: Duration = Duration::from_secs(30);
/// How long a service may take to come up, and how often it is looked (OpenClaw: 60 s, every 500 ms).
const COMES_UP: Duration = Duration::from_secs(60);
const LOOKS_EVERY: Duration = Duration::from_millis(500);
/// How long a connection to the port may take.
const ANSWERS: Duration = Duration::from_secs(1);
/// How long OpenClaw 2026.7.1-2 waited between `bootout` and `bootstrap` (15 x 200 ms).
const THREE_SECONDS: Duration = Duration::from_secs(3);
/// How often the script of OpenClaw 2026.5.3-1 asked, and how long it waited before each time.
const SCRIPT_ATTEMPTS: u32 = 12;
const SCRIPT_PAUSE: Duration = Duration::from_secs(1);

/// The process that a start script comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its id.
    pub pid: Pid,
    /// When it started, as [`Process::start_time`](crate::env::Process::start_time) has it.
    pub start: Option<StartTime>,
}

/// Why the service is not up again, as far as anybody can see.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelaunchError {
    #[error("the service manager does not {order}: {source}")]
    Refused { order: ServiceOrder, source: io::Error },
    #[error("the old process is still there after {} s, and nothing was started", .after.as_secs())]
    StillRuns { after: Duration },
    #[error("somebody stopped the service meanwhile, and it was left alone")]
    StoppedMeanwhile,
    #[error("nobody listens on port {port} after {} s{}", .after.as_secs(), because(.last))]
    NotUp { port: u16, after: Duration, last: Option<io::Error> },
}

fn because(last: &Option<io::Error>) -> String {
    last.as_ref().map_or_else(String::new, |error| format!("; the service manager said: {error}"))
}

/// Loads the service anew: a stop, and a start.
pub(crate) async fn reload(
    env: &Env,
    config: &Config,
    policy: Reload,
) -> Result<&'static str, RelaunchError> {
    let stopped = order(env, ServiceOrder::Stop);
    // A service that does not run need not be stopped.
    if is_running(env) {
        stopped?;
    }
    let patience = match policy {
        Reload::UntilItIsUp => config.drain_budget().max(config.stop_timeout()) + LENIENCE,
        Reload::AtOnce => Duration::ZERO,
        Reload::ThreeSeconds => THREE_SECONDS,
    };
    let gone = comes_true(patience, || !is_running(env)).await;
    match policy {
        Reload::UntilItIsUp if !gone => Err(RelaunchError::StillRuns { after: patience }),
        Reload::UntilItIsUp => {
            come_up(env, config.gateway.port).await.map(|()| "the service was loaded anew and listens")
        }
        Reload::AtOnce | Reload::ThreeSeconds => {
            order(env, ServiceOrder::Start).map(|()| "the service was loaded anew")
        }
    }
}

/// A start script: runs beside a gateway that ends in order to be started again, and sees to that.
pub async fn hand_off(env: Env, launch: Launch, predecessor: Predecessor) -> ExitCode {
    let seen_to = match launch.policies.hand_off {
        HandOff::UntilItIsUp => succeed(&env, &launch, predecessor).await,
        HandOff::UntilTaken => ask_until_taken(&env).await,
    };
    match seen_to {
        Ok(()) => ExitCode::CLEAN,
        Err(error) => {
            tracing::error!(name: "hand-off.failed", %error, "the gateway may have no successor");
            ExitCode::FAILURE
        }
    }
}

/// Waits until the predecessor is gone, since no manager starts anything before, and sees to a successor.
async fn succeed(env: &Env, launch: &Launch, old: Predecessor) -> Result<(), RelaunchError> {
    // A configuration that cannot be read now keeps the successor down as well, and says so itself.
    let config = Config::load(env.fs(), &launch.config).ok();
    let patience = config.as_ref().map_or(COMES_UP, Config::drain_budget) + LENIENCE;
    let is_gone = || env.process().liveness(old.pid, old.start) == Liveness::Dead;
    if !comes_true(patience, is_gone).await {
        return Err(RelaunchError::StillRuns { after: patience });
    }
    let Some(config) = config else { return order(env, ServiceOrder::Start) };
    match come_up(env, config.gateway.port).await {
        Err(error @ RelaunchError::NotUp { .. }) if !is_running(env) => {
            tracing::warn!(name: "hand-off.without-manager", %error, "starting the gateway without its manager");
            start_ourselves(env)
        }
        seen_to => seen_to,
    }
}

/// OpenClaw 2026.5.3-1: whatever the manager took, it was believed to do.
async fn ask_until_taken(env: &Env) -> Result<(), RelaunchError> {
    for _ in 0..SCRIPT_ATTEMPTS {
        sleep(SCRIPT_PAUSE).await;
        if order(env, ServiceOrder::Start).is_ok() {
            return Ok(());
        }
    }
    start_ourselves(env)
}

/// Asks for a start until somebody listens. A service that was seen to run and then stopped was somebody's wish.
async fn come_up(env: &Env, port: u16) -> Result<(), RelaunchError> {
    let deadline = Instant::now() + COMES_UP;
    let mut last = None;
    let mut has_run = false;
    loop {
        match env.process().service_state() {
            Ok(ServiceState::Running) => has_run = true,
            Ok(ServiceState::Stopped) if has_run => return Err(RelaunchError::StoppedMeanwhile),
            Ok(ServiceState::Stopped | ServiceState::Idle) => {
                last = env.process().order_service(ServiceOrder::Start).err();
                has_run |= is_running(env);
            }
            Err(error) => last = Some(error),
        }
        if listens(env, port).await {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(RelaunchError::NotUp { port, after: COMES_UP, last });
        }
        sleep(LOOKS_EVERY).await;
    }
}

async fn listens(env: &Env, port: u16) -> bool {
    matches!(timeout(ANSWERS, env.net().connect("localhost", port)).await, Ok(Ok(_)))
}

/// Waits for something to come true, for so long.
async fn comes_true(patience: Duration, is_true: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if is_true() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL).await;
    }
}

fn is_running(env: &Env) -> bool {
    matches!(env.process().service_state(), Ok(ServiceState::Running))
}

fn order(env: &Env, order: ServiceOrder) -> Result<(), RelaunchError> {
    env.process().order_service(order).map_err(|source| RelaunchError::Refused { order, source })
}

fn start_ourselves(env: &Env) -> Result<(), RelaunchError> {
    let order = ServiceOrder::Start;
    let started = env.process().spawn_detached(Detached::Successor);
    started.map(drop).map_err(|source| RelaunchError::Refused { order, source })
}

#[cfg(test)]
mod tests;
