//! Restarts that somebody asks for: over the wire, by signal, several at a time, and what comes of each.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Client, House, Life, Model, TOKEN, configure, run};
use crate::env::{ExitCode, Signal};
use crate::policy::RestartMode;

const SECOND: Duration = Duration::from_secs(1);
const LEDGER: &str = "/state/restart-ledger.json";

/// A life whose model says nothing, with a message at work in it.
pub(super) async fn busy(house: &House) -> (Life, Client) {
    let life = house.live().await;
    let mut client = house.client().await;
    house.model.set(Model::Hangs);
    client.accepted("hello", "k1").await;
    sleep(SECOND / 10).await;
    (life, client)
}

impl House {
    fn ledger(&self) -> Value {
        serde_json::from_str(&self.world.text(LEDGER)).expect("JSON")
    }
}

impl Client {
    async fn ask(&mut self, params: Value) -> Value {
        let answer = self.request("gateway.restart.request", params).await;
        assert_eq!(answer["ok"], true, "{answer}");
        answer["payload"].clone()
    }

    async fn status(&mut self) -> Value {
        self.request("gateway.restart.status", json!({})).await["payload"].clone()
    }

    /// The next event about restarts with this status.
    async fn hears(&mut self, status: &str) -> Value {
        loop {
            let event = self.event("restart").await;
            if event["status"] == status {
                return event;
            }
        }
    }
}

#[test]
fn with_nothing_in_hand_the_gateway_restarts_at_once_and_its_next_life_knows_for_whom() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        let preflight = client.request("gateway.restart.preflight", json!({})).await;
        assert_eq!(preflight["payload"]["safe"], true, "{preflight}");
        let asked = Instant::now();
        let answer = client.ask(json!({"reason": " upgrade "})).await;
        assert_eq!(answer["status"], "scheduled");
        let restart = json!({
            "ok": true, "pid": 101, "signal": "SIGUSR1", "delayMs": 0, "reason": "upgrade",
            "mode": "emit", "coalesced": false, "cooldownMsApplied": 0,
        });
        assert_eq!(answer["restart"], restart);
        assert_eq!(life.ended().await, ExitCode::RESTART);
        assert!(asked.elapsed() < SECOND * 3, "{:?}", asked.elapsed());
        let life = house.live().await;
        let outcomes = house.client().await.status().await["outcomes"].clone();
        assert_eq!(outcomes[0]["status"], "done", "{outcomes}");
        assert_eq!(outcomes[0]["reason"], "upgrade", "{outcomes}");
        assert_eq!(outcomes.as_array().map(Vec::len), Some(1));
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn a_safe_restart_waits_for_the_work_in_hand_and_interrupts_nothing() {
    run(async {
        let house = House::new();
        house.model.set(Model::Answers(SECOND * 60));
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        sleep(SECOND / 10).await;
        let asked = Instant::now();
        let answer = client.ask(json!({})).await;
        assert_eq!(answer["status"], "deferred");
        assert_eq!(answer["preflight"]["counts"]["queueSize"], 1, "{answer}");
        assert_eq!(answer["preflight"]["counts"]["embeddedRuns"], 1, "{answer}");
        let event = client.hears("deferred").await;
        assert_eq!(event["limitInMs"], 300_000, "{event}");
        assert_eq!(house.probe("/readyz").await, Some(200), "work is admitted meanwhile");
        assert_eq!(client.ending("k1").await, ("final".to_string(), "re: hello".to_string()));
        assert_eq!(life.ended().await, ExitCode::RESTART);
        let took = asked.elapsed();
        assert!(took >= SECOND * 59 && took < SECOND * 63, "{took:?}");
    });
}

#[test]
fn several_requesters_share_one_restart_and_each_is_told() {
    run(async {
        let house = House::new();
        house.model.set(Model::Answers(SECOND * 20));
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        let mut other = house.client().await;
        assert_eq!(client.ask(json!({"reason": "one", "sessionKey": "main"})).await["status"], "deferred");
        let joined = other.ask(json!({"reason": "two", "sessionKey": "ops", "note": "look at it"})).await;
        assert_eq!(joined["status"], "coalesced");
        assert_eq!(joined["restart"]["coalesced"], true);
        assert_eq!(life.ended().await, ExitCode::RESTART);
        let life = house.live().await;
        sleep(SECOND).await;
        let mut client = house.client().await;
        let status = client.status().await;
        let told: Vec<_> = status["outcomes"].as_array().expect("a list").iter().collect();
        assert_eq!(
            told.iter().map(|o| o["status"].as_str()).collect::<Vec<_>>(),
            [Some("done"), Some("merged")]
        );
        let (role, text) = client.history().await.pop().expect("a notice");
        assert!(role == "notice" && text.contains("(one): done"), "{role} {text}");
        let ops = client.request("chat.history", json!({"sessionKey": "ops"})).await;
        assert!(ops.to_string().contains("look at it"), "{ops}");
        assert_eq!(house.ledger()["untold"], json!([]), "{}", house.ledger());
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        // Nobody is told twice.
        let life = house.live().await;
        sleep(SECOND).await;
        let mut client = house.client().await;
        assert_eq!(
            client.status().await["outcomes"].as_array().map(Vec::len),
            Some(2),
            "and nobody forgotten"
        );
        assert_eq!(client.history().await.iter().filter(|(role, _)| role == "notice").count(), 1);
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

/// When a busy life ends that was asked like this.
async fn ends_after(settings: Value, params: Value) -> Duration {
    let house = House::new();
    configure(&house.world, settings);
    let (life, mut client) = busy(&house).await;
    let asked = Instant::now();
    client.ask(params).await;
    assert_eq!(life.ended().await, ExitCode::RESTART);
    asked.elapsed()
}

#[test]
fn at_its_limit_a_restart_drains_for_the_floor_and_goes_ahead() {
    run(async {
        let limit = json!({"reload": {"deferralTimeoutMs": 40_000}});
        for (params, seconds) in [
            (json!({"mode": "plain"}), 40 + 15),
            (json!({"mode": "wait", "waitMs": 5_000}), 5 + 15),
            (json!({"skipDeferral": true}), 15),
            (json!({"mode": "force"}), 15),
        ] {
            let took = ends_after(limit.clone(), params.clone()).await;
            let expected = SECOND * seconds;
            assert!(took >= expected && took <= expected + SECOND * 3, "{params}: {took:?}");
        }
    });
}

#[test]
fn a_safe_restart_that_cannot_have_its_way_is_given_up_and_work_is_admitted_again() {
    run(async {
        let house = House::new();
        configure(&house.world, json!({"reload": {"deferralTimeoutMs": 40_000}}));
        let (life, mut client) = busy(&house).await;
        client.ask(json!({})).await;
        sleep(SECOND * 45).await;
        assert_eq!(client.hears("holding-off").await["requests"][0]["source"]["kind"], "rpc");
        assert_eq!(house.probe("/readyz").await, Some(503), "readiness follows admission");
        let refused = client.send("more", "k2").await;
        assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
        let told = client.hears("timed-out").await;
        assert!(
            told["message"].as_str().is_some_and(|words| words.contains("active embedded run")),
            "{told}"
        );
        assert_eq!(house.probe("/readyz").await, Some(200));
        assert_eq!(client.status().await["state"], "idle");
        assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);
    });
}

#[test]
fn a_stop_during_the_deferral_refuses_whoever_waits() {
    run(async {
        let house = House::new();
        let (life, mut client) = busy(&house).await;
        client.ask(json!({"sessionKey": "main", "reason": "upgrade"})).await;
        life.signal(Signal::Terminate);
        let told = client.hears("refused").await;
        assert_eq!(told["why"]["reason"], "stopping", "{told}");
        let refused = client.request("gateway.restart.request", json!({})).await;
        assert_eq!(refused["error"]["message"], "no restart: the gateway is stopping");
        assert_eq!(life.ended().await, ExitCode::CLEAN);
    });
}

#[test]
fn a_request_during_the_drain_joins_it_and_force_shortens_it() {
    run(async {
        let house = House::new();
        let (life, mut client) = busy(&house).await;
        life.signal(Signal::User1);
        sleep(SECOND).await;
        assert_eq!(house.probe("/readyz").await, Some(503));
        assert_eq!(client.ask(json!({"mode": "plain"})).await["status"], "coalesced");
        let asked = Instant::now();
        assert_eq!(client.ask(json!({"mode": "force"})).await["status"], "coalesced");
        assert_eq!(life.ended().await, ExitCode::RESTART);
        let took = asked.elapsed();
        assert!(took >= SECOND * 15 && took < SECOND * 19, "{took:?}");
    });
}

#[test]
fn a_gateway_that_restarts_in_place_tells_who_asked_and_pauses_before_the_next() {
    run(async {
        let mut house = House::new();
        house.policies.restart_mode = RestartMode::InProcess;
        let life = house.live().await;
        house.client().await.ask(json!({"reason": "one"})).await;
        sleep(SECOND * 5).await;
        let mut client = house.client().await;
        assert_eq!(client.status().await["outcomes"][0]["status"], "done");
        let answer = client.ask(json!({"reason": "two"})).await;
        let pause = answer["restart"]["cooldownMsApplied"].as_u64().expect("a number");
        assert!((20_000..=30_000).contains(&pause), "{answer}");
        assert_eq!(client.status().await["state"], "scheduled");
        sleep(SECOND * 35).await;
        let outcomes = house.client().await.status().await["outcomes"].clone();
        assert_eq!(outcomes.as_array().map(Vec::len), Some(2), "{outcomes}");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn whoever_asked_a_life_that_crashed_is_told_by_the_next() {
    run(async {
        let house = House::new();
        let (life, mut client) = busy(&house).await;
        client.ask(json!({"reason": "upgrade", "sessionKey": "main"})).await;
        life.killed().await;
        house.model.set(Model::Answers(SECOND));
        let life = house.live().await;
        sleep(SECOND * 5).await;
        let outcomes = house.client().await.status().await["outcomes"].clone();
        assert_eq!(outcomes[0]["status"], "done", "{outcomes}");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn a_signal_drains_at_once_and_asks_where_that_is_configured() {
    run(async {
        for (signal, state) in [("drain", "draining"), ("ask", "deferred")] {
            let house = House::new();
            configure(&house.world, json!({"reload": {"signal": signal}}));
            let (life, mut client) = busy(&house).await;
            life.signal(Signal::User1);
            sleep(SECOND).await;
            assert_eq!(client.status().await["state"], state);
            assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);
        }
    });
}

#[test]
fn who_may_ask_and_what_must_be_right() {
    run(async {
        let house = House::new();
        let (life, mut admin) = busy(&house).await;
        let mut reader = house.stranger().await;
        let params = json!({
            "minProtocol": 3, "maxProtocol": 3, "auth": {"token": TOKEN}, "scopes": ["operator.read"],
        });
        let hello = reader.request("connect", params).await;
        assert_eq!(hello["payload"]["auth"]["scopes"], json!(["operator.read"]));
        assert_eq!(reader.request("gateway.restart.preflight", json!({})).await["payload"]["safe"], false);
        for (method, params) in [
            ("gateway.restart.request", json!({})),
            ("chat.send", json!({"sessionKey": "main", "message": "x", "idempotencyKey": "x"})),
        ] {
            let refused = reader.request(method, params).await;
            assert_eq!(refused["error"]["code"], "FORBIDDEN", "{refused}");
        }
        for (params, why) in [
            (json!({"reason": 1}), "invalid type"),
            (json!({"why": "x"}), "unknown field"),
            (json!({"mode": "now"}), "unknown variant"),
            (json!({"mode": "safe", "skipDeferral": true}), "skipDeferral"),
            (json!({"mode": "wait"}), "needs waitMs"),
            (json!({"mode": "force", "waitMs": 5}), "waitMs goes with"),
            (json!({"note": "x"}), "note goes with sessionKey"),
            (json!({"note": "x".repeat(2_001), "sessionKey": "main"}), "at most 2000 characters"),
            (json!({"sessionKey": " "}), "characters"),
        ] {
            let refused = admin.request("gateway.restart.request", params.clone()).await;
            assert_eq!(refused["error"]["code"], "INVALID_REQUEST", "{params}");
            assert!(refused["error"]["message"].as_str().is_some_and(|m| m.contains(why)), "{refused}");
        }
        let refused = admin.request("gateway.restart.preflight", json!({"x": 1})).await;
        assert_eq!(refused["error"]["code"], "INVALID_REQUEST");
        assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);
    });
}
