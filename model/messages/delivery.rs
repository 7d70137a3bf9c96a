//! Delivery: how what the outbox holds gets to the platforms.
//!
//! One task for each chat sends its texts in their order, so none overtakes another; and one chat whose platform does
//! not take its text keeps no other chat waiting. A text is sent again until the platform has it, refuses it for good,
//! or is too old to be of use. Of a text that may have been taken already, a platform that recognises repeats takes the
//! same again; to any other it is sent once more with a word about that, since a text twice is better than none.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::inbox::Accepted;
use super::outbox::{About, Pending, Progress};
use crate::channels::{Account, Channel, Chat, Delivery, Route, SendError, Sent};
use crate::gateway::Gateway;
use crate::policy::ResumedReply;
use crate::sessions::StateError;

/// How long one attempt may take (OpenClaw: 15 s for a block of a reply).
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause before the next attempt; it doubles up to the longest (OpenClaw: 5 s to 10 min, at a start only).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A text that could not be sent for so long is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a step waits that the journal refuses to record.
const JOURNAL_PAUSE: Duration = Duration::from_secs(1);

/// What a text is to the message that it is about. A message has one of each at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// How it ended: a reply or a notice.
    Outcome,
    /// It waits; something else follows.
    Wait,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Wait => "wait",
        }
    }
}

/// Who is at work.
#[derive(Default)]
pub(crate) struct Couriers {
    is_started: Cell<bool>,
    at_work: RefCell<BTreeSet<(Account, String)>>,
}

/// Makes durable what a message's sender is owed, if it is somebody on a platform. Repeating it changes nothing.
pub(crate) fn owe(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    kind: Kind,
    text: &str,
) -> Result<(), StateError> {
    let Route::Platform(chat) = &message.route else { return Ok(()) };
    if gateway.policies.resumed_reply == ResumedReply::TranscriptOnly
        && gateway.inbox.times_resumed(&message.run_id) > 0
    {
        return Ok(());
    }
    let delivery = Delivery {
        id: format!("{}:{}", message.run_id, kind.name()),
        chat: chat.clone(),
        text: text.to_string(),
    };
    let about = About { run_id: message.run_id.clone(), session_key: message.session_key.clone() };
    gateway.outbox.queue(delivery, about)?;
    send_soon(gateway, chat);
    Ok(())
}

/// Begins to send, with what earlier lives have left.
pub(crate) fn start(gateway: &Rc<Gateway>) {
    gateway.couriers.is_started.set(true);
    for account in gateway.channels.accounts() {
        for pending in gateway.outbox.pending(&account, None) {
            send_soon(gateway, &pending.delivery.chat);
        }
    }
}

fn send_soon(gateway: &Rc<Gateway>, chat: &Chat) {
    if !gateway.couriers.is_started.get() {
        return;
    }
    let Some(channel) = gateway.channels.find(&chat.account) else {
        tracing::error!(name: "delivery.no-account", account = %chat.account, "nobody can send what is owed there");
        return;
    };
    let place = (chat.account.clone(), chat.chat.clone());
    if gateway.couriers.at_work.borrow_mut().insert(place.clone()) {
        drop(gateway.env.spawn("delivery", carry(gateway.clone(), channel, place)));
    }
}

/// Sends what is owed to one chat until nothing is.
async fn carry(gateway: Rc<Gateway>, channel: Rc<dyn Channel>, place: (Account, String)) {
    loop {
        let next = gateway.outbox.pending(&place.0, Some(&place.1)).into_iter().next();
        let Some(next) = next else { break };
        deliver(&gateway, &*channel, next).await;
    }
    gateway.couriers.at_work.borrow_mut().remove(&place);
}

/// Sends one text until it is over.
async fn deliver(gateway: &Rc<Gateway>, channel: &dyn Channel, pending: Pending) {
    let Pending { mut delivery, about, progress, at } = pending;
    let id = delivery.id.clone();
    let text = delivery.text.clone();
    let mut may_have_been_taken = matches!(progress, Progress::Unknown { .. });
    let mut pause = FIRST_PAUSE;
    loop {
        if gateway.env.wall_clock().since(at) > GIVEN_UP_AFTER {
            tracing::error!(name: "delivery.given-up", run = about.run_id, text = id, "it could not be sent in time");
            recorded(gateway, || gateway.outbox.failed(&id, "it could not be sent in time")).await;
            return;
        }
        channel.ready().await;
        recorded(gateway, || gateway.outbox.attempt(&id)).await;
        delivery.text = match may_have_been_taken && !channel.recognises_repeats() {
            true => format!("{text}\n(You may have got this before: the service could not tell.)"),
            false => text.clone(),
        };
        let sent = timeout(SEND_TIMEOUT, channel.send(&delivery)).await;
        let sent = sent.unwrap_or_else(|_| Err(SendError::Unknown { why: "no answer in time".to_string() }));
        match sent {
            Ok(Sent { message }) => {
                recorded(gateway, || gateway.outbox.sent(&id, &message)).await;
                tracing::info!(name: "delivery.sent", run = about.run_id, text = id, message, "the platform has it");
                return;
            }
            Err(SendError::Never { why }) => {
                tracing::error!(name: "delivery.failed", run = about.run_id, text = id, why, "it can never be sent");
                recorded(gateway, || gateway.outbox.failed(&id, &why)).await;
                return;
            }
            Err(SendError::NotNow { why, retry_after }) => {
                tracing::warn!(name: "delivery.delayed", run = about.run_id, text = id, why, "trying again");
                recorded(gateway, || gateway.outbox.not_taken(&id, &why)).await;
                sleep(retry_after.unwrap_or(pause).max(pause)).await;
            }
            Err(SendError::Unknown { why }) => {
                tracing::warn!(name: "delivery.unknown", run = about.run_id, text = id, why, "trying again");
                may_have_been_taken = true;
                sleep(pause).await;
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Records a step, however long the disk refuses it: the next one must not come before.
async fn recorded(gateway: &Gateway, step: impl Fn() -> Result<(), StateError>) {
    while let Err(error) = step() {
        tracing::warn!(name: "delivery.not-recorded", %error, "trying again");
        sleep(JOURNAL_PAUSE).await;
        if gateway.phase.get() >= crate::lifecycle::phase::Phase::Leaving {
            return;
        }
    }
}
