//! The drain: admission is closed, and what was accepted gets the time it needs, up to a budget. Then what is
//! left is interrupted, and every message that ends otherwise than with a reply is named.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};

use super::budgets;
use super::phase::{Ending, Phase};
use super::requests::{Change, Forced, Requests};
use super::shutdown;
use crate::agents::notice::{NoticeCause, by_conversation, tell_of_wait, tell_within};
use crate::channels::Route;
use crate::env::Task;
use crate::gateway::Gateway;
use crate::messages::delivery;
use crate::messages::inbox::Accepted;
use crate::messages::lanes::{Interruption, Stopped};
use crate::policy::{DrainInventory, InterruptedWork};

/// How long the connections to platforms may take to come to rest.
const STOP_TAKING: Duration = Duration::from_secs(1);
/// How long texts are still sent to the platforms.
const FLUSH: Duration = Duration::from_secs(5);
/// How much longer what is being sent may take: who does not hear what came of it has to send it again.
const LAST_ANSWERS: Duration = Duration::from_secs(15);

/// Waits for the work in flight, then stops what is left. A stop may overtake a restart meanwhile. What is left may take
/// its time to be stopped and told; the port is not kept for that, so `listener` may be gone then.
pub(crate) async fn drain(
    gateway: &Rc<Gateway>,
    listener: &mut Option<Task<()>>,
    requests: &mut Requests,
) -> Result<(), Forced> {
    let started = Instant::now();
    let asked = asked(requests);
    let deadline = deadline(gateway, asked);
    let budget = deadline.map(|deadline| deadline - started);
    tracing::info!(
        name: "drain.started",
        ending = asked.name(),
        work = gateway.lanes.depth(),
        budget_ms = budget.map(|budget| budget.as_millis() as u64),
        "finishing accepted work"
    );
    if gateway.policies.drain_inventory != DrainInventory::MissesChannels {
        stop_taking(gateway, requests).await?;
    }
    let in_time = finish_work(gateway, requests).await?;
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
                if shutdown::frees_port_first(gateway.policies.peer_close) {
                    shutdown::end_listener(listener).await;
                }
                interrupt(gateway, requests).await?;
            }
            name_what_is_left(gateway);
        }
        InterruptedWork::Forget => {}
    }
    let over = deadline.map(|deadline| deadline + budgets::settle(&gateway.config, self::asked(requests)));
    flush(gateway, requests, over).await
}

/// What has not been taken by now waits at its platform, which keeps it.
async fn stop_taking(gateway: &Gateway, requests: &mut Requests) -> Result<(), Forced> {
    let stopping = timeout(STOP_TAKING, gateway.channels.stop_taking());
    if requests.unless_forced(Phase::Draining, stopping).await?.is_err() {
        tracing::warn!(name: "drain.channels-busy", "a platform's connection does not come to rest");
    }
    Ok(())
}

/// Waits a moment for what is owed to senders on platforms. It is durable, and the next life goes on with it; but whoever
/// waits for an answer should not wait for that.
///
/// What is left of the drain's budget and of the time to settle, `over`, is shared with it.
async fn flush(gateway: &Gateway, requests: &mut Requests, over: Option<Instant>) -> Result<(), Forced> {
    let until = earlier(over, Some(Instant::now() + FLUSH + LAST_ANSWERS)).expect("one is given");
    let finished = timeout_at(until, delivery::finish(gateway, FLUSH));
    let _ = requests.unless_forced(Phase::Draining, finished).await?;
    let left = gateway.outbox.depth(|_, _| true);
    if left > 0 {
        tracing::warn!(name: "drain.texts-left", left, "the platforms have not taken everything; it is kept");
    }
    Ok(())
}

fn asked(requests: &Requests) -> Ending {
    requests.under_way().expect("a drain is asked for")
}

/// Waits until nothing is left to do, or until the budget is used up (`false`).
async fn finish_work(gateway: &Gateway, requests: &mut Requests) -> Result<bool, Forced> {
    if gateway.policies.drain_inventory == DrainInventory::MissesTurns {
        return Ok(true);
    }
    let mut deadline = deadline(gateway, asked(requests));
    loop {
        let finished = async {
            tokio::select! {
                biased;
                () = idle(gateway) => Some(true),
                () = reached(deadline) => Some(false),
                () = gateway.restarts.hurried() => None,
            }
        };
        match requests.unless_changed(Phase::Draining, finished).await {
            Ok(Some(in_time)) => return Ok(in_time),
            Ok(None) => deadline = earlier(deadline, gateway.restarts.drain_deadline()),
            Err(Change::Forced) => return Err(Forced),
            // Its budget counts from its own signal, and no longer than the one that runs already.
            Err(Change::Asked(ending)) => deadline = earlier(deadline, self::deadline(gateway, ending)),
        }
    }
}

/// Resolves when no work is left that counts.
async fn idle(gateway: &Gateway) {
    match gateway.policies.drain_inventory {
        DrainInventory::MissesChannels => {
            gateway.lanes.idle_but(|session| !Route::of_session(session).is_webchat()).await;
        }
        DrainInventory::Everything | DrainInventory::MissesTurns => gateway.lanes.idle().await,
    }
}

/// When a drain that begins now must be over: by its own budget, and for a restart by what its requesters left of
/// theirs. A limit too far away to be an instant is no limit.
fn deadline(gateway: &Gateway, ending: Ending) -> Option<Instant> {
    let budget = budgets::drain(&gateway.policies, &gateway.config, ending);
    let own = budget.and_then(|budget| Instant::now().checked_add(budget));
    match ending {
        Ending::Stop => own,
        Ending::Restart => earlier(own, gateway.restarts.drain_deadline()),
    }
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
async fn interrupt(gateway: &Rc<Gateway>, requests: &mut Requests) -> Result<(), Forced> {
    let stopped = gateway.lanes.stop_all(Interruption::ByShutdown);
    let queued = stopped.into_iter().filter_map(|stopped| match stopped {
        Stopped::Queued(run_id) => gateway.inbox.find_open(&run_id),
        Stopped::Running(_) => None,
    });
    let mut untold: VecDeque<Vec<Accepted>> = by_conversation(queued.map(|(message, _)| message)).into();
    loop {
        let ending = asked(requests);
        let limit = budgets::settle(&gateway.config, ending);
        let settling = timeout(limit, settle(gateway, ending, &mut untold));
        match requests.unless_changed(Phase::Draining, settling).await {
            Ok(Ok(())) => break,
            Ok(Err(_)) => {
                let left = gateway.lanes.depth();
                tracing::error!(name: "drain.work-left", left, "work did not stop in time");
                break;
            }
            Err(Change::Forced) => return Err(Forced),
            // Nobody comes after a stop, so it has more to tell; and less time for it.
            Err(Change::Asked(_)) => {}
        }
    }
    if asked(requests) == Ending::Stop {
        for message in untold.into_iter().flatten() {
            tell_of_wait(gateway, &message, "the service ended", 0);
        }
    }
    Ok(())
}

/// Waits for what was stopped, and tells of what was queued if nobody comes after.
async fn settle(gateway: &Rc<Gateway>, ending: Ending, untold: &mut VecDeque<Vec<Accepted>>) {
    let patience_ends = Instant::now() + budgets::notice_patience(&gateway.config, ending);
    // The runs first: in each conversation they are older than what is queued.
    gateway.lanes.idle().await;
    while let Some(messages) = untold.front().filter(|_| ending == Ending::Stop) {
        let patience = patience_ends.saturating_duration_since(Instant::now());
        tell_within(gateway, messages, NoticeCause::Interrupted, 0, patience).await;
        untold.pop_front();
        // A disk is waited for without letting go: only between two messages can time run out, or a signal be heard.
        yield_now().await;
    }
}

/// Whatever is still open stays in the journal for the next life.
pub(crate) fn name_what_is_left(gateway: &Gateway) {
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
