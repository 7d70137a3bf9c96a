//! Rude peers, as a scenario describes them: groups of those who connect and do not do their part.
//!
//! What each kind does is an actor's business; here are the words for it.

use super::{Choice, DurationRange};
pub use crate::actors::rude::PeerKind;

/// A group of rude peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersSetup {
    /// What each of them does.
    pub kind: PeerKind,
    /// How many there are.
    pub count: u32,
    /// So long after the group is let in, each arrives. It is let in when the gateway first listens, or by a step.
    pub arrive: DurationRange,
    /// So long after the end of its connection, a peer is back; `None`: it does not come back.
    pub returns: Option<DurationRange>,
    /// The sender whose conversation they follow.
    pub joins: Option<String>,
}

impl Choice for PeerKind {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "never-answers-close",
            Self::NeverAnswersClose,
            "authenticates and reads; answers no close frame and never closes its side",
        ),
        ("bare", Self::Bare, "opens a TCP connection and sends nothing"),
        ("half-upgrade", Self::HalfUpgrade, "sends half of an upgrade request, then nothing"),
        ("drips-request", Self::DripsRequest, "sends a request header that does not end, a byte a second"),
        ("keep-alive", Self::KeepAlive, "asks `GET /healthz`, reads the answer and keeps the connection"),
        ("keep-alive-half", Self::KeepAliveHalf, "the same, and then sends half of the next request"),
        ("speaks-tls", Self::SpeaksTls, "begins a TLS handshake, which is no HTTP"),
        ("never-connects", Self::NeverConnects, "upgrades to WebSocket and never sends `connect`"),
        (
            "never-reads",
            Self::NeverReads,
            "authenticates, then reads nothing any more: what is sent to it fills the windows",
        ),
        (
            "drips-frame",
            Self::DripsFrame,
            "authenticates and sends a frame, a byte a second, that stays half",
        ),
        ("half-closes", Self::HalfCloses, "authenticates and closes its sending side only"),
        (
            "pipelines",
            Self::Pipelines,
            "authenticates and sends requests for as long as the connection takes any, and reads no answer",
        ),
        (
            "resets",
            Self::Resets,
            "resets its connection in the middle of an upgrade, of a frame or of an answer, which is drawn",
        ),
    ];
}
