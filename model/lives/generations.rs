//! Restarts in place: several generations in one process, and what the old one leaves to the new.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{House, Life, MARKER, Model, PORT, SESSIONS, TOKEN, run};
use crate::env::test_env::TestManager;
use crate::env::{Detached, ExitCode, Signal};
use crate::policy::{DrainBudget, OldGeneration, Policies, RestartMode, Successor, profile};

const SECOND: Duration = Duration::from_secs(1);
const STORE_LOCK: &str = "/state/agents/main/sessions/sessions.json.lock";

fn in_place(profile_name: &str) -> House {
    let policies = profile(profile_name).expect("exists");
    House::with_policies(Policies { restart_mode: RestartMode::InProcess, ..policies })
}

/// Where nobody would start a successor.
fn unminded(successor: Successor) -> House {
    let house = House::with_policies(Policies { successor, ..Policies::default() });
    house.world.set_env_var(MARKER, "");
    house
}

/// Asks for a restart and waits until the next generation serves.
async fn restart(house: &House, life: &Life) {
    let binds = house.world.binds();
    life.signal(Signal::User1);
    while house.world.binds() == binds {
        sleep(Duration::from_millis(1)).await;
    }
    while house.probe("/readyz").await != Some(200) {
        sleep(Duration::from_millis(1)).await;
    }
}

fn tasks(life: &Life) -> usize {
    life.process.tasks_alive()
}

#[test]
fn one_process_serves_again_and_again_and_then_stops() {
    run(async {
        let house = in_place("hardened");
        let life = house.live().await;
        let idle = tasks(&life);
        for key in ["k1", "k2", "k3"] {
            let mut client = house.client().await;
            client.accepted(key, key).await;
            let said_goodbye = async {
                assert_eq!(client.ending(key).await.0, "final");
                assert_eq!(client.event("shutdown").await["restartExpectedMs"], 1_500);
                assert_eq!(client.closed().await, Some((1012, "service restart".into())));
            };
            tokio::join!(said_goodbye, restart(&house, &life));
            assert_eq!(tasks(&life), idle, "what the old generation started is gone");
        }
        let mut client = house.client().await;
        assert_eq!(client.history().await.len(), 6);
        let retried = client.send("k2", "k2").await;
        assert_eq!(retried["payload"]["outcome"], "answered", "{retried}");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(house.world.text("/state/gateway.lock"), "");
        assert_eq!(house.asked(), ["k1", "k2", "k3"]);
    });
}

#[test]
fn nothing_of_the_old_generation_goes_on() {
    run(async {
        let house = in_place("hardened");
        house.model.set(Model::Hangs);
        let life = house.live().await;
        let idle = tasks(&life);
        let mut client = house.client().await;
        client.accepted("first", "k1").await;
        client.accepted("second", "k2").await;
        // The notice about the first cannot be recorded, and would be tried again and again.
        sleep(SECOND).await;
        house.world.fail(crate::env::FsOp::Append, ".jsonl", usize::MAX, 0);
        let asked = Instant::now();
        restart(&house, &life).await;
        assert!(asked.elapsed() >= Duration::from_secs(300), "{:?}", asked.elapsed());
        house.world.heal();
        house.model.set(Model::Answers(Duration::ZERO));
        sleep(Duration::from_secs(60)).await;
        let mut client = house.client().await;
        let roles: Vec<_> = client.history().await.into_iter().map(|(role, _)| role).collect();
        assert_eq!(roles.iter().filter(|role| *role == "notice").count(), 1, "{roles:?}");
        drop(client);
        sleep(SECOND).await;
        assert!(tasks(&life) <= idle, "{} tasks, {idle} when idle", tasks(&life));
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn a_generation_reads_the_configuration_anew() {
    run(async {
        let house = in_place("hardened");
        let life = house.live().await;
        let changed = json!({
            "gateway": {"auth": {"token": "another"}, "stateDir": "/state"},
            "model": {"baseUrl": "http://model:8080/v1", "name": "m"},
        });
        house.world.put("/config.json", &changed.to_string());
        restart(&house, &life).await;
        assert_eq!(house.stranger().await.identify(TOKEN).await["ok"], false);
        assert_eq!(house.stranger().await.identify("another").await["ok"], true);

        house.world.put("/config.json", "{");
        assert_eq!(life.end(Signal::User1).await, ExitCode::CONFIG, "its supervisor knows what that means");
        assert_eq!(house.world.text("/state/gateway.lock"), "");
    });
}

#[test]
fn a_stop_during_a_restart_in_place_ends_the_process() {
    run(async {
        let house = in_place("hardened");
        house.model.set(Model::Answers(Duration::from_secs(20)));
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        life.signal(Signal::User1);
        sleep(SECOND).await;
        life.signal(Signal::Terminate);
        assert_eq!(client.ending("k1").await.0, "final");
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert!(!house.world.listens(PORT));

        let life = house.launch();
        sleep(Duration::ZERO).await;
        life.signal(Signal::User1);
        life.signal(Signal::Interrupt);
        assert_eq!(life.ended().await, ExitCode::CLEAN, "two signals at once");
    });
}

#[test]
fn history_left_runs_and_their_locks_to_the_next_generation() {
    for (name, waits) in [("openclaw-2026.3.2", 10), ("openclaw-2026.5.3-1", 60)] {
        run(async {
            let house = in_place(name);
            house.model.set(Model::Hangs);
            let life = house.live().await;
            house.client().await.accepted("first", "k1").await;
            sleep(SECOND).await;
            let lock = format!("{}.lock", house.transcript());
            assert_ne!(house.world.text(&lock), "");
            restart(&house, &life).await;
            assert_ne!(house.world.text(&lock), "", "the ghost holds it");

            house.model.set(Model::Answers(Duration::ZERO));
            let mut client = house.client().await;
            client.accepted("second", "k2").await;
            sleep(Duration::from_secs(waits + 2)).await;
            assert_eq!(house.asked(), ["first"], "{name}: it waited {waits} s and vanished");
            life.signal(Signal::Terminate);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(house.world.text(&lock), "", "SIGTERM lets go of it");
        });
    }
}

#[test]
fn history_left_the_stores_lock_of_a_run_that_was_torn_down() {
    run(async {
        let era_a = profile("openclaw-2026.3.2").expect("exists");
        let house = House::with_policies(Policies {
            restart_mode: RestartMode::InProcess,
            old_generation: OldGeneration::Ended,
            drain_budget: DrainBudget::Configured,
            ..era_a
        });
        let config = json!({
            "gateway": {"auth": {"token": TOKEN}, "stateDir": "/state", "drainBudgetMs": 0},
            "model": {"baseUrl": "http://model:8080/v1", "name": "m"},
        });
        house.world.put("/config.json", &config.to_string());
        let life = house.live().await;
        house.client().await.accepted("first", "k1").await;
        sleep(Duration::from_millis(5)).await;
        assert_ne!(house.world.text(STORE_LOCK), "");
        restart(&house, &life).await;
        assert_ne!(house.world.text(STORE_LOCK), "", "nobody releases it");
        assert_eq!(house.world.text(SESSIONS), "", "nor was the store written");

        let mut client = house.client().await;
        client.accepted("second", "k2").await;
        sleep(Duration::from_secs(20)).await;
        assert_eq!(house.asked(), [""; 0], "it waited 10 s and vanished");
        sleep(Duration::from_secs(15)).await;
        client.accepted("third", "k3").await;
        sleep(SECOND).await;
        assert_eq!(house.asked(), ["third"], "after 30 s the lock counts as stale");
        drop(life);
    });
}

#[test]
fn a_gateway_that_nobody_minds_begins_again_in_place() {
    run(async {
        let house = unminded(Successor::ByExitStatus);
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("first", "k1").await;
        restart(&house, &life).await;
        let mut client = house.client().await;
        assert_eq!(client.history().await.len(), 2);
        assert_eq!(house.world.left_behind(), []);
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn who_cannot_start_a_successor_serves_on_with_nothing_of_the_old_generation() {
    run(async {
        let house = unminded(Successor::KickstartOrSpawn);
        house.world.set_manager(TestManager::Missing);
        let life = house.live().await;
        let idle = tasks(&life);
        restart(&house, &life).await;
        assert_eq!(tasks(&life), idle);
        assert_eq!(house.world.left_behind(), []);
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(house.world.text("/state/gateway.lock"), "");
    });
}

#[test]
fn who_has_started_a_successor_asks_for_none_and_holds_nothing() {
    run(async {
        let house = unminded(Successor::KickstartOrSpawn);
        house.world.set_manager(TestManager::Takes);
        let life = house.live().await;
        let binds = house.world.binds();
        assert_eq!(life.end(Signal::User1).await, ExitCode::CLEAN);
        assert_eq!(house.world.left_behind(), [Detached::Successor]);
        assert_eq!(house.world.text("/state/gateway.lock"), "");
        assert_eq!(house.world.binds(), binds);
    });
}

/// A restart during which, once nobody listens for signals any more, more of them come: while the port is closed.
async fn restart_with_late(signals: &[Signal]) -> (House, Life) {
    let house = in_place("hardened");
    let life = house.live().await;
    // Somebody who never answers the goodbye keeps the closing up.
    let _deaf = house.client().await;
    life.signal(Signal::User1);
    while house.world.listens(PORT) {
        sleep(Duration::from_millis(1)).await;
    }
    signals.iter().for_each(|signal| life.signal(*signal));
    (house, life)
}

#[test]
fn a_restart_that_is_asked_for_late_is_the_one_that_is_under_way() {
    run(async {
        let (house, life) = restart_with_late(&[Signal::User1, Signal::User1]).await;
        sleep(60 * SECOND).await;
        assert_eq!(house.world.binds(), 3, "the model's, and one for each of two generations");
        assert_eq!(house.probe("/readyz").await, Some(200));
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn a_stop_that_is_asked_for_late_is_followed() {
    run(async {
        let (house, life) = restart_with_late(&[Signal::User1, Signal::Terminate]).await;
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert_eq!(house.world.binds(), 2, "no other generation began to serve");
    });
}
