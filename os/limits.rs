//! How many files and sockets this process may have open at a time.
//!
//! The limit that a process is started with is for the sake of programs that cannot count beyond 1024; those that can
//! are meant to raise it. What there is then is shared out: connections that others open take no more than half, so
//! that whoever floods the port takes nothing away from the files, and the connections to the model, that clients need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as this process may. It goes on with less when the system refuses.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(name: "process.limit-kept", files = limit.current, %error, "cannot have more files open");
    }
}

/// How many connections may be open that others have opened.
pub(crate) fn most_accepted() -> usize {
    // Asked for each time, since others may change it while this process lives.
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 2).unwrap_or(usize::MAX)
}
