//! The driver: that the policy's word reaches the world and the world's news the policy.

use std::time::Duration;

use gateway::env::Signal;
use tokio::time::sleep;

use super::container::ContainerRestart;
use super::launchd::KeepAlive;
use super::systemd::RestartPolicy;
use super::*;
use crate::world::{Main, WorldSettings};

mod inside;

const SECOND: Duration = Duration::from_secs(1);

/// A program that handles SIGTERM, by doing nothing, or does not.
fn lives_for_ever(handles_stop: bool) -> Executable {
    let make_main = move || -> Main {
        Box::new(move |env| {
            Box::pin(async move {
                let _ignored = handles_stop.then(|| env.process().handle_signals(&[Signal::Terminate]));
                std::future::pending().await
            })
        })
    };
    Executable::new("gateway", make_main)
}

/// Runs `body` with a service of 10 ms restart delay and 2 s stop timeout that handles SIGTERM or does not.
fn with_service(handles_stop: bool, body: impl AsyncFnOnce(World, Service)) -> Vec<String> {
    World::run(WorldSettings::seeded(1), async move |world| {
        world.add_machine("box").expect("new name");
        let unit = Unit {
            restart: RestartPolicy::Always,
            restart_delay: Duration::from_millis(10),
            stop_timeout: 2 * SECOND,
            ..Unit::default()
        };
        let service = Service::load(&world, "box", Manager::Systemd(unit), &lives_for_ever(handles_stop))
            .expect("machine exists");
        service.start();
        sleep(SECOND).await;
        body(world.clone(), service).await;
        world.recorder().with_events(|events| {
            let shown = events.iter().map(|event| event.fact.name().to_string());
            shown.filter(|name| !name.starts_with("signal")).collect()
        })
    })
}

#[test]
fn a_crash_is_followed_by_a_successor() {
    let names = with_service(false, async |world, service| {
        let first = service.main_pid().expect("runs");
        world.kill(first).expect("lives");
        sleep(SECOND).await;
        assert_ne!(service.main_pid(), Some(first));
        assert!(service.main_pid().is_some_and(|pid| world.is_alive(pid)));
    });
    let life = ["service.starting", "process.started"];
    let crash = ["process.exited", "service.restart-scheduled"];
    assert_eq!(names, [&life[..], &crash, &life].concat());
}

#[test]
fn a_stop_that_is_ignored_ends_in_a_kill() {
    let names = with_service(true, async |_, service| {
        service.stop();
        sleep(5 * SECOND).await;
        assert_eq!((service.main_pid(), service.is_up_expected()), (None, false));
    });
    let stop = ["service.stopping", "service.stop-timed-out", "process.exited", "service.inactive"];
    assert_eq!(names[2..], stop);
}

#[test]
fn a_boot_starts_the_service_again() {
    let names = with_service(false, async |world, service| {
        world.power_off("box").expect("exists");
        sleep(SECOND).await;
        assert_eq!(service.state_name(), "off");
        world.power_on("box").expect("exists");
        sleep(SECOND).await;
        assert_eq!(service.state_name(), "active");
        // Off and on again before anybody could look.
        world.power_off("box").expect("exists");
        world.power_on("box").expect("exists");
        sleep(SECOND).await;
        assert!(service.main_pid().is_some_and(|pid| world.is_alive(pid)));
    });
    let boot = ["process.exited", "power.lost", "power.restored", "service.starting", "process.started"];
    assert_eq!(names[2..], [boot, boot].concat());
}

#[test]
fn a_restart_stops_and_starts() {
    let names = with_service(false, async |_, service| {
        service.restart();
        sleep(SECOND).await;
        assert_eq!(service.state_name(), "active");
    });
    assert_eq!(names[2..], ["service.stopping", "process.exited", "service.starting", "process.started"]);
}

/// Managers that start again whatever ends, as far as they can.
fn eager() -> [Manager; 6] {
    let restart = ContainerRestart::UnlessStopped;
    let unit = Unit { restart: RestartPolicy::Always, start_limit_burst: 0, ..Unit::default() };
    [
        Manager::Systemd(unit),
        Manager::Launchd(Job { keep_alive: KeepAlive::Always, ..Job::default() }),
        Manager::TaskScheduler(Task { restart_count: 999, ..Task::default() }),
        Manager::Container(ContainerSettings { restart, ..ContainerSettings::default() }),
        Manager::Container(ContainerSettings {
            restart: ContainerRestart::Always,
            ..ContainerSettings::default()
        }),
        Manager::Unknown(Unit::plain(SECOND, 90 * SECOND)),
    ]
}

/// Runs `body` with a service of `manager` on a machine called `box`.
fn under<R>(manager: Manager, executable: &Executable, body: impl AsyncFnOnce(World, Service) -> R) -> R {
    World::run(WorldSettings::seeded(1), async move |world| {
        world.add_machine("box").expect("new name");
        let service = Service::load(&world, "box", manager, executable).expect("machine exists");
        service.start();
        sleep(SECOND).await;
        body(world, service).await
    })
}

#[test]
fn whoever_is_killed_comes_back_and_whoever_is_stopped_stays_away() {
    for manager in eager() {
        let what = format!("{manager:?}");
        under(manager, &lives_for_ever(true), async |world, service| {
            let first = world.family_of(service.main_pid().expect("runs"));
            world.kill(service.main_pid().expect("runs")).expect("lives");
            sleep(61 * SECOND).await;
            let second = service.main_pid().and_then(|pid| world.family_of(pid));
            assert!(second.is_some() && second != first, "{what}");

            service.stop();
            sleep(3_600 * SECOND).await;
            assert_eq!((service.main_pid(), service.is_up_expected()), (None, false), "{what}");
            service.start();
            sleep(SECOND).await;
            assert!(service.main_pid().is_some(), "{what}");
        });
    }
}
