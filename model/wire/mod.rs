//! The wire: HTTP probes and the OpenClaw gateway protocol (version 3) over WebSocket, on one port.
//!
//! Turns bytes into requests and events into bytes. What a request means is decided in [`rpc`]; nothing here
//! knows how a message is run or stored.

mod activity;
mod allowance;
mod client;
mod connection;
mod frames;
mod handshake;
mod http;
mod outbox;
pub(crate) mod peers;
mod restart;
mod rpc;
mod talk;

use std::time::Duration;

pub(crate) use client::COMMAND_LINE;
pub(crate) use connection::serve;
pub(crate) use frames::event;
pub(crate) use outbox::Bound;
pub(crate) use peers::{Idle, Peers, Which};

/// How the error begins that answers a request for a method which a gateway does not have.
pub(crate) const UNKNOWN_METHOD: &str = "unknown method";

/// The protocol version that this gateway speaks.
pub(crate) const PROTOCOL_VERSION: u64 = 3;
/// Largest frame of an authenticated client (OpenClaw: 25 MiB).
pub(crate) const MAX_PAYLOAD_BYTES: usize = 25 * 1024 * 1024;
/// How often a client hears from us when nothing happens, in milliseconds (OpenClaw: 30 000).
pub(crate) const TICK_INTERVAL_MS: u64 = 30_000;

/// How long the WebSocket library of OpenClaw waits for the answer to a close frame before it destroys the socket.
pub(crate) const LIBRARY_PATIENCE: Duration = Duration::from_secs(30);

/// WebSocket close codes of the protocol.
pub(crate) mod close_code {
    /// Authentication failed, the handshake was broken, or the client was too slow.
    pub(crate) const POLICY: u16 = 1008;
    /// The gateway restarts or stops.
    pub(crate) const SERVICE_RESTART: u16 = 1012;
}
