//! Why a life could not begin, and what follows from that: another attempt, a way out of a conflict, an exit status.
//!
//! Knows nothing of how a life begins.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::conflict::Contention;
use crate::config::ConfigError;
use crate::env::{Env, ExitCode};
use crate::sessions::{LockError, StateError};

/// Why a life could not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Config(ConfigError),
    /// It may be half of what somebody is writing.
    #[error("{0}; it was written a moment ago")]
    Unsettled(ConfigError),
    #[error("{what}: {source}", what = match .source {
        LockError::Io { .. } => "cannot lock the state directory",
        _ => "another gateway uses this state directory",
    })]
    Locked { source: LockError, contention: Contention },
    #[error("cannot use the state directory: {0}{advice}", advice = .0.advice())]
    State(#[from] StateError),
    #[error("cannot listen on port {port}: {source}", port = .contention.port)]
    Bind { source: io::Error, contention: Contention },
}

/// Who has not touched a file for so long has written it.
const WRITTEN_AFTER: Duration = Duration::from_secs(2);

impl StartError {
    /// Why the configuration in `path` cannot be used. What is not even well-formed and was touched a moment ago may be
    /// half of what somebody writes: the same moment that makes a successor begin is often the one of an edit.
    pub(crate) fn of_config(env: &Env, path: &Path, error: ConfigError) -> Self {
        let age = env.fs().stat(path).map(|stat| env.wall_clock().since(stat.modified));
        match (&error, age) {
            (ConfigError::Invalid { .. }, Ok(age)) if age < WRITTEN_AFTER => Self::Unsettled(error),
            _ => Self::Config(error),
        }
    }

    /// Whether it is a trouble of the machine that may pass, rather than a conflict or something wrong: only against
    /// that helps to start again.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Config(ConfigError::Unreadable { source, .. }) | Self::Bind { source, .. } => {
                is_passing(source)
            }
            // Of a lock whose owner could not be seen it is not known that anybody lives who holds it.
            Self::Locked { source, .. } => {
                matches!(source, LockError::Io { .. } | LockError::Anonymous { .. } | LockError::Busy { .. })
            }
            Self::State(StateError::Io { .. } | StateError::Unconfirmed { .. } | StateError::Lock(_))
            | Self::Unsettled(_) => true,
            Self::Config(_) | Self::State(_) => false,
        }
    }

    /// Who is in the way, when it is somebody else.
    pub(crate) fn conflict(&self) -> Option<Contention> {
        match self {
            Self::Locked { source: LockError::Held { .. }, contention } => Some(*contention),
            Self::Bind { source, contention } if source.kind() == io::ErrorKind::AddrInUse => {
                Some(*contention)
            }
            _ => None,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        let is_wrong = !self.may_pass() || matches!(self, Self::Unsettled(_));
        if is_wrong { ExitCode::CONFIG } else { ExitCode::FAILURE }
    }
}

/// Whether the machine is in trouble, rather than asked for something wrong.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{
        AddrInUse, AddrNotAvailable, IsADirectory, NotADirectory, NotFound, PermissionDenied,
    };
    let lasting = [AddrInUse, AddrNotAvailable, IsADirectory, NotADirectory, NotFound, PermissionDenied];
    !lasting.contains(&error.kind())
}
