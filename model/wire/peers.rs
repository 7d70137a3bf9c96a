//! The peers: every open connection, from accept to end, upgraded or not.
//!
//! One registry, so that a shutdown can reach each socket the server knows. What is sent to a peer waits in a
//! queue bounded in bytes; a peer too slow for it is cut off rather than allowed to grow the gateway.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tokio::sync::{Notify, mpsc};

use crate::config::GatewayConfig;
use crate::env::AbortHandle;
use crate::policy::SlowConsumer;

/// How many conversations one connection may follow.
pub(super) const MAX_FOLLOWED: usize = 1_000;

/// What a peer's connection is asked to send.
#[derive(Clone, Debug)]
pub(super) enum Outgoing {
    /// A frame.
    Text(String),
    /// The close frame; nothing follows it.
    Close { code: u16, reason: &'static str },
}

/// The registry.
#[derive(Clone)]
pub(crate) struct Peers(Rc<Inner>);

struct Inner {
    /// How many bytes may wait for one peer.
    limit: usize,
    next_id: Cell<u64>,
    peers: RefCell<BTreeMap<u64, Peer>>,
    changed: Notify,
}

struct Peer {
    abort: AbortHandle,
    /// Present once the peer speaks WebSocket.
    outbox: Option<mpsc::UnboundedSender<Outgoing>>,
    buffered_bytes: Rc<Cell<usize>>,
    /// The conversations whose events the peer gets.
    sessions: BTreeSet<String>,
}

/// A place in the registry; leaving it deregisters the peer.
pub(super) struct Membership {
    peers: Peers,
    pub(super) id: u64,
}

/// The receiving end of a peer's queue.
pub(super) struct Outbox {
    receiver: mpsc::UnboundedReceiver<Outgoing>,
    buffered_bytes: Rc<Cell<usize>>,
}

impl Outbox {
    /// The next thing to send; `None` when the peer was deregistered.
    pub(super) async fn next(&mut self) -> Option<Outgoing> {
        let outgoing = self.receiver.recv().await?;
        if let Outgoing::Text(text) = &outgoing {
            self.buffered_bytes.set(self.buffered_bytes.get() - text.len());
        }
        Some(outgoing)
    }
}

impl Peers {
    /// An empty registry.
    pub(crate) fn new(config: &GatewayConfig, policy: SlowConsumer) -> Self {
        let limit = match policy {
            SlowConsumer::ToldAndClosed => usize::try_from(config.max_buffered_bytes).unwrap_or(usize::MAX),
            SlowConsumer::Kept => usize::MAX,
        };
        Self(Rc::new(Inner {
            limit,
            next_id: Cell::default(),
            peers: RefCell::default(),
            changed: Notify::new(),
        }))
    }

    /// Registers a connection that has just been accepted.
    pub(super) fn join(&self, abort: AbortHandle) -> Membership {
        let id = self.0.next_id.get() + 1;
        self.0.next_id.set(id);
        let peer = Peer { abort, outbox: None, buffered_bytes: Rc::default(), sessions: BTreeSet::new() };
        self.0.peers.borrow_mut().insert(id, peer);
        Membership { peers: self.clone(), id }
    }

    /// Sends a frame to every peer that follows the conversation.
    pub(crate) fn publish(&self, session_key: &str, frame: &str) {
        for peer in self.0.peers.borrow().values() {
            if peer.sessions.contains(session_key) {
                peer.send(frame, self.0.limit);
            }
        }
    }

    /// Sends a frame to every WebSocket peer.
    pub(crate) fn broadcast(&self, frame: &str) {
        for peer in self.0.peers.borrow().values() {
            peer.send(frame, self.0.limit);
        }
    }

    /// Asks every WebSocket peer to close.
    pub(crate) fn close_all(&self, code: u16, reason: &'static str) {
        for peer in self.0.peers.borrow().values() {
            if let Some(outbox) = &peer.outbox {
                // A connection that no longer listens is on its way out.
                let _ = outbox.send(Outgoing::Close { code, reason });
            }
        }
    }

    /// Resets every connection there is, whatever state it is in.
    pub(crate) fn reset_all(&self) {
        let handles: Vec<_> = self.0.peers.borrow().values().map(|peer| peer.abort.clone()).collect();
        handles.iter().for_each(AbortHandle::abort);
    }

    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        self.0.peers.borrow().len()
    }

    /// Resolves when no WebSocket peer is left.
    pub(crate) async fn websockets_gone(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.peers.borrow().values().all(|peer| peer.outbox.is_none()) {
                return;
            }
            changed.await;
        }
    }
}

impl Peer {
    fn send(&self, frame: &str, limit: usize) {
        let Some(outbox) = &self.outbox else { return };
        let buffered = self.buffered_bytes.get() + frame.len();
        if buffered > limit {
            tracing::warn!(name: "peer.too-slow", buffered_bytes = buffered, "cut off a slow consumer");
            self.abort.abort();
            return;
        }
        if outbox.send(Outgoing::Text(frame.to_string())).is_ok() {
            self.buffered_bytes.set(buffered);
        }
    }
}

impl Membership {
    /// The connection speaks WebSocket from now on.
    pub(super) fn upgrade(&self) -> Outbox {
        let (sender, receiver) = mpsc::unbounded_channel();
        let buffered_bytes = Rc::<Cell<usize>>::default();
        if let Some(peer) = self.peers.0.peers.borrow_mut().get_mut(&self.id) {
            peer.outbox = Some(sender);
            peer.buffered_bytes = buffered_bytes.clone();
        }
        Outbox { receiver, buffered_bytes }
    }

    /// The peer gets the conversation's events from now on, and first `so_far` unless it follows it already; `false`
    /// when it follows too many.
    pub(super) fn follow(&self, session_key: &str, so_far: impl FnOnce() -> Vec<String>) -> bool {
        let mut peers = self.peers.0.peers.borrow_mut();
        // A peer that is being cut off has nothing to follow any more.
        let Some(peer) = peers.get_mut(&self.id) else { return true };
        if peer.sessions.contains(session_key) {
            return true;
        }
        if peer.sessions.len() >= MAX_FOLLOWED {
            return false;
        }
        peer.sessions.insert(session_key.to_string());
        so_far().iter().for_each(|frame| peer.send(frame, self.peers.0.limit));
        true
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.peers.0.peers.borrow_mut().remove(&self.id);
        self.peers.0.changed.notify_waiters();
    }
}
