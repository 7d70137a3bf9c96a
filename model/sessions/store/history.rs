//! How earlier gateways changed the session store: under a lock file that protects little, or under none.
//!
//! Era A took `sessions.json.lock` and let time pass between reading and writing; era B kept to its own process and
//! wrote the copy it remembered. What both shared across a restart in place is [`ProcessWide`]: in their programs it
//! belonged to a module, not to a server.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::{SessionStore, Sessions};
use crate::env::Env;
use crate::messages::lanes::LaneBook;
use crate::sessions::files::with_suffix;
use crate::sessions::unfenced::{HeldLocks, OwnPid, Rules};
use crate::sessions::{StateError, Watches};

/// The store's lock in era A.
const RULES: Rules = Rules {
    timeout: Duration::from_millis(10_000),
    stale_age: Duration::from_millis(30_000),
    anonymous_grace: Duration::from_millis(30_000),
    max_hold: Duration::from_millis(300_000),
    own_pid: OwnPid::Alive,
};

/// What passes between reading the store and writing it. Era A awaited a dozen file operations in between: the
/// maintenance with a look at every file of the folder, the serialisation of all sessions, the temporary file, its
/// mode, the rename. How long that took is an assumption; nothing depends on it but when a signal comes "during" it.
const WRITE_TIME: Duration = Duration::from_millis(25);

/// How long an arrival is remembered.
const ARRIVALS_REMEMBERED: Duration = Duration::from_secs(20 * 60);

/// What a process keeps for as long as it lives, whatever is restarted in it: of today's how long it has watched locks,
/// and much more of history's.
#[derive(Clone)]
pub(crate) struct ProcessWide {
    pub(crate) locks: HeldLocks,
    /// Whose turn it is to change the store, first come, first served. Era A counted its 10 s from then on, so that
    /// those behind a stuck lock failed one after the other.
    turn: Rc<Mutex<()>>,
    /// The store as era B remembers it. Other programs' changes are not in it.
    pub(super) remembered: Rc<RefCell<Option<Sessions>>>,
    /// What has arrived from platforms.
    pub(crate) arrivals: Arrivals,
    /// The lanes of a process that did not begin with new ones: openclaw/openclaw#15177.
    pub(crate) lanes: Rc<LaneBook>,
    /// What it has seen of others' locks: an attempt to begin that gave up on one is not the last.
    pub(crate) watches: Watches,
}

impl ProcessWide {
    /// Nothing so far, in the process behind `env`.
    pub(crate) fn new(env: &Env) -> Self {
        Self {
            locks: HeldLocks::new(env.clone()),
            turn: Rc::default(),
            remembered: Rc::default(),
            arrivals: Arrivals::default(),
            lanes: Rc::default(),
            watches: Watches::default(),
        }
    }
}

/// The messages that have arrived from platforms, whatever became of them.
#[derive(Clone, Default)]
pub(crate) struct Arrivals(Rc<RefCell<BTreeMap<String, Instant>>>);

impl Arrivals {
    /// Whether this is the first of that name for a while. It is known from now on.
    pub(crate) fn is_new(&self, name: &str) -> bool {
        let mut known = self.0.borrow_mut();
        known.retain(|_, at| at.elapsed() < ARRIVALS_REMEMBERED);
        match known.contains_key(name) {
            true => false,
            false => known.insert(name.to_string(), Instant::now()).is_none(),
        }
    }
}

impl SessionStore {
    /// The same store as that of every generation of this process.
    pub(crate) fn of_process(self, process_wide: &ProcessWide) -> Self {
        Self { process_wide: process_wide.clone(), ..self }
    }

    /// Era A: read and written under the lock file, but not by who holds it at the time of writing.
    pub(super) async fn change_unfenced<T>(
        &self,
        mutate: impl FnOnce(&mut Sessions) -> T,
    ) -> Result<T, StateError> {
        let _turn = self.process_wide.turn.lock().await;
        let lock = with_suffix(&self.path, ".lock");
        self.process_wide.locks.acquire(&lock, &RULES).await?;
        let changed = self.read_then_write(mutate).await;
        self.process_wide.locks.release(&lock);
        changed
    }

    async fn read_then_write<T>(&self, mutate: impl FnOnce(&mut Sessions) -> T) -> Result<T, StateError> {
        let mut sessions = self.read(Sessions::clone)?;
        let result = mutate(&mut sessions);
        sleep(WRITE_TIME).await;
        self.write_whole(&sessions)?;
        Ok(result)
    }

    /// Era B: the remembered copy is changed and written whole, over whatever stands there.
    pub(super) async fn change_in_process<T>(
        &self,
        mutate: impl FnOnce(&mut Sessions) -> T,
    ) -> Result<T, StateError> {
        let _turn = self.process_wide.turn.lock().await;
        let remembered = self.process_wide.remembered.take();
        let mut sessions = match remembered {
            Some(sessions) => sessions,
            None => self.read(Sessions::clone)?,
        };
        let result = mutate(&mut sessions);
        let written = self.write_whole(&sessions);
        self.process_wide.remembered.replace(Some(sessions));
        written.map(|()| result)
    }

    fn write_whole(&self, sessions: &Sessions) -> Result<(), StateError> {
        let bytes = serde_json::to_vec_pretty(sessions).expect("entries have string keys");
        self.files.replace(&self.path, &bytes)
    }
}
