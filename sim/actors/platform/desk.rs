//! What a platform keeps for one bot: the messages that its users wrote and that it has not confirmed.
//!
//! A synchronous state machine. It knows numbers, names and who has confirmed what; when something is handed out, and
//! over which line, is decided by those who use it.

use std::collections::BTreeMap;

use crate::timeline::{MessageId, Platform};

/// A user of a platform, who talks to one bot there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The sender's name in the scenario.
    pub sender: String,
    /// Where it talks.
    pub platform: Platform,
    /// The bot, as the gateway's configuration calls it.
    pub account: String,
    /// What the platform calls their conversation.
    pub chat: String,
}

/// The messages for one bot.
#[derive(Default)]
pub(super) struct Desk {
    items: Vec<Item>,
    last_number: u64,
    /// What the platform would recognise, by key: when it was taken, in milliseconds, and the name it was given.
    taken: BTreeMap<String, (u64, String)>,
}

/// One message that waits for its bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Counting up for each bot; for Telegram the update's id.
    pub(super) number: u64,
    /// The message; `None` for what is no message of the ledger, such as `/stop`.
    pub(super) message: Option<MessageId>,
    pub(super) chat: String,
    pub(super) text: String,
    /// When the user wrote it, in milliseconds of the wall clock.
    pub(super) written_ms: u64,
    /// How often it has been handed out.
    pub(super) times: u32,
    /// By how many names it has been handed out; counting from 1.
    pub(super) names: u32,
    /// The connection over which it was handed out last.
    pub(super) connection: Option<u32>,
}

impl Item {
    /// What Feishu calls the message now.
    pub(super) fn message_id(&self, account: &str) -> String {
        format!("om_{account}_{}{}", self.number, renamed(self.names))
    }

    /// What Feishu calls the event now.
    pub(super) fn event_id(&self, account: &str) -> String {
        format!("ev_{account}_{}{}", self.number, renamed(self.names))
    }

    /// The key by which the gateway knows it.
    pub(super) fn key(&self, platform: Platform, account: &str) -> String {
        match platform {
            Platform::Telegram => platform.key(account, &self.number.to_string()),
            Platform::Feishu => platform.key(account, &self.message_id(account)),
        }
    }
}

fn renamed(names: u32) -> String {
    if names > 1 { format!("_{names}") } else { String::new() }
}

/// Numbers begin here, so that none is mistaken for a count.
const FIRST_NUMBER: u64 = 1_001;

impl Desk {
    /// A user wrote something.
    pub(super) fn put(
        &mut self,
        user: &User,
        message: Option<MessageId>,
        text: String,
        now_ms: u64,
    ) -> &Item {
        self.last_number = self.last_number.max(FIRST_NUMBER - 1) + 1;
        self.items.push(Item {
            number: self.last_number,
            message,
            chat: user.chat.clone(),
            text,
            written_ms: now_ms,
            times: 0,
            names: 1,
            connection: None,
        });
        self.items.last().unwrap_or_else(|| unreachable!("it was just put there"))
    }

    /// What waits from this number on, in order.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.number >= number)
    }

    /// The item of that number, if it still waits.
    pub(super) fn item(&mut self, number: u64) -> Option<&mut Item> {
        self.items.iter_mut().find(|item| item.number == number)
    }

    /// The item that was or is called `event_id`.
    pub(super) fn of_event(&self, account: &str, event_id: &str) -> Option<u64> {
        let rest = event_id.strip_prefix("ev_")?.strip_prefix(account)?.strip_prefix('_')?;
        let number = rest.split('_').next()?.parse().ok()?;
        self.items.iter().any(|item| item.number == number).then_some(number)
    }

    /// All below `number` are confirmed and forgotten: what they were.
    pub(super) fn confirm_below(&mut self, number: u64) -> Vec<Item> {
        self.items.extract_if(.., |item| item.number < number).collect()
    }

    /// One is confirmed and forgotten.
    pub(super) fn confirm(&mut self, number: u64) -> Option<Item> {
        let at = self.items.iter().position(|item| item.number == number)?;
        Some(self.items.remove(at))
    }

    /// What was written before that time will not be handed out again.
    pub(super) fn forget_written_before(&mut self, ms: u64) {
        self.items.retain(|item| item.written_ms >= ms);
    }

    /// The name that a bot's message with this key was given when it was taken, not longer than `for_ms` ago.
    pub(super) fn recognised(&self, key: &str, now_ms: u64, for_ms: u64) -> Option<String> {
        let (taken_ms, name) = self.taken.get(key)?;
        (now_ms.saturating_sub(*taken_ms) < for_ms).then(|| name.clone())
    }

    /// A bot's message with this key was taken.
    pub(super) fn remember(&mut self, key: &str, now_ms: u64, name: &str) {
        self.taken.insert(key.to_owned(), (now_ms, name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(count: usize) -> Desk {
        let user = User {
            sender: "ann".into(),
            platform: Platform::Feishu,
            account: "main".into(),
            chat: "oc_ann".into(),
        };
        let mut desk = Desk::default();
        for number in 0..count {
            desk.put(&user, None, format!("text {number}"), number as u64);
        }
        desk
    }

    fn numbers(desk: &Desk, from: u64) -> Vec<u64> {
        desk.from(from).map(|item| item.number).collect()
    }

    #[test]
    fn what_lies_below_an_offset_is_forgotten_and_nothing_else() {
        let mut desk = desk(3);
        assert_eq!(numbers(&desk, 0), [1_001, 1_002, 1_003]);
        assert_eq!(numbers(&desk, 1_002), [1_002, 1_003]);
        assert_eq!(desk.confirm_below(1_003).len(), 2);
        assert_eq!(numbers(&desk, 0), [1_003]);
        assert_eq!(desk.confirm_below(1_003), []);
    }

    #[test]
    fn an_event_is_known_by_all_of_its_names() {
        let mut desk = desk(2);
        let item = desk.item(1_002).expect("it waits");
        let old = item.event_id("main");
        item.names = 2;
        let new = item.event_id("main");
        assert_eq!((old.as_str(), new.as_str()), ("ev_main_1002", "ev_main_1002_2"));
        assert_eq!(desk.of_event("main", &old), Some(1_002));
        assert_eq!(desk.of_event("main", &new), Some(1_002));
        assert_eq!(desk.of_event("other", &old), None);
        assert!(desk.confirm(1_002).is_some() && desk.confirm(1_002).is_none());
        assert_eq!(desk.of_event("main", &old), None);
    }

    #[test]
    fn a_key_is_recognised_for_a_while() {
        let mut desk = desk(0);
        desk.remember("k", 1_000, "om_1");
        assert_eq!(desk.recognised("k", 4_600, 3_600), None);
        assert_eq!(desk.recognised("k", 4_599, 3_600), Some("om_1".into()));
        assert_eq!(desk.recognised("other", 1_000, 3_600), None);
    }

    #[test]
    fn old_events_are_given_up() {
        let mut desk = desk(3);
        desk.forget_written_before(2);
        assert_eq!(numbers(&desk, 0), [1_003]);
    }
}
