//! The answers of `gateway.restart.preflight` and `gateway.restart.request`, compared with the report's.

use serde_json::{Value, json};

use super::*;
use crate::env::Pid;

const NOW: Generation = Generation(1);

fn preflight(inventory: &Inventory) -> Preflight {
    Preflight::of(inventory, NOW, RestartPolicy::default())
}

fn value(answer: impl serde::Serialize) -> Value {
    serde_json::to_value(answer).expect("an answer is JSON")
}

fn task(number: usize) -> Work {
    Work {
        run_id: Some(format!("run-{number}")),
        runtime: "subagent".into(),
        title: Some("x".repeat(100)),
        ..Work::new(WorkKind::Task, format!("task-{number}"), NOW, WorkStatus::Running)
    }
}

#[test]
fn the_answer_to_a_request_is_the_reports() {
    let mut life = Life::new();
    life.inventory.add(Work::new(WorkKind::Queue, "q", NOW, WorkStatus::Queued));
    let decision = life.ask(Mode::Safe);
    let answer = RequestResult::of(&decision, at(100), preflight(&life.inventory), None, Pid(123));
    let expected = json!({
        "ok": true,
        "status": "deferred",
        "preflight": {
            "safe": false,
            "counts": {
                "queueSize": 1,
                "pendingReplies": 0,
                "embeddedRuns": 0,
                "activeTasks": 0,
                "totalActive": 1,
            },
            "blockers": [{"kind": "queue", "count": 1, "message": "1 queued or active operation(s)"}],
            "summary": "restart deferred: 1 queued or active operation(s)",
        },
        "restart": {
            "ok": true,
            "pid": 123,
            "signal": "SIGUSR1",
            "delayMs": 0,
            "mode": "emit",
            "coalesced": false,
            "cooldownMsApplied": 0,
        },
    });
    let mut answer = value(answer.expect("it is not refused"));
    let name = answer.as_object_mut().and_then(|answer| answer.remove("request"));
    assert!(name.is_some_and(|name| !name.is_null()), "the one thing that is not the report's");
    assert_eq!(answer, expected);
}

#[test]
fn a_request_that_joined_says_so_and_why_it_was_made() {
    let mut life = Life::new().busy();
    life.ask(Mode::Safe);
    let decision = life.ask(Mode::Safe);
    let reason = Reason::new("gateway.restart.safe");
    let answer = value(
        RequestResult::of(&decision, at(100), preflight(&life.inventory), reason, Pid(1)).expect("joined"),
    );
    assert_eq!((&answer["status"], &answer["restart"]["coalesced"]), (&json!("coalesced"), &json!(true)));
    assert_eq!(answer["restart"]["reason"], json!("gateway.restart.safe"));
}

#[test]
fn a_refusal_is_no_answer() {
    let mut life = Life::new();
    life.coordinator.stop_requested();
    let decision = life.ask(Mode::Safe);
    let answer = RequestResult::of(&decision, at(100), preflight(&life.inventory), None, Pid(1));
    assert_eq!(answer.map_err(|refusal| refusal.to_string()), Err("the gateway is stopping".to_string()));
}

#[test]
fn with_nothing_in_hand_it_is_safe() {
    let expected = json!({
        "safe": true,
        "counts": {
            "queueSize": 0, "pendingReplies": 0, "embeddedRuns": 0, "activeTasks": 0, "totalActive": 0,
        },
        "blockers": [],
        "summary": "safe to restart now",
    });
    assert_eq!(value(preflight(&Inventory::new())), expected);
}

#[test]
fn every_kind_is_named_and_counted_once() {
    let mut inventory = Inventory::new();
    for kind in WorkKind::ALL {
        inventory.add_count(kind, NOW, 2);
    }
    let preflight = preflight(&inventory);
    assert_eq!(preflight.counts.total_active, 14);
    assert_eq!(preflight.blockers.iter().map(|blocker| blocker.count).sum::<u64>(), 14);
    assert_eq!(
        preflight.summary,
        "restart deferred: 2 queued or active operation(s); 2 pending reply delivery operation(s); \
         2 active embedded run(s); 2 active subagent run(s); 2 active cron run(s); 2 running hook(s); \
         2 active background task run(s)"
    );
    let counts = value(preflight.counts);
    assert_eq!([&counts["subagentRuns"], &counts["cronRuns"], &counts["hooks"]], [&json!(2); 3]);
}

#[test]
fn a_task_is_named_with_what_is_known_of_it() {
    let mut inventory = Inventory::new();
    inventory.add(task(1));
    let title = "x".repeat(80);
    let blocker = json!({
        "kind": "task",
        "count": 1,
        "message": format!("taskId=task-1 runId=run-1 status=running runtime=subagent title={title}"),
        "task": {
            "taskId": "task-1", "runId": "run-1", "status": "running", "runtime": "subagent", "title": title,
        },
    });
    assert_eq!(value(preflight(&inventory).blockers), json!([blocker]));
}

#[test]
fn after_eight_tasks_the_rest_is_counted() {
    for tasks in [8, 9, 20] {
        let mut inventory = Inventory::new();
        (0..tasks).for_each(|number| inventory.add(task(number)));
        inventory.add(Work { status: WorkStatus::Queued, ..task(99) });
        let preflight = preflight(&inventory);
        assert_eq!(preflight.counts.active_tasks, tasks as u64);
        let rest =
            preflight.blockers.iter().skip(8).map(|blocker| blocker.message.clone()).collect::<Vec<_>>();
        match tasks {
            8 => assert_eq!(rest, [""; 0]),
            _ => assert_eq!(rest, [format!("{} active background task run(s)", tasks - 8)]),
        }

        let before = RestartPolicy { task_aggregate: TaskAggregate::Forgotten, ..RestartPolicy::default() };
        assert_eq!(Preflight::of(&inventory, NOW, before).blockers.len(), 8);
    }
}

#[test]
fn in_history_a_record_that_waits_keeps_a_safe_restart_waiting() {
    let before = restart_policy("openclaw-2026.5.3-1").unwrap();
    let mut life = Life::with(before, Settings::default());
    life.inventory.add(Work::new(WorkKind::Task, "t", NOW, WorkStatus::Queued));
    assert!(matches!(life.ask(Mode::Safe).status, Status::Deferred { .. }));

    let mut life = Life::new();
    life.inventory.add(Work::new(WorkKind::Task, "t", NOW, WorkStatus::Queued));
    assert!(life.ask(Mode::Safe).action.is_some());
}
