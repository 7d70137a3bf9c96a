//! The restart signal, for gateways that cannot be asked: to the process that the lock file names, and no other.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;

use crate::config::Config;
use crate::env::{Env, Liveness, Pid, ProcessId, Signal, StartTime};

/// Why nobody was signalled.
#[derive(Debug, thiserror::Error)]
pub(super) enum SignalError {
    #[error("no gateway runs here: {path} does not exist")]
    NoLock { path: PathBuf },
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} does not say which process holds it")]
    Anonymous { path: PathBuf },
    #[error("no gateway runs here: process {pid}, which {path} names, is gone")]
    Gone { path: PathBuf, pid: Pid },
    #[error("process {pid} could not be signalled: {source}")]
    Refused { pid: Pid, source: io::Error },
}

/// What is asked of a lock file.
#[derive(Deserialize)]
struct Holder {
    pid: Pid,
    #[serde(default, rename = "startTime", alias = "starttime")]
    start: Option<StartTime>,
}

/// The gateway that holds the instance lock, if it lives.
pub(super) fn holder(env: &Env, config: &Config) -> Result<ProcessId, SignalError> {
    let path = config.gateway.state_dir.join("gateway.lock");
    let bytes = match env.fs().read(&path) {
        Ok(bytes) => bytes,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Err(SignalError::NoLock { path }),
        Err(source) => return Err(SignalError::Unreadable { path, source }),
    };
    let Ok(Holder { pid, start }) = serde_json::from_slice(&bytes) else {
        // A gateway that has ended leaves the file, empty.
        let gone = bytes.is_empty();
        return Err(if gone { SignalError::NoLock { path } } else { SignalError::Anonymous { path } });
    };
    let process = env.process();
    let start = start.or_else(|| process.look_up(pid).map(|entry| entry.id.start));
    match start.filter(|start| process.liveness(pid, Some(*start)) == Liveness::Alive) {
        Some(start) => Ok(ProcessId { pid, start }),
        None => Err(SignalError::Gone { path, pid }),
    }
}

/// Sends the restart signal to the gateway that holds the instance lock. Returns its id.
pub(super) fn restart_holder(env: &Env, config: &Config) -> Result<Pid, SignalError> {
    let holder = holder(env, config)?;
    match env.process().signal_process(holder, Signal::User1) {
        Ok(()) => Ok(holder.pid),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            Err(SignalError::Gone { path: config.gateway.state_dir.join("gateway.lock"), pid: holder.pid })
        }
        Err(source) => Err(SignalError::Refused { pid: holder.pid, source }),
    }
}
