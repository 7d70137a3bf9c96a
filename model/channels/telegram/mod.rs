//! Telegram: a bot of the Bot API, with long polling.
//!
//! What the platform gave is confirmed to it with the next poll, so that poll comes after everything is durable that it
//! confirms: the messages, and the offset itself. What was not taken is not confirmed, and comes again. Texts are sent
//! without a name by which the platform could recognise a repetition.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use self::api::{Api, ApiError, Message, Update};
use self::offset::OffsetFile;
use super::arrival::{Arrival, NotTaken};
use super::backoff::Backoff;
use super::parts::{ROOM_FOR_A_WORD, parts};
use super::presence::Presence;
use super::{Account, Channel, Chat, Delivery, Platform, SendError, Sent};
use crate::config::TelegramAccount;
use crate::env::{Env, LocalBoxFuture};
use crate::gateway::Gateway;
use crate::policy::{Policies, TelegramClose, TelegramConfirmation};
use crate::sessions::{StateError, StateFiles};

mod api;
mod offset;

/// How long it takes until what was not taken is asked for again.
const NOT_TAKEN_PAUSE: Duration = Duration::from_secs(1);

/// A platform that has nothing holds a poll open. One that does not is not asked more often than this.
const SHORTEST_POLL: Duration = Duration::from_secs(1);

/// One bot.
pub(super) struct Telegram(Rc<Bot>);

struct Bot {
    env: Env,
    api: Api,
    offset: OffsetFile,
    presence: Rc<Presence>,
    confirmation: TelegramConfirmation,
    close: TelegramClose,
}

impl Telegram {
    pub(super) fn new(
        env: &Env,
        files: &StateFiles,
        state_dir: &Path,
        name: &str,
        account: &TelegramAccount,
        policies: &Policies,
    ) -> Result<Self, StateError> {
        let presence = Presence::new(Account { platform: Platform::Telegram, name: name.to_string() });
        Ok(Self(Rc::new(Bot {
            env: env.clone(),
            api: Api::new(env.clone(), account),
            offset: OffsetFile::new(env.clone(), files.clone(), state_dir, name, policies.telegram_offset)?,
            presence,
            confirmation: policies.telegram_confirmation,
            close: policies.telegram_close,
        })))
    }
}

impl Channel for Telegram {
    fn account(&self) -> &Account {
        self.0.presence.account()
    }

    fn recognises_repeats_for(&self) -> Duration {
        Duration::ZERO
    }

    fn parts<'t>(&self, text: &'t str) -> Vec<&'t str> {
        parts(text, api::MESSAGE_UNITS - ROOM_FOR_A_WORD, char::len_utf16)
    }

    fn start(&self, gateway: &Rc<Gateway>) {
        let bot = self.0.clone();
        let polling = {
            let (bot, gateway) = (bot.clone(), gateway.clone());
            async move {
                bot.presence.unless_stopped(bot.poll(gateway)).await;
            }
        };
        drop(bot.env.spawn("telegram", bot.presence.clone().taking(polling)));
    }

    fn stop_taking(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {
            match self.0.close {
                TelegramClose::Joined => self.0.presence.stop_taking().await,
                TelegramClose::Forgotten => {}
            }
        })
    }

    fn close(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {
            match self.0.close {
                TelegramClose::Joined => self.0.presence.close().await,
                TelegramClose::Forgotten => {}
            }
        })
    }

    fn ready(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.0.presence.ready())
    }

    fn send<'a>(&'a self, delivery: &'a Delivery) -> LocalBoxFuture<'a, Result<Sent, SendError>> {
        Box::pin(self.0.presence.sending(self.0.api.send_message(delivery)))
    }

    fn health(&self) -> Value {
        self.0.presence.health()
    }
}

impl Bot {
    /// Takes messages for as long as it is let.
    async fn poll(&self, gateway: Rc<Gateway>) {
        let mut backoff = Backoff::new("telegram backoff");
        let bot_id = self.identified(&mut backoff).await;
        let mut last = self.last_taken(bot_id, &mut backoff).await;
        loop {
            let asked = Instant::now();
            match self.api.get_updates(last.map(|last| last + 1)).await {
                Ok(updates) if updates.is_empty() && asked.elapsed() < SHORTEST_POLL => {
                    self.presence.is_connected();
                    sleep(SHORTEST_POLL).await;
                }
                Ok(updates) => {
                    backoff.reset();
                    self.presence.is_connected();
                    self.confirm_unread(bot_id, &updates).await;
                    let (taken, all) = self.take(&gateway, updates);
                    if let Some(taken) = taken {
                        self.keep(bot_id, taken).await;
                        last = Some(taken);
                    }
                    if !all {
                        sleep(NOT_TAKEN_PAUSE).await;
                    }
                }
                Err(error) => self.pause(&error, &mut backoff).await,
            }
        }
    }

    /// Waits until the platform knows us; the number by which it does.
    async fn identified(&self, backoff: &mut Backoff) -> i64 {
        loop {
            match self.api.get_me().await {
                Ok(me) => {
                    backoff.reset();
                    self.presence.is_connected();
                    return me.id;
                }
                Err(error) => self.pause(&error, backoff).await,
            }
        }
    }

    /// The last update that earlier lives took.
    async fn last_taken(&self, bot_id: i64, backoff: &mut Backoff) -> Option<i64> {
        loop {
            match self.offset.read(bot_id) {
                Ok(last) => return last,
                Err(error) => {
                    self.presence.is_in_trouble(&error.to_string());
                    sleep(backoff.pause(&self.env)).await;
                }
            }
        }
    }

    /// What history did, and a planted defect does, before anything of `updates` is looked at.
    async fn confirm_unread(&self, bot_id: i64, updates: &[Update]) {
        let Some(last) = updates.iter().map(|update| update.update_id).max() else { return };
        match self.confirmation {
            TelegramConfirmation::AfterDurable => {}
            TelegramConfirmation::BeforeProcessing => {
                if let Err(error) = self.api.confirm(last + 1).await {
                    self.presence.is_in_trouble(&error.to_string());
                }
            }
            TelegramConfirmation::OffsetFirst => self.keep(bot_id, last).await,
        }
    }

    /// Takes updates in their order: the last of those that were taken, and whether all were.
    fn take(&self, gateway: &Rc<Gateway>, mut updates: Vec<Update>) -> (Option<i64>, bool) {
        updates.sort_by_key(|update| update.update_id);
        let mut last = None;
        for update in updates {
            let id = update.update_id;
            if let Some(arrival) = self.arrival(update)
                && let Err(NotTaken) = arrival.take(gateway)
            {
                return (last, false);
            }
            last = Some(id);
        }
        (last, true)
    }

    /// The message in it; nothing where it is of another kind.
    fn arrival(&self, update: Update) -> Option<Arrival> {
        let Some(Ok(message)) = update.message.map(serde_json::from_value::<Message>) else {
            tracing::debug!(name: "telegram.update-skipped", update = update.update_id, "it is no message");
            return None;
        };
        let chat = Chat {
            account: self.presence.account().clone(),
            chat: message.chat.id.to_string(),
            message: Some(message.message_id.to_string()),
            written_at: None,
        };
        Some(Arrival { id: update.update_id.to_string(), chat, text: message.text })
    }

    /// Makes the offset durable, however long the disk refuses it: until then nothing is confirmed.
    async fn keep(&self, bot_id: i64, taken: i64) {
        while let Err(error) = self.offset.write(bot_id, taken) {
            self.presence.is_in_trouble(&error.to_string());
            sleep(NOT_TAKEN_PAUSE).await;
        }
    }

    async fn pause(&self, error: &ApiError, backoff: &mut Backoff) {
        match error.is_conflict() {
            true => self.presence.is_in_trouble("another program takes this bot's messages"),
            false => self.presence.is_in_trouble(&error.to_string()),
        }
        let pause = backoff.pause(&self.env);
        sleep(error.retry_after().unwrap_or(pause).max(pause)).await;
    }
}
