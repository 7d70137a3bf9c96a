//! Chat platforms: what they are called, and by which names the gateway knows a message on one.
//!
//! The words are those of scenario files and of idempotency keys. What a platform does is the actors' business.

use std::fmt;

/// A chat platform of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// Long polling with offsets; no key by which it would recognise a message that it took before.
    Telegram,
    /// Events over a long connection, each acknowledged; a key by which it recognises what it took before.
    Feishu,
}

impl Platform {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Telegram, Self::Feishu];

    /// Its name in scenario files and in keys.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Telegram => "telegram",
            Self::Feishu => "feishu",
        }
    }

    /// The idempotency key, which is the run's id, of a message that came to `account` as `id`.
    pub fn key(self, account: &str, id: &str) -> String {
        format!("{}:{account}:{id}", self.name())
    }

    /// The platform on which a message has this key; `None`: it came another way.
    pub fn of_key(key: &str) -> Option<Self> {
        let (name, _) = key.split_once(':')?;
        Self::ALL.into_iter().find(|platform| platform.name() == name)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
