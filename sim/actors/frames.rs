//! The gateway protocol's JSON frames as an outside client writes and reads them.
//!
//! Reading is lenient: what is not understood is `None` or empty, never an error, because a client must survive
//! whatever a gateway sends. Whoever reads a frame says what of its payload it wants. Knows the protocol's shapes, not
//! what they mean for a message.

use std::borrow::Cow;
use std::time::Duration;

use serde::de::{DeserializeOwned, SeqAccess};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lenient::{Fields, Kind, Lenient};

/// The protocol version spoken.
const PROTOCOL: u32 = 3;

/// A frame that the gateway sent, and of its payload what is wanted: a `P`.
#[derive(Debug, PartialEq)]
pub(super) enum Frame<P> {
    /// The answer to a request of ours.
    Response { id: String, answer: Result<P, Refusal> },
    /// Something the gateway says by itself. A piece of an answer has no payload here: it settles nothing, most
    /// frames are such pieces, and reading them was a fiftieth of a run's time.
    Event { name: String, payload: P },
}

/// The error of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `CODE: message`.
    pub(super) reason: String,
    /// Whether trying again may help.
    pub(super) retryable: bool,
    /// How long the gateway asks us to wait before that.
    pub(super) retry_after: Duration,
}

impl<P: DeserializeOwned + Default> Frame<P> {
    /// Reads a frame; `None` when `text` is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if is_piece_of_an_answer(text) {
            return Some(Self::Event { name: "chat".to_owned(), payload: P::default() });
        }
        let AnyFrame { kind, id, ok, error, event, payload } = serde_json::from_str(text).ok()?;
        match &*kind {
            "res" => {
                let answer = if ok.0 == Some(true) { Ok(payload) } else { Err(Refusal::read(error)) };
                Some(Self::Response { id: id?, answer })
            }
            "event" => Some(Self::Event { name: event?, payload }),
            _ => None,
        }
    }
}

/// The fields of every kind of frame.
#[derive(Deserialize)]
#[serde(bound(deserialize = "P: Deserialize<'de> + Default"))]
struct AnyFrame<'a, P> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    id: Option<String>,
    #[serde(default)]
    ok: Lenient<bool>,
    #[serde(default)]
    error: Lenient<ErrorBody>,
    event: Option<String>,
    #[serde(default)]
    payload: P,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ErrorBody {
    code: Lenient<String>,
    message: Lenient<String>,
    retryable: Lenient<bool>,
    retry_after_ms: Lenient<u64>,
}

impl Fields for ErrorBody {}

/// Recognised by its text: inside a string the quotation marks would be escaped.
fn is_piece_of_an_answer(text: &str) -> bool {
    text.starts_with(r#"{"type":"event","event":"chat","payload":{"#) && text.contains(r#","state":"delta","#)
}

impl Refusal {
    fn read(error: Lenient<ErrorBody>) -> Self {
        let error = error.0.unwrap_or_default();
        let code = error.code.text().unwrap_or("UNKNOWN");
        let message = error.message.text().unwrap_or("no reason given");
        Self {
            reason: format!("{code}: {message}"),
            retryable: error.retryable.0.unwrap_or(false),
            retry_after: Duration::from_millis(error.retry_after_ms.0.unwrap_or_default()),
        }
    }
}

#[derive(Serialize)]
struct RequestFrame<'a, P> {
    r#type: &'static str,
    id: &'a str,
    method: &'a str,
    params: P,
}

/// A request frame, ready to send.
pub(super) fn request(id: &str, method: &str, params: impl Serialize) -> String {
    let frame = RequestFrame { r#type: "req", id, method, params };
    serde_json::to_string(&frame).expect("a frame is plain text")
}

/// The parameters of `connect`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConnectParams<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    auth: Option<Auth<'a>>,
    client: Client,
    max_protocol: u32,
    min_protocol: u32,
    role: &'static str,
    scopes: &'a [&'a str],
}

#[derive(Serialize)]
struct Auth<'a> {
    token: &'a str,
}

#[derive(Serialize)]
struct Client {
    id: &'static str,
    mode: &'static str,
    platform: &'static str,
    version: &'static str,
}

impl<'a> ConnectParams<'a> {
    /// Those of a client that may talk; without `token` the request carries no authentication at all.
    pub(super) fn of(token: Option<&'a str>) -> Self {
        Self::with_scopes(token, &["operator.read", "operator.write"])
    }

    /// As [`ConnectParams::of`], with these scopes.
    pub(super) fn with_scopes(token: Option<&'a str>, scopes: &'a [&'a str]) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self {
            auth: token.map(|token| Auth { token }),
            client: Client { id: "gatesim", mode: "webchat", platform: "sim", version },
            max_protocol: PROTOCOL,
            min_protocol: PROTOCOL,
            role: "operator",
            scopes,
        }
    }
}

/// The parameters of `chat.send`.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendParams<'a> {
    /// The conversation.
    pub(super) session_key: &'a str,
    /// The text.
    pub(super) message: &'a str,
    /// What makes two attempts the same message.
    pub(super) idempotency_key: &'a str,
}

/// A string field of an object.
pub(super) fn string_at<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str()
}

/// A chat message, as far as it is text.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Said {
    content: Lenient<Content>,
}

impl Fields for Said {}

impl Said {
    /// The text of the message.
    pub(super) fn text(&self) -> &str {
        self.content.0.as_ref().map_or("", Content::text)
    }
}

/// The text of what a chat message has as its content: its `text` parts joined, whether it is a list of parts or plain
/// text.
#[derive(Debug, PartialEq)]
pub(super) struct Content(String);

impl Content {
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

impl Kind for Content {
    fn of_text(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }

    fn of_list<'de, A: SeqAccess<'de>>(mut parts: A) -> Result<Option<Self>, A::Error> {
        let mut text = String::new();
        while let Some(part) = parts.next_element::<Lenient<Part>>()? {
            text.push_str(part.0.as_ref().and_then(|part| part.text.text()).unwrap_or_default());
        }
        Ok(Some(Self(text)))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Part {
    text: Lenient<String>,
}

impl Fields for Part {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Frame = super::Frame<Value>;

    #[test]
    fn an_error_response_keeps_its_reason_and_retry_advice() {
        let text = r#"{"type":"res","id":"7","ok":false,
            "error":{"code":"UNAVAILABLE","message":"draining","retryable":true,"retryAfterMs":1500}}"#;
        let refusal = Refusal {
            reason: "UNAVAILABLE: draining".into(),
            retryable: true,
            retry_after: Duration::from_millis(1500),
        };
        assert_eq!(Frame::parse(text), Some(Frame::Response { id: "7".into(), answer: Err(refusal) }));
    }

    #[test]
    fn nonsense_is_no_frame() {
        for text in ["", "hello", "[]", "null", "{}", r#"{"type":7}"#, r#"{"type":"res"}"#, r#"{"type":"x"}"#]
        {
            assert_eq!(Frame::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_response_without_payload_is_still_a_response() {
        let text = r#"{"type":"res","id":"1","ok":true}"#;
        assert_eq!(Frame::parse(text), Some(Frame::Response { id: "1".into(), answer: Ok(Value::Null) }));
    }

    #[test]
    fn what_an_event_says_is_read_unless_it_is_a_piece_of_an_answer() {
        let event = |payload: &str| {
            Frame::parse(&format!(r#"{{"type":"event","event":"chat","payload":{payload},"seq":4}}"#))
        };
        let saying = |payload| Some(Frame::Event { name: "chat".into(), payload });
        assert_eq!(event(r#"{"seq":1,"state":"delta","n":[1]}"#), saying(Value::Null));
        for payload in [r#"{"seq":1,"state":"final","n":[1]}"#, r#"{"n":",\"state\":\"delta\","}"#, "7"] {
            assert_eq!(event(payload), saying(serde_json::from_str(payload).expect("is JSON")));
        }
    }

    #[test]
    fn text_is_read_from_parts_and_from_plain_content() {
        let text = |message: Value| {
            let said: Lenient<Said> = serde_json::from_value(message).expect("is read whatever it is");
            said.0.unwrap_or_default().text().to_owned()
        };
        assert_eq!(text(json!({ "content": [{ "type": "text", "text": "a" }, { "text": "b" }, 3] })), "ab");
        assert_eq!(text(json!({ "content": "plain" })), "plain");
        assert_eq!(text(json!(null)), "");
    }
}
