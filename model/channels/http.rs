//! JSON over HTTP: one request to a platform, on a connection of its own.
//!
//! The errors tell apart what a sender has to know: nothing was sent, or it is not known whether it arrived. Whatever
//! the platform answered is no error here, however bad. Knows no platform.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout, timeout_at};

use crate::agents::connection::Link;
use crate::env::Env;

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read: a hundred updates of the longest texts.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// How much of an answer that is no JSON is worth showing.
const SHOWN_CHARS: usize = 200;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The platform has seen nothing of the request.
    #[error("cannot reach {host}:{port}: {why}")]
    NotSent { host: String, port: u16, why: String },
    /// The connection broke, or nothing was heard in time, after the request may have gone out.
    #[error("no answer from {host}:{port}: {why}")]
    Unknown { host: String, port: u16, why: String },
}

/// What the platform answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// What its header `retry-after` says.
    pub(super) retry_after: Option<Duration>,
    body: Bytes,
}

impl Answer {
    /// The body, as JSON.
    ///
    /// Errors: why it is none, with its beginning.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let shown: String = String::from_utf8_lossy(&self.body).chars().take(SHOWN_CHARS).collect();
            format!("HTTP {}: {error} in {shown:?}", self.status)
        })
    }
}

/// Where a platform is reached.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) host: String,
    pub(super) port: u16,
    path: String,
}

impl Site {
    /// Reads a base URL; `None` unless it is plain HTTP, or a plain WebSocket, with a host.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        if !matches!(uri.scheme_str(), Some("http" | "ws")) {
            return None;
        }
        let (host, port) = (uri.host()?.to_string(), uri.port_u16().unwrap_or(80));
        Some(Self { host, port, path: uri.path().trim_end_matches('/').to_string() })
    }

    /// Posts `body` to `path` below the base and waits for the whole answer, for `limit` in all.
    pub(super) async fn post(
        &self,
        env: &Env,
        path: &str,
        bearer: Option<&str>,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        let deadline = Instant::now() + limit;
        let (host, port) = (&self.host, self.port);
        let not_sent = |why: String| HttpError::NotSent { host: host.clone(), port, why };
        let unknown = |why: String| HttpError::Unknown { host: host.clone(), port, why };
        let request = self.request(path, bearer, body).map_err(|error| not_sent(error.to_string()))?;
        let connecting = timeout(CONNECT_TIMEOUT.min(limit), env.net().connect(host, port));
        let stream = match connecting.await {
            Ok(connected) => connected.map_err(|error| not_sent(error.to_string()))?,
            Err(_) => return Err(not_sent("it takes too long".to_string())),
        };
        let exchange = async {
            let mut link = Link::over(stream).await.map_err(|error| not_sent(error.to_string()))?;
            let response = link.send(request).await.map_err(|error| match error.is_canceled() {
                true => not_sent(error.to_string()),
                false => unknown(error.to_string()),
            })?;
            let (head, body) = response.into_parts();
            let body = link.drive(Limited::new(body, MAX_ANSWER_BYTES).collect()).await;
            let body = body.map_err(|error| unknown(error.to_string()))?.to_bytes();
            let seconds =
                head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Ok(Answer { status: head.status, retry_after: seconds.map(Duration::from_secs), body })
        };
        timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err(unknown("it takes too long".to_string())))
    }

    fn request(
        &self,
        path: &str,
        bearer: Option<&str>,
        body: &impl Serialize,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let body = Bytes::from(serde_json::to_vec(body).expect("requests are plain JSON"));
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.path))
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close");
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        request.body(Full::new(body))
    }
}
