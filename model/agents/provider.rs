//! The model provider's client: one streaming chat completion over plain HTTP (OpenAI-compatible, SSE).
//!
//! Knows the provider's wire format and nothing of conversations or of what becomes of the answer. How requests
//! get to the provider is `connection`'s concern.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connection::{Connections, Link};
use super::prompt::PromptMessage;
use crate::env::Env;
use crate::sessions::ToolCall;

/// How much of what the provider said wrongly is worth reading, and how much worth showing.
const ERROR_BODY_READ: usize = 16 * 1024;
const ERROR_BODY_SHOWN: usize = 200;
/// Longest line of a stream, and longest answer: a provider out of its mind must not take the gateway with it. An
/// event with a whole answer stays below what may wait for a slow client.
const MAX_LINE_BYTES: usize = 256 * 1024;
const MAX_ANSWER_BYTES: usize = 512 * 1024;
/// How many tools the model may want to be used at once.
const MAX_CALLS: usize = 64;

/// Why the model did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    /// No connection.
    #[error("cannot reach the model at {host}:{port}: {source}")]
    Unreachable { host: String, port: u16, source: std::io::Error },
    /// The connection broke before or during the answer.
    #[error("the connection to the model broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The provider refused or failed.
    #[error("the model answered {status}: {body}")]
    Status { status: StatusCode, body: String },
    /// The stream ended without saying so, or said something else.
    #[error("the model's answer is malformed: {0}")]
    Malformed(String),
}

impl ProviderError {
    /// Whether asking once more is safe and may help: nothing was executed as far as we can see.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Broken(_) | Self::Malformed(_) => false,
        }
    }
}

/// Where the provider listens, and the connections to it that are kept for the next request.
pub(crate) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    path: Uri,
    authority: HeaderValue,
    connections: Connections,
}

impl Endpoint {
    /// Reads a base URL; `None` unless it is plain HTTP with a host.
    pub(crate) fn parse(base_url: &str) -> Option<Self> {
        let uri: Uri = base_url.parse().ok()?;
        if uri.scheme_str() != Some("http") {
            return None;
        }
        let path = format!("{}/chat/completions", uri.path().trim_end_matches('/')).parse().ok()?;
        let (host, port) = (uri.host()?.to_string(), uri.port_u16().unwrap_or(80));
        let authority = HeaderValue::from_str(&format!("{host}:{port}")).ok()?;
        Some(Self { host, port, path, authority, connections: Connections::default() })
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.authority.clone());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        request
    }
}

/// What the model is asked.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) model: &'a str,
    pub(crate) messages: &'a [PromptMessage<'a>],
    /// The tools that it may want to be used.
    pub(crate) tools: &'a RawValue,
}

impl Question<'_> {
    /// The body of the request.
    fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(2048);
        body.extend_from_slice(br#"{"model":"#);
        serde_json::to_writer(&mut body, self.model).expect("text is JSON");
        body.extend_from_slice(br#","stream":true,"messages":["#);
        for (place, message) in self.messages.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            message.write(&mut body);
        }
        body.extend_from_slice(br#"],"tools":"#);
        body.extend_from_slice(self.tools.get().as_bytes());
        body.push(b'}');
        body
    }
}

/// What the model says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// What it wants done before it answers; nothing when this is its answer.
    pub(crate) calls: Vec<ToolCall>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Delta<'a>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    tool_calls: Option<Vec<CallDelta>>,
}

/// A piece of the text.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A piece of a tool call: the first has its id and name, and each some of its arguments.
#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: usize,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

impl Answer {
    /// Takes one piece of a tool call.
    fn add(&mut self, piece: CallDelta) -> Result<(), ProviderError> {
        if piece.index >= MAX_CALLS {
            return Err(ProviderError::Malformed(format!("it wants more than {MAX_CALLS} tools at once")));
        }
        while self.calls.len() <= piece.index {
            let [id, name, arguments] = [const { String::new() }; 3];
            self.calls.push(ToolCall { id, name, arguments });
        }
        let call = &mut self.calls[piece.index];
        call.id.extend(piece.id);
        if let Some(function) = piece.function {
            call.name.extend(function.name);
            call.arguments.extend(function.arguments);
        }
        Ok(())
    }

    fn len(&self) -> usize {
        let of_call = |call: &ToolCall| call.id.len() + call.name.len() + call.arguments.len();
        self.text.len() + self.calls.iter().map(of_call).sum::<usize>()
    }
}

/// Asks the model and calls `on_delta` with the answer so far, at each piece of it; returns the whole answer. Dropping the
/// future ends the connection, by which the provider learns that nobody waits any more.
///
/// A connection that was kept may have ended without our knowing. When one breaks before anything of a response
/// came, the request goes out once more, on a fresh one.
pub(crate) async fn complete(
    env: &Env,
    endpoint: &Endpoint,
    question: Question<'_>,
    mut on_delta: impl FnMut(&str),
) -> Result<Answer, ProviderError> {
    let body = Bytes::from(question.body());
    if let Some(mut link) = endpoint.connections.take().await
        && let Ok(response) = link.send(endpoint.request(body.clone())).await
    {
        return finish(env, endpoint, link, response, &mut on_delta).await;
    }
    let mut link = Link::open(env, endpoint).await?;
    let response = link.send(endpoint.request(body)).await?;
    finish(env, endpoint, link, response, &mut on_delta).await
}

/// Reads the response, and keeps the connection if it can carry another one.
async fn finish(
    env: &Env,
    endpoint: &Endpoint,
    mut link: Link,
    response: Response<Incoming>,
    on_delta: &mut impl FnMut(&str),
) -> Result<Answer, ProviderError> {
    let (answer, mut body) = link.drive(read(response, on_delta)).await?;
    if link.is_free_after(&mut body) {
        endpoint.connections.keep(env, link);
    }
    Ok(answer)
}

/// Reads the answer up to its last event. What comes after that is still in the body.
async fn read(
    response: Response<Incoming>,
    on_delta: &mut impl FnMut(&str),
) -> Result<(Answer, Incoming), ProviderError> {
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let bytes = Limited::new(body, ERROR_BODY_READ).collect().await.map(Collected::to_bytes);
        let body = shown(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
        return Err(ProviderError::Status { status, body });
    }
    let mut lines = Lines::default();
    let mut answer = Answer::default();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        for event in events(&lines.feed(&bytes)) {
            if event == "[DONE]" {
                return Ok((answer, body));
            }
            let chunk: Chunk<'_> = serde_json::from_str(event)
                .map_err(|error| ProviderError::Malformed(format!("{error} in {}", shown(event))))?;
            for delta in chunk.choices.into_iter().map(|choice| choice.delta) {
                delta.tool_calls.into_iter().flatten().try_for_each(|piece| answer.add(piece))?;
                let is_text = delta.content.is_some();
                answer.text.push_str(&delta.content.map(|Text(piece)| piece).unwrap_or_default());
                if answer.len() > MAX_ANSWER_BYTES {
                    let why = format!("it is longer than {MAX_ANSWER_BYTES} bytes");
                    return Err(ProviderError::Malformed(why));
                }
                if is_text {
                    on_delta(&answer.text);
                }
            }
        }
        if lines.unfinished.len() > MAX_LINE_BYTES {
            let why = format!("a line of the stream is longer than {MAX_LINE_BYTES} bytes");
            return Err(ProviderError::Malformed(why));
        }
    }
    Err(ProviderError::Malformed("the stream ended before [DONE]".to_string()))
}

fn shown(text: &str) -> String {
    text.chars().take(ERROR_BODY_SHOWN).collect()
}

/// Cuts a byte stream into lines.
#[derive(Default)]
struct Lines {
    /// The beginning of the line that has not come to its end.
    unfinished: Vec<u8>,
}

impl Lines {
    /// Takes more bytes and returns the lines they complete.
    fn feed<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, str> {
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let (whole, rest) = bytes.split_at(end);
        if whole.is_empty() || self.unfinished.is_empty() {
            self.unfinished.extend_from_slice(rest);
            return text(whole);
        }
        let begun = std::mem::replace(&mut self.unfinished, rest.to_vec());
        Cow::Owned(text(&[&begun, whole].concat()).into_owned())
    }
}

/// Bytes as text, whatever they are. The standard library takes its time over what is no text, and over what is as well.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The data of server-sent events, of which there is one in a line.
fn events(lines: &str) -> impl Iterator<Item = &str> {
    let lines = lines.split('\n').map(str::trim_ascii_end);
    lines.filter_map(|line| Some(line.strip_prefix("data:")?.trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_across_any_cut() {
        let stream = b"data: {\"a\":1}\n\n: comment\ndata: [DONE]\r\n\r\n";
        for cut in 0..stream.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                found.extend(events(&lines.feed(part)).map(str::to_owned));
            }
            assert_eq!(found, ["{\"a\":1}", "[DONE]"], "cut at {cut}");
        }
    }

    #[test]
    fn calls_are_put_together_from_their_pieces() {
        let mut answer = Answer::default();
        let pieces = [
            r#"{"index":0,"id":"a","function":{"name":"exec","arguments":""}}"#,
            r#"{"index":1,"id":"b","function":{"name":"sessions_spawn","arguments":"{}"}}"#,
            r#"{"index":0,"function":{"arguments":"{\"x\":"}}"#,
            r#"{"index":0,"function":{"arguments":"1}"}}"#,
        ];
        for piece in pieces {
            answer.add(serde_json::from_str(piece).expect("a piece")).expect("is taken");
        }
        let calls: Vec<_> =
            answer.calls.iter().map(|call| [call.id.as_str(), &call.name, &call.arguments]).collect();
        assert_eq!(calls, [["a", "exec", "{\"x\":1}"], ["b", "sessions_spawn", "{}"]]);
        let far = serde_json::from_str(r#"{"index":64}"#).expect("a piece");
        assert!(answer.add(far).is_err());
    }

    #[test]
    fn a_question_is_written_as_it_would_be_serialized() {
        let calls = [ToolCall { id: "c".into(), name: "exec".into(), arguments: "{}".into() }];
        let messages = crate::agents::prompt::examples(&calls);
        let tools = RawValue::from_string("[]".into()).expect("is JSON");
        let question = Question { model: "a \"b\"", messages: &messages, tools: &tools };
        let serialized = serde_json::json!({
            "model": question.model, "stream": true, "messages": messages, "tools": [],
        });
        let written: serde_json::Value = serde_json::from_slice(&question.body()).expect("is JSON");
        assert_eq!(written, serialized);
    }

    #[test]
    fn base_urls_are_plain_http() {
        let endpoint = Endpoint::parse("http://provider:8080/v1/").expect("is valid");
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("provider", 8080));
        assert_eq!(endpoint.path, "/v1/chat/completions");
        assert_eq!(Endpoint::parse("http://p/v1").map(|endpoint| endpoint.port), Some(80));
        assert!(Endpoint::parse("https://p/v1").is_none());
        assert!(Endpoint::parse("p").is_none());
    }
}
