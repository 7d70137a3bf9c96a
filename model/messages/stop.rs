//! A stop: what the sender of `/stop` on a platform wants, done once, whatever comes in between.
//!
//! The command is accepted like any message, so its intent is durable before anything is done: whatever of its
//! conversation was accepted before it and is open is stopped by it, and the subagents that were asked for there. Then its
//! answer is durable, which names what is stopped; then each of these is over; then the command is. A crash in between leaves the command open, and recovery
//! does the same again before it resumes anything. (Webchat has a method for it, whose answer goes to who called.)

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::delivery::{Kind, owe};
use super::inbox::{Accepted, Settlement};
use super::lanes::Interruption;
use super::traces;
use crate::agents::notice::quoted;
use crate::agents::subagents::{self, Background};
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
    background: Vec<Background>,
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
    let stop = Stop {
        stopped: gateway.inbox.open_before(command),
        background: subagents::asked_for_before(gateway, command),
        command: command.clone(),
    };
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
    for message in &stop.stopped {
        tracing::warn!(name: "message.cancelled", run = message.run_id, "stopped by its sender");
        gateway.inbox.presume_over(&message.run_id, Settlement::Cancelled);
    }
    gateway.inbox.presume_over(&stop.command.run_id, Settlement::Told);
    if !stop.stopped.is_empty() {
        traces::note_stop(gateway, &stop.command.session_key);
    }
    gateway.lanes.stop(&stop.command.session_key, None, Interruption::ByUser);
    subagents::hush(gateway, &stop.background);
}

/// Makes it durable: the answer before the ends, and the command's own end last, so that whoever finds one of these open
/// finds all.
fn finish(gateway: &Rc<Gateway>, stop: &Stop) -> Result<(), StateError> {
    owe(gateway, &stop.command, Kind::Outcome, &words(stop))?;
    for Accepted { run_id, session_key, .. } in &stop.stopped {
        gateway.settle(&[run_id], Settlement::Cancelled);
        if gateway.inbox.is_over_for_good(run_id) {
            publish(&gateway.peers, session_key, run_id, 0, &ChatState::Aborted);
        }
    }
    subagents::end_stopped(gateway, &stop.background)?;
    gateway.settle(&[&stop.command.run_id], Settlement::Told);
    Ok(())
}

/// What the sender of the command reads.
fn words(stop: &Stop) -> String {
    let messages = stop.stopped.iter().filter(|message| !subagents::is_ours(&message.run_id));
    let messages = messages.map(|message| quoted(&message.text));
    let tasks = stop.background.iter().map(|task| format!("the background task {}", quoted(&task.task)));
    let stopped: Vec<String> = messages.chain(tasks).collect();
    match &stopped[..] {
        [] => "Nothing was running.".to_string(),
        stopped => format!("Stopped: {}", stopped.join(", ")),
    }
}
