//! The gateway: takes messages from chat channels, runs them against a language model and delivers replies.
//!
//! It sees the world only through [`mod@env`]; it knows no simulator and makes no call of the operating system.
//! What history did differently is data: [`policy`]. One process life is [`run`].

use std::path::PathBuf;

mod agents;
mod channels;
pub mod command;
pub mod config;
mod cron;
pub mod env;
mod gateway;
mod health;
#[cfg(test)]
mod interleavings;
pub mod lifecycle;
#[cfg(test)]
mod lives;
mod messages;
pub mod policy;
mod sessions;
pub mod tool;
mod wire;

pub use command::{CommandOutcome, command_line};
pub use gateway::run;
pub use lifecycle::relaunch::{Predecessor, hand_off};

impl From<PathBuf> for Launch {
    /// The launch of a hardened gateway.
    fn from(config: PathBuf) -> Self {
        Self { config, policies: policy::Policies::default() }
    }
}

/// How a gateway process is launched: the command line, so to speak.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The configuration file (JSON).
    pub config: PathBuf,
    /// What this build of the gateway does where history differed.
    pub policies: policy::Policies,
}
