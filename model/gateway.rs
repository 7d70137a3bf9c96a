//! The gateway: one process life, readable from top to bottom, and the state that its parts share.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::Launch;
use crate::agents::{provider::Endpoint, run};
use crate::channels::webchat::{ChatState, publish};
use crate::config::{Config, ConfigError};
use crate::env::{Env, ExitCode, SignalStream};
use crate::lifecycle::phase::{Ending, Phase, PhaseCell};
use crate::lifecycle::{drain, instance, recovery, shutdown};
use crate::messages::inbox::{Accepted, Inbox, Settlement, Stage};
use crate::messages::lanes::{Interruption, Lanes, Stopped};
use crate::policy::{ForcedExit, Policies, Recovery, RestartExit, StartConflictExit};
use crate::sessions::{LockError, SessionStore, StateError, StateFiles, Transcript, TranscriptEntry};
use crate::wire::{self, Peers};

/// How long closing may take before the exit is forced. OpenClaw 2026.3.2 forced it after 5 s.
const CLOSE_BUDGET: Duration = Duration::from_secs(10);
const ERA_A_CLOSE_BUDGET: Duration = Duration::from_secs(5);
/// When a refused sender should try again, in milliseconds.
const RETRY_AFTER_MS: u64 = 2_000;

/// Why a life could not begin.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("another gateway uses this state directory: {0}")]
    Locked(#[from] LockError),
    #[error("cannot use the state directory: {0}")]
    State(#[from] StateError),
    #[error("cannot listen on port {port}: {source}")]
    Bind { port: u16, source: std::io::Error },
}

impl StartError {
    /// Starting again helps only against a passing trouble of the disk.
    fn exit_code(&self, on_conflict: StartConflictExit) -> ExitCode {
        match (self, on_conflict) {
            (Self::State(StateError::Io { .. }), _) => ExitCode::FAILURE,
            (Self::Locked(_) | Self::Bind { .. }, StartConflictExit::Failure) => ExitCode::FAILURE,
            _ => ExitCode::CONFIG,
        }
    }
}

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendRefused {
    #[error("the gateway is starting, draining or closing; nothing was accepted")]
    NotAdmitting { retry_after_ms: u64 },
    #[error("this idempotency key was used for a different message")]
    KeyReused,
    #[error("the message could not be stored, nothing was accepted: {0}")]
    NotDurable(StateError),
}

/// What the parts of a life share.
pub(crate) struct Gateway {
    pub(crate) env: Env,
    pub(crate) config: Config,
    pub(crate) policies: Policies,
    pub(crate) endpoint: Endpoint,
    pub(crate) files: StateFiles,
    pub(crate) phase: PhaseCell,
    pub(crate) inbox: Inbox,
    pub(crate) sessions: SessionStore,
    pub(crate) lanes: Lanes,
    pub(crate) peers: Peers,
    started: Instant,
}

/// One process life of the gateway: start, serve, drain, close. Returns the exit status.
pub async fn run(env: Env, launch: Launch) -> ExitCode {
    let mut signals = env.process().handle_signals(&Ending::SIGNALS);
    tracing::info!(name: "gateway.starting", config = %launch.config.display(), "a life begins");
    let on_conflict = launch.policies.start_conflict_exit;
    match live(&env, launch, &mut signals).await {
        Ok(exit_code) => exit_code,
        Err(error) => {
            tracing::error!(name: "gateway.start-failed", %error, "this life could not begin");
            error.exit_code(on_conflict)
        }
    }
}

async fn live(env: &Env, launch: Launch, signals: &mut SignalStream) -> Result<ExitCode, StartError> {
    let config = Config::load(env.fs(), &launch.config)?;
    let files = StateFiles::new(env.clone(), launch.policies.state_write);
    let state_dir = config.gateway.state_dir.clone();
    files.create_dir(&state_dir)?;
    if launch.policies.recovery == Recovery::BeforeLock {
        recovery::recover(&Gateway::open(env, &config, &launch.policies, &files)?).await?;
    }

    let lock = instance::lock(env, &state_dir, launch.policies.instance_lock).await?;
    let started = start(env, &config, &launch.policies, &files).await;
    let (gateway, listener) = match started {
        Ok(started) => started,
        Err(error) => {
            lock.release(env);
            return Err(error);
        }
    };

    gateway.phase.enter(Phase::Serving);
    tracing::info!(name: "gateway.ready", port = config.gateway.port, "serving");
    let asked = next_ending(signals).await;

    gateway.phase.enter(Phase::Draining);
    let ending = drain::drain(&gateway, signals, asked).await;

    gateway.phase.enter(Phase::Closing);
    let closed = timeout(gateway.close_budget(), shutdown::close(&gateway, listener, ending)).await;
    lock.release(env);
    let exit_code = match closed {
        Ok(()) => gateway.exit_code(ending),
        Err(_) => {
            tracing::error!(name: "shutdown.forced", "closing took too long; the exit is forced");
            gateway.forced_exit_code()
        }
    };
    tracing::info!(name: "gateway.exiting", code = exit_code.0, "this life ends");
    Ok(exit_code)
}

type Accepting = crate::env::Task<()>;

/// From the lock to readiness: the port first, so that nobody else's messages are recovered.
async fn start(
    env: &Env,
    config: &Config,
    policies: &Policies,
    files: &StateFiles,
) -> Result<(Rc<Gateway>, Accepting), StartError> {
    let gateway = Gateway::open(env, config, policies, files)?;
    let port = config.gateway.port;
    let listener = instance::bind(env, port).await.map_err(|source| StartError::Bind { port, source })?;
    let accepting = env.spawn("listener", wire::serve(gateway.clone(), listener));
    if policies.recovery != Recovery::BeforeLock {
        recovery::recover(&gateway).await?;
    }
    Ok((gateway, accepting))
}

async fn next_ending(signals: &mut SignalStream) -> Ending {
    loop {
        let signal = signals.next().await;
        tracing::info!(name: "signal.received", %signal, "asked to end");
        if let Some(ending) = Ending::asked_by(signal) {
            return ending;
        }
    }
}

impl Gateway {
    fn open(
        env: &Env,
        config: &Config,
        policies: &Policies,
        files: &StateFiles,
    ) -> Result<Rc<Self>, StateError> {
        let state_dir = &config.gateway.state_dir;
        let sessions_dir: PathBuf = state_dir.join("agents/main/sessions");
        files.create_dir(&sessions_dir)?;
        let endpoint = Endpoint::parse(&config.model.base_url).expect("the configuration was checked");
        Ok(Rc::new(Self {
            env: env.clone(),
            config: config.clone(),
            policies: policies.clone(),
            endpoint,
            phase: PhaseCell::new(),
            inbox: Inbox::open(env, files.clone(), state_dir, policies.acknowledgement)?,
            sessions: SessionStore::open(env.clone(), files.clone(), &sessions_dir)?,
            lanes: Lanes::new(env.clone()),
            peers: Peers::default(),
            files: files.clone(),
            started: Instant::now(),
        }))
    }

    /// How long this process has been alive.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Accepts a message: durable first, then queued. Returns the status that `chat.send` reports.
    pub(crate) fn accept(self: &Rc<Self>, message: &Accepted) -> Result<&'static str, SendRefused> {
        if let Some((known, stage)) = self.inbox.find(&message.run_id) {
            if known != *message {
                return Err(SendRefused::KeyReused);
            }
            return Ok(match stage {
                Stage::Settled(_) => "ok",
                Stage::Accepted | Stage::Started => "in_flight",
            });
        }
        if !self.phase.admits_messages() {
            return Err(SendRefused::NotAdmitting { retry_after_ms: RETRY_AFTER_MS });
        }
        if let Err(error) = self.inbox.accept(message, self.env.wall_clock()) {
            tracing::error!(name: "message.refused", run = message.run_id, %error, "could not be stored");
            return Err(SendRefused::NotDurable(error));
        }
        tracing::info!(
            name: "inbox.recorded",
            run = message.run_id,
            session = message.session_key,
            "accepted a message"
        );
        self.enqueue(message);
        Ok("started")
    }

    /// Gives an accepted message its place in its conversation's lane.
    pub(crate) fn enqueue(self: &Rc<Self>, message: &Accepted) {
        let gateway = self.clone();
        self.lanes.enqueue(&message.session_key, &message.run_id, move |run_id, interrupted| {
            run::work(gateway.clone(), run_id, interrupted)
        });
    }

    /// Stops a conversation's runs for its sender, for good. Returns the ids of those that were stopped.
    pub(crate) fn cancel(&self, session_key: &str, run_id: Option<&str>) -> Vec<String> {
        let stopped = self.lanes.stop(session_key, run_id, Interruption::ByUser);
        let mut cancelled = Vec::new();
        for Stopped::Queued(run_id) | Stopped::Running(run_id) in stopped {
            tracing::warn!(name: "message.cancelled", run = run_id, "stopped by its sender");
            if let Err(error) = self.inbox.settle(&run_id, Settlement::Cancelled) {
                tracing::error!(name: "message.cancellation-not-durable", run = run_id, %error, "not recorded");
            }
            publish(&self.peers, session_key, &run_id, 0, &ChatState::Aborted);
            cancelled.push(run_id);
        }
        cancelled
    }

    /// A conversation's transcript; empty when it does not exist.
    pub(crate) fn history(&self, session_key: &str) -> Result<Vec<TranscriptEntry>, StateError> {
        match self.sessions.transcript_path(session_key)? {
            Some(path) => Transcript::new(self.files.clone(), path).entries(),
            None => Ok(Vec::new()),
        }
    }

    /// The answer to `health`.
    pub(crate) fn health(&self) -> Value {
        json!({
            "ok": true,
            "phase": self.phase.name(),
            "ready": self.phase.admits_messages(),
            "uptimeMs": self.uptime().as_millis() as u64,
            "peers": self.peers.count(),
            "work": {"runs": self.lanes.depth(), "openMessages": self.inbox.open_count()},
        })
    }

    fn close_budget(&self) -> Duration {
        match self.policies.forced_exit {
            ForcedExit::Failure => CLOSE_BUDGET,
            ForcedExit::Clean => ERA_A_CLOSE_BUDGET,
        }
    }

    fn exit_code(&self, ending: Ending) -> ExitCode {
        match (ending, self.policies.restart_exit) {
            (Ending::Stop, _) | (Ending::Restart, RestartExit::Clean) => ExitCode::CLEAN,
            (Ending::Restart, RestartExit::AskForSuccessor) => ExitCode::RESTART,
            (Ending::Restart, RestartExit::Config) => ExitCode::CONFIG,
        }
    }

    fn forced_exit_code(&self) -> ExitCode {
        match self.policies.forced_exit {
            ForcedExit::Failure => ExitCode::FAILURE,
            ForcedExit::Clean => ExitCode::CLEAN,
        }
    }
}
