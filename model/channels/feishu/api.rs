//! The open platform: what is asked over HTTP, what is answered, and what an answer means for a text that was to be sent.

use std::cell::RefCell;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::channels::http::{Answer, HttpError, Site};
use crate::channels::parts::parts;
use crate::channels::{Chat, Delivery, SendError, Sent};
use crate::config::FeishuAccount;
use crate::env::Env;
use crate::messages::inbox::fingerprint;

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A token is renewed so long before it expires.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// The longest message; the platform's own limit is 150 KB.
pub(super) const MESSAGE_BYTES: usize = 100_000;

/// The platform's words for what can never be sent: we are not in the chat, or not available to the user.
const NOT_IN_CHAT: i64 = 230_002;
const NOT_AVAILABLE: i64 = 230_013;
/// Its words for too many requests, and for a token that it does not know.
const TOO_OFTEN: i64 = 99_991_400;
const INVALID_TOKEN: i64 = 99_991_663;

/// An app, as the platform knows it.
pub(super) struct Api {
    env: Env,
    site: Site,
    account: FeishuAccount,
    token: RefCell<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    value: String,
    good_until: Instant,
}

/// Why a request did not do what it asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The platform said no.
    #[error("{code} {msg} (HTTP {status})")]
    Refused { status: u16, code: i64, msg: String, retry_after: Option<Duration> },
    /// The platform said something else than it should.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
}

/// What the answers have in common.
#[derive(Deserialize)]
struct Envelope {
    code: i64,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    tenant_access_token: Option<String>,
    /// In seconds.
    #[serde(default)]
    expire: u64,
}

/// Where events are to be had.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Endpoint {
    #[serde(rename = "URL")]
    pub(super) url: String,
    #[serde(default)]
    pub(super) client_config: ClientConfig,
}

/// What the platform asks of those who connect, in seconds.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ClientConfig {
    pub(super) ping_interval: u64,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { ping_interval: 120 }
    }
}

impl Api {
    pub(super) fn new(env: Env, account: &FeishuAccount) -> Self {
        let site = Site::parse(&account.domain).expect("the configuration was checked");
        Self { env, site, account: account.clone(), token: RefCell::default() }
    }

    async fn call(
        &self,
        path: &str,
        token: Option<&str>,
        body: &impl Serialize,
    ) -> Result<Envelope, ApiError> {
        let answer = self.site.post(&self.env, path, token, body, REQUEST_TIMEOUT).await?;
        judge(&answer)
    }

    /// The token that requests are made with; a new one when the last has expired.
    pub(super) async fn token(&self) -> Result<String, ApiError> {
        let known = self.token.borrow().clone();
        if let Some(token) = known.filter(|token| Instant::now() < token.good_until) {
            return Ok(token.value);
        }
        let body = json!({"app_id": self.account.app_id, "app_secret": self.account.app_secret});
        let asked = Instant::now();
        let answer = self.call("/open-apis/auth/v3/tenant_access_token/internal", None, &body).await?;
        let value = answer.tenant_access_token.ok_or_else(|| ApiError::Malformed("no token".to_string()))?;
        let lifetime = Duration::from_secs(answer.expire);
        let good_for = lifetime.saturating_sub(RENEWED_BEFORE).max(lifetime / 2);
        self.token.replace(Some(Token { value: value.clone(), good_until: asked + good_for }));
        Ok(value)
    }

    /// Where events are to be had.
    pub(super) async fn endpoint(&self) -> Result<Endpoint, ApiError> {
        let body = json!({"AppID": self.account.app_id, "AppSecret": self.account.app_secret});
        let answer = self.call("/callback/ws/endpoint", None, &body).await?;
        Endpoint::deserialize(answer.data).map_err(|error| ApiError::Malformed(error.to_string()))
    }

    /// Sends a text, in parts where it is too long for one message; each has a name, so that none comes twice.
    pub(super) async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let mut sent = None;
        for (number, part) in parts(&delivery.text, MESSAGE_BYTES, char::len_utf8).into_iter().enumerate() {
            let name = match number {
                0 => delivery.id.clone(),
                _ => format!("{} part {number}", delivery.id),
            };
            sent = Some(self.send_part(&delivery.chat, &uuid(&name), part).await?);
        }
        Ok(sent.expect("every text has a part"))
    }

    /// A token that the platform does not know any more is renewed, once.
    async fn send_part(&self, chat: &Chat, uuid: &str, text: &str) -> Result<Sent, SendError> {
        // What fails before the text itself goes out leaves it where it was.
        let not_now = |error: ApiError| SendError::NotNow { why: error.to_string(), retry_after: None };
        let mut sent = self.send_with(&self.token().await.map_err(not_now)?, chat, uuid, text).await;
        if let Err(ApiError::Refused { code: INVALID_TOKEN, .. } | ApiError::Refused { status: 401, .. }) =
            sent
        {
            self.token.replace(None);
            sent = self.send_with(&self.token().await.map_err(not_now)?, chat, uuid, text).await;
        }
        sent.map_err(send_error)
    }

    async fn send_with(&self, token: &str, chat: &Chat, uuid: &str, text: &str) -> Result<Sent, ApiError> {
        let body = json!({
            "receive_id": chat.chat,
            "msg_type": "text",
            "content": json!({"text": text}).to_string(),
            "uuid": uuid,
        });
        let path = "/open-apis/im/v1/messages?receive_id_type=chat_id";
        let answer = self.call(path, Some(token), &body).await?;
        match answer.data["message_id"].as_str() {
            Some(message) => Ok(Sent { message: message.to_string() }),
            None => Err(ApiError::Malformed("no message id".to_string())),
        }
    }
}

fn judge(answer: &Answer) -> Result<Envelope, ApiError> {
    let status = answer.status.as_u16();
    let retry_after = answer.retry_after;
    match answer.json::<Envelope>() {
        Ok(envelope) if envelope.code == 0 && answer.status.is_success() => Ok(envelope),
        Ok(Envelope { code, msg, .. }) => Err(ApiError::Refused { status, code, msg, retry_after }),
        // Something between us and the platform answers for it.
        Err(msg) if !answer.status.is_success() => {
            Err(ApiError::Refused { status, code: -1, msg, retry_after })
        }
        Err(why) => Err(ApiError::Malformed(why)),
    }
}

/// What an error means for the text.
fn send_error(error: ApiError) -> SendError {
    let why = error.to_string();
    match error {
        ApiError::Http(HttpError::NotSent { .. }) => SendError::NotNow { why, retry_after: None },
        ApiError::Http(HttpError::Unknown { .. }) | ApiError::Malformed(_) => SendError::Unknown { why },
        // The platform did not hear in time what became of it.
        ApiError::Refused { status: 504, .. } => SendError::Unknown { why },
        ApiError::Refused { code: TOO_OFTEN | INVALID_TOKEN, retry_after, .. } => {
            SendError::NotNow { why, retry_after }
        }
        ApiError::Refused { code: NOT_IN_CHAT | NOT_AVAILABLE, .. }
        | ApiError::Refused { status: 400 | 403, .. } => SendError::Never { why },
        ApiError::Refused { retry_after, .. } => SendError::NotNow { why, retry_after },
    }
}

/// The name of a text by which the platform recognises it: 32 digits, of the 50 that it allows.
fn uuid(id: &str) -> String {
    format!("{:016x}{:016x}", fingerprint(id), fingerprint(&format!("{id} again")))
}
