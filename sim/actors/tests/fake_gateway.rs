//! A gateway that does what a test tells it, one client at a time.
//!
//! It panics when a client does not keep to the script: the test then fails where the client went wrong.

use futures_util::{SinkExt, StreamExt};
use gateway::env::{Env, Listener, Stream};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::stage::PORT;
use crate::actors::socket::Socket;

pub(super) const TOKEN: &str = "open sesame";

pub(super) struct FakeGateway {
    listener: Box<dyn Listener>,
}

/// A client's connection.
pub(super) struct Client {
    socket: Socket,
}

/// A request of a client.
#[derive(Debug)]
pub(super) struct Asked {
    id: String,
    pub(super) method: String,
    pub(super) params: Value,
}

impl FakeGateway {
    pub(super) async fn open(env: &Env) -> Self {
        Self { listener: env.net().listen(PORT).await.expect("the port is free") }
    }

    /// The next connection, upgraded.
    pub(super) async fn upgrade(&mut self) -> Client {
        let stream = self.listener.accept().await.expect("a connection");
        let config = WebSocketConfig::default().read_buffer_size(4096);
        let socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await;
        Client { socket: socket.expect("an upgrade") }
    }

    /// The next connection, with the handshake done.
    pub(super) async fn admit(&mut self) -> Client {
        let mut client = self.upgrade().await;
        client.event("connect.challenge", json!({ "nonce": "n", "ts": 1 })).await;
        let connect = client.asked("connect").await;
        assert_eq!(connect.params["auth"]["token"], TOKEN);
        assert_eq!(connect.params["minProtocol"], 3);
        let hello = json!({ "type": "hello-ok", "protocol": 3, "policy": { "tickIntervalMs": 30_000 } });
        client.grant(&connect, hello).await;
        client
    }
}

impl Client {
    /// A client over a connection that somebody else has upgraded.
    pub(super) fn over(socket: Socket) -> Self {
        Self { socket }
    }

    /// The connection, past the WebSocket protocol.
    pub(super) fn into_stream(self) -> Stream {
        self.socket.into_inner()
    }

    /// The next request, or `None` when the connection is over.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        loop {
            match self.socket.next().await?.ok()? {
                Message::Text(text) => {
                    let Ok(mut frame) = serde_json::from_str::<Value>(text.as_str()) else { continue };
                    assert_eq!(frame["type"], "req");
                    return Some(Asked {
                        id: frame["id"].as_str().expect("an id").to_owned(),
                        method: frame["method"].as_str().expect("a method").to_owned(),
                        params: frame["params"].take(),
                    });
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// The next request, which must be of that method.
    pub(super) async fn asked(&mut self, method: &str) -> Asked {
        let asked = self.next().await.expect("a request");
        assert_eq!(asked.method, method);
        asked
    }

    pub(super) async fn grant(&mut self, asked: &Asked, payload: Value) {
        self.say(json!({ "type": "res", "id": asked.id, "ok": true, "payload": payload })).await;
    }

    pub(super) async fn refuse(&mut self, asked: &Asked, code: &str, retryable: bool) {
        let error = json!({ "code": code, "message": "not now", "retryable": retryable });
        self.say(json!({ "type": "res", "id": asked.id, "ok": false, "error": error })).await;
    }

    pub(super) async fn event(&mut self, name: &str, payload: Value) {
        self.say(json!({ "type": "event", "event": name, "payload": payload })).await;
    }

    /// Accepts a `chat.send` and answers it.
    pub(super) async fn answer(&mut self, asked: &Asked) {
        self.grant(asked, json!({ "runId": asked.run_id(), "status": "started" })).await;
        let text = format!("Re {}", asked.params["message"].as_str().expect("a message"));
        let message = json!({ "role": "assistant", "content": [{ "type": "text", "text": text }] });
        let mut event = json!({ "runId": asked.run_id(), "sessionKey": asked.params["sessionKey"], "seq": 1,
            "state": "delta", "message": message });
        self.event("chat", event.clone()).await;
        event["state"] = json!("final");
        self.event("chat", event).await;
    }

    /// Sends the close frame and nothing after it; the connection stays open.
    pub(super) async fn say_close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        // The client may have gone already.
        let _ = self.socket.send(Message::Close(Some(frame))).await;
    }

    /// Resets the connection.
    pub(super) fn reset(self) {
        self.socket.get_ref().abort_handle().abort();
    }

    /// Sends text that may be anything.
    pub(super) async fn babble(&mut self, text: &str) {
        let _ = self.socket.send(Message::text(text)).await;
    }

    async fn say(&mut self, frame: Value) {
        self.babble(&frame.to_string()).await;
    }
}

impl Asked {
    pub(super) fn run_id(&self) -> &str {
        self.params["idempotencyKey"].as_str().expect("an idempotency key")
    }
}
