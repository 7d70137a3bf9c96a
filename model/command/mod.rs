//! The command line of the daemon, as far as it speaks to a gateway that runs: `restart`.
//!
//! A command is a process of its own, on the machine of the gateway, with the same configuration file. It prints
//! nothing; what it has to say is its [`CommandOutcome`], so that the daemon and the testbed run the same code. It
//! knows the gateway by its port and its lock file only.

use crate::Launch;
use crate::env::{Env, ExitCode};

mod arguments;
mod call;
mod restart;
mod signal;

pub use arguments::{RestartOptions, UsageError};

/// What a command has to say when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutcome {
    /// [`ExitCode::CLEAN`] when what was asked for is done or under way, [`ExitCode::FAILURE`] when it is not,
    /// [`ExitCode::CONFIG`] when somebody has to repair something first.
    pub code: ExitCode,
    /// The answer; without a line break at the end. With `--json` also why there is none.
    pub stdout: String,
    /// Why there is no answer; without a line break at the end.
    pub stderr: String,
}

impl CommandOutcome {
    /// It was done, and this is to be said.
    fn done(stdout: String) -> Self {
        Self { code: ExitCode::CLEAN, stdout, stderr: String::new() }
    }

    /// It was not done.
    fn failed(code: ExitCode, why: String, json: bool) -> Self {
        let stdout = match json {
            true => format!("{:#}", serde_json::json!({"ok": false, "error": why})),
            false => String::new(),
        };
        Self { code, stdout, stderr: why }
    }
}

/// Runs a command line such as `restart --safe --json` beside the gateway that `launch` describes; a mere path of its
/// configuration file stands for a hardened one.
pub async fn command_line(env: Env, launch: impl Into<Launch>, arguments: Vec<String>) -> CommandOutcome {
    match RestartOptions::parse(&arguments) {
        Ok(options) => restart(env, launch, options).await,
        Err(error) => {
            let json = arguments.iter().any(|argument| argument == "--json");
            CommandOutcome::failed(ExitCode::FAILURE, error.to_string(), json)
        }
    }
}

/// Asks the gateway that `launch` describes to restart.
pub async fn restart(env: Env, launch: impl Into<Launch>, options: RestartOptions) -> CommandOutcome {
    match restart::restart(&env, &launch.into(), &options).await {
        Ok(said) => CommandOutcome::done(said),
        Err(error) => CommandOutcome::failed(error.exit_code(), error.to_string(), options.json),
    }
}
