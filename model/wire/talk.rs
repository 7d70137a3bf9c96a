//! A WebSocket connection: challenge, handshake, requests and events, and how it ends.
//!
//! A request is read when the answer to the one before it has gone out, so a client that asks and asks and never reads
//! costs one answer; the rest waits on its own side of the wire. Events wait in the peer's outbox, which is bounded.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use super::allowance::{Allowance, Rationed};
use super::client::Client;
use super::connection::HANDSHAKE_TIMEOUT;
use super::outbox::{Outbox, Outgoing};
use super::peers::Membership;
use super::{LIBRARY_PATIENCE, TICK_INTERVAL_MS, close_code, frames, handshake, rpc};
use crate::env::Stream;
use crate::gateway::Gateway;
use crate::policy::PeerClose;

/// How much a client may send before it is authenticated (OpenClaw: 64 KiB).
pub(super) const MAX_PREAUTH_BYTES: usize = 64 * 1024;
/// How long a client that was sent away gets to read why. Closing at once on unread bytes is a reset, for which
/// many systems throw away what they have received and not yet read.
const PARTING_TIME: Duration = Duration::from_secs(1);
/// The room for a reason in a close frame.
const MAX_REASON_BYTES: usize = 123;

pub(super) type Socket = WebSocketStream<Rationed<Stream>>;

/// A WebSocket connection from challenge to end.
pub(super) async fn serve(
    gateway: &Rc<Gateway>,
    membership: &Membership,
    mut socket: Socket,
    allowance: &Allowance,
) {
    let mut outbox = membership.upgrade();
    let patience_lost = outbox.patience_lost();
    let talk = async {
        if let Some(farewell) = talk(gateway, membership, &mut socket, &mut outbox, allowance).await {
            part(gateway, &mut socket, farewell).await;
        }
    };
    tokio::select! {
        biased;
        () = talk => {}
        () = patience_lost => membership.reset(),
    }
}

/// Until one side ends it. Returns what is left to say to the client, if anything.
async fn talk(
    gateway: &Rc<Gateway>,
    membership: &Membership,
    socket: &mut Socket,
    outbox: &mut Outbox,
    allowance: &Allowance,
) -> Option<CloseFrame> {
    match timeout(HANDSHAKE_TIMEOUT, greet(gateway, membership, socket, outbox)).await {
        Ok(Ok(Greeting::Welcome(client))) => membership.welcome(client),
        Ok(Ok(Greeting::SentAway(farewell))) => return Some(farewell),
        Ok(Ok(Greeting::Left) | Err(_)) => return None,
        Err(_) => return after_silence(gateway),
    }
    allowance.lift();
    let tick_interval = Duration::from_millis(TICK_INTERVAL_MS);
    let mut ticks = interval_at(Instant::now() + tick_interval, tick_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // An error here means that the peer is gone; the peer's side of the story is its own.
    converse(gateway, membership, socket, outbox, &mut ticks).await.ok().flatten()
}

/// What is said to a client that never said who it is: nothing, or by OpenClaw a close frame without a reason.
fn after_silence(gateway: &Gateway) -> Option<CloseFrame> {
    match gateway.policies.peer_close {
        PeerClose::WaitForPeers | PeerClose::StepByStep => Some(close_frame(CloseCode::Normal.into(), "")),
        PeerClose::GraceThenReset | PeerClose::HttpForgotten | PeerClose::GraceUnbounded => None,
    }
}

/// How long a client that was sent away has to leave.
fn parting_time(gateway: &Gateway) -> Duration {
    match gateway.policies.peer_close {
        PeerClose::WaitForPeers | PeerClose::StepByStep => LIBRARY_PATIENCE,
        PeerClose::GraceThenReset | PeerClose::HttpForgotten | PeerClose::GraceUnbounded => PARTING_TIME,
    }
}

/// Says the last word, and waits a moment for the client to hear it.
async fn part(gateway: &Gateway, socket: &mut Socket, farewell: CloseFrame) {
    let parting = async {
        socket.close(Some(farewell)).await?;
        // Past the WebSocket protocol: after a broken frame it cannot be read any more.
        let stream = socket.get_mut();
        stream.allowance.lift();
        stream.shutdown().await?;
        while stream.read(&mut [0; 1024]).await? > 0 {}
        Ok::<_, WebSocketError>(())
    };
    // One that does not listen is none of our concern any longer.
    let _ = timeout(parting_time(gateway), parting).await;
}

/// How the handshake ended.
enum Greeting {
    /// It has shown who it is.
    Welcome(Client),
    /// This is said, and nothing else.
    SentAway(CloseFrame),
    /// The client left.
    Left,
}

async fn greet(
    gateway: &Rc<Gateway>,
    membership: &Membership,
    socket: &mut Socket,
    outbox: &mut Outbox,
) -> Result<Greeting, WebSocketError> {
    socket.send(Message::text(handshake::challenge(gateway))).await?;
    let text = loop {
        tokio::select! {
            biased;
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => break text,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Ok(Greeting::Left),
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                    return Ok(refuse("the first frame must be a connect request"));
                }
                Some(Err(error)) if is_their_fault(&error) => {
                    return Ok(refuse(&describe(&error)));
                }
                Some(Err(error)) => return Err(error),
            },
            outgoing = outbox.next() => match outgoing {
                // Events are for those who have shown who they are.
                Outgoing::Text(..) => {}
                Outgoing::Close { code, reason } => {
                    return Ok(Greeting::SentAway(close_frame(code, reason)));
                }
            },
        }
    };
    let (id, result) = match frames::parse_request(&text) {
        Ok(request) if request.method == "connect" => {
            (request.id, handshake::connect(gateway, membership.id, request.params))
        }
        Ok(request) => (request.id, Err(frames::RpcError::invalid("the first request must be connect"))),
        Err(bad) => (bad.id, Err(bad.error)),
    };
    let (greeting, result) = match result {
        Ok((hello, client)) => (Greeting::Welcome(client), Ok(hello)),
        Err(error) => (refuse(&error.message), Err(error)),
    };
    socket.send(Message::text(frames::response(&id, result))).await?;
    Ok(greeting)
}

fn refuse(reason: &str) -> Greeting {
    tracing::info!(name: "peer.refused", reason, "refused a client");
    Greeting::SentAway(close_frame(close_code::POLICY, reason))
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame { code: CloseCode::from(code), reason: frames::beginning(reason, MAX_REASON_BYTES).into() }
}

/// Until one side ends it. Returns the last word when the client is sent away.
async fn converse(
    gateway: &Rc<Gateway>,
    membership: &Membership,
    socket: &mut Socket,
    outbox: &mut Outbox,
    ticks: &mut Interval,
) -> Result<Option<CloseFrame>, WebSocketError> {
    loop {
        tokio::select! {
            biased;
            outgoing = outbox.next() => match outgoing {
                Outgoing::Text(text, weight) => {
                    socket.send(Message::Text(text)).await?;
                    drop(weight);
                }
                Outgoing::Close { code, reason } => {
                    socket.close(Some(close_frame(code, reason))).await?;
                    // Nothing follows a close frame but the peer's answer to it.
                    while socket.next().await.transpose()?.is_some() {}
                    return Ok(None);
                }
            },
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let answer = rpc::answer(gateway, membership, &text);
                    let weight = outbox.weigh(&answer);
                    socket.send(Message::text(answer)).await?;
                    drop(weight);
                }
                Some(Ok(Message::Binary(_))) => {
                    return Ok(Some(close_frame(close_code::POLICY, "frames are text")));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) if is_their_fault(&error) => {
                    tracing::warn!(name: "peer.broken-frame", %error, "closed a client");
                    let code = match error {
                        WebSocketError::Capacity(_) => CloseCode::Size,
                        _ => CloseCode::Protocol,
                    };
                    return Ok(Some(close_frame(code.into(), &describe(&error))));
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            },
            _ = ticks.tick() => {
                let tick = json!({"ts": gateway.env.wall_clock().epoch_ms()});
                socket.send(Message::text(frames::event("tick", tick))).await?;
            }
        }
    }
}

/// Whether the client sent what it may not, rather than that the connection broke.
fn is_their_fault(error: &WebSocketError) -> bool {
    match error {
        WebSocketError::Capacity(_) | WebSocketError::Utf8(_) => true,
        // A client that leaves without a word has the right to.
        WebSocketError::Protocol(error) => *error != ProtocolError::ResetWithoutClosingHandshake,
        WebSocketError::Io(error) => error.kind() == io::ErrorKind::QuotaExceeded,
        _ => false,
    }
}

fn describe(error: &WebSocketError) -> String {
    match error {
        WebSocketError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            format!("the frame has {size} bytes, at most {max_size} are allowed")
        }
        WebSocketError::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
            format!("at most {MAX_PREAUTH_BYTES} bytes are allowed before authentication")
        }
        other => other.to_string(),
    }
}
