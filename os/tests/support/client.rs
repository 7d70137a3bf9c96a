//! A chat client: speaks the gateway protocol, version 3, over WebSocket.
//!
//! One reader, in order: events that arrive while a response is awaited are kept and heard afterwards.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::soon;

/// What a client hears from its gateway.
#[derive(Debug)]
pub enum Heard {
    /// An `event` or `res` frame.
    Frame(Value),
    /// The end: the close code, or `None` when the connection ended without one.
    Closed(Option<u16>),
}

/// The end of a run, as its sender saw it.
#[derive(Debug)]
pub struct Reply {
    /// `delta` events before it.
    pub deltas: usize,
    /// The length of all texts heard of it, in bytes: each event has all of the reply so far.
    pub heard: usize,
    /// `final`, `aborted` or `error`.
    pub state: String,
    pub text: String,
}

pub struct Client {
    socket: WebSocketStream<TcpStream>,
    requests: u64,
    kept: VecDeque<Value>,
}

impl Client {
    /// Connects and identifies itself; panics unless it is welcome.
    pub async fn connect(port: u16, token: &str) -> Self {
        let mut client = Self::open(port).await;
        let response = client.identify(token).await;
        assert_eq!(response["ok"], true, "{response}");
        assert_eq!(response["payload"]["type"], "hello-ok", "{response}");
        assert_eq!(response["payload"]["protocol"], 3, "{response}");
        client
    }

    /// Opens a connection and waits for the challenge, without answering it.
    pub async fn open(port: u16) -> Self {
        let opening = async {
            let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("the gateway listens");
            let url = format!("ws://127.0.0.1:{port}/");
            tokio_tungstenite::client_async(url, tcp).await.expect("the gateway speaks WebSocket")
        };
        let (socket, _) = soon("the WebSocket handshake", opening).await;
        let mut client = Self { socket, requests: 0, kept: VecDeque::new() };
        let challenge = client.event("connect.challenge").await;
        assert!(challenge["nonce"].is_string(), "{challenge}");
        client
    }

    /// Answers the challenge; gives the gateway's response.
    pub async fn identify(&mut self, token: &str) -> Value {
        self.request(
            "connect",
            json!({
                "minProtocol": 3,
                "maxProtocol": 3,
                "client": {"id": "test", "version": "1", "platform": "test", "mode": "webchat"},
                "role": "operator",
                "scopes": ["operator.read", "operator.write"],
                "auth": {"token": token},
            }),
        )
        .await
    }

    /// Sends a request and gives its response frame.
    pub async fn request(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = format!("request-{}", self.requests);
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        self.say(Message::text(frame.to_string())).await;
        loop {
            match self.receive().await {
                Heard::Frame(frame) if frame["type"] == "res" && frame["id"] == id.as_str() => return frame,
                Heard::Frame(frame) => self.kept.push_back(frame),
                Heard::Closed(code) => panic!("closed with {code:?} instead of a response to {method}"),
            }
        }
    }

    /// Hands over a message; gives the run id of the acknowledgement.
    pub async fn send(&mut self, session: &str, message: &str, idempotency_key: &str) -> String {
        let params = json!({"sessionKey": session, "message": message, "idempotencyKey": idempotency_key});
        let response = self.request("chat.send", params).await;
        assert_eq!(response["ok"], true, "{response}");
        assert!(response["payload"]["status"].is_string(), "{response}");
        response["payload"]["runId"].as_str().expect("a run id").to_string()
    }

    /// The conversation as the gateway remembers it, oldest first: role and text.
    pub async fn history(&mut self, session: &str) -> Vec<(String, String)> {
        let response = self.request("chat.history", json!({"sessionKey": session, "limit": 100})).await;
        assert_eq!(response["ok"], true, "{response}");
        let messages = response["payload"]["messages"].as_array().expect("a list of messages");
        let line = |message: &Value| (message["role"].as_str().expect("a role").to_string(), text(message));
        messages.iter().map(line).collect()
    }

    /// Waits for the first delta of `run`.
    pub async fn delta(&mut self, run: &str) {
        while self.chat_event(run).await["state"] != "delta" {}
    }

    /// Waits until `run` has ended.
    pub async fn reply(&mut self, run: &str) -> Reply {
        let (mut deltas, mut heard) = (0, 0);
        loop {
            let chat = self.chat_event(run).await;
            let text = text(&chat["message"]);
            heard += text.len();
            match chat["state"].as_str().expect("a state") {
                "delta" => deltas += 1,
                end => return Reply { deltas, heard, state: end.to_string(), text },
            }
        }
    }

    /// Waits for the end of the connection; gives its close code.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Heard::Closed(code) = self.hear().await {
                return code;
            }
        }
    }

    /// The next frame or the end, whatever it is.
    pub async fn hear(&mut self) -> Heard {
        match self.kept.pop_front() {
            Some(frame) => Heard::Frame(frame),
            None => self.receive().await,
        }
    }

    /// What arrives within `patience`, if anything does.
    pub async fn hear_within(&mut self, patience: Duration) -> Option<Heard> {
        tokio::time::timeout(patience, self.hear()).await.ok()
    }

    /// Sends one WebSocket message as it is. A gateway that has hung up meanwhile is not this call's concern.
    pub async fn say(&mut self, message: Message) {
        let _ = soon("the gateway to take a message", self.socket.send(message)).await;
    }

    /// Sends bytes past the WebSocket protocol.
    pub async fn say_raw(&mut self, bytes: &[u8]) {
        let _ = soon("the gateway to take bytes", self.socket.get_mut().write_all(bytes)).await;
    }

    async fn chat_event(&mut self, run: &str) -> Value {
        loop {
            let chat = self.event("chat").await;
            if chat["runId"] == run {
                return chat;
            }
        }
    }

    /// The payload of the next event called `name`; others are passed over.
    async fn event(&mut self, name: &str) -> Value {
        loop {
            match self.hear().await {
                Heard::Frame(frame) if frame["type"] == "event" && frame["event"] == name => {
                    return frame["payload"].clone();
                }
                Heard::Frame(_) => {}
                Heard::Closed(code) => panic!("closed with {code:?} instead of an event {name}"),
            }
        }
    }

    async fn receive(&mut self) -> Heard {
        loop {
            match soon("a frame from the gateway", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => {
                    return Heard::Frame(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Some(Ok(Message::Close(frame))) => {
                    // Reading on completes the closing handshake.
                    let _ = soon("the end of the connection", self.socket.next()).await;
                    return Heard::Closed(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Closed(None),
            }
        }
    }
}

/// The text of a message in content parts.
fn text(message: &Value) -> String {
    let parts = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter_map(|part| part["text"].as_str()).collect()
}
