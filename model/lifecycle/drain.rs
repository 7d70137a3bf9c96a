//! The drain: admission is closed, and what was accepted gets the time it needs, up to a budget. Then what is
//! left is interrupted, and every message that ends otherwise than with a reply is named.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::budgets;
use super::phase::Ending;
use crate::agents::notice::{NoticeCause, tell};
use crate::env::SignalStream;
use crate::gateway::Gateway;
use crate::messages::lanes::{Interruption, Stopped};
use crate::policy::InterruptedWork;

/// Waits for the work in flight, then stops what is left. Returns how the process should end by now, since a
/// stop may overtake a restart meanwhile.
pub(crate) async fn drain(gateway: &Rc<Gateway>, signals: &mut SignalStream, asked: Ending) -> Ending {
    let started = Instant::now();
    let budget = budgets::drain(&gateway.policies, &gateway.config, asked);
    tracing::info!(
        name: "drain.started",
        ending = asked.name(),
        work = gateway.lanes.depth(),
        budget_ms = budget.map(|budget| budget.as_millis() as u64),
        "finishing accepted work"
    );
    let (ending, in_time) = finish_work(gateway, signals, asked).await;
    tracing::info!(
        name: "drain.finished",
        in_time,
        left = gateway.lanes.depth(),
        took_ms = started.elapsed().as_millis() as u64,
        "the drain is over"
    );
    match gateway.policies.interrupted_work {
        InterruptedWork::TellSender => {
            if !in_time {
                interrupt(gateway, ending).await;
            }
            name_what_is_left(gateway);
        }
        InterruptedWork::Forget => {}
    }
    ending
}

/// Waits until nothing is left to do, or until the budget is used up (`false`).
async fn finish_work(gateway: &Gateway, signals: &mut SignalStream, asked: Ending) -> (Ending, bool) {
    let mut ending = asked;
    let mut deadline = deadline(gateway, ending);
    loop {
        tokio::select! {
            biased;
            () = gateway.lanes.idle() => return (ending, true),
            () = reached(deadline) => return (ending, false),
            signal = signals.next() => {
                tracing::info!(name: "signal.during-drain", %signal, "a second signal");
                let Some(later) = Ending::asked_by(signal) else { continue };
                gateway.heard(later);
                let overtaken = ending.overtaken_by(later, gateway.policies.second_request);
                if overtaken != ending {
                    ending = overtaken;
                    // Its budget counts from its own signal, and no longer than the one that runs already.
                    deadline = earlier(deadline, self::deadline(gateway, ending));
                }
            }
        }
    }
}

/// When a drain that begins now must be over. A limit too far away to be an instant is no limit.
fn deadline(gateway: &Gateway, ending: Ending) -> Option<Instant> {
    Instant::now().checked_add(budgets::drain(&gateway.policies, &gateway.config, ending)?)
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Stops what the drain could not wait for. Runs settle themselves; what is still queued is left to a
/// successor on a restart, and told on a stop, since nobody may come after.
async fn interrupt(gateway: &Rc<Gateway>, ending: Ending) {
    let stopped = gateway.lanes.stop_all(Interruption::ByShutdown);
    let settling = async {
        // The runs first: in each conversation they are older than what is queued.
        gateway.lanes.idle().await;
        for stopped in stopped {
            let Stopped::Queued(run_id) = stopped else { continue };
            let Some((message, _)) = gateway.inbox.find_open(&run_id) else { continue };
            if ending == Ending::Stop {
                tell(gateway, &message, NoticeCause::Interrupted, 0).await;
            }
        }
    };
    let limit: Duration = budgets::settle(&gateway.config, ending);
    if timeout(limit, settling).await.is_err() {
        tracing::error!(name: "drain.work-left", left = gateway.lanes.depth(), "work did not stop in time");
    }
}

/// Whatever is still open stays in the journal for the next life.
fn name_what_is_left(gateway: &Gateway) {
    for (message, stage) in gateway.inbox.open_messages() {
        tracing::warn!(
            name: "message.left-to-successor",
            run = message.run_id,
            session = message.session_key,
            ?stage,
            "accepted and not settled"
        );
    }
}
