//! Delivery: how what the outbox holds gets to the platforms.
//!
//! One task for each chat sends its texts in their order, so none overtakes another; and one chat whose platform does
//! not take its text keeps no other chat waiting. A text is sent again until the platform has it, refuses it for good,
//! or is too old to be of use. Of a text that may have been taken already, a platform that recognises repeats takes the
//! same again; to any other it is sent again with a word about that, since a text twice is better than none, and less
//! and less often, since a text a hundred times is not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::inbox::Accepted;
use super::outbox::{About, Pending, Progress};
use crate::channels::{Account, Channel, Chat, Delivery, Route, SendError, Sent};
use crate::gateway::Gateway;
use crate::lifecycle::phase::Phase;
use crate::policy::{
    DeliveryAttempts, DeliveryOrder, DeliveryReadiness, DeliveryRecord, DeliveryRefusals, DeliveryRepeats,
    DeliveryRetry, ResumedReply,
};
use crate::sessions::{Role, StateError};

/// The pause before the next attempt; it doubles up to the longest (OpenClaw: 5 s to 10 min, at a start only).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The same where each attempt may be another copy for whoever reads it.
const LONGEST_PAUSE_BETWEEN_COPIES: Duration = Duration::from_secs(60 * 60);
/// A text that could not be sent for so long is given up. Every life tries once before it does.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// And not before it was tried so often: a clock that jumps makes every text a day old (OpenClaw 2026.9.6: 8 attempts and 24 h).
const LEAST_ATTEMPTS: u32 = 8;
/// How long OpenClaw 2026.3.2 sent at a start what was left, and no longer.
const START_BUDGET: Duration = Duration::from_secs(60);
/// How often history sent a text.
const MOST_ATTEMPTS: u32 = 5;
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

/// A chat of an account.
type Place = (Account, String);

/// Who is at work.
#[derive(Default)]
pub(crate) struct Couriers {
    started_at: Cell<Option<Instant>>,
    /// From then on nothing new is sent.
    last_call: Cell<Option<Instant>>,
    at_work: RefCell<BTreeSet<Place>>,
    /// Chats whose platform did not take a text, or is not there.
    resting: RefCell<BTreeSet<Place>>,
    /// Texts that this life tried to send and does not try again. In history only.
    put_off: RefCell<BTreeSet<String>>,
}

/// Makes durable what a message's sender is owed, if it is somebody on a platform. Repeating it changes nothing.
pub(crate) fn owe(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    kind: Kind,
    text: &str,
) -> Result<(), StateError> {
    owe_as(gateway, message, format!("{}:{}", message.run_id, kind.name()), text)
}

/// As [`owe`], under a name that is said.
pub(crate) fn owe_as(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    id: String,
    text: &str,
) -> Result<(), StateError> {
    let Route::Platform(chat) = &message.route else { return Ok(()) };
    if gateway.policies.resumed_reply == ResumedReply::TranscriptOnly
        && gateway.inbox.times_resumed(&message.run_id) > 0
    {
        return Ok(());
    }
    let about = About { run_id: message.run_id.clone(), session_key: message.session_key.clone() };
    let texts = in_parts(gateway, &id, chat, text);
    match (gateway.outbox.queue(texts, &about), gateway.policies.delivery_record) {
        (Err(error), DeliveryRecord::FailureIgnored) => {
            let delivery = Delivery { id, chat: chat.clone(), text: text.to_string() };
            send_unprotected(gateway, delivery, &error);
        }
        (queued, _) => queued?,
    }
    send_soon(gateway, chat);
    Ok(())
}

/// A text as it is owed: where it is too long for one message each part by itself, so that a part which the platform has is
/// not sent again for the sake of the next.
fn in_parts(gateway: &Gateway, id: &str, chat: &Chat, text: &str) -> Vec<Delivery> {
    let channel = gateway.channels.find(&chat.account);
    let parts = channel.map_or_else(|| vec![text], |channel| channel.parts(text));
    let part = |(index, text): (usize, &str)| {
        let id = if index == 0 { id.to_string() } else { format!("{id}:part-{}", index + 1) };
        Delivery { id, chat: chat.clone(), text: text.to_string() }
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// Sends what could not be written down, as history did: once, and that was all.
fn send_unprotected(gateway: &Rc<Gateway>, delivery: Delivery, error: &StateError) {
    tracing::debug!(name: "delivery.unprotected", text = delivery.id, %error, "it is sent all the same");
    let Some(channel) = gateway.channels.find(&delivery.chat.account) else { return };
    drop(gateway.env.spawn("unprotected delivery", async move {
        if let Err(error) = channel.send(&delivery).await {
            tracing::debug!(name: "delivery.lost", text = delivery.id, ?error, "nobody tries again");
        }
    }));
}

/// Begins to send, with what earlier lives have left.
pub(crate) fn start(gateway: &Rc<Gateway>) {
    gateway.couriers.started_at.set(Some(Instant::now()));
    for (account, texts) in gateway.outbox.owed() {
        if gateway.channels.find(&account).is_none() {
            tracing::error!(name: "delivery.no-account", %account, texts, "nobody can send what is owed there");
            drop(gateway.env.spawn("delivery", bury(gateway.clone(), account)));
            continue;
        }
        for pending in gateway.outbox.pending(&account, None) {
            send_soon(gateway, &pending.delivery.chat);
        }
    }
}

/// Gives up what is too old of what is owed through an account that is not configured any more. The rest is kept: the
/// account may come back.
async fn bury(gateway: Rc<Gateway>, account: Account) {
    for pending in gateway.outbox.pending(&account, None) {
        if is_too_old(&gateway, &pending) {
            give_up(&gateway, &pending, "the account is not configured any more").await;
        }
    }
}

fn is_too_old(gateway: &Gateway, pending: &Pending) -> bool {
    gateway.env.wall_clock().since(pending.at) > GIVEN_UP_AFTER
}

/// Resolves when nothing is owed that could be sent now, or is being sent; from `within` on nothing else is sent. What
/// waits for a platform is no reason to stay.
pub(crate) async fn finish(gateway: &Gateway, within: Duration) {
    gateway.couriers.last_call.set(Some(Instant::now() + within));
    gateway.outbox.empty(|chat, id| is_on_its_way(gateway, chat, id)).await;
}

/// How many texts are owed that could be sent now, or are being sent.
pub(crate) fn on_their_way(gateway: &Gateway) -> usize {
    gateway.outbox.depth(|chat, id| is_on_its_way(gateway, chat, id))
}

fn is_on_its_way(gateway: &Gateway, chat: &Chat, id: &str) -> bool {
    let Couriers { resting, put_off, .. } = &gateway.couriers;
    let place = (chat.account.clone(), chat.chat.clone());
    gateway.channels.find(&chat.account).is_some()
        && !resting.borrow().contains(&place)
        && !put_off.borrow().contains(id)
}

fn send_soon(gateway: &Rc<Gateway>, chat: &Chat) {
    if gateway.couriers.started_at.get().is_none() {
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
async fn carry(gateway: Rc<Gateway>, channel: Rc<dyn Channel>, place: Place) {
    while let Some(next) = gateway.couriers.next(&gateway, &place) {
        deliver(&gateway, &*channel, &place, next).await;
    }
    gateway.couriers.at_work.borrow_mut().remove(&place);
}

impl Couriers {
    /// The oldest text that is owed to a chat.
    fn next(&self, gateway: &Gateway, (account, chat): &Place) -> Option<Pending> {
        let mut pending = gateway.outbox.pending(account, Some(chat));
        if gateway.policies.delivery_order == DeliveryOrder::NewestFirst {
            pending.reverse();
        }
        if gateway.policies.delivery_repeats == DeliveryRepeats::Stranded {
            let stranded: Vec<Pending>;
            (stranded, pending) = pending.into_iter().partition(is_unknown);
            self.put_off.borrow_mut().extend(stranded.into_iter().map(|pending| pending.delivery.id));
        }
        match gateway.policies.delivery_retry {
            DeliveryRetry::Continuous => pending.into_iter().next(),
            DeliveryRetry::AtStartOnly => {
                let put_off = self.put_off.borrow();
                let late = self.started_at.get().is_none_or(|start| start.elapsed() > START_BUDGET);
                let is_due =
                    |pending: &Pending| !put_off.contains(&pending.delivery.id) && (pending.is_new || !late);
                pending.into_iter().find(is_due)
            }
        }
    }
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing: the text is over.
    Nothing,
    /// Another one, not before this has passed.
    Again { after: Duration },
}

/// Sends one text until it is over; in history, once.
async fn deliver(gateway: &Rc<Gateway>, channel: &dyn Channel, place: &Place, mut pending: Pending) {
    let policies = &gateway.policies;
    let mut pause = FIRST_PAUSE;
    loop {
        if policies.delivery_readiness == DeliveryReadiness::Awaited {
            rest(gateway, place, channel.ready()).await;
        }
        if gateway.couriers.last_call.get().is_some_and(|last_call| last_call <= Instant::now()) {
            // The next life sends it.
            rest(gateway, place, std::future::pending()).await;
        }
        let next = attempt(gateway, channel, &mut pending, pause).await;
        match (next, policies.delivery_retry) {
            (Next::Nothing, _) => return,
            (Next::Again { .. }, _)
                if policies.delivery_repeats == DeliveryRepeats::Stranded && is_unknown(&pending) =>
            {
                return;
            }
            (Next::Again { .. }, _)
                if policies.delivery_attempts == DeliveryAttempts::Five
                    && pending.progress.attempts() >= MOST_ATTEMPTS =>
            {
                return give_up(gateway, &pending, "it was tried five times").await;
            }
            (Next::Again { .. }, _)
                if is_too_old(gateway, &pending) && pending.progress.attempts() >= LEAST_ATTEMPTS =>
            {
                return give_up(gateway, &pending, "it could not be sent in time").await;
            }
            // Whatever the platform asks for, not longer than the text is of use.
            (Next::Again { after }, DeliveryRetry::Continuous) => {
                rest(gateway, place, sleep(after.min(GIVEN_UP_AFTER))).await;
            }
            (Next::Again { .. }, DeliveryRetry::AtStartOnly) => {
                gateway.couriers.put_off.borrow_mut().insert(pending.delivery.id);
                return;
            }
        }
        let may_be_another_copy = is_unknown(&pending) && !recognises(gateway, channel, &pending);
        pause = (pause * 2).min(match may_be_another_copy {
            true => LONGEST_PAUSE_BETWEEN_COPIES,
            false => LONGEST_PAUSE,
        });
    }
}

/// Whether nobody can tell if the platform has it.
const fn is_unknown(pending: &Pending) -> bool {
    matches!(pending.progress, Progress::Unknown { .. })
}

/// Waits for something that a chat's texts wait for.
async fn rest(gateway: &Gateway, place: &Place, until: impl Future<Output = ()>) {
    gateway.couriers.resting.borrow_mut().insert(place.clone());
    gateway.outbox.look_again();
    until.await;
    gateway.couriers.resting.borrow_mut().remove(place);
}

/// Whether the platform still recognises every attempt to send a text, the first of which was not before it was owed.
fn recognises(gateway: &Gateway, channel: &dyn Channel, pending: &Pending) -> bool {
    gateway.env.wall_clock().since(pending.at) < channel.recognises_repeats_for()
}

/// Sends a text once, between two records of that.
async fn attempt(
    gateway: &Rc<Gateway>,
    channel: &dyn Channel,
    pending: &mut Pending,
    pause: Duration,
) -> Next {
    let recognised = recognises(gateway, channel, pending);
    let Pending { delivery, about, progress, .. } = pending;
    let id = delivery.id.clone();
    let delivery = worded(delivery, *progress, recognised, gateway.policies.delivery_repeats);
    recorded(gateway, || gateway.outbox.attempt(&id)).await;
    *progress = progress.begun();
    let attempts = progress.attempts();
    match channel.send(&delivery).await {
        Ok(Sent { message }) => {
            recorded(gateway, || gateway.outbox.sent(&id, &message)).await;
            tracing::info!(name: "delivery.sent", run = about.run_id, text = id, message, "the platform has it");
            Next::Nothing
        }
        Err(SendError::Never { why })
            if gateway.policies.delivery_refusals == DeliveryRefusals::DeadLetters =>
        {
            give_up(gateway, pending, &why).await;
            Next::Nothing
        }
        Err(SendError::Never { why }) => {
            recorded(gateway, || gateway.outbox.not_taken(&id, &why)).await;
            *progress = progress.not_taken();
            Next::Again { after: pause }
        }
        Err(SendError::NotNow { why, retry_after }) => {
            tracing::warn!(name: "delivery.delayed", run = about.run_id, text = id, attempts, why, "trying again");
            recorded(gateway, || gateway.outbox.not_taken(&id, &why)).await;
            *progress = progress.not_taken();
            Next::Again { after: retry_after.unwrap_or_default().max(pause) }
        }
        Err(SendError::Unknown { why }) => {
            tracing::warn!(name: "delivery.unknown", run = about.run_id, text = id, attempts, why, "trying again");
            Next::Again { after: pause }
        }
    }
}

/// The text as it is sent: after an attempt that may have been taken, with a word about that where the platform cannot
/// tell. History knew of no attempts, and gave no text a name.
fn worded(delivery: &Delivery, progress: Progress, recognised: bool, policy: DeliveryRepeats) -> Delivery {
    let mut delivery = delivery.clone();
    match (policy, progress) {
        (DeliveryRepeats::Blind, _) => {
            delivery.id = format!("{}:{}", delivery.id, progress.attempts());
        }
        (DeliveryRepeats::WithEvidence, Progress::Unknown { .. }) if !recognised => {
            // A part may end where a word does.
            delivery.text.truncate(delivery.text.trim_end().len());
            delivery.text.push_str("\n(You may have got this before: the service cannot tell.)");
        }
        _ => {}
    }
    delivery
}

/// A text that will never be sent: it is kept for people to find, and its conversation says so.
async fn give_up(gateway: &Rc<Gateway>, pending: &Pending, why: &str) {
    let Pending { delivery, about, .. } = pending;
    tracing::error!(name: "delivery.failed", run = about.run_id, text = delivery.id, why, "it is never sent");
    recorded(gateway, || gateway.outbox.fail(pending, why)).await;
    let notice = format!("This could not be sent to {}: {why}. It is kept here.", delivery.chat.account);
    let noted = gateway.sessions.find_transcript(&about.session_key).and_then(|transcript| {
        let Some(transcript) = transcript else { return Ok(()) };
        let of = name_of_note(&about.run_id, &delivery.id);
        transcript.append(Role::Notice, &notice, of, gateway.env.wall_clock()).map(|_| ())
    });
    if let Err(error) = noted {
        tracing::warn!(name: "delivery.failure-not-noted", run = about.run_id, %error, "only the dead letters say so");
    }
}

/// The run under which a conversation says that a text could not be sent. A message of which that said that it waits has no
/// end yet: whoever begins after a crash takes what stands under its name for that.
fn name_of_note<'n>(run_id: &'n str, text: &'n str) -> &'n str {
    let kind = text.strip_prefix(run_id).and_then(|rest| rest.strip_prefix(':'));
    if kind.is_some_and(|kind| kind.starts_with(Kind::Wait.name())) { text } else { run_id }
}

/// Records a step, however long the disk refuses it: the next one must not come before, and never comes where the
/// gateway leaves.
async fn recorded(gateway: &Gateway, step: impl Fn() -> Result<(), StateError>) {
    while let Err(error) = step() {
        tracing::warn!(name: "delivery.not-recorded", %error, "trying again");
        sleep(JOURNAL_PAUSE).await;
        if gateway.phase.get() >= Phase::Leaving {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::Platform;

    #[test]
    fn that_nobody_could_be_told_to_wait_is_no_end_of_a_message() {
        assert_eq!(name_of_note("feishu:main:1", "feishu:main:1:wait"), "feishu:main:1:wait");
        assert_eq!(name_of_note("feishu:main:1", "feishu:main:1:outcome"), "feishu:main:1");
        assert_eq!(name_of_note("feishu:main:1", "told:x"), "feishu:main:1");
    }

    fn check(progress: Progress, recognised: bool, policy: DeliveryRepeats, id: &str, has_a_word: bool) {
        let account = Account { platform: Platform::Telegram, name: "main".into() };
        let chat = Chat { account, chat: "5".into(), message: None, written_at: None };
        let delivery = Delivery { id: "r:outcome".into(), chat, text: "hi".into() };
        let sent = worded(&delivery, progress, recognised, policy);
        assert_eq!((sent.id.as_str(), sent.text != "hi"), (id, has_a_word), "{progress:?} {policy:?}");
    }

    #[test]
    fn a_repeat_says_so_where_the_platform_cannot_tell() {
        use DeliveryRepeats::{Blind, WithEvidence};
        let (fresh, refused) = (Progress::Queued { attempts: 0 }, Progress::Queued { attempts: 2 });
        let unknown = Progress::Unknown { attempts: 1, earlier: false };
        check(fresh, false, WithEvidence, "r:outcome", false);
        check(refused, false, WithEvidence, "r:outcome", false);
        check(unknown, false, WithEvidence, "r:outcome", true);
        check(unknown, true, WithEvidence, "r:outcome", false);
        check(unknown, true, Blind, "r:outcome:1", false);
    }
}
