//! Plain HTTP for a platform: a request with a JSON body, an answer with one.
//!
//! Knows lines and bytes. A line belongs to a process of somebody's, as far as that can be seen, and can be cut.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use gateway::env::{AbortHandle, LocalBoxFuture, Pid, Stream};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::mood::Outage;
use super::office::Office;

/// The largest request that is read.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// How long an answer may be on its way.
const TRAVEL: Duration = Duration::from_millis(500);
/// How often a port that cannot be had is tried again.
const LISTEN_RETRY: Duration = Duration::from_secs(1);

/// One connection to the platform.
pub(super) struct Line {
    /// Counting from 1 over all lines of the platform.
    pub(super) number: u32,
    /// Whose it is, where that can be seen.
    pub(super) pid: Option<Pid>,
    /// Whether the platform has ended it.
    pub(super) cut: Cell<bool>,
    abort: AbortHandle,
    /// The bot that asks for updates over it.
    pub(super) bot: RefCell<Option<String>>,
    /// The last bot's message that was answered over it, and when.
    answered: Cell<Option<(Instant, u32)>>,
}

impl Line {
    pub(super) fn new(number: u32, pid: Option<Pid>, abort: AbortHandle) -> Self {
        let (bot, answered) = (RefCell::new(None), Cell::new(None));
        Self { number, pid, cut: Cell::new(false), abort, bot, answered }
    }

    /// The answer to a bot's message goes out over it.
    pub(super) fn answered(&self, send: u32) {
        self.answered.set(Some((Instant::now(), send)));
    }

    /// The bot's message whose answer went out so lately that it may not have arrived. A line has one at a time.
    pub(super) fn answer_on_its_way(&self) -> Option<u32> {
        let (at, send) = self.answered.get()?;
        (!self.cut.get() && at.elapsed() <= TRAVEL).then_some(send)
    }

    /// Ends it at once.
    pub(super) fn cut(&self) {
        self.cut.set(true);
        self.abort.abort();
    }
}

/// A request.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) host: String,
    pub(super) authorization: Option<String>,
    pub(super) body: Value,
    pub(super) line: Rc<Line>,
}

/// What is answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// Answers requests. Dropped where it waits when whoever asked goes away.
pub(super) type Handler = Rc<dyn Fn(Asked) -> LocalBoxFuture<'static, Answer>>;

/// Accepts connections on `port` for as long as the process lives, except while the platform refuses them.
pub(super) async fn accept(office: Rc<Office>, port: u16, serve: impl Fn(Stream, Rc<Line>)) {
    let mut open = office.watch_open();
    loop {
        // The office lives as long as this task.
        let _ = open.wait_for(|open| *open).await;
        let Ok(mut listener) = office.env.net().listen(port).await else {
            sleep(LISTEN_RETRY).await;
            continue;
        };
        loop {
            tokio::select! {
                biased;
                _ = open.wait_for(|open| !*open) => break,
                accepted = listener.accept() => match accepted {
                    Ok(stream) => {
                        let line = office.new_line(stream.abort_handle());
                        serve(stream, line);
                    }
                    // A connection that ended before it was accepted.
                    Err(_) => sleep(Duration::from_millis(1)).await,
                }
            }
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(office: Rc<Office>, stream: Stream, line: Rc<Line>, handler: Handler) {
    let service = service_fn(|request| respond(&office, &line, &handler, request));
    let mut server = http1::Builder::new();
    server.auto_date_header(false).header_read_timeout(None);
    // A client that goes away is no error here.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
    office.line_ended(&line, "gone");
}

async fn respond(
    office: &Rc<Office>,
    line: &Rc<Line>,
    handler: &Handler,
    request: hyper::Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let header = |name: HeaderName| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    let (authorization, host) = (header(AUTHORIZATION), header(HOST).unwrap_or_default());
    let path = request.uri().path().to_owned();
    let Ok(body) = Limited::new(request.into_body(), MAX_REQUEST_BYTES).collect().await else {
        return Ok(response(400, &json!({ "description": "the request could not be read" })));
    };
    if office.outage() == Some(Outage::Fails) {
        return Ok(response(
            502,
            &json!({ "ok": false, "error_code": 502, "code": 502, "description": "Bad Gateway" }),
        ));
    }
    let body = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    let answer = handler(Asked { path, host, authorization, body, line: Rc::clone(line) }).await;
    Ok(response(answer.status, &answer.body))
}

fn response(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
