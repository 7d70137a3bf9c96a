//! One connection: HTTP first, WebSocket when the client asks for it, registered with the peers all the while.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message, error::CapacityError};

use super::peers::{Membership, Outbox, Outgoing};
use super::{MAX_PAYLOAD_BYTES, TICK_INTERVAL_MS, close_code, frames, handshake, http, rpc};
use crate::env::{Listener, Stream};
use crate::gateway::Gateway;

/// How long a client may take for its HTTP header, and again for its `connect` (OpenClaw: 15 s).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Largest `connect` request (OpenClaw: 64 KiB before authentication).
const MAX_PREAUTH_BYTES: usize = 64 * 1024;
/// tungstenite zero-fills its read buffer at each read; its default of 128 KiB costs more than all else.
const READ_BUFFER_BYTES: usize = 4 * 1024;

type Socket = WebSocketStream<Stream>;

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
    let read_ahead = parts.read_buf.to_vec();
    let stream = parts.io.into_inner();
    let socket = WebSocketStream::from_partially_read(stream, read_ahead, Role::Server, Some(config)).await;
    talk(&gateway, membership, socket).await;
}

/// A WebSocket connection from challenge to close.
async fn talk(gateway: &Rc<Gateway>, membership: Membership, mut socket: Socket) {
    let mut outbox = membership.upgrade();
    let greeted = timeout(HANDSHAKE_TIMEOUT, greet(gateway, &membership, &mut socket, &mut outbox));
    if !matches!(greeted.await, Ok(Ok(true))) {
        return;
    }
    let tick_interval = Duration::from_millis(TICK_INTERVAL_MS);
    let mut ticks = interval_at(Instant::now() + tick_interval, tick_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // An error here means that the peer is gone; the peer's side of the story is its own.
    let _ = converse(gateway, &membership, &mut socket, &mut outbox, &mut ticks).await;
}

/// The handshake; `false` when the client was refused or left.
async fn greet(
    gateway: &Rc<Gateway>,
    membership: &Membership,
    socket: &mut Socket,
    outbox: &mut Outbox,
) -> Result<bool, WebSocketError> {
    socket.send(Message::text(handshake::challenge(gateway))).await?;
    let text = tokio::select! {
        biased;
        frame = socket.next() => match frame {
            Some(Ok(Message::Text(text))) if text.len() <= MAX_PREAUTH_BYTES => text,
            Some(Ok(Message::Text(_))) => return refuse(socket, "the connect request is too large").await,
            Some(Err(error)) => return refuse(socket, &describe(&error)).await,
            Some(Ok(_)) => return refuse(socket, "the first frame must be a connect request").await,
            None => return Ok(false),
        },
        outgoing = outbox.next() => {
            if let Some(outgoing) = outgoing {
                send(socket, outgoing).await?;
            }
            return Ok(false);
        }
    };
    let (id, result) = match frames::parse_request(&text) {
        Ok(request) if request.method == "connect" => {
            (Some(request.id), handshake::connect(gateway, membership.id, request.params))
        }
        Ok(request) => {
            let error = frames::RpcError::invalid("the first request must be connect");
            (Some(request.id), Err(error))
        }
        Err(bad) => (bad.id, Err(bad.error)),
    };
    let refusal = result.as_ref().err().map(|error| error.message.clone());
    if let Some(id) = id {
        socket.send(Message::text(frames::response(&id, result))).await?;
    }
    if let Some(reason) = refusal {
        tracing::info!(name: "peer.refused", reason, "refused a client");
        return refuse(socket, &reason).await;
    }
    Ok(true)
}

async fn refuse(socket: &mut Socket, reason: &str) -> Result<bool, WebSocketError> {
    // A close reason has room for 123 bytes.
    let reason: String = reason.chars().take(100).collect();
    socket.close(Some(close_frame(close_code::POLICY, &reason))).await?;
    Ok(false)
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame { code: CloseCode::from(code), reason: reason.into() }
}

async fn converse(
    gateway: &Rc<Gateway>,
    membership: &Membership,
    socket: &mut Socket,
    outbox: &mut Outbox,
    ticks: &mut Interval,
) -> Result<(), WebSocketError> {
    loop {
        tokio::select! {
            biased;
            outgoing = outbox.next() => match outgoing {
                Some(outgoing) => send(socket, outgoing).await?,
                None => return Ok(()),
            },
            frame = socket.next() => match frame {
                Some(Ok(Message::Text(text))) => {
                    if let Some(answer) = rpc::answer(gateway, membership, &text).await {
                        socket.send(Message::text(answer)).await?;
                    }
                }
                Some(Ok(Message::Binary(_))) => {
                    return refuse(socket, "frames are text").await.map(|_| ());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    if let WebSocketError::Capacity(_) = error {
                        tracing::warn!(name: "peer.oversized-frame", %error, "closed a client");
                        let reason = describe(&error);
                        return socket.close(Some(close_frame(CloseCode::Size.into(), &reason))).await;
                    }
                    return Err(error);
                }
                None => return Ok(()),
            },
            _ = ticks.tick() => {
                let tick = json!({"ts": gateway.env.wall_clock().epoch_ms()});
                socket.send(Message::text(frames::event("tick", tick))).await?;
            }
        }
    }
}

async fn send(socket: &mut Socket, outgoing: Outgoing) -> Result<(), WebSocketError> {
    match outgoing {
        Outgoing::Text(text) => socket.send(Message::text(text)).await,
        Outgoing::Close { code, reason } => match socket.close(Some(close_frame(code, reason))).await {
            Err(WebSocketError::ConnectionClosed) => Ok(()),
            closed => closed,
        },
    }
}

fn describe(error: &WebSocketError) -> String {
    match error {
        WebSocketError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            format!("the frame has {size} bytes, at most {max_size} are allowed")
        }
        other => other.to_string(),
    }
}
