//! A stop: what the sender of `/stop` on a platform wants, done once, whatever comes in between.
//!
//! The command is accepted like any message, so its intent is durable before anything is done: whatever of its
//! conversation was accepted before it and is open is stopped by it. Then its answer is durable, which names what is
//! stopped; then each of these is over; then the command is. A crash in between leaves the command open, and recovery
//! does the same again before it resumes anything. (Webchat has a method for it, whose answer goes to who called.)

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::delivery::{Kind, owe};
use super::inbox::{Accepted, Settlement};
use super::lanes::{Interruption, Stopped};
use super::traces;
use crate::agents::notice::quoted;
use crate::channels::Route;
use crate::channels::webchat::{ChatState, publish};
use crate::gateway::Gateway;
use crate::sessions::StateError;

/// What a user writes.
const COMMAND: &str = "/stop";
/// How long the gateway waits before it tries again to make the answer durable.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Whether this is the command.
pub(crate) fn is_stop(message: &Accepted) -> bool {
    matches!(message.route, Route::Platform(_)) && message.text.trim().eq_ignore_ascii_case(COMMAND)
}

/// What a command that was accepted stops, and what it says.
struct Stop {
    command: Accepted,
    stopped: Vec<Accepted>,
}

/// Does what every command wants that an earlier life accepted and did not finish.
pub(crate) fn recover(gateway: &Rc<Gateway>) {
    for (message, _) in gateway.inbox.open_messages() {
        if is_stop(&message) {
            tracing::warn!(name: "recovery.stopped", run = message.run_id, "asked of an earlier life");
            carry_out(gateway, &message);
        }
    }
}

/// Does what a command that was accepted wants.
pub(crate) fn carry_out(gateway: &Rc<Gateway>, command: &Accepted) {
    let stop = Stop { stopped: gateway.inbox.open_before(command), command: command.clone() };
    end_work(gateway, &stop);
    let Err(error) = finish(gateway, &stop) else { return };
    tracing::error!(name: "message.stop-not-durable", run = command.run_id, %error, "trying again");
    let gateway = gateway.clone();
    drop(gateway.env.clone().spawn("stop", async move {
        while finish(&gateway, &stop).is_err() {
            sleep(RETRY_DELAY).await;
        }
    }));
}

/// Ends what is at work and what is queued. From now on nobody in this life takes it for open.
fn end_work(gateway: &Rc<Gateway>, stop: &Stop) {
    let session_key = &stop.command.session_key;
    for message in &stop.stopped {
        tracing::warn!(name: "message.cancelled", run = message.run_id, "stopped by its sender");
        gateway.inbox.presume_over(&message.run_id, Settlement::Cancelled);
    }
    gateway.inbox.presume_over(&stop.command.run_id, Settlement::Told);
    if !stop.stopped.is_empty() {
        traces::note_stop(gateway, session_key);
    }
    for stopped in gateway.lanes.stop(session_key, None, Interruption::ByUser) {
        // A run at work says so itself, as its last event.
        if let Stopped::Queued(run_id) = stopped {
            publish(&gateway.peers, session_key, &run_id, 0, &ChatState::Aborted);
        }
    }
}

/// Makes it durable: the answer before the ends, so that whoever finds one of these open finds all.
fn finish(gateway: &Rc<Gateway>, stop: &Stop) -> Result<(), StateError> {
    owe(gateway, &stop.command, Kind::Outcome, &words(&stop.stopped))?;
    for message in &stop.stopped {
        gateway.settle(&[&message.run_id], Settlement::Cancelled);
    }
    gateway.settle(&[&stop.command.run_id], Settlement::Told);
    Ok(())
}

/// What the sender of the command reads.
fn words(stopped: &[Accepted]) -> String {
    match stopped {
        [] => "Nothing was running.".to_string(),
        _ => {
            let quotes: Vec<String> = stopped.iter().map(|message| quoted(&message.text)).collect();
            format!("Stopped: {}", quotes.join(", "))
        }
    }
}
