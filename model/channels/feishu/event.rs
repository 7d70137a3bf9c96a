//! Frames of the event connection, and the message in an event.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::channels::arrival::Arrival;
use crate::channels::{Account, Chat};

/// What the platform says.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Frame {
    /// Something happened.
    Event {
        headers: Headers,
        #[serde(default)]
        event: Value,
    },
    /// The answer to a ping, or something that we do not know.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub(super) struct Headers {
    pub(super) event_id: String,
    #[serde(default)]
    pub(super) event_type: String,
}

/// The only kind of event that is a message.
const MESSAGE: &str = "im.message.receive_v1";

#[derive(Deserialize)]
struct Received {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    message_id: String,
    chat_id: String,
    /// In milliseconds since the epoch.
    create_time: String,
    message_type: String,
    content: String,
}

#[derive(Deserialize)]
struct Content {
    text: String,
}

/// The message in an event; nothing where it is of another kind.
pub(super) fn arrival(account: &Account, headers: &Headers, event: Value) -> Option<Arrival> {
    if headers.event_type != MESSAGE {
        return None;
    }
    let Received { message } = serde_json::from_value(event).ok()?;
    let content: Option<Content> = serde_json::from_str(&message.content).ok();
    let chat = Chat {
        account: account.clone(),
        chat: message.chat_id,
        message: Some(message.message_id.clone()),
        written_at: message.create_time.parse().ok(),
    };
    let text = content.filter(|_| message.message_type == "text").map(|content| content.text);
    Some(Arrival { id: message.message_id, chat, text })
}

/// Says that an event was taken.
pub(super) fn acknowledgement(headers: &Headers) -> String {
    json!({"type": "ack", "event_id": headers.event_id, "code": 200}).to_string()
}

/// Asks whether anybody is there.
pub(super) fn ping() -> String {
    json!({"type": "ping"}).to_string()
}
