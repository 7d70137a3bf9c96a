//! The drain: admission is closed, and what was accepted gets the time it needs, up to a budget. Then what is
//! left is interrupted, and every message that ends otherwise than with a reply is named.

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::budgets;
use super::phase::{Ending, Phase};
use super::requests::{Change, Forced, Requests};
use super::shutdown;
use crate::agents::notice::{NoticeCause, leave_untold, tell_all, tell_of_wait};
use crate::agents::untold::{Unanswered, by_conversation};
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
/// How often history looked whether the runs were over that it had counted.
const LOOK: Duration = Duration::from_millis(50);
/// How much longer what is being sent may take: who does not hear what came of it has to send it again.
const LAST_ANSWERS: Duration = Duration::from_secs(15);

/// Waits for the work in flight, then stops what is left. A stop may overtake a restart meanwhile. What is left may take
/// its time to be stopped and told, and so may a platform to answer; the port is not kept for that, so `listener` may be
/// gone then.
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
    // What has not been taken by now waits at its platform, which keeps it.
    let stopping = timeout(STOP_TAKING, gateway.channels.stop_taking());
    if requests.unless_forced(Phase::Draining, pin!(stopping)).await?.is_err() {
        tracing::warn!(name: "drain.channels-busy", "a platform's connection does not come to rest");
    }
    let in_time = finish_work(gateway, requests).await?;
    tracing::info!(
        name: "drain.finished",
        in_time,
        left = gateway.lanes.depth(),
        took_ms = started.elapsed().as_millis() as u64,
        "the drain is over"
    );
    let tells = gateway.policies.interrupted_work == InterruptedWork::TellSender;
    let stops = tells && !in_time;
    let waits = stops || gateway.outbox.depth(|_, _| true) > 0;
    if tells && waits && shutdown::frees_port_first(gateway.policies.peer_close) {
        shutdown::end_listener(listener).await;
    }
    let queued = if stops { interrupt(gateway) } else { Vec::new() };
    tell(gateway, requests, queued, stops).await?;
    if tells {
        name_what_is_left(gateway);
    }
    let over = deadline.map(|deadline| deadline + budgets::settle(&gateway.config, self::asked(requests)));
    flush(gateway, requests, over).await
}

/// Waits a moment for what is owed to senders on platforms. It is durable, and the next life goes on with it; but whoever
/// waits for an answer should not wait for that.
///
/// What is left of the drain's budget and of the time to settle, `over`, is shared with it.
async fn flush(gateway: &Gateway, requests: &mut Requests, over: Option<Instant>) -> Result<(), Forced> {
    let until = earlier(over, Some(Instant::now() + FLUSH + LAST_ANSWERS)).expect("one is given");
    let finished = timeout_at(until, delivery::finish(gateway, FLUSH));
    let _ = requests.unless_forced(Phase::Draining, pin!(finished)).await?;
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
    let counted = match gateway.policies.drain_inventory {
        DrainInventory::Everything => None,
        DrainInventory::MissesTurns => return Ok(true),
        DrainInventory::AtWorkAtItsBeginning => Some(gateway.lanes.running()),
    };
    let mut deadline = deadline(gateway, asked(requests));
    loop {
        let finished = async {
            tokio::select! {
                biased;
                () = over(gateway, counted.as_deref()) => Some(true),
                () = reached(deadline) => Some(false),
                () = gateway.restarts.hurried() => None,
            }
        };
        let changed = requests.unless_changed(Phase::Draining, pin!(finished)).await;
        match changed {
            Ok(Some(in_time)) => return Ok(in_time),
            Ok(None) => deadline = earlier(deadline, gateway.restarts.drain_deadline()),
            Err(Change::Forced) => return Err(Forced),
            // Its budget counts from its own signal, and no longer than the one that runs already.
            Err(Change::Asked(ending)) => deadline = earlier(deadline, self::deadline(gateway, ending)),
        }
    }
}

/// Resolves when the runs that count are over; all of them, or those that history `counted`.
async fn over(gateway: &Gateway, counted: Option<&[String]>) {
    let Some(counted) = counted else { return gateway.lanes.idle().await };
    while gateway.lanes.running().iter().any(|run_id| counted.contains(run_id)) {
        sleep(LOOK).await;
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

/// Stops what the drain could not wait for, and returns what is queued. Runs leave what they were at work on to be told.
fn interrupt(gateway: &Gateway) -> Vec<Accepted> {
    let stopped = gateway.lanes.stop_all(Interruption::ByShutdown);
    let queued = stopped.into_iter().filter_map(|stopped| match stopped {
        Stopped::Queued(run_id) => gateway.inbox.find_open(&run_id),
        Stopped::Running(_) => None,
    });
    queued.map(|(message, _)| message).collect()
}

/// Tells every conversation what the end interrupts of it: what was at work, and on a stop also what is `queued`, since
/// nobody may come after. On a restart that is left to the successor.
async fn tell(
    gateway: &Rc<Gateway>,
    requests: &mut Requests,
    queued: Vec<Accepted>,
    stopped: bool,
) -> Result<(), Forced> {
    let mut telling = Telling { queued, ..Telling::default() };
    loop {
        let ending = asked(requests);
        let limit = budgets::settle(&gateway.config, ending);
        let settling = timeout(limit, telling.settle(gateway, ending, stopped));
        match requests.unless_changed(Phase::Draining, pin!(settling)).await {
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
    telling.give_up(gateway, asked(requests));
    Ok(())
}

/// What is to be told at an end, and who was.
#[derive(Default)]
struct Telling {
    queued: Vec<Accepted>,
    untold: VecDeque<Vec<Unanswered>>,
    told: BTreeSet<(String, Route)>,
}

impl Telling {
    /// Waits for what was `stopped`, and tells. When that is cut short, what was not told is still here.
    async fn settle(&mut self, gateway: &Rc<Gateway>, ending: Ending, stopped: bool) {
        let patience_ends = Instant::now() + budgets::notice_patience(&gateway.config, ending);
        if stopped {
            gateway.lanes.idle().await;
        }
        self.gather(gateway, ending);
        while let Some(conversation) = self.untold.front() {
            let patience = patience_ends.saturating_duration_since(Instant::now());
            let place = conversation[0].place();
            tell_all(gateway, conversation.clone(), patience).await;
            self.untold.pop_front();
            self.told.insert(place);
            // A disk is waited for without letting go: only between two messages can time run out, or a signal be heard.
            yield_now().await;
        }
    }

    /// What was at work comes first: in each conversation it is older than what is queued. Of a conversation that was
    /// told already the rest is kept.
    fn gather(&mut self, gateway: &Gateway, ending: Ending) {
        let mut untold: Vec<Unanswered> = self.untold.drain(..).flatten().collect();
        untold.extend(gateway.untold.take());
        if ending == Ending::Stop {
            let queued = self.queued.drain(..);
            let queued = queued.map(|message| Unanswered::new(message, NoticeCause::Interrupted));
            let (kept, more): (Vec<_>, Vec<_>) = queued.partition(|it| self.told.contains(&it.place()));
            self.queued = kept.into_iter().map(|it| it.message).collect();
            untold.extend(more);
        }
        self.untold = by_conversation(gateway.policies.interruption_notice, untold).into();
    }

    /// There is no time left: whoever is connected hears what the next life will do.
    fn give_up(mut self, gateway: &Rc<Gateway>, ending: Ending) {
        const WHY: &str = "the service ended";
        self.gather(gateway, ending);
        for conversation in self.untold {
            leave_untold(gateway, conversation, WHY);
        }
        if ending == Ending::Stop {
            self.queued.iter().for_each(|message| tell_of_wait(gateway, message, WHY, 0));
        }
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
