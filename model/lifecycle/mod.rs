//! The life of a process: its phases, how it ends, and what the next life owes to the last.

pub(crate) mod budgets;
pub(crate) mod config_watch;
pub(crate) mod conflict;
pub(crate) mod coordination;
pub(crate) mod drain;
pub(crate) mod generation;
pub(crate) mod hooks;
pub(crate) mod instance;
pub(crate) mod patience;
pub(crate) mod phase;
pub(crate) mod predecessor;
pub(crate) mod recovery;
pub(crate) mod relaunch;
pub(crate) mod requests;
pub(crate) mod respawn;
pub mod restart;
pub(crate) mod second_signal;
pub(crate) mod shutdown;
pub(crate) mod start_error;
mod task_records;
mod work_in_hand;
