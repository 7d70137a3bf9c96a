//! The gateway daemon: one process life of the gateway on the operating system.
//!
//! Reads the command line, opens the doors, runs the gateway and ends with its exit status. What the gateway is
//! told beyond that stands in its configuration file; what happens to it is in the log on standard error.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::{io, path};

use clap::{Parser, ValueEnum};
use gateway::env::{ExitCode, Process};
use gateway::{Launch, policy};
use gateway_os::{OsProcess, exit_on_panic, logs};
use tokio::runtime;
use tokio::task::LocalSet;

/// A chat gateway: takes messages over WebSocket, runs them against a language model and delivers the replies.
#[derive(Parser)]
#[command(name = "gateway", version)]
struct Arguments {
    /// The configuration file (JSON)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Which gateway of history to be
    #[arg(long, value_name = "NAME", default_value = policy::HARDENED)]
    profile: String,
    /// The address to listen on; anything but loopback makes the gateway reachable from other machines
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// How log lines on standard error look; RUST_LOG decides which there are
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

fn main() {
    let arguments = Arguments::parse();
    exit_on_panic();
    logs::init(match arguments.log {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    });
    let code = match launch(&arguments) {
        Ok(launch) => live(arguments.bind, launch),
        Err(why) => fail(ExitCode::CONFIG, &why),
    };
    OsProcess.exit(code);
}

fn launch(arguments: &Arguments) -> Result<Launch, String> {
    let policies = policy::profile(&arguments.profile).ok_or_else(|| unknown_profile(&arguments.profile))?;
    let config = path::absolute(&arguments.config)
        .map_err(|error| format!("cannot tell where {} is: {error}", arguments.config.display()))?;
    Ok(Launch { config, policies })
}

fn unknown_profile(name: &str) -> String {
    let mut why = format!("there is no profile {name:?}");
    for (what, names) in [
        ("profiles", policy::profile_names().collect::<Vec<_>>()),
        ("planted defects", policy::planted_names().collect()),
    ] {
        let _ = write!(why, "\n  {what}: {}", names.join(", "));
    }
    why
}

fn live(bind: IpAddr, launch: Launch) -> ExitCode {
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let life = gateway::run(gateway_os::env(bind), launch);
            let code = runtime.block_on(LocalSet::new().run_until(life));
            // Dropping it would wait for a name lookup that is still in flight, however long that takes.
            runtime.shutdown_background();
            code
        }
        Err(error) => fail(ExitCode::FAILURE, &format!("cannot start the runtime: {error}")),
    }
}

/// Says why nothing was started, in words rather than as a log event: it is for whoever typed the command.
fn fail(code: ExitCode, why: &str) -> ExitCode {
    use io::Write;
    // A closed standard error must not turn the status into that of a panic.
    let _ = writeln!(io::stderr(), "gateway: {why}");
    code
}
