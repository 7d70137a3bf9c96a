//! `restart`: asks the gateway that runs, and says what it answered.

use serde_json::json;

use super::arguments::{RestartOptions, UsageError};
use super::signal::{SignalError, restart_holder};
use crate::Launch;
use crate::config::{Config, ConfigError};
use crate::env::{Env, ExitCode};

/// Why there will be no restart.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestartError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Signal(#[from] SignalError),
}

impl RestartError {
    pub(super) const fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::CONFIG,
            Self::Usage(_) | Self::Signal(_) => ExitCode::FAILURE,
        }
    }
}

/// Asks for a restart. Returns what is to be said.
pub(super) async fn restart(
    env: &Env,
    launch: &Launch,
    options: &RestartOptions,
) -> Result<String, RestartError> {
    let _patience = options.check()?;
    let config = Config::load(env.fs(), &launch.config)?;
    let pid = restart_holder(env, &config)?;
    let message = format!("restart signal sent to process {pid}");
    Ok(match options.json {
        true => format!("{:#}", json!({"ok": true, "result": "signalled", "message": message})),
        false => message,
    })
}
