//! `restart`: asks the gateway that runs, and says what it answered, in the words of commit 103cdd9.
//!
//! A gateway that is older than the question is sent the restart signal instead, unless that would be less than what
//! was asked for. In history only a safe restart was asked for, or none at all.

use serde_json::{Value, json};

use super::arguments::{RestartOptions, UsageError};
use super::call::{CallError, call};
use super::signal::{SignalError, holder, restart_holder};
use crate::Launch;
use crate::config::{Config, ConfigError};
use crate::env::{Env, ExitCode, Pid};
use crate::lifecycle::restart::{Patience, Preflight, RequestResult, RequestStatus};
use crate::policy::RestartCommand;

const METHOD: &str = "gateway.restart.request";
const PREFLIGHT: &str = "gateway.restart.preflight";

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
    #[error("{0}; is one running? Nobody holds the lock of its state directory")]
    Absent(CallError),
    #[error("{0}; gateway process {1} does not listen: it is starting or about to end, try again")]
    NotListening(CallError, Pid),
    #[error("{0}; {1}")]
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
        && let Some(unknown) = options.unknown_to_history()
    {
        return Err(UsageError::UnexpectedThen(unknown).into());
    }
    let patience = options.check()?;
    let config = Config::load(env.fs(), &launch.config)?;
    if options.preflight {
        let answer = ask(env, &config, PREFLIGHT, json!({})).await.map_err(|error| match error {
            RestartError::Call(old @ CallError::UnknownMethod { .. }) => {
                RestartError::TooOld(old, "nobody can say what a restart would interrupt")
            }
            error => error,
        })?;
        return Ok(preview(options, &serde_json::from_value(answer)?));
    }
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
    let answer = match ask(env, &config, METHOD, params(options, patience)).await {
        Err(RestartError::Call(old @ CallError::UnknownMethod { .. })) => {
            return match options.urgency() {
                Some("--safe") => Err(RestartError::TooOld(old, "restart it without --safe")),
                Some("--wait") => Err(RestartError::TooOld(old, "restart it without --wait")),
                _ => signal(env, &config, options),
            };
        }
        answer => answer?,
    };
    let result: RequestResult = serde_json::from_value(answer)?;
    Ok(say(options, &result))
}

/// Asks the gateway. Who reaches nobody is told whether a gateway holds the lock all the same.
async fn ask(env: &Env, config: &Config, method: &'static str, params: Value) -> Result<Value, RestartError> {
    match call(env, config, method, params).await {
        Err(error @ CallError::Unreachable { .. }) => Err(match holder(env, config) {
            Ok(holder) => RestartError::NotListening(error, holder.pid),
            Err(_) => RestartError::Absent(error),
        }),
        answer => Ok(answer?),
    }
}

fn params(options: &RestartOptions, patience: Option<Patience>) -> Value {
    let reason = |default: &str| options.reason.clone().unwrap_or_else(|| default.to_string());
    if options.safe {
        return json!({"reason": reason("gateway.restart.safe")});
    }
    let reason = reason("gateway.restart");
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
    let when = when(options, result);
    let message = match result.status {
        // As the report has it.
        RequestStatus::Coalesced if options.safe => {
            format!("{what} request joined an existing pending gateway restart")
        }
        RequestStatus::Coalesced => {
            format!("{what} request joined an existing pending gateway restart; gateway will restart {when}")
        }
        RequestStatus::Deferred | RequestStatus::Scheduled => {
            format!("{what} requested; gateway will restart {when}")
        }
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

/// When the restart comes, as far as that is known, and why not now.
fn when(options: &RestartOptions, result: &RequestResult) -> String {
    let delay = result.restart.delay_ms.div_ceil(1_000);
    let waits = match result.status {
        RequestStatus::Deferred => true,
        RequestStatus::Scheduled => false,
        // Who forces it does not wait, whomever he joined.
        RequestStatus::Coalesced => !result.preflight.safe && !options.force,
    };
    match (delay, waits) {
        (0, true) => "after active work drains".to_string(),
        (0, false) => "momentarily".to_string(),
        (delay, _) if result.restart.cooldown_ms_applied > 0 => {
            format!("in {delay} s, after a pause since its last restart; --force does not wait for that")
        }
        (delay, _) => format!("in {delay} s"),
    }
}

/// What a restart now would interrupt, for people or programs.
fn preview(options: &RestartOptions, preflight: &Preflight) -> String {
    match options.json {
        true => format!("{:#}", json!({"ok": true, "preflight": preflight})),
        false => preflight.summary.replace("restart deferred: ", "restart would wait for: "),
    }
}
