//! Whoever asks the gateway for a restart from inside a conversation, as a tool of the model does: it says whose
//! conversation that is, and what to say there when all is over.
//!
//! It asks once, and tells what it is answered; it knows nothing of what comes of it.

use std::time::Duration;

use gateway::env::Env;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::frames::{self, Frame};
use super::socket;
use crate::timeline::RestartMode;

/// How long it waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What it is to ask.
#[derive(Clone, Debug)]
pub struct Question {
    /// The gateway's port.
    pub port: u16,
    /// The token that it presents.
    pub token: String,
    /// The key of the conversation.
    pub session_key: String,
    /// What is to be said there.
    pub note: String,
    /// How urgent it is.
    pub mode: RestartMode,
}

/// Asks; the gateway's answer, or why there is none, in words.
pub async fn ask(env: &Env, question: Question) -> Result<Value, String> {
    let asking = async {
        let mut socket = socket::open(env, question.port).await?;
        socket::shake_hands_as(&mut socket, &question.token, &["operator.admin"]).await?;
        let params = params(&question);
        socket::send(&mut socket, frames::request("ask", "gateway.restart.request", params)).await?;
        loop {
            if let Frame::Response { id, answer } = socket::next_frame(&mut socket).await?
                && id == "ask"
            {
                socket::hang_up(socket).await;
                return answer.map_err(|refusal| refusal.reason);
            }
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err("no answer".into()))
}

fn params(question: &Question) -> Value {
    let mut params = json!({"sessionKey": question.session_key, "note": question.note});
    match question.mode {
        RestartMode::Plain => params["mode"] = json!("plain"),
        RestartMode::Safe => params["mode"] = json!("safe"),
        RestartMode::Force => params["mode"] = json!("force"),
        RestartMode::Wait(limit) => {
            params["waitMs"] = json!(limit.unwrap_or_default().as_millis() as u64);
        }
    }
    params
}
