//! One connection: HTTP first, WebSocket when the client asks for it, registered with the peers all the while.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use super::allowance::{Allowance, Rationed};
use super::peers::{Membership, Outbox, Outgoing};
use super::{MAX_PAYLOAD_BYTES, TICK_INTERVAL_MS, close_code, frames, handshake, http, rpc};
use crate::env::{Listener, Stream};
use crate::gateway::Gateway;

/// How long a client may take for its HTTP header, and again for its `connect` (OpenClaw: 15 s).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest HTTP header.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// How much a client may send before it is authenticated (OpenClaw: 64 KiB).
const MAX_PREAUTH_BYTES: usize = 64 * 1024;
/// tungstenite zero-fills its read buffer at each read; its default of 128 KiB costs more than all else. Most
/// frames fit.
const READ_BUFFER_BYTES: usize = 1024;
/// How long a client that was sent away gets to read why. Closing at once on unread bytes is a reset, for which
/// many systems throw away what they have received and not yet read.
const PARTING_TIME: Duration = Duration::from_secs(1);
/// The room for a reason in a close frame.
const MAX_REASON_BYTES: usize = 123;

type Socket = WebSocketStream<Rationed<Stream>>;

/// Accepts connections for as long as the task lives.
pub(crate) async fn serve(gateway: Rc<Gateway>, mut listener: Box<dyn Listener>) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let membership = gateway.peers.join(stream.abort_handle());
                let task = serve_connection(gateway.clone(), membership, stream);
                drop(gateway.env.spawn("connection", task));
            }
            Err(error) => {
                tracing::warn!(name: "port.accept-failed", %error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(gateway: Rc<Gateway>, membership: Membership, stream: Stream) {
    let upgraded = Rc::new(Cell::new(false));
    let service = service_fn(|request| {
        let response = http::answer(&gateway, &request, &upgraded);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut connection = http1::Builder::new()
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // Not the plain future: it would shut the stream down after the 101 response.
    let outcome = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    if !upgraded.get() {
        return;
    }
    if let Err(error) = outcome {
        tracing::debug!(name: "peer.upgrade-failed", %error, "the connection broke during the upgrade");
        return;
    }
    let parts = connection.into_parts();
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MAX_PAYLOAD_BYTES))
        .max_frame_size(Some(MAX_PAYLOAD_BYTES));
    let allowance = Allowance::of(MAX_PREAUTH_BYTES);
    let stream = Rationed { stream: parts.io.into_inner(), allowance: allowance.clone() };
    let read_ahead = parts.read_buf.to_vec();
    let mut socket =
        WebSocketStream::from_partially_read(stream, read_ahead, Role::Server, Some(config)).await;
    if let Some(farewell) = talk(&gateway, &membership, &mut socket, &allowance).await {
        part(&mut socket, farewell).await;
    }
}

/// A WebSocket connection from challenge to close. Returns what is left to say to the client, if anything.
async fn talk(
    gateway: &Rc<Gateway>,
    membership: &Membership,
    socket: &mut Socket,
    allowance: &Allowance,
) -> Option<CloseFrame> {
    let mut outbox = membership.upgrade();
    match timeout(HANDSHAKE_TIMEOUT, greet(gateway, membership, socket, &mut outbox)).await {
        Ok(Ok(Greeting::Welcome)) => {}
        Ok(Ok(Greeting::SentAway(farewell))) => return Some(farewell),
        Ok(Ok(Greeting::Left) | Err(_)) | Err(_) => return None,
    }
    allowance.lift();
    let tick_interval = Duration::from_millis(TICK_INTERVAL_MS);
    let mut ticks = interval_at(Instant::now() + tick_interval, tick_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // An error here means that the peer is gone; the peer's side of the story is its own.
    converse(gateway, membership, socket, &mut outbox, &mut ticks).await.ok().flatten()
}

/// Says the last word, and waits a moment for the client to hear it.
async fn part(socket: &mut Socket, farewell: CloseFrame) {
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
    let _ = timeout(PARTING_TIME, parting).await;
}

/// How the handshake ended.
enum Greeting {
    Welcome,
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
                Some(Outgoing::Text(_)) => {}
                Some(Outgoing::Close { code, reason }) => {
                    return Ok(Greeting::SentAway(close_frame(code, reason)));
                }
                None => return Ok(Greeting::Left),
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
    let greeting = match &result {
        Ok(_) => Greeting::Welcome,
        Err(error) => refuse(&error.message),
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
                Some(Outgoing::Text(text)) => socket.send(Message::text(text)).await?,
                Some(Outgoing::Close { code, reason }) => {
                    socket.close(Some(close_frame(code, reason))).await?;
                    // Nothing follows a close frame but the peer's answer to it.
                    while socket.next().await.transpose()?.is_some() {}
                    return Ok(None);
                }
                None => return Ok(None),
            },
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let answer = rpc::answer(gateway, membership, &text);
                    socket.send(Message::text(answer)).await?;
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
