//! Feishu: an app with an event connection, and texts that have a name of their own.
//!
//! An event is acknowledged when its message is durable. Until then the platform pushes it again, now and then as
//! another message, so a message is recognised by its name and by its likeness; one that is older than what is
//! remembered is not run, since nobody can tell whether it was. The connection ends before its generation does.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use self::api::Api;
use self::connection::Connection;
use self::event::{Frame, Headers};
use self::recorded::RecordedIds;
use super::arrival::{Arrival, NotTaken};
use super::backoff::Backoff;
use super::parts::{ROOM_FOR_A_WORD, parts};
use super::presence::Presence;
use super::{Account, Channel, Delivery, Platform, SendError, Sent};
use crate::config::FeishuAccount;
use crate::env::{Env, LocalBoxFuture};
use crate::gateway::Gateway;
use crate::policy::{FeishuAcknowledgement, FeishuClose, FeishuMemory, Policies};
use crate::sessions::{StateError, StateFiles};

mod api;
mod connection;
mod event;
mod recorded;

/// How long a message is remembered that is over; see the inbox.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// How long after an attempt the platform knows its name: an hour, of which some is left for clocks that differ.
const REPEATS_RECOGNISED_FOR: Duration = Duration::from_secs(55 * 60);

/// History looked the sender up over HTTP before it queued a message. How long that took is an assumption.
const LOOK_UP: Duration = Duration::from_millis(50);

/// One app.
pub(super) struct Feishu(Rc<App>);

struct App {
    env: Env,
    api: Api,
    presence: Rc<Presence>,
    acknowledgement: FeishuAcknowledgement,
    memory: FeishuMemory,
    close: FeishuClose,
    /// In history only.
    recorded: Option<RecordedIds>,
}

impl Feishu {
    pub(super) fn new(
        env: &Env,
        files: &StateFiles,
        state_dir: &Path,
        name: &str,
        account: &FeishuAccount,
        policies: &Policies,
    ) -> Result<Self, StateError> {
        let presence = Presence::new(Account { platform: Platform::Feishu, name: name.to_string() });
        let recorded = match policies.feishu_memory {
            FeishuMemory::IdRecordedFirst => Some(RecordedIds::open(env, files, state_dir, name)?),
            FeishuMemory::WithTheMessage | FeishuMemory::IdsInMemory => None,
        };
        Ok(Self(Rc::new(App {
            env: env.clone(),
            api: Api::new(env.clone(), account),
            presence,
            acknowledgement: policies.feishu_acknowledgement,
            memory: policies.feishu_memory,
            close: policies.feishu_close,
            recorded,
        })))
    }
}

impl Channel for Feishu {
    fn account(&self) -> &Account {
        self.0.presence.account()
    }

    fn recognises_repeats_for(&self) -> Duration {
        REPEATS_RECOGNISED_FOR
    }

    fn parts<'t>(&self, text: &'t str) -> Vec<&'t str> {
        parts(text, api::MESSAGE_BYTES - ROOM_FOR_A_WORD, char::len_utf8)
    }

    fn start(&self, gateway: &Rc<Gateway>) {
        let app = self.0.clone();
        let taking = app.presence.clone().taking(app.clone().listen(gateway.clone()));
        drop(app.env.spawn("feishu", taking));
    }

    fn stop_taking(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {
            match self.0.close {
                FeishuClose::Joined => self.0.presence.stop_taking().await,
                FeishuClose::Forgotten => {}
            }
        })
    }

    fn close(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {
            match self.0.close {
                FeishuClose::Joined => self.0.presence.close().await,
                FeishuClose::Forgotten => {}
            }
        })
    }

    fn ready(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.0.presence.ready())
    }

    fn send<'a>(&'a self, delivery: &'a Delivery) -> LocalBoxFuture<'a, Result<Sent, SendError>> {
        Box::pin(self.0.presence.sending(self.0.api.send(delivery)))
    }

    fn health(&self) -> Value {
        self.0.presence.health()
    }
}

impl App {
    /// Takes messages for as long as it is let, over one connection after the other.
    async fn listen(self: Rc<Self>, gateway: Rc<Gateway>) {
        let mut backoff = Backoff::new("feishu backoff");
        loop {
            let why = match self.presence.unless_stopped(self.connect()).await {
                None => return,
                Some(Err(why)) => why,
                Some(Ok(mut connection)) => {
                    backoff.reset();
                    self.presence.is_connected();
                    match self.presence.unless_stopped(self.serve(&gateway, &mut connection)).await {
                        None => return connection.close().await,
                        Some(why) => why,
                    }
                }
            };
            self.presence.is_in_trouble(&why);
            let pause = backoff.pause(&self.env);
            if self.presence.unless_stopped(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        // Whoever cannot send need not listen.
        self.api.token().await.map_err(|error| error.to_string())?;
        let endpoint = self.api.endpoint().await.map_err(|error| error.to_string())?;
        Connection::open(&self.env, &endpoint).await
    }

    /// Takes what arrives. Returns why nothing does any more.
    async fn serve(&self, gateway: &Rc<Gateway>, connection: &mut Connection) -> String {
        loop {
            let taken = match connection.next().await {
                Ok(Frame::Event { headers, event }) => self.meet(gateway, connection, &headers, event).await,
                Ok(Frame::Other) => Ok(()),
                Err(why) => return why,
            };
            if let Err(why) = taken {
                return why;
            }
        }
    }

    /// Takes an event and acknowledges it. One that was not taken is not: it comes again.
    async fn meet(
        &self,
        gateway: &Rc<Gateway>,
        connection: &mut Connection,
        headers: &Headers,
        event: Value,
    ) -> Result<(), String> {
        let at_receipt = self.acknowledgement == FeishuAcknowledgement::AtReceipt;
        if at_receipt {
            connection.say(event::acknowledgement(headers)).await?;
        }
        let taken = match event::arrival(self.presence.account(), headers, event) {
            Some(arrival) => self.take(gateway, arrival).await,
            None => {
                tracing::debug!(name: "feishu.event-skipped", event = headers.event_id, "it is no message");
                Ok(())
            }
        };
        match taken {
            Ok(()) if !at_receipt => connection.say(event::acknowledgement(headers)).await,
            Ok(()) | Err(NotTaken) => Ok(()),
        }
    }

    async fn take(&self, gateway: &Rc<Gateway>, mut arrival: Arrival) -> Result<(), NotTaken> {
        if let Some(recorded) = &self.recorded
            && !recorded.is_new(&arrival.id)
        {
            return Ok(());
        }
        if self.recorded.is_some() || self.acknowledgement == FeishuAcknowledgement::AtReceipt {
            sleep(LOOK_UP).await;
        }
        match self.memory {
            FeishuMemory::WithTheMessage => arrival.take_within(gateway, REMEMBERED),
            FeishuMemory::IdRecordedFirst | FeishuMemory::IdsInMemory => {
                arrival.chat.written_at = None;
                arrival.take(gateway)
            }
        }
    }
}
