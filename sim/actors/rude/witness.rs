//! Somebody who follows a sender's conversation beside those who do not read it, and reads everything at once.
//!
//! What the witness is sent, everybody is owed who follows the same conversation: it is the measure of what the gateway
//! has to keep for those who read nothing. It counts bytes and records them in steps.

use futures_util::StreamExt;
use gateway::env::Env;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use super::Caller;
use crate::actors::backoff;
use crate::timeline::{Fact, Recorder, Source};

/// The name under which every witness records.
pub const NAME: &str = "witness";
/// From one record to the next.
const STEP_BYTES: u64 = 64 * 1024;

/// What the witness is told.
#[derive(Clone, Debug)]
pub struct WitnessSettings {
    /// Whose conversation it follows.
    pub sender: String,
    /// The gateway's port.
    pub port: u16,
    /// The token it authenticates with.
    pub token: String,
}

/// Follows the conversation for as long as its process lives.
pub async fn run(env: Env, recorder: Recorder, settings: WitnessSettings) {
    let WitnessSettings { sender, port, token } = settings;
    let caller = Caller { env, port, token, joins: Some(sender.clone()) };
    let (mut heard, mut told, mut failures) = (0, 0, 0);
    loop {
        failures += 1;
        if let Ok(mut socket) = caller.authenticate().await {
            failures = 1;
            while let Some(Ok(message)) = socket.next().await {
                // Of other frames there are few.
                let Message::Text(text) = message else { continue };
                heard += text.len() as u64;
                if heard - told >= STEP_BYTES {
                    told = heard;
                    let fact = Fact::ConversationHeard { sender: sender.clone(), bytes: heard };
                    recorder.record(Source::Peers(NAME.into()), fact);
                }
            }
        }
        sleep(backoff(failures, 0)).await;
    }
}
