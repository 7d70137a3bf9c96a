//! A second signal at every point of an end: while it drains, settles, closes, gives its locks back, waits before
//! another start or for a successor.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use tracing_test::traced_test;

use super::{Client, House, INBOX, Life, MARKER, Model, PORT, named, run};
use crate::env::test_env::TestManager;
use crate::env::{ExitCode, Signal};
use crate::policy::{Policies, SecondRequest, Successor};

use Signal::{Interrupt, Quit, Terminate, User1};

const SECOND: Duration = Duration::from_secs(1);

/// What a life is in the middle of.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Draining,
    Closing,
}

/// A life that was sent `first` and hangs in a phase, and whoever is in its way.
async fn hangs_in(house: &House, phase: Phase, first: Signal) -> (Life, Client) {
    let life = house.live().await;
    let mut client = house.client().await;
    if let Phase::Draining = phase {
        house.model.set(Model::Hangs);
        client.accepted("hello", "k1").await;
    }
    life.signal(first);
    sleep(SECOND / 10).await;
    (life, client)
}

/// How an end goes on: the exit status, and how long that takes from the second signal.
async fn then(house: House, phase: Phase, first: Signal, second: Signal) -> (ExitCode, Duration) {
    let (life, _client) = hangs_in(&house, phase, first).await;
    let asked = Instant::now();
    life.signal(second);
    (life.ended().await, asked.elapsed())
}

#[test]
fn the_effects_of_second_signals() {
    // What is left of the grace, and what a drain may take.
    let (grace, stop, restart) = (SECOND * 9 / 10, SECOND * 75, SECOND * 300);
    let (clean, again, forced) = (ExitCode::CLEAN, ExitCode::RESTART, ExitCode::FORCED);
    let at_once = Duration::ZERO;
    for (phase, first, second, code, after) in [
        (Phase::Draining, User1, Terminate, clean, stop),
        (Phase::Draining, User1, Interrupt, clean, stop),
        (Phase::Draining, User1, User1, again, restart),
        (Phase::Draining, User1, Quit, forced, at_once),
        (Phase::Draining, Terminate, Terminate, clean, stop),
        (Phase::Draining, Terminate, Interrupt, forced, at_once),
        (Phase::Draining, Interrupt, Interrupt, forced, at_once),
        (Phase::Draining, Terminate, User1, clean, stop),
        (Phase::Draining, Terminate, Quit, forced, at_once),
        (Phase::Closing, User1, Terminate, clean, grace),
        (Phase::Closing, User1, Interrupt, clean, grace),
        (Phase::Closing, User1, User1, again, grace),
        (Phase::Closing, User1, Quit, forced, at_once),
        (Phase::Closing, Terminate, Terminate, clean, grace),
        (Phase::Closing, Terminate, Interrupt, forced, at_once),
        (Phase::Closing, Terminate, User1, clean, grace),
        (Phase::Closing, Terminate, Quit, forced, at_once),
    ] {
        run(async {
            let (ended, took) = then(House::new(), phase, first, second).await;
            let case = format!("{phase:?} {first} {second}: {ended} after {took:?}");
            assert_eq!(ended, code, "{case}");
            // A drain that interrupts has its settling and its close to come, and began a moment earlier.
            let early = Duration::from_millis(200);
            assert!(took + early >= after && took <= after + SECOND * 2, "{case}");
            assert!(code != ExitCode::FORCED || took.is_zero(), "{case}");
        });
    }
}

#[traced_test]
#[test]
fn what_a_forced_exit_interrupts_is_named_and_told_by_the_next_life() {
    run(async {
        let house = House::new();
        let (life, mut client) = hangs_in(&house, Phase::Draining, Terminate).await;
        assert_eq!(life.end(Interrupt).await, ExitCode::FORCED);
        sleep(SECOND).await;
        assert!(!house.world.listens(PORT));
        assert_eq!(house.world.text("/state/gateway.lock"), "");
        assert!(!house.world.text(INBOX).contains("settled"));
        assert_eq!(client.closed().await, None);
        house.live().await;
        let mut client = house.client().await;
        let roles: Vec<_> = client.history().await.into_iter().map(|(role, _)| role).collect();
        assert_eq!(roles, ["user", "notice"]);
    });
    logs_assert(|lines| named(lines, "k1"));
    assert!(logs_contain("the exit is forced step=\"drain\""));
}

#[test]
fn a_signal_that_forces_does_so_before_anything_was_asked() {
    run(async {
        let house = House::new();
        assert_eq!(house.live().await.end(Quit).await, ExitCode::FORCED);
        let stranger = house.outside.env.net().listen(PORT).await;
        let life = house.launch();
        sleep(SECOND).await;
        assert_eq!(life.end(Quit).await, ExitCode::FORCED, "waiting for the port");
        assert_eq!(house.world.text("/state/gateway.lock"), "");
        drop(stranger);
    });
}

#[test]
fn a_stop_overtakes_a_restart_that_settles() {
    run(async {
        let house = House::new();
        house.model.set(Model::Hangs);
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("first", "k1").await;
        client.accepted("second", "k2").await;
        // The notice about the first needs a store that somebody else holds.
        sleep(SECOND).await;
        house.world.neighbour(7);
        let foreign = json!({"pid": 7, "createdAt": "2026-03-02T00:00:00Z"}).to_string();
        house.world.put(super::STORE_LOCK, &foreign);
        house.world.remove(super::SESSIONS);
        life.signal(User1);
        sleep(SECOND * 300 + SECOND / 2).await;
        assert!(!house.world.listens(PORT), "the port is not kept while it settles");
        let asked = Instant::now();
        life.signal(Terminate);
        assert_eq!(client.ending("k2").await.0, "error", "a stop tells what a restart would have left");
        assert_eq!(client.event("shutdown").await["restartExpectedMs"], json!(null));
        assert_eq!(client.closed().await, Some((1012, "service restart".into())));
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert!(asked.elapsed() < SECOND * 12, "{:?}", asked.elapsed());
    });
}

#[test]
fn a_stop_overtakes_a_restart_that_waits_for_its_successor() {
    for (second, code) in [(Terminate, ExitCode::CLEAN), (Quit, ExitCode::FORCED)] {
        run(async {
            let policies = Policies { successor: Successor::AskManager, ..Policies::default() };
            let house = House::with_policies(policies);
            house.world.set_manager(TestManager::NeverAnswers);
            let life = house.live().await;
            life.signal(User1);
            sleep(SECOND).await;
            assert!(!house.world.listens(PORT), "it waits for its manager");
            let asked = Instant::now();
            assert_eq!(life.end(second).await, code);
            assert_eq!(asked.elapsed(), Duration::ZERO);
        });
    }
}

#[test]
fn a_restart_in_place_is_over_when_the_next_generation_begins() {
    run(async {
        let house = House::new();
        house.world.set_env_var(MARKER, "");
        let life = house.live().await;
        for _ in 0..2 {
            // Both reach the process before it looks.
            life.signal(User1);
            life.signal(User1);
            sleep(SECOND).await;
        }
        assert_eq!(house.world.binds(), 1 + 1 + 2, "the model's port, and three generations");
        // Asked in one breath, the stop wins.
        life.signal(User1);
        life.signal(Terminate);
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert_eq!(house.world.binds(), 4);
    });
}

#[test]
fn a_stop_that_overtakes_keeps_within_a_short_stop_timeout() {
    run(async {
        let house = House::new();
        house.set_stop_timeout(300);
        let (ended, took) = then(house, Phase::Closing, User1, Terminate).await;
        assert_eq!(ended, ExitCode::CLEAN);
        assert!(took < Duration::from_millis(50), "{took:?}");
    });
}

#[test]
fn history_dropped_every_second_signal_and_had_no_handler_for_sigquit() {
    for phase in [Phase::Draining, Phase::Closing] {
        for second in [Terminate, Interrupt, User1] {
            run(async {
                let policies = Policies { second_request: SecondRequest::Dropped, ..Policies::default() };
                let (code, _) = then(House::with_policies(policies), phase, User1, second).await;
                assert_eq!(code, ExitCode::RESTART, "{phase:?} {second}");
            });
        }
    }
}

#[traced_test]
#[test]
fn a_signal_that_comes_again_and_again_hints_at_a_second_supervisor() {
    run(async {
        let house = House::new();
        let (life, _client) = hangs_in(&house, Phase::Draining, Terminate).await;
        life.signal(Terminate);
        life.signal(Terminate);
        assert_eq!(life.ended().await, ExitCode::CLEAN);
    });
    logs_assert(|lines| match lines.iter().filter(|line| line.contains("second supervisor")).count() {
        1 => Ok(()),
        count => Err(format!("{count} hints")),
    });
}
