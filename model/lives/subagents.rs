//! Subagents over several lives: what the model is asked, what the conversation says, and what the books say.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Client, House, Life, Model, run};
use crate::env::{ExitCode, FsOp, Signal};
use crate::policy::{Policies, SubagentRestore, SubagentSpawn, SubagentWithoutSession};

const BOOKS: &str = "/state/subagents/runs.json";

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// The rows of the books, as `status outcome announcement`, and how often each was resumed.
fn books(house: &House) -> Vec<String> {
    let text = house.world.text(BOOKS);
    if text.is_empty() {
        return Vec::new();
    }
    let book: Value = serde_json::from_str(&text).expect("JSON");
    let rows = book["runs"].as_object().expect("rows").values();
    let word = |value: &Value| value.as_str().unwrap_or("-").to_string();
    let line = |row: &Value| {
        let resumed = row["resumedAt"].as_array().expect("a list").len();
        let words = [&row["status"], &row["outcome"]["status"], &row["announcement"]].map(word);
        format!("{} {resumed}", words.join(" "))
    };
    rows.map(line).collect()
}

/// What the conversation says at last, without the names of runs.
async fn said(client: &mut Client) -> Vec<String> {
    let words = |(role, text): (String, String)| match text.split_once("] The background task") {
        Some(_) if role == "user" => "announcement".to_string(),
        Some((_, rest)) => format!("{role}: {}", rest.lines().nth(2).unwrap_or_default()),
        None if text.contains("\"status\":\"accepted\"") => format!("{role}: spawned"),
        None => format!("{role}: {text}"),
    };
    client.history().await.into_iter().map(words).collect()
}

const DONE: [&str; 4] =
    ["user: spawn: count", "assistant: spawned", "announcement", "assistant: Result: re: count"];

/// How often the model was asked something that contains `text`.
fn asked(house: &House, text: &str) -> usize {
    house.asked().iter().filter(|asked| asked.contains(text)).count()
}

/// A life whose subagent is before a model that never answers, and whose parent has its reply.
async fn at_work(house: &House) -> Life {
    house.model.set(Model::HangsOver("count"));
    let life = house.live().await;
    let mut client = house.client().await;
    client.accepted("spawn: count", "m").await;
    let (_, text) = client.ending("m").await;
    assert!(text.contains("accepted"), "{text}");
    life
}

/// From the next question on, the model answers again.
fn mend(house: &House) {
    house.model.set(Model::Answers(Duration::from_millis(100)));
}

/// The conversation that a subagent is announced in.
async fn conversation(house: &House) -> Vec<String> {
    said(&mut house.client().await).await
}

#[test]
fn a_result_is_announced_once_in_the_conversation_that_asked() {
    run(async {
        let house = House::new();
        house.live().await;
        let mut client = house.client().await;
        client.accepted("spawn: count", "m").await;
        client.ending("m").await;
        seconds(5).await;
        assert_eq!(said(&mut client).await, DONE);
        assert_eq!(books(&house), ["ended ok made 0"]);
        assert_eq!(asked(&house, "[subagent:"), 1);
    });
}

#[test]
fn without_subagents_nothing_is_written() {
    run(async {
        let house = House::new();
        house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "m").await;
        client.ending("m").await;
        assert_eq!(house.world.text(BOOKS), "");
    });
}

#[test]
fn what_a_restart_cuts_short_is_resumed_under_another_run() {
    run(async {
        let house = House::new();
        at_work(&house).await.killed().await;
        mend(&house);
        house.live().await;
        seconds(1).await;
        assert_eq!(books(&house), ["interrupted - pending 0"]);
        seconds(10).await;
        assert_eq!(books(&house), ["ended ok made 1"]);
        assert!(house.world.text(BOOKS).contains(":2\":{"), "the row is under the new run");
        assert_eq!(asked(&house, "Go on where you were. Your task: count"), 2, "asked once, announced once");
        assert_eq!(conversation(&house).await.len(), 4);
    });
}

#[test]
fn a_drain_waits_for_a_subagent_and_for_its_announcement() {
    run(async {
        let house = House::new();
        house.model.set(Model::Answers(Duration::from_secs(5)));
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("spawn: count", "m").await;
        client.ending("m").await;
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(books(&house), ["ended ok made 0"]);
        house.live().await;
        assert_eq!(conversation(&house).await, DONE);
    });
}

#[test]
fn a_drain_that_cannot_wait_leaves_the_subagent_to_the_next_life() {
    run(async {
        let house = House::new();
        let life = at_work(&house).await;
        life.end(Signal::User1).await;
        assert_eq!(books(&house), ["interrupted - pending 0"]);
        mend(&house);
        house.live().await;
        seconds(10).await;
        assert_eq!(books(&house), ["ended ok made 1"]);
    });
}

#[test]
fn a_subagent_that_is_cut_short_too_fast_is_given_up_and_that_is_said() {
    run(async {
        let house = House::new();
        let mut life = at_work(&house).await;
        for _ in 0..2 {
            life.killed().await;
            life = house.live().await;
            seconds(20).await;
        }
        assert_eq!(books(&house), ["running - pending 2"]);
        life.killed().await;
        house.live().await;
        seconds(10).await;
        assert_eq!(books(&house), ["ended lost made 2"]);
        let said = conversation(&house).await;
        assert_eq!(said[3], "assistant: Result: restarts interrupted it too often");
        assert_eq!(said.len(), 4);
    });
}

#[test]
fn an_announcement_that_fails_is_a_notice_that_holds_the_result() {
    run(async {
        let house = House::new();
        house.model.set(Model::HangsOver("came of it."));
        let life = house.live().await;
        house.client().await.accepted("spawn: count", "m").await;
        seconds(2).await;
        assert_eq!(books(&house), ["ended ok pending 0"]);
        life.killed().await;
        house.live().await;
        seconds(10).await;
        let said = conversation(&house).await;
        let notice = "notice: Your message started a background task, \"count\". It is done, and there is no answer \
                      about it: the service restarted before it was answered. Its result: re: count";
        assert_eq!(said.last().map(String::as_str), Some(notice));
        assert_eq!(books(&house), ["ended ok made 0"]);
        assert_eq!(said.len(), 4);
    });
}

#[test]
fn what_its_sender_stops_is_stopped_for_good() {
    // At work, waiting to be resumed.
    for is_interrupted in [false, true] {
        run(async {
            let house = House::new();
            let mut life = at_work(&house).await;
            if is_interrupted {
                life.killed().await;
                life = house.live().await;
                seconds(1).await;
            }
            let mut client = house.client().await;
            let answer = client.request("chat.abort", json!({"sessionKey": "main"})).await;
            let stopped = answer["payload"]["runIds"].as_array().expect("a list").len();
            assert_eq!(stopped, 1, "{answer}");
            assert_eq!(books(&house), ["ended cancelled not-wanted 0"]);
            life.killed().await;
            mend(&house);
            house.live().await;
            seconds(30).await;
            assert_eq!(books(&house), ["ended cancelled not-wanted 0"]);
            assert_eq!(asked(&house, "Your task"), 0);
            assert_eq!(conversation(&house).await.len(), 2);
        });
    }
}

#[test]
fn a_crash_between_any_two_steps_announces_once() {
    let steps = [
        (FsOp::Rename, "sessions.json"),
        (FsOp::Write, "runs.json.tmp"),
        (FsOp::Rename, "runs.json"),
        (FsOp::SyncDir, "subagents"),
        (FsOp::Append, "inbox.jsonl"),
        (FsOp::SyncFile, "inbox.jsonl"),
        (FsOp::Append, ".jsonl"),
        (FsOp::SyncFile, ".jsonl"),
    ];
    for (op, file) in steps {
        for passed in 0..8 {
            run(crash_after(op, file, passed));
        }
    }
}

/// The process dies after so many operations on a file have passed and one more, counted from the spawn.
async fn crash_after(op: FsOp, file: &'static str, passed: usize) {
    let house = House::new();
    let life = house.live().await;
    let mut client = house.client().await;
    // The conversation exists, so that the next change of the store is the subagent's.
    client.accepted("hello", "h").await;
    client.ending("h").await;
    client.accepted("spawn: count", "m").await;
    house.world.stop_after(op, file);
    for _ in 0..passed {
        for _ in 0..500 {
            if life.process.is_frozen() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        house.world.stop_after(op, file);
        life.process.thaw();
    }
    seconds(5).await;
    life.killed().await;
    house.world.stop_after(op, "nothing");
    house.live().await;
    seconds(60).await;
    let said = conversation(&house).await;
    let count = |words: &str| said.iter().filter(|line| line.contains(words)).count();
    let place = format!("{op} of {file}, {passed} passed: {said:#?} {:?}", books(&house));
    let announced = count("assistant: Result: re: ") + count("Its result: re: ");
    assert!(announced <= 1, "{place}");
    assert!(books(&house).iter().all(|row| row.starts_with("ended ok made")), "{place}");
    assert_eq!(announced, books(&house).len(), "{place}");
    let store: Value = serde_json::from_str(&house.world.text(super::SESSIONS)).expect("JSON");
    let conversations = store.to_string().matches("\"subagent:").count();
    assert_eq!(conversations, books(&house).len(), "{place}: {store}");
    match (count("assistant: spawned"), count("notice: Your message \"spawn: count\"")) {
        (1, 0) => assert_eq!(announced, 1, "{place}"),
        (0, 1) => {}
        _ => panic!("{place}"),
    }
}

#[test]
fn a_disk_that_refuses_the_books_starts_nothing_and_says_so() {
    run(async {
        let house = House::new();
        house.live().await;
        let mut client = house.client().await;
        house.world.fail(FsOp::Write, "runs.json.tmp", 1, 0);
        client.accepted("spawn: count", "m").await;
        let (_, text) = client.ending("m").await;
        assert!(text.contains("could not be started"), "{text}");
        seconds(10).await;
        assert_eq!(asked(&house, "[subagent:"), 0);
    });
}

#[test]
fn a_disk_that_refuses_the_end_is_asked_again() {
    run(async {
        let house = House::new();
        house.model.set(Model::Answers(Duration::from_secs(2)));
        house.live().await;
        let mut client = house.client().await;
        client.accepted("spawn: count", "m").await;
        client.ending("m").await;
        house.world.fail(FsOp::Write, "runs.json.tmp", 3, 0);
        seconds(30).await;
        assert_eq!(books(&house), ["ended ok made 0"]);
        assert_eq!(said(&mut client).await, DONE);
    });
}

#[test]
fn what_is_announced_is_swept_an_hour_later() {
    run(async {
        let house = House::new();
        house.live().await;
        house.client().await.accepted("spawn: count", "m").await;
        seconds(10).await;
        assert!(house.world.text(super::SESSIONS).contains("subagent:"));
        house.world.jump_clock(59 * 60_000);
        seconds(55).await;
        assert_eq!(books(&house).len(), 1);
        seconds(70).await;
        assert_eq!(books(&house).len(), 0);
        assert!(!house.world.text(super::SESSIONS).contains("subagent:"));
        let transcripts = house.world.names_in("/state/agents/main/sessions");
        assert_eq!(transcripts.iter().filter(|name| name.ends_with(".jsonl")).count(), 1, "{transcripts:?}");
    });
}

#[test]
fn a_transcript_that_ends_in_a_call_is_mended() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "h").await;
        client.ending("h").await;
        house.world.stop_after(FsOp::Rename, "sessions.json");
        client.accepted("spawn: count", "m").await;
        seconds(1).await;
        assert!(life.process.is_frozen());
        life.killed().await;
        house.live().await;
        let mut client = house.client().await;
        client.accepted("again", "a").await;
        assert_eq!(client.ending("a").await, ("final".into(), "re: again".into()));
        let transcript = house.world.text(&house.transcript());
        assert!(transcript.contains("it is not known what it did"), "{transcript}");
    });
}

#[test]
fn names_of_subagents_are_not_for_clients() {
    run(async {
        let house = House::new();
        house.live().await;
        let refused = house.client().await.send("mine", "subagent:a:1").await;
        assert_eq!(refused["error"]["code"], "INVALID_REQUEST", "{refused}");
    });
}

#[test]
fn history_waited_for_the_dead_run_and_pruned_what_had_no_conversation() {
    let restore = SubagentRestore::WaitForDeadRun;
    run(async {
        let house = House::with_policies(Policies { subagent_restore: restore, ..Policies::default() });
        at_work(&house).await.killed().await;
        mend(&house);
        house.live().await;
        seconds(100).await;
        assert_eq!(books(&house), ["interrupted - pending 0"]);
        assert_eq!(conversation(&house).await.len(), 2);
    });
    run(async {
        let pruned = SubagentWithoutSession::Pruned;
        let house = House::with_policies(Policies {
            subagent_restore: restore,
            subagent_without_session: pruned,
            subagent_spawn: SubagentSpawn::RowFirst,
            ..Policies::default()
        });
        at_work(&house).await.killed().await;
        let sessions = house.world.text(super::SESSIONS);
        let mut sessions: Value = serde_json::from_str(&sessions).expect("JSON");
        sessions.as_object_mut().expect("sessions").retain(|key, _| key == "main");
        house.world.put(super::SESSIONS, &sessions.to_string());
        house.live().await;
        seconds(100).await;
        assert_eq!(books(&house).len(), 0);
        assert_eq!(conversation(&house).await.len(), 2);
    });
}
