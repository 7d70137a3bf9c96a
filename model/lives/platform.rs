//! Platforms of the small world: a Bot API server and an open platform, as far as a gateway speaks with them.
//!
//! Each keeps what its users wrote until that is confirmed, and every text that it took. A test tells it what to do with
//! the next text.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::House;
use crate::env::Stream;

const TELEGRAM_PORT: u16 = 8_081;
const FEISHU_PORT: u16 = 8_082;
const EVENTS_PORT: u16 = 8_083;
/// The chat that the tests write in.
pub(super) const CHAT: i64 = 42;

/// What the platform does with a text.
#[derive(Clone, Debug)]
pub(super) enum Taking {
    /// Takes it, and does not live to say so.
    AndSilence,
    /// Answers with this status and body.
    Says(u16, Value),
}

/// A Bot API server with one bot.
#[derive(Clone)]
pub(super) struct Telegram(Rc<TelegramState>);

struct TelegramState {
    bot_id: Cell<i64>,
    next_update: Cell<i64>,
    updates: RefCell<Vec<Value>>,
    /// The highest offset that was asked for.
    offset: Cell<i64>,
    sent: RefCell<Vec<(i64, String)>>,
    next_sends: RefCell<VecDeque<Taking>>,
    /// How long after it took a text it says so.
    answers_after: Cell<Duration>,
    /// What is answered to polls instead of updates, each once.
    next_polls: RefCell<VecDeque<(u16, Value)>>,
    polls: Cell<usize>,
    open_polls: Cell<usize>,
    written: Notify,
}

impl Telegram {
    /// Runs beside `house`, whose configuration has the bot from now on.
    pub(super) fn beside(house: &House) -> Self {
        house.add_to_config(
            "channels",
            json!({"telegram": {"accounts": {"main": {
                "botToken": "1:secret", "apiRoot": format!("http://platforms:{TELEGRAM_PORT}"),
            }}}}),
        );
        let platform = Self(Rc::new(TelegramState {
            bot_id: Cell::new(7),
            next_update: Cell::new(100),
            updates: RefCell::default(),
            offset: Cell::new(0),
            sent: RefCell::default(),
            next_sends: RefCell::default(),
            answers_after: Cell::default(),
            next_polls: RefCell::default(),
            polls: Cell::new(0),
            open_polls: Cell::new(0),
            written: Notify::new(),
        }));
        let env = house.outside.env.clone();
        let serving = platform.clone();
        drop(house.outside.env.spawn("telegram", async move {
            let mut listener = env.net().listen(TELEGRAM_PORT).await.expect("the port is free");
            loop {
                let stream = listener.accept().await.expect("a connection");
                drop(env.spawn("telegram request", serving.clone().serve(stream)));
            }
        }));
        platform
    }

    /// A user writes; the key of its message.
    pub(super) fn write(&self, text: &str) -> String {
        self.write_what(json!({"text": text}))
    }

    /// A user sends something.
    pub(super) fn write_what(&self, what: Value) -> String {
        let id = self.0.next_update.replace(self.0.next_update.get() + 1);
        let mut message = json!({
            "message_id": id + 1_000, "date": 1_772_000_000, "from": {"id": CHAT, "first_name": "U"},
            "chat": {"id": CHAT, "type": "private"},
        });
        message.as_object_mut().expect("an object").extend(what.as_object().expect("an object").clone());
        self.happens(id, "message", message);
        format!("telegram:main:{id}")
    }

    /// An update of any kind.
    pub(super) fn happens(&self, id: i64, kind: &str, what: Value) {
        self.0.next_update.set(id + 1);
        self.0.updates.borrow_mut().push(json!({"update_id": id, kind: what}));
        self.0.written.notify_waiters();
    }

    /// Another bot has the account from now on; its first update will have this number.
    pub(super) fn change_bot(&self, bot_id: i64, next_update: i64) {
        self.0.bot_id.set(bot_id);
        self.0.next_update.set(next_update);
        self.0.offset.set(0);
        self.0.updates.borrow_mut().clear();
    }

    pub(super) fn next_send(&self, taking: Taking) {
        self.0.next_sends.borrow_mut().push_back(taking);
    }

    pub(super) fn answer_after(&self, answers_after: Duration) {
        self.0.answers_after.set(answers_after);
    }

    pub(super) fn next_poll(&self, status: u16, answer: Value) {
        self.0.next_polls.borrow_mut().push_back((status, answer));
    }

    /// What it took.
    pub(super) fn sent(&self) -> Vec<String> {
        self.0.sent.borrow().iter().map(|(_, text)| text.clone()).collect()
    }

    /// Waits until it took so many texts; all of them.
    pub(super) async fn sent_so_many(&self, count: usize) -> Vec<String> {
        while self.sent().len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.sent()
    }

    /// Everything before this update is confirmed.
    pub(super) fn offset(&self) -> i64 {
        self.0.offset.get()
    }

    pub(super) fn polls(&self) -> usize {
        self.0.polls.get()
    }

    /// How many polls wait for an answer.
    pub(super) fn open_polls(&self) -> usize {
        self.0.open_polls.get()
    }

    async fn serve(self, mut stream: Stream) {
        let (path, asked) = request(&mut stream).await;
        let answer = match path.strip_prefix("/bot1:secret/") {
            Some("getMe") => {
                Some((200, ok(json!({"id": self.0.bot_id.get(), "is_bot": true, "first_name": "B"}))))
            }
            Some("getUpdates") => self.poll(&asked, &mut stream).await,
            Some("sendMessage") => {
                let answer = self.take(&asked);
                sleep(self.0.answers_after.get()).await;
                answer
            }
            _ => Some((404, json!({"ok": false, "error_code": 404, "description": "Not Found"}))),
        };
        if let Some((status, answer)) = answer {
            respond(&mut stream, status, &answer).await;
        }
    }

    /// `None`: the other side has hung up.
    async fn poll(&self, asked: &Value, stream: &mut Stream) -> Option<(u16, Value)> {
        self.0.polls.set(self.0.polls.get() + 1);
        if let Some(answer) = self.0.next_polls.borrow_mut().pop_front() {
            return Some(answer);
        }
        let offset = asked["offset"].as_i64().unwrap_or(0);
        self.0.offset.set(self.0.offset.get().max(offset));
        self.0.updates.borrow_mut().retain(|update| update["update_id"].as_i64() >= Some(offset));
        let seconds = asked["timeout"].as_u64().expect("a long poll");
        self.0.open_polls.set(self.0.open_polls.get() + 1);
        let some = async {
            loop {
                let written = self.0.written.notified();
                if !self.0.updates.borrow().is_empty() {
                    return;
                }
                written.await;
            }
        };
        let came = tokio::select! {
            came = timeout(Duration::from_secs(seconds), some) => Some(came),
            _ = stream.read_u8() => None,
        };
        self.0.open_polls.set(self.0.open_polls.get() - 1);
        came.map(|_| (200, ok(json!(*self.0.updates.borrow()))))
    }

    fn take(&self, asked: &Value) -> Option<(u16, Value)> {
        let taking = self.0.next_sends.borrow_mut().pop_front();
        if let Some(Taking::Says(status, answer)) = taking {
            return Some((status, answer));
        }
        let text = asked["text"].as_str().expect("a text").to_string();
        let mut sent = self.0.sent.borrow_mut();
        sent.push((asked["chat_id"].as_i64().expect("a chat"), text));
        match taking {
            Some(Taking::AndSilence) => None,
            _ => Some((200, ok(json!({"message_id": 5_000 + sent.len()})))),
        }
    }
}

/// An open platform with one app and its event connections.
#[derive(Clone)]
pub(super) struct Feishu(Rc<FeishuState>);

struct FeishuState {
    next: Cell<u64>,
    clock: crate::env::Env,
    /// What was not acknowledged, oldest first: event id and frame.
    events: RefCell<Vec<(String, Value)>>,
    acknowledged: Cell<usize>,
    sent: RefCell<Vec<(String, String)>>,
    next_sends: RefCell<VecDeque<Taking>>,
    tokens: Cell<usize>,
    token_lifetime: Cell<u64>,
    /// How to push to those who listen, newest last.
    listeners: RefCell<Vec<mpsc::UnboundedSender<Value>>>,
    /// How many connections ended with a close frame.
    closed_well: Cell<usize>,
    /// Acknowledgements are not heard.
    is_deaf: Cell<bool>,
}

impl Feishu {
    /// Runs beside `house`, whose configuration has the app from now on.
    pub(super) fn beside(house: &House) -> Self {
        house.add_to_config(
            "channels",
            json!({"feishu": {"accounts": {"main": {
                "appId": "cli_1", "appSecret": "secret", "domain": format!("http://platforms:{FEISHU_PORT}"),
            }}}}),
        );
        let platform = Self(Rc::new(FeishuState {
            next: Cell::new(1),
            clock: house.outside.env.clone(),
            events: RefCell::default(),
            acknowledged: Cell::new(0),
            sent: RefCell::default(),
            next_sends: RefCell::default(),
            tokens: Cell::new(0),
            token_lifetime: Cell::new(7_200),
            listeners: RefCell::default(),
            closed_well: Cell::new(0),
            is_deaf: Cell::new(false),
        }));
        for port in [FEISHU_PORT, EVENTS_PORT] {
            let (env, serving) = (house.outside.env.clone(), platform.clone());
            drop(house.outside.env.spawn("feishu", async move {
                let mut listener = env.net().listen(port).await.expect("the port is free");
                loop {
                    let stream = listener.accept().await.expect("a connection");
                    match port {
                        EVENTS_PORT => drop(env.spawn("feishu events", serving.clone().push_events(stream))),
                        _ => drop(env.spawn("feishu request", serving.clone().serve(stream))),
                    }
                }
            }));
        }
        platform
    }

    /// A user writes; the key of its message.
    pub(super) fn write(&self, text: &str) -> String {
        self.write_at(text, self.0.clock.wall_clock().epoch_ms())
    }

    /// A user wrote at that time.
    pub(super) fn write_at(&self, text: &str, at: u64) -> String {
        self.happens("im.message.receive_v1", self.message("text", json!({"text": text}), at))
    }

    /// A message of any kind.
    pub(super) fn message(&self, kind: &str, content: Value, at: u64) -> Value {
        let id = format!("om_{}", self.0.next.get());
        json!({
            "sender": {"sender_id": {"open_id": "ou_1"}},
            "message": {
                "message_id": id, "chat_id": "oc_1", "chat_type": "p2p", "create_time": at.to_string(),
                "message_type": kind, "content": content.to_string(),
            },
        })
    }

    /// An event of any kind; the key of the message in it.
    pub(super) fn happens(&self, kind: &str, event: Value) -> String {
        let id = format!("ev_{}", self.0.next.replace(self.0.next.get() + 1));
        let key = format!("feishu:main:{}", event["message"]["message_id"].as_str().unwrap_or_default());
        let headers = json!({"event_id": id, "event_type": kind, "create_time": "1"});
        let frame = json!({"type": "event", "headers": headers, "event": event});
        self.0.events.borrow_mut().push((id, frame.clone()));
        self.push(&frame);
        key
    }

    /// To one of those who listen: the oldest connection that is there.
    fn push(&self, frame: &Value) {
        let mut listeners = self.0.listeners.borrow_mut();
        listeners.retain(|listener| !listener.is_closed());
        if let Some(listener) = listeners.first() {
            let _ = listener.send(frame.clone());
        }
    }

    /// What was not acknowledged is pushed again; `renamed`: as other events and messages.
    pub(super) fn push_again(&self, renamed: bool) {
        let mut events = self.0.events.borrow_mut();
        if renamed {
            for (id, frame) in events.iter_mut() {
                let number = self.0.next.replace(self.0.next.get() + 1);
                *id = format!("ev_{number}");
                frame["headers"]["event_id"] = json!(*id);
                frame["event"]["message"]["message_id"] = json!(format!("om_{number}"));
            }
        }
        let frames: Vec<Value> = events.iter().map(|(_, frame)| frame.clone()).collect();
        drop(events);
        frames.iter().for_each(|frame| self.push(frame));
    }

    pub(super) fn next_send(&self, taking: Taking) {
        self.0.next_sends.borrow_mut().push_back(taking);
    }

    pub(super) fn set_token_lifetime(&self, seconds: u64) {
        self.0.token_lifetime.set(seconds);
    }

    /// From now on acknowledgements are lost, or are not.
    pub(super) fn set_deaf(&self, is_deaf: bool) {
        self.0.is_deaf.set(is_deaf);
    }

    /// How many tokens were given.
    pub(super) fn tokens(&self) -> usize {
        self.0.tokens.get()
    }

    /// What it took, under which name.
    pub(super) fn sent(&self) -> Vec<String> {
        self.0.sent.borrow().iter().map(|(_, text)| text.clone()).collect()
    }

    /// Waits until it took so many texts; all of them.
    pub(super) async fn sent_so_many(&self, count: usize) -> Vec<String> {
        while self.sent().len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.sent()
    }

    /// How many events were not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.0.events.borrow().len()
    }

    /// How many connections are open.
    pub(super) fn connections(&self) -> usize {
        self.0.listeners.borrow().iter().filter(|listener| !listener.is_closed()).count()
    }

    pub(super) fn closed_well(&self) -> usize {
        self.0.closed_well.get()
    }

    /// Ends every event connection without a word.
    pub(super) fn cut(&self) {
        self.0.listeners.borrow_mut().clear();
    }

    async fn serve(self, mut stream: Stream) {
        let (path, asked) = request(&mut stream).await;
        let answer = match path.as_str() {
            "/open-apis/auth/v3/tenant_access_token/internal" => {
                self.0.tokens.set(self.0.tokens.get() + 1);
                let (token, expire) = (format!("t-{}", self.0.tokens.get()), self.0.token_lifetime.get());
                Some((200, json!({"code": 0, "msg": "ok", "tenant_access_token": token, "expire": expire})))
            }
            "/callback/ws/endpoint" => {
                let url = format!("ws://platforms:{EVENTS_PORT}/ws?device_id=1&service_id=2");
                let config = json!({"PingInterval": 120, "ReconnectInterval": 5});
                Some((200, json!({"code": 0, "data": {"URL": url, "ClientConfig": config}})))
            }
            "/open-apis/im/v1/messages?receive_id_type=chat_id" => self.take(&asked),
            _ => Some((404, json!({"code": 404, "msg": "not found"}))),
        };
        if let Some((status, answer)) = answer {
            respond(&mut stream, status, &answer).await;
        }
    }

    fn take(&self, asked: &Value) -> Option<(u16, Value)> {
        let taking = self.0.next_sends.borrow_mut().pop_front();
        if let Some(Taking::Says(status, answer)) = taking {
            return Some((status, answer));
        }
        let content: Value =
            serde_json::from_str(asked["content"].as_str().expect("a content")).expect("JSON");
        let (uuid, text) =
            (asked["uuid"].as_str().expect("a uuid"), content["text"].as_str().expect("a text"));
        assert!(uuid.len() <= 50 && asked["receive_id"] == "oc_1", "{asked}");
        let mut sent = self.0.sent.borrow_mut();
        if sent.iter().all(|(known, _)| known != uuid) {
            sent.push((uuid.to_string(), text.to_string()));
        }
        match taking {
            Some(Taking::AndSilence) => None,
            _ => Some((200, json!({"code": 0, "data": {"message_id": format!("om_sent_{}", sent.len())}}))),
        }
    }

    async fn push_events(self, stream: Stream) {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        let (sender, mut frames) = mpsc::unbounded_channel();
        for (_, frame) in self.0.events.borrow().iter() {
            let _ = sender.send(frame.clone());
        }
        self.0.listeners.borrow_mut().push(sender);
        loop {
            tokio::select! {
                biased;
                heard = socket.next() => match heard {
                    Some(Ok(Message::Text(text))) => {
                        let said: Value = serde_json::from_str(&text).expect("JSON");
                        match said["type"].as_str() {
                            Some("ack") if !self.0.is_deaf.get() => {
                                let mut events = self.0.events.borrow_mut();
                                events.retain(|(id, _)| said["event_id"] != id.as_str());
                                self.0.acknowledged.set(self.0.acknowledged.get() + 1);
                            }
                            Some("ping") => {
                                let pong = json!({"type": "pong"}).to_string();
                                let _ = socket.send(Message::text(pong)).await;
                            }
                            _ => {}
                        }
                    }
                    Some(Ok(Message::Close(_))) => {
                        self.0.closed_well.set(self.0.closed_well.get() + 1);
                        // The answer goes out with the next look.
                        let _ = socket.next().await;
                        return;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                frame = frames.recv() => match frame {
                    Some(frame) => {
                        let _ = socket.send(Message::text(frame.to_string())).await;
                    }
                    None => return,
                },
            }
        }
    }
}

fn ok(result: Value) -> Value {
    json!({"ok": true, "result": result})
}

/// Reads a request: its path and what is asked.
async fn request(stream: &mut Stream) -> (String, Value) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return Default::default() };
        head.push(byte);
    }
    let head = String::from_utf8(head).expect("text");
    let path = head.split(' ').nth(1).expect("a path").to_string();
    let length = head.split_once("content-length: ").expect("a length").1.lines().next().expect("a number");
    let mut body = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut body).await.expect("a body");
    (path, serde_json::from_slice(&body).expect("JSON"))
}

async fn respond(stream: &mut Stream, status: u16, answer: &Value) {
    let body = answer.to_string();
    let response = format!(
        "HTTP/1.1 {status} S\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A gateway that has gone does not listen.
    let _ = stream.write_all(response.as_bytes()).await;
}
