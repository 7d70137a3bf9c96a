//! The provider as a client of its HTTP API sees it.

use std::time::Duration;

use bytes::Bytes;
use gateway::env::Env;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::stage::{self, ACTOR_HOST};
use crate::actors::provider::{self, Behaviour, DEFAULT_PORT, ProviderSettings};

/// Lets `client` talk to a provider with those settings; the provider's timeline.
fn provider<F>(settings: ProviderSettings, client: impl FnOnce(Env) -> F + 'static) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    stage::play(Duration::from_secs(100), client, move |env, recorder| provider::run(env, recorder, settings))
}

async fn connect(env: &Env) -> SendRequest<Full<Bytes>> {
    sleep(Duration::from_secs(1)).await;
    let stream = env.net().connect(ACTOR_HOST, DEFAULT_PORT).await.expect("the provider listens");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("no bytes needed");
    env.spawn("connection", connection);
    sender
}

fn question(text: &str) -> Request<Full<Bytes>> {
    let body = json!({ "model": "m", "stream": true, "messages": [{ "role": "user", "content": text }] });
    Request::post("/v1/chat/completions")
        .header("host", ACTOR_HOST)
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a valid request")
}

/// The deltas of a whole streamed answer.
async fn read(response: Response<hyper::body::Incoming>) -> Vec<String> {
    let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("UTF-8");
    let mut lines: Vec<_> = text.split("\n\n").filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.pop(), Some("data: [DONE]"));
    let delta = |line: &&str| {
        let chunk: Value =
            serde_json::from_str(line.strip_prefix("data: ").expect("an event")).expect("JSON");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
    };
    lines.iter().filter_map(delta).collect()
}

#[test]
fn an_answer_is_streamed_at_the_set_pace() {
    let settings = ProviderSettings {
        first_token: Duration::from_secs(2)..=Duration::from_secs(3),
        tokens: 5,
        token_interval: Duration::from_secs(1),
        ..ProviderSettings::default()
    };
    let told = provider(settings, |env| async move {
        let mut provider = connect(&env).await;
        let asked = Instant::now();
        let response = provider.send_request(question("hello [ann#1]")).await.expect("an answer");
        let first = asked.elapsed();
        let deltas = read(response).await;
        assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&first), "{first:?}");
        assert!((Duration::from_secs(6)..Duration::from_secs(8)).contains(&asked.elapsed()));
        assert_eq!((deltas.len(), deltas[0].as_str()), (5, "Re [ann#1]:"));
    });
    assert_eq!(told, ["provider.requested ann#1 request 1", "provider.answered ann#1 request 1 5 tokens"]);
}

#[test]
fn the_first_requests_fail_and_the_connection_stays_usable() {
    let settings = ProviderSettings { fail_first: 1, tokens: 1, ..ProviderSettings::default() };
    let told = provider(settings, |env| async move {
        let mut provider = connect(&env).await;
        let failed = provider.send_request(question("hello [ann#1]")).await.expect("an answer");
        assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
        failed.into_body().collect().await.expect("an error body");
        let second = provider.send_request(question("hello [ann#1]")).await.expect("an answer");
        assert_eq!(read(second).await, ["Re [ann#1]:"]);
    });
    assert_eq!(
        told,
        [
            "provider.requested ann#1 request 1",
            "provider.stopped ann#1 request 1 failed with 500",
            "provider.requested ann#1 request 2",
            "provider.answered ann#1 request 2 1 tokens",
        ]
    );
}

#[test]
fn a_client_that_goes_away_during_the_answer_is_noticed() {
    let settings = ProviderSettings { token_interval: Duration::from_secs(5), ..ProviderSettings::default() };
    let told = provider(settings, |env| async move {
        let mut provider = connect(&env).await;
        let response = provider.send_request(question("hello [ann#1]")).await.expect("an answer");
        drop((response, provider));
    });
    assert_eq!(
        told,
        ["provider.requested ann#1 request 1", "provider.stopped ann#1 request 1 client went away"]
    );
}

#[test]
fn a_provider_that_hangs_says_nothing() {
    let settings = ProviderSettings { behaviour: Behaviour::Hangs, ..ProviderSettings::default() };
    let told = provider(settings, |env| async move {
        let mut provider = connect(&env).await;
        let silence =
            timeout(Duration::from_secs(60), provider.send_request(question("hello [ann#1]"))).await;
        assert!(silence.is_err());
    });
    assert_eq!(
        told,
        ["provider.requested ann#1 request 1", "provider.stopped ann#1 request 1 client went away"]
    );
}

#[test]
fn a_question_without_a_mark_is_answered_and_noted() {
    let told = provider(ProviderSettings::default(), |env| async move {
        let mut provider = connect(&env).await;
        let response = provider.send_request(question("hello")).await.expect("an answer");
        assert_eq!(read(response).await.len(), 20);
    });
    assert_eq!(told, ["run.remarked provider got a request without a marked message"]);
}

#[test]
fn a_message_that_says_so_makes_the_model_ask_for_subagents_and_answer_then() {
    let client = |env: Env| async move {
        let mut provider = connect(&env).await;
        let asked = "go [spawn 1 2000ms] [ann#1]";
        let response = provider.send_request(question(asked)).await.expect("an answer");
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("sessions_spawn"));
        let call = json!({ "role": "assistant", "content": "", "tool_calls": [{ "id": "spawn-ann#1/1" }] });
        let user = json!({ "role": "user", "content": asked });
        let prompt = |messages: Value| {
            let body = json!({ "model": "m", "stream": true, "messages": messages }).to_string();
            Request::post("/v1/chat/completions").body(Full::new(Bytes::from(body))).expect("valid")
        };
        let cut = provider.send_request(prompt(json!([user, call]))).await.expect("an answer");
        assert_eq!(cut.status(), StatusCode::BAD_REQUEST);
        cut.into_body().collect().await.expect("a whole answer");
        let done = json!({ "role": "tool", "tool_call_id": "spawn-ann#1/1",
            "content": "{\"status\":\"accepted\"}" });
        let answer = provider.send_request(prompt(json!([user, call, done]))).await.expect("an answer");
        assert!(read(answer).await.concat().starts_with("Re [ann#1]:"));
        let task = question("a part of it [ann#1/1] [takes 2000ms]");
        let (began, answer) = (Instant::now(), provider.send_request(task).await.expect("an answer"));
        assert!(began.elapsed() >= Duration::from_secs(2));
        assert!(read(answer).await.concat().starts_with("Re [ann#1/1]:"));
    };
    let facts = provider(ProviderSettings::default(), client);
    for name in ["subagent.wanted", "provider.wanted-tools", "subagent.begun", "subagent.requested"] {
        assert!(facts.iter().any(|fact| fact.contains(name)), "{name} in {facts:#?}");
    }
}
