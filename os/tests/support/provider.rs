//! A model provider on loopback: the OpenAI-compatible streaming chat-completions API, at a pace that tests set.
//!
//! Its model repeats what it was told ([`reply_to`]), one word per token, so that every reply tells which message
//! it answers.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::sleep;

type Body = BoxBody<Bytes, Infallible>;

/// How fast the model answers.
#[derive(Clone, Copy)]
pub struct Pace {
    pub first_token: Duration,
    pub between_tokens: Duration,
}

impl Pace {
    pub const FAST: Self = Self { first_token: Duration::ZERO, between_tokens: Duration::from_millis(10) };
    /// Slow enough to act while a reply is being written.
    pub const SLOW: Self =
        Self { first_token: Duration::from_millis(50), between_tokens: Duration::from_millis(300) };
    /// No answer within any test.
    pub const NEVER: Self = Self { first_token: Duration::from_secs(3600), between_tokens: Duration::ZERO };
}

/// A running provider; it ends with the test.
pub struct Provider {
    port: u16,
    state: Rc<State>,
}

struct State {
    pace: Cell<Pace>,
    asked: RefCell<Vec<String>>,
}

/// What the model answers to `message`.
pub fn reply_to(message: &str) -> String {
    format!("You said to me: {message}")
}

impl Provider {
    pub async fn start(pace: Pace) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Rc::new(State { pace: Cell::new(pace), asked: RefCell::default() });
        spawn_local(serve(listener, state.clone()));
        Self { port, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// For requests from now on.
    pub fn set_pace(&self, pace: Pace) {
        self.state.pace.set(pace);
    }

    /// The last user message of every request so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.borrow().clone()
    }
}

async fn serve(listener: TcpListener, state: Rc<State>) {
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        spawn_local(serve_connection(socket, state.clone()));
    }
}

async fn serve_connection(socket: TcpStream, state: Rc<State>) {
    let service = service_fn(|request| answer(request, state.clone()));
    // A gateway that dies in the middle of a reply is what some tests are about.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(request: Request<Incoming>, state: Rc<State>) -> Result<Response<Body>, hyper::Error> {
    if request.uri().path() != "/v1/chat/completions" {
        return Ok(refusal(StatusCode::NOT_FOUND, "no such path"));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(message) = last_user_message(&asked) else {
        return Ok(refusal(StatusCode::BAD_REQUEST, "no user message"));
    };
    if asked["stream"] != true {
        return Ok(refusal(StatusCode::BAD_REQUEST, "this model only streams"));
    }
    state.asked.borrow_mut().push(message.clone());
    let pace = state.pace.get();
    let chunks = stream::iter(chunks(&reply_to(&message)).into_iter().enumerate());
    let frames = futures_util::StreamExt::then(chunks, move |(index, chunk)| async move {
        sleep(if index == 0 { pace.first_token } else { pace.between_tokens }).await;
        Ok(Frame::data(Bytes::from(chunk)))
    });
    let body = BodyExt::boxed(StreamBody::new(frames));
    Ok(Response::builder().header("content-type", "text/event-stream").body(body).expect("a valid response"))
}

fn refusal(status: StatusCode, why: &str) -> Response<Body> {
    let body = json!({"error": {"message": why}}).to_string();
    Response::builder().status(status).body(Full::from(body).boxed()).expect("a valid response")
}

/// The text of the last message whose role is `user`, in either form that the API allows.
fn last_user_message(request: &Value) -> Option<String> {
    let messages = request["messages"].as_array()?;
    let content = &messages.iter().rfind(|message| message["role"] == "user")?["content"];
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        _ => None,
    }
}

/// The server-sent events of a reply: a token per word, the reason of the end, the end mark.
fn chunks(reply: &str) -> Vec<String> {
    let event = |delta: Value, finish_reason: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish_reason});
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "stub", "choices": [choice],
        });
        format!("data: {chunk}\n\n")
    };
    let tokens = reply.split_inclusive(' ').map(|word| event(json!({"content": word}), Value::Null));
    tokens.chain([event(json!({}), json!("stop")) + "data: [DONE]\n\n"]).collect()
}
