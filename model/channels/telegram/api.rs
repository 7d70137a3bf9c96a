//! The Bot API: what is asked, what is answered, and what an answer means for a text that was to be sent.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::channels::http::{HttpError, Site};
use crate::channels::parts::parts;
use crate::channels::{Chat, Delivery, SendError, Sent};
use crate::config::TelegramAccount;
use crate::env::Env;

/// How long the platform holds a poll open for which it has nothing, in seconds (OpenClaw: 30).
const POLL_SECONDS: u64 = 30;
/// How much longer its answer may take.
const POLL_GRACE: Duration = Duration::from_secs(10);
/// How many updates one poll gets at most; the API's own limit.
const UPDATES: u32 = 100;
/// How long any other request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest message, in units of UTF-16; the API's own limit.
pub(super) const MESSAGE_UNITS: usize = 4_096;

/// A bot, as the API knows it.
pub(super) struct Api {
    env: Env,
    site: Site,
    /// The path of every method.
    root: String,
}

/// Why a method did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The platform said no.
    #[error("{code} {description}")]
    Refused { code: u16, description: String, retry_after: Option<Duration> },
    /// The platform said something else than the API says.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
}

impl ApiError {
    /// Another poller took the bot.
    pub(super) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// How long the platform does not want to be asked.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Http(_) | Self::Malformed(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    ok: bool,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
}

/// The bot itself.
#[derive(Deserialize)]
pub(super) struct Me {
    pub(super) id: i64,
}

/// Something that happened.
#[derive(Deserialize)]
pub(super) struct Update {
    pub(super) update_id: i64,
    /// A new message; other kinds of updates are none.
    #[serde(default)]
    pub(super) message: Option<Value>,
}

/// A new message in a chat.
#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) message_id: i64,
    pub(super) chat: ChatId,
    #[serde(default)]
    pub(super) text: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ChatId {
    pub(super) id: i64,
}

#[derive(Deserialize)]
struct MessageId {
    message_id: i64,
}

impl Api {
    pub(super) fn new(env: Env, account: &TelegramAccount) -> Self {
        let site = Site::parse(&account.api_root).expect("the configuration was checked");
        Self { env, site, root: format!("/bot{}", account.bot_token) }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &impl Serialize,
        limit: Duration,
    ) -> Result<T, ApiError> {
        let path = format!("{}/{method}", self.root);
        let answer = self.site.post(&self.env, &path, None, parameters, limit).await?;
        let envelope: Envelope = match answer.json() {
            Ok(envelope) => envelope,
            // Something between us and the platform answers for it.
            Err(why) if !answer.status.is_success() => {
                let (code, retry_after) = (answer.status.as_u16(), answer.retry_after);
                return Err(ApiError::Refused { code, description: why, retry_after });
            }
            Err(why) => return Err(ApiError::Malformed(why)),
        };
        if !envelope.ok {
            return Err(ApiError::Refused {
                code: envelope.error_code.unwrap_or(answer.status.as_u16()),
                description: envelope.description,
                retry_after: envelope.parameters.retry_after.map(Duration::from_secs).or(answer.retry_after),
            });
        }
        T::deserialize(envelope.result).map_err(|error| ApiError::Malformed(error.to_string()))
    }

    /// Who we are.
    pub(super) async fn get_me(&self) -> Result<Me, ApiError> {
        self.call("getMe", &json!({}), REQUEST_TIMEOUT).await
    }

    /// The updates from `offset` on, waiting for the first. Those before it are confirmed by that, and forgotten.
    pub(super) async fn get_updates(&self, offset: Option<i64>) -> Result<Vec<Update>, ApiError> {
        let limit = Duration::from_secs(POLL_SECONDS) + POLL_GRACE;
        let parameters = match offset {
            Some(offset) => json!({"offset": offset, "limit": UPDATES, "timeout": POLL_SECONDS}),
            None => json!({"limit": UPDATES, "timeout": POLL_SECONDS}),
        };
        self.call("getUpdates", &parameters, limit).await
    }

    /// Has the updates before `offset` forgotten, without waiting for others.
    pub(super) async fn confirm(&self, offset: i64) -> Result<(), ApiError> {
        let parameters = json!({"offset": offset, "limit": 1, "timeout": 0});
        self.call("getUpdates", &parameters, REQUEST_TIMEOUT).await.map(|_: Value| ())
    }

    /// Sends a text, in parts where it is too long for one message. When a part is not taken, those before it were.
    pub(super) async fn send_message(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let mut sent = None;
        for part in parts(&delivery.text, MESSAGE_UNITS, char::len_utf16) {
            sent = Some(match (self.send_part(&delivery.chat, part).await.map_err(send_error), sent) {
                (Err(SendError::NotNow { why, .. }), Some(_)) => return Err(SendError::Unknown { why }),
                (outcome, _) => outcome?,
            });
        }
        Ok(sent.expect("every text has a part"))
    }

    async fn send_part(&self, chat: &Chat, text: &str) -> Result<Sent, ApiError> {
        let mut parameters = json!({"chat_id": id(&chat.chat), "text": text});
        if let Some(message) = &chat.message {
            // A message that is gone by now is answered all the same.
            parameters["reply_parameters"] =
                json!({"message_id": id(message), "allow_sending_without_reply": true});
        }
        let MessageId { message_id } = self.call("sendMessage", &parameters, REQUEST_TIMEOUT).await?;
        Ok(Sent { message: message_id.to_string() })
    }
}

/// A number, as the API has it, where it is one.
fn id(id: &str) -> Value {
    id.parse::<i64>().map_or_else(|_| json!(id), |number| json!(number))
}

/// What an error means for the text.
fn send_error(error: ApiError) -> SendError {
    let why = error.to_string();
    match error {
        ApiError::Http(HttpError::NotSent { .. }) => SendError::NotNow { why, retry_after: None },
        ApiError::Http(HttpError::Unknown { .. }) | ApiError::Malformed(_) => SendError::Unknown { why },
        // The platform did not hear in time what became of it.
        ApiError::Refused { code: 504, .. } => SendError::Unknown { why },
        // There is no such chat, or we are not wanted there, or the text is not one.
        ApiError::Refused { code: 400 | 403, .. } => SendError::Never { why },
        ApiError::Refused { retry_after, .. } => SendError::NotNow { why, retry_after },
    }
}
