//! A group of rude peers: when each arrives, whether it comes back, and what the script does to all of them.
//!
//! Knows how a peer's life goes on between its connections, and nothing of what it does with one.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use gateway::env::Env;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::{Caller, LEFT, PeersSettings, RESET_ITSELF, Visit, come};
use crate::timeline::{Fact, Recorder, Source};

/// How long it may take to come as far as a kind goes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a peer comes back in all, and how often in a row it is turned away before it gives up.
const MOST_RETURNS: u32 = 20;
const MOST_REFUSALS: u32 = 100;
/// A peer that was turned away waits at least so long; twice as long each time, up to the second one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the script does to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeersCommand {
    /// All of them arrive, each so long after now as their settings say. Once more, if they have arrived before.
    Arrive,
    /// Each closes its connection and does not come back.
    Leave,
    /// Each resets its connection; whoever comes back does.
    Reset,
}

/// How often a group was told to leave, and to reset its connections.
#[derive(Clone, Copy, Default)]
struct Orders {
    leave: u32,
    reset: u32,
}

/// Plays a group for as long as its process lives.
pub async fn run(
    env: Env,
    recorder: Recorder,
    settings: PeersSettings,
    mut commands: mpsc::UnboundedReceiver<PeersCommand>,
) {
    let caller = Caller {
        env: env.clone(),
        port: settings.port,
        token: settings.token.clone(),
        joins: settings.joins.clone(),
    };
    let crowd = Rc::new(Crowd {
        env,
        recorder,
        settings,
        caller,
        arrived: Cell::new(0),
        orders: Cell::default(),
        told: Notify::new(),
    });
    while let Some(command) = commands.recv().await {
        match command {
            PeersCommand::Arrive => crowd.arrive(),
            PeersCommand::Leave => crowd.tell(|orders| Orders { leave: orders.leave + 1, ..orders }),
            PeersCommand::Reset => crowd.tell(|orders| Orders { reset: orders.reset + 1, ..orders }),
        }
    }
}

struct Crowd {
    env: Env,
    recorder: Recorder,
    settings: PeersSettings,
    caller: Caller,
    arrived: Cell<u32>,
    orders: Cell<Orders>,
    /// Wakes everybody in the order of their waiting; a `watch` channel would in a random one.
    told: Notify,
}

impl Crowd {
    fn arrive(self: &Rc<Self>) {
        for _ in 0..self.settings.count {
            let number = self.arrived.get() + 1;
            self.arrived.set(number);
            let delay = self.draw("peers-arrive", &self.settings.arrive);
            let peer = Peer { crowd: self.clone(), number, known: self.orders.get() };
            drop(self.env.spawn("rude peer", peer.live(delay)));
        }
    }

    fn tell(&self, change: impl FnOnce(Orders) -> Orders) {
        self.orders.set(change(self.orders.get()));
        self.told.notify_waiters();
    }

    /// Resolves when the orders are such that `matter` says yes.
    async fn orders_that(&self, matter: impl Fn(Orders) -> bool) {
        loop {
            let told = self.told.notified();
            if matter(self.orders.get()) {
                return;
            }
            told.await;
        }
    }

    fn draw(&self, stream: &'static str, range: &std::ops::RangeInclusive<Duration>) -> Duration {
        let span_ms = range.end().saturating_sub(*range.start()).as_millis() as u64;
        match span_ms {
            0 => *range.start(),
            _ => *range.start() + Duration::from_millis(self.env.random(stream) % (span_ms + 1)),
        }
    }
}

/// One of them.
struct Peer {
    crowd: Rc<Crowd>,
    number: u32,
    /// The orders that are not for it: it had not arrived, or followed them already.
    known: Orders,
}

impl Peer {
    async fn live(mut self, delay: Duration) {
        if !self.waits(delay).await {
            return;
        }
        let (mut returns, mut refusals) = (0, 0);
        loop {
            let settings = &self.crowd.settings;
            let visit = tokio::select! {
                biased;
                () = self.told_to_leave() => return,
                visit = timeout(PATIENCE, come(settings.kind, self.crowd.caller.clone())) => visit
                    .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()))),
            };
            let turned_away = visit.is_err();
            match visit {
                Ok(visit) => {
                    refusals = 0;
                    if self.stays(visit).await == LEFT {
                        return;
                    }
                    returns += 1;
                }
                Err(how) => {
                    refusals += 1;
                    self.record(Fact::PeerTurnedAway { peer: self.number, how });
                }
            }
            let Some(range) = &self.crowd.settings.returns else { return };
            if returns > MOST_RETURNS || refusals >= MOST_REFUSALS {
                return;
            }
            let mut pause = self.crowd.draw("peers-return", range);
            if turned_away {
                pause = pause.max(LONGEST_PAUSE.min(FIRST_PAUSE * 2u32.pow(refusals.min(5) - 1)));
            }
            if !self.waits(pause).await {
                return;
            }
        }
    }

    /// From its place to the end of its connection: how that came about.
    async fn stays(&mut self, visit: Visit) -> String {
        let Visit { place, abort, stay } = visit;
        let peer = self.number;
        self.record(Fact::PeerConnected { peer, place });
        // Only who has a connection can reset it.
        let crowd = &self.crowd;
        self.known.reset = crowd.orders.get().reset;
        let known = self.known;
        let told = |orders: Orders| orders.leave > known.leave || orders.reset > known.reset;
        let how = tokio::select! {
            biased;
            how = stay => how,
            () = crowd.orders_that(told) => match crowd.orders.get().leave > known.leave {
                true => LEFT.to_string(),
                false => {
                    abort.abort();
                    RESET_ITSELF.to_string()
                }
            },
        };
        self.record(Fact::PeerEnded { peer, place, how: how.clone() });
        how
    }

    /// Waits, unless it is told to leave: then `false`.
    async fn waits(&self, pause: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.told_to_leave() => false,
            () = sleep(pause) => true,
        }
    }

    async fn told_to_leave(&self) {
        self.crowd.orders_that(|orders| orders.leave > self.known.leave).await;
    }

    fn record(&self, fact: Fact) {
        self.crowd.recorder.record(Source::Peers(self.crowd.settings.name.clone()), fact);
    }
}
