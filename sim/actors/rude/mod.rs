//! Rude peers: they take a connection to the gateway and do not do their part.
//!
//! A peer has a place to which its kind goes, from a bare connection to an authenticated WebSocket, and a way to
//! stay there. It sends no messages and has no fates; what it records is that it came, was turned away, and how its
//! connection ended. Peers come in groups that share a process, since hundreds of them must cost next to nothing:
//! whoever only sits there has no timer and reads nothing.

use std::ops::RangeInclusive;
use std::time::Duration;

use gateway::env::{AbortHandle, Env, LocalBoxFuture, Stream};
use tokio::io::AsyncReadExt;

mod crowd;
mod plain;
mod upgraded;
mod witness;

pub use crowd::{PeersCommand, run};
pub use witness::{NAME as WITNESS, WitnessSettings, run as watch};

/// What a peer does with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// Connects, and that is all.
    Bare,
    /// Sends half of an upgrade request.
    HalfUpgrade,
    /// Sends a request header, a byte after a pause, for ever.
    DripsRequest,
    /// Gets one answer over HTTP and keeps the connection.
    KeepAlive,
    /// The same, and then sends half of the next request.
    KeepAliveHalf,
    /// Sends what is no HTTP.
    SpeaksTls,
    /// Upgrades and never sends `connect`.
    NeverConnects,
    /// Authenticates, reads, and answers no close frame.
    NeverAnswersClose,
    /// Authenticates and reads nothing any more.
    NeverReads,
    /// Authenticates and sends a frame, a byte after a pause.
    DripsFrame,
    /// Authenticates and closes its sending side only.
    HalfCloses,
    /// Authenticates, sends requests for as long as the connection takes any, and reads no answer.
    Pipelines,
    /// Resets its connection in the middle of an upgrade, a frame or an answer.
    Resets,
}

impl PeerKind {
    /// Whether it can take part in a conversation.
    pub fn can_join(self) -> bool {
        matches!(self, Self::NeverAnswersClose | Self::NeverReads | Self::DripsFrame | Self::Pipelines)
    }
}

/// What a group of peers is told.
#[derive(Clone, Debug)]
pub struct PeersSettings {
    /// The name of the group.
    pub name: String,
    /// What its peers do.
    pub kind: PeerKind,
    /// How many there are.
    pub count: u32,
    /// So long after they are let in, each arrives.
    pub arrive: RangeInclusive<Duration>,
    /// So long after the end of its connection, a peer is back; `None`: it does not come back.
    pub returns: Option<RangeInclusive<Duration>>,
    /// The sender whose conversation they follow.
    pub joins: Option<String>,
    /// The gateway's port.
    pub port: u16,
    /// The token of those who authenticate.
    pub token: String,
}

/// What it takes to call the gateway.
#[derive(Clone)]
struct Caller {
    env: Env,
    port: u16,
    token: String,
    /// The sender whose conversation is joined.
    joins: Option<String>,
}

/// A peer that has come as far as its kind goes.
struct Visit {
    /// How far that is, in a few words.
    place: &'static str,
    /// Resets its connection.
    abort: AbortHandle,
    /// Its stay: how its connection ended, in words. Owns the connection.
    stay: LocalBoxFuture<'static, String>,
}

impl Visit {
    fn new(place: &'static str, abort: AbortHandle, stay: impl Future<Output = String> + 'static) -> Self {
        Self { place, abort, stay: Box::pin(stay) }
    }
}

/// Goes as far as `kind` does. The error says in words why it did not come that far.
async fn come(kind: PeerKind, caller: Caller) -> Result<Visit, String> {
    match kind {
        PeerKind::Bare => plain::bare(&caller).await,
        PeerKind::HalfUpgrade => plain::half_upgrade(&caller).await,
        PeerKind::DripsRequest => plain::drips_request(&caller).await,
        PeerKind::KeepAlive => plain::keep_alive(&caller, b"").await,
        PeerKind::KeepAliveHalf => plain::keep_alive(&caller, plain::HALF_A_REQUEST).await,
        PeerKind::SpeaksTls => plain::speaks_tls(&caller).await,
        PeerKind::NeverConnects => upgraded::never_connects(&caller).await,
        PeerKind::NeverAnswersClose => upgraded::never_answers_close(caller).await,
        PeerKind::NeverReads => upgraded::never_reads(&caller).await,
        PeerKind::DripsFrame => upgraded::drips_frame(&caller).await,
        PeerKind::HalfCloses => upgraded::half_closes(&caller).await,
        PeerKind::Pipelines => upgraded::pipelines(&caller).await,
        PeerKind::Resets => match caller.env.random("peers-resets") % 3 {
            0 => plain::resets_mid_upgrade(&caller).await,
            1 => upgraded::resets_mid_frame(&caller).await,
            _ => upgraded::resets_mid_answer(&caller).await,
        },
    }
}

/// How a connection ended that the gateway closed, and one that it reset.
const HUNG_UP_ON: &str = "hung up on";
const RESET: &str = "reset";
/// How a connection ended that its peer reset or closed.
const RESET_ITSELF: &str = "reset by itself";
const LEFT: &str = "left";

/// Reads whatever still comes, past every protocol, until the gateway ends the connection: how.
async fn hear_out(stream: &mut Stream) -> String {
    let mut sink = [0; 1024];
    loop {
        match stream.read(&mut sink).await {
            Ok(0) => return HUNG_UP_ON.into(),
            Ok(_) => {}
            Err(_) => return RESET.into(),
        }
    }
}

/// Resets a connection after a moment, which is drawn.
async fn reset_soon(env: Env, stream: Stream) -> String {
    tokio::time::sleep(Duration::from_millis(env.random("peers-resets") % 1_000)).await;
    stream.abort_handle().abort();
    RESET_ITSELF.into()
}
