//! Which connections are broken: what a reset says to somebody who neither reads nor writes.
//!
//! A kernel tells of a reset only whoever waits for bytes. Real ones also raise an error on the socket itself
//! (`POLLERR`); here that is a note for each end of a connection, made when the reset arrives. Knows addresses, not
//! sockets, processes or packets. The same note says that something has arrived, so that a reader to whom nothing
//! has come need not ask its kernel again, be it only to be woken.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::flow::{ByWay, Way};

/// One end of a connection, for those who want to know whether it is broken.
#[derive(Default)]
pub(super) struct Line {
    is_broken: Cell<bool>,
    has_news: Cell<bool>,
    /// The other end has said its last word, which every later read finds.
    has_ended: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    readers: RefCell<Vec<Waker>>,
}

impl Line {
    /// Notes that the connection is broken, and wakes who waits for that, and who reads.
    pub(super) fn break_off(&self) {
        self.has_news.set(true);
        self.has_ended.set(true);
        self.is_broken.set(true);
        self.waiting.take().into_iter().for_each(Waker::wake);
        self.wake_readers();
    }

    /// Whether something may come that a reader has not been told of.
    pub(super) fn is_going_on(&self) -> bool {
        !self.has_ended.get()
    }

    /// Wakes the reader when something comes, as its kernel would.
    pub(super) fn wait_for_news(&self, reader: &Waker) {
        let mut readers = self.readers.borrow_mut();
        if !readers.iter().any(|waker| waker.will_wake(reader)) {
            readers.push(reader.clone());
        }
    }

    /// Wakes who reads, when its kernel has what came.
    pub(super) fn wake_readers(&self) {
        // Not the list itself, which will be needed again.
        self.readers.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Whether something that a reader may find has arrived since this was last asked.
    pub(super) fn take_news(&self) -> bool {
        self.has_news.take()
    }

    /// Resolves when the connection is broken.
    pub(super) async fn broken(self: Rc<Self>) {
        poll_fn(|cx| {
            if self.is_broken.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// The ends of all connections, by the way that leads to the other end.
#[derive(Default)]
pub(super) struct Lines(ByWay<Rc<Line>>);

impl Lines {
    /// A new connection begins with this way.
    pub(super) fn open(&mut self, way: Way) -> Rc<Line> {
        let line = Rc::<Line>::default();
        self.0.insert(way, line.clone());
        line
    }

    /// The program where the way begins has no use for the connection any more.
    pub(super) fn close(&mut self, way: Way, line: &Rc<Line>) {
        // The next connection may have the same addresses.
        if self.0.get(&way).is_some_and(|known| Rc::ptr_eq(known, line)) {
            self.0.swap_remove(&way);
        }
    }

    /// Something arrives where the way begins, for whoever reads there; `is_last` when nothing comes after it. Whoever
    /// is to be woken for it is woken once the kernel has it.
    pub(super) fn bring_news(&self, way: Way, is_last: bool) -> Option<Rc<Line>> {
        let line = self.0.get(&way)?;
        line.has_news.set(true);
        line.has_ended.set(line.has_ended.get() || is_last);
        Some(line.clone())
    }

    /// A reset has arrived where the way begins.
    pub(super) fn reset(&mut self, way: Way) {
        if let Some(line) = self.0.swap_remove(&way) {
            line.break_off();
        }
    }
}
