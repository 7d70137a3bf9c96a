//! Rude peers of every kind against gateways that watch what they do, and groups of them as the script leads them.

use std::time::Duration;

use gateway::env::{Env, Stream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::fake_gateway::{Client, FakeGateway, TOKEN};
use super::stage::{self, PORT};
use crate::actors::rude::{self, PeerKind, PeersCommand, PeersSettings, WitnessSettings};
use crate::timeline::EventHash;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn one(kind: PeerKind) -> PeersSettings {
    PeersSettings {
        name: "tabs".into(),
        kind,
        count: 1,
        arrive: seconds(1)..=seconds(1),
        returns: None,
        joins: None,
        port: PORT,
        token: TOKEN.into(),
    }
}

/// Plays a group for five minutes, with commands and the pause in seconds before each.
fn play_hashed<F>(
    settings: PeersSettings,
    commands: &'static [(u64, PeersCommand)],
    gateway: impl FnOnce(Env) -> F + 'static,
) -> (Vec<String>, EventHash)
where
    F: Future<Output = ()> + 'static,
{
    stage::play_hashed(seconds(300), gateway, move |env, recorder| async move {
        let (tell, told) = mpsc::unbounded_channel();
        drop(env.spawn("script", async move {
            for (pause, command) in commands {
                sleep(seconds(*pause)).await;
                tell.send(*command).expect("the group listens");
            }
            std::future::pending::<()>().await;
        }));
        rude::run(env, recorder, settings, told).await;
    })
}

fn play<F>(
    settings: PeersSettings,
    commands: &'static [(u64, PeersCommand)],
    gateway: impl FnOnce(Env) -> F + 'static,
) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    play_hashed(settings, commands, gateway).0
}

const ARRIVE: &[(u64, PeersCommand)] = &[(0, PeersCommand::Arrive)];

/// One peer of that kind, which arrives after a second, against `gateway`.
fn alone<F>(kind: PeerKind, gateway: impl FnOnce(Env) -> F + 'static) -> Vec<String>
where
    F: Future<Output = ()> + 'static,
{
    play(one(kind), ARRIVE, gateway)
}

/// Everything that comes within `length`, and whether the other side has closed then.
async fn heard_within(length: Duration, stream: &mut Stream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let deadline = Instant::now() + length;
    loop {
        match tokio::time::timeout_at(deadline, stream.read_buf(&mut bytes)).await {
            Ok(Ok(0)) => return (bytes, true),
            Ok(read) => drop(read.expect("not reset")),
            Err(_) => return (bytes, false),
        }
    }
}

/// What a peer of that kind sends without being answered, in ten seconds; after that, the gateway resets it.
fn sends_by_itself(kind: PeerKind, check: impl FnOnce(&str) + 'static) -> Vec<String> {
    alone(kind, |env| async move {
        let mut listener = env.net().listen(PORT).await.expect("the port is free");
        let mut stream = listener.accept().await.expect("a peer");
        let (bytes, closed) = heard_within(seconds(10), &mut stream).await;
        assert!(!closed, "it stays");
        check(&String::from_utf8_lossy(&bytes));
        stream.abort_handle().abort();
    })
}

#[test]
fn a_bare_connection_says_nothing() {
    let told = sends_by_itself(PeerKind::Bare, |sent| assert_eq!(sent, ""));
    assert_eq!(
        told,
        ["peer.connected 1 with a bare connection", "peer.ended 1 with a bare connection: reset"]
    );
}

#[test]
fn half_an_upgrade_is_no_whole_request() {
    let told = sends_by_itself(PeerKind::HalfUpgrade, |sent| {
        assert!(sent.contains("Upgrade: websocket") && !sent.contains("\r\n\r\n"), "{sent}");
    });
    assert_eq!(told.last().expect("an end"), "peer.ended 1 with half an upgrade: reset");
}

#[test]
fn a_slow_request_comes_byte_by_byte_and_does_not_end() {
    let told = sends_by_itself(PeerKind::DripsRequest, |sent| {
        assert!((9..=11).contains(&sent.len()) && "GET / HTTP/1.1".starts_with(sent), "{sent}");
    });
    assert_eq!(told.last().expect("an end"), "peer.ended 1 with a slow request: reset");
}

#[test]
fn a_tls_handshake_is_no_http() {
    let told = sends_by_itself(PeerKind::SpeaksTls, |sent| assert!(sent.starts_with("\u{16}\u{3}\u{1}")));
    assert_eq!(told.last().expect("an end"), "peer.ended 1 with a TLS handshake: reset");
}

/// Answers one request with `status` and hears what follows in ten seconds, then hangs up.
async fn answers_once(env: Env, status: &'static str, follows: &'static str) {
    let mut listener = env.net().listen(PORT).await.expect("the port is free");
    let mut stream = listener.accept().await.expect("a peer");
    let mut request = vec![0; 1024];
    let length = stream.read(&mut request).await.expect("a request");
    assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\n"));
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.expect("the peer reads");
    sleep(seconds(1)).await;
    stream.write_all(b"ok").await.expect("the peer waits for the rest");
    let (bytes, closed) = heard_within(seconds(10), &mut stream).await;
    assert_eq!((String::from_utf8_lossy(&bytes).as_ref(), closed), (follows, status != "200 OK"));
}

#[test]
fn a_connection_is_kept_after_an_answer_with_or_without_half_a_request() {
    let told = alone(PeerKind::KeepAlive, |env| answers_once(env, "200 OK", ""));
    assert_eq!(told, ["peer.connected 1 with an answer", "peer.ended 1 with an answer: hung up on"]);
    let half = |env| answers_once(env, "200 OK", "GET /readyz HTTP/1.1\r\nHo");
    assert_eq!(
        alone(PeerKind::KeepAliveHalf, half).last().expect("an end"),
        "peer.ended 1 with half a second request: hung up on"
    );
    let told = alone(PeerKind::KeepAlive, |env| answers_once(env, "503 Service Unavailable", ""));
    assert_eq!(told, ["peer.turned-away 1 answered with HTTP 503"]);
}

#[test]
fn who_never_connects_leaves_the_challenge_unanswered() {
    let told = alone(PeerKind::NeverConnects, |env| async move {
        let mut client = FakeGateway::open(&env).await.upgrade().await;
        client.event("connect.challenge", json!({ "nonce": "n" })).await;
        assert!(timeout(seconds(30), client.next()).await.is_err(), "it says nothing and stays");
    });
    assert_eq!(told, ["peer.connected 1 upgraded", "peer.ended 1 upgraded: hung up on"]);
}

#[test]
fn who_never_answers_a_close_frame_stays_until_it_is_reset() {
    let told = alone(PeerKind::NeverAnswersClose, |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        client.event("tick", json!({})).await;
        client.say_close(1012, "service restart").await;
        assert!(timeout(seconds(30), client.next()).await.is_err(), "no answer, and no end either");
        client.reset();
        std::future::pending().await
    });
    let end = "peer.ended 1 authenticated: closed 1012 service restart, then reset";
    assert_eq!(told, ["peer.connected 1 authenticated", end]);
}

#[test]
fn it_keeps_its_side_open_even_when_the_gateway_has_closed_its_own() {
    let told = alone(PeerKind::NeverAnswersClose, |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut stream = gateway.admit().await.into_stream();
        stream.shutdown().await.expect("is open");
        let (bytes, closed) = heard_within(seconds(60), &mut stream).await;
        assert_eq!((bytes.len(), closed), (0, false));
    });
    assert_eq!(told[1], "peer.ended 1 authenticated: hung up on");
}

#[test]
fn who_never_reads_lets_the_windows_fill_and_notices_a_reset_all_the_same() {
    let told = alone(PeerKind::NeverReads, |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut stream = gateway.admit().await.into_stream();
        let mut written = 0;
        while let Ok(more) = timeout(seconds(30), stream.write(&[b'x'; 4096])).await {
            written += more.expect("not reset");
        }
        assert!((100_000..200_000).contains(&written), "{written}");
        stream.abort_handle().abort();
        std::future::pending().await
    });
    assert_eq!(told, ["peer.connected 1 reading nothing", "peer.ended 1 reading nothing: reset"]);
}

#[test]
fn who_joins_asks_for_the_conversation_of_its_sender() {
    let settings = PeersSettings { joins: Some("ann".into()), ..one(PeerKind::NeverReads) };
    play(settings, ARRIVE, |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let asked = client.asked("chat.history").await;
        assert_eq!(asked.params["sessionKey"], "agent:main:webchat:direct:ann");
        assert!(timeout(seconds(30), client.next()).await.is_err(), "and nothing more");
    });
}

#[test]
fn half_a_frame_is_no_frame() {
    let told = alone(PeerKind::DripsFrame, |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut stream = gateway.admit().await.into_stream();
        let (bytes, closed) = heard_within(seconds(60), &mut stream).await;
        assert_eq!((&bytes[..2], bytes.len() < 126 + 8, closed), (&b"\x81\xfe"[..], true, false));
    });
    assert_eq!(told, ["peer.connected 1 with a slow frame", "peer.ended 1 with a slow frame: hung up on"]);
}

#[test]
fn who_half_closes_still_listens() {
    let told = alone(PeerKind::HalfCloses, |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut stream = gateway.admit().await.into_stream();
        assert_eq!(heard_within(seconds(60), &mut stream).await, (Vec::new(), true));
        for _ in 0..100 {
            stream.write_all(&[b'x'; 4096]).await.expect("it reads");
        }
    });
    assert_eq!(told, ["peer.connected 1 half closed", "peer.ended 1 half closed: hung up on"]);
}

#[test]
fn requests_without_end_fill_the_windows_of_a_gateway_that_reads_none() {
    let told = alone(PeerKind::Pipelines, |env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let asked = client.asked("health").await;
        client.grant(&asked, json!({})).await;
        sleep(seconds(60)).await;
        let mut sent = 0;
        let mut stream = client.into_stream();
        while let Ok(Ok(more)) = timeout(seconds(1), stream.read(&mut [0; 65_536])).await {
            sent += more;
            if sent > 400_000 {
                break;
            }
        }
        assert!(sent > 400_000, "it goes on when there is room again: {sent}");
        stream.abort_handle().abort();
        std::future::pending().await
    });
    assert_eq!(told, ["peer.connected 1 reading no answers", "peer.ended 1 reading no answers: reset"]);
}

/// Shakes hands with whoever comes and reads on.
async fn talks_to_everybody(env: Env) {
    let mut listener = env.net().listen(PORT).await.expect("the port is free");
    while let Ok(stream) = listener.accept().await {
        drop(env.spawn("connection", async move {
            let config = WebSocketConfig::default().read_buffer_size(1024);
            let Ok(socket) = accept_async_with_config(stream, Some(config)).await else { return };
            let mut client = Client::over(socket);
            client.event("connect.challenge", json!({ "nonce": "n" })).await;
            let Some(asked) = client.next().await else { return };
            client.grant(&asked, json!({})).await;
            while client.next().await.is_some() {}
        }));
    }
}

#[test]
fn resets_come_in_the_middle_of_three_things() {
    let told = play(PeersSettings { count: 20, ..one(PeerKind::Resets) }, ARRIVE, talks_to_everybody);
    for place in ["with half an upgrade", "with half a frame", "with half an answer"] {
        let ended = told.iter().filter(|line| line.ends_with(&format!("{place}: reset by itself"))).count();
        assert!(ended > 1, "{place}: {told:#?}");
    }
    assert_eq!(told.len(), 40);
}

/// Accepts whoever comes and holds on to them.
async fn lets_everybody_in(env: Env) {
    let mut listener = env.net().listen(PORT).await.expect("the port is free");
    let mut streams = Vec::new();
    while let Ok(stream) = listener.accept().await {
        streams.push(stream);
    }
}

fn count(told: &[String], event: &str) -> usize {
    told.iter().filter(|line| line.starts_with(event)).count()
}

#[test]
fn a_group_arrives_when_it_is_let_in_and_once_more_when_it_is_let_in_again() {
    let group = PeersSettings { count: 50, arrive: Duration::ZERO..=seconds(1), ..one(PeerKind::Bare) };
    assert_eq!(play(group.clone(), &[], lets_everybody_in), [""; 0]);
    let told = play(group.clone(), ARRIVE, lets_everybody_in);
    assert_eq!((told.len(), count(&told, "peer.connected 50 ")), (50, 1));
    let twice = &[(0, PeersCommand::Arrive), (10, PeersCommand::Arrive)];
    let told = play(group, twice, lets_everybody_in);
    assert_eq!((told.len(), count(&told, "peer.connected 100 ")), (100, 1));
}

#[test]
fn a_group_leaves_for_good_and_is_reset_for_a_while() {
    let group = PeersSettings { count: 3, returns: Some(seconds(2)..=seconds(2)), ..one(PeerKind::Bare) };
    let reset = &[(0, PeersCommand::Arrive), (10, PeersCommand::Reset)];
    let told = play(group.clone(), reset, lets_everybody_in);
    assert_eq!(count(&told, "peer.connected"), 6);
    assert!(told[3..6].iter().all(|line| line.ends_with(": reset by itself")), "{told:#?}");
    let leave = &[(0, PeersCommand::Arrive), (10, PeersCommand::Leave)];
    let told = play(group.clone(), leave, lets_everybody_in);
    assert_eq!(count(&told, "peer.connected"), 3);
    assert!(told[3..].iter().all(|line| line.ends_with(": left")), "{told:#?}");
    let back = &[(0, PeersCommand::Arrive), (10, PeersCommand::Leave), (0, PeersCommand::Arrive)];
    assert_eq!(count(&play(group, back, lets_everybody_in), "peer.connected"), 6, "others may come");
}

#[test]
fn who_comes_back_keeps_calling_a_gateway_that_is_not_there_but_not_for_ever() {
    let settings = PeersSettings { returns: Some(Duration::ZERO..=Duration::ZERO), ..one(PeerKind::Bare) };
    let told = play(settings.clone(), ARRIVE, |_| async { sleep(seconds(300)).await });
    assert_eq!(count(&told, "peer.turned-away 1 connection refused"), 100, "{told:#?}");
    assert_eq!(told.len(), 100);
    let late = play(settings, ARRIVE, |env| async move {
        sleep(seconds(30)).await;
        lets_everybody_in(env).await;
    });
    assert_eq!(late.last().expect("it gets in"), "peer.connected 1 with a bare connection");
    assert!((25..50).contains(&late.len()), "{late:#?}");
}

#[test]
fn a_gateway_that_does_not_answer_is_given_up() {
    let told = alone(PeerKind::NeverReads, lets_everybody_in);
    assert_eq!(told, ["peer.turned-away 1 no answer within 30 s"]);
}

#[test]
fn who_does_not_come_back_calls_once() {
    let told = alone(PeerKind::Bare, |_| async { sleep(seconds(300)).await });
    assert_eq!(told, ["peer.turned-away 1 connection refused"]);
}

#[test]
fn whoever_is_always_cut_off_comes_back_twenty_times() {
    let settings = PeersSettings { returns: Some(Duration::ZERO..=Duration::ZERO), ..one(PeerKind::Bare) };
    let told = play(settings, ARRIVE, |env| async move {
        let mut listener = env.net().listen(PORT).await.expect("the port is free");
        while let Ok(stream) = listener.accept().await {
            drop(stream);
        }
    });
    assert_eq!((count(&told, "peer.connected"), count(&told, "peer.ended")), (21, 21));
}

#[test]
fn the_witness_counts_what_it_is_sent_in_steps() {
    let gateway = |env: Env| async move {
        let mut gateway = FakeGateway::open(&env).await;
        let mut client = gateway.admit().await;
        let asked = client.asked("chat.history").await;
        assert_eq!(asked.params["sessionKey"], "agent:main:webchat:direct:ann");
        for _ in 0..130 {
            client.babble(&"x".repeat(1024)).await;
        }
    };
    let told = stage::play(seconds(60), gateway, |env, recorder| {
        rude::watch(env, recorder, WitnessSettings { sender: "ann".into(), port: PORT, token: TOKEN.into() })
    });
    assert_eq!(told, ["conversation.heard ann 1", "conversation.heard ann 2"]);
}

#[test]
fn the_same_seed_is_the_same_crowd() {
    let run = || {
        let settings = PeersSettings {
            count: 30,
            arrive: Duration::ZERO..=seconds(2),
            returns: Some(Duration::ZERO..=seconds(1)),
            ..one(PeerKind::Resets)
        };
        play_hashed(settings, &[(0, PeersCommand::Arrive), (2, PeersCommand::Reset)], talks_to_everybody)
    };
    let (told, hash) = run();
    assert!(told.len() > 100, "{}", told.len());
    let (again, hash_again) = run();
    let differs = told.iter().zip(&again).find(|(one, other)| one != other);
    assert_eq!((differs, hash), (None, hash_again));
}
