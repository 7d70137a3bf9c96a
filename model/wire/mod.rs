//! The wire: HTTP probes and the OpenClaw gateway protocol (version 3) over WebSocket, on one port.
//!
//! Turns bytes into requests and events into bytes. What a request means is decided in [`rpc`]; nothing here
//! knows how a message is run or stored.

mod allowance;
mod connection;
mod frames;
mod handshake;
mod http;
pub(crate) mod peers;
mod rpc;

pub(crate) use connection::serve;
pub(crate) use peers::Peers;

/// The protocol version that this gateway speaks.
pub(crate) const PROTOCOL_VERSION: u64 = 3;
/// Largest frame of an authenticated client (OpenClaw: 25 MiB).
pub(crate) const MAX_PAYLOAD_BYTES: usize = 25 * 1024 * 1024;
/// How often a client hears from us when nothing happens, in milliseconds (OpenClaw: 30 000).
pub(crate) const TICK_INTERVAL_MS: u64 = 30_000;

/// WebSocket close codes of the protocol.
pub(crate) mod close_code {
    /// Authentication failed, the handshake was broken, or the client was too slow.
    pub(crate) const POLICY: u16 = 1008;
    /// The gateway restarts or stops.
    pub(crate) const SERVICE_RESTART: u16 = 1012;
}
