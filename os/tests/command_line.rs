//! What the daemon says to a command line that it cannot follow; and that the advice to supervisors is about this
//! program.
//!
//! Nothing here gets as far as the gateway itself.

use std::process::{Command, Output};

use gateway::env::ExitCode;

fn gateway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gateway")).args(arguments).output().expect("the daemon starts")
}

#[test]
fn an_unknown_profile_is_a_configuration_error_that_names_the_known_ones() {
    let ended = gateway(&["--config", "none.json", "--profile", "hardend"]);
    assert_eq!(ended.status.code(), Some(78));
    let said = String::from_utf8_lossy(&ended.stderr);
    for part in ["\"hardend\"", "profiles: hardened, openclaw-2026.3.2", "planted:always-ready"] {
        assert!(said.contains(part), "{part} is missing in: {said}");
    }
}

#[test]
fn usage_errors_end_with_2() {
    for wrong in
        [&[][..], &["--config"], &["--config", "x", "--log", "xml"], &["--config", "x", "--bind", "here"]]
    {
        assert_eq!(gateway(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

const UNIT: &str = include_str!("../service-files/gateway.service");
const AGENT: &str = include_str!("../service-files/ai.openclaw.gateway.plist");
const EXAMPLE: &str = include_str!("../example-config.json");
const README: &str = include_str!("../README.md");

#[test]
fn supervisors_are_advised_to_what_the_code_does() {
    let example: serde_json::Value = serde_json::from_str(EXAMPLE).expect("is JSON");
    let stop_timeout = example["gateway"]["stopTimeoutMs"].as_u64().expect("a number") / 1000;
    let (restart, config) = (ExitCode::RESTART, ExitCode::CONFIG);
    for line in [
        "Restart=always",
        &format!("SuccessExitStatus={restart}"),
        &format!("RestartPreventExitStatus={config}"),
        &format!("TimeoutStopSec={stop_timeout}"),
        "KillMode=mixed",
    ] {
        assert!(UNIT.lines().any(|found| found == line), "{line} is missing in the unit");
        let of_readme = !line.starts_with("SuccessExitStatus");
        assert!(!of_readme || README.contains(&format!("`{line}`")), "{line} is missing in the README");
    }
    let in_agent = |key: &str, value: &str| {
        let after = AGENT.split(&format!("<key>{key}</key>")).nth(1).expect("the key is there");
        assert!(after.trim_start().starts_with(value), "{key} is not {value} in the agent");
    };
    in_agent("ExitTimeOut", &format!("<integer>{stop_timeout}</integer>"));
    in_agent("SuccessfulExit", "<false/>");
    in_agent("OPENCLAW_SERVICE_MARKER", "<string>openclaw</string>");
    assert!(README.contains(&format!("--stop-timeout {stop_timeout} ")), "Docker's is another");
    for (code, meaning) in [(ExitCode::CLEAN, "a clean stop"), (restart, "please start me again")] {
        let row = |line: &&str| line.contains(&format!("| {code} |")) && line.contains(meaning);
        assert!(README.lines().any(|line| row(&line)), "{code}: {meaning}");
    }
    for argument in
        UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("it runs something").split(' ')
    {
        assert!(
            argument.starts_with('/') || argument == "--config",
            "{argument} is no argument of the daemon"
        );
    }
}
