//! What a turn of history left in the session store, and what history read from it afterwards: which conversation was
//! stopped, and where a word goes that answers no message.
//!
//! A hardened gateway leaves nothing there: the journal says how far each message came, and each message has its route.
//! Who reads what stands there, and when, is not known here.

use std::rc::Rc;

use super::inbox::Accepted;
use crate::channels::Route;
use crate::cron;
use crate::gateway::Gateway;
use crate::policy::{InterruptionEvidence, NoticeRoute};
use crate::sessions::{DeliveryContext, StateError, Trace};

/// Where whatever is sent is read by nobody: what a turn of the gateway's own leaves (openclaw/openclaw#34580).
const HEARTBEAT: &str = "heartbeat";
const WEBCHAT: &str = "webchat";

/// What the turn about `message` leaves in the entry of its conversation.
pub(crate) fn of(gateway: &Gateway, message: &Accepted) -> Trace {
    let came_from = match gateway.policies.notice_route {
        NoticeRoute::WhenAsked => None,
        NoticeRoute::FromTheStore => Some(context(message)),
    };
    Trace { clears_flag: has_flag(gateway), came_from }
}

fn context(message: &Accepted) -> DeliveryContext {
    match &message.route {
        Route::Platform(chat) => DeliveryContext {
            channel: chat.account.platform.name().to_string(),
            to: chat.chat.clone(),
            account_id: Some(chat.account.name.clone()),
        },
        Route::Webchat => {
            let to = if cron::is_run(&message.run_id) { HEARTBEAT } else { WEBCHAT };
            DeliveryContext { channel: WEBCHAT.to_string(), to: to.to_string(), account_id: None }
        }
    }
}

/// Whether `abortedLastRun` means something here.
fn has_flag(gateway: &Gateway) -> bool {
    gateway.policies.interruption_evidence != InterruptionEvidence::Journal
}

/// A sender has stopped what was at work in its conversation, which the store says in a moment.
pub(crate) fn note_stop(gateway: &Rc<Gateway>, session_key: &str) {
    if !has_flag(gateway) {
        return;
    }
    let (gateway, key) = (gateway.clone(), session_key.to_string());
    drop(gateway.env.clone().spawn("aborted flag", async move {
        // It was said without looking.
        let _ = gateway.sessions.set_aborted_last_run(&[key], true).await;
    }));
}

/// Where a word to a conversation goes that answers none of its messages.
///
/// Errors: the store cannot be read.
pub(crate) fn route(gateway: &Gateway, session_key: &str) -> Result<Route, StateError> {
    let named = Route::of_session(session_key);
    match gateway.policies.notice_route {
        NoticeRoute::WhenAsked => Ok(named),
        NoticeRoute::FromTheStore => {
            let stored = gateway.sessions.delivery_context(session_key)?;
            Ok(stored.as_ref().map_or(named, route_of))
        }
    }
}

fn route_of(context: &DeliveryContext) -> Route {
    let DeliveryContext { channel, to, account_id } = context;
    // A place is called like the conversation that takes place there.
    Route::of_session(&format!("{channel}:{}:{to}", account_id.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(run_id: &str, session_key: &str) -> Accepted {
        let route = Route::of_session(session_key);
        let (run_id, session_key) = (run_id.to_string(), session_key.to_string());
        Accepted { run_id, session_key, text: String::new(), route }
    }

    #[test]
    fn what_a_turn_leaves_is_where_it_came_from() {
        for session in ["telegram:main:5", "feishu:ops:oc_ann", "main"] {
            assert_eq!(route_of(&context(&message("r", session))), Route::of_session(session), "{session}");
        }
    }

    #[test]
    fn a_turn_of_our_own_leaves_a_place_where_nobody_reads() {
        let heartbeat = Accepted { route: Route::Webchat, ..message("cron:pulse:1:1", "telegram:main:5") };
        assert_eq!(context(&heartbeat).to, HEARTBEAT);
        assert_eq!(route_of(&context(&heartbeat)), Route::Webchat);
    }
}
