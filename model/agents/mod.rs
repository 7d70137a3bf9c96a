//! Agents: the turn of a conversation, the model provider that it asks, the tools that the model may use, the subagents
//! that it may start, and the notice when there is no reply, which a conversation gets once for all it is about.

pub(crate) mod connection;
mod exec;
pub(crate) mod notice;
mod prompt;
pub(crate) mod provider;
pub(crate) mod run;
pub(crate) mod subagents;
mod tools;
pub(crate) mod unrecorded;
pub(crate) mod untold;
