//! Messages that wait for the session store: what the senders hear who were not there, or not first in line.

use std::time::Duration;

use serde_json::json;
use tokio::time::{sleep, timeout};
use tracing_test::traced_test;

use super::{Client, House, INBOX, STORE_LOCK, named, reply, run, user};
use crate::env::{ExitCode, Signal};

/// Somebody else's lock, which promises nothing.
fn foreign() -> String {
    json!({"pid": 7, "createdAt": "2026-03-02T00:00:00Z"}).to_string()
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
            house.world.remove(STORE_LOCK);
            assert_eq!(back.ending("k1").await, ("final".into(), "re: hello".into()), "told once");
            let mut later = house.client().await;
            assert_eq!(later.history().await, [user("hello"), reply("hello")]);
            assert!(timeout(Duration::from_secs(30), later.ending("k1")).await.is_err(), "nothing waits");
        });
    }
}
