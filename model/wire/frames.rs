//! Frames: JSON text of three kinds, request, response and event.
//!
//! Parsing never fails silently: whatever a client sends gets a response that says what is wrong. Messages quote
//! only so much of what was sent, or a large bad frame would be answered by a larger one.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// The id of a response to a frame that has none.
const NO_ID: &str = "invalid";
/// How long an error message may be.
const MAX_MESSAGE_BYTES: usize = 400;

/// A request, as far as every method shares it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Request<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    pub(crate) id: String,
    #[serde(borrow)]
    pub(crate) method: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) params: Params<'a>,
}

/// The parameters of a request: text until the method says what they should be.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Params<'a>(#[serde(borrow)] Option<&'a RawValue>);

impl Params<'_> {
    /// Nothing is to be said beside the name of `method`: no parameters, or an empty object.
    pub(crate) fn none(self, method: &str) -> Result<(), RpcError> {
        match self.0.map(|text| serde_json::from_str(text.get())) {
            None | Some(Ok(Value::Null)) => Ok(()),
            Some(Ok(Value::Object(empty))) if empty.is_empty() => Ok(()),
            _ => Err(RpcError::invalid(format!("{method} takes no parameters"))),
        }
    }

    /// Reads them as the parameters of `method`.
    pub(crate) fn read<T: DeserializeOwned>(self, method: &str) -> Result<T, RpcError> {
        serde_json::from_str(self.0.map_or("null", RawValue::get)).map_err(|error| {
            // The place is one in the parameters, which nobody could find in the frame.
            let place = format!(" at line {} column {}", error.line(), error.column());
            let error = error.to_string();
            RpcError::invalid(format!("{method}: {}", error.strip_suffix(&place).unwrap_or(&error)))
        })
    }
}

/// A method's error, in the protocol's terms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RpcError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    /// When trying again makes sense, in milliseconds.
    pub(crate) retry_after_ms: Option<u64>,
}

/// The protocol's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// The request is wrong; the same request will never be right.
    InvalidRequest,
    /// The gateway cannot do it now.
    Unavailable,
    /// The client may not.
    Forbidden,
}

impl ErrorCode {
    const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::Unavailable => "UNAVAILABLE",
            Self::Forbidden => "FORBIDDEN",
        }
    }
}

impl RpcError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message.into(), None)
    }

    pub(crate) fn unavailable(message: impl Into<String>, retry_after_ms: u64) -> Self {
        Self::new(ErrorCode::Unavailable, message.into(), Some(retry_after_ms))
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Forbidden, message.into(), None)
    }

    fn new(code: ErrorCode, mut message: String, retry_after_ms: Option<u64>) -> Self {
        if message.len() > MAX_MESSAGE_BYTES {
            message.truncate(beginning(&message, MAX_MESSAGE_BYTES).len());
            message.push_str("...");
        }
        Self { code, message, retry_after_ms }
    }
}

/// As much of the beginning of `text` as fits into `bytes`, in whole characters.
pub(super) fn beginning(text: &str, bytes: usize) -> &str {
    let fits = |&end: &usize| end <= bytes;
    let ends = text.char_indices().map(|(start, character)| start + character.len_utf8());
    &text[..ends.take_while(fits).last().unwrap_or(0)]
}

/// A frame that is not a request.
#[derive(Debug, PartialEq)]
pub(crate) struct BadFrame {
    /// The id to answer to.
    pub(crate) id: String,
    pub(crate) error: RpcError,
}

/// Reads a request.
pub(crate) fn parse_request(text: &str) -> Result<Request<'_>, BadFrame> {
    let request: Request<'_> = serde_json::from_str(text).map_err(|_| what_is_wrong(text))?;
    if request.kind != "req" {
        let error = RpcError::invalid(format!("expected type \"req\", not {:?}", request.kind));
        return Err(BadFrame { id: request.id, error });
    }
    Ok(request)
}

/// Takes a frame that is no request apart, to answer to its id if it has one.
fn what_is_wrong(text: &str) -> BadFrame {
    let bad = |id: &str, why| BadFrame { id: id.to_string(), error: RpcError::invalid(why) };
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return bad(NO_ID, format!("the frame is not JSON: {error}")),
    };
    let id = value.get("id").and_then(Value::as_str).unwrap_or(NO_ID);
    match serde_json::from_value::<AnyRequest>(value.clone()) {
        Ok(AnyRequest { .. }) => bad(id, "the frame is not a request".to_string()),
        Err(error) => bad(id, format!("the frame is not a request: {error}")),
    }
}

/// A request as the text of an error knows it: without a place in the frame.
#[derive(Deserialize)]
struct AnyRequest {
    #[serde(rename = "type")]
    _kind: String,
    #[serde(rename = "id")]
    _id: String,
    #[serde(rename = "method")]
    _method: String,
}

/// What a method answers, as it goes out: text.
pub(crate) type Answer = Box<RawValue>;

/// Puts an answer into text. Fields in the order of their names are what a [`Value`] would have made of them.
pub(crate) fn as_answer(with: &impl Serialize) -> Answer {
    to_raw_value(with).expect("answers are plain values")
}

#[derive(Serialize)]
struct Response<'a> {
    r#type: &'static str,
    id: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    code: &'static str,
    message: String,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    event: &'a str,
    payload: Value,
}

/// A response.
pub(crate) fn response(id: &str, result: Result<Answer, RpcError>) -> String {
    let ok = result.is_ok();
    let (payload, error) = match result {
        Ok(payload) => (Some(payload), None),
        Err(RpcError { code, message, retry_after_ms }) => {
            let retryable = retry_after_ms.is_some();
            (None, Some(ErrorBody { code: code.name(), message, retryable, retry_after_ms }))
        }
    };
    to_text(&Response { r#type: "res", id, ok, payload, error })
}

/// An event.
pub(crate) fn event(name: &str, payload: Value) -> String {
    to_text(&Event { r#type: "event", event: name, payload })
}

fn to_text(frame: &impl Serialize) -> String {
    serde_json::to_string(frame).expect("frames are plain values")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, id: &str, message: &str) {
        let bad = parse_request(text).expect_err("is refused");
        assert_eq!(bad.id, id);
        assert!(bad.error.message.contains(message), "{}", bad.error.message);
    }

    #[test]
    fn bad_frames_say_what_is_wrong_and_keep_the_id() {
        check("hello", "invalid", "not JSON");
        check("[]", "invalid", "not a request");
        check(r#"{"type":"req","id":"7"}"#, "7", "missing field `method`");
        check(r#"{"type":"res","id":"7","method":"x"}"#, "7", r#"expected type "req", not "res""#);
        check(r#"{"type":"req","id":7,"method":"x"}"#, "invalid", "invalid type");
    }

    #[test]
    fn an_error_quotes_only_so_much_of_a_bad_frame() {
        let long = json!({"type": "req", "id": "1", "method": {"é".repeat(10_000): 1}}).to_string();
        let bad = parse_request(&long).expect_err("is refused");
        assert!(bad.error.message.len() <= MAX_MESSAGE_BYTES + 3, "{}", bad.error.message.len());
        let error = RpcError::invalid("é".repeat(MAX_MESSAGE_BYTES));
        assert!(error.message.ends_with("é..."));
    }

    #[test]
    fn a_request_may_leave_out_its_parameters() {
        let request = parse_request(r#"{"type":"req","id":"1","method":"health"}"#).expect("is valid");
        assert_eq!((request.id.as_str(), &*request.method), ("1", "health"));
    }
}
