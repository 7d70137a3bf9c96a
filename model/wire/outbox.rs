//! The outbox: what waits to be sent to one peer, bounded in bytes.
//!
//! Whoever publishes puts frames in and never waits; the peer's connection takes them out. A frame counts from when
//! it is put in until the socket has taken it, answers to requests included, so the count is what the peer costs. A
//! peer too slow for its bound loses what waits for it, is told, and has a moment to hear it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::close_code;
use crate::policy::SlowConsumer;

/// What a client reads that was too slow (OpenClaw).
const SLOW_CONSUMER: &str = "slow consumer";
/// What OpenClaw let wait for one client.
const FIFTY_MEBIBYTES: usize = 50 * 1024 * 1024;
/// How long a client that is too slow has to hear so.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What becomes of a peer that is too slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// How many bytes may wait for one peer; `None`: any number.
    limit: Option<usize>,
    /// Whether those that do are dropped when it is exceeded.
    drops_queue: bool,
    /// From the close frame to the reset.
    patience: Duration,
}

impl Bound {
    /// The bound of a policy; `configured` is in bytes.
    pub(crate) fn of(policy: SlowConsumer, configured: u64) -> Self {
        let configured = usize::try_from(configured).unwrap_or(usize::MAX);
        let (limit, drops_queue, patience) = match policy {
            SlowConsumer::ToldAndClosed => (Some(configured), true, LAST_WORD),
            SlowConsumer::FiftyMebibytes => (Some(FIFTY_MEBIBYTES), false, super::LIBRARY_PATIENCE),
            SlowConsumer::Kept => (None, false, LAST_WORD),
        };
        Self { limit, drops_queue, patience }
    }
}

/// What a peer's connection is asked to send.
pub(super) enum Outgoing {
    /// A frame, and its share of what the peer may cost.
    Text(Utf8Bytes, Weight),
    /// The close frame; nothing follows it.
    Close { code: u16, reason: &'static str },
}

/// Bytes that are counted for as long as this lives.
pub(super) struct Weight {
    counter: Rc<Cell<usize>>,
    bytes: usize,
}

impl Weight {
    fn new(counter: &Rc<Cell<usize>>, bytes: usize) -> Self {
        counter.set(counter.get() + bytes);
        Self { counter: counter.clone(), bytes }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.counter.set(self.counter.get() - self.bytes);
    }
}

struct Inner {
    bound: Bound,
    waiting: RefCell<VecDeque<Outgoing>>,
    /// What waits and what is being sent.
    bytes: Rc<Cell<usize>>,
    /// A close frame is in; nothing follows it.
    is_closed: Cell<bool>,
    changed: Notify,
    too_slow: Notify,
}

/// The end of the outbox where frames are put in.
pub(super) struct Queue(Rc<Inner>);

/// The end of the outbox where the peer's connection takes them out.
pub(super) struct Outbox(Rc<Inner>);

/// An outbox.
pub(super) fn outbox(bound: Bound) -> (Queue, Outbox) {
    let inner = Rc::new(Inner {
        bound,
        waiting: RefCell::default(),
        bytes: Rc::default(),
        is_closed: Cell::new(false),
        changed: Notify::new(),
        too_slow: Notify::new(),
    });
    (Queue(inner.clone()), Outbox(inner))
}

impl Queue {
    /// Puts a frame in. A peer that has no room for it is closed instead; one that lacks a frame that `may_be_missed`
    /// is left in peace where history did so.
    pub(super) fn put(&self, frame: &Utf8Bytes, may_be_missed: bool) {
        let inner = &self.0;
        if inner.is_closed.get() {
            return;
        }
        let waiting = inner.bytes.get();
        // One frame has room whatever its size: the largest are bounded where they are made.
        let has_room = inner.bound.limit.is_none_or(|limit| waiting == 0 || waiting + frame.len() <= limit);
        if has_room {
            let weight = Weight::new(&inner.bytes, frame.len());
            inner.waiting.borrow_mut().push_back(Outgoing::Text(frame.clone(), weight));
            inner.changed.notify_one();
        } else if inner.bound.drops_queue || !may_be_missed {
            self.cut_off(waiting + frame.len());
        }
    }

    fn cut_off(&self, bytes: usize) {
        tracing::warn!(name: "peer.too-slow", buffered_bytes = bytes, "closing a slow consumer");
        if self.0.bound.drops_queue {
            // Not under the borrow: a weight is dropped with each frame.
            drop(self.0.waiting.take());
        }
        self.close(close_code::POLICY, SLOW_CONSUMER);
        self.0.too_slow.notify_one();
    }

    /// Puts the close frame in, unless there is one.
    pub(super) fn close(&self, code: u16, reason: &'static str) {
        if !self.0.is_closed.replace(true) {
            self.0.waiting.borrow_mut().push_back(Outgoing::Close { code, reason });
            self.0.changed.notify_one();
        }
    }
}

impl Outbox {
    /// The next thing to send.
    pub(super) async fn next(&mut self) -> Outgoing {
        loop {
            if let Some(outgoing) = self.0.waiting.borrow_mut().pop_front() {
                return outgoing;
            }
            self.0.changed.notified().await;
        }
    }

    /// Counts the answer to a request, which does not wait here, for as long as the result lives.
    pub(super) fn weigh(&self, answer: &str) -> Weight {
        Weight::new(&self.0.bytes, answer.len())
    }

    /// Resolves when the peer was too slow, and then too slow to hear so.
    pub(super) fn patience_lost(&self) -> impl Future<Output = ()> + use<> {
        let inner = self.0.clone();
        async move {
            inner.too_slow.notified().await;
            sleep(inner.bound.patience).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Utf8Bytes {
        "x".repeat(bytes).into()
    }

    /// What is taken out, until nothing is left: lengths of frames, and `None` for the close frame.
    fn taken(outbox: &Outbox) -> Vec<Option<usize>> {
        let waiting = outbox.0.waiting.take();
        let taken = |outgoing: &Outgoing| match outgoing {
            Outgoing::Text(text, _) => Some(text.len()),
            Outgoing::Close { .. } => None,
        };
        waiting.iter().map(taken).collect()
    }

    #[test]
    fn a_slow_peer_loses_its_queue_and_is_told() {
        let (queue, outbox) = outbox(Bound::of(SlowConsumer::ToldAndClosed, 10));
        for _ in 0..5 {
            queue.put(&frame(2), false);
        }
        assert_eq!(outbox.0.bytes.get(), 10);
        queue.put(&frame(1), true);
        queue.put(&frame(1), false);
        assert_eq!(outbox.0.bytes.get(), 0);
        assert_eq!(taken(&outbox), [None]);
    }

    #[test]
    fn what_is_being_sent_counts_and_answers_too() {
        let (queue, outbox) = outbox(Bound::of(SlowConsumer::ToldAndClosed, 10));
        let answer = outbox.weigh(&frame(8));
        queue.put(&frame(2), false);
        let sending = outbox.0.waiting.borrow_mut().pop_front();
        assert_eq!(outbox.0.bytes.get(), 10);
        drop(answer);
        queue.put(&frame(8), false);
        assert_eq!(outbox.0.bytes.get(), 10);
        drop(sending);
        assert_eq!(taken(&outbox), [Some(8)]);
    }

    #[test]
    fn a_single_frame_always_has_room() {
        let (queue, outbox) = outbox(Bound::of(SlowConsumer::ToldAndClosed, 10));
        queue.put(&frame(100), false);
        assert_eq!(taken(&outbox), [Some(100)]);
    }

    #[test]
    fn history_let_fifty_mebibytes_wait_and_kept_them() {
        let (queue, outbox) = outbox(Bound::of(SlowConsumer::FiftyMebibytes, 10));
        let mebibyte = frame(1024 * 1024);
        for _ in 0..50 {
            queue.put(&mebibyte, false);
        }
        queue.put(&frame(1), true);
        assert!(!outbox.0.is_closed.get(), "it may miss that one");
        queue.put(&frame(1), false);
        assert_eq!(taken(&outbox).len(), 51);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_has_a_second_to_hear_so() {
        let (queue, outbox) = outbox(Bound::of(SlowConsumer::ToldAndClosed, 1));
        let began = tokio::time::Instant::now();
        queue.put(&frame(1), false);
        queue.put(&frame(1), false);
        outbox.patience_lost().await;
        assert_eq!(began.elapsed().as_millis(), 1_000);
    }
}
