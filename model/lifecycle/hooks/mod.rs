//! Hooks: programs that are run when the gateway stops and when it has started (openclaw/openclaw#38836, option B).
//!
//! `pre-stop` is run when admission is closed and the drain is over, so that its list is final, and before anything is
//! closed but the port; `post-start` when the gateway serves and has settled what earlier lives left. Both learn on their standard
//! input who is affected. Each has a limit, after which it is killed; what becomes of it is logged and stops nothing. No
//! two of them run at a time: one `post-start` that is still at work when its life ends is killed before `pre-stop`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::budgets;
use super::phase::{Ending, Phase};
use super::requests::{Change, Forced, Requests};
use super::shutdown::{self, before};
use crate::config::Hook;
use crate::env::{Command, CommandOutput, LocalBoxFuture, Task};
use crate::gateway::Gateway;
use crate::policy::LifecycleHooks;

mod affected;

pub(crate) use affected::{Affected, Became};

/// How much of what a failed hook said on its standard error stands in the log, in characters.
const QUOTED_CHARS: usize = 200;

/// When a hook is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Event {
    PreStop,
    PostStart,
}

impl Event {
    const fn name(self) -> &'static str {
        match self {
            Self::PreStop => "pre-stop",
            Self::PostStart => "post-start",
        }
    }
}

/// Why a gateway ends or begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Reason {
    /// It was asked to stop.
    Stop,
    /// It was asked to restart; or it has, as far as it knows.
    Restart,
    /// It begins, and nothing is known against its last end.
    Start,
    /// It begins, and its last life did not come to its end.
    Crash,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Start => "start",
            Self::Crash => "crash",
        }
    }
}

/// What a hook reads, as one line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    version: u32,
    event: Event,
    reason: Reason,
    generation: u64,
    pid: u32,
    at: String,
    sessions: &'a [affected::Session],
}

/// What a generation knows for its hooks.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) affected: Affected,
    /// The last life left its lock behind, or work that it had begun.
    crashed: Cell<bool>,
}

impl Hooks {
    /// There is evidence that the last life did not come to its end.
    pub(crate) fn last_life_crashed(&self) {
        self.crashed.set(true);
    }

    /// Whether the last life left its lock behind, which is such evidence.
    pub(crate) fn lock_was_left(&self, was_left: bool) {
        if was_left {
            self.last_life_crashed();
        }
    }
}

/// A hook that is to be run.
struct Prepared {
    event: Event,
    hook: Hook,
    command: Command,
}

impl Prepared {
    fn new(gateway: &Gateway, event: Event, hook: &Hook, reason: Reason) -> Self {
        let sessions = gateway.hooks.affected.take(gateway);
        let report = Report {
            version: 1,
            event,
            reason,
            generation: gateway.restarts.generation(),
            pid: gateway.env.process().pid().0,
            at: gateway.env.wall_clock().to_string(),
            sessions: &sessions,
        };
        let mut input = serde_json::to_vec(&report).expect("a report is plain data");
        input.push(b'\n');
        let variable = |name: &str, value: &str| (name.to_string(), value.to_string());
        let command = Command {
            program: hook.program.clone(),
            arguments: hook.arguments.clone(),
            environment: vec![
                variable("GATEWAY_HOOK_EVENT", event.name()),
                variable("GATEWAY_HOOK_REASON", reason.name()),
            ],
            input,
        };
        tracing::info!(
            name: "hook.started",
            event = event.name(),
            program = hook.program,
            reason = reason.name(),
            sessions = sessions.len(),
            "a hook is run"
        );
        Self { event, hook: hook.clone(), command }
    }
}

/// A hook on its way. Dropped before its end, its program is killed.
struct Running {
    event: Event,
    program: String,
    began: Instant,
    work: LocalBoxFuture<'static, io::Result<CommandOutput>>,
}

impl Running {
    fn begin(gateway: &Gateway, prepared: Prepared) -> Self {
        let Prepared { event, hook, command } = prepared;
        let work = gateway.env.process().run_command(command);
        Self { event, program: hook.program, began: Instant::now(), work }
    }

    /// Says what came of it.
    fn ended(&self, ended: io::Result<CommandOutput>) {
        let (event, program) = (self.event.name(), &self.program);
        let took_ms = self.began.elapsed().as_millis() as u64;
        let (why, said) = match ended {
            Ok(output) if output.end.is_success() => {
                tracing::info!(name: "hook.finished", event, program, took_ms, "a hook is done");
                return;
            }
            Ok(output) => (output.end.to_string(), quoted(&output.stderr)),
            Err(error) => (format!("it cannot be run: {error}"), String::new()),
        };
        tracing::warn!(name: "hook.failed", event, program, took_ms, why, said, "going on without it");
    }

    fn timed_out(self) {
        let (event, program) = (self.event.name(), &self.program);
        let took_ms = self.began.elapsed().as_millis() as u64;
        tracing::warn!(name: "hook.timed-out", event, program, took_ms, "it is killed; going on without it");
    }

    fn cut_off(self) {
        let (event, program) = (self.event.name(), &self.program);
        let took_ms = self.began.elapsed().as_millis() as u64;
        tracing::warn!(name: "hook.cut-off", event, program, took_ms, "it is killed, for the gateway ends");
    }
}

/// The last words of a hook, as far as they fit into a log record.
fn quoted(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim_end();
    let from = text.char_indices().rev().nth(QUOTED_CHARS - 1).map_or(0, |(index, _)| index);
    text[from..].to_string()
}

/// The `post-start` of a generation. Dropped, it kills a program that is still at work.
pub(crate) struct PostStart {
    running: Rc<RefCell<Option<Running>>>,
    task: Option<Task<()>>,
}

impl PostStart {
    /// A generation has its port, and has not settled yet what earlier lives left. That is too early, but for history's
    /// sake.
    pub(crate) fn new(gateway: &Rc<Gateway>) -> Self {
        let mut post_start = Self { running: Rc::default(), task: None };
        if gateway.policies.lifecycle_hooks == LifecycleHooks::PostStartFirst {
            post_start.run(gateway);
        }
        post_start
    }

    /// The gateway serves. Nobody waits for the hook.
    pub(crate) fn ready(&mut self, gateway: &Rc<Gateway>) {
        match gateway.policies.lifecycle_hooks {
            LifecycleHooks::BoundedAndOrdered
            | LifecycleHooks::Unbounded
            | LifecycleHooks::PreStopSkipped => self.run(gateway),
            LifecycleHooks::Missing | LifecycleHooks::PostStartFirst => {}
        }
        // What comes now is another story.
        gateway.hooks.affected.clear();
    }

    fn run(&mut self, gateway: &Rc<Gateway>) {
        let Some(hook) = &gateway.config.gateway.hooks.post_start else { return };
        let reason = match () {
            () if gateway.restarts.came_back() => Reason::Restart,
            () if gateway.hooks.crashed.get() => Reason::Crash,
            () => Reason::Start,
        };
        let running = Running::begin(gateway, Prepared::new(gateway, Event::PostStart, hook, reason));
        let deadline = deadline(gateway, hook.timeout());
        *self.running.borrow_mut() = Some(running);
        let running = self.running.clone();
        self.task = Some(gateway.env.spawn("post-start hook", async move {
            let ended = poll_fn(|cx| match &mut *running.borrow_mut() {
                Some(running) => running.work.as_mut().poll(cx).map(Some),
                None => Poll::Ready(None),
            });
            let ended = before(deadline, ended).await;
            match (ended, running.take()) {
                (Some(Some(ended)), Some(running)) => running.ended(ended),
                (None, Some(running)) => running.timed_out(),
                (_, None) | (Some(None), _) => {}
            }
        }));
    }
}

impl Drop for PostStart {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.cut_off();
        }
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn deadline(gateway: &Gateway, limit: Duration) -> Option<Instant> {
    match gateway.policies.lifecycle_hooks {
        LifecycleHooks::Unbounded => None,
        _ => Instant::now().checked_add(limit),
    }
}

/// Runs `pre-stop`, if there is one, and waits for it as long as it may take. The port is not kept for that. A stop that
/// overtakes a restart meanwhile has no more time than a stop has.
pub(crate) async fn pre_stop(
    gateway: &Rc<Gateway>,
    listener: &mut Option<Task<()>>,
    requests: &mut Requests,
    asked_at: Instant,
) -> Result<(), Forced> {
    let is_run = matches!(
        gateway.policies.lifecycle_hooks,
        LifecycleHooks::BoundedAndOrdered | LifecycleHooks::Unbounded | LifecycleHooks::PostStartFirst
    );
    let Some(hook) = gateway.config.gateway.hooks.pre_stop.as_ref().filter(|_| is_run) else {
        return Ok(());
    };
    shutdown::end_listener(listener).await;
    let ending = requests.under_way().expect("a drain is asked for");
    let reason = match ending {
        Ending::Stop => Reason::Stop,
        Ending::Restart => Reason::Restart,
    };
    let limit = |ending, since| budgets::pre_stop(&gateway.policies, &gateway.config, ending, since);
    let mut running = Running::begin(gateway, Prepared::new(gateway, Event::PreStop, hook, reason));
    let mut until = deadline(gateway, limit(ending, asked_at.elapsed()));
    loop {
        let ended = before(until, &mut running.work);
        let changed = requests.unless_changed(Phase::Draining, pin!(ended)).await;
        match changed {
            Ok(Some(ended)) => {
                running.ended(ended);
                return Ok(());
            }
            Ok(None) => {
                running.timed_out();
                return Ok(());
            }
            Err(Change::Forced) => {
                running.cut_off();
                return Err(Forced);
            }
            Err(Change::Asked(ending)) => {
                let own = deadline(gateway, limit(ending, Duration::ZERO));
                until = until.into_iter().chain(own).min();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_a_hook_said_last_the_log_has_the_end() {
        assert_eq!(quoted(b"no such user\n"), "no such user");
        let long = format!("{}end\n", "x".repeat(1_000));
        assert_eq!(quoted(long.as_bytes()), format!("{}end", "x".repeat(QUOTED_CHARS - 3)));
        assert_eq!(quoted("\u{e9}".repeat(300).as_bytes()).chars().count(), QUOTED_CHARS);
    }
}
