//! Chat platforms on loopback: a Bot API server and an open platform, as far as the daemon speaks with them.
//!
//! Each keeps what its users wrote until that is confirmed, and every text that it took.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::soon;

/// A platform; it ends with the test.
#[derive(Clone)]
pub struct Platform(Rc<State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Telegram,
    Feishu,
}

struct State {
    kind: Kind,
    port: u16,
    events_port: u16,
    next: Cell<i64>,
    /// What was not confirmed, oldest first, by its number.
    waiting: RefCell<Vec<(i64, String)>>,
    sent: RefCell<Vec<String>>,
    names: RefCell<Vec<String>>,
    /// Whether confirmations are lost.
    is_deaf: Cell<bool>,
    written: Notify,
    /// Connections that wait for something to happen.
    listening: Cell<usize>,
}

impl Platform {
    pub async fn start(kind: Kind) -> Self {
        let requests = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let events = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        let platform = Self(Rc::new(State {
            kind,
            port: port(&requests),
            events_port: port(&events),
            next: Cell::new(1),
            waiting: RefCell::default(),
            sent: RefCell::default(),
            names: RefCell::default(),
            is_deaf: Cell::new(false),
            written: Notify::new(),
            listening: Cell::new(0),
        }));
        for (listener, has_events) in [(requests, false), (events, true)] {
            let platform = platform.clone();
            spawn_local(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    match has_events {
                        true => drop(spawn_local(platform.clone().push(stream))),
                        false => drop(spawn_local(platform.clone().serve(stream))),
                    }
                }
            });
        }
        platform
    }

    /// The daemon's configuration of one account, `main`.
    pub fn config(&self) -> Value {
        let url = format!("http://127.0.0.1:{}", self.0.port);
        match self.0.kind {
            Kind::Telegram => {
                json!({"telegram": {"accounts": {"main": {"botToken": "1:s", "apiRoot": url}}}})
            }
            Kind::Feishu => {
                json!({"feishu": {"accounts": {"main": {"appId": "a", "appSecret": "s", "domain": url}}}})
            }
        }
    }

    /// A user writes.
    pub fn write(&self, text: &str) {
        let number = self.0.next.replace(self.0.next.get() + 1);
        self.0.waiting.borrow_mut().push((number, text.to_string()));
        self.0.written.notify_waiters();
    }

    /// From now on confirmations are lost, or are not.
    pub fn set_deaf(&self, is_deaf: bool) {
        self.0.is_deaf.set(is_deaf);
    }

    /// What the gateway sent so far.
    pub fn sent(&self) -> Vec<String> {
        self.0.sent.borrow().clone()
    }

    /// Waits until it sent so many texts; all of them.
    pub async fn sent_so_many(&self, count: usize) -> Vec<String> {
        let sent = async {
            while self.0.sent.borrow().len() < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        soon(&format!("{count} texts on the platform"), sent).await;
        self.sent()
    }

    /// Waits until everything that was written is confirmed.
    pub async fn all_confirmed(&self) {
        let confirmed = async {
            while !self.0.waiting.borrow().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        soon("the confirmation of every message", confirmed).await;
    }

    pub fn unconfirmed(&self) -> usize {
        self.0.waiting.borrow().len()
    }

    /// Waits until somebody listens to it.
    pub async fn heard(&self) {
        let heard = async {
            while self.0.listening.get() == 0 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        soon("somebody to listen to the platform", heard).await;
    }

    pub fn listening(&self) -> usize {
        self.0.listening.get()
    }

    async fn serve(self, mut stream: TcpStream) {
        let Some((path, asked)) = request(&mut stream).await else { return };
        let method = path.split('?').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let answer = match method {
            "getMe" => json!({"ok": true, "result": {"id": 7, "is_bot": true, "first_name": "B"}}),
            "getUpdates" => match self.updates(&asked, &mut stream).await {
                Some(updates) => json!({"ok": true, "result": updates}),
                None => return,
            },
            "sendMessage" => {
                let text = asked["text"].as_str().expect("a text").to_string();
                self.0.sent.borrow_mut().push(text);
                json!({"ok": true, "result": {"message_id": 9}})
            }
            "internal" => json!({"code": 0, "msg": "ok", "tenant_access_token": "t", "expire": 7_200}),
            "endpoint" => {
                let url = format!("ws://127.0.0.1:{}/ws?device_id=1&service_id=2", self.0.events_port);
                json!({"code": 0, "data": {"URL": url, "ClientConfig": {"PingInterval": 120}}})
            }
            "messages" => {
                let content: Value =
                    serde_json::from_str(asked["content"].as_str().expect("a content")).expect("JSON");
                let name = asked["uuid"].as_str().expect("a name").to_string();
                if !self.0.names.borrow().contains(&name) {
                    self.0.names.borrow_mut().push(name);
                    self.0.sent.borrow_mut().push(content["text"].as_str().expect("a text").to_string());
                }
                json!({"code": 0, "data": {"message_id": "om_9"}})
            }
            _ => json!({"ok": false, "error_code": 404, "code": 404, "description": path}),
        };
        let body = answer.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
        // A daemon that was killed does not listen.
        let _ = stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    }

    /// `None`: nobody waits any more.
    async fn updates(&self, asked: &Value, stream: &mut TcpStream) -> Option<Vec<Value>> {
        let offset = asked["offset"].as_i64().unwrap_or(0);
        if !self.0.is_deaf.get() {
            self.0.waiting.borrow_mut().retain(|(number, _)| *number >= offset);
        }
        let limit = Duration::from_secs(asked["timeout"].as_u64().expect("a time"));
        let happens = async {
            loop {
                let written = self.0.written.notified();
                if self.0.waiting.borrow().iter().any(|(number, _)| *number >= offset) {
                    return;
                }
                written.await;
            }
        };
        self.0.listening.set(self.0.listening.get() + 1);
        let goes_on = tokio::select! {
            _ = timeout(limit, happens) => true,
            _ = stream.read_u8() => false,
        };
        self.0.listening.set(self.0.listening.get() - 1);
        let update = |(number, text): &(i64, String)| {
            let message = json!({"message_id": number, "chat": {"id": 5, "type": "private"}, "text": text});
            json!({"update_id": number, "message": message})
        };
        let waiting = self.0.waiting.borrow();
        goes_on.then(|| waiting.iter().filter(|(number, _)| *number >= offset).map(update).collect())
    }

    /// An event connection: everything that waits, and what comes after.
    async fn push(self, stream: TcpStream) {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        let mut pushed = 0;
        self.0.listening.set(self.0.listening.get() + 1);
        loop {
            let written = self.0.written.notified();
            let due: Vec<_> =
                self.0.waiting.borrow().iter().filter(|(number, _)| *number > pushed).cloned().collect();
            for (number, text) in due {
                pushed = number;
                if socket.send(Message::text(event(number, &text))).await.is_err() {
                    break;
                }
            }
            tokio::select! {
                () = written => {}
                heard = socket.next() => match heard {
                    Some(Ok(Message::Text(text))) => {
                        let said: Value = serde_json::from_str(&text).expect("JSON");
                        if said["type"] == "ack" && !self.0.is_deaf.get() {
                            let number = said["event_id"].as_str().and_then(|id| id.parse::<i64>().ok());
                            self.0.waiting.borrow_mut().retain(|(waiting, _)| Some(*waiting) != number);
                        }
                    }
                    Some(Ok(Message::Close(_))) | Some(Err(_)) | None => break,
                    Some(Ok(_)) => {}
                },
            }
        }
        let _ = socket.next().await;
        self.0.listening.set(self.0.listening.get() - 1);
    }
}

fn event(number: i64, text: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
    // Written at a time that a repetition says again.
    let at = now.as_secs() / 1_000 * 1_000_000 + u64::try_from(number).expect("is positive");
    let event = json!({
        "sender": {"sender_id": {"open_id": "ou_1"}},
        "message": {
            "message_id": format!("om_{number}"), "chat_id": "oc_1", "chat_type": "p2p", "message_type": "text",
            "create_time": at.to_string(), "content": json!({"text": text}).to_string(),
        },
    });
    let headers = json!({"event_id": number.to_string(), "event_type": "im.message.receive_v1"});
    json!({"type": "event", "headers": headers, "event": event}).to_string()
}

/// Reads a request: its path and what is asked.
async fn request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_string();
    let length = head.split_once("content-length: ")?.1.lines().next()?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, serde_json::from_slice(&body).ok()?))
}
