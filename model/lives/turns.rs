//! Turns that answer several messages, and what the next life makes of them: collected, steered, waited for, stopped in
//! part, killed; taken up again, and not for ever.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing_test::traced_test;

use super::{Client, House, INBOX, Model, PROVIDER_PORT, SESSIONS, TOKEN, named, run};
use crate::env::{ExitCode, Signal};

const SLOW: Model = Model::Answers(Duration::from_secs(10));

/// A house whose conversations are queued like this.
fn queued(queue: &Value) -> House {
    let house = House::new();
    let gateway = json!({"auth": {"token": TOKEN}, "stateDir": "/state"});
    let model = json!({"baseUrl": format!("http://model:{PROVIDER_PORT}/v1"), "name": "m"});
    let config = json!({"gateway": gateway, "model": model, "messages": {"queue": queue}});
    house.world.put("/config.json", &config.to_string());
    house
}

async fn send_all(client: &mut Client, keys: &[&str]) {
    for key in keys {
        client.accepted(key, key).await;
    }
}

async fn roles(client: &mut Client) -> Vec<String> {
    client.history().await.into_iter().map(|(role, _)| role).collect()
}

#[test]
fn what_waits_together_has_one_turn_and_one_reply() {
    run(async {
        let house = queued(&json!({"mode": "collect"}));
        house.model.set(SLOW);
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("k1", "k1").await;
        sleep(Duration::from_secs(1)).await;
        send_all(&mut client, &["k2", "k3"]).await;
        assert_eq!(client.ending("k1").await, ("final".into(), "re: k1".into()));
        assert_eq!(client.ending("k2").await, ("final".into(), "re: k3".into()));
        assert_eq!(client.ending("k3").await, ("final".into(), String::new()), "it is part of the other");
        assert_eq!(roles(&mut client).await, ["user", "assistant", "user", "user", "assistant"]);
        life.killed().await;
        house.live().await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(house.asked(), ["k1", "k3"]);
    });
}

#[test]
fn what_ended_together_is_settled_together_by_the_next_life() {
    run(async {
        let house = queued(&json!({"mode": "collect", "debounceMs": 100}));
        let life = house.live().await;
        let mut client = house.client().await;
        send_all(&mut client, &["k1", "k2", "k3"]).await;
        client.ending("k1").await;
        life.killed().await;
        // The reply is durable, and of the settlements only the first.
        let journal = house.world.text(INBOX);
        let cut: Vec<_> =
            journal.lines().filter(|line| !line.contains("settled") || line.contains("k1")).collect();
        assert!(cut.len() + 2 == journal.lines().count(), "{journal}");
        house.world.put(INBOX, &format!("{}\n", cut.join("\n")));
        house.live().await;
        let mut client = house.client().await;
        for key in ["k1", "k2", "k3"] {
            let answer = client.send(key, key).await;
            assert_eq!(answer["payload"]["outcome"], "answered", "{answer}");
            assert_eq!(answer["payload"]["message"]["content"][0]["text"], "re: k3", "{answer}");
        }
        assert_eq!(roles(&mut client).await, ["user", "user", "user", "assistant"]);
        assert_eq!(house.asked(), ["k3"]);
    });
}

#[traced_test]
#[test]
fn a_turn_of_several_that_dies_is_told_in_one_notice() {
    run(async {
        let house = queued(&json!({"mode": "collect", "debounceMs": 100}));
        house.model.set(Model::Hangs);
        let life = house.live().await;
        let mut client = house.client().await;
        send_all(&mut client, &["k1", "k2"]).await;
        sleep(Duration::from_secs(1)).await;
        life.killed().await;
        house.live().await;
        let mut client = house.client().await;
        let history = client.history().await;
        let notices: Vec<_> = history.iter().filter(|(role, _)| role == "notice").collect();
        let [(_, notice)] = notices[..] else { panic!("{history:?}") };
        assert!(notice.contains("\"k1\"") && notice.contains("\"k2\""), "{notice}");
        let again = client.send("k2", "k2").await;
        let payload = &again["payload"];
        assert_eq!(
            (&payload["outcome"], &payload["errorMessage"]),
            (&json!("told"), &json!(notice)),
            "{again}"
        );
        assert_eq!(house.asked(), ["k2"]);
    });
    logs_assert(|lines| named(lines, "k1").and(named(lines, "k2")));
}

#[test]
fn what_comes_during_a_turn_joins_it_when_it_is_steered() {
    run(async {
        let house = queued(&json!({"mode": "steer"}));
        house.model.set(SLOW);
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("k1", "k1").await;
        for key in ["k2", "k3"] {
            sleep(Duration::from_secs(5)).await;
            client.accepted(key, key).await;
        }
        assert_eq!(client.ending("k1").await, ("final".into(), "re: k3".into()));
        assert_eq!(roles(&mut client).await, ["user", "user", "user", "assistant"]);
        assert_eq!(house.asked(), ["k1", "k2", "k3"]);
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn whoever_does_not_stop_writing_is_answered_all_the_same() {
    run(async {
        let house = queued(&json!({"mode": "steer"}));
        house.model.set(SLOW);
        house.live().await;
        let mut client = house.client().await;
        for number in 0..10 {
            client.accepted(&format!("k{number}"), &format!("k{number}")).await;
            sleep(Duration::from_secs(5)).await;
        }
        // Five joins, 5 s apart, and the time of an answer.
        assert_eq!(client.ending("k0").await, ("final".into(), "re: k5".into()));
        assert_eq!(client.ending("k6").await.0, "final");
    });
}

#[test]
fn one_of_several_can_be_stopped() {
    run(async {
        let house = queued(&json!({"mode": "collect", "debounceMs": 100}));
        house.model.set(SLOW);
        let life = house.live().await;
        let mut client = house.client().await;
        send_all(&mut client, &["k1", "k2"]).await;
        sleep(Duration::from_secs(2)).await;
        let aborted = client.request("chat.abort", json!({"sessionKey": "main", "runId": "k1"})).await;
        assert_eq!(aborted["payload"]["runIds"], json!(["k1"]), "{aborted}");
        assert_eq!(client.ending("k1").await.0, "aborted");
        assert_eq!(client.ending("k2").await, ("final".into(), "re: k2".into()));
        life.killed().await;
        house.live().await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(house.client().await.send("k1", "k1").await["payload"]["outcome"], "cancelled");
        assert_eq!(house.asked(), ["k2", "k2"]);
    });
}

#[test]
fn an_end_waits_for_nobody_to_be_quiet() {
    run(async {
        let house = queued(&json!({"mode": "collect", "debounceMs": 20_000}));
        let life = house.live().await;
        let mut client = house.client().await;
        send_all(&mut client, &["k1", "k2"]).await;
        let asked = Instant::now();
        life.signal(Signal::Terminate);
        assert_eq!(client.ending("k1").await.0, "final");
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(house.asked(), ["k2"]);
    });
}

#[traced_test]
#[test]
fn a_message_that_lives_die_over_is_told_in_the_end() {
    run(async {
        let house = House::new();
        let at = house.outside.env.wall_clock().epoch_ms();
        let accepted = |key: &str, at: u64| {
            format!(r#"{{"type":"accepted","runId":"{key}","sessionKey":"main","text":"{key}","at":{at}}}"#)
        };
        let resumed = |key: &str| format!(r#"{{"type":"resumed","runId":"{key}","generation":1}}"#);
        let journal = [
            accepted("k1", at),
            accepted("k2", at),
            accepted("k3", at - 25 * 3_600_000),
            resumed("k1"),
            resumed("k1"),
            resumed("k1"),
            resumed("k2"),
        ];
        house.world.put(INBOX, &format!("{}\n", journal.join("\n")));
        house.live().await;
        let mut client = house.client().await;
        let outcome = async |client: &mut Client, key: &str| {
            client.send(key, key).await["payload"]["outcome"].as_str().unwrap_or("none").to_string()
        };
        assert_eq!(outcome(&mut client, "k1").await, "told");
        assert_eq!(outcome(&mut client, "k3").await, "told");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(house.asked(), [""; 0], "it is taken up after a pause");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(house.asked(), ["k2"]);
        assert!(house.world.text(INBOX).matches("\"resumed\"").count() == 5, "{}", house.world.text(INBOX));
    });
    logs_assert(|lines| named(lines, "k1").and(named(lines, "k2")).and(named(lines, "k3")));
}

#[test]
fn what_the_store_calls_running_was_interrupted() {
    run(async {
        let house = House::new();
        let entry = json!({"sessionId": "m", "sessionFile": "m.jsonl", "updatedAt": 1, "status": "running", "generation": 7});
        house.world.put(SESSIONS, &json!({"main": entry}).to_string());
        house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        assert_eq!(client.ending("k1").await.0, "final");
        let sessions: Value = serde_json::from_str(&house.world.text(SESSIONS)).expect("JSON");
        assert_eq!(sessions["main"]["status"], "interrupted");
    });
}
