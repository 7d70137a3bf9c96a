//! Restarts beside what else goes on in a gateway: scheduled runs, background tasks, many requesters, and clients that do
//! not read.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::restart::busy;
use super::{House, MARKER, Model, configure, run};
use crate::command::{CommandOutcome, command_line};
use crate::env::{ExitCode, Signal};
use crate::policy::RestartMode;

const SECOND: Duration = Duration::from_secs(1);
const TASKS: &str = "/state/tasks.json";

impl House {
    async fn says(&self, line: &str) -> CommandOutcome {
        let arguments = line.split_whitespace().map(str::to_string).collect();
        command_line(self.outside.env.clone(), PathBuf::from("/config.json"), arguments).await
    }
}

fn json_of(outcome: &CommandOutcome) -> Value {
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
}

#[test]
fn a_scheduled_run_is_waited_for_and_named_as_one() {
    run(async {
        let house = House::new();
        let mut config: Value = serde_json::from_str(&house.world.text("/config.json")).expect("JSON");
        config["cron"] = json!({"jobs": [{"id": "report", "everyMs": 100_000, "message": "how are we?"}]});
        house.world.put("/config.json", &config.to_string());
        house.model.set(Model::Answers(SECOND * 50));
        let life = house.live().await;
        sleep(SECOND * 110).await;
        let answer = json_of(&house.says("restart --safe --json").await);
        assert_eq!(answer["result"], "deferred", "{answer}");
        let counts = &answer["preflight"]["counts"];
        assert_eq!((&counts["cronRuns"], &counts["embeddedRuns"]), (&json!(1), &json!(0)), "{counts}");
        let warning = "restart deferred: 1 queued or active operation(s); 1 active cron run(s)";
        assert_eq!(answer["warnings"], json!([warning]));
        assert_eq!(life.ended().await, ExitCode::RESTART);
        let books = house.world.text("/state/cron/runs.jsonl");
        assert!(books.contains(r#""outcome":"ok""#) && house.asked().len() == 1, "{books}");
    });
}

/// Tasks that run, and others that do not or of which nobody can read the record.
fn tasks(running: usize, generation: &Value) -> String {
    let mut tasks: Vec<_> = (1..=running)
        .map(|id| {
            json!({
                "taskId": format!("t{id}"), "runId": format!("r{id}"), "status": "running",
                "runtime": "subagent", "label": "deploy", "title": "x".repeat(90), "generation": generation,
            })
        })
        .collect();
    tasks.push(json!({"taskId": "waits", "status": "queued", "generation": generation}));
    tasks.push(json!({"taskId": "ended", "status": "running", "endedAt": 5, "generation": generation}));
    tasks.push(json!({"taskId": "of others", "status": "running"}));
    tasks.insert(0, json!({"taskId": "unknown", "status": "succeeded"}));
    json!(tasks).to_string()
}

#[test]
fn eight_tasks_are_named_and_the_rest_is_counted() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        let status = client.request("gateway.restart.status", json!({})).await;
        for (running, rest) in [(8, None), (9, Some(1)), (20, Some(12))] {
            house.world.put(TASKS, &tasks(running, &status["payload"]["generation"]));
            let preflight = client.request("gateway.restart.preflight", json!({})).await["payload"].clone();
            assert_eq!(preflight["counts"]["activeTasks"], running, "{preflight}");
            assert_eq!(preflight["counts"]["totalActive"], running, "{preflight}");
            let title = "x".repeat(80);
            let mut blockers: Vec<_> = (1..=8)
                .map(|id| {
                    format!(
                        "taskId=t{id} runId=r{id} status=running runtime=subagent label=deploy title={title}"
                    )
                })
                .collect();
            blockers.extend(rest.map(|rest| format!("{rest} active background task run(s)")));
            let messages: Vec<_> = preflight["blockers"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|b| b["message"].clone())
                .collect();
            assert_eq!(messages, blockers);
            let said = house.says("restart --preflight").await.stdout;
            assert_eq!(said, format!("restart would wait for: {}", blockers.join("; ")));
        }
        house.world.put(TASKS, &tasks(0, &json!(1)));
        assert_eq!(house.says("restart --preflight").await.stdout, "safe to restart now");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn who_begins_too_many_restarts_is_told_when_to_come_again() {
    run(async {
        let mut house = House::new();
        house.policies.restart_mode = RestartMode::InProcess;
        house.world.set_env_var(MARKER, "");
        let life = house.live().await;
        for _ in 0..3 {
            assert_eq!(house.says("restart --force").await.code, ExitCode::CLEAN);
            sleep(SECOND * 5).await;
        }
        let refused = house.says("restart --force").await;
        assert_eq!(refused.code, ExitCode::FAILURE);
        assert_eq!(
            refused.stderr,
            "the gateway refused: no restart: too many restart requests, try again in 45 s"
        );
        let mut other = house.client().await;
        let refused = other.request("gateway.restart.request", json!({"mode": "force"})).await;
        assert_eq!(refused["payload"]["status"], "scheduled", "others are counted apart: {refused}");
        sleep(SECOND * 46).await;
        assert_eq!(house.says("restart --force").await.code, ExitCode::CLEAN);
        sleep(SECOND * 5).await;
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn a_client_that_does_not_read_costs_no_more_than_its_bound() {
    run(async {
        let house = House::new();
        configure(&house.world, json!({"maxBufferedBytes": 200_000, "reload": {"deferralTimeoutMs": 5_000}}));
        let (life, mut client) = busy(&house).await;
        let mut deaf = house.client().await;
        for _ in 0..4 {
            for _ in 0..120 {
                let params = json!({"mode": "safe", "reason": "x".repeat(200)});
                client.request("gateway.restart.request", params).await;
            }
            // All of them time out, and each is told to everybody.
            let mut told = 0;
            while told < 120 {
                let event = timeout(SECOND * 30, client.event("restart")).await.expect("it is told");
                told += usize::from(event["status"] == "timed-out");
            }
            sleep(SECOND * 5).await;
        }
        assert_eq!(deaf.closed().await, None, "it did not even hear why");
        assert_eq!(life.end(Signal::Quit).await, ExitCode::FORCED);
    });
}
