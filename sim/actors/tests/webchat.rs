//! Webchat senders of every kind.

use std::time::Duration;

use gateway::env::Env;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::fake_gateway::{FakeGateway, TOKEN};
use super::stage::{self, PORT};
use crate::actors::webchat::{self, SenderCommand, SenderKind, WebchatSettings};

/// Lets ann of that kind send `texts` and then nothing more, against a scripted gateway; her timeline.
fn ann<F>(kind: SenderKind, texts: &'static [&str], gateway: impl FnOnce(Env) -> F + 'static) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    let commands = texts.iter().map(|text| SenderCommand::Send { text: (*text).into() });
    ann_told(kind, commands.map(|command| (0, command)).collect(), gateway)
}

/// As [`ann`], with commands and the pause in seconds before each.
fn ann_told<F>(
    kind: SenderKind,
    commands: Vec<(u64, SenderCommand)>,
    gateway: impl FnOnce(Env) -> F + 'static,
) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    stage::play(Duration::from_secs(300), gateway, move |env, recorder| async move {
        let settings = WebchatSettings {
            name: "ann".into(),
            conversation_of: "ann".into(),
            is_shared: false,
            kind,
            port: PORT,
            token: TOKEN.into(),
        };
        let (give, take) = mpsc::unbounded_channel();
        env.clone().spawn("script", async move {
            for (pause, command) in commands {
                sleep(Duration::from_secs(pause)).await;
                give.send(command).expect("ann listens");
            }
        });
        webchat::run(env, recorder, settings, take).await;
    })
}

fn history(entries: &[(&str, &str)]) -> Value {
    let entry =
        |(role, text): &(&str, &str)| json!({ "role": role, "content": [{ "type": "text", "text": text }] });
    json!({ "messages": entries.iter().map(entry).collect::<Vec<_>>() })
}

/// Keeps the process busy so that its sockets stay open.
async fn stay<T>(_kept: T) {
    std::future::pending().await
}

#[test]
fn a_message_gets_its_reply() {
    let told = ann(SenderKind::Patient, &["hello"], |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        client.babble("not a frame").await;
        let asked = client.asked("chat.send").await;
        assert_eq!(asked.params["sessionKey"], "agent:main:webchat:direct:ann");
        client.answer(&asked).await;
        loop {
            sleep(Duration::from_secs(30)).await;
            client.event("tick", json!({ "ts": 1 })).await;
        }
    });
    assert_eq!(
        told,
        [
            "sender.connected",
            "message.sent ann#1 (1) hello [ann#1]",
            "message.accepted ann#1",
            "reply.received ann#1 Live Re hello [ann#1]",
        ]
    );
}

#[test]
fn a_refusal_is_known_at_once_and_retried_by_the_retrying() {
    async fn refuse_once(env: Env) {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let first = client.asked("chat.send").await;
        client.refuse(&first, "UNAVAILABLE", true).await;
        if let Some(second) = client.next().await
            && second.method == "chat.send"
        {
            assert_eq!(second.run_id(), first.run_id());
            client.answer(&second).await;
        }
        stay((gateway, client)).await;
    }
    let refused = "message.refused ann#1 UNAVAILABLE: not now";
    let patient = ann(SenderKind::Patient, &["hello"], refuse_once);
    assert_eq!(patient[..3], ["sender.connected", "message.sent ann#1 (1) hello [ann#1]", refused]);
    let retrying = ann(SenderKind::Retrying, &["hello"], refuse_once);
    assert_eq!(retrying[2], refused);
    assert_eq!(retrying[3], "message.sent ann#1 (2) hello [ann#1]");
    assert_eq!(retrying[5], "reply.received ann#1 Live Re hello [ann#1]");
}

#[test]
fn a_reset_before_the_ack_leaves_doubt_and_the_history_tells() {
    let told = ann(SenderKind::Patient, &["hello"], |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        client.asked("chat.send").await;
        client.reset();
        let mut client = gateway.admit().await;
        let asked = client.asked("chat.history").await;
        let found =
            history(&[("user", "hello [ann#1]"), ("assistant", "Re [ann#1]"), ("notice", "restarted")]);
        client.grant(&asked, found).await;
        stay((gateway, client)).await;
    });
    assert_eq!(told[2..4], ["sender.disconnected connection reset", "message.unacknowledged ann#1"]);
    assert_eq!(
        told[4..7],
        [
            "sender.connected",
            "reply.received ann#1 History Re [ann#1]",
            "notice.received - History restarted",
        ]
    );
}

#[test]
fn a_message_is_held_until_there_is_a_gateway() {
    let told = ann(SenderKind::Patient, &["hello"], |env| async move {
        sleep(Duration::from_secs(5)).await;
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let asked = client.asked("chat.send").await;
        client.answer(&asked).await;
        stay((gateway, client)).await;
    });
    assert_eq!(told[0], "sender.connect-failed connection refused");
    let connected = told.iter().position(|line| line == "sender.connected").expect("connected at last");
    assert!(told[..connected].iter().all(|line| line.starts_with("sender.connect-failed")), "{told:#?}");
    assert_eq!(told[connected + 1], "message.sent ann#1 (1) hello [ann#1]");
}

#[test]
fn a_tab_that_never_closes_keeps_its_connection_and_learns_in_another() {
    let told = ann(SenderKind::NeverCloses, &["hello"], |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut rude = gateway.admit().await;
        let asked = rude.asked("chat.send").await;
        rude.grant(&asked, json!({ "status": "started" })).await;
        rude.say_close(1012, "service restart").await;
        let mut polite = gateway.admit().await;
        let asked = polite.asked("chat.history").await;
        polite.grant(&asked, history(&[("assistant", "Re [ann#1]")])).await;
        let silence = tokio::time::timeout(Duration::from_secs(20), rude.next()).await;
        assert!(silence.is_err(), "the first tab answered or closed");
        polite.say_close(1012, "service restart").await;
        let closed = tokio::time::timeout(Duration::from_secs(5), polite.next()).await;
        assert!(closed.expect("the second tab answers the close").is_none());
        let third = gateway.admit().await;
        stay((gateway, rude, third)).await;
    });
    assert_eq!(
        told[3..8],
        [
            "sender.disconnected closed 1012 service restart",
            "sender.connected",
            "reply.received ann#1 History Re [ann#1]",
            "sender.disconnected closed 1012 service restart",
            "sender.connected",
        ]
    );
}

#[test]
fn a_failed_run_is_a_notice() {
    let told = ann(SenderKind::Patient, &["hello"], |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let asked = client.asked("chat.send").await;
        client.grant(&asked, json!({ "status": "started" })).await;
        client.event("shutdown", json!({ "reason": "gateway restarting", "restartExpectedMs": 1500 })).await;
        client
            .event("chat", json!({ "runId": asked.run_id(), "state": "error", "errorMessage": "sorry" }))
            .await;
        stay((gateway, client)).await;
    });
    assert_eq!(told[2..4], ["message.accepted ann#1", "notice.received ann#1 Live sorry"]);
}

#[test]
fn a_sender_stops_its_message() {
    let commands = vec![(0, SenderCommand::Send { text: "hello".into() }), (2, SenderCommand::Abort)];
    let told = ann_told(SenderKind::Patient, commands, |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let sent = client.asked("chat.send").await;
        client.grant(&sent, json!({ "status": "started" })).await;
        let abort = client.asked("chat.abort").await;
        client.grant(&abort, json!({ "ok": true, "aborted": true, "runIds": [sent.run_id()] })).await;
        client.event("chat", json!({ "runId": sent.run_id(), "state": "aborted" })).await;
        stay((gateway, client)).await;
    });
    let expected = ["message.accepted ann#1", "message.stop-requested ann#1", "message.cancelled ann#1"];
    assert_eq!(told[2..5], expected);
    assert!(!told[5].starts_with("notice"), "{told:#?}");
}

#[test]
fn a_silent_gateway_is_left_after_65_seconds() {
    let told = ann(SenderKind::Patient, &[], |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let first = gateway.admit().await;
        let mut second = gateway.admit().await;
        // The first connection of the sender needs no history, the second one does.
        second.asked("chat.history").await;
        stay((gateway, first, second)).await;
    });
    let expected = [
        "sender.connected",
        "sender.disconnected no tick for 65 s",
        "sender.connected",
        "sender.disconnected no response within 30 s",
    ];
    assert_eq!(told[..4], expected);
}

#[test]
fn who_never_reads_goes_on_sending_until_a_write_fails() {
    let send = |text: &str| SenderCommand::Send { text: text.into() };
    let commands = vec![(0, send("one")), (100, send("two")), (1, send("three")), (1, send("four"))];
    let told = ann_told(SenderKind::NeverReads, commands, |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let asked = client.asked("chat.send").await;
        client.answer(&asked).await;
        sleep(Duration::from_secs(90)).await;
        client.reset();
        let mut client = gateway.admit().await;
        assert_ne!(client.asked("chat.send").await.params["message"], "one [ann#1]");
        stay((gateway, client)).await;
    });
    assert_eq!(
        told[..4],
        [
            "sender.connected",
            "sender.stopped-listening",
            "message.sent ann#1 (1) one [ann#1]",
            "message.unacknowledged ann#1",
        ]
    );
    assert!(told.iter().all(|line| !line.starts_with("reply") && !line.contains("accepted")));
    assert_eq!(told.iter().filter(|line| *line == "sender.connected").count(), 2, "{told:#?}");
    assert_eq!(told.last().map(String::as_str), Some("message.unacknowledged ann#4"));
}

#[test]
fn who_leaves_is_gone_after_the_ack() {
    let told = ann(SenderKind::Leaves, &["hello"], |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let asked = client.asked("chat.send").await;
        client.grant(&asked, json!({ "status": "started" })).await;
        assert!(client.next().await.is_none(), "a polite close");
        gateway.upgrade().await;
        unreachable!("ann came back");
    });
    assert_eq!(told[2..], ["message.accepted ann#1", "sender.disconnected left for good"]);
}

#[test]
fn a_wrong_token_is_a_failed_connect() {
    let told = ann(SenderKind::Patient, &[], |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.upgrade().await;
        client.event("connect.challenge", json!({ "nonce": "n" })).await;
        let connect = client.asked("connect").await;
        client.refuse(&connect, "FORBIDDEN", false).await;
        client.say_close(1008, "unauthorized").await;
        stay((gateway, client)).await;
    });
    assert_eq!(told[0], "sender.connect-failed refused: FORBIDDEN: not now");
}
