//! A WebSocket to the gateway, with every way it can end put into words.
//!
//! Knows connections and frames; what they mean is the business of the actor.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gateway::env::{Env, Stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::GATEWAY_HOST;
use super::frames::{self, ConnectParams, Frame};
use super::lenient::{Fields, Lenient};

/// How long a polite client waits for its close frame to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The size of the read buffer; tungstenite fills it with zeros at each read, so it is small. Most frames fit.
const READ_BUFFER_BYTES: usize = 1024;

/// An open WebSocket to the gateway.
pub(super) type Socket = WebSocketStream<Stream>;

/// Connects and upgrades. The error says how it failed, in words.
pub(super) async fn open(env: &Env, port: u16) -> Result<Socket, String> {
    let stream = env.net().connect(GATEWAY_HOST, port).await.map_err(|error| error.to_string())?;
    let url = format!("ws://{GATEWAY_HOST}:{port}/");
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    match tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(error) => Err(in_words(&error)),
    }
}

/// The next frame, and of its payload a `P`; what is no frame of the protocol is skipped. The error says how the connection ended.
/// Dropping the future loses nothing.
pub(super) async fn next_frame<P: DeserializeOwned + Default>(
    socket: &mut Socket,
) -> Result<Frame<P>, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                if let Some(frame) = Frame::parse(text.as_str()) {
                    return Ok(frame);
                }
            }
            Some(Ok(Message::Close(frame))) => return Err(closed_in_words(frame.as_ref())),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(in_words(&error)),
            None => return Err("connection ended".into()),
        }
    }
}

/// What clients read of the gateway's challenge and of its welcome.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Hello {
    nonce: Lenient<String>,
    policy: Lenient<Policy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Policy {
    tick_interval_ms: Lenient<u64>,
}

impl Fields for Hello {}
impl Fields for Policy {}

impl Hello {
    /// How often the gateway says that it is there, if it says so.
    pub(super) fn tick_interval(&self) -> Option<Duration> {
        self.policy.0.as_ref()?.tick_interval_ms.0.map(Duration::from_millis)
    }
}

/// Waits for the challenge, authenticates, and gives the gateway's hello.
pub(super) async fn shake_hands(socket: &mut Socket, token: &str) -> Result<Hello, String> {
    introduce(socket, ConnectParams::of(Some(token))).await
}

/// As [`shake_hands`], with these scopes.
pub(super) async fn shake_hands_as(
    socket: &mut Socket,
    token: &str,
    scopes: &[&str],
) -> Result<Hello, String> {
    introduce(socket, ConnectParams::with_scopes(Some(token), scopes)).await
}

async fn introduce(socket: &mut Socket, params: ConnectParams<'_>) -> Result<Hello, String> {
    const ID: &str = "connect";
    loop {
        match next_frame::<Lenient<Hello>>(socket).await? {
            Frame::Event { name, payload } if name == "connect.challenge" => {
                if payload.0.is_none_or(|challenge| challenge.nonce.0.is_none()) {
                    return Err("the challenge has no nonce".into());
                }
                send(socket, frames::request(ID, "connect", &params)).await?;
            }
            Frame::Response { id, answer } if id == ID => {
                let refused = |refusal: frames::Refusal| format!("refused: {}", refusal.reason);
                return answer.map(|hello| hello.0.unwrap_or_default()).map_err(refused);
            }
            _ => {}
        }
    }
}

/// Reads up to the close frame: what it says, in words; `None` when the connection ends without one. The answer to it
/// leaves with the next look at the socket.
pub(super) async fn until_close_frame(socket: &mut Socket) -> Option<String> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(frame) = message {
            return Some(closed_in_words(frame.as_ref()));
        }
    }
    None
}

/// Hands a frame to the connection. On success all of it is in the hands of the transport.
pub(super) async fn send(socket: &mut Socket, text: String) -> Result<(), String> {
    socket.send(Message::text(text)).await.map_err(|error| in_words(&error))
}

/// Ends the connection politely: says or answers the close, then closes.
pub(super) async fn hang_up(mut socket: Socket) {
    // Whatever comes of it, the connection is dropped next.
    let _ = timeout(CLOSE_TIMEOUT, socket.close(None)).await;
}

fn closed_in_words(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(frame) => format!("closed {} {}", u16::from(frame.code), frame.reason).trim_end().to_owned(),
        None => "closed without a code".into(),
    }
}

fn in_words(error: &Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        Error::ConnectionClosed | Error::AlreadyClosed => "connection ended".into(),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => "ended without a close frame".into(),
        Error::Protocol(ProtocolError::HandshakeIncomplete) => "ended during the upgrade".into(),
        Error::Http(response) => format!("upgrade refused with HTTP {}", response.status().as_u16()),
        other => other.to_string(),
    }
}
