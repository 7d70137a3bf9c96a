//! Agents: the turn of a conversation, and the model provider that it asks.

pub(crate) mod provider;
pub(crate) mod run;
