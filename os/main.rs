//! The gateway daemon, one process life of the gateway on the operating system; and its command-line tool.
//!
//! Reads the command line, opens the doors, runs the gateway or the tool and ends with its exit status. What they
//! are told beyond that stands in the configuration file; what happens is in the log on standard error. The answer
//! of the tool is all that ever goes to standard output.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::{io, path};

use clap::{Args, Parser, Subcommand, ValueEnum};
use gateway::command::{self, RestartOptions};
use gateway::env::{ExitCode, Process};
use gateway::tool::{self, ToolCommand};
use gateway::{Launch, policy};
use gateway_os::{OsProcess, exit_on_panic, logs, raise_open_files, say};
use tokio::runtime;
use tokio::task::LocalSet;

/// A chat gateway: takes messages over WebSocket, runs them against a language model and delivers the replies.
#[derive(Parser)]
#[command(name = "gateway", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    /// Without one of these the gateway itself is run
    #[command(subcommand)]
    tool: Option<Tool>,
    /// The configuration file (JSON)
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
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

#[derive(Subcommand)]
enum Tool {
    /// Looks at the sessions of a state directory, or labels them, whether or not a gateway serves there
    #[command(subcommand)]
    Sessions(Sessions),
    /// Asks the gateway that runs to restart; without flags it waits for active work, up to a limit
    Restart {
        /// Interrupt nothing: restart once active work has drained, or not at all
        #[arg(long)]
        safe: bool,
        /// Restart immediately without waiting for active gateway work
        #[arg(long)]
        force: bool,
        /// How long to wait for active work at most (ms, 10s, 5m; 0 waits indefinitely)
        #[arg(long, value_name = "DURATION")]
        wait: Option<String>,
        /// Why, for the log and for whoever is told what came of it
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Do not restart, only say what a restart now would interrupt
        #[arg(long)]
        preflight: bool,
        /// Answer with one JSON object
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        on: On,
    },
}

#[derive(Subcommand)]
enum Sessions {
    /// Lists all sessions, one a line
    List {
        #[command(flatten)]
        on: On,
    },
    /// Adds a label to a session
    Label {
        /// The session's key, as `list` shows it
        key: String,
        /// The label, one line
        text: String,
        #[command(flatten)]
        on: On,
    },
}

/// What a tool works on.
#[derive(Args)]
struct On {
    /// The gateway's configuration file (JSON)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Which gateway of history to be
    #[arg(long, value_name = "NAME", default_value = policy::HARDENED)]
    profile: String,
}

fn main() {
    let arguments = Arguments::parse();
    exit_on_panic();
    logs::init(match arguments.log {
        LogFormat::Text => logs::Format::Text,
        LogFormat::Json => logs::Format::Json,
    });
    OsProcess.exit(match arguments.tool {
        Some(Tool::Sessions(command)) => answer(command),
        Some(Tool::Restart { safe, force, wait, reason, preflight, json, on }) => {
            restart(RestartOptions { safe, force, wait, reason, preflight, json }, &on)
        }
        None => serve(&arguments),
    });
}

/// Runs the gateway.
fn serve(arguments: &Arguments) -> ExitCode {
    raise_open_files();
    let config = arguments.config.as_ref().expect("clap asks for it");
    match launch(config, &arguments.profile) {
        Ok(launch) => live(gateway::run(gateway_os::env(arguments.bind), launch)),
        Err(why) => fail(ExitCode::CONFIG, &why),
    }
}

/// Runs the tool and prints what it has to say.
fn answer(command: Sessions) -> ExitCode {
    let (command, on) = match command {
        Sessions::List { on } => (ToolCommand::List, on),
        Sessions::Label { key, text, on } => (ToolCommand::Label { key, text }, on),
    };
    let launch = match launch(&on.config, &on.profile) {
        Ok(launch) => launch,
        Err(why) => return fail(ExitCode::CONFIG, &why),
    };
    let env = gateway_os::env(Ipv4Addr::LOCALHOST.into());
    live(async {
        let report = tool::run(env, launch, command).await;
        if report.code != ExitCode::CLEAN {
            return fail(report.code, &report.said);
        }
        match writeln!(io::stdout(), "{}", report.said) {
            Ok(()) => report.code,
            Err(error) => fail(ExitCode::FAILURE, &format!("cannot print the answer: {error}")),
        }
    })
}

/// Asks the gateway to restart, and prints what came of it.
fn restart(options: RestartOptions, on: &On) -> ExitCode {
    let launch = match launch(&on.config, &on.profile) {
        Ok(launch) => launch,
        Err(why) => return fail(ExitCode::CONFIG, &why),
    };
    let env = gateway_os::env(Ipv4Addr::LOCALHOST.into());
    live(async {
        let outcome = command::restart(env, launch, options).await;
        if !outcome.stderr.is_empty() {
            say(&format!("gateway: {}", outcome.stderr));
        }
        if outcome.stdout.is_empty() {
            return outcome.code;
        }
        match writeln!(io::stdout(), "{}", outcome.stdout) {
            Ok(()) => outcome.code,
            Err(error) => fail(ExitCode::FAILURE, &format!("cannot print the answer: {error}")),
        }
    })
}

fn launch(config: &Path, profile: &str) -> Result<Launch, String> {
    let policies = policy::profile(profile).ok_or_else(|| unknown_profile(profile))?;
    let config = path::absolute(config)
        .map_err(|error| format!("cannot tell where {} is: {error}", config.display()))?;
    Ok(Launch { config, policies })
}

fn unknown_profile(name: &str) -> String {
    let mut why = format!("there is no profile {name:?}");
    for (what, names) in [
        ("profiles", policy::profile_names().collect::<Vec<_>>()),
        ("planted defects", policy::planted_names().collect()),
    ] {
        why.push_str(&format!("\n  {what}: {}", names.join(", ")));
    }
    why
}

fn live(life: impl Future<Output = ExitCode>) -> ExitCode {
    match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
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
    say(&format!("gateway: {why}"));
    code
}
