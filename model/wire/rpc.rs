//! The methods: what each request means, in terms of the message road.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::Scope;
use super::frames::{Answer, Params, Request, RpcError, as_answer, parse_request, response};
use super::peers::{MAX_FOLLOWED, Membership};
use super::{UNKNOWN_METHOD, restart};
use crate::agents::subagents;
use crate::channels::Route;
use crate::cron;
use crate::gateway::Gateway;
use crate::messages::inbox::{Accepted, Settlement};
use crate::messages::{Receipt, SendRefused};
use crate::policy::RestartCommand;
use crate::sessions::{Outcome, TranscriptEntry};

/// How many transcript entries `chat.history` returns unless asked otherwise.
const HISTORY_LIMIT: usize = 200;
/// How much text `chat.history` returns at most (OpenClaw: 6 MiB), and no more than half of what may wait for a peer, so
/// that there is room for events beside it.
const HISTORY_BYTES: usize = 6 * 1024 * 1024;
/// The longest message. OpenClaw knows only the limit of the frame; no model reads that much.
const MAX_TEXT_BYTES: usize = 1024 * 1024;
const MAX_KEY_CHARS: usize = 256;
/// When a client should try again, in milliseconds: while messages are not admitted, and when the disk failed.
const NOT_ADMITTING_RETRY_MS: u64 = 2_000;
const DISK_RETRY_MS: u64 = 5_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SendParams {
    session_key: String,
    message: String,
    idempotency_key: String,
}

/// What a client can ask for.
const METHODS: [&str; 8] = [
    "chat.send",
    "chat.abort",
    "chat.history",
    "health",
    "cron.list",
    "gateway.restart.preflight",
    "gateway.restart.request",
    "gateway.restart.status",
];

/// How many runs that were stopped before `chat.abort` names.
const ALREADY_STOPPED_LIMIT: usize = HISTORY_LIMIT;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AbortParams {
    session_key: String,
    run_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryParams {
    session_key: String,
    limit: Option<usize>,
}

/// Answers one frame of an authenticated client.
pub(super) fn answer(gateway: &Rc<Gateway>, membership: &Membership, text: &str) -> String {
    let request = match parse_request(text) {
        Ok(request) => request,
        Err(bad) => {
            tracing::info!(name: "peer.bad-frame", reason = bad.error.message, "refused a frame");
            return response(&bad.id, Err(bad.error));
        }
    };
    response(&request.id, obey(gateway, membership, &request))
}

fn obey(gateway: &Rc<Gateway>, membership: &Membership, request: &Request<'_>) -> Result<Answer, RpcError> {
    let client = membership.client();
    let params = request.params;
    let answers = answers_restarts(gateway);
    match &*request.method {
        "chat.send" => {
            client.may(Scope::Write)?;
            send(gateway, membership, params)
        }
        "chat.abort" => {
            client.may(Scope::Write)?;
            abort(gateway, membership, params).map(|done| as_answer(&done))
        }
        "chat.history" => {
            client.may(Scope::Read)?;
            history(gateway, membership, params)
        }
        "health" => Ok(as_answer(&gateway.health())),
        "cron.list" => {
            client.may(Scope::Read)?;
            Ok(as_answer(&cron::list(gateway)))
        }
        "gateway.restart.preflight" if answers => {
            restart::preflight(gateway, &client, params).map(|could| as_answer(&could))
        }
        // The tool of the model asks by it, which history had before it had the method.
        "gateway.restart.request" if answers || restart::is_of_a_tool(params) => {
            restart::request(gateway, &client, params).map(|asked| as_answer(&asked))
        }
        "gateway.restart.status" if answers => {
            restart::status(gateway, &client, params).map(|status| as_answer(&status))
        }
        "connect" => Err(RpcError::invalid("already connected")),
        other => Err(RpcError::invalid(format!("{UNKNOWN_METHOD} {other:?}"))),
    }
}

/// Whether the methods about restarts are there: not before OpenClaw 2026.5.4.
fn answers_restarts(gateway: &Gateway) -> bool {
    match gateway.policies.restart_command {
        RestartCommand::Asks | RestartCommand::AsksIfSafe => true,
        RestartCommand::Signals => false,
    }
}

/// What a client can ask this gateway for once it is connected.
pub(super) fn methods(gateway: &Gateway) -> impl Iterator<Item = &'static str> {
    let answers = answers_restarts(gateway);
    METHODS.into_iter().filter(move |name| answers || !name.starts_with("gateway.restart"))
}

fn check_key(name: &str, key: &str) -> Result<(), RpcError> {
    if key.trim().is_empty() || key.chars().count() > MAX_KEY_CHARS {
        return Err(RpcError::invalid(format!("{name} must have 1 to {MAX_KEY_CHARS} characters")));
    }
    Ok(())
}

/// Checks a session key and lets the peer have the conversation's events from now on, and what is to be said of
/// messages that wait in it. Returns its one spelling.
fn follow(gateway: &Gateway, membership: &Membership, session_key: &str) -> Result<String, RpcError> {
    check_key("sessionKey", session_key)?;
    let session_key = session_key.to_lowercase();
    if !membership.follow(&session_key, || gateway.waits.events(&session_key)) {
        let message = format!("a connection follows at most {MAX_FOLLOWED} sessions; open another one");
        return Err(RpcError::invalid(message));
    }
    Ok(session_key)
}

fn send(gateway: &Rc<Gateway>, membership: &Membership, params: Params<'_>) -> Result<Answer, RpcError> {
    let params: SendParams = params.read("chat.send")?;
    check_key("idempotencyKey", &params.idempotency_key)?;
    if cron::is_run(&params.idempotency_key) {
        return Err(RpcError::invalid("idempotencyKey: what begins with \"cron:\" names scheduled runs"));
    }
    if subagents::is_ours(&params.idempotency_key) {
        return Err(RpcError::invalid(
            "idempotencyKey: what begins with \"subagent:\" names runs of subagents",
        ));
    }
    if params.message.trim().is_empty() {
        return Err(RpcError::invalid("message must not be empty"));
    }
    if params.message.len() > MAX_TEXT_BYTES {
        return Err(RpcError::invalid(format!("message must have at most {MAX_TEXT_BYTES} bytes")));
    }
    // Before the message is queued, so that not even its first event is missed.
    let session_key = follow(gateway, membership, &params.session_key)?;
    let (run_id, text) = (params.idempotency_key, params.message);
    let message = Accepted { run_id, session_key, text, route: Route::Webchat };
    let receipt = gateway.accept(&message, Some(membership.id)).map_err(|refused| refusal(&refused))?;
    let Accepted { run_id, session_key, .. } = message;
    Ok(match receipt {
        Receipt::Started => as_answer(&Taken { run_id: &run_id, status: "started" }),
        Receipt::InFlight => as_answer(&Taken { run_id: &run_id, status: "in_flight" }),
        Receipt::Over(how) => as_answer(&over(gateway, &run_id, &session_key, how)),
    })
}

/// What is answered to who hands a message over that is not over.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Taken<'a> {
    run_id: &'a str,
    status: &'static str,
}

/// What is answered to who hands a message over once more that is over: how it ended, and in what words, as its `chat`
/// event had it. Who asks again because it missed that event would not know otherwise that there is something to read.
fn over(gateway: &Gateway, run_id: &str, session_key: &str, how: Settlement) -> Value {
    let mut answer = json!({"runId": run_id, "status": "ok", "outcome": how.name()});
    match (how, gateway.ended_as(session_key, run_id)) {
        (Settlement::Answered, Some(Outcome::Reply(text))) => {
            answer["message"] = json!({"role": "assistant", "content": [{"type": "text", "text": text}]});
        }
        (Settlement::Told, Some(Outcome::Notice(text))) => answer["errorMessage"] = text.into(),
        // Stopped; or it does not stand there, so that nobody can repeat it.
        _ => {}
    }
    answer
}

fn refusal(refused: &SendRefused) -> RpcError {
    match refused {
        SendRefused::NotAdmitting | SendRefused::Busy => {
            RpcError::unavailable(refused.to_string(), NOT_ADMITTING_RETRY_MS)
        }
        SendRefused::KeyReused => RpcError::invalid(refused.to_string()),
        SendRefused::NotDurable(_) => RpcError::unavailable(refused.to_string(), DISK_RETRY_MS),
    }
}

fn abort(gateway: &Rc<Gateway>, membership: &Membership, params: Params<'_>) -> Result<Value, RpcError> {
    let params: AbortParams = params.read("chat.abort")?;
    let session_key = follow(gateway, membership, &params.session_key)?;
    if let Some(run_id) = &params.run_id
        && gateway.inbox.session_of(run_id).is_some_and(|session| session != session_key)
    {
        return Err(RpcError::invalid("this run belongs to another session"));
    }
    // Who asks again, because the first answer got lost, learns what the first request did.
    let already = gateway.inbox.cancelled_in(&session_key, ALREADY_STOPPED_LIMIT);
    let run_ids = gateway.cancel(&session_key, params.run_id.as_deref());
    gateway.confirm_stops().map_err(|error| {
        let why = format!("it is stopped, and that could not be recorded: {error}; ask again");
        RpcError::unavailable(why, DISK_RETRY_MS)
    })?;
    Ok(json!({"ok": true, "aborted": !run_ids.is_empty(), "runIds": run_ids, "alreadyStopped": already}))
}

/// What `chat.history` answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct History<'a> {
    messages: Vec<HistoryEntry<'a>>,
    session_key: &'a str,
    stopped: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryEntry<'a> {
    content: [TextPart<'a>; 1],
    role: &'static str,
    run_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    run_ids: Vec<&'a str>,
    timestamp: u64,
}

#[derive(Serialize)]
struct TextPart<'a> {
    text: &'a str,
    r#type: &'static str,
}

fn history(gateway: &Rc<Gateway>, membership: &Membership, params: Params<'_>) -> Result<Answer, RpcError> {
    let params: HistoryParams = params.read("chat.history")?;
    let session_key = follow(gateway, membership, &params.session_key)?;
    let entries = gateway.history(&session_key).map_err(|error| {
        RpcError::unavailable(format!("the transcript cannot be read: {error}"), DISK_RETRY_MS)
    })?;
    let limit = params.limit.unwrap_or(HISTORY_LIMIT);
    let recent = &entries[entries.len().saturating_sub(limit)..];
    let waiting = usize::try_from(gateway.config.gateway.max_buffered_bytes).unwrap_or(usize::MAX);
    let room = HISTORY_BYTES.min(waiting / 2);
    let messages = newest_that_fit(recent, room).iter().map(|entry| history_entry(entry)).collect();
    // Somebody else may have stopped what this peer sent, while it was away: no reply and no notice says so.
    let stopped = gateway.inbox.cancelled_in(&session_key, ALREADY_STOPPED_LIMIT);
    Ok(as_answer(&History { messages, session_key: &session_key, stopped }))
}

/// The end of `entries` whose texts have at most so many bytes; the newest entry whatever it has.
fn newest_that_fit(entries: &[Rc<TranscriptEntry>], room: usize) -> &[Rc<TranscriptEntry>] {
    let mut bytes = 0;
    let fitting = entries.iter().rev().enumerate().take_while(|(place, entry)| {
        bytes += entry.text.len();
        *place == 0 || bytes <= room
    });
    &entries[entries.len() - fitting.count()..]
}

fn history_entry(entry: &TranscriptEntry) -> HistoryEntry<'_> {
    HistoryEntry {
        content: [TextPart { text: &entry.text, r#type: "text" }],
        role: entry.role.name(),
        run_id: &entry.run_id,
        run_ids: if entry.with.is_empty() { Vec::new() } else { entry.run_ids().collect() },
        timestamp: entry.at_ms,
    }
}
