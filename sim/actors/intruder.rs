//! Somebody who may not come in and keeps trying.
//!
//! Every attempt carries the text `[intruder#N]`, so that whatever it manages to change can be recognised on
//! disk and at the provider. It records only whether the gateway let it do something.

use std::time::Duration;

use gateway::env::Env;
use hyper::Method;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::frames::{self, Frame};
use super::{http, socket};
use crate::timeline::{Fact, MessageId, Recorder, Source};

/// The name that marks what the intruder sends.
pub const NAME: &str = "intruder";

/// How long the intruder waits for answers to one attempt.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the intruder is told.
#[derive(Clone, Debug)]
pub struct IntruderSettings {
    /// The gateway's port.
    pub port: u16,
    /// The pause between two attempts; at least a millisecond.
    pub every: Duration,
}

/// The ways in that it tries, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    WrongToken,
    SendBeforeConnect,
    NoAuthentication,
    NotJson,
    HttpGet,
    HttpPost,
}

const ROTATION: [Attempt; 6] = [
    Attempt::WrongToken,
    Attempt::SendBeforeConnect,
    Attempt::NoAuthentication,
    Attempt::NotJson,
    Attempt::HttpGet,
    Attempt::HttpPost,
];

/// Tries for as long as its process lives. An attempt that does not reach the gateway is not recorded.
pub async fn run(env: Env, recorder: Recorder, settings: IntruderSettings) {
    for (number, attempt) in (1..).zip(ROTATION.into_iter().cycle()) {
        sleep(settings.every.max(Duration::from_millis(1))).await;
        let text = format!("let me in {}", MessageId { sender: NAME.into(), number }.mark());
        if let Some(refused) = attempt.make(&env, settings.port, &text).await {
            let fact = Fact::IntruderAnswered { request: attempt.in_words().into(), refused };
            recorder.record(Source::Sender(NAME.into()), fact);
        }
    }
}

impl Attempt {
    fn in_words(self) -> &'static str {
        match self {
            Self::WrongToken => "connect with a wrong token, then chat.send",
            Self::SendBeforeConnect => "chat.send before connect",
            Self::NoAuthentication => "connect without authentication, then chat.send",
            Self::NotJson => "a frame that is not JSON, then chat.send",
            Self::HttpGet => "GET /v1/anything",
            Self::HttpPost => "POST /v1/chat/completions",
        }
    }

    /// Makes the attempt: whether it was refused, or `None` when the gateway was not reached.
    async fn make(self, env: &Env, port: u16, text: &str) -> Option<bool> {
        match self {
            Self::HttpGet => knock(env, port, Method::GET, "/v1/anything", String::new()).await,
            Self::HttpPost => {
                let body = json!({ "messages": [{ "role": "user", "content": text }] }).to_string();
                knock(env, port, Method::POST, "/v1/chat/completions", body).await
            }
            _ => barge_in(env, port, self.frames(text)).await,
        }
    }

    /// The frames that the attempt sends over a WebSocket, one after the other.
    fn frames(self, text: &str) -> Vec<String> {
        let connect = |token| frames::request("connect", "connect", frames::ConnectParams::of(token));
        let session_key = "agent:main:webchat:direct:intruder";
        let params = frames::SendParams { session_key, message: text, idempotency_key: text };
        let send = frames::request("send", "chat.send", params);
        match self {
            Self::WrongToken => vec![connect(Some("wrong token")), send],
            Self::SendBeforeConnect => vec![send],
            Self::NoAuthentication => vec![connect(None), send],
            Self::NotJson => vec![format!("this is not JSON {text}"), send],
            Self::HttpGet | Self::HttpPost => Vec::new(),
        }
    }
}

/// Sends `frames` without waiting to be asked, and hears whether any of them is granted.
async fn barge_in(env: &Env, port: u16, frames: Vec<String>) -> Option<bool> {
    let mut socket = timeout(PATIENCE, socket::open(env, port)).await.ok()?.ok()?;
    let attempt = async {
        for frame in frames {
            if socket::send(&mut socket, frame).await.is_err() {
                break;
            }
        }
        while let Ok(frame) = socket::next_frame(&mut socket).await {
            if grants(&frame) {
                return false;
            }
        }
        true
    };
    let refused = timeout(PATIENCE, attempt).await.unwrap_or(true);
    socket::hang_up(socket).await;
    Some(refused)
}

/// Whether the frame says yes to something the intruder asked for.
fn grants(frame: &Frame<IgnoredAny>) -> bool {
    matches!(frame, Frame::Response { answer: Ok(_), .. })
}

async fn knock(env: &Env, port: u16, method: Method, path: &str, body: String) -> Option<bool> {
    let status = timeout(PATIENCE, http::ask(env, port, method, path, body)).await.ok()?.ok()?;
    Some(!status.is_success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_positive_response_grants_anything() {
        let grant = |text: &str| Frame::parse(text).is_some_and(|frame| grants(&frame));
        assert!(grant(r#"{"type":"res","id":"send","ok":true,"payload":{"status":"started"}}"#));
        assert!(grant(r#"{"type":"res","id":"connect","ok":true}"#));
        assert!(!grant(r#"{"type":"res","id":"send","ok":false,"error":{"code":"FORBIDDEN"}}"#));
        assert!(!grant(r#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n"}}"#));
    }

    #[test]
    fn every_attempt_over_the_socket_carries_the_mark() {
        for attempt in [Attempt::WrongToken, Attempt::SendBeforeConnect, Attempt::NotJson] {
            let sent = attempt.frames("x [intruder#3]").concat();
            assert_eq!(MessageId::marked_in(&sent)[0].to_string(), "intruder#3");
        }
    }
}
