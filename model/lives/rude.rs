//! Rude peers, one of each kind and all at once: whatever they do, the end of a life takes the time that its plan says.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tracing_test::traced_test;

use super::{Client, House, Model, PORT, run};
use crate::env::{ExitCode, Signal, Stream};
use crate::policy::{PeerClose, Policies, profile};

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const PROBE: &str = "GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n";

/// What a peer does that nobody should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rude {
    /// Sends nothing, ever.
    Bare,
    /// Keeps its connection after an answer.
    KeptAlive,
    /// Stops in the middle of a request.
    HalfRequest,
    /// Had an answer, and stops in the middle of its next request.
    HalfSecondRequest,
    /// Stops in the middle of asking for WebSocket.
    HalfUpgrade,
    /// Asks for WebSocket and never sends `connect`.
    NeverConnects,
    /// Is served and never answers the close frame.
    NeverCloses,
    /// Asks and asks and never reads.
    NeverReads,
    /// Sends a byte of a request every 100 ms.
    SlowDrip,
    /// Stops in the middle of a frame.
    HalfFrame,
}

const ALL: [Rude; 10] = [
    Rude::Bare,
    Rude::KeptAlive,
    Rude::HalfRequest,
    Rude::HalfSecondRequest,
    Rude::HalfUpgrade,
    Rude::NeverConnects,
    Rude::NeverCloses,
    Rude::NeverReads,
    Rude::SlowDrip,
    Rude::HalfFrame,
];

/// What is held for as long as the peer is there.
enum Held {
    Stream(Stream),
    Client { _client: Box<Client> },
    Task,
}

async fn say(stream: &mut Stream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("is taken");
}

async fn hear(stream: &mut Stream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\"live\"}") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
}

impl Rude {
    async fn comes(self, house: &House) -> Held {
        let mut stream = house.dial().await.expect("the port is open");
        match self {
            Self::Bare => {}
            Self::KeptAlive => {
                say(&mut stream, PROBE).await;
                hear(&mut stream).await;
            }
            Self::HalfRequest => say(&mut stream, &PROBE[..20]).await,
            Self::HalfSecondRequest => {
                say(&mut stream, PROBE).await;
                hear(&mut stream).await;
                say(&mut stream, &PROBE[..20]).await;
            }
            Self::HalfUpgrade => say(&mut stream, UPGRADE).await,
            Self::NeverConnects => say(&mut stream, &format!("{UPGRADE}\r\n")).await,
            Self::NeverCloses => return Held::Client { _client: Box::new(house.client().await) },
            Self::NeverReads => {
                let mut client = house.client().await;
                drop(house.outside.env.spawn("asks", async move {
                    loop {
                        let ask = json!({"type": "req", "id": "x", "method": "health", "params": {}});
                        client.say(tokio_tungstenite::tungstenite::Message::text(ask.to_string())).await;
                    }
                }));
                return Held::Task;
            }
            Self::SlowDrip => {
                drop(house.outside.env.spawn("drip", async move {
                    for byte in UPGRADE.bytes().cycle() {
                        if stream.write_u8(byte).await.is_err() {
                            break;
                        }
                        sleep(Duration::from_millis(100)).await;
                    }
                }));
                return Held::Task;
            }
            Self::HalfFrame => {
                let mut client = house.client().await;
                let stream = client.socket.get_mut();
                stream.write_all(&[0x81, 0xfe, 0xff, 0xff, 1, 2, 3, 4, 5]).await.expect("is taken");
                return Held::Client { _client: Box::new(client) };
            }
        }
        Held::Stream(stream)
    }
}

fn house(profile_name: &str) -> House {
    House::with_policies(profile(profile_name).expect("exists"))
}

/// How a life ends that has these peers: how long the port was bound, how long it took, the exit status.
async fn ended(house: &House, peers: &[Rude], signal: Signal) -> (Duration, Duration, ExitCode) {
    let life = house.live().await;
    let mut held = Vec::new();
    for peer in peers {
        held.push(peer.comes(house).await);
    }
    sleep(Duration::from_millis(100)).await;
    let asked = Instant::now();
    life.signal(signal);
    let freed = async {
        while house.world.listens(PORT) {
            sleep(Duration::from_millis(1)).await;
        }
        asked.elapsed()
    };
    let gone = async { (life.ended().await, asked.elapsed()) };
    let (freed, (code, took)) = tokio::join!(freed, gone);
    (freed, took, code)
}

#[traced_test]
#[test]
fn nobody_holds_up_a_hardened_end() {
    for (signal, expected) in [(Signal::Terminate, ExitCode::CLEAN), (Signal::User1, ExitCode::RESTART)] {
        for peer in ALL {
            run(async {
                let (freed, took, code) = ended(&house("hardened"), &[peer], signal).await;
                assert_eq!(code, expected, "{peer:?}");
                assert!(freed <= Duration::from_millis(1), "{peer:?} {freed:?}");
                assert!(took <= Duration::from_millis(1_300), "{peer:?} {took:?}");
                // No grace for whom it would not help.
                let at_once = matches!(peer, Rude::Bare | Rude::KeptAlive);
                assert_eq!(took < Duration::from_millis(10), at_once, "{peer:?} {took:?}");
            });
        }
    }
    logs_assert(|lines| match lines.iter().find(|line| line.contains("shutdown.forced")) {
        Some(line) => Err(line.to_string()),
        None => Ok(()),
    });
}

#[test]
fn hundreds_at_once_take_no_longer_than_one() {
    run(async {
        let house = house("hardened");
        let crowd: Vec<_> = ALL.into_iter().cycle().take(300).collect();
        let (freed, took, code) = ended(&house, &crowd, Signal::Terminate).await;
        assert_eq!(code, ExitCode::CLEAN);
        assert!(
            freed <= Duration::from_millis(1) && took <= Duration::from_millis(1_300),
            "{freed:?} {took:?}"
        );
    });
}

#[traced_test]
#[test]
fn the_end_fits_into_every_stop_timeout_and_is_never_forced_by_a_peer() {
    for stop_timeout_ms in [100, 200, 500, 1_000, 2_000, 5_000, 9_000, 10_000, 90_000] {
        run(async {
            let house = house("hardened");
            house.set_stop_timeout(stop_timeout_ms);
            let (_, took, code) = ended(&house, &ALL, Signal::Terminate).await;
            assert_eq!(code, ExitCode::CLEAN, "{stop_timeout_ms}");
            assert!(took < Duration::from_millis(stop_timeout_ms), "{took:?} of {stop_timeout_ms} ms");
        });
    }
    logs_assert(|lines| match lines.iter().find(|line| line.contains("shutdown.forced")) {
        Some(line) => Err(line.to_string()),
        None => Ok(()),
    });
}

#[test]
fn a_request_in_the_middle_has_its_grace() {
    for peer in [Rude::HalfRequest, Rude::HalfSecondRequest] {
        run(async {
            let house = house("hardened");
            let life = house.live().await;
            let Held::Stream(mut stream) = peer.comes(&house).await else { unreachable!() };
            sleep(Duration::from_millis(100)).await;
            let asked = Instant::now();
            life.signal(Signal::Terminate);
            sleep(Duration::from_millis(500)).await;
            say(&mut stream, &PROBE[20..]).await;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer and an end");
            assert!(answer.contains("200 OK") && answer.contains("connection: close"), "{answer}");
            assert_eq!(life.ended().await, ExitCode::CLEAN);
            assert_eq!(asked.elapsed().as_millis(), 500, "nobody waited for anything else");
        });
    }
}

/// The time in milliseconds in which a life of history ends that has this peer.
fn check(profile_name: &str, signal: Signal, peer: Rude, freed_ms: u128, took_ms: u128, code: ExitCode) {
    run(async {
        let (freed, took, ended) = ended(&house(profile_name), &[peer], signal).await;
        // The port is looked at every millisecond.
        let freed = freed.as_millis().saturating_sub(1);
        let found = (freed, took.as_millis(), ended);
        assert_eq!(found, (freed_ms, took_ms, code), "{profile_name} {signal} {peer:?}");
    });
}

#[test]
fn era_a_waited_for_its_peers_and_exited_cleanly_all_the_same() {
    const ERA_A: &str = "openclaw-2026.3.2";
    let (stop, restart, clean) = (Signal::Terminate, Signal::User1, ExitCode::CLEAN);
    // A client that answers nothing is destroyed after 30 s, and a stop has 5 s.
    for peer in [Rude::NeverCloses, Rude::NeverReads, Rude::HalfFrame] {
        check(ERA_A, restart, peer, 30_000, 30_000, clean);
        check(ERA_A, stop, peer, 5_000, 5_000, clean);
    }
    // One that never said who it is has its own 15 s, and 30 s from then: longer than there is.
    check(ERA_A, restart, Rude::NeverConnects, 35_000, 35_000, clean);
    check(ERA_A, stop, Rude::NeverConnects, 5_000, 5_000, clean);
    // HTTP connections hold up the process and not the port.
    for peer in [Rude::Bare, Rude::HalfRequest, Rude::HalfSecondRequest, Rude::HalfUpgrade, Rude::SlowDrip] {
        check(ERA_A, restart, peer, 0, 35_000, clean);
        check(ERA_A, stop, peer, 0, 5_000, clean);
    }
    check(ERA_A, restart, Rude::KeptAlive, 0, 0, clean);
    check(ERA_A, stop, Rude::KeptAlive, 0, 0, clean);
}

#[test]
fn era_b_limited_every_step() {
    const ERA_B: &str = "openclaw-2026.5.3-1";
    let clean = ExitCode::CLEAN;
    for signal in [Signal::Terminate, Signal::User1] {
        for peer in [Rude::NeverCloses, Rude::NeverReads, Rude::HalfFrame, Rude::NeverConnects] {
            check(ERA_B, signal, peer, 1_000, 1_000, clean);
        }
        for peer in
            [Rude::Bare, Rude::HalfRequest, Rude::HalfSecondRequest, Rude::HalfUpgrade, Rude::SlowDrip]
        {
            check(ERA_B, signal, peer, 0, 1_000, clean);
        }
        check(ERA_B, signal, Rude::KeptAlive, 0, 0, clean);
    }
}

#[test]
fn era_b_forced_an_exit_with_status_1() {
    run(async {
        let era_b = profile("openclaw-2026.5.3-1").expect("exists");
        let house = House::with_policies(Policies { peer_close: PeerClose::WaitForPeers, ..era_b });
        let (_, took, code) = ended(&house, &[Rude::HalfRequest], Signal::Terminate).await;
        assert_eq!((took.as_secs(), code), (25, ExitCode::FAILURE));
    });
}

#[test]
fn the_planted_defects_hang_where_they_say() {
    run(async {
        let house = house("planted:http-connections-forgotten");
        let (freed, took, code) = ended(&house, &[Rude::HalfRequest], Signal::Terminate).await;
        assert_eq!((freed.as_secs(), took.as_secs(), code), (5, 5, ExitCode::FORCED));
    });
    run(async {
        let house = house("planted:close-step-unbounded");
        let life = house.live().await;
        let _deaf = house.client().await;
        life.signal(Signal::Terminate);
        sleep(Duration::from_secs(900)).await;
        assert!(!house.world.listens(PORT));
        life.killed().await;
    });
}

#[test]
fn a_client_that_asks_and_never_reads_costs_one_answer() {
    run(async {
        let house = house("hardened");
        let life = house.live().await;
        Rude::NeverReads.comes(&house).await;
        sleep(Duration::from_secs(60)).await;
        let health = house.client().await.request("health", json!({})).await;
        assert_eq!(health["payload"]["peers"], 2, "{health}");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn a_slow_consumer_is_told_when_it_reads_again_in_time() {
    run(async {
        let house = house("hardened");
        // One answer has 100 KB, and its delta a fifth.
        house.set_max_buffered(200_000);
        house.live().await;
        let mut slow = house.client().await;
        house.model.set(Model::Says(long_answer()));
        slow.accepted("hello", "k1").await;
        sleep(Duration::from_secs(1)).await;
        let mut asks = house.client().await;
        asks.accepted("hello again", "k2").await;
        assert_eq!(asks.ending("k2").await.0, "final");
        // Its queue is dropped by now, and what it still gets is what the wire held.
        assert_eq!(slow.closed().await, Some((1008, "slow consumer".into())));
    });
}

/// An answer in five pieces.
fn long_answer() -> &'static str {
    let piece = json!({"choices": [{"delta": {"content": "x".repeat(20_000)}}]});
    format!("HTTP/1.1 200 OK\r\n\r\n{}data: [DONE]\n\n", format!("data: {piece}\n\n").repeat(5)).leak()
}
