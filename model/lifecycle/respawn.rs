//! Who starts the successor of a gateway that restarts, once it has closed and let go of its lock.
//!
//! The process learns from its environment who minds it; what to do about a successor is then a pure function of
//! that and of the policy. An exit status that asks for a successor needs nobody's answer and works under every
//! supervisor that restarts failures; whoever does not restart what ends is handed a script, and where nobody
//! would start anything, the same process begins again.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use crate::env::{Detached, Env, Pid};
use crate::policy::{MissingManager, Successor};

/// How long a service manager may take to answer (OpenClaw: 2 s for each command).
const MANAGER_ANSWERS: Duration = Duration::from_secs(2);
/// The first process of a container, or of a machine.
const INIT: Pid = Pid(1);

/// Who minds this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MindedBy {
    Systemd,
    Launchd,
    TaskScheduler,
    /// Somebody has marked this process as a service, and nothing tells who.
    Unknown,
    /// Nobody; this is the first process of a container.
    NobodyInContainer,
    Nobody,
}

/// What a process can know about who would start a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Somebody wants no other process: `OPENCLAW_NO_RESPAWN`.
    pub(crate) no_respawn: bool,
    pub(crate) minded_by: MindedBy,
}

/// How a successor comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Respawn {
    /// This process ends, and its supervisor starts another one.
    SupervisedExit,
    /// The service manager is asked to restart the service.
    AskServiceManager,
    /// A script is left behind that asks for a start until it is given one.
    HandOff,
    /// The same process begins again.
    InProcess,
    /// This process starts its own successor.
    SpawnDetached,
    /// What was tried did not work. The same process begins again, so that somebody serves.
    Failed,
}

impl Facts {
    /// What the environment says.
    pub(crate) fn of(env: &Env) -> Self {
        let process = env.process();
        let is_set = |name| process.env_var(name).is_some_and(|value| !value.is_empty());
        let is_marked = is_set("OPENCLAW_SERVICE_MARKER");
        // Whatever a unit starts inherits INVOCATION_ID, a terminal and its shell included; systemd's own children
        // find themselves named.
        let is_child_of_systemd = match process.env_var("SYSTEMD_EXEC_PID") {
            Some(pid) => pid == process.pid().to_string(),
            None => is_set("INVOCATION_ID"),
        };
        // In a terminal the name is 0.
        let is_launchd_job =
            process.env_var("XPC_SERVICE_NAME").is_some_and(|name| !name.is_empty() && name != "0");
        let minded_by = if is_child_of_systemd {
            MindedBy::Systemd
        } else if is_launchd_job && is_marked {
            MindedBy::Launchd
        } else if is_set("OPENCLAW_WINDOWS_TASK_NAME") {
            MindedBy::TaskScheduler
        } else if is_marked {
            MindedBy::Unknown
        } else if process.pid() == INIT {
            MindedBy::NobodyInContainer
        } else {
            MindedBy::Nobody
        };
        let no_respawn = process.env_var("OPENCLAW_NO_RESPAWN").is_some_and(|value| is_truthy(&value));
        Self { no_respawn, minded_by }
    }
}

fn is_truthy(value: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&value.trim().to_ascii_lowercase().as_str())
}

/// What to do about a successor.
pub(crate) fn decide(facts: Facts, policy: Successor) -> Respawn {
    use MindedBy::{Launchd, Nobody, NobodyInContainer, Systemd, TaskScheduler, Unknown};
    if facts.no_respawn {
        return Respawn::InProcess;
    }
    match (policy, facts.minded_by) {
        (Successor::SpawnAfterAnyEnd, _) => Respawn::SpawnDetached,
        (Successor::KickstartOrSpawn, Launchd) => Respawn::AskServiceManager,
        (Successor::AskManager, Systemd | Launchd | TaskScheduler | Unknown) => Respawn::AskServiceManager,
        (Successor::KickstartOrSpawn, TaskScheduler) => Respawn::SupervisedExit,
        (_, TaskScheduler) => Respawn::HandOff,
        (_, Systemd | Launchd | Unknown) => Respawn::SupervisedExit,
        (Successor::KickstartOrSpawn, Nobody | NobodyInContainer) => Respawn::SpawnDetached,
        (Successor::HandOffOrSpawn | Successor::AskManager, Nobody) => Respawn::SpawnDetached,
        (Successor::HandOffOrSpawn | Successor::AskManager, NobodyInContainer) => Respawn::InProcess,
        (Successor::ByExitStatus, Nobody | NobodyInContainer) => Respawn::InProcess,
    }
}

/// What holds when `tried` did not work. That a supervisor cannot be asked does not mean that it will not act: an
/// unsupported platform is still a supervised exit (openclaw/openclaw#33149, review).
pub(crate) fn after_failure(tried: Respawn, kind: io::ErrorKind, policy: MissingManager) -> Respawn {
    match (tried, kind, policy) {
        (Respawn::AskServiceManager, io::ErrorKind::Unsupported, MissingManager::SupervisedExit) => {
            Respawn::SupervisedExit
        }
        _ => Respawn::Failed,
    }
}

/// What to do about a successor when a restart's close had to be forced. There is no other generation on top of one that
/// is half closed, and a supervisor that restarts failures sees one; where nobody would, somebody must be left behind.
/// History left nobody.
pub(crate) fn after_forced_close(facts: Facts, policy: Successor) -> Option<Respawn> {
    match (policy, facts) {
        (_, Facts { no_respawn: true, .. }) => None,
        (Successor::ByExitStatus, Facts { minded_by: MindedBy::Nobody, .. }) => Some(Respawn::SpawnDetached),
        (Successor::ByExitStatus, Facts { minded_by: MindedBy::TaskScheduler, .. }) => Some(Respawn::HandOff),
        _ => None,
    }
}

/// Does what was decided, and says what came of it.
pub(crate) async fn carry_out(env: &Env, decided: Respawn, policy: MissingManager) -> Respawn {
    let done = match decided {
        Respawn::SupervisedExit | Respawn::InProcess | Respawn::Failed => Ok(()),
        Respawn::AskServiceManager => ask(env).await,
        Respawn::HandOff => env.process().spawn_detached(Detached::StartScript).map(drop),
        Respawn::SpawnDetached => env.process().spawn_detached(Detached::Successor).map(drop),
    };
    let respawn = match &done {
        Ok(()) => decided,
        Err(error) => after_failure(decided, error.kind(), policy),
    };
    match (respawn, done) {
        (Respawn::Failed, Err(error)) => {
            tracing::warn!(name: "respawn.failed", tried = decided.name(), %error, "no successor was started");
        }
        _ => {
            tracing::info!(name: "respawn.chosen", how = respawn.name(), "this is how a successor comes about")
        }
    }
    respawn
}

async fn ask(env: &Env) -> io::Result<()> {
    let asked = timeout(MANAGER_ANSWERS, env.process().ask_service_manager_to_restart()).await;
    asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Respawn {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SupervisedExit => "supervised exit",
            Self::AskServiceManager => "service manager asked",
            Self::HandOff => "hand-off",
            Self::InProcess => "in this process",
            Self::SpawnDetached => "spawned detached",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MindedBy::*;
    use super::Respawn::*;
    use super::Successor::{AskManager, ByExitStatus, HandOffOrSpawn, KickstartOrSpawn};
    use super::*;
    use crate::env::test_env::{TestManager, World};

    const POLICIES: [Successor; 4] = [ByExitStatus, KickstartOrSpawn, HandOffOrSpawn, AskManager];

    fn decided(minded_by: MindedBy) -> [Respawn; 4] {
        POLICIES.map(|policy| decide(Facts { no_respawn: false, minded_by }, policy))
    }

    #[test]
    fn no_respawn_is_in_process_whoever_minds_it() {
        for minded_by in [Systemd, Launchd, TaskScheduler, Unknown, NobodyInContainer, Nobody] {
            for policy in POLICIES {
                assert_eq!(decide(Facts { no_respawn: true, minded_by }, policy), InProcess, "{minded_by:?}");
            }
        }
    }

    // Hardened, OpenClaw 2026.3.2, OpenClaw 2026.5.3-1, openclaw/openclaw#33149.

    #[test]
    fn systemd_restarts_what_ends() {
        assert_eq!(decided(Systemd), [SupervisedExit, SupervisedExit, SupervisedExit, AskServiceManager]);
    }

    #[test]
    fn launchd_was_asked_to_kickstart() {
        assert_eq!(decided(Launchd), [SupervisedExit, AskServiceManager, SupervisedExit, AskServiceManager]);
    }

    #[test]
    fn the_task_scheduler_restarts_nothing_and_ignores_a_run_while_one_runs() {
        assert_eq!(decided(TaskScheduler), [HandOff, SupervisedExit, HandOff, AskServiceManager]);
    }

    #[test]
    fn an_unsupported_platform_is_a_supervised_exit_and_no_failure() {
        assert_eq!(decided(Unknown), [SupervisedExit, SupervisedExit, SupervisedExit, AskServiceManager]);
        let after = |policy| after_failure(AskServiceManager, io::ErrorKind::Unsupported, policy);
        assert_eq!(after(MissingManager::SupervisedExit), SupervisedExit);
        assert_eq!(after(MissingManager::Failure), Failed, "openclaw/openclaw#33149 as it was proposed");
    }

    #[test]
    fn process_one_of_a_container_stays_alive() {
        assert_eq!(decided(NobodyInContainer), [InProcess, SpawnDetached, InProcess, InProcess]);
    }

    #[test]
    fn an_unmanaged_gateway_once_started_a_detached_successor() {
        assert_eq!(decided(Nobody), [InProcess, SpawnDetached, SpawnDetached, SpawnDetached]);
    }

    #[test]
    fn what_was_tried_and_failed_ends_in_process() {
        let after_failure = |tried, kind| after_failure(tried, kind, MissingManager::SupervisedExit);
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::Other, io::ErrorKind::NotFound] {
            assert_eq!(after_failure(AskServiceManager, kind), Failed);
        }
        assert_eq!(after_failure(SpawnDetached, io::ErrorKind::WouldBlock), Failed);
        assert_eq!(after_failure(SpawnDetached, io::ErrorKind::Unsupported), Failed);
        assert_eq!(after_failure(HandOff, io::ErrorKind::Unsupported), Failed);
    }

    #[test]
    fn a_forced_restart_leaves_somebody_where_nobody_sees_a_failure() {
        let left = |minded_by| {
            POLICIES.map(|policy| after_forced_close(Facts { no_respawn: false, minded_by }, policy))
        };
        assert_eq!(left(Nobody), [Some(SpawnDetached), None, None, None]);
        assert_eq!(left(TaskScheduler), [Some(HandOff), None, None, None]);
        for minded_by in [Systemd, Launchd, Unknown, NobodyInContainer] {
            assert_eq!(left(minded_by), [None; 4], "{minded_by:?}");
        }
        let unwanted = Facts { no_respawn: true, minded_by: Nobody };
        assert_eq!(after_forced_close(unwanted, ByExitStatus), None);
    }

    #[test]
    fn truthy_words() {
        assert!(["1", "true", "YES", " on "].into_iter().all(is_truthy));
        assert!(!["", "0", "no", "off", "false"].into_iter().any(is_truthy));
    }

    /// Who minds process `pid` in an environment.
    fn minded_by(pid: u32, environment: &[(&'static str, &str)]) -> MindedBy {
        let world = World::default();
        environment.iter().for_each(|(name, value)| world.set_env_var(name, value));
        let facts = Facts::of(&world.process(pid).env);
        assert!(!facts.no_respawn);
        facts.minded_by
    }

    #[test]
    fn the_environment_says_who_minds_a_process() {
        const MARKER: (&str, &str) = ("OPENCLAW_SERVICE_MARKER", "openclaw");
        const INVOCATION: (&str, &str) = ("INVOCATION_ID", "0f6a2d3b");
        assert_eq!(minded_by(7, &[]), Nobody);
        assert_eq!(minded_by(1, &[]), NobodyInContainer);
        assert_eq!(minded_by(7, &[INVOCATION, ("SYSTEMD_EXEC_PID", "7"), MARKER]), Systemd);
        assert_eq!(minded_by(7, &[INVOCATION]), Systemd, "systemd before 248 names no process");
        assert_eq!(minded_by(7, &[("XPC_SERVICE_NAME", "ai.openclaw.gateway"), MARKER]), Launchd);
        assert_eq!(
            minded_by(7, &[("OPENCLAW_WINDOWS_TASK_NAME", "OpenClaw Gateway"), MARKER]),
            TaskScheduler
        );
        assert_eq!(minded_by(7, &[MARKER]), Unknown);
        assert_eq!(minded_by(1, &[MARKER]), Unknown);
    }

    #[test]
    fn what_a_terminal_hands_down_is_no_sign() {
        assert_eq!(minded_by(7, &[("INVOCATION_ID", "0f6a2d3b"), ("SYSTEMD_EXEC_PID", "6")]), Nobody);
        assert_eq!(minded_by(7, &[("XPC_SERVICE_NAME", "0")]), Nobody);
        assert_eq!(minded_by(7, &[("XPC_SERVICE_NAME", "com.apple.Terminal")]), Nobody);
        assert_eq!(minded_by(7, &[("OPENCLAW_SERVICE_MARKER", "")]), Nobody);
    }

    /// What comes of `decided` where the manager behaves so, how long it took, and what was left behind.
    async fn carried_out(decided: Respawn, manager: TestManager) -> (Respawn, Duration, Vec<Detached>) {
        let world = World::default();
        world.set_manager(manager);
        let began = tokio::time::Instant::now();
        let done = carry_out(&world.process(7).env, decided, MissingManager::default()).await;
        (done, began.elapsed(), world.left_behind())
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_has_two_seconds_to_answer() {
        let soon = Duration::ZERO;
        let asked = |manager| carried_out(AskServiceManager, manager);
        assert_eq!(asked(TestManager::Takes).await, (AskServiceManager, soon, vec![]));
        assert_eq!(asked(TestManager::Missing).await, (SupervisedExit, soon, vec![]));
        assert_eq!(asked(TestManager::Refuses).await, (Failed, soon, vec![]));
        let (done, took, _) = asked(TestManager::NeverAnswers).await;
        assert_eq!((done, took.as_secs()), (Failed, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_behind_is_what_was_decided() {
        let left = async |decided| carried_out(decided, TestManager::Takes).await.2;
        assert_eq!(left(HandOff).await, [Detached::StartScript]);
        assert_eq!(left(SpawnDetached).await, [Detached::Successor]);
        for decided in [SupervisedExit, AskServiceManager, InProcess] {
            assert_eq!(left(decided).await, []);
        }
        assert_eq!(carried_out(HandOff, TestManager::Missing).await.0, Failed);
    }
}
