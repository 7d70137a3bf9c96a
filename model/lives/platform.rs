//! Platforms of the small world: a Bot API server and an open platform, as far as a gateway speaks with them.
//!
//! Each keeps what its users wrote until that is confirmed, and every text that it took. A test tells it what to do with
//! the next text.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::House;
use crate::env::Stream;

const TELEGRAM_PORT: u16 = 8_081;
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
            Some("sendMessage") => self.take(&asked),
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
