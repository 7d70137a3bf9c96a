//! The road of a message: the inbox that makes it durable, and the lanes that give each conversation its order.

pub(crate) mod inbox;
pub(crate) mod lanes;
