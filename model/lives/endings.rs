//! Signals at every point of a life: what becomes of messages, and how long the end takes.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};
use tracing_test::traced_test;

use super::{House, INBOX, Model, PORT, named, run};
use crate::env::{ExitCode, Signal};

const LONG: Model = Model::Answers(Duration::from_secs(250));

fn held_by(pid: u32) -> String {
    json!({"pid": pid, "createdAt": "2026-03-02T00:00:00Z", "startTime": 1, "ownerId": "x"}).to_string()
}

#[test]
fn a_signal_before_readiness_ends_the_wait_at_once() {
    for (signal, code) in [(Signal::Terminate, ExitCode::CLEAN), (Signal::User1, ExitCode::RESTART)] {
        run(async {
            let house = House::new();
            house.world.neighbour(7);
            house.world.put("/state/gateway.lock", &held_by(7));
            let life = house.launch();
            sleep(Duration::from_secs(1)).await;
            let asked = Instant::now();
            assert_eq!(life.end(signal).await, code);
            assert_eq!(asked.elapsed(), Duration::ZERO, "waiting for the lock");
            assert_eq!(house.world.text("/state/gateway.lock"), held_by(7), "it was not ours to remove");
        });
        run(async {
            let house = House::new();
            let stranger = house.outside.env.net().listen(PORT).await;
            let life = house.launch();
            sleep(Duration::from_secs(1)).await;
            let asked = Instant::now();
            assert_eq!(life.end(signal).await, code);
            assert_eq!(asked.elapsed(), Duration::ZERO, "waiting for the port");
            assert_eq!(house.world.text("/state/gateway.lock"), "");
            drop(stranger);
        });
    }
}

#[traced_test]
#[test]
fn recovery_waits_for_nothing_that_it_repairs() {
    run(async {
        let house = House::new();
        house.world.neighbour(7);
        let message = |key: &str, session: &str| {
            let at = house.outside.env.wall_clock().epoch_ms();
            format!(
                r#"{{"type":"accepted","runId":"{key}","sessionKey":"{session}","text":"{key}","at":{at}}}"#
            )
        };
        let started = r#"{"type":"started","runId":"k1"}"#;
        house.world.put(INBOX, &format!("{}\n{started}\n{}\n", message("k1", "a"), message("k2", "main")));
        let known = json!({"main": {"sessionId": "m", "sessionFile": "m.jsonl", "updatedAt": 1}});
        house.world.put(super::SESSIONS, &known.to_string());
        // Telling the first needs a new session, and somebody else holds the store.
        house.world.put(super::STORE_LOCK, &held_by(7));
        let life = house.live().await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(house.asked(), ["k2"], "one conversation waits for another");
        house.world.remove(super::STORE_LOCK);
        sleep(Duration::from_secs(15)).await;
        let told = house.client().await.send_in("a", "k1", "k1").await;
        assert_eq!(told["payload"]["outcome"], "told", "{told}");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
    logs_assert(|lines| named(lines, "k1").and(named(lines, "k2")));
}

#[traced_test]
#[test]
fn a_stop_tells_every_message_that_it_cannot_wait_for() {
    run(async {
        let house = House::new();
        house.model.set(Model::Hangs);
        let life = house.live().await;
        let mut client = house.client().await;
        for key in ["k1", "k2", "k3"] {
            client.accepted(key, key).await;
        }
        let asked = Instant::now();
        life.signal(Signal::Terminate);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(client.send("late", "k4").await["error"]["code"], "UNAVAILABLE");
        for key in ["k1", "k2", "k3"] {
            assert_eq!(client.ending(key).await.0, "error", "{key}");
        }
        assert_eq!(client.event("shutdown").await["restartExpectedMs"], json!(null));
        assert_eq!(client.closed().await, Some((1012, "service restart".into())));
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert!(asked.elapsed() < Duration::from_secs(90), "{:?}", asked.elapsed());
    });
    logs_assert(|lines| ["k1", "k2", "k3", "k4"].into_iter().try_for_each(|key| named(lines, key)));
}

#[traced_test]
#[test]
fn a_restart_leaves_what_waits_to_its_successor() {
    run(async {
        let house = House::new();
        house.model.set(Model::Hangs);
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("first", "k1").await;
        client.accepted("second", "k2").await;
        sleep(Duration::from_secs(1)).await;
        let asked = Instant::now();
        assert_eq!(life.end(Signal::User1).await, ExitCode::RESTART);
        assert!(asked.elapsed() >= Duration::from_secs(300), "{:?}", asked.elapsed());
        logs_assert(|lines| named(lines, "k1").and(named(lines, "k2")));

        house.model.set(Model::Answers(Duration::ZERO));
        house.live().await;
        let mut client = house.client().await;
        sleep(Duration::from_secs(1)).await;
        let roles: Vec<_> = client.history().await.into_iter().map(|(role, _)| role).collect();
        assert_eq!(roles, ["user", "notice", "user", "assistant"]);
        assert_eq!(house.asked(), ["first", "second"]);
    });
}

#[test]
fn a_stop_that_overtakes_a_restart_has_its_own_budget_from_its_own_signal() {
    run(async {
        let house = House::new();
        house.model.set(LONG);
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        life.signal(Signal::User1);
        sleep(Duration::from_secs(200)).await;
        // 50 s of work are left, and a stop allows 75 s.
        life.signal(Signal::Terminate);
        assert_eq!(client.ending("k1").await.0, "final");
        assert_eq!(life.ended().await, ExitCode::CLEAN);
    });
}

#[test]
fn history_dropped_the_stop() {
    run(async {
        let house = House::of_history();
        let life = house.live().await;
        let mut deaf = house.client().await;
        let asked = Instant::now();
        life.signal(Signal::User1);
        sleep(Duration::from_secs(1)).await;
        life.signal(Signal::Terminate);
        // The client does not read, so it never answers the close frame, which its library waits 30 s for.
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert_eq!(asked.elapsed().as_secs(), 30);
        assert_eq!(deaf.event("shutdown").await["reason"], "gateway restarting");
    });
}

#[test]
fn nobody_holds_up_the_end() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut silent = house.dial().await.expect("the port is open");
        let mut halfway = house.dial().await.expect("the port is open");
        halfway.write_all(b"GET /healthz HTT").await.expect("is taken");
        let mut idle = house.dial().await.expect("the port is open");
        idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("is taken");
        let _unidentified = house.stranger().await;
        let _deaf = house.client().await;
        sleep(Duration::from_millis(100)).await;
        let asked = Instant::now();
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        assert!(!house.world.listens(PORT));
        for stream in [&mut silent, &mut halfway, &mut idle] {
            let mut heard = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(stream, &mut heard).await.expect("an end");
        }
    });
}

#[test]
fn an_aborted_run_says_so_last_and_is_never_resumed() {
    run(async {
        let house = House::new();
        house.model.set(Model::Hangs);
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        sleep(Duration::from_secs(1)).await;
        let wrong = client.request("chat.abort", json!({"sessionKey": "other", "runId": "k1"})).await;
        assert_eq!(wrong["error"]["code"], "INVALID_REQUEST", "{wrong}");
        let aborted = client.request("chat.abort", json!({"sessionKey": "main"})).await;
        assert_eq!(aborted["payload"]["runIds"], json!(["k1"]));
        assert_eq!(client.ending("k1").await.0, "aborted");
        let again = client.request("chat.abort", json!({"sessionKey": "main"})).await;
        assert_eq!(again["payload"]["aborted"], false);
        life.killed().await;
        house.live().await;
        sleep(Duration::from_secs(5)).await;
        let retried = house.client().await.send("hello", "k1").await;
        assert_eq!(retried["payload"]["outcome"], "cancelled", "{retried}");
        assert_eq!(house.asked(), ["hello"]);
    });
}
