//! Choices about a life: its signals, its drain, its end, and who is let in.

use serde::{Deserialize, Serialize};

/// What SIGTERM and SIGINT do to work in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopDrain {
    /// Drain like the restart signal does.
    #[default]
    Drain,
    /// Close at once: openclaw/openclaw#38836, observation 1.
    Skip,
}

/// How long a drain may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainBudget {
    /// The configured budget, but never so long that the supervisor's stop timeout would cut in.
    #[default]
    WithinStopTimeout,
    /// 30 s whatever the supervisor allows: `DRAIN_TIMEOUT_MS` of OpenClaw 2026.3.2.
    ThirtySeconds,
    /// The configured budget, whatever the supervisor allows: OpenClaw 2026.5.3-1.
    Configured,
    /// Planted defect: no limit, so that the supervisor kills a drain that does not end.
    Unlimited,
}

/// What a second request to end does, while the first is being followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecondRequest {
    /// A stop overtakes a restart, and its limits apply from then on. SIGINT during a stop, and SIGQUIT at any time,
    /// force the exit.
    #[default]
    StopOvertakes,
    /// It is dropped, whatever it asks for: OpenClaw 2026.3.2, whose one handler looked at a flag first
    /// (`src/cli/gateway-cli/run-loop.ts`). SIGQUIT had none.
    Dropped,
}

/// What becomes of work that a drain could not finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterruptedWork {
    /// Its sender gets a notice before the connection closes, and a durable record says so.
    #[default]
    TellSender,
    /// Nothing is recorded and nobody is told: openclaw/openclaw#38836.
    Forget,
}

/// What the next life does with accepted, unsettled messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// Runs what had not started; tells the sender of what had, since running it again could act twice.
    #[default]
    ResumeOrTell,
    /// Looks at nothing: openclaw/openclaw#38836, observation 2.
    Skip,
    /// As `resume-or-tell` in the session `main`, and looks at no other: OpenClaw 2026.9
    /// (openclaw/openclaw#152696).
    MainSessionOnly,
    /// Planted defect: runs everything again that the journal still lists, answered or not.
    RerunEverything,
    /// Planted defect: recovers before it holds the lock or the port, so that a second instance that is about
    /// to give way has already written.
    BeforeLock,
}

/// How connections are ended, and when the port is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerClose {
    /// The listener closes first; peers get close 1012, a short grace, then a reset. Each step has its share of the
    /// close's budget.
    #[default]
    GraceThenReset,
    /// One after the other, most without a limit, and the port is free only in the last step:
    /// openclaw/openclaw#33149. Clients get close 1012; one that does not answer is destroyed by the WebSocket library
    /// after 30 s. An upgraded socket that never sent `connect` is told nothing and waited for; so is, at the end, an
    /// HTTP connection in front of its first request or in the middle of one. OpenClaw 2026.3.2,
    /// `src/gateway/server-close.ts`.
    WaitForPeers,
    /// As `wait-for-peers`, but the WebSocket server waits 1 s, ends every socket and waits 250 ms; then the port is
    /// free, and HTTP connections have 1 s. If they are there 5 s after their end the close has failed:
    /// OpenClaw 2026.5.3-1.
    StepByStep,
    /// Planted defect: WebSocket peers get a grace and a reset; other connections are forgotten, and the port is free
    /// when they have left.
    HttpForgotten,
    /// Planted defect: as hardened, but nothing limits the grace.
    GraceUnbounded,
}

/// What `/readyz` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// 200 while messages are admitted, 503 while starting or draining.
    #[default]
    Truthful,
    /// Always 200: OpenClaw 2026.3.2.
    AlwaysReady,
    /// 503 while starting, 200 from then on, drain or not: OpenClaw 2026.5.3-1.
    IgnoresDrain,
}

/// Whether `connect` asks for the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authentication {
    /// A wrong or missing token ends the connection with close 1008.
    #[default]
    Required,
    /// Planted defect: any token will do.
    Skipped,
}

/// What a start does that finds the lock or the port in somebody else's hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartConflict {
    /// It looks at the other. To a healthy gateway it gives way: with exit status 78 where that is the end of it, by
    /// standing by where the supervisor would start it again whatever the status. Anything else it waits for.
    #[default]
    WaitsOrGivesWay,
    /// It ends at once with exit status 1, on which `Restart=always` starts the same again: OpenClaw 2026.3.2
    /// (openclaw/openclaw#75115).
    EndsWithFailure,
    /// Somebody minds it: a healthy other ends it with exit status 78 under systemd, else with 0, which launchd
    /// restarts (openclaw/openclaw#89784); another is waited for, 30 s: OpenClaw 2026.5.3-1.
    RetriesForThirtySeconds,
}

/// How long a start goes on trying to listen while its port is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindPatience {
    /// 20 attempts, one every 500 ms, as OpenClaw 2026.9.6.
    #[default]
    TenSeconds,
    /// 4 more attempts, 500 ms apart: OpenClaw 2026.5.3-1.
    TwoSeconds,
    /// One attempt: OpenClaw 2026.3.2.
    OneAttempt,
}

/// What a service's start does about gateways that earlier lives left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Predecessors {
    /// One that is in the way is ended when it is proven to be stuck: by its identity, its program and its silence.
    #[default]
    EndedWhenStuck,
    /// Every gateway that listens on the port is ended before the start, whoever it is, healthy or not, the starter's
    /// parent too (openclaw/openclaw#68451), and 200 ms later the start goes on, whether the port is free or not
    /// (openclaw/openclaw#33399): OpenClaw 2026.3.2. On macOS it recognised none (openclaw/openclaw#70664).
    EveryListenerEnded,
    /// As `every-listener-ended`, but never an ancestor, and the start waits 2 s for the port: OpenClaw 2026.5.3-1.
    EveryListenerEndedAndPortAwaited,
    /// Whoever is in the way is left alone: OpenClaw where there is no `lsof`.
    LeftAlone,
    /// Planted defect: as `ended-when-stuck`, but who is slow to listen counts as stuck soon
    /// (openclaw/openclaw#140162).
    EndedWhenSlow,
}

/// What a start does that meets trouble of the machine which may pass, such as a disk that cannot be read now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedStart {
    /// It tries again for a minute before it ends, so that a supervisor's start limit is not used up meanwhile.
    #[default]
    TriesAgain,
    /// It ends at once, with exit status 1: OpenClaw 2026.3.2 and 2026.5.3-1.
    Ends,
}

/// How a restart ends this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartExit {
    /// Exit status 75, which every restarting supervisor policy follows.
    #[default]
    AskForSuccessor,
    /// Exit status 0, which relies on `Restart=always`: OpenClaw 2026.3.2 and 2026.5.3-1.
    Clean,
    /// Planted defect: exit status 78, on which the unit forbids a restart.
    Config,
}

/// How long closing may take before the exit is forced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseBudget {
    /// A few seconds after the drain, inside what a stop keeps back of the supervisor's stop timeout.
    #[default]
    OfItsOwn,
    /// 5 s more than the drain was allowed, from the signal on, however much of that the drain used: the single
    /// force-exit timer of OpenClaw 2026.3.2.
    SharedWithDrain,
    /// 25 s more than the drain was allowed, from the signal on, or 25 s from when a drain without limit ended: the
    /// force-exit timer of OpenClaw 2026.5.3-1.
    LongerSharedWithDrain,
    /// Planted defect: no limit.
    Unlimited,
}

/// With what status a shutdown that had to be forced ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForcedExit {
    /// Exit status 70, which says so and under which every restarting supervisor policy brings the service back.
    #[default]
    OfItsOwn,
    /// Exit status 1: OpenClaw 2026.5.3-1 (openclaw/openclaw#40380).
    Failure,
    /// Exit status 0: OpenClaw 2026.3.2.
    Clean,
}

/// Who starts the successor of a gateway that restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Successor {
    /// Whoever minds it, by the exit status; the Task Scheduler, which minds no end, gets a script that asks for a
    /// start. Where nobody minds it, the same process begins again.
    #[default]
    ByExitStatus,
    /// systemd by the exit status; launchd is asked to kickstart; else, in containers too, the process starts a
    /// detached successor: OpenClaw 2026.3.2.
    KickstartOrSpawn,
    /// systemd and launchd by the exit status, the Task Scheduler by a script; a container's process begins again,
    /// any other starts a detached successor: OpenClaw 2026.5.3-1.
    HandOffOrSpawn,
    /// Every service manager is asked to restart the service, and only who cannot be asked gets the exit status:
    /// openclaw/openclaw#33149.
    AskManager,
    /// Planted defect: the process starts a detached successor whoever minds it, and after a stop too.
    SpawnAfterAnyEnd,
}

/// When a start script believes that its gateway has a successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandOff {
    /// When its predecessor is gone and somebody listens. Otherwise it starts one itself, or says that there is none.
    #[default]
    UntilItIsUp,
    /// When the manager has taken an order to start, which the Task Scheduler does and ignores it: OpenClaw 2026.5.3-1
    /// (openclaw/openclaw#138833).
    UntilTaken,
}

/// What it means for a restart that nobody can be asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingManager {
    /// Whoever minds the gateway will see that it ended.
    #[default]
    SupervisedExit,
    /// The restart has failed, and the same process begins again: openclaw/openclaw#33149 as it was proposed.
    Failure,
}

/// How the command-line tool loads the service anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reload {
    /// It waits for the real end, asks for a start until it is given one, and looks whether somebody listens.
    #[default]
    UntilItIsUp,
    /// It asks for a stop, and for a start in the next breath: OpenClaw 2026.3.2 and 2026.5.3-1
    /// (openclaw/openclaw#40905, #84630, #43134).
    AtOnce,
    /// It waits 3 s in between, whatever a drain may take: OpenClaw 2026.7.1-2 (openclaw/openclaw#133647).
    ThreeSeconds,
}

/// How the gateway gets a successor when it is asked to restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartMode {
    /// As the choice of its successor says, which depends on who minds it.
    #[default]
    BySuccessor,
    /// The same process begins again, whoever minds it: `OPENCLAW_NO_RESPAWN`.
    InProcess,
}

/// How the command line of the daemon gets a gateway restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartCommand {
    /// It asks the gateway, which waits for work in hand.
    #[default]
    Asks,
    /// It asks for a safe restart only; for any other it sends the restart signal, past whatever the gateway waits
    /// for: OpenClaw 2026.5.4.
    AsksIfSafe,
    /// It sends the restart signal, and the gateway cannot be asked: OpenClaw 2026.3.2 and 2026.5.3-1
    /// (openclaw/openclaw#47711, bug 1).
    Signals,
}

/// What becomes of tasks that an in-process restart finds still at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OldGeneration {
    /// They end before the new generation begins.
    #[default]
    Ended,
    /// They go on, with everything they hold: OpenClaw 2026.3.2 and 2026.5.3-1 (openclaw/openclaw#16383).
    LeftRunning,
}

/// What becomes of a client that reads more slowly than it is written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowConsumer {
    /// When more waits for it than `gateway.maxBufferedBytes`, that is dropped, and the client is told so (close 1008
    /// "slow consumer"), given a second, and reset.
    #[default]
    ToldAndClosed,
    /// When more than 50 MiB wait for it, it misses what is said again later, and for anything else is told so (close
    /// 1008 "slow consumer"). What waits is kept until it has left, 30 s at most: OpenClaw 2026.3.2 and 2026.5.3-1.
    FiftyMebibytes,
    /// Planted defect: everything is kept for it, however much that is.
    Kept,
}
/// What a restart in place does to the lanes' own record of what is at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneState {
    /// A generation begins with empty lanes, as OpenClaw does since 2026.3.2.
    #[default]
    Fresh,
    /// It is the process's: a run that was at work counts as at work for ever, and whatever comes after it in its lane
    /// waits for it. OpenClaw 2026.2.14 (openclaw/openclaw#15177).
    SurvivesRestart,
}

/// Who learns that the gateway takes no more messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdmissionFence {
    /// Every part, at once.
    #[default]
    EveryDoor,
    /// Not whoever takes messages, since the flag was there several times: OpenClaw 2026.3.2, whose bundler had copied the
    /// module (openclaw/openclaw#41903, #43683). What comes during a drain is accepted, and nobody waits for it.
    NotTheDoor,
}
