//! The coordinator's tests: single requests, the answers' form, the table of the documentation, and whole histories
//! against a reference.

use std::time::Duration;

use super::*;

mod answers;
mod bugs;
mod histories;
mod lives;
mod reference;
mod requests;
mod table;

const RPC: &str = "rpc";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(seconds: u64) -> Moment {
    Moment::after_start(secs(seconds))
}

/// A coordinator with the time and the work that it is shown.
struct Life {
    coordinator: Coordinator,
    now: u64,
    inventory: Inventory,
}

impl Life {
    /// The server is up, at second 100, and nothing is in hand.
    fn new() -> Self {
        Self::with(RestartPolicy::default(), Settings::default())
    }

    fn with(policy: RestartPolicy, settings: Settings) -> Self {
        let mut life = Self::starting(policy, settings);
        assert_eq!(life.up(), None);
        life
    }

    fn starting(policy: RestartPolicy, settings: Settings) -> Self {
        let coordinator = Coordinator::new(policy, settings, Ledger::default());
        Self { coordinator, now: 100, inventory: Inventory::new() }
    }

    fn up(&mut self) -> Option<Action> {
        self.coordinator.server_up(at(self.now), &self.inventory)
    }

    /// The only work in hand is a run.
    fn busy(mut self) -> Self {
        self.run(self.coordinator.generation());
        self
    }

    fn run(&mut self, owner: Generation) {
        self.inventory.add(Work::new(WorkKind::EmbeddedRun, "run", owner, WorkStatus::Running));
    }

    fn ask(&mut self, mode: Mode) -> Decision {
        self.request(Request::new(Source::CommandLine, mode))
    }

    fn request(&mut self, request: Request) -> Decision {
        self.coordinator.request(at(self.now), request, &self.inventory)
    }

    fn signal(&mut self) -> SignalDecision {
        self.coordinator.signal(at(self.now), &self.inventory)
    }

    /// Everything that was in hand is over.
    fn work_ends(&mut self) -> Option<Action> {
        self.inventory = Inventory::new();
        self.coordinator.wake(at(self.now), &self.inventory)
    }

    /// Wakes when it wants to until `until`, and says at which second it ordered something first.
    fn wait(&mut self, until: u64) -> Option<(u64, Action)> {
        while let Some(next) = self.coordinator.next_wake().filter(|next| *next <= at(until)) {
            self.now = next.since(at(0)).as_secs();
            if let Some(action) = self.coordinator.wake(next, &self.inventory) {
                return Some((self.now, action));
            }
        }
        self.now = until;
        None
    }

    fn take(&mut self, action: Option<Action>) -> DrainTerms {
        let order = ordered(action);
        self.coordinator.drain_began(at(self.now), order.token).expect("the order is in force")
    }

    /// Another generation begins in the process and comes up, with nothing in hand.
    fn next_generation(&mut self) {
        self.coordinator.generation_began();
        self.inventory = Inventory::new();
        assert_eq!(self.up(), None);
    }

    /// Who was told what, by the numbers of the requests. They are not told again.
    fn endings(&mut self) -> Vec<(u32, Ending)> {
        let outcomes = self.coordinator.untold().to_vec();
        outcomes.iter().for_each(|outcome| self.coordinator.told(outcome.of.request));
        outcomes.into_iter().map(|outcome| (outcome.of.request.number, outcome.ending)).collect()
    }
}

fn ordered(action: Option<Action>) -> Order {
    match action {
        Some(Action::Restart(order)) => order,
        other => panic!("{other:?} is no order to restart"),
    }
}

fn id(generation: u64, number: u32) -> RequestId {
    RequestId { generation: Generation(generation), number }
}

fn refused(why: Refusal) -> Ending {
    Ending::Refused { why }
}
