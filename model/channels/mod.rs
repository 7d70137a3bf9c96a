//! Channels: where messages come from, and how replies and notices reach their senders.
//!
//! Webchat is served by the gateway itself, in `wire`: whoever follows a conversation gets its events, and what they
//! miss stands in the transcript. Every other channel is a platform that keeps its users' messages and takes ours; the
//! gateway is its client, once for each account. A channel hands over what arrives and sends what it is given, once.
//! It does not know how a message is run, nor when something is sent again.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::feishu::Feishu;
use self::telegram::Telegram;
use crate::config::Config;
use crate::env::{Env, LocalBoxFuture};
use crate::policy::Policies;
use crate::sessions::{StateError, StateFiles};

mod arrival;
mod backoff;
mod feishu;
mod http;
mod parts;
mod presence;
mod telegram;
pub(crate) mod webchat;

/// Where a message came from, which is where what becomes of it goes. Captured when the message is accepted, and kept
/// with it: what a conversation's other messages do to its store does not move it (openclaw/openclaw#34580).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub(crate) enum Route {
    /// The gateway's own WebSocket: whoever follows the conversation.
    #[default]
    Webchat,
    /// A chat of a platform.
    Platform(Chat),
}

impl Route {
    pub(crate) const fn is_webchat(&self) -> bool {
        matches!(self, Self::Webchat)
    }

    /// The channel's name.
    pub(crate) const fn channel(&self) -> &'static str {
        match self {
            Self::Webchat => "webchat",
            Self::Platform(chat) => chat.account.platform.name(),
        }
    }

    /// Where the conversation of this name takes place. A platform's conversations are named for their chat, so this is
    /// the same for ever, whatever else is said in them.
    pub(crate) fn of_session(session_key: &str) -> Self {
        let platform = [Platform::Telegram, Platform::Feishu].into_iter().find_map(|platform| {
            let rest = session_key.strip_prefix(platform.name())?.strip_prefix(':')?;
            let (name, chat) = rest.split_once(':')?;
            let account = Account { platform, name: name.to_string() };
            Some(Chat { account, chat: chat.to_string(), message: None, written_at: None })
        });
        platform.map_or(Self::Webchat, Self::Platform)
    }

    /// The same without the message that is answered, and when that was written: what can share a reply or a notice.
    pub(crate) fn place(&self) -> Self {
        match self {
            Self::Webchat => Self::Webchat,
            Self::Platform(chat) => Self::Platform(Chat { message: None, written_at: None, ..chat.clone() }),
        }
    }
}

/// A chat of a platform, and the message in it that is answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Chat {
    pub(crate) account: Account,
    /// The chat, in the platform's own words.
    pub(crate) chat: String,
    /// The platform's name of the message that is answered, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    /// When that was written, in milliseconds since the epoch, where its platform may give it again under another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) written_at: Option<u64>,
}

/// An account of ours on a platform.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Account {
    pub(crate) platform: Platform,
    /// Its name in the configuration.
    pub(crate) name: String,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.platform.name(), self.name)
    }
}

/// The platforms that the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Platform {
    /// The Bot API with long polling.
    Telegram,
    /// The event connection over WebSocket.
    Feishu,
}

impl Platform {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Telegram => "telegram",
            Self::Feishu => "feishu",
        }
    }
}

/// One text for one chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Names it for ever: the same text sent again has the same name.
    pub(crate) id: String,
    pub(crate) chat: Chat,
    pub(crate) text: String,
}

/// A platform has taken a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Its name for the text.
    pub(crate) message: String,
}

/// Why a text was not sent, or may not have been.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Not taken; the same may work later, at the platform's word not before `retry_after`.
    #[error("{why}")]
    NotNow { why: String, retry_after: Option<Duration> },
    /// Not taken, and it never will be.
    #[error("{why}")]
    Never { why: String },
    /// The connection broke, or nothing was heard in time: it may have been taken.
    #[error("{why}; it may have been taken")]
    Unknown { why: String },
}

/// A platform's account, as the gateway uses it.
pub(crate) trait Channel {
    fn account(&self) -> &Account;

    /// How long after an attempt the platform recognises a text by its name and takes it once ([`Delivery::id`]).
    fn recognises_repeats_for(&self) -> Duration;

    /// The parts in which a text can be sent that may be too long for one message, with room for a word more in each.
    fn parts<'t>(&self, text: &'t str) -> Vec<&'t str>;

    /// Begins to take what arrives: each message goes to [`Gateway::accept`](crate::gateway::Gateway::accept), and is
    /// confirmed to the platform when that has made it durable.
    fn start(&self, gateway: &Rc<crate::gateway::Gateway>);

    /// Takes nothing new. What was taken is confirmed as far as it is durable. Resolves when nothing of it is left.
    fn stop_taking(&self) -> LocalBoxFuture<'_, ()>;

    /// Ends every connection. Resolves when they are closed and their tasks are gone: an account that is used by two
    /// generations at once loses messages (openclaw/openclaw#52844).
    fn close(&self) -> LocalBoxFuture<'_, ()>;

    /// Resolves when something can be sent.
    fn ready(&self) -> LocalBoxFuture<'_, ()>;

    /// Sends one text, once, and gives up by itself where no answer comes. Dropping the future leaves it unknown whether
    /// it was sent.
    fn send<'a>(&'a self, delivery: &'a Delivery) -> LocalBoxFuture<'a, Result<Sent, SendError>>;

    /// Its name, whether its platform answers, and what was wrong last, as an answer to `health`.
    fn health(&self) -> Value;
}

/// Every account of the configuration.
#[derive(Clone, Default)]
pub(crate) struct Channels(BTreeMap<Account, Rc<dyn Channel>>);

impl Channels {
    /// The accounts of a configuration.
    pub(crate) fn open(
        env: &Env,
        files: &StateFiles,
        config: &Config,
        policies: &Policies,
    ) -> Result<Self, StateError> {
        let mut channels: Vec<Rc<dyn Channel>> = Vec::new();
        let state_dir = &config.gateway.state_dir;
        for (name, account) in &config.channels.telegram.accounts {
            channels.push(Rc::new(Telegram::new(env, files, state_dir, name, account, policies)?));
        }
        for (name, account) in &config.channels.feishu.accounts {
            channels.push(Rc::new(Feishu::new(env, files, state_dir, name, account, policies)?));
        }
        Ok(Self::new(channels))
    }

    fn new(channels: impl IntoIterator<Item = Rc<dyn Channel>>) -> Self {
        Self(channels.into_iter().map(|channel| (channel.account().clone(), channel)).collect())
    }

    pub(crate) fn find(&self, account: &Account) -> Option<Rc<dyn Channel>> {
        self.0.get(account).cloned()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &dyn Channel> {
        self.0.values().map(|channel| &**channel)
    }

    pub(crate) fn start(&self, gateway: &Rc<crate::gateway::Gateway>) {
        self.0.values().for_each(|channel| channel.start(gateway));
    }

    pub(crate) async fn stop_taking(&self) {
        futures_util::future::join_all(self.0.values().map(|channel| channel.stop_taking())).await;
    }

    pub(crate) async fn close(&self) {
        futures_util::future::join_all(self.0.values().map(|channel| channel.close())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_chat_are_of_one_place_whenever_they_were_written() {
        let written = |chat: &str, message: &str, at| {
            let account = Account { platform: Platform::Feishu, name: "ops".into() };
            let (chat, message) = (chat.to_string(), Some(message.to_string()));
            Route::Platform(Chat { account, chat, message, written_at: Some(at) })
        };
        assert_eq!(written("oc_1", "om_1", 1).place(), written("oc_1", "om_2", 2).place());
        assert_ne!(written("oc_1", "om_1", 1).place(), written("oc_2", "om_1", 1).place());
    }
}
