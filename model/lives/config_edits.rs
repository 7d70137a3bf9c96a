//! Edits of the configuration file while the gateway runs: what is in force at once, what restarts it, and what is taken
//! back.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::restart::busy;
use super::{Client, House, configure, run};
use crate::env::{ExitCode, Signal};

const SECOND: Duration = Duration::from_secs(1);

async fn standing(client: &mut Client) -> Value {
    client.request("gateway.restart.status", json!({})).await["payload"].clone()
}

/// The configuration with these settings, written over the one in force.
fn edit(house: &House, settings: Value) {
    let mut merged = json!({"reload": {"mode": "restart"}});
    merged.as_object_mut().expect("one").extend(settings.as_object().expect("settings").clone());
    configure(&house.world, merged);
}

#[test]
fn an_edit_restarts_the_gateway_and_one_that_is_taken_back_does_not() {
    run(async {
        let house = House::new();
        edit(&house, json!({}));
        let (life, mut client) = busy(&house).await;
        edit(&house, json!({"reload": {"mode": "restart", "deferralTimeoutMs": 90_000}}));
        sleep(SECOND * 5).await;
        assert_eq!(standing(&mut client).await["state"], "idle", "nothing that was changed needs it");
        edit(&house, json!({"maxBufferedBytes": 5_000_000}));
        sleep(SECOND * 5).await;
        let status = standing(&mut client).await;
        assert_eq!(status["state"], "deferred", "{status}");
        assert_eq!(status["requests"][0]["source"]["paths"], json!(["gateway.maxBufferedBytes"]), "{status}");
        edit(&house, json!({}));
        sleep(SECOND * 5).await;
        let status = standing(&mut client).await;
        assert_eq!(status["state"], "idle", "{status}");
        assert_eq!(status["outcomes"][0]["why"]["reason"], "edit-reverted", "{status}");
        house.world.put("/config.json", "{\"gateway\": ");
        sleep(SECOND * 5).await;
        assert_eq!(standing(&mut client).await["state"], "idle", "nobody could start with that");
        edit(&house, json!({"maxBufferedBytes": 6_000_000}));
        sleep(SECOND * 5).await;
        assert_eq!(standing(&mut client).await["state"], "deferred");
        assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);
    });
}

#[test]
fn a_start_waits_for_who_is_writing_the_file_and_not_for_a_mistake() {
    run(async {
        let house = House::new();
        let whole = house.world.text("/config.json");
        house.world.put("/config.json", &whole[..whole.len() / 2]);
        let starting = house.launch();
        sleep(SECOND / 2).await;
        house.world.put("/config.json", &whole);
        sleep(SECOND * 2).await;
        assert_eq!(starting.end(Signal::Terminate).await, ExitCode::CLEAN);
        house.world.put("/config.json", &whole[..whole.len() / 2]);
        let begun = tokio::time::Instant::now();
        assert_eq!(house.launch().ended().await, ExitCode::CONFIG);
        assert!(begun.elapsed() < SECOND * 5, "{:?}", begun.elapsed());
        sleep(SECOND * 10).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(house.launch().ended().await, ExitCode::CONFIG);
        assert_eq!(begun.elapsed(), Duration::ZERO, "nobody was writing");
    });
}

#[test]
fn without_the_watch_an_edit_waits_for_the_next_start() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        configure(&house.world, json!({"maxBufferedBytes": 5_000_000}));
        sleep(SECOND * 10).await;
        assert_eq!(standing(&mut house.client().await).await["state"], "idle");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn what_is_configured_about_restarts_is_in_force_at_once() {
    run(async {
        let house = House::new();
        edit(&house, json!({}));
        let (life, mut client) = busy(&house).await;
        edit(&house, json!({"reload": {"mode": "restart", "deferralTimeoutMs": 9_000, "signal": "ask"}}));
        sleep(SECOND * 5).await;
        life.signal(Signal::User1);
        sleep(SECOND).await;
        let status = standing(&mut client).await;
        assert_eq!((&status["state"], &status["limitInMs"]), (&json!("deferred"), &json!(8_000)));
        assert_eq!(life.ended().await, ExitCode::RESTART);
    });
}

/// No part of this gateway begins anew without the others: what OpenClaw reloads hot restarts it.
#[test]
fn an_edit_of_a_part_restarts_the_whole() {
    run(async {
        let house = House::new();
        edit(&house, json!({}));
        let life = house.live().await;
        let mut config: Value = serde_json::from_str(&house.world.text("/config.json")).expect("JSON");
        config["cron"] = json!({"sessionsRebuildEveryMs": 0});
        house.world.put("/config.json", &config.to_string());
        assert_eq!(life.ended().await, ExitCode::RESTART);
        house.live().await;
        let status = standing(&mut house.client().await).await;
        assert_eq!(status["outcomes"][0]["source"]["paths"], json!(["cron"]), "{status}");
    });
}

#[test]
fn an_edit_that_switches_the_watch_off_takes_back_what_it_asked_for() {
    run(async {
        let house = House::new();
        edit(&house, json!({}));
        let (life, mut client) = busy(&house).await;
        edit(&house, json!({"maxBufferedBytes": 5_000_000}));
        sleep(SECOND * 5).await;
        assert_eq!(standing(&mut client).await["state"], "deferred");
        edit(&house, json!({"maxBufferedBytes": 5_000_000, "reload": {"mode": "off"}}));
        sleep(SECOND * 5).await;
        assert_eq!(standing(&mut client).await["state"], "idle");
        edit(&house, json!({"maxBufferedBytes": 6_000_000}));
        sleep(SECOND * 5).await;
        assert_eq!(standing(&mut client).await["state"], "idle", "nobody looks any more");
        assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);
    });
}
