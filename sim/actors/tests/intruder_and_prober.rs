//! The prober and the intruder against gateways that let in and gateways that do not.

use std::time::Duration;

use gateway::env::Env;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::fake_gateway::FakeGateway;
use super::stage::{self, PORT};
use crate::actors::intruder::{self, IntruderSettings};
use crate::actors::prober::{self, ProberSettings};

/// Answers every connection with the next of `statuses`, then never again.
async fn http_gateway(env: Env, statuses: &'static [&'static str]) {
    let mut listener = env.net().listen(PORT).await.expect("the port is free");
    for status in statuses {
        let mut stream = listener.accept().await.expect("a connection");
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.expect("a request");
        assert!(request[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await.expect("the prober reads");
    }
    let mut unanswered = Vec::new();
    loop {
        unanswered.push(listener.accept().await);
    }
}

#[test]
fn the_prober_records_what_readyz_answers() {
    let told = stage::play(
        Duration::from_secs(9),
        |env| http_gateway(env, &["200 OK", "503 Service Unavailable", "404 Not Found"]),
        |env, recorder| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            prober::run(env, recorder, ProberSettings { port: PORT, every: Duration::from_secs(2) }).await;
        },
    );
    let seen =
        ["ready.seen 1s Some(true)", "ready.seen 3s Some(false)", "ready.seen 5s None", "ready.seen 7s None"];
    assert_eq!(told, seen);
}

/// Every second, for one rotation.
fn intrude<F>(gateway: impl FnOnce(Env) -> F + 'static) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    stage::play(Duration::from_secs(30), gateway, |env, recorder| {
        intruder::run(env, recorder, IntruderSettings { port: PORT, every: Duration::from_secs(1) })
    })
}

#[test]
fn a_gateway_that_refuses_is_recorded_as_such() {
    let told = intrude(|env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        for _ in 0..4 {
            let mut client = gateway.upgrade().await;
            client.event("connect.challenge", json!({ "nonce": "n" })).await;
            if let Some(asked) = client.next().await {
                client.refuse(&asked, "FORBIDDEN", false).await;
                client.say_close(1008, "unauthorized").await;
            }
        }
    });
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told.iter().all(|line| line.ends_with("refused")), "{told:#?}");
}

#[test]
fn a_gateway_that_lets_everybody_in_is_found_out() {
    let told = intrude(|env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        for _ in 0..4 {
            let mut client = gateway.upgrade().await;
            while let Some(asked) = client.next().await {
                client.grant(&asked, json!({})).await;
            }
        }
    });
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told.iter().all(|line| line.ends_with("LET IN")), "{told:#?}");
}

#[test]
fn what_tungstenite_draws_from_the_system_leaves_no_trace() {
    let run = || {
        let gateway = |env: Env| async move {
            let mut gateway = FakeGateway::open(&env).await;
            for _ in 0..4 {
                let mut client = gateway.upgrade().await;
                while let Some(asked) = client.next().await {
                    client.refuse(&asked, "FORBIDDEN", true).await;
                }
            }
        };
        stage::play_hashed(Duration::from_secs(60), gateway, |env, recorder| {
            intruder::run(env, recorder, IntruderSettings { port: PORT, every: Duration::from_secs(1) })
        })
    };
    let (told, hash) = run();
    assert!(told.len() > 3, "{told:#?}");
    assert_eq!((told, hash), run());
}
