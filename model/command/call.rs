//! One request to the gateway of this machine, over the protocol that every client speaks.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use crate::config::Config;
use crate::env::{Env, Stream};
use crate::wire::{COMMAND_LINE, PROTOCOL_VERSION, UNKNOWN_METHOD};

/// How long everything may take (commit 103cdd9: 10 s).
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("cannot reach the gateway on port {port}: {source}")]
    Unreachable { port: u16, source: io::Error },
    #[error("the gateway on port {port} did not answer within {} s; it may be starting, or stuck", TIMEOUT.as_secs())]
    TimedOut { port: u16 },
    #[error("what listens on port {port} is no gateway, or one that ends: {source}")]
    Broken { port: u16, source: Box<WebSocketError> },
    #[error("the gateway on port {port} closed the connection before it answered")]
    Closed { port: u16 },
    /// It is older than the method.
    #[error("the gateway on port {port} does not know {method}")]
    UnknownMethod { port: u16, method: &'static str },
    #[error("the gateway refused: {message}")]
    Refused { message: String },
}

/// Asks the gateway for `method`, with the right to administrate it.
pub(super) async fn call(
    env: &Env,
    config: &Config,
    method: &'static str,
    params: Value,
) -> Result<Value, CallError> {
    let port = config.gateway.port;
    let asking = async {
        let stream = env.net().connect("localhost", port).await;
        let stream = stream.map_err(|source| CallError::Unreachable { port, source })?;
        let handshake = tokio_tungstenite::client_async(format!("ws://localhost:{port}/"), stream);
        let (socket, _) =
            handshake.await.map_err(|source| CallError::Broken { port, source: Box::new(source) })?;
        let mut line = Line { socket, port };
        let hello = json!({
            "minProtocol": PROTOCOL_VERSION,
            "maxProtocol": PROTOCOL_VERSION,
            "client": {"id": COMMAND_LINE, "version": env!("CARGO_PKG_VERSION"), "platform": "any", "mode": "cli"},
            "role": "operator",
            "scopes": ["operator.admin"],
            "auth": {"token": config.gateway.auth.token},
        });
        line.ask("connect", hello).await?;
        let answer = line.ask(method, params).await;
        // The answer is all that mattered.
        let _ = line.socket.close(None).await;
        answer
    };
    timeout(TIMEOUT, asking).await.unwrap_or(Err(CallError::TimedOut { port }))
}

struct Line {
    socket: WebSocketStream<Stream>,
    port: u16,
}

impl Line {
    async fn ask(&mut self, method: &'static str, params: Value) -> Result<Value, CallError> {
        let port = self.port;
        let broken = |source| CallError::Broken { port, source: Box::new(source) };
        let frame = json!({"type": "req", "id": method, "method": method, "params": params});
        self.socket.send(Message::text(frame.to_string())).await.map_err(broken)?;
        while let Some(message) = self.socket.next().await {
            let Message::Text(text) = message.map_err(broken)? else { continue };
            let Ok(mut frame) = serde_json::from_str::<Value>(&text) else { continue };
            if frame["type"] != "res" || frame["id"] != method {
                continue;
            }
            if frame["ok"] == true {
                return Ok(frame["payload"].take());
            }
            let message = frame["error"]["message"].as_str().unwrap_or("it did not say why").to_string();
            return Err(match message.starts_with(UNKNOWN_METHOD) {
                true => CallError::UnknownMethod { port, method },
                false => CallError::Refused { message },
            });
        }
        Err(CallError::Closed { port })
    }
}
