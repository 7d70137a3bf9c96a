//! What a process of a service can see of its manager, ask of it and leave behind.

use std::cell::RefCell;
use std::io::ErrorKind;

use gateway::env::{Detached, Env, Liveness, LocalBoxFuture, ServiceOrder, ServiceState};

use super::*;
use crate::world::supervisor::systemd::KillMode;

/// A program that does `first` in its first life only, and then lives for ever without handling signals.
fn first_does(first: impl AsyncFnOnce(Env) + 'static) -> Executable {
    let first = Rc::new(RefCell::new(Some(first)));
    let make_main = move || -> Main {
        let first = first.clone();
        Box::new(move |env: Env| -> LocalBoxFuture<'static, ExitCode> {
            Box::pin(async move {
                let first = first.take();
                if let Some(first) = first {
                    first(env).await;
                }
                std::future::pending().await
            })
        })
    };
    Executable::new("gateway", make_main)
}

/// A list that a test shares with the programs it runs.
type Notes<T> = Rc<RefCell<Vec<T>>>;

fn notes<T>() -> (Notes<T>, Notes<T>) {
    let notes = Notes::default();
    (notes.clone(), notes)
}

fn names(world: &World) -> Vec<String> {
    world.recorder().with_events(|events| {
        let shown = events.iter().map(|event| event.fact.name().to_string());
        shown.filter(|name| !name.starts_with("signal")).collect()
    })
}

#[test]
fn systemd_is_asked_and_stops_who_asked() {
    let unit = Unit { restart: RestartPolicy::No, ..Unit::default() };
    let asks = first_does(async |env: Env| {
        let asked = env.process().ask_service_manager_to_restart().await;
        unreachable!("SIGTERM killed it, and not {asked:?}");
    });
    under(Manager::Systemd(unit), &asks, async |world, service| {
        assert!(service.main_pid().is_some());
        let life = ["service.starting", "process.started"];
        assert_eq!(names(&world), [&life[..], &["service.stopping", "process.exited"], &life].concat());
    });
}

#[test]
fn launchd_kills_who_asks_for_a_kickstart() {
    let asks = first_does(async |env: Env| drop(env.process().ask_service_manager_to_restart().await));
    under(Manager::Launchd(Job::openclaw()), &asks, async |world, service| {
        assert!(service.main_pid().is_some());
        let killed = world.recorder().with_events(|events| {
            let is_kill = |fact: &Fact| matches!(fact, Fact::ProcessExited { cause: DeathCause::Killed, .. });
            events.iter().filter(|event| is_kill(&event.fact)).count()
        });
        assert_eq!(killed, 1);
    });
}

#[test]
fn nobody_answers_where_nobody_can_be_asked() {
    for manager in
        [Manager::Unknown(Unit::plain(SECOND, SECOND)), Manager::Container(ContainerSettings::default())]
    {
        let (heard, tell) = notes();
        let asks = first_does(async move |env: Env| {
            let asked = env.process().ask_service_manager_to_restart().await;
            let script = env.process().spawn_detached(Detached::StartScript);
            tell.borrow_mut()
                .push((asked.map_err(|error| error.kind()), script.map_err(|error| error.kind())));
        });
        under(manager, &asks, async |_, _| ());
        assert_eq!(heard.take(), [(Err(ErrorKind::Unsupported), Err(ErrorKind::Unsupported))]);
    }
}

#[test]
fn the_environment_tells_who_minds_the_service_and_a_successor_inherits_it() {
    let (seen, see) = notes();
    let make_main = move || -> Main {
        let see = see.clone();
        Box::new(move |env: Env| {
            Box::pin(async move {
                let process = env.process();
                let own = process.env_var("SYSTEMD_EXEC_PID").map(|pid| pid == process.pid().to_string());
                let marks = ["INVOCATION_ID", "XPC_SERVICE_NAME", "OPENCLAW_WINDOWS_TASK_NAME"];
                let marks = marks.map(|name| process.env_var(name).is_some());
                let is_marked = process.env_var("OPENCLAW_SERVICE_MARKER").is_some();
                see.borrow_mut().push((marks, is_marked, own));
                if own == Some(true) {
                    process.spawn_detached(Detached::Successor).expect("room for it");
                }
                std::future::pending().await
            })
        })
    };
    let program = Executable::new("gateway", make_main);
    for manager in eager() {
        under(manager, &program, async |_, _| ());
    }
    let expected = [
        ([true, false, false], true, Some(true)),
        ([true, false, false], true, Some(false)),
        ([false, true, false], true, None),
        ([false, false, true], true, None),
        ([false, false, false], false, None),
        ([false, false, false], false, None),
        ([false, false, false], true, None),
    ];
    assert_eq!(seen.take(), expected);
}

#[test]
fn a_detached_successor_is_still_of_the_control_group() {
    for (kill_mode, living) in [(KillMode::Process, 2), (KillMode::Mixed, 1), (KillMode::ControlGroup, 1)] {
        let leaves = first_does(async |env: Env| {
            env.process().spawn_detached(Detached::Successor).expect("room for it");
            env.process().exit(ExitCode::CLEAN);
        });
        let unit = Unit { restart: RestartPolicy::Always, kill_mode, ..Unit::default() };
        under(Manager::Systemd(unit), &leaves, async |world, service| {
            assert!(service.main_pid().is_some_and(|pid| world.is_alive(pid)));
            let started = names(&world).iter().filter(|name| *name == "process.started").count();
            let ended = names(&world).iter().filter(|name| *name == "process.exited").count();
            assert_eq!((started, started - ended), (3, living), "{kill_mode:?}");
        });
    }
}

#[test]
fn process_one_of_a_container_takes_all_others_with_it() {
    let parent = first_does(async |env: Env| {
        env.process().spawn_detached(Detached::Successor).expect("room for it");
    });
    under(Manager::Container(ContainerSettings::openclaw()), &parent, async |world, service| {
        assert_eq!(service.main_pid(), Some(Pid(1)));
        assert!(world.is_alive(Pid(2)));
        world.signal(Pid(1), Signal::Terminate).expect("lives");
        assert!(world.is_alive(Pid(1)), "a signal without a handler does not reach process 1");
        world.kill(Pid(1)).expect("lives");
        sleep(SECOND).await;
        assert_eq!(service.main_pid(), Some(Pid(1)), "the id is used again at once");
        assert!(!world.is_alive(Pid(2)));
    });
}

/// What a start script of the task sees and is told, once a second.
fn seen_by_a_script(ends_after: Duration, task: Task) -> Vec<(bool, ServiceState, bool)> {
    let (seen, see) = notes();
    let hands_off = first_does(async move |env: Env| {
        env.process().spawn_detached(Detached::StartScript).expect("room for it");
        sleep(ends_after).await;
        env.process().exit(ExitCode::RESTART);
    });
    let with_script = hands_off.with_start_script(move |predecessor| {
        let see = see.clone();
        Box::new(move |env: Env| {
            Box::pin(async move {
                let process = env.process();
                for _ in 0..4 {
                    let lives = process.liveness(predecessor.pid, predecessor.start) == Liveness::Alive;
                    let state = process.service_state().expect("there is a manager");
                    see.borrow_mut().push((lives, state, process.order_service(ServiceOrder::Start).is_ok()));
                    sleep(SECOND).await;
                }
                ExitCode::CLEAN
            })
        })
    });
    under(Manager::TaskScheduler(task), &with_script, async |world, service| {
        sleep(5 * SECOND).await;
        assert!(service.main_pid().is_some_and(|pid| world.is_alive(pid)));
        let started = names(&world).iter().filter(|name| *name == "process.started").count();
        assert_eq!(started, 3, "the gateway, the script, and the successor");
    });
    seen.take()
}

#[test]
fn the_task_scheduler_says_success_to_a_run_that_it_ignores() {
    use ServiceState::{Idle, Running};
    let half = SECOND / 2;
    assert_eq!(
        seen_by_a_script(SECOND + half, Task::default()),
        [(true, Running, true), (true, Running, true), (false, Idle, true), (false, Running, true)]
    );
    assert_eq!(
        seen_by_a_script(half, Task { lingers: SECOND, ..Task::default() }),
        [(true, Running, true), (false, Running, true), (false, Idle, true), (false, Running, true)]
    );
}

#[test]
fn a_program_without_a_start_script_leaves_none() {
    let (heard, tell) = notes();
    let hands_off = first_does(async move |env: Env| {
        let left = env.process().spawn_detached(Detached::StartScript);
        tell.borrow_mut().push(left.map_err(|error| error.kind()));
    });
    under(Manager::TaskScheduler(Task::default()), &hands_off, async |_, _| ());
    assert_eq!(heard.take(), [Err(ErrorKind::Unsupported)]);
}
