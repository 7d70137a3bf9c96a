//! An arrival: what a platform's user wrote, on its way into the inbox, and what is said about what cannot go there.
//!
//! An arrival is either taken, and may be confirmed to its platform, or it is not, and comes again. Everything that is
//! taken is durable by then: the message, or the word to its sender why it is none. Knows no platform's protocol.

use std::rc::Rc;

use super::{Chat, Route};
use crate::agents::notice::quoted;
use crate::gateway::Gateway;
use crate::messages::delivery::{Kind, owe};
use crate::messages::inbox::Accepted;
use crate::messages::SendRefused;

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
    /// Takes it.
    pub(super) fn take(self, gateway: &Rc<Gateway>) -> Result<(), NotTaken> {
        let account = &self.chat.account;
        let mut message = Accepted {
            run_id: format!("{account}:{}", self.id),
            session_key: format!("{account}:{}", self.chat.chat),
            text: self.text.clone().unwrap_or_default(),
            route: Route::Platform(self.chat),
        };
        if let Some(why) = unfit(self.text.as_deref()) {
            return refuse(gateway, &message, &why);
        }
        loop {
            match gateway.accept(&message, None) {
                Ok(_) => return Ok(()),
                Err(SendRefused::NotAdmitting | SendRefused::NotDurable(_)) => return Err(NotTaken),
                // Another bot had this account before, and counted alike.
                Err(SendRefused::KeyReused) => message.run_id.push('\''),
            }
        }
    }
}

/// Why this cannot be answered, if it cannot.
fn unfit(text: Option<&str>) -> Option<String> {
    match text {
        None => Some("Your message was not answered: only texts can be read. Please send it as a text.".into()),
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
pub(super) fn refuse(gateway: &Rc<Gateway>, message: &Accepted, words: &str) -> Result<(), NotTaken> {
    if !gateway.admits_messages() {
        return Err(NotTaken);
    }
    let run = &message.run_id;
    match owe(gateway, message, Kind::Outcome, words) {
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
