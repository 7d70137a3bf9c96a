//! The console against gateways that tell, that are asked, and that know no such question.

use std::time::Duration;

use gateway::env::Env;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::fake_gateway::{FakeGateway, TOKEN};
use super::stage::{self, PORT};
use crate::actors::console::{self, ConsoleSettings, Waited};

fn name(number: u32) -> Value {
    json!({ "generation": 1, "number": number })
}

fn outcome(number: u32, status: &str) -> Value {
    json!({ "request": name(number), "status": status, "message": "so it is" })
}

/// What a console learns that waits for the requests 1 and 2.
fn learns<F>(gateway: impl FnOnce(Env) -> F + 'static) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    stage::play(Duration::from_secs(30), gateway, |env, recorder| async move {
        let (tell, told) = mpsc::unbounded_channel();
        for request in [1, 2] {
            tell.send(Waited { request, name: name(request) }).expect("it listens");
        }
        let settings = ConsoleSettings { port: PORT, token: TOKEN.into() };
        console::run(env, recorder, settings, told).await;
    })
}

#[test]
fn it_listens_and_asks() {
    let told = learns(|env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let asked = client.asked("gateway.restart.status").await;
        client.grant(&asked, json!({ "outcomes": [outcome(7, "done")] })).await;
        client.event("restart", outcome(2, "deferred")).await;
        client.event("restart", outcome(2, "merged")).await;
        client.say_close(1012, "service restart").await;
        assert!(client.next().await.is_none());
        drop(client);
        // The next life knows the rest.
        let mut client = gateway.admit().await;
        let asked = client.asked("gateway.restart.status").await;
        client.grant(&asked, json!({ "outcomes": [outcome(1, "done"), outcome(2, "merged")] })).await;
        assert!(client.next().await.is_none(), "it has learned everything");
    });
    let endings: Vec<_> = told.iter().map(String::as_str).collect();
    assert_eq!(endings.len(), 2, "{endings:?}");
    assert!(
        endings[0].ends_with("request 2 merged") && endings[1].ends_with("request 1 done"),
        "{endings:?}"
    );
}

#[test]
fn a_gateway_that_knows_no_such_question_is_hardly_asked() {
    let told = learns(|env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let asked = client.asked("gateway.restart.status").await;
        client.refuse(&asked, "INVALID_REQUEST", false).await;
        assert!(client.next().await.is_none());
    });
    assert_eq!(told, [""; 0]);
}
