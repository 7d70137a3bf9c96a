//! Messages that wait for the session store: what their senders hear, who were there or not, first in line or not,
//! and what becomes of the messages.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tracing_test::traced_test;

use super::{Client, House, INBOX, Model, SESSIONS, STORE_LOCK, named, reply, run, user};
use crate::env::{ExitCode, Signal};
use crate::policy::{LockFailure, Policies, profile};

/// Somebody else's lock, which promises nothing.
fn foreign() -> String {
    json!({"pid": 7, "createdAt": "2026-03-02T00:00:00Z"}).to_string()
}

#[traced_test]
#[test]
fn a_message_that_meets_a_held_lock_is_told_once_and_answered_when_it_is_free() {
    run(async {
        let house = House::new();
        house.world.neighbour(7);
        let life = house.live().await;
        house.world.put(STORE_LOCK, &foreign());
        let mut client = house.client().await;
        let sent = Instant::now();
        client.accepted("hello", "k1").await;
        let (state, text) = client.ending("k1").await;
        assert_eq!(state, "error");
        assert!(sent.elapsed() < Duration::from_secs(11), "{:?}", sent.elapsed());
        for words in ["\"hello\" waits", "held by process 7 since 2026-03-02", "do not send it again"] {
            assert!(text.contains(words), "{text}");
        }
        sleep(Duration::from_secs(200)).await;
        assert_eq!(client.send("hello", "k1").await["payload"]["status"], "in_flight");
        assert!(house.world.text(INBOX).contains("accepted") && !house.world.text(INBOX).contains("started"));
        assert_eq!(house.asked(), [""; 0]);
        house.world.remove(STORE_LOCK);
        // Nothing in between: the wait was told once.
        assert_eq!(client.ending("k1").await, ("final".into(), "re: hello".into()));
        assert_eq!(client.history().await, [user("hello"), reply("hello")]);
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(house.world.text(STORE_LOCK), "");
    });
    logs_assert(|lines| named(lines, "k1"));
}

#[test]
fn a_wait_for_the_lock_is_no_part_of_the_time_that_a_run_has() {
    run(async {
        let house = House::new();
        house.world.neighbour(7);
        house.live().await;
        house.world.put(STORE_LOCK, &foreign());
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        assert_eq!(client.ending("k1").await.0, "error");
        sleep(Duration::from_secs(700)).await;
        house.world.remove(STORE_LOCK);
        assert_eq!(client.ending("k1").await, ("final".into(), "re: hello".into()));
    });
}

#[test]
fn a_message_that_waits_is_left_to_the_next_life_as_it_is() {
    for signal in [None, Some(Signal::Terminate)] {
        run(async {
            let house = House::new();
            house.world.neighbour(7);
            let life = house.live().await;
            house.world.put(STORE_LOCK, &foreign());
            let mut client = house.client().await;
            client.accepted("hello", "k1").await;
            assert_eq!(client.ending("k1").await.0, "error");
            match signal {
                None => life.killed().await,
                Some(signal) => assert_eq!(life.end(signal).await, ExitCode::CLEAN),
            }
            assert!(!house.world.text(INBOX).contains("settled"), "{}", house.world.text(INBOX));
            assert_eq!(house.world.text(STORE_LOCK), foreign(), "it was not ours to remove");
            house.world.bury(7);
            house.live().await;
            sleep(Duration::from_secs(1)).await;
            assert_eq!(house.client().await.history().await, [user("hello"), reply("hello")]);
        });
    }
}

#[test]
fn a_sender_can_stop_a_message_that_waits() {
    run(async {
        let house = House::new();
        house.world.neighbour(7);
        house.live().await;
        house.world.put(STORE_LOCK, &foreign());
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        assert_eq!(client.ending("k1").await.0, "error");
        let aborted = client.request("chat.abort", json!({"sessionKey": "main"})).await;
        assert_eq!(aborted["payload"]["runIds"], json!(["k1"]), "{aborted}");
        let mut later = house.client().await;
        assert!(later.history().await.is_empty());
        assert!(timeout(Duration::from_secs(1), later.ending("k1")).await.is_err(), "it waits no longer");
        house.world.remove(STORE_LOCK);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(house.asked(), [""; 0]);
    });
}

#[test]
fn history_forgot_the_message_and_said_nothing() {
    run(async {
        let policies = Policies { lock_failure: LockFailure::Forget, ..profile("hardened").expect("exists") };
        let house = House::with_policies(policies);
        house.world.neighbour(7);
        house.live().await;
        house.world.put(STORE_LOCK, &foreign());
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        sleep(Duration::from_secs(20)).await;
        house.world.remove(STORE_LOCK);
        assert!(timeout(Duration::from_secs(100), client.ending("k1")).await.is_err());
        assert_eq!(house.asked(), [""; 0]);
    });
}

/// Whose waiting the next `count` events are about.
async fn told_of_wait(client: &mut Client, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..count {
        let event = client.event("chat").await;
        let text = event["errorMessage"].as_str().unwrap_or_else(|| panic!("{event}"));
        assert!(text.contains("waits") && text.contains("do not send it again"), "{text}");
        told.push(event["runId"].as_str().expect("a run").to_string());
    }
    told.sort();
    told
}

#[traced_test]
#[test]
fn who_stands_in_line_behind_a_message_that_waits_is_told_at_a_stop() {
    run(async {
        let house = House::new();
        house.world.neighbour(7);
        let life = house.live().await;
        house.world.put(STORE_LOCK, &foreign());
        let mut client = house.client().await;
        for key in ["k1", "k2", "k3"] {
            client.accepted("hello", key).await;
        }
        client.send_in("other", "hi", "k4").await;
        client.send_in("other", "hi", "k5").await;
        assert_eq!(told_of_wait(&mut client, 2).await, ["k1", "k4"]);
        life.signal(Signal::Terminate);
        assert_eq!(told_of_wait(&mut client, 3).await, ["k2", "k3", "k5"]);
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert!(!house.world.text(INBOX).contains("settled"), "{}", house.world.text(INBOX));
        house.world.bury(7);
        house.live().await;
        sleep(Duration::from_secs(5)).await;
        let three = ["hello"; 3].map(|text| [user(text), reply(text)]).concat();
        assert_eq!(house.client().await.history().await, three);
    });
    for key in ["k2", "k3", "k5"] {
        logs_assert(|lines| named(lines, key));
    }
}

/// The conversation that the first one began is gone, so even its notice needs the lock.
#[test]
fn a_run_that_is_interrupted_is_told_in_time_although_its_notice_cannot_be_recorded() {
    run(async {
        let house = House::new();
        house.model.set(Model::Hangs);
        house.world.neighbour(7);
        let life = house.live().await;
        let mut client = house.client().await;
        for key in ["k1", "k2"] {
            client.accepted("hello", key).await;
        }
        sleep(Duration::from_secs(1)).await;
        house.world.put(STORE_LOCK, &foreign());
        house.world.remove(SESSIONS);
        life.signal(Signal::Terminate);
        let (state, text) = client.ending("k1").await;
        assert!(state == "error" && text.contains("was not answered"), "{text}");
        assert_eq!(told_of_wait(&mut client, 1).await, ["k2"]);
        assert_eq!(life.ended().await, ExitCode::CLEAN);
    });
}

#[test]
fn who_comes_back_while_its_message_waits_is_told_so_once_for_each_connection() {
    for asks_history in [true, false] {
        run(async {
            let house = House::new();
            house.world.neighbour(7);
            house.live().await;
            house.world.put(STORE_LOCK, &foreign());
            let mut gone = house.client().await;
            gone.accepted("hello", "k1").await;
            drop(gone);
            sleep(Duration::from_secs(30)).await;
            let mut back = house.client().await;
            for _ in 0..2 {
                match asks_history {
                    true => assert!(back.history().await.is_empty()),
                    false => assert_eq!(back.send("hello", "k1").await["payload"]["status"], "in_flight"),
                }
            }
            let (state, text) = timeout(Duration::from_secs(1), back.ending("k1")).await.expect("it is told");
            assert_eq!(state, "error");
            assert!(text.contains("\"hello\" waits") && text.contains("process 7"), "{text}");
            house.model.set(Model::Answers(Duration::from_secs(30)));
            house.world.remove(STORE_LOCK);
            sleep(Duration::from_secs(15)).await;
            let mut during = house.client().await;
            during.history().await;
            assert_eq!(during.ending("k1").await.0, "final", "it waits no longer");
            assert_eq!(back.ending("k1").await, ("final".into(), "re: hello".into()), "told once");
            let mut later = house.client().await;
            assert_eq!(later.history().await, [user("hello"), reply("hello")]);
            assert!(timeout(Duration::from_secs(30), later.ending("k1")).await.is_err(), "nothing waits");
        });
    }
}
