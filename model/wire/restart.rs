//! The methods about restarts: `gateway.restart.preflight`, `.request` and `.status` (commit 103cdd9).
//!
//! Beyond the report's `reason` and `skipDeferral`, a request may say how urgent it is, who is told what came of it,
//! and under which key. What becomes of it is decided by the coordinator.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{COMMAND_LINE, Client, Scope};
use super::frames::{Params, RpcError};
use crate::gateway::Gateway;
use crate::lifecycle::restart::{Mode, Notice, Patience, Refusal, Request, Source};

/// When a client should ask again, in milliseconds, if nothing better is known.
const RETRY_MS: u64 = 2_000;
const MAX_KEY_CHARS: usize = 256;
/// The longest note. It is kept for the next life with every request that waits.
const MAX_NOTE_CHARS: usize = 2_000;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct RequestParams {
    reason: Option<String>,
    skip_deferral: bool,
    mode: Option<Urgency>,
    wait_ms: Option<u64>,
    delay_ms: u64,
    session_key: Option<String>,
    note: Option<String>,
    idempotency_key: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Urgency {
    Safe,
    Plain,
    Force,
    Wait,
}

impl RequestParams {
    /// A request is safe unless it says otherwise.
    fn mode(&self) -> Result<Mode, &'static str> {
        let urgency = match (self.mode, self.skip_deferral, self.wait_ms) {
            (Some(Urgency::Force), _, None) | (None, true, None) => Urgency::Force,
            (Some(_), true, _) => return Err("skipDeferral does not go with another mode than force"),
            (None, true, Some(_)) => return Err("skipDeferral does not go with waitMs"),
            (Some(Urgency::Wait) | None, false, Some(_)) => Urgency::Wait,
            (Some(_), _, Some(_)) => return Err("waitMs goes with the mode wait only"),
            (Some(Urgency::Wait), _, None) => return Err("the mode wait needs waitMs"),
            (mode, false, None) => mode.unwrap_or(Urgency::Safe),
        };
        let patience = match self.wait_ms {
            Some(0) | None => Patience::Unlimited,
            Some(ms) => Patience::AtMost(Duration::from_millis(ms)),
        };
        Ok(match urgency {
            Urgency::Safe => Mode::Safe,
            Urgency::Plain => Mode::Plain,
            Urgency::Force => Mode::Force,
            Urgency::Wait => Mode::Wait(patience),
        })
    }
}

/// What a restart now would interrupt.
pub(super) fn preflight(gateway: &Gateway, client: &Client, params: Params<'_>) -> Result<Value, RpcError> {
    client.may(Scope::Read)?;
    params.none("gateway.restart.preflight")?;
    gateway.restarts.preflight().map(|preflight| json!(preflight)).ok_or_else(starting)
}

/// Where restarts stand, and what came of the latest requests.
pub(super) fn status(gateway: &Gateway, client: &Client, params: Params<'_>) -> Result<Value, RpcError> {
    client.may(Scope::Read)?;
    params.none("gateway.restart.status")?;
    Ok(gateway.restarts.status())
}

/// Whether a restart is asked for from a conversation, as the model's own tool does it.
pub(super) fn is_of_a_tool(params: Params<'_>) -> bool {
    params.read::<RequestParams>("").is_ok_and(|params| params.session_key.is_some())
}

/// Asks for a restart.
pub(super) fn request(gateway: &Gateway, client: &Client, params: Params<'_>) -> Result<Value, RpcError> {
    const METHOD: &str = "gateway.restart.request";
    client.may(Scope::Admin)?;
    let params: RequestParams = match params.none(METHOD) {
        Ok(()) => RequestParams::default(),
        Err(_) => params.read(METHOD)?,
    };
    let invalid = |why: &str| RpcError::invalid(format!("{METHOD}: {why}"));
    let mode = params.mode().map_err(invalid)?;
    let is_key = |key: &String| !key.trim().is_empty() && key.chars().count() <= MAX_KEY_CHARS;
    if !params.session_key.iter().chain(&params.idempotency_key).all(is_key) {
        return Err(invalid(&format!(
            "sessionKey and idempotencyKey must have 1 to {MAX_KEY_CHARS} characters"
        )));
    }
    if params.note.is_some() && params.session_key.is_none() {
        return Err(invalid("note goes with sessionKey, which says whom it is for"));
    }
    if params.note.as_ref().is_some_and(|note| note.chars().count() > MAX_NOTE_CHARS) {
        return Err(invalid(&format!("note must have at most {MAX_NOTE_CHARS} characters")));
    }
    let source = match client.name() {
        COMMAND_LINE => Source::CommandLine,
        name => Source::Rpc { client: name.to_string() },
    };
    let mut request = Request::new(source, mode).after(Duration::from_millis(params.delay_ms));
    request = request.because(params.reason.as_deref().unwrap_or_default());
    if let Some(session_key) = params.session_key {
        let session_key = session_key.to_lowercase();
        request = request.telling(Notice { session_key, channel: None, to: None, text: params.note });
    }
    if let Some(key) = params.idempotency_key {
        request = request.keyed(key);
    }
    gateway.restarts.request(request).map(|result| json!(result)).map_err(refusal)
}

fn starting() -> RpcError {
    RpcError::unavailable("the gateway is starting", RETRY_MS)
}

fn refusal(why: Refusal) -> RpcError {
    let message = format!("no restart: {why}");
    match why {
        Refusal::RateLimited { retry_after_ms } => RpcError::unavailable(message, retry_after_ms),
        Refusal::Stopping | Refusal::TooMany | Refusal::NotRecorded => {
            RpcError::unavailable(message, RETRY_MS)
        }
        Refusal::SwitchedOff => RpcError::forbidden(why.to_string()),
        Refusal::Expired | Refusal::EditReverted => RpcError::invalid(message),
    }
}
