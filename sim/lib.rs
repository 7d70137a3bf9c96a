//! gatesim: a deterministic simulation testbed for the life of a chat gateway.
//!
//! A scenario goes in; the real gateway runs over simulated doors; the timeline records what outside observers
//! saw; the ledger and the oracles judge it. See `docs/ARCHITECTURE.md` for the map.

pub mod actors;
pub mod cli;
pub mod determinism;
mod instant;
mod mix;
pub mod oracle;
pub mod report;
mod run;
pub mod scenario;
pub mod search;
pub mod timeline;
pub mod verdict;
pub mod workers;
pub mod world;

pub use run::{run, run_without_timeline, traced};
