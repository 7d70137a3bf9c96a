//! Lives that owe texts: what is known of an attempt, what a stop waits for, and what nobody can send any more.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::platform::{Taking, Telegram};
use super::{House, run};
use crate::env::{ExitCode, FsOp, Signal};

const A_DAY_MS: i64 = 24 * 60 * 60 * 1_000;
const WORD: &str = "\n(You may have got this before";

fn limit(retry_after: u64) -> Taking {
    let answer = json!({"ok": false, "error_code": 429, "description": "Too Many Requests",
        "parameters": {"retry_after": retry_after}});
    Taking::Says(429, answer)
}

async fn accounts(house: &House) -> Value {
    house.client().await.request("health", json!({})).await["payload"]["channels"].clone()
}

#[test]
fn a_refusal_does_not_make_an_earlier_attempt_known() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        let life = house.live().await;
        telegram.next_send(Taking::AndSilence);
        telegram.next_send(limit(3));
        telegram.write("hello");
        let sent = telegram.sent_so_many(2).await;
        assert!(sent[1].contains(WORD), "{sent:?}");
        // Nor does a life that ends after the refusal.
        telegram.next_send(Taking::AndSilence);
        telegram.next_send(limit(300));
        telegram.write("again");
        sleep(Duration::from_secs(5)).await;
        life.killed().await;
        house.live().await;
        let sent = telegram.sent_so_many(4).await;
        assert!(sent[3].starts_with("re: again") && sent[3].contains(WORD), "{sent:?}");
    });
}

#[test]
fn copies_come_less_and_less_often() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        house.live().await;
        (0..200).for_each(|_| telegram.next_send(Taking::AndSilence));
        telegram.write("hello");
        sleep(Duration::from_secs(900)).await;
        let copies = telegram.sent().len();
        assert!((5..=11).contains(&copies), "{copies} in a quarter of an hour");
    });
}

#[test]
fn what_waited_for_days_is_tried_before_it_is_given_up() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        let life = house.live().await;
        (0..8).for_each(|_| telegram.next_send(limit(1)));
        telegram.write("hello");
        sleep(Duration::from_secs(2)).await;
        life.killed().await;
        house.world.jump_clock(3 * A_DAY_MS);
        // The next life is told to wait, too. A clock that jumps has nothing given up that was not tried eight times.
        house.live().await;
        sleep(Duration::from_secs(10)).await;
        let attempts = || house.world.text("/state/outbox.jsonl").matches(r#""type":"attempt""#).count();
        assert!((3..8).contains(&attempts()), "{}", attempts());
        sleep(Duration::from_secs(200)).await;
        assert!(house.world.text("/state/dead-letters.jsonl").contains("re: hello"));
        telegram.next_send(limit(500));
        telegram.write("again");
        sleep(Duration::from_secs(2)).await;
        house.world.jump_clock(3 * A_DAY_MS);
        house.live().await;
        assert_eq!(telegram.sent_so_many(1).await, ["re: again"]);
    });
}

#[test]
fn a_platform_that_is_away_keeps_no_stop_waiting() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        let life = house.live().await;
        telegram.next_send(limit(500));
        telegram.write("hello");
        sleep(Duration::from_secs(2)).await;
        let asked = Instant::now();
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        house.live().await;
        assert_eq!(telegram.sent_so_many(1).await, ["re: hello"]);
    });
}

#[test]
fn a_stop_waits_for_what_is_being_sent_and_begins_nothing_late() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        telegram.answer_after(Duration::from_secs(7));
        let life = house.live().await;
        telegram.write("one");
        telegram.write("two");
        telegram.write("three");
        telegram.sent_so_many(1).await;
        // The second is begun within the five seconds that a stop still sends, and ends after them.
        sleep(Duration::from_secs(5)).await;
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(telegram.sent().len(), 2);
        house.live().await;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(telegram.sent(), ["re: one", "re: two", "re: three"]);
    });
}

#[test]
fn what_is_owed_through_an_account_that_is_gone_waits_for_it() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        let life = house.live().await;
        telegram.next_send(limit(500));
        telegram.write("hello");
        sleep(Duration::from_secs(2)).await;
        life.killed().await;
        let main = house.world.text("/config.json");
        let other = main.replace("\"main\":", "\"other\":").replace("1:secret", "2:secret");
        house.world.put("/config.json", &other);
        let life = house.live().await;
        let channels = accounts(&house).await;
        assert_eq!(channels[0]["owed"], 0, "{channels}");
        assert_eq!((&channels[1]["account"], &channels[1]["owed"]), (&json!("telegram:main"), &json!(1)));
        assert_eq!(channels[1]["connected"], false, "{channels}");
        let asked = Instant::now();
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        house.world.put("/config.json", &main);
        let life = house.live().await;
        assert_eq!(telegram.sent_so_many(1).await, ["re: hello"]);
        // One that never comes back gives up what is too old.
        telegram.next_send(limit(500));
        telegram.write("again");
        sleep(Duration::from_secs(2)).await;
        life.killed().await;
        house.world.put("/config.json", &other);
        house.world.jump_clock(2 * A_DAY_MS);
        house.live().await;
        sleep(Duration::from_secs(1)).await;
        assert!(house.world.text("/state/dead-letters.jsonl").contains("re: again"));
        assert_eq!(accounts(&house).await.as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn a_text_is_not_sent_before_the_disk_says_that_it_is_begun() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        let life = house.live().await;
        telegram.next_send(limit(2));
        telegram.write("hello");
        sleep(Duration::from_secs(1)).await;
        house.world.fail(FsOp::Append, "outbox.jsonl", 1_000, 0);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(telegram.sent().len(), 0);
        life.signal(Signal::Terminate);
        sleep(Duration::from_millis(100)).await;
        life.signal(Signal::Terminate);
        life.ended().await;
        assert_eq!(telegram.sent().len(), 0, "an end is no reason to send");
        house.world.heal();
        house.live().await;
        assert_eq!(telegram.sent_so_many(1).await, ["re: hello"]);
    });
}
