//! HTTP: liveness, readiness, and the door to WebSocket.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::gateway::Gateway;
use crate::lifecycle::phase::Phase;
use crate::policy::Readiness;

/// Answers one request; sets `upgraded` when the connection speaks WebSocket from here on.
pub(super) fn answer(
    gateway: &Gateway,
    request: &Request<Incoming>,
    upgraded: &Rc<Cell<bool>>,
) -> Response<Full<Bytes>> {
    let mut response = respond(gateway, request, upgraded);
    if gateway.phase.get() >= Phase::Closing {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn respond(
    gateway: &Gateway,
    request: &Request<Incoming>,
    upgraded: &Rc<Cell<bool>>,
) -> Response<Full<Bytes>> {
    if is_websocket_upgrade(request) {
        return match gateway.phase.get() {
            // Nobody would say goodbye to it any more.
            Phase::Closing | Phase::Leaving => {
                json_response(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": "closing"}))
            }
            Phase::Starting | Phase::Serving | Phase::Draining => upgrade(request, upgraded),
        };
    }
    let (status, body) = match request.uri().path() {
        "/health" | "/healthz" => (StatusCode::OK, json!({"ok": true, "status": "live"})),
        "/ready" | "/readyz" => readiness(gateway),
        _ => return json_response(StatusCode::NOT_FOUND, &json!({"error": "not found"})),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal =
            json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "only GET and HEAD"}));
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    json_response(status, &body)
}

fn readiness(gateway: &Gateway) -> (StatusCode, Value) {
    let ready = match gateway.policies.readiness {
        Readiness::Truthful => gateway.admits_messages(),
        Readiness::AlwaysReady => true,
        Readiness::IgnoresDrain => gateway.phase.get() != Phase::Starting,
    };
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json!({"ready": ready, "uptimeMs": gateway.uptime().as_millis() as u64}))
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CACHE_CONTROL, "no-store")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("the parts are valid")
}

fn is_websocket_upgrade(request: &Request<Incoming>) -> bool {
    let wanted = request.headers().get(header::UPGRADE);
    wanted.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn upgrade(request: &Request<Incoming>, upgraded: &Rc<Cell<bool>>) -> Response<Full<Bytes>> {
    let headers = request.headers();
    let version_13 = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|value| value == "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| version_13);
    let Some(key) = key.filter(|_| request.method() == Method::GET) else {
        let body = json!({"error": "a WebSocket upgrade is a GET with Sec-WebSocket-Key and version 13"});
        return json_response(StatusCode::BAD_REQUEST, &body);
    };
    upgraded.set(true);
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .body(Full::default())
        .expect("the accept key is valid in a header")
}
