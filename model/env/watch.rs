//! A value that tasks wait for, within one thread: `tokio::sync::watch` without its shards. That one spreads those who
//! wait over several lists at random, so who waits is woken in another order each time; here it is the order in which
//! they began to wait.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;

use tokio::sync::Notify;

struct Shared<T> {
    value: RefCell<T>,
    version: Cell<u64>,
    is_closed: Cell<bool>,
    changed: Notify,
}

/// Who sets the value. When it is dropped, nobody has to wait any more.
pub struct Sender<T>(Rc<Shared<T>>);

/// Who waits for it.
#[derive(Clone)]
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
    seen: u64,
}

/// The sender is gone: the value stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody sets the value any more")]
pub struct Closed;

/// A sender and a receiver that has seen `value`.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    /// A sender of `value`.
    pub fn new(value: T) -> Self {
        Self(Rc::new(Shared {
            value: RefCell::new(value),
            version: Cell::new(0),
            is_closed: Cell::new(false),
            changed: Notify::new(),
        }))
    }

    /// A receiver that has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: self.0.clone(), seen: self.0.version.get() }
    }

    /// The present value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.value.borrow()
    }

    /// Sets the value and returns the one before.
    pub fn send_replace(&self, value: T) -> T {
        let before = self.0.value.replace(value);
        self.0.news();
        before
    }

    /// Changes the value.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.0.value.borrow_mut());
        self.0.news();
    }

    /// Changes the value if `change` says that it did; returns what it says.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let is_new = change(&mut self.0.value.borrow_mut());
        if is_new {
            self.0.news();
        }
        is_new
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.is_closed.set(true);
        self.0.changed.notify_waiters();
    }
}

impl<T> Shared<T> {
    fn news(&self) {
        self.version.set(self.version.get() + 1);
        self.changed.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// The present value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.value.borrow()
    }

    /// The present value, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.seen = self.shared.version.get();
        self.shared.value.borrow()
    }

    /// Whether there is a value that was not seen.
    ///
    /// Errors: the sender is gone.
    pub fn has_changed(&self) -> Result<bool, Closed> {
        match self.shared.is_closed.get() {
            true => Err(Closed),
            false => Ok(self.shared.version.get() != self.seen),
        }
    }

    /// Resolves when there is a value that was not seen, and sees it.
    ///
    /// Errors: the sender is gone, and everything was seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let changed = self.shared.changed.notified();
            if self.shared.version.get() != self.seen {
                self.seen = self.shared.version.get();
                return Ok(());
            }
            if self.shared.is_closed.get() {
                return Err(Closed);
            }
            changed.await;
        }
    }

    /// Resolves when the value is one that is wanted, and sees it.
    ///
    /// Errors: the sender is gone, and the last value is none.
    pub async fn wait_for(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        loop {
            let changed = self.shared.changed.notified();
            self.seen = self.shared.version.get();
            if is_wanted(&self.shared.value.borrow()) {
                return Ok(());
            }
            if self.shared.is_closed.get() {
                return Err(Closed);
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::env::test_env::{World, on_paused_time};

    #[test]
    fn who_waits_is_woken_in_the_order_in_which_it_began_to() {
        on_paused_time(async {
            let env = World::default().process(1).env;
            let (sender, receiver) = channel(0);
            let woken = Rc::new(RefCell::new(Vec::new()));
            for number in 0..50 {
                let (mut receiver, woken) = (receiver.clone(), woken.clone());
                drop(env.spawn("waiting", async move {
                    if receiver.wait_for(|value| *value > 1).await.is_ok() {
                        woken.borrow_mut().push(number);
                    }
                }));
            }
            sleep(Duration::from_millis(1)).await;
            sender.send_replace(1);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(woken.borrow().len(), 0);
            sender.send_modify(|value| *value += 1);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(*woken.borrow(), (0..50).collect::<Vec<_>>());
        });
    }

    #[test]
    fn a_sender_that_is_gone_keeps_nobody_waiting() {
        on_paused_time(async {
            let (sender, mut receiver) = channel(0);
            assert!(!sender.send_if_modified(|_| false));
            assert_eq!(receiver.has_changed(), Ok(false));
            sender.send_replace(1);
            drop(sender);
            assert_eq!(receiver.changed().await, Ok(()), "the last value was not seen");
            assert_eq!(receiver.changed().await, Err(Closed));
            assert_eq!(receiver.wait_for(|value| *value == 2).await, Err(Closed));
            assert_eq!(*receiver.borrow_and_update(), 1);
        });
    }
}
