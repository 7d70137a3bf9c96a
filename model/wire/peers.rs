//! The peers: every open connection, from accept to end, upgraded or not.
//!
//! One registry, so that a shutdown can reach each socket the server knows, and wait for each. To reach or to count
//! them all takes time in proportion to their number, and waiting for them takes none for each that leaves.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::activity::{Activity, Watch};
use super::client::Client;
use super::outbox::{Bound, Outbox, Queue, outbox};
use crate::env::AbortHandle;

/// How many conversations one connection may follow.
pub(super) const MAX_FOLLOWED: usize = 1_000;

/// Which of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those that have shown who they are, and are served.
    Clients,
    /// Those that speak WebSocket, clients or not.
    WebSockets,
    /// Those that do not.
    Http,
    /// All of them.
    All,
}

/// Which HTTP connections have nothing to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Those in front of their first request, and between two.
    BetweenRequests,
    /// Those that had one and are not in the next: what Node.js calls idle, before nodejs/node#63470.
    AfterARequest,
}

/// The registry.
#[derive(Clone)]
pub(crate) struct Peers(Rc<Inner>);

struct Inner {
    bound: Bound,
    next_id: Cell<u64>,
    peers: RefCell<BTreeMap<u64, Peer>>,
    /// How many of them speak WebSocket, and how many of those are clients.
    websockets: Cell<usize>,
    clients: Cell<usize>,
    left: Notify,
    /// Set when idle HTTP connections are to leave.
    dismissed: Cell<Option<Idle>>,
    dismissal: Notify,
    /// What is said to whoever becomes a WebSocket peer too late to be told with the others.
    farewell: Cell<Option<(u16, &'static str)>>,
}

struct Peer {
    abort: AbortHandle,
    /// Present once the peer speaks WebSocket.
    queue: Option<Queue>,
    is_client: bool,
    /// The conversations whose events the peer gets.
    sessions: BTreeSet<String>,
}

impl Peer {
    fn is(&self, which: Which) -> bool {
        match which {
            Which::Clients => self.is_client,
            Which::WebSockets => self.queue.is_some(),
            Which::Http => self.queue.is_none(),
            Which::All => true,
        }
    }

    fn send(&self, frame: &Utf8Bytes, may_be_missed: bool) {
        if let Some(queue) = &self.queue {
            queue.put(frame, may_be_missed);
        }
    }
}

/// A place in the registry; leaving it deregisters the peer.
pub(super) struct Membership {
    peers: Peers,
    pub(super) id: u64,
    pub(super) activity: Watch,
    client: RefCell<Client>,
}

impl Peers {
    /// No peers, of which each may cost so much.
    pub(crate) fn new(bound: Bound) -> Self {
        Self(Rc::new(Inner {
            bound,
            next_id: Cell::new(0),
            peers: RefCell::default(),
            websockets: Cell::new(0),
            clients: Cell::new(0),
            left: Notify::new(),
            dismissed: Cell::new(None),
            dismissal: Notify::new(),
            farewell: Cell::new(None),
        }))
    }

    /// Registers a connection that has just been accepted.
    pub(super) fn join(&self, abort: AbortHandle) -> Membership {
        let id = self.0.next_id.get() + 1;
        self.0.next_id.set(id);
        let peer = Peer { abort, queue: None, is_client: false, sessions: BTreeSet::new() };
        self.0.peers.borrow_mut().insert(id, peer);
        Membership { peers: self.clone(), id, activity: Watch::default(), client: RefCell::default() }
    }

    /// Sends a frame to every peer that follows the conversation. One that the next makes up for `may_be_missed`.
    pub(crate) fn publish(&self, session_key: &str, frame: String, may_be_missed: bool) {
        let frame = Utf8Bytes::from(frame);
        for peer in self.0.peers.borrow().values() {
            if peer.sessions.contains(session_key) {
                peer.send(&frame, may_be_missed);
            }
        }
    }

    /// Sends a frame to every client.
    pub(crate) fn broadcast(&self, frame: String) {
        let frame = Utf8Bytes::from(frame);
        for peer in self.0.peers.borrow().values().filter(|peer| peer.is_client) {
            peer.send(&frame, false);
        }
    }

    /// Sends a last frame to these peers, as far as they speak WebSocket, and asks them to close.
    pub(crate) fn say_goodbye(&self, which: Which, frame: String, code: u16, reason: &'static str) {
        let frame = Utf8Bytes::from(frame);
        if which != Which::Clients {
            self.0.farewell.set(Some((code, reason)));
        }
        for peer in self.0.peers.borrow().values().filter(|peer| peer.is(which)) {
            peer.send(&frame, false);
            if let Some(queue) = &peer.queue {
                queue.close(code, reason);
            }
        }
    }

    /// Asks HTTP connections with nothing to wait for to leave, now or once their request is answered.
    pub(crate) fn dismiss(&self, idle: Idle) {
        self.0.dismissed.set(Some(idle));
        self.0.dismissal.notify_waiters();
    }

    /// Resets these connections, whatever state they are in.
    pub(crate) fn reset(&self, which: Which) {
        let peers = self.0.peers.borrow();
        let chosen = peers.values().filter(|peer| peer.is(which));
        let handles: Vec<_> = chosen.map(|peer| peer.abort.clone()).collect();
        drop(peers);
        handles.iter().for_each(AbortHandle::abort);
    }

    /// How many connections are open.
    pub(crate) fn count(&self, which: Which) -> usize {
        let all = self.0.peers.borrow().len();
        match which {
            Which::Clients => self.0.clients.get(),
            Which::WebSockets => self.0.websockets.get(),
            Which::Http => all - self.0.websockets.get(),
            Which::All => all,
        }
    }

    /// Resolves when none of these is left.
    pub(crate) async fn gone(&self, which: Which) {
        loop {
            let left = self.0.left.notified();
            if self.count(which) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Membership {
    /// The connection speaks WebSocket from now on.
    pub(super) fn upgrade(&self) -> Outbox {
        let inner = &self.peers.0;
        let (queue, outbox) = outbox(inner.bound);
        if let Some((code, reason)) = inner.farewell.get() {
            queue.close(code, reason);
        }
        if let Some(peer) = inner.peers.borrow_mut().get_mut(&self.id) {
            peer.queue = Some(queue);
            inner.websockets.set(inner.websockets.get() + 1);
        }
        inner.left.notify_waiters();
        outbox
    }

    /// Who it is, and what it may; a stranger may nothing.
    pub(super) fn client(&self) -> Client {
        self.client.borrow().clone()
    }

    /// The peer has shown who it is.
    pub(super) fn welcome(&self, client: Client) {
        let inner = &self.peers.0;
        *self.client.borrow_mut() = client;
        if let Some(peer) = inner.peers.borrow_mut().get_mut(&self.id) {
            peer.is_client = true;
            inner.clients.set(inner.clients.get() + 1);
        }
    }

    /// Ends the connection at once.
    pub(super) fn reset(&self) {
        let abort = self.peers.0.peers.borrow().get(&self.id).map(|peer| peer.abort.clone());
        abort.iter().for_each(AbortHandle::abort);
    }

    /// Resolves when the connection has nothing to wait for and is to leave. One in the middle of a request stays: the
    /// answer to that says that it is the last.
    pub(super) async fn dismissed(&self) {
        let inner = &self.peers.0;
        let idle = loop {
            let dismissal = inner.dismissal.notified();
            match inner.dismissed.get() {
                Some(idle) => break idle,
                None => dismissal.await,
            }
        };
        let may_leave = match self.activity.get() {
            Activity::Untouched => idle == Idle::BetweenRequests,
            Activity::Idle => true,
            Activity::Busy => false,
        };
        if !may_leave {
            std::future::pending().await
        }
    }

    /// The peer gets the conversation's events from now on, and first `so_far` unless it follows it already; `false`
    /// when it follows too many.
    pub(super) fn follow(&self, session_key: &str, so_far: impl FnOnce() -> Vec<String>) -> bool {
        let mut peers = self.peers.0.peers.borrow_mut();
        let Some(peer) = peers.get_mut(&self.id) else { return true };
        if peer.sessions.contains(session_key) {
            return true;
        }
        if peer.sessions.len() >= MAX_FOLLOWED {
            return false;
        }
        peer.sessions.insert(session_key.to_string());
        so_far().into_iter().for_each(|frame| peer.send(&frame.into(), false));
        true
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let inner = &self.peers.0;
        let Some(peer) = inner.peers.borrow_mut().remove(&self.id) else { return };
        if peer.is(Which::WebSockets) {
            inner.websockets.set(inner.websockets.get() - 1);
        }
        if peer.is(Which::Clients) {
            inner.clients.set(inner.clients.get() - 1);
        }
        inner.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::ConnectionControl;
    use crate::policy::SlowConsumer;

    struct Wire(Cell<bool>);

    impl ConnectionControl for Wire {
        fn abort(&self) {
            self.0.set(true);
        }
    }

    #[tokio::test]
    async fn counts_are_kept_from_accept_to_end() {
        let peers = Peers::new(Bound::of(SlowConsumer::ToldAndClosed, 1));
        let counts = || [Which::Clients, Which::WebSockets, Which::Http, Which::All].map(|w| peers.count(w));
        let wires: Vec<_> = (0..3).map(|_| Rc::new(Wire(Cell::new(false)))).collect();
        let mut joined: Vec<_> =
            wires.iter().map(|wire| peers.join(AbortHandle::new(wire.clone()))).collect();
        let _outboxes = [joined[1].upgrade(), joined[2].upgrade()];
        joined[2].welcome(Client::default());
        assert_eq!(counts(), [1, 2, 1, 3]);
        peers.reset(Which::WebSockets);
        assert_eq!(wires.iter().map(|wire| wire.0.get()).collect::<Vec<_>>(), [false, true, true]);
        joined.pop();
        assert_eq!(counts(), [0, 1, 1, 2]);
        peers.gone(Which::Clients).await;
        joined.clear();
        peers.gone(Which::All).await;
        assert_eq!(counts(), [0; 4]);
    }
}
