//! The manager of this process's service, and processes that outlive this one.
//!
//! systemd and launchd are asked by their own commands, whose exit status is the answer. Nothing here waits for the
//! order to be carried out: this process is what it is about.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, io};

use gateway::env::Pid;
use rustix::process::getuid;

/// Where OpenClaw's installer writes down what the unit and the agent are called.
const UNIT: &str = "OPENCLAW_SYSTEMD_UNIT";
const LABEL: &str = "OPENCLAW_LAUNCHD_LABEL";
const DEFAULT_UNIT: &str = "openclaw-gateway.service";
const DEFAULT_LABEL: &str = "ai.openclaw.gateway";

/// Asks the service manager to restart this service.
pub(crate) async fn ask_for_restart() -> io::Result<()> {
    let named = |variable: &str, default: &str| env::var(variable).unwrap_or_else(|_| default.to_string());
    if cfg!(target_os = "linux") {
        let unit = named(UNIT, DEFAULT_UNIT);
        // Without --no-block it would wait for the restart, which waits for this process.
        let order = |scope: &[&str]| {
            let words = [scope, &["--no-block", "restart", &unit]].concat();
            words.into_iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        // A service of the user's manager has its runtime directory.
        let is_user = env::var_os("XDG_RUNTIME_DIR").is_some() && !getuid().is_root();
        run("systemctl", order(if is_user { &["--user"] } else { &[] })).await
    } else if cfg!(target_os = "macos") {
        let target = format!("gui/{}/{}", getuid().as_raw(), named(LABEL, DEFAULT_LABEL));
        run("launchctl", ["kickstart", "-k", &target]).await
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Runs a command to its end; given up, it is killed.
async fn run(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> io::Result<()> {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let status = command.status().await?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("{program} ended with {status}"))),
    }
}

/// Starts this program once more, with the same arguments and environment, in a process group of its own.
pub(crate) fn spawn_successor() -> io::Result<Pid> {
    let mut command = Command::new(program()?);
    command.args(env::args_os().skip(1)).stdin(Stdio::null()).process_group(0);
    command.spawn().map(|child| Pid(child.id()))
}

/// The file of this program, which may have been replaced by a newer one: that is the one to start then. Linux adds a
/// word to the name of a file that is gone.
fn program() -> io::Result<PathBuf> {
    let path = env::current_exe()?;
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(name) if !path.exists() => Ok(PathBuf::from(OsStr::from_bytes(name))),
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_exit_status_of_a_command_is_its_answer() {
        const NOTHING: [&str; 0] = [];
        assert!(run("true", NOTHING).await.is_ok());
        let refused = run("false", NOTHING).await.expect_err("it fails");
        assert_eq!(refused.to_string(), "false ended with exit status: 1");
        let missing = run("/nowhere/to/be/found", NOTHING).await.expect_err("it is not there");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
