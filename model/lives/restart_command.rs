//! `gateway restart` beside a gateway that runs, or does not: every flag, and gateways of every age.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::restart::busy;
use super::{House, Model, TOKEN, configure, run};
use crate::Launch;
use crate::command::{CommandOutcome, command_line};
use crate::env::{ExitCode, Signal};
use crate::policy::{Policies, profile};

const SECOND: Duration = Duration::from_secs(1);

impl House {
    /// Runs a command line on the gateway's machine, as a program of this profile.
    async fn types_as(&self, profile_name: &str, line: &str) -> CommandOutcome {
        let policies = profile(profile_name).expect("exists");
        let launch = Launch { config: "/config.json".into(), policies };
        let arguments = line.split_whitespace().map(str::to_string).collect();
        command_line(self.outside.env.clone(), launch, arguments).await
    }

    async fn types(&self, line: &str) -> CommandOutcome {
        self.types_as("hardened", line).await
    }
}

fn payload(outcome: &CommandOutcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

#[test]
fn every_flag_on_a_gateway_with_work_in_hand() {
    run(async {
        for (line, said, result) in [
            ("restart", "restart requested; gateway will restart after active work drains", "deferred"),
            (
                "restart --safe",
                "safe restart requested; gateway will restart after active work drains",
                "deferred",
            ),
            (
                "restart --wait 10s",
                "restart requested; gateway will restart after active work drains",
                "deferred",
            ),
            (
                "restart --wait 0",
                "restart requested; gateway will restart after active work drains",
                "deferred",
            ),
            ("restart --force", "forced restart requested; gateway will restart momentarily", "scheduled"),
        ] {
            for json in [false, true] {
                let house = House::new();
                let (life, _client) = busy(&house).await;
                let typed = if json { format!("{line} --json") } else { line.to_string() };
                let outcome = house.types(&typed).await;
                assert_eq!((outcome.code, outcome.stderr.as_str()), (ExitCode::CLEAN, ""), "{typed}");
                if json {
                    let payload = payload(&outcome);
                    assert_eq!(
                        (&payload["ok"], &payload["result"]),
                        (&json!(true), &json!(result)),
                        "{typed}"
                    );
                    assert_eq!(payload["message"], said, "{typed}");
                    assert_eq!(payload["restart"]["signal"], "SIGUSR1");
                    assert_eq!(payload["preflight"]["counts"]["totalActive"], 2);
                    assert_eq!(payload["warnings"].as_array().map(Vec::len), Some(1), "{payload}");
                } else {
                    let lines: Vec<_> = outcome.stdout.lines().collect();
                    assert_eq!(lines[0], said, "{typed}");
                    assert!(
                        lines[1].contains("1 queued or active operation(s); 1 active embedded run(s)"),
                        "{lines:?}"
                    );
                }
                assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);
            }
        }
    });
}

#[test]
fn flags_that_cannot_stand_together_change_nothing() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        for (line, why) in [
            (
                "restart --safe --force",
                "--safe cannot be combined with --force; omit --safe to force restart now",
            ),
            (
                "restart --safe --wait 5s",
                "--safe cannot be combined with --wait; safe restart uses gateway deferral",
            ),
            ("restart --force --wait 5s", "--force cannot be combined with --wait"),
            ("restart --wait soon", "invalid --wait \"soon\""),
            ("restart --now", "unexpected argument \"--now\""),
            ("stop", "expected the command \"restart\", not \"stop\""),
        ] {
            let outcome = house.types(line).await;
            assert_eq!((outcome.code, outcome.stdout.as_str()), (ExitCode::FAILURE, ""), "{line}");
            assert!(outcome.stderr.starts_with(why), "{line}: {}", outcome.stderr);
            let outcome = house.types(&format!("{line} --json")).await;
            let payload = payload(&outcome);
            assert_eq!(payload["ok"], false, "{payload}");
            assert!(payload["error"].as_str().is_some_and(|said| said.starts_with(why)), "{payload}");
        }
        sleep(SECOND).await;
        assert_eq!(house.probe("/readyz").await, Some(200));
        assert_eq!(
            house.client().await.request("gateway.restart.status", json!({})).await["payload"]["state"],
            "idle"
        );
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn with_nothing_in_hand_it_restarts_at_once_and_a_second_one_joins_or_waits_its_turn() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let outcome = house.types("restart").await;
        assert_eq!(outcome.stdout, "restart requested; gateway will restart momentarily");
        assert_eq!(life.ended().await, ExitCode::RESTART);

        house.model.set(Model::Hangs);
        let (life, mut client) = busy(&house).await;
        house.types("restart --safe").await;
        let outcome = house.types("restart --safe").await;
        assert!(
            outcome.stdout.starts_with("safe restart request joined an existing pending gateway restart\n")
        );
        let status = client.request("gateway.restart.status", json!({})).await["payload"].clone();
        assert_eq!(status["requests"][1]["source"]["kind"], "command-line", "{status}");
        assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);
    });
}

#[test]
fn without_a_gateway_it_says_so_and_never_signals_a_stranger() {
    run(async {
        let house = House::new();
        let nobody = house.types("restart").await;
        assert_eq!(nobody.code, ExitCode::FAILURE);
        assert!(nobody.stderr.starts_with("cannot reach the gateway on port 18789"), "{nobody:?}");
        assert!(nobody.stderr.ends_with("Nobody holds the lock of its state directory"), "{nobody:?}");
        house.world.neighbour(78);
        house.world.put("/state/gateway.lock", r#"{"pid": 78, "startTime": 1}"#);
        let starting = house.types("restart --json").await;
        let why = "gateway process 78 does not listen: it is starting or about to end, try again";
        assert!(starting.stderr.ends_with(why), "{starting:?}");
        assert!(payload(&starting)["error"].as_str().is_some_and(|error| error.ends_with(why)));
        let nobody = house.types_as("openclaw-2026.3.2", "restart").await;
        assert!(nobody.stderr.contains("no gateway runs here"), "{nobody:?}");
        // Another program has the id by now.
        house.world.neighbour(77);
        house.world.put("/state/gateway.lock", r#"{"pid": 77, "startTime": 9}"#);
        let gone = house.types_as("openclaw-2026.3.2", "restart").await;
        assert!(gone.stderr.contains("process 77") && gone.stderr.contains("is gone"), "{gone:?}");
        house.world.put("/config.json", "{");
        assert_eq!(house.types("restart").await.code, ExitCode::CONFIG);
    });
}

#[test]
fn a_gateway_that_cannot_be_asked_is_sent_the_signal_unless_that_is_less() {
    run(async {
        let mut house = House::new();
        house.policies = Policies {
            restart_command: profile("openclaw-2026.3.2").expect("exists").restart_command,
            ..house.policies
        };
        let life = house.live().await;
        for (line, flag) in [("restart --safe", "--safe"), ("restart --wait 5s", "--wait")] {
            let outcome = house.types(line).await;
            assert_eq!(outcome.code, ExitCode::FAILURE, "{line}");
            let end = format!("does not know gateway.restart.request; restart it without {flag}");
            assert!(outcome.stderr.ends_with(&end), "{}", outcome.stderr);
        }
        let outcome = house.types("restart --json").await;
        assert_eq!(payload(&outcome)["result"], "signalled", "{outcome:?}");
        assert_eq!(life.ended().await, ExitCode::RESTART);
    });
}

#[test]
fn historys_command_line_interrupts_what_the_gateway_waits_for() {
    run(async {
        let house = House::with_policies(Policies {
            restart_command: profile("openclaw-2026.3.2").expect("exists").restart_command,
            ..Policies::default()
        });
        configure(&house.world, json!({"drainBudgetMs": 5_000}));
        let (life, _client) = busy(&house).await;
        let unknown = house.types_as("openclaw-2026.3.2", "restart --safe").await;
        let why = "unexpected argument \"--safe\"; a command line of this version takes none but --json";
        assert_eq!(unknown.stderr, why);
        let asked = Instant::now();
        let outcome = house.types_as("openclaw-2026.3.2", "restart").await;
        assert_eq!(outcome.stdout, "restart signal sent to gateway process 101");
        assert_eq!(life.ended().await, ExitCode::RESTART);
        assert!(asked.elapsed() < SECOND * 10, "{:?}", asked.elapsed());
    });
}

#[test]
fn a_wrong_token_and_switched_off_restarts_are_refused() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let text = house.world.text("/config.json");
        house.world.put("/config.json", &text.replace(&format!("\"{TOKEN}\""), "\"other\""));
        let outcome = house.types("restart").await;
        assert_eq!(outcome.stderr, "the gateway refused: the token is missing or wrong");
        house.world.put("/config.json", &text.replacen('{', r#"{"commands": {"restart": false}, "#, 1));
        let outcome = house.types("restart --force").await;
        assert_eq!(outcome.stderr, "gateway restart is disabled (commands.restart is false)");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        let life = house.live().await;
        let refused = house.client().await.request("gateway.restart.request", json!({})).await;
        assert_eq!(refused["error"]["code"], "FORBIDDEN", "{refused}");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn whoever_joins_or_has_to_pause_is_told_when_the_restart_comes_and_why_not_now() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        house.types("restart").await;
        assert_eq!(life.ended().await, ExitCode::RESTART);
        let life = house.live().await;
        sleep(SECOND * 5).await;
        let paused = "in 25 s, after a pause since its last restart; --force does not wait for that";
        let outcome = house.types("restart").await;
        assert_eq!(outcome.stdout, format!("restart requested; gateway will restart {paused}"));
        let outcome = house.types("restart --wait 5s").await;
        let joined = "restart request joined an existing pending gateway restart; gateway will restart";
        assert_eq!(outcome.stdout, format!("{joined} {paused}"));
        let outcome = house.types("restart --force").await;
        assert_eq!(outcome.stdout, format!("forced {joined} momentarily"));
        assert_eq!(life.ended().await, ExitCode::RESTART);
    });
}

#[test]
fn a_reason_goes_with_the_request_and_a_preflight_asks_for_nothing() {
    run(async {
        let house = House::new();
        let (life, mut client) = busy(&house).await;
        let preview = house.types("restart --preflight").await;
        assert_eq!(
            preview.stdout,
            "restart would wait for: 1 queued or active operation(s); 1 active embedded run(s)"
        );
        let preview = payload(&house.types("restart --preflight --json").await);
        assert_eq!((&preview["ok"], &preview["preflight"]["safe"]), (&json!(true), &json!(false)));
        let status = client.request("gateway.restart.status", json!({})).await["payload"].clone();
        assert_eq!((&status["state"], &status["requests"]), (&json!("idle"), &json!([])), "{status}");
        for (line, reason) in [
            ("restart --json --reason=upgrade", "upgrade"),
            ("restart --json --safe --reason upgrade", "upgrade"),
            ("restart --json --safe", "gateway.restart.safe"),
            ("restart --json", "gateway.restart"),
        ] {
            assert_eq!(payload(&house.types(line).await)["restart"]["reason"], reason, "{line}");
        }
        assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);

        let mut house = House::new();
        house.policies.restart_command = profile("openclaw-2026.3.2").expect("exists").restart_command;
        let life = house.live().await;
        let outcome = house.types("restart --preflight").await;
        assert!(outcome.stderr.ends_with("nobody can say what a restart would interrupt"), "{outcome:?}");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}
