//! Channels: how replies and notices reach senders.

pub(crate) mod webchat;
