//! The gateway: one process life, readable from top to bottom, and the state that its parts share.
//!
//! A life has one generation, or several when it restarts in place. What a generation knows is made anew for the
//! next; only the signals and, in history, the list of locks belong to the process.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Launch;
use crate::agents::subagents::{self, Subagents};
use crate::agents::{notice::Waits, provider::Endpoint, unrecorded::UnrecordedEnds, untold::Untold};
use crate::channels::Channels;
use crate::config::Config;
use crate::cron::{self, Cron};
use crate::env::{Env, ExitCode, Task};
use crate::health;
use crate::lifecycle::conflict::{Contention, Outcome, Standoff};
use crate::lifecycle::coordination::{self, Restarts};
use crate::lifecycle::generation::Generation;
use crate::lifecycle::hooks::{self, Hooks, PostStart};
use crate::lifecycle::patience::{self, Patience};
use crate::lifecycle::phase::{Ending, Phase, PhaseCell};
use crate::lifecycle::requests::{Change, Forced, Requests};
use crate::lifecycle::respawn::{self, Respawn};
use crate::lifecycle::shutdown::{self, Cut};
use crate::lifecycle::start_error::StartError;
use crate::lifecycle::{budgets, config_watch, drain, instance, predecessor, recovery};
use crate::messages::delivery::{self, Couriers};
use crate::messages::gathering::Gathering;
use crate::messages::inbox::Inbox;
use crate::messages::lanes::Lanes;
use crate::messages::outbox::Outbox;
use crate::messages::overflow::Overflow;
use crate::policy::{
    AdmissionFence, ForcedExit, InterruptedWork, OldGeneration, Policies, Recovery, RestartExit, RestartMode,
    Successor,
};
use crate::sessions::{LockError, ProcessWide, SessionStore, StateError, StateFiles, sessions_dir};
use crate::wire::{self, Bound, Peers};

/// What the parts of a life share.
pub(crate) struct Gateway {
    pub(crate) env: Env,
    pub(crate) config: Config,
    pub(crate) policies: Policies,
    pub(crate) endpoint: Endpoint,
    pub(crate) phase: PhaseCell,
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) couriers: Couriers,
    pub(crate) channels: Channels,
    pub(crate) sessions: SessionStore,
    pub(crate) lanes: Lanes,
    pub(crate) peers: Peers,
    pub(crate) waits: Waits,
    pub(crate) unrecorded: UnrecordedEnds,
    /// In history only.
    pub(crate) overflow: Overflow,
    pub(crate) untold: Untold,
    pub(crate) cron: Option<Cron>,
    pub(crate) subagents: Subagents,
    pub(crate) process_wide: ProcessWide,
    pub(crate) restarts: Restarts,
    pub(crate) hooks: Hooks,
    started: Instant,
}

/// What comes after a generation.
enum Next {
    /// Nothing: the process ends.
    Exit(ExitCode),
    /// Nothing: the process ends, without another moment.
    Forced(ExitCode),
    /// The same start again.
    Again,
    /// A successor, which comes about like this.
    Successor(Respawn),
}

/// One process life of the gateway: start, serve, drain, close, and again when it restarts in place. Returns the
/// exit status.
pub async fn run(env: Env, launch: Launch) -> ExitCode {
    let policies = &launch.policies;
    let process_wide = ProcessWide::new(&env);
    let mut requests = Requests::of_process(&env, policies.second_request, &process_wide);
    let mut attempts = Attempts::new(policies);
    for number in 1.. {
        tracing::info!(name: "gateway.starting", config = %launch.config.display(), number, "a generation begins");
        let generation = Generation::begin(&env);
        if number == 1 {
            clean_port(&env, &launch).await;
        }
        let mut next = match live(&generation, &launch, &process_wide, &mut requests).await {
            Ok(next) => {
                attempts = Attempts::new(policies);
                next
            }
            Err(error) => {
                generation.end().await;
                after_failure(&env, &error, policies, &mut attempts, &mut requests).await
            }
        };
        while let Next::Successor(decided) = next {
            next = succeed(&env, policies, &generation, decided, &mut requests).await;
        }
        let (Next::Exit(code) | Next::Forced(code)) = next else {
            requests.done();
            continue;
        };
        tracing::info!(name: "gateway.exiting", code = code.0, "this life ends");
        process_wide.locks.release_all();
        return code;
    }
    unreachable!("a process has fewer generations than there are numbers")
}

/// What is kept from one attempt to start to the next.
struct Attempts {
    patience: Patience,
    standoff: Standoff,
}

impl Attempts {
    fn new(policies: &Policies) -> Self {
        Self { patience: Patience::new(policies.failed_start), standoff: Standoff::default() }
    }
}

/// What follows a generation that could not begin: another attempt, after a pause, as long as there is patience, or
/// when whoever was in the way has gone.
async fn after_failure(
    env: &Env,
    error: &StartError,
    policies: &Policies,
    attempts: &mut Attempts,
    requests: &mut Requests,
) -> Next {
    if let Some(contention) = error.conflict() {
        let code = match attempts.standoff.meet(env, contention, policies, requests).await {
            Outcome::Again => return Next::Again,
            Outcome::Interrupted(change) => {
                return after_change(env, policies, change, "a start conflict");
            }
            Outcome::Leave(code) => code,
        };
        tracing::error!(name: "gateway.start-failed", %error, "this life could not begin");
        return Next::Exit(code);
    }
    let minded_by = respawn::Facts::of(env).minded_by;
    let pause = match error.may_pass() {
        true => attempts.patience.pause(),
        false => patience::stands_by(policies.failed_start, minded_by),
    };
    if let Some(pause) = pause {
        let pause_ms = pause.as_millis() as u64;
        tracing::warn!(name: "gateway.start-delayed", %error, pause_ms, "trying again");
        return match requests.unless_changed(Phase::Starting, pin!(sleep(pause))).await {
            Ok(()) => Next::Again,
            Err(change) => after_change(env, policies, change, "the pause before another start"),
        };
    }
    tracing::error!(name: "gateway.start-failed", %error, "this life could not begin");
    Next::Exit(error.exit_code())
}

/// Before its first attempt, history ended whoever listened on its port. A configuration that cannot be read is for the
/// attempt to report.
async fn clean_port(env: &Env, launch: &Launch) {
    let policy = launch.policies.predecessors;
    if predecessor::cleans(policy)
        && let Ok(config) = Config::load(env.fs(), &launch.config)
    {
        predecessor::clean(env, config.gateway.port, policy).await;
    }
}

/// One generation, from its start to its end. Who starts a successor is seen to when its lock is free. Serving is boxed,
/// or the process would be moved with all of its life in it before it begins.
async fn live(
    generation: &Generation,
    launch: &Launch,
    process_wide: &ProcessWide,
    requests: &mut Requests,
) -> Result<Next, StartError> {
    let env = generation.env();
    let policies = &launch.policies;
    let config = Config::load(env.fs(), &launch.config)
        .map_err(|error| StartError::of_config(env, &launch.config, error))?;
    let files = StateFiles::of_process(env.clone(), policies.state_write, process_wide.watches.clone());
    let files = files.with_torn_line(policies.torn_line);
    let state_dir = config.gateway.state_dir.clone();
    files.create_dir(&state_dir)?;
    let restarts = requests.restarts().clone();
    let open = || Gateway::open(env, &config, policies, &files, process_wide, restarts.clone());
    if policies.recovery == Recovery::BeforeLock {
        recovery::recover(&open()?).await;
    }

    let contention =
        Contention { port: config.gateway.port, drain_budget: config.drain_budget(), owner: None };
    let locking = instance::lock(env, &files, &state_dir, contention.port, policies.instance_lock);
    let lock = match requests.unless_changed(Phase::Starting, pin!(locking)).await {
        Ok(Ok(lock)) => lock,
        Ok(Err(source)) => {
            let owner = match &source {
                LockError::Held { owner, owner_start, .. } => Some((*owner, *owner_start)),
                _ => None,
            };
            return Err(StartError::Locked { source, contention: Contention { owner, ..contention } });
        }
        Err(change) => return Ok(after_change(env, policies, change, "the wait for the lock")),
    };
    let was_left = lock.was_left();
    let open = || {
        files.doubt_names(&state_dir, was_left)?;
        open().inspect(|gateway| gateway.hooks.lock_was_left(was_left))
    };
    let starting = start(env, policies, contention, open);
    let next = match requests.unless_changed(Phase::Starting, pin!(starting)).await {
        Ok(Ok((gateway, listener))) => Ok(Box::pin(serve(&gateway, listener, requests)).await),
        Ok(Err(error)) => Err(error),
        Err(change) => Ok(after_change(env, policies, change, "the wait for the port")),
    };
    if let Ok(Next::Forced(_)) = next {
        lock.release();
        return next;
    }
    let ending = requests.under_way().unwrap_or(Ending::Stop);
    let leaving = async {
        if let Ok(Next::Successor(decided)) = next {
            retire(generation, policies.old_generation, decided).await;
        }
        let limit = Some(budgets::leave(&config, ending));
        let unlocking = async {
            files.locks().close(lock).await;
            Ok::<(), StateError>(())
        };
        shutdown::step("locks", limit, unlocking).await;
    };
    if requests.unless_forced(Phase::Leaving, pin!(leaving)).await.is_err() {
        return Ok(forced(policies, Cut::BySignal { step: "locks" }));
    }
    match (next, requests.under_way()) {
        // What was asked meanwhile is not for the next generation to forget.
        (Ok(Next::Successor(_)) | Err(_), Some(ending)) => Ok(after(env, policies, ending)),
        (next, _) => next,
    }
}

/// Takes leave of a generation that is followed. Its port is free; what it still does ends here, before its lock is
/// free too, unless it ends with the process.
async fn retire(generation: &Generation, policy: OldGeneration, decided: Respawn) {
    let tasks = generation.tasks();
    match decided {
        Respawn::SupervisedExit => return,
        Respawn::InProcess => generation_over(tasks),
        Respawn::AskServiceManager | Respawn::HandOff | Respawn::SpawnDetached | Respawn::Failed => {}
    }
    match policy {
        OldGeneration::Ended => generation.end().await,
        OldGeneration::LeftRunning => {}
    }
}

fn generation_over(tasks: usize) {
    tracing::info!(name: "generation.over", tasks, "another one follows in this process");
}

type Accepting = Task<()>;

/// Opens the state and the port. The port comes before recovery, so that nobody else's messages are recovered.
async fn start(
    env: &Env,
    policies: &Policies,
    contention: Contention,
    open: impl FnOnce() -> Result<Rc<Gateway>, StateError>,
) -> Result<(Rc<Gateway>, Accepting), StartError> {
    let gateway = open()?;
    gateway.restarts.begin(&gateway);
    gateway.put_in_order().await?;
    let bound = instance::bind(env, contention.port, policies.bind_patience).await;
    let listener = bound.map_err(|source| StartError::Bind { source, contention })?;
    let accepting = env.spawn("listener", wire::serve(gateway.clone(), listener));
    Ok((gateway, accepting))
}

/// From an open port to a closed one: recover, serve, drain, close.
async fn serve(gateway: &Rc<Gateway>, listener: Accepting, requests: &mut Requests) -> Next {
    let watch = health::watch_locks(gateway);
    let next = match end(gateway, Some(listener), requests).await {
        Ok(ending) => after(&gateway.env, &gateway.policies, ending),
        Err(cut) => {
            if gateway.phase.get() < Phase::Closing
                && gateway.policies.interrupted_work == InterruptedWork::TellSender
            {
                drain::name_what_is_left(gateway);
            }
            if !matches!(cut, Cut::BySignal { .. }) && requests.under_way() == Some(Ending::Restart) {
                leave_successor(&gateway.env, &gateway.policies).await;
            }
            forced(&gateway.policies, cut)
        }
    };
    gateway.phase.enter(Phase::Leaving);
    if let Some(watch) = watch {
        watch.abort();
    }
    next
}

/// Serves until somebody asks for an end, and comes to it.
async fn end(
    gateway: &Rc<Gateway>,
    mut listener: Option<Accepting>,
    requests: &mut Requests,
) -> Result<Ending, Cut> {
    let mut post_start = PostStart::new(gateway);
    let recovered = match gateway.policies.recovery {
        Recovery::BeforeLock => Ok(()),
        _ => requests.while_recovering(pin!(recovery::recover(gateway))).await,
    };
    let asked = match recovered {
        Ok(()) => {
            subagents::recover(gateway);
            gateway.phase.enter(Phase::Serving);
            tracing::info!(name: "gateway.ready", port = gateway.config.gateway.port, "serving");
            gateway.channels.start(gateway);
            delivery::start(gateway);
            post_start.ready(gateway);
            let clockwork = cron::start(gateway);
            let watch = config_watch::start(gateway);
            let asked = coordination::until_asked(gateway, requests).await;
            clockwork.stop();
            watch.iter().for_each(Task::abort);
            asked
        }
        Err(Change::Asked(_)) => Ok(()),
        Err(Change::Forced) => Err(Forced),
    };
    let asked_at = Instant::now();
    asked.map_err(|Forced| Cut::BySignal { step: gateway.phase.name() })?;

    gateway.flush_queues();
    gateway.phase.enter(Phase::Draining);
    let drained = drain::drain(gateway, &mut listener, requests).await;
    drained.map_err(|Forced| Cut::BySignal { step: "drain" })?;
    drop(post_start);
    let told = hooks::pre_stop(gateway, &mut listener, requests, asked_at).await;
    told.map_err(|Forced| Cut::BySignal { step: "pre-stop hook" })?;
    gateway.phase.enter(Phase::Closing);
    shutdown::close(gateway, listener, requests, asked_at).await
}

/// The end of a process that takes no other moment. What it leaves is told by the next life, which finds it in the
/// journal; nor is there another generation on top of one that is half closed.
fn forced(policies: &Policies, cut: Cut) -> Next {
    let (step, why) = (cut.step(), cut.why());
    tracing::error!(name: "shutdown.forced", step, why, "the exit is forced");
    Next::Forced(match policies.forced_exit {
        ForcedExit::OfItsOwn => ExitCode::FORCED,
        ForcedExit::Failure => ExitCode::FAILURE,
        ForcedExit::Clean => ExitCode::CLEAN,
    })
}

/// Leaves a successor behind of a gateway that cannot begin again itself, where nobody else would start one.
async fn leave_successor(env: &Env, policies: &Policies) {
    if let Some(decided) = respawn::after_forced_close(respawn::Facts::of(env), policies.successor) {
        respawn::carry_out(env, decided, policies.missing_manager).await;
    }
}

/// Sees to a successor, unless a signal changes that meanwhile.
async fn succeed(
    env: &Env,
    policies: &Policies,
    generation: &Generation,
    decided: Respawn,
    requests: &mut Requests,
) -> Next {
    let respawning = pin!(respawn::carry_out(env, decided, policies.missing_manager));
    match requests.unless_changed(Phase::Leaving, respawning).await {
        Ok(Respawn::InProcess) => Next::Again,
        Ok(Respawn::Failed) => {
            generation_over(generation.tasks());
            Next::Again
        }
        Ok(respawn) => Next::Exit(exit_code(policies, respawn)),
        Err(change) => after_change(env, policies, change, "the wait for a successor"),
    }
}

/// What follows when a signal came during a wait.
fn after_change(env: &Env, policies: &Policies, change: Change, during: &'static str) -> Next {
    match change {
        Change::Asked(ending) => after(env, policies, ending),
        Change::Forced => forced(policies, Cut::BySignal { step: during }),
    }
}

/// What follows a generation that was asked to end and did.
fn after(env: &Env, policies: &Policies, ending: Ending) -> Next {
    let by_successor = || Next::Successor(respawn::decide(respawn::Facts::of(env), policies.successor));
    match (ending, policies.restart_mode) {
        (Ending::Stop, _) if policies.successor == Successor::SpawnAfterAnyEnd => by_successor(),
        (Ending::Stop, _) => Next::Exit(ExitCode::CLEAN),
        (Ending::Restart, RestartMode::InProcess) => Next::Successor(Respawn::InProcess),
        (Ending::Restart, RestartMode::BySuccessor) => by_successor(),
    }
}

/// The status of a process that gives way to its successor. Whoever has started one itself leaves nothing to ask for.
const fn exit_code(policies: &Policies, respawn: Respawn) -> ExitCode {
    match (respawn, policies.restart_exit) {
        (Respawn::SpawnDetached, _) | (_, RestartExit::Clean) => ExitCode::CLEAN,
        (_, RestartExit::AskForSuccessor) => ExitCode::RESTART,
        (_, RestartExit::Config) => ExitCode::CONFIG,
    }
}

impl Gateway {
    fn open(
        env: &Env,
        config: &Config,
        policies: &Policies,
        files: &StateFiles,
        process_wide: &ProcessWide,
        restarts: Restarts,
    ) -> Result<Rc<Self>, StateError> {
        let state_dir = &config.gateway.state_dir;
        let sessions_dir = sessions_dir(state_dir);
        files.create_dir(&sessions_dir)?;
        let endpoint = Endpoint::parse(&config.model.base_url).expect("the configuration was checked");
        Ok(Rc::new(Self {
            env: env.clone(),
            config: config.clone(),
            policies: policies.clone(),
            endpoint,
            phase: PhaseCell::new(),
            inbox: Inbox::open(
                env.clone(),
                files.clone(),
                state_dir,
                policies.acknowledgement,
                policies.key_memory,
            )?,
            outbox: Outbox::open(env.clone(), files.clone(), state_dir)?,
            couriers: Couriers::default(),
            channels: Channels::open(env, files, config, policies)?,
            sessions: SessionStore::unchecked(env.clone(), files.clone(), &sessions_dir, policies)
                .of_process(process_wide),
            lanes: Lanes::new(
                env.clone(),
                Gathering::new(config.messages.queue),
                policies.lane_state,
                &process_wide.lanes,
            ),
            peers: Peers::new(Bound::of(policies.slow_consumer, config.gateway.max_buffered_bytes)),
            waits: Waits::default(),
            unrecorded: UnrecordedEnds::default(),
            overflow: Overflow::default(),
            untold: Untold::default(),
            cron: Cron::open(env, files, config, policies)?,
            subagents: Subagents::open(env, files, config, policies)?,
            process_wide: process_wide.clone(),
            restarts,
            hooks: Hooks::default(),
            started: Instant::now(),
        }))
    }

    /// Whether messages are taken. A safe restart that waits may hold them off.
    pub(crate) fn admits_messages(&self) -> bool {
        match self.policies.admission_fence {
            AdmissionFence::NotTheDoor if self.phase.get() == Phase::Draining => true,
            _ => self.phase.admits_messages() && self.restarts.admits(),
        }
    }

    /// How long this process has been alive.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}
