//! The gateway protocol's JSON frames as an outside client writes and reads them.
//!
//! Reading is lenient: what is not understood is `None` or empty, never an error, because a client must survive
//! whatever a gateway sends. Knows the protocol's shapes, not what they mean for a message.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The protocol version spoken.
const PROTOCOL: u32 = 3;

/// A frame that the gateway sent.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// The answer to a request of ours.
    Response { id: String, answer: Result<Value, Refusal> },
    /// Something the gateway says by itself. A piece of an answer has no payload here: it settles nothing, most
    /// frames are such pieces, and reading them was a fiftieth of a run's time.
    Event { name: String, payload: Value },
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

impl Frame {
    /// Reads a frame; `None` when `text` is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if is_piece_of_an_answer(text) {
            return Some(Self::Event { name: "chat".to_owned(), payload: Value::Null });
        }
        if text.ends_with(HELLO_ENDS) {
            return Self::parse_hello(text);
        }
        let AnyFrame { kind, id, ok, error, event, payload } = serde_json::from_str(text).ok()?;
        match &*kind {
            "res" => {
                let answer = if ok == Value::Bool(true) { Ok(payload) } else { Err(Refusal::read(&error)) };
                Some(Self::Response { id: id?, answer })
            }
            "event" => Some(Self::Event { name: event?, payload }),
            _ => None,
        }
    }

    fn parse_hello(text: &str) -> Option<Self> {
        let HelloFrame { kind, id, ok, payload: Hello { policy } } = serde_json::from_str(text).ok()?;
        let answer = Ok(json!({ "policy": policy }));
        (kind == "res" && ok).then_some(Self::Response { id, answer })
    }
}

/// How the frame ends that welcomes us.
const HELLO_ENDS: &str = r#","type":"hello-ok"}}"#;

/// The welcome, of which clients read nothing but the policy; most of it is lists.
#[derive(Deserialize)]
struct HelloFrame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    id: String,
    ok: bool,
    payload: Hello,
}

#[derive(Deserialize)]
struct Hello {
    #[serde(default)]
    policy: Value,
}

/// The fields of every kind of frame.
#[derive(Deserialize)]
struct AnyFrame<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    id: Option<String>,
    #[serde(default)]
    ok: Value,
    #[serde(default)]
    error: Value,
    event: Option<String>,
    #[serde(default)]
    payload: Value,
}

/// Recognised by its text: inside a string the quotation marks would be escaped.
fn is_piece_of_an_answer(text: &str) -> bool {
    text.starts_with(r#"{"type":"event","event":"chat","payload":{"#) && text.contains(r#","state":"delta","#)
}

impl Refusal {
    fn read(error: &Value) -> Self {
        let code = string_at(error, "code").unwrap_or("UNKNOWN");
        let message = string_at(error, "message").unwrap_or("no reason given");
        Self {
            reason: format!("{code}: {message}"),
            retryable: error.get("retryable").and_then(Value::as_bool).unwrap_or(false),
            retry_after: Duration::from_millis(
                error.get("retryAfterMs").and_then(Value::as_u64).unwrap_or_default(),
            ),
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

/// The parameters of `connect`; without `token` the request carries no authentication at all.
pub(super) fn connect_params(token: Option<&str>) -> Value {
    connect_params_as(token, &["operator.read", "operator.write"])
}

/// As [`connect_params`], with these scopes.
pub(super) fn connect_params_as(token: Option<&str>, scopes: &[&str]) -> Value {
    let mut params = json!({
        "minProtocol": PROTOCOL,
        "maxProtocol": PROTOCOL,
        "client": {
            "id": "gatesim",
            "version": env!("CARGO_PKG_VERSION"),
            "platform": "sim",
            "mode": "webchat",
        },
        "role": "operator",
        "scopes": scopes,
    });
    if let Some(token) = token {
        params["auth"] = json!({ "token": token });
    }
    params
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

/// The text of a chat message: its `text` parts joined, whether `content` is a list of parts or plain text.
pub(super) fn text_of(message: &Value) -> String {
    message.get("content").map(text_in).unwrap_or_default()
}

/// The text of what a chat message has as its content.
pub(super) fn text_in(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| string_at(part, "text")).collect(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            text_of(&json!({ "content": [{ "type": "text", "text": "a" }, { "text": "b" }, 3] })),
            "ab"
        );
        assert_eq!(text_of(&json!({ "content": "plain" })), "plain");
        assert_eq!(text_of(&json!(null)), "");
    }
}
