//! Feishu's long connections: events are pushed to one of a bot's connections, and again until it acknowledges.
//!
//! A bot may have several connections; which of them gets an event is the platform's choice. That is how a connection
//! that nobody listens to any more swallows events.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use gateway::env::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::FEISHU_EVENTS_PORT;
use super::desk::Item;
use super::mood::{Outage, draw};
use super::office::Office;
use super::server::{self, Line};
use crate::timeline::{Fact, Platform};

/// An event that nobody acknowledged for so long is given up.
const GIVEN_UP_AFTER_MS: u64 = 72 * 60 * 60 * 1000;
/// How long an upgrade, or a frame on its way out, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection over which nothing came for so long is over: its bot is to ping every two minutes.
const LONGEST_SILENCE: Duration = Duration::from_secs(5 * 60);
/// The size of the read buffer; tungstenite fills it with zeros at each read.
const READ_BUFFER_BYTES: usize = 1024;

/// What pushes events.
pub(super) struct Pushing {
    office: Rc<Office>,
    /// The open connections of each bot, in the order in which they came, each with what is pushed to it.
    connections: RefCell<BTreeMap<String, Vec<Connection>>>,
}

struct Connection {
    number: u32,
    push: mpsc::UnboundedSender<(Instant, String)>,
}

impl Pushing {
    /// Listens for long connections.
    pub(super) fn open(office: &Rc<Office>) -> Rc<Self> {
        let pushing = Rc::new(Self { office: Rc::clone(office), connections: RefCell::default() });
        let serving = Rc::clone(&pushing);
        let serve = move |stream, line| {
            let work = Rc::clone(&serving).serve(stream, line);
            drop(serving.office.env.spawn("feishu long connection", work));
        };
        drop(office.env.spawn("feishu events", server::accept(Rc::clone(office), FEISHU_EVENTS_PORT, serve)));
        pushing
    }

    /// Hands an event out to one of the bot's connections, and again after a while; not while there is none.
    pub(super) fn push(self: &Rc<Self>, account: &str, number: u64) {
        let office = &self.office;
        let oldest = office.now_ms().saturating_sub(GIVEN_UP_AFTER_MS);
        office.at_desk(account, |desk| desk.forget_written_before(oldest));
        let Some((connection, push)) = self.choose(account) else { return };
        let again = office.at_desk(account, |desk| desk.item(number).map(|item| item.times > 0)).flatten();
        let Some(again) = again else { return };
        let renamed = again && self.renames();
        let item = office.at_desk(account, |desk| {
            let item = desk.item(number)?;
            item.times += 1;
            item.names += u32::from(renamed);
            item.connection = Some(connection);
            Some(item.clone())
        });
        let Some(item) = item.flatten() else { return };
        if let Some(message) = item.message.clone() {
            let key = item.key(Platform::Feishu, account);
            office.record(Fact::UpdateHandedOut { message, key, times: item.times });
        }
        // The connection may end at this moment.
        let _ = push.send((Instant::now() + office.latency(), self.event(account, &item).to_string()));
        drop(office.env.spawn("feishu redelivery", Rc::clone(self).redeliver(account.to_owned(), item)));
    }

    /// One of the bot's connections.
    fn choose(&self, account: &str) -> Option<(u32, mpsc::UnboundedSender<(Instant, String)>)> {
        let connections = self.connections.borrow();
        let open = connections.get(account).filter(|open| !open.is_empty())?;
        let index = match open.len() as u64 {
            1 => 0,
            count => self.office.env.random("platform-connection") % count,
        };
        let chosen = &open[index as usize];
        Some((chosen.number, chosen.push.clone()))
    }

    fn renames(&self) -> bool {
        let share = u64::from(self.office.settings.new_ids);
        share > 0 && self.office.env.random("platform-new-id") % 100 < share
    }

    async fn redeliver(self: Rc<Self>, account: String, pushed: Item) {
        let office = &self.office;
        sleep(draw(&office.settings.redeliver_after, || office.env.random("platform-redelivery"))).await;
        let times = office.at_desk(&account, |desk| desk.item(pushed.number).map(|item| item.times));
        if times.flatten() == Some(pushed.times) {
            self.push(&account, pushed.number);
        }
    }

    fn event(&self, account: &str, item: &Item) -> Value {
        let written_ms = item.written_ms.to_string();
        let user = self.office.user_of_chat(&item.chat).map_or("", |user| user.sender.as_str());
        json!({
            "type": "event",
            "headers": {
                "event_id": item.event_id(account),
                "event_type": "im.message.receive_v1",
                "create_time": written_ms,
            },
            "event": {
                "sender": { "sender_id": { "open_id": format!("ou_{user}") }, "sender_type": "user" },
                "message": {
                    "message_id": item.message_id(account),
                    "chat_id": item.chat,
                    "chat_type": "p2p",
                    "create_time": written_ms,
                    "message_type": "text",
                    "content": json!({ "text": item.text }).to_string(),
                },
            },
        })
    }

    // -- a connection

    async fn serve(self: Rc<Self>, stream: Stream, line: Rc<Line>) {
        let office = Rc::clone(&self.office);
        if office.outage() == Some(Outage::Fails) {
            line.cut();
            return office.line_ended(&line, "refused");
        }
        let mut path = String::new();
        #[allow(clippy::result_large_err, reason = "the shape is tungstenite's")]
        let note_path = |request: &Request, response: Response| {
            path = request.uri().to_string();
            Ok(response)
        };
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let upgrade = tokio_tungstenite::accept_hdr_async_with_config(stream, note_path, Some(config));
        let Ok(Ok(socket)) = timeout(PATIENCE, upgrade).await else {
            return office.line_ended(&line, "gone");
        };
        let device = path.split(['?', '&']).find_map(|part| part.strip_prefix("device_id="));
        let account =
            device.and_then(|device| device.rsplit_once('.')).map(|(account, _)| account.to_owned());
        let Some(account) = account.filter(|account| office.has_bot(account)) else {
            return office.line_ended(&line, "unknown");
        };
        office.line_has_bot(&line, &account);
        let pushes = self.connect(&account, line.number);
        let how = self.talk(socket, &account, pushes).await;
        if let Some(open) = self.connections.borrow_mut().get_mut(&account) {
            open.retain(|connection| connection.number != line.number);
        }
        office.line_ended(&line, how);
    }

    /// The bot has one more connection: what no open one has been pushed comes over it.
    fn connect(self: &Rc<Self>, account: &str, number: u32) -> mpsc::UnboundedReceiver<(Instant, String)> {
        let (push, pushes) = mpsc::unbounded_channel();
        let open: Vec<u32> = {
            let mut connections = self.connections.borrow_mut();
            let open = connections.entry(account.to_owned()).or_default();
            open.push(Connection { number, push });
            open.iter().map(|connection| connection.number).collect()
        };
        let lost = |item: &&Item| item.connection.is_none_or(|connection| !open.contains(&connection));
        let due: Option<Vec<u64>> =
            self.office.at_desk(account, |desk| desk.from(0).filter(lost).map(|item| item.number).collect());
        for number in due.unwrap_or_default() {
            self.push(account, number);
        }
        pushes
    }

    /// Talks over a connection until it ends, and says how.
    async fn talk(
        self: &Rc<Self>,
        mut socket: WebSocketStream<Stream>,
        account: &str,
        mut pushes: mpsc::UnboundedReceiver<(Instant, String)>,
    ) -> &'static str {
        let mut leaving: VecDeque<(Instant, String)> = VecDeque::new();
        let mut over = Instant::now() + LONGEST_SILENCE;
        loop {
            let next = leaving.front().map_or_else(|| Instant::now() + PATIENCE, |(due, _)| *due);
            tokio::select! {
                biased;
                frame = socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => {
                        over = Instant::now() + LONGEST_SILENCE;
                        if self.is_ping(account, text.as_str()) {
                            leaving.push_front((Instant::now(), r#"{"type":"pong"}"#.to_owned()));
                        }
                    }
                    Some(Ok(Message::Close(_))) | None => return "closed",
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return "broke off",
                },
                Some((due, text)) = pushes.recv() => {
                    // Nothing overtakes what was pushed before.
                    let due = leaving.back().map_or(due, |(last, _)| due.max(*last));
                    leaving.push_back((due, text));
                }
                () = sleep_until(over) => return "silent",
                () = sleep_until(next), if !leaving.is_empty() => {
                    let Some((_, text)) = leaving.pop_front() else { continue };
                    match timeout(PATIENCE, socket.send(Message::text(text))).await {
                        Ok(Ok(())) => {}
                        _ => return "broke off",
                    }
                }
            }
        }
    }

    /// Takes a frame of the bot's; whether it is a ping.
    fn is_ping(self: &Rc<Self>, account: &str, text: &str) -> bool {
        let frame: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let word = |key: &str| frame.get(key).and_then(Value::as_str);
        let good = frame.get("code").and_then(Value::as_u64) == Some(200);
        if let (Some("ack"), Some(event), true) = (word("type"), word("event_id"), good) {
            self.acknowledged(account, event);
        }
        word("type") == Some("ping")
    }

    fn acknowledged(&self, account: &str, event: &str) {
        let number = self.office.at_desk(account, |desk| desk.of_event(account, event)).flatten();
        let Some(number) = number else { return };
        let after = self.office.acknowledges_after();
        let (office, account) = (Rc::clone(&self.office), account.to_owned());
        let confirm = move || {
            let confirmed = office.at_desk(&account, |desk| desk.confirm(number)).flatten();
            office.confirmed(confirmed.and_then(|item| item.message));
        };
        if after.is_zero() {
            return confirm();
        }
        drop(self.office.env.spawn("late acknowledgement", async move {
            sleep(after).await;
            confirm();
        }));
    }
}
