//! The gateway: takes messages from chat channels, runs them against a language model and delivers replies.
//!
//! It sees the world only through [`env`]; it knows no simulator and makes no call of the operating system.
//! What history did differently is data: [`policy`].

use std::path::PathBuf;

pub mod env;
pub mod policy;

/// How a gateway process is launched: the command line, so to speak.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The configuration file (JSON).
    pub config: PathBuf,
    /// What this build of the gateway does where history differed.
    pub policies: policy::Policies,
}

/// One process life of the gateway, from start to exit.
pub async fn run(env: env::Env, launch: Launch) -> env::ExitCode {
    let _ = (env, launch);
    env::ExitCode::CLEAN
}
