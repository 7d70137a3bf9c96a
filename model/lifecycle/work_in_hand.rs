//! The work in hand: everything that a restart would interrupt, asked of each part of the gateway that has some.
//!
//! A part that begins to have work says here what it has, with its kind and the generation that began it; whether that
//! stands in the way is for [`Inventory`] to decide. Nobody else counts work.

use super::restart::{Generation, Inventory, Work, WorkKind, WorkStatus};
use super::task_records;
use crate::agents::subagents;
use crate::cron;
use crate::gateway::Gateway;
use crate::messages::delivery;

/// Everything that a restart of `generation` would interrupt, and records of what earlier ones left.
///
/// Hooks ([`WorkKind::Hook`]) run when a drain is over, so none is ever in its way.
pub(super) fn inventory(gateway: &Gateway, generation: Generation) -> Inventory {
    let mut inventory = Inventory::new();
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    inventory.add_count(WorkKind::Queue, generation, count(gateway.lanes.depth()));
    let owed = gateway.waits.count() + gateway.unrecorded.untold() + delivery::on_their_way(gateway);
    inventory.add_count(WorkKind::Reply, generation, count(owed));
    for run_id in gateway.lanes.running() {
        let kind = match () {
            () if cron::is_run(&run_id) => WorkKind::CronRun,
            () if subagents::is_work(&run_id) => WorkKind::SubagentRun,
            () => WorkKind::EmbeddedRun,
        };
        inventory.add(Work::new(kind, run_id, generation, WorkStatus::Running));
    }
    let tasks = task_records::read(gateway.env.fs(), &gateway.config.gateway.state_dir);
    tasks.into_iter().for_each(|task| inventory.add(task));
    inventory
}
