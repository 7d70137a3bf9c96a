//! Feishu: tokens, the place of the long connection, and messages with a key by which they are recognised.
//!
//! JSON stands in the place of the vendor's envelope. What is pushed over long connections is the business of
//! `long_connection`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::long_connection::Pushing;
use super::office::{Draft, Office, Refusal};
use super::server::{self, Answer, Asked, Handler, Line};
use super::{FEISHU_EVENTS_PORT, FEISHU_PORT, PLATFORMS_HOST, app_id, app_secret};

/// How long a token is good, in seconds.
const TOKEN_SECONDS: u64 = 7200;

/// Opens the platform: what pushes its events.
pub(super) fn open(office: &Rc<Office>) -> Rc<Pushing> {
    let pushing = Pushing::open(office);
    let feishu =
        Rc::new(Feishu { office: Rc::clone(office), tokens: RefCell::default(), issued: Cell::new(0) });
    let handler: Handler = Rc::new(move |asked| Box::pin(Rc::clone(&feishu).respond(asked)));
    let serving = Rc::clone(office);
    let serve = move |stream, line| {
        let work = server::serve(Rc::clone(&serving), stream, line, Rc::clone(&handler));
        drop(serving.env.spawn("feishu connection", work));
    };
    drop(office.env.spawn("feishu", server::accept(Rc::clone(office), FEISHU_PORT, serve)));
    pushing
}

struct Feishu {
    office: Rc<Office>,
    /// By token: the bot, and until when it is good, in milliseconds of the wall clock.
    tokens: RefCell<BTreeMap<String, (String, u64)>>,
    /// How many tokens and places were given out.
    issued: Cell<u64>,
}

impl Feishu {
    async fn respond(self: Rc<Self>, asked: Asked) -> Answer {
        match asked.path.as_str() {
            "/open-apis/auth/v3/tenant_access_token/internal" => self.token(&asked.body).await,
            "/callback/ws/endpoint" => self.endpoint(&asked).await,
            "/open-apis/im/v1/messages" => self.send_message(&asked).await,
            _ => error(404, 404, "there is no such page"),
        }
    }

    /// The bot whose id and secret stand under these keys.
    fn authenticated(&self, body: &Value, id: &str, secret: &str) -> Option<String> {
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let account = text(id)?.strip_prefix(&app_id(""))?;
        (self.office.has_bot(account) && text(secret)? == app_secret(account)).then(|| account.to_owned())
    }

    async fn token(&self, body: &Value) -> Answer {
        sleep(self.office.latency()).await;
        let Some(account) = self.authenticated(body, "app_id", "app_secret") else {
            return error(200, 10014, "app secret invalid");
        };
        let token = format!("t-{account}-{}", self.issue());
        let until_ms = self.office.now_ms() + TOKEN_SECONDS * 1000;
        self.tokens.borrow_mut().insert(token.clone(), (account, until_ms));
        let body = json!({ "code": 0, "msg": "ok", "tenant_access_token": token, "expire": TOKEN_SECONDS });
        Answer { status: 200, body }
    }

    async fn endpoint(&self, asked: &Asked) -> Answer {
        sleep(self.office.latency()).await;
        let Some(account) = self.authenticated(&asked.body, "AppID", "AppSecret") else {
            return error(200, 1_000_040_345, "app id or secret invalid");
        };
        let host = asked.host.split(':').next().filter(|host| !host.is_empty()).unwrap_or(PLATFORMS_HOST);
        let device = format!("{account}.{}", self.issue());
        let url = format!("ws://{host}:{FEISHU_EVENTS_PORT}/ws?device_id={device}&service_id=1");
        let config = json!({ "PingInterval": 120, "ReconnectInterval": 5 });
        Answer {
            status: 200,
            body: json!({ "code": 0, "msg": "ok", "data": { "URL": url, "ClientConfig": config } }),
        }
    }

    fn issue(&self) -> u64 {
        self.issued.set(self.issued.get() + 1);
        self.issued.get()
    }

    async fn send_message(&self, asked: &Asked) -> Answer {
        let Some(account) = self.bearer(asked.authorization.as_deref()) else {
            return error(401, 99_991_663, "Invalid access token for authorization");
        };
        let text = |key: &str| asked.body.get(key).and_then(Value::as_str).map(str::to_owned);
        let content: Value =
            text("content").and_then(|content| serde_json::from_str(&content).ok()).unwrap_or(Value::Null);
        let (Some(chat), Some(said)) = (text("receive_id"), content.get("text").and_then(Value::as_str))
        else {
            return error(400, 230_001, "invalid request param");
        };
        let line: &Rc<Line> = &asked.line;
        let draft = Draft { account, chat, text: said.to_owned(), key: text("uuid"), answers: None };
        match self.office.send(draft, line).await {
            Some(Ok(name)) => Answer {
                status: 200,
                body: json!({ "code": 0, "msg": "success", "data": { "message_id": name } }),
            },
            Some(Err(Refusal::Blocked)) => error(400, 230_013, "Bot has NO availability to this user"),
            Some(Err(Refusal::NoChat)) => error(400, 230_002, "Bot/User can NOT be out of the chat"),
            Some(Err(Refusal::Limited(_))) => error(429, 99_991_400, "request trigger frequency limit"),
            // The line is cut; nobody reads this.
            None => error(500, 500, "internal error"),
        }
    }

    /// The bot whose token it is, while that is good.
    fn bearer(&self, authorization: Option<&str>) -> Option<String> {
        let token = authorization?.strip_prefix("Bearer ")?;
        let tokens = self.tokens.borrow();
        let (account, until_ms) = tokens.get(token)?;
        (self.office.now_ms() < *until_ms).then(|| account.clone())
    }
}

fn error(status: u16, code: u32, why: &str) -> Answer {
    Answer { status, body: json!({ "code": code, "msg": why }) }
}
