//! Webchat: senders on the gateway's own WebSocket, who get `chat` events while they are connected and read
//! `chat.history` when they come back.

use serde_json::{Value, json};

use crate::wire::Peers;

/// What happened to a run, as its conversation's peers see it.
#[derive(Clone, Debug)]
pub(crate) enum ChatState<'a> {
    /// The answer so far.
    Delta(&'a str),
    /// The whole answer.
    Final(&'a str),
    /// The sender stopped it.
    Aborted,
    /// It will not be answered; the text says why and what to do.
    Error(&'a str),
}

/// Sends a `chat` event to everybody who follows the conversation.
pub(crate) fn publish(peers: &Peers, session_key: &str, run_id: &str, seq: u64, state: &ChatState<'_>) {
    let mut payload = json!({"runId": run_id, "sessionKey": session_key, "seq": seq});
    match state {
        ChatState::Delta(text) => {
            payload["state"] = json!("delta");
            payload["message"] = assistant_message(text);
        }
        ChatState::Final(text) => {
            payload["state"] = json!("final");
            payload["message"] = assistant_message(text);
        }
        ChatState::Aborted => {
            payload["state"] = json!("aborted");
            payload["stopReason"] = json!("user");
        }
        ChatState::Error(text) => {
            payload["state"] = json!("error");
            payload["errorMessage"] = json!(text);
        }
    }
    let frame = json!({"type": "event", "event": "chat", "payload": payload}).to_string();
    peers.publish(session_key, &frame);
}

fn assistant_message(text: &str) -> Value {
    json!({"role": "assistant", "content": [{"type": "text", "text": text}]})
}
