//! `restart`: asks the gateway that runs, and says what it answered, in the words of commit 103cdd9.
//!
//! A gateway that is older than the question is sent the restart signal instead, unless that would be less than what
//! was asked for. In history only a safe restart was asked for, or none at all.

use serde_json::{Value, json};

use super::arguments::{RestartOptions, UsageError};
use super::call::{CallError, call};
use super::signal::{SignalError, restart_holder};
use crate::Launch;
use crate::config::{Config, ConfigError};
use crate::env::{Env, ExitCode};
use crate::lifecycle::restart::{Patience, RequestResult, RequestStatus};
use crate::policy::RestartCommand;

const METHOD: &str = "gateway.restart.request";

/// Why there will be no restart.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestartError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("gateway restart is disabled (commands.restart is false)")]
    Disabled,
    #[error(transparent)]
    Signal(#[from] SignalError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0}; restart it without {1}")]
    TooOld(CallError, &'static str),
    #[error("the gateway answered what nobody understands: {0}")]
    Answer(#[from] serde_json::Error),
}

impl RestartError {
    pub(super) const fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::CONFIG,
            _ => ExitCode::FAILURE,
        }
    }
}

/// Asks for a restart. Returns what is to be said.
pub(super) async fn restart(
    env: &Env,
    launch: &Launch,
    options: &RestartOptions,
) -> Result<String, RestartError> {
    let command = launch.policies.restart_command;
    if command == RestartCommand::Signals
        && let Some(unknown) = urgency(options)
    {
        return Err(UsageError::Unexpected(unknown.to_string()).into());
    }
    let patience = options.check()?;
    let config = Config::load(env.fs(), &launch.config)?;
    if !config.commands.restart {
        return Err(RestartError::Disabled);
    }
    let asks = match command {
        RestartCommand::Asks => true,
        RestartCommand::AsksIfSafe => options.safe,
        RestartCommand::Signals => false,
    };
    if !asks {
        return signal(env, &config, options);
    }
    let answer = match call(env, &config, METHOD, params(options, patience)).await {
        Err(old @ CallError::UnknownMethod { .. }) => {
            return match urgency(options).filter(|flag| *flag != "--force") {
                Some(flag) => Err(RestartError::TooOld(old, flag)),
                None => signal(env, &config, options),
            };
        }
        answer => answer?,
    };
    let result: RequestResult = serde_json::from_value(answer)?;
    Ok(say(options, &result))
}

/// The flag that says how urgent it is.
fn urgency(options: &RestartOptions) -> Option<&'static str> {
    let flags = [(options.safe, "--safe"), (options.force, "--force"), (options.wait.is_some(), "--wait")];
    flags.into_iter().find(|(is_set, _)| *is_set).map(|(_, flag)| flag)
}

fn params(options: &RestartOptions, patience: Option<Patience>) -> Value {
    if options.safe {
        return json!({"reason": "gateway.restart.safe"});
    }
    let reason = "gateway.restart";
    match patience {
        None if options.force => json!({"reason": reason, "mode": "force"}),
        None => json!({"reason": reason, "mode": "plain"}),
        Some(Patience::Unlimited) => json!({"reason": reason, "mode": "wait", "waitMs": 0}),
        Some(Patience::AtMost(limit)) => {
            json!({"reason": reason, "mode": "wait", "waitMs": limit.as_millis() as u64})
        }
    }
}

/// Sends the signal, to a gateway that cannot be asked.
fn signal(env: &Env, config: &Config, options: &RestartOptions) -> Result<String, RestartError> {
    let pid = restart_holder(env, config)?;
    let message = format!("restart signal sent to gateway process {pid}");
    Ok(match options.json {
        true => format!("{:#}", json!({"ok": true, "result": "signalled", "message": message, "pid": pid})),
        false => message,
    })
}

fn say(options: &RestartOptions, result: &RequestResult) -> String {
    let what = match (options.safe, options.force) {
        (true, _) => "safe restart",
        (_, true) => "forced restart",
        (false, false) => "restart",
    };
    let delay = result.restart.delay_ms;
    let message = match result.status {
        RequestStatus::Coalesced => format!("{what} request joined an existing pending gateway restart"),
        RequestStatus::Deferred => format!("{what} requested; gateway will restart after active work drains"),
        RequestStatus::Scheduled if delay >= 1_000 => {
            format!("{what} requested; gateway will restart in {} s", delay.div_ceil(1_000))
        }
        RequestStatus::Scheduled => format!("{what} requested; gateway will restart momentarily"),
    };
    let summary = &result.preflight.summary;
    let warning = (!result.preflight.blockers.is_empty()).then(|| match options.force {
        true => summary.replace("restart deferred: ", "restart may interrupt: "),
        false => summary.clone(),
    });
    if options.json {
        let mut payload = json!({
            "ok": true,
            "result": result.status,
            "message": message,
            "request": result.request,
            "preflight": result.preflight,
            "restart": result.restart,
        });
        if let Some(warning) = warning {
            payload["warnings"] = json!([warning]);
        }
        return format!("{payload:#}");
    }
    match warning {
        Some(warning) => format!("{message}\n{warning}"),
        None => message,
    }
}
