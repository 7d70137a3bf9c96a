//! The presence of an account on its platform: whether it takes messages, whether it can send, and how it ends.
//!
//! An account ends in two steps. First it takes nothing new, while what was answered can still be sent; then it closes:
//! nothing is sent any more, and what is being sent gets a moment before it is cut. Knows no platform.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;

use crate::env::watch;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Account, SendError, Sent};

/// How long what is being sent may take once the account closes.
const LAST_SENDS: Duration = Duration::from_millis(500);

/// How far an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It takes messages, or will.
    Taking,
    /// It takes nothing new.
    Sending,
    /// It sends nothing new either.
    Closing,
    /// What is being sent is cut.
    Cut,
}

/// What an account's tasks share.
pub(super) struct Presence {
    account: Account,
    stage: watch::Sender<Stage>,
    /// Whether something can be sent.
    ready: watch::Sender<bool>,
    /// How many tasks take messages, and how many send.
    receivers: watch::Sender<usize>,
    senders: watch::Sender<usize>,
    connected: Cell<bool>,
    last_error: RefCell<Option<String>>,
}

impl Presence {
    pub(super) fn new(account: Account) -> Rc<Self> {
        Rc::new(Self {
            account,
            stage: watch::Sender::new(Stage::Taking),
            ready: watch::Sender::new(false),
            receivers: watch::Sender::new(0),
            senders: watch::Sender::new(0),
            connected: Cell::new(false),
            last_error: RefCell::default(),
        })
    }

    pub(super) const fn account(&self) -> &Account {
        &self.account
    }

    /// The platform can be used.
    pub(super) fn is_connected(&self) {
        if !self.connected.replace(true) {
            tracing::info!(name: "channel.connected", account = %self.account, "the platform answers");
        }
        self.last_error.replace(None);
        self.ready.send_replace(true);
    }

    /// It cannot, at the moment. Told once for each kind of trouble.
    pub(super) fn is_in_trouble(&self, why: &str) {
        self.connected.set(false);
        if self.last_error.replace(Some(why.to_string())).as_deref() != Some(why) {
            tracing::warn!(name: "channel.trouble", account = %self.account, why, "trying again");
        }
    }

    /// How it is, as an answer to `health`.
    pub(super) fn health(&self) -> Value {
        json!({
            "account": self.account.to_string(),
            "connected": self.connected.get(),
            "lastError": *self.last_error.borrow(),
        })
    }

    /// Does `work`, which takes messages. Whoever waits until nothing is taken waits for its end.
    pub(super) async fn taking(self: Rc<Self>, work: impl Future<Output = ()>) {
        let _place = Place::of(&self.receivers);
        work.await;
        self.connected.set(false);
    }

    /// What `work` comes to, unless nothing is to be taken any more before that.
    pub(super) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.reached(Stage::Sending) => None,
            done = work => Some(done),
        }
    }

    /// See [`Channel::stop_taking`](super::Channel::stop_taking).
    pub(super) async fn stop_taking(&self) {
        self.advance(Stage::Sending);
        none_left(&self.receivers).await;
    }

    /// See [`Channel::close`](super::Channel::close).
    pub(super) async fn close(&self) {
        self.advance(Stage::Closing);
        if timeout(LAST_SENDS, none_left(&self.senders)).await.is_err() {
            self.advance(Stage::Cut);
            none_left(&self.senders).await;
        }
        none_left(&self.receivers).await;
    }

    /// See [`Channel::ready`](super::Channel::ready). Nothing can be sent once the account closes.
    pub(super) async fn ready(&self) {
        // The sender lives as long as this.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
        if *self.stage.borrow() >= Stage::Closing {
            pending().await
        }
    }

    /// Sends something, unless the account closes.
    pub(super) async fn sending(
        &self,
        send: impl Future<Output = Result<Sent, SendError>>,
    ) -> Result<Sent, SendError> {
        if *self.stage.borrow() >= Stage::Closing {
            let why = format!("{} is closed", self.account);
            return Err(SendError::NotNow { why, retry_after: None });
        }
        let _place = Place::of(&self.senders);
        tokio::select! {
            biased;
            sent = send => sent,
            () = self.reached(Stage::Cut) => {
                Err(SendError::Unknown { why: format!("{} was closed", self.account) })
            }
        }
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let is_new = *stage < to;
            *stage = to.max(*stage);
            is_new
        });
    }

    async fn reached(&self, at_least: Stage) {
        // The sender lives as long as this.
        let _ = self.stage.subscribe().wait_for(|stage| *stage >= at_least).await;
    }
}

async fn none_left(tasks: &watch::Sender<usize>) {
    // The sender is borrowed.
    let _ = tasks.subscribe().wait_for(|count| *count == 0).await;
}

/// A task among those that are waited for, however it ends.
struct Place<'a>(&'a watch::Sender<usize>);

impl<'a> Place<'a> {
    fn of(tasks: &'a watch::Sender<usize>) -> Self {
        tasks.send_modify(|count| *count += 1);
        Self(tasks)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
