//! An arrival: what a platform's user wrote, on its way into the inbox, and what is said about what cannot go there.
//!
//! An arrival is either taken, and may be confirmed to its platform, or it is not, and comes again. Everything that is
//! taken is durable by then: the message, or the word to its sender why it is none. Knows no platform's protocol.

use std::rc::Rc;
use std::time::Duration;

use super::{Chat, Route};
use crate::agents::notice::quoted;
use crate::env::WallTime;
use crate::gateway::Gateway;
use crate::messages::SendRefused;
use crate::messages::delivery::owe_as;
use crate::messages::inbox::{Accepted, Known};
use crate::policy::DrainInventory;

/// The longest text that is taken, in bytes; as for webchat.
const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// A message of a platform's user.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// The platform's name for it, which no other message of the account has.
    pub(super) id: String,
    pub(super) chat: Chat,
    /// `None`: it is something else than a text.
    pub(super) text: Option<String>,
}

/// It was not taken: it must not be confirmed, and will come again.
#[derive(Debug)]
pub(super) struct NotTaken;

impl Arrival {
    /// Takes it, unless it is older than what is remembered, `memory`: whether it was answered is not known then, so it
    /// is not run and its sender is told. One that is known is taken, however old.
    pub(super) fn take_within(self, gateway: &Rc<Gateway>, memory: Duration) -> Result<(), NotTaken> {
        let message = self.message();
        let age = self.chat.written_at.map(|at| gateway.env.wall_clock().since(WallTime::from_epoch_ms(at)));
        let is_fresh = age.is_none_or(|age| age < memory);
        if is_fresh || unfit(self.text.as_deref()).is_some() || gateway.inbox.knows(&message) != Known::No {
            return self.take(gateway);
        }
        let quoted = quoted(&message.text);
        let words = format!(
            "Your message {quoted} was not answered: it reached the service more than a day late. Please send it again."
        );
        refuse(gateway, &message, &words)
    }

    /// Takes it.
    pub(super) fn take(self, gateway: &Rc<Gateway>) -> Result<(), NotTaken> {
        let mut message = self.message();
        if let Some(why) = unfit(self.text.as_deref()) {
            return refuse(gateway, &message, &why);
        }
        loop {
            // Who was not told of a drain goes on, as history did.
            let accepted = match gateway.policies.drain_inventory {
                DrainInventory::MissesChannels => gateway.accept_follow_up(&message),
                DrainInventory::Everything | DrainInventory::MissesTurns => gateway.accept(&message, None),
            };
            match accepted {
                Ok(_) => return Ok(()),
                Err(SendRefused::NotAdmitting | SendRefused::NotDurable(_) | SendRefused::Busy) => {
                    return Err(NotTaken);
                }
                // Another bot had this account before, and counted alike.
                Err(SendRefused::KeyReused) => message.run_id.push('\''),
            }
        }
    }

    fn message(&self) -> Accepted {
        let account = &self.chat.account;
        Accepted {
            run_id: format!("{account}:{}", self.id),
            session_key: format!("{account}:{}", self.chat.chat),
            text: self.text.clone().unwrap_or_default(),
            route: Route::Platform(self.chat.clone()),
        }
    }
}

/// Why this cannot be answered, if it cannot.
fn unfit(text: Option<&str>) -> Option<String> {
    match text {
        None => {
            Some("Your message was not answered: only texts can be read. Please send it as a text.".into())
        }
        Some(text) if text.trim().is_empty() => {
            Some("Your message was not answered: there is no text in it. Please send it as a text.".into())
        }
        Some(text) if text.len() > MAX_TEXT_BYTES => Some(format!(
            "Your message {} was not answered: it is longer than {MAX_TEXT_BYTES} bytes. Please send less.",
            quoted(text)
        )),
        Some(_) => None,
    }
}

/// Tells a sender why its message goes nowhere, which is durable when this returns.
fn refuse(gateway: &Rc<Gateway>, message: &Accepted, words: &str) -> Result<(), NotTaken> {
    if !gateway.admits_messages() {
        return Err(NotTaken);
    }
    let run = &message.run_id;
    // Nothing remembers the message, so the word itself is known when the message comes again under another name.
    let id = match message.likeness() {
        Some(likeness) => format!("{}:{likeness:016x}:unfit", message.session_key),
        None => format!("{run}:unfit"),
    };
    match owe_as(gateway, message, id, words) {
        Ok(()) => {
            tracing::warn!(name: "message.unfit", run, words, "its sender is told");
            Ok(())
        }
        Err(error) => {
            tracing::warn!(name: "message.refused", run, why = %error, "nothing was accepted");
            Err(NotTaken)
        }
    }
}
