//! The programs beside the gateway, against a manager with the manners of launchd or of the Task Scheduler.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::json;

use super::*;
use crate::env::test_env::{World, on_paused_time};
use crate::env::{
    EndSignal, Listener, LocalBoxFuture, Process, ProcessEntry, ProcessId, Signal, SignalStream, TaskControl,
};
use crate::policy::Policies;

const SECOND: Duration = Duration::from_secs(1);
const PORT: u16 = 18789;
const OLD: Predecessor = Predecessor { pid: Pid(3), start: Some(StartTime(1)) };

/// What a manager is like.
#[derive(Clone, Copy)]
struct Manners {
    /// How long its service takes to end.
    takes_to_end: Duration,
    /// It says "done" to a start that comes too early.
    is_polite: bool,
    /// What it starts listens.
    comes_up: bool,
}

const LAUNCHD: Manners = Manners { takes_to_end: Duration::from_secs(20), is_polite: false, comes_up: true };
const TASK: Manners = Manners { takes_to_end: Duration::from_millis(1_500), is_polite: true, comes_up: true };

/// A manager with its service, as the door of process 7 has it.
struct Manager {
    process: Rc<dyn Process>,
    manners: Manners,
    state: Cell<ServiceState>,
    ends_at: Cell<Option<Instant>>,
    listener: RefCell<Option<Box<dyn Listener>>>,
    env: Env,
    starts: Cell<u32>,
}

impl Manager {
    fn now(&self) -> ServiceState {
        if self.ends_at.get().is_some_and(|at| at <= Instant::now()) {
            self.ends_at.set(None);
            self.state.set(ServiceState::Stopped);
        }
        self.state.get()
    }

    fn begins_to_end(&self) {
        self.ends_at.set(Some(Instant::now() + self.manners.takes_to_end));
    }
}

/// The door, which several hold.
struct Door(Rc<Manager>);

impl Process for Door {
    fn order_service(&self, order: ServiceOrder) -> io::Result<()> {
        let manager = &self.0;
        match (order, manager.now()) {
            (ServiceOrder::Stop, ServiceState::Running) => manager.begins_to_end(),
            (ServiceOrder::Stop, _) => return Err(io::Error::other("it does not run")),
            (ServiceOrder::Start, ServiceState::Running) if manager.manners.is_polite => {}
            (ServiceOrder::Start, ServiceState::Running) => return Err(io::Error::other("it still runs")),
            (ServiceOrder::Start, _) => {
                manager.starts.set(manager.starts.get() + 1);
                manager.state.set(ServiceState::Running);
                let started = manager.clone();
                drop(manager.env.spawn("service", async move {
                    sleep(3 * SECOND).await;
                    if started.manners.comes_up {
                        let listener = started.env.net().listen(PORT).await.ok();
                        started.listener.replace(listener);
                    }
                }));
            }
        }
        Ok(())
    }

    fn service_state(&self) -> io::Result<ServiceState> {
        Ok(self.0.now())
    }

    fn liveness(&self, pid: Pid, _start: Option<StartTime>) -> Liveness {
        let has_ended = pid == OLD.pid && self.0.now() != ServiceState::Running;
        if has_ended || self.0.starts.get() > 0 { Liveness::Dead } else { Liveness::Alive }
    }

    fn look_up(&self, pid: Pid) -> Option<ProcessEntry> {
        self.0.process.look_up(pid)
    }

    fn end_process(&self, process: ProcessId, signal: EndSignal) -> io::Result<()> {
        self.0.process.end_process(process, signal)
    }

    fn pid(&self) -> Pid {
        self.0.process.pid()
    }

    fn start_time(&self) -> Option<StartTime> {
        self.0.process.start_time()
    }

    fn handle_signals(&self, signals: &[Signal]) -> SignalStream {
        self.0.process.handle_signals(signals)
    }

    fn env_var(&self, name: &str) -> Option<String> {
        self.0.process.env_var(name)
    }

    fn ask_service_manager_to_restart(&self) -> LocalBoxFuture<'_, io::Result<()>> {
        self.0.process.ask_service_manager_to_restart()
    }

    fn spawn_detached(&self, what: Detached) -> io::Result<Pid> {
        assert_eq!(what, Detached::Successor);
        Ok(Pid(9))
    }

    fn exit(&self, code: ExitCode) {
        self.0.process.exit(code);
    }

    fn spawn(&self, name: &'static str, task: LocalBoxFuture<'static, ()>) -> Box<dyn TaskControl> {
        self.0.process.spawn(name, task)
    }
}

/// A service that runs under a manager, and the doors of a program beside it.
fn managed(manners: Manners) -> (Rc<Manager>, Env) {
    let env = World::default().process(7).env;
    let inner = env.clone();
    let manager = RefCell::new(None);
    let env = env.with_process(|process| {
        let managed = Rc::new(Manager {
            process,
            manners,
            state: Cell::new(ServiceState::Running),
            ends_at: Cell::default(),
            listener: RefCell::default(),
            env: inner,
            starts: Cell::default(),
        });
        manager.replace(Some(managed.clone()));
        Rc::new(Door(managed))
    });
    (manager.take().expect("just made"), env)
}

fn config_text() -> String {
    json!({
        "gateway": {"port": PORT, "auth": {"token": "t"}, "stateDir": "/state", "drainBudgetMs": 60_000},
        "model": {"baseUrl": "http://127.0.0.1:8080/v1", "name": "m"},
    })
    .to_string()
}

/// What a reload says, after how many seconds, and how the service is then.
fn reloaded(policy: Reload, manners: Manners) -> (Result<String, String>, u64, ServiceState) {
    on_paused_time(async {
        let (manager, env) = managed(manners);
        let config: Config = serde_json::from_str(&config_text()).expect("a configuration");
        let began = Instant::now();
        let said = reload(&env, &config, policy).await;
        let took = began.elapsed().as_secs();
        sleep(60 * SECOND).await;
        (said.map(ToString::to_string).map_err(|error| error.to_string()), took, manager.now())
    })
}

#[test]
fn history_asks_too_early_and_hears_so_from_launchd() {
    use ServiceState::Stopped;
    let refused = || Err("the service manager does not start: it still runs".to_string());
    assert_eq!(reloaded(Reload::AtOnce, LAUNCHD), (refused(), 0, Stopped));
    assert_eq!(reloaded(Reload::ThreeSeconds, LAUNCHD), (refused(), 3, Stopped));
}

#[test]
fn history_asks_too_early_and_hears_that_all_is_well_from_the_task_scheduler() {
    let done = || Ok("the service was loaded anew".to_string());
    assert_eq!(reloaded(Reload::AtOnce, TASK), (done(), 0, ServiceState::Stopped));
    assert_eq!(reloaded(Reload::ThreeSeconds, TASK), (done(), 1, ServiceState::Running));
}

#[test]
fn hardened_it_waits_for_the_end_and_for_somebody_who_listens() {
    let up = || Ok("the service was loaded anew and listens".to_string());
    assert_eq!(reloaded(Reload::UntilItIsUp, LAUNCHD), (up(), 23, ServiceState::Running));
    assert_eq!(reloaded(Reload::UntilItIsUp, TASK), (up(), 5, ServiceState::Running));
}

#[test]
fn hardened_it_says_when_nobody_comes_or_nobody_goes() {
    let silent = Manners { comes_up: false, ..TASK };
    let nobody = Err("nobody listens on port 18789 after 60 s".to_string());
    assert_eq!(reloaded(Reload::UntilItIsUp, silent).0, nobody);
    let stuck = Manners { takes_to_end: 1_000 * SECOND, ..LAUNCHD };
    let still = Err("the old process is still there after 120 s, and nothing was started".to_string());
    assert_eq!(reloaded(Reload::UntilItIsUp, stuck).0, still);
}

/// The status of a start script, after how many seconds, and how the service is a minute later.
fn handed_off(
    policy: HandOff,
    manners: Manners,
    meanwhile: impl Fn(&Manager),
) -> (ExitCode, u64, ServiceState) {
    on_paused_time(async {
        let (manager, env) = managed(manners);
        env.fs().create_dir_all(Path::new("/etc")).expect("room");
        env.fs().write(Path::new("/etc/gateway.json"), config_text().as_bytes()).expect("room");
        let policies = Policies { hand_off: policy, ..Policies::default() };
        let launch = Launch { config: PathBuf::from("/etc/gateway.json"), policies };
        manager.begins_to_end();
        let began = Instant::now();
        let script = manager.env.spawn("script", hand_off(env, launch, OLD));
        sleep(2 * SECOND).await;
        meanwhile(&manager);
        let code = script.await.expect("it does not panic");
        let took = began.elapsed().as_secs();
        sleep(60 * SECOND).await;
        (code, took, manager.now())
    })
}

#[test]
fn a_start_script_of_history_believes_what_it_is_told() {
    use ServiceState::{Running, Stopped};
    let ends = |millis| Manners { takes_to_end: Duration::from_millis(millis), ..TASK };
    let script = |manners| handed_off(HandOff::UntilTaken, manners, |_| ());
    assert_eq!(script(ends(900)), (ExitCode::CLEAN, 2, Running));
    assert_eq!(script(ends(1_100)), (ExitCode::CLEAN, 2, Stopped));
}

#[test]
fn a_hardened_start_script_sees_to_a_successor_or_says_that_there_is_none() {
    let script = |manners| handed_off(HandOff::UntilItIsUp, manners, |_| ());
    for millis in [100, 900, 1_100, 20_000] {
        let manners = Manners { takes_to_end: Duration::from_millis(millis), ..TASK };
        let (code, _, state) = script(manners);
        assert_eq!((code, state), (ExitCode::CLEAN, ServiceState::Running), "{millis}");
    }
    let (code, ..) = script(Manners { comes_up: false, ..TASK });
    assert_eq!(code, ExitCode::FAILURE);
}

#[test]
fn a_hardened_start_script_leaves_alone_what_somebody_stopped() {
    let stops = |manager: &Manager| manager.state.set(ServiceState::Stopped);
    let quick = Manners { takes_to_end: SECOND, comes_up: false, ..TASK };
    assert_eq!(handed_off(HandOff::UntilItIsUp, quick, stops), (ExitCode::FAILURE, 2, ServiceState::Stopped));
}
