//! The road of a message: the inbox that makes it durable, the lanes that give each conversation its order, and the
//! outbox that keeps what its sender is owed until a platform has it.

pub(crate) mod delivery;
pub(crate) mod gathering;
pub(crate) mod inbox;
pub(crate) mod lanes;
pub(crate) mod outbox;
pub(crate) mod overflow;
mod road;
pub(crate) mod stop;
pub(crate) mod traces;

pub(crate) use road::{Receipt, SendRefused};
