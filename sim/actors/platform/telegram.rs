//! Telegram: a bot polls for updates with an offset, which confirms what lies below, and sends messages.
//!
//! One poll at a time: a second one of the same bot ends the first with a conflict. There is no key by which a message
//! would be recognised that was taken before.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use gateway::env::Pid;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::desk::Item;
use super::office::{Draft, Office, Refusal};
use super::server::{self, Answer, Asked, Handler, Line};
use super::{TELEGRAM_PORT, bot_token};
use crate::timeline::{Fact, Platform};

/// How many updates an answer has at most, unless asked for fewer.
const MOST_UPDATES: u64 = 100;
/// The longest poll.
const LONGEST_POLL: Duration = Duration::from_secs(50);

/// Opens the platform.
pub(super) fn open(office: &Rc<Office>) {
    let telegram =
        Rc::new(Telegram { office: Rc::clone(office), polls: RefCell::default(), last_poll: Cell::new(0) });
    let handler: Handler = Rc::new(move |asked| Box::pin(Rc::clone(&telegram).respond(asked)));
    let serving = Rc::clone(office);
    let serve = move |stream, line| {
        let work = server::serve(Rc::clone(&serving), stream, line, Rc::clone(&handler));
        drop(serving.env.spawn("telegram connection", work));
    };
    drop(office.env.spawn("telegram", server::accept(Rc::clone(office), TELEGRAM_PORT, serve)));
}

struct Telegram {
    office: Rc<Office>,
    /// The poll of each bot that waits for updates.
    polls: RefCell<BTreeMap<String, Poll>>,
    last_poll: Cell<u64>,
}

struct Poll {
    number: u64,
    pid: Option<Pid>,
    end: oneshot::Sender<()>,
}

impl Telegram {
    async fn respond(self: Rc<Self>, asked: Asked) -> Answer {
        let Asked { path, body, line, .. } = asked;
        let called = path.strip_prefix("/bot").and_then(|rest| rest.rsplit_once('/'));
        let Some((token, method)) = called else { return error(404, "Not Found") };
        let account = token.rsplit(':').next().unwrap_or_default().to_owned();
        if !self.office.has_bot(&account) || bot_token(&account) != token {
            return error(401, "Unauthorized");
        }
        match method {
            "getMe" => {
                sleep(self.office.latency()).await;
                let username = format!("{account}_bot");
                ok(json!({ "id": 7000, "is_bot": true, "first_name": account, "username": username }))
            }
            "getUpdates" => self.get_updates(&account, &body, &line).await,
            "sendMessage" => self.send_message(account, &body, &line).await,
            _ => error(404, "Not Found: method not found"),
        }
    }

    async fn get_updates(&self, account: &str, body: &Value, line: &Line) -> Answer {
        let number =
            |key: &str| body.get(key).and_then(Value::as_i64).map(|number| number.max(0).unsigned_abs());
        let offset = number("offset").unwrap_or(0);
        let limit = number("limit").unwrap_or(MOST_UPDATES).clamp(1, MOST_UPDATES);
        let patience = Duration::from_secs(number("timeout").unwrap_or(0)).min(LONGEST_POLL);
        self.office.line_has_bot(line, account);
        let (poll, mut ended) = self.begin_poll(account, line.pid);
        let mut written = self.office.watch_written();
        sleep(self.office.latency()).await;
        self.confirm(account, offset).await;
        let deadline = Instant::now() + patience;
        let answer = loop {
            let updates = self.hand_out(account, offset, limit);
            if !updates.is_empty() {
                break ok(Value::from(updates));
            }
            tokio::select! {
                biased;
                _ = &mut ended => break error(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                ),
                _ = written.changed() => {}
                () = sleep_until(deadline) => break ok(json!([])),
            }
        };
        let mut polls = self.polls.borrow_mut();
        if polls.get(account).is_some_and(|open| open.number == poll) {
            polls.remove(account);
        }
        answer
    }

    /// The number of this poll, and what resolves when another one ends it.
    fn begin_poll(&self, account: &str, pid: Option<Pid>) -> (u64, oneshot::Receiver<()>) {
        let number = self.last_poll.get() + 1;
        self.last_poll.set(number);
        let (end, ended) = oneshot::channel();
        let before = self.polls.borrow_mut().insert(account.to_owned(), Poll { number, pid, end });
        // Whoever has hung up is no poller any more.
        if let Some(before) = before.filter(|before| !before.end.is_closed()) {
            let account = account.to_owned();
            self.office.record(Fact::PollConflict { account, ended: before.pid, by: pid });
            let _ = before.end.send(());
        }
        (number, ended)
    }

    /// What lies below `offset` is confirmed, sooner or later.
    async fn confirm(&self, account: &str, offset: u64) {
        let after = self.office.acknowledges_after();
        let (office, account) = (Rc::clone(&self.office), account.to_owned());
        let confirm = async move {
            if !after.is_zero() {
                sleep(after).await;
            }
            let confirmed = office.at_desk(&account, |desk| desk.confirm_below(offset)).unwrap_or_default();
            office.confirmed(confirmed.into_iter().filter_map(|item| item.message));
        };
        match after.is_zero() {
            true => confirm.await,
            false => drop(self.office.env.spawn("late acknowledgement", confirm)),
        }
    }

    fn hand_out(&self, account: &str, offset: u64, limit: u64) -> Vec<Value> {
        let office = &self.office;
        let due: Vec<Item> = office
            .at_desk(account, |desk| desk.from(offset).take(limit as usize).cloned().collect())
            .unwrap_or_default();
        for item in &due {
            let times = item.times + 1;
            office.at_desk(account, |desk| {
                if let Some(item) = desk.item(item.number) {
                    item.times = times;
                }
            });
            if let Some(message) = item.message.clone() {
                let key = item.key(Platform::Telegram, account);
                office.record(Fact::UpdateHandedOut { message, key, times });
            }
        }
        due.iter().map(|item| self.update(item)).collect()
    }

    fn update(&self, item: &Item) -> Value {
        let chat = number_of(&item.chat);
        let name = self.office.user_of_chat(&item.chat).map_or("", |user| user.sender.as_str());
        json!({ "update_id": item.number, "message": {
            "message_id": item.number,
            "date": item.written_ms / 1000,
            "chat": { "id": chat, "type": "private", "first_name": name },
            "from": { "id": chat, "is_bot": false, "first_name": name },
            "text": item.text,
        } })
    }

    async fn send_message(&self, account: String, body: &Value, line: &Rc<Line>) -> Answer {
        let chat = match body.get("chat_id") {
            Some(Value::String(chat)) => chat.clone(),
            Some(chat) => chat.to_string(),
            None => String::new(),
        };
        let text = body.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
        if text.is_empty() {
            return error(400, "Bad Request: message text is empty");
        }
        let answers = body.pointer("/reply_parameters/message_id").and_then(Value::as_u64);
        let date = self.office.now_ms() / 1000;
        let draft = Draft { account, chat: chat.clone(), text: text.clone(), key: None, answers };
        match self.office.send(draft, line).await {
            Some(Ok(name)) => {
                let chat = json!({ "id": number_of(&chat), "type": "private" });
                ok(json!({ "message_id": number_of(&name), "date": date, "chat": chat, "text": text }))
            }
            Some(Err(Refusal::Blocked)) => error(403, "Forbidden: bot was blocked by the user"),
            Some(Err(Refusal::NoChat)) => error(400, "Bad Request: chat not found"),
            Some(Err(Refusal::Limited(after))) => {
                let seconds = after.as_secs().max(1);
                let mut answer = error(429, &format!("Too Many Requests: retry after {seconds}"));
                answer.body["parameters"] = json!({ "retry_after": seconds });
                answer
            }
            // The line is cut; nobody reads this.
            None => error(500, "Internal Server Error"),
        }
    }
}

fn number_of(text: &str) -> i64 {
    text.parse().unwrap_or(0)
}

fn ok(result: Value) -> Answer {
    Answer { status: 200, body: json!({ "ok": true, "result": result }) }
}

fn error(status: u16, description: &str) -> Answer {
    Answer { status, body: json!({ "ok": false, "error_code": status, "description": description }) }
}
