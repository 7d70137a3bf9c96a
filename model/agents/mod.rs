//! Agents: the turn of a conversation, the model provider that it asks, and the notice when there is no reply.

pub(crate) mod connection;
pub(crate) mod notice;
pub(crate) mod provider;
pub(crate) mod run;
