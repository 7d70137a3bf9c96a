//! What a gateway remembers about restarts from one life to the next, and what it makes of a restart before it is up.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;

use super::restart::busy;
use super::{Client, House, INBOX, MARKER, Model, PORT, configure, run};
use crate::env::{ExitCode, FsOp, Signal};
use crate::policy::{RestartMode, RestartPause, SecondRequest};

const SECOND: Duration = Duration::from_secs(1);
const TASKS: &str = "/state/tasks.json";
const LEDGER: &str = "/state/restart-ledger.json";

fn task(id: usize, generation: Value) -> Value {
    json!({"taskId": format!("t{id}"), "status": "running", "generation": generation})
}

async fn preflight(house: &House) -> Value {
    house.client().await.request("gateway.restart.preflight", json!({})).await["payload"].clone()
}

async fn status(house: &House) -> Value {
    house.client().await.request("gateway.restart.status", json!({})).await["payload"].clone()
}

async fn ask(client: &mut Client, params: Value) -> Value {
    client.request("gateway.restart.request", params).await["payload"].clone()
}

/// openclaw/openclaw#143420 (B-27): the process died, nobody had asked for a restart, and its rows said `running`.
#[test]
fn the_number_of_a_generation_never_comes_twice() {
    run(async {
        let house = House::new();
        for number in 1..4 {
            let life = house.live().await;
            let generation = status(&house).await["generation"].clone();
            assert_eq!(generation, number);
            assert_eq!(preflight(&house).await["safe"], true, "what life {} left is nobody's", number - 1);
            house.world.put(TASKS, &json!([task(1, generation)]).to_string());
            assert_eq!(preflight(&house).await["counts"]["activeTasks"], 1);
            life.killed().await;
        }
        // The ledger is lost, or nobody can read what is in it.
        for ledger in [None, Some("{")] {
            match ledger {
                None => house.world.remove(LEDGER),
                Some(text) => house.world.put(LEDGER, text),
            }
            house.world.put(TASKS, &json!([task(1, json!(7)), task(2, json!(3))]).to_string());
            let life = house.live().await;
            assert_eq!(
                (&status(&house).await["generation"], &preflight(&house).await["safe"]),
                (&json!(8), &json!(true))
            );
            life.killed().await;
        }
    });
}

#[test]
fn who_asks_is_refused_while_the_disk_takes_no_record_and_a_signal_is_followed() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        house.world.fail(FsOp::Write, "restart-ledger.json.tmp", usize::MAX, 0);
        for mode in ["plain", "force"] {
            let refused =
                house.client().await.request("gateway.restart.request", json!({"mode": mode})).await;
            assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
            assert_eq!(refused["error"]["retryable"], true, "{refused}");
        }
        sleep(SECOND * 60).await;
        assert_eq!(status(&house).await["state"], "idle", "nothing was made of it");
        assert_eq!(life.end(Signal::User1).await, ExitCode::RESTART);
        let life = house.live().await;
        house.world.heal();
        let asked = ask(&mut house.client().await, json!({"reason": "again"})).await;
        assert_eq!(asked["status"], "scheduled", "what was refused left no pause behind: {asked}");
        assert_eq!(life.ended().await, ExitCode::RESTART);
        house.live().await;
        assert_eq!(status(&house).await["outcomes"][0]["reason"], "again");
    });
}

#[test]
fn a_ledger_that_cannot_be_read_is_read_when_it_can_be() {
    run(async {
        let house = House::new();
        let (life, mut client) = busy(&house).await;
        ask(&mut client, json!({"reason": "mend"})).await;
        life.killed().await;
        house.world.fail(FsOp::Read, "restart-ledger.json", 1, 0);
        house.live().await.killed().await;
        house.world.fail(FsOp::Read, "restart-ledger.json", usize::MAX, 0);
        let life = house.live().await;
        assert_eq!(status(&house).await["outcomes"], json!([]), "nobody knows of it");
        let refused = house.client().await.request("gateway.restart.request", json!({})).await;
        assert_eq!(refused["error"]["code"], "UNAVAILABLE", "it would be written over: {refused}");
        house.world.heal();
        sleep(SECOND * 30).await;
        assert_eq!(status(&house).await["outcomes"][0]["reason"], "mend");
        let generation = status(&house).await["generation"].as_u64().expect("a number");
        life.killed().await;
        house.live().await;
        assert!(status(&house).await["generation"].as_u64() > Some(generation));
        assert_eq!(status(&house).await["outcomes"][0]["reason"], "mend");
    });
}

#[test]
fn what_came_of_a_restart_can_be_asked_in_any_later_life() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let params = json!({"reason": "upgrade", "idempotencyKey": "k", "mode": "plain"});
        let asked = ask(&mut house.client().await, params.clone()).await;
        assert_eq!(life.ended().await, ExitCode::RESTART);
        for _ in 0..2 {
            let life = house.live().await;
            assert_eq!(status(&house).await["outcomes"][0]["status"], "done");
            // Who did not hear the answer asks again, and does not get a second restart (openclaw/openclaw#33459).
            let again = ask(&mut house.client().await, params.clone()).await;
            assert_eq!(
                (&again["status"], &again["request"]),
                (&json!("coalesced"), &asked["request"]),
                "{again}"
            );
            assert_eq!(again["outcome"]["ending"], "done", "{again}");
            sleep(SECOND * 40).await;
            assert_eq!(status(&house).await["state"], "idle");
            life.killed().await;
        }
    });
}

#[test]
fn the_pause_between_two_restarts_outlasts_the_process() {
    for (pause, set_back, seconds) in [
        // From when the life that was asked for is up, whatever the clock says of the order.
        (RestartPause::AcrossProcesses, 0, 29..=30),
        (RestartPause::AcrossProcesses, -3_600_000, 29..=30),
        (RestartPause::AcrossProcesses, 3_600_000, 29..=30),
        (RestartPause::WithinProcess, 0, 0..=0),
    ] {
        run(async {
            let mut house = House::new();
            house.policies.restart_pause = pause;
            let life = house.live().await;
            ask(&mut house.client().await, json!({})).await;
            assert_eq!(life.ended().await, ExitCode::RESTART);
            sleep(SECOND * 2).await;
            house.world.jump_clock(set_back);
            house.live().await;
            let answer = ask(&mut house.client().await, json!({})).await;
            let waits = answer["restart"]["cooldownMsApplied"].as_u64().expect("a number").div_ceil(1_000);
            assert!(seconds.contains(&waits), "{pause:?} {set_back}: {answer}");
        });
    }
}

#[test]
fn the_pause_counts_from_the_life_that_was_asked_for_also_after_one_that_nobody_asked_for() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        ask(&mut house.client().await, json!({})).await;
        assert_eq!(life.ended().await, ExitCode::RESTART);
        // Much of the pause since the order has passed when it comes up.
        sleep(SECOND * 20).await;
        let life = house.live().await;
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        house.live().await;
        let answer = ask(&mut house.client().await, json!({})).await;
        let pause = answer["restart"]["cooldownMsApplied"].as_u64().expect("a number");
        assert!((25_000..=30_000).contains(&pause), "{answer}");
    });
}

/// A life that is stopped in the middle of its recovery, is sent these signals meanwhile, and goes on then: how it ends,
/// if it does, and whether it saw to what the last one had left.
async fn signalled_while_recovering(house: &House, signals: &[Signal]) -> (Option<ExitCode>, bool) {
    // Far from being too old.
    let at = 4_102_444_800_000_u64;
    let message = |key: &str, session: &str| {
        json!({"type": "accepted", "runId": key, "sessionKey": session, "text": key, "at": at}).to_string()
    };
    let started = json!({"type": "started", "runId": "k1"});
    house.world.put(INBOX, &format!("{}\n{started}\n{}\n", message("k1", "a"), message("k2", "b")));
    // Telling of the first is the first that is recorded.
    house.world.stop_after(FsOp::Append, "inbox.jsonl");
    let life = house.launch();
    sleep(SECOND).await;
    for signal in signals {
        life.signal(*signal);
        sleep(SECOND / 10).await;
    }
    life.process.thaw();
    sleep(SECOND * 20).await;
    let has_ended = !house.world.listens(PORT);
    let code = if has_ended { Some(life.ended().await) } else { None };
    (code, house.asked() == ["k2"])
}

#[test]
fn a_restart_signal_before_the_server_is_up_waits_for_it() {
    use Signal::{Terminate, User1};
    run(async {
        for (signals, code, served) in [
            (&[][..], None, true),
            (&[User1], Some(ExitCode::RESTART), true),
            (&[User1, User1, User1], Some(ExitCode::RESTART), true),
            (&[User1, Terminate], Some(ExitCode::CLEAN), false),
        ] {
            let house = House::new();
            assert_eq!(signalled_while_recovering(&house, signals).await, (code, served), "{signals:?}");
        }
        let house = House::new();
        let config = house.world.text("/config.json");
        house.world.put("/config.json", &config.replacen('{', r#"{"commands": {"restart": false}, "#, 1));
        assert_eq!(signalled_while_recovering(&house, &[User1]).await, (None, true), "it is switched off");
        let mut house = House::new();
        house.policies.second_request = SecondRequest::Dropped;
        let history = signalled_while_recovering(&house, &[User1]).await;
        assert_eq!(history, (Some(ExitCode::RESTART), false), "history did not wait");
    });
}

#[test]
fn from_the_order_on_nothing_is_admitted_that_the_restart_would_interrupt() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        house.model.set(Model::Hangs);
        // Both reach the gateway before whoever takes the order looks.
        let frame = |id: &str, method: &str, params: Value| {
            json!({"type": "req", "id": id, "method": method, "params": params}).to_string()
        };
        let ask = frame("ask", "gateway.restart.request", json!({}));
        let send =
            frame("send", "chat.send", json!({"sessionKey": "main", "message": "x", "idempotencyKey": "k"}));
        client.say(Message::text(ask)).await;
        client.say(Message::text(send)).await;
        assert_eq!(client.response("ask").await["payload"]["status"], "scheduled");
        assert_eq!(client.response("send").await["error"]["code"], "UNAVAILABLE");
        let asked = Instant::now();
        assert_eq!(life.ended().await, ExitCode::RESTART);
        assert!(asked.elapsed() < SECOND * 3, "{:?}", asked.elapsed());
    });
}

#[test]
fn a_generation_that_follows_in_place_keeps_to_what_is_configured_by_then() {
    run(async {
        let mut house = House::new();
        house.policies.restart_mode = RestartMode::InProcess;
        let life = house.live().await;
        configure(&house.world, json!({"reload": {"signal": "ask", "deferralTimeoutMs": 7_000}}));
        life.signal(Signal::User1);
        sleep(SECOND * 5).await;
        let mut client = house.client().await;
        house.model.set(Model::Hangs);
        client.accepted("hello", "k1").await;
        sleep(SECOND * 31).await;
        life.signal(Signal::User1);
        sleep(SECOND).await;
        let status = status(&house).await;
        assert_eq!((&status["state"], &status["limitInMs"]), (&json!("deferred"), &json!(6_000)), "{status}");
        assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);
    });
}

#[test]
fn every_restart_of_a_crowd_is_told_and_written_down_once() {
    run(async {
        let mut house = House::new();
        house.world.set_env_var(MARKER, "");
        house.policies.restart_mode = RestartMode::InProcess;
        let (life, mut client) = busy(&house).await;
        for _ in 0..200 {
            ask(&mut client, json!({"mode": "plain"})).await;
        }
        house.model.set(Model::Answers(SECOND));
        ask(&mut client, json!({"mode": "force"})).await;
        let before = house.world.writes_of("restart-ledger.json.tmp");
        sleep(SECOND * 30).await;
        assert_eq!(status(&house).await["outcomes"].as_array().map(Vec::len), Some(32), "the latest");
        let writes = house.world.writes_of("restart-ledger.json.tmp") - before;
        assert!(writes <= 4, "{writes} writes for one restart");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}
