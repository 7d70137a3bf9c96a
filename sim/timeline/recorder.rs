//! The recorder: appends events, hashes them as they come, and wakes whoever waits for one.

use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Event, Fact, Source};
use crate::determinism::{Step, note};
use crate::instant;
use crate::mix::Mix;

/// The running hash over all events of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHash(pub u64);

impl fmt::Display for EventHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A shared handle on the event stream of one run.
#[derive(Clone)]
pub struct Recorder(Rc<RefCell<Recording>>);

struct Recording {
    epoch: Instant,
    events: Vec<Event>,
    hash: Mix,
    watches: Vec<Watch>,
}

/// Somebody who waits for the nth event that `matches`.
struct Watch {
    matches: Box<dyn Fn(&Event) -> bool>,
    remaining: u32,
    wake: oneshot::Sender<()>,
}

impl Recorder {
    /// An empty stream that begins now, on tokio's clock.
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(Recording {
            epoch: Instant::now(),
            events: Vec::with_capacity(1024),
            hash: Mix::default(),
            watches: Vec::new(),
        })))
    }

    /// Virtual time since the world began.
    pub fn now(&self) -> Duration {
        let epoch = self.0.borrow().epoch;
        instant::now() - epoch
    }

    /// Appends an event at the present moment.
    pub fn record(&self, source: Source, fact: Fact) {
        let mut recording = self.0.borrow_mut();
        let event = Event { at: instant::now() - recording.epoch, source, fact };
        event.hash(&mut recording.hash);
        note(|| Step::event(&event));
        let due = |watch: &mut Watch| {
            let hit = (watch.matches)(&event);
            watch.remaining -= u32::from(hit);
            watch.remaining == 0
        };
        for watch in recording.watches.extract_if(.., due) {
            // Nobody waits any more: fine.
            let _ = watch.wake.send(());
        }
        recording.events.push(event);
    }

    /// Resolves when the `nth` event (from 1) that `matches` has been recorded, counting from now on.
    pub fn nth_event(&self, nth: u32, matches: impl Fn(&Event) -> bool + 'static) -> oneshot::Receiver<()> {
        let (wake, receiver) = oneshot::channel();
        self.0.borrow_mut().watches.push(Watch { matches: Box::new(matches), remaining: nth.max(1), wake });
        receiver
    }

    /// The hash over everything recorded so far.
    pub fn hash(&self) -> EventHash {
        EventHash(self.0.borrow().hash.finish())
    }

    /// Looks at the events recorded so far.
    pub fn with_events<R>(&self, look: impl FnOnce(&[Event]) -> R) -> R {
        look(&self.0.borrow().events)
    }

    /// Takes the events out, at the end of a run.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.borrow_mut().events)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}
