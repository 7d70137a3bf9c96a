//! A disk that fails at one step of a message's road: what its sender hears, and what the next life does.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tracing_test::traced_test;

use super::{House, INBOX, Model, SESSIONS, STORE_LOCK, named, reply, run, user};
use crate::env::{ExitCode, FsOp, Signal};

const FOREVER: usize = usize::MAX;

#[traced_test]
#[test]
fn a_message_that_cannot_be_stored_is_refused_and_never_runs() {
    for (op, torn) in [(FsOp::Append, 0), (FsOp::Append, 20), (FsOp::SyncFile, 0), (FsOp::SyncDir, 0)] {
        run(async {
            let house = House::new();
            let life = house.live().await;
            let mut client = house.client().await;
            house.world.fail(op, if op == FsOp::SyncDir { "/state" } else { "inbox.jsonl" }, 1, torn);
            let refused = client.send("lost?", "k1").await;
            assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
            client.accepted("next", "k2").await;
            assert_eq!(client.ending("k2").await, ("final".into(), "re: next".into()));
            life.killed().await;

            house.live().await;
            let mut client = house.client().await;
            assert_eq!(client.history().await, [user("next"), reply("next")], "{op} {torn}");
            // The key of a refused message is free.
            client.accepted("lost?", "k1").await;
            assert_eq!(client.ending("k1").await.0, "final");
            assert_eq!(house.asked(), ["next", "lost?"]);
        });
    }
    logs_assert(|lines| named(lines, "k1"));
}

#[test]
fn bytes_that_a_failed_append_left_are_removed_before_the_next() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        house.world.fail(FsOp::Append, "inbox.jsonl", 1, 20);
        house.world.fail(FsOp::Truncate, "inbox.jsonl", 1, 0);
        assert_eq!(client.send("lost?", "k1").await["ok"], false);
        assert_eq!(house.world.text(INBOX).len(), 20, "the disk refused to take them back");
        client.accepted("next", "k2").await;
        life.killed().await;
        house.live().await;
        assert!(!house.world.text(INBOX).contains("k1"), "{}", house.world.text(INBOX));
    });
}

#[test]
fn a_disk_that_is_full_when_a_run_begins_costs_time_and_not_the_reply() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        house.model.set(Model::Answers(Duration::from_secs(1)));
        client.accepted("first", "k1").await;
        client.accepted("second", "k2").await;
        sleep(Duration::from_millis(10)).await;
        assert_eq!(house.asked(), ["first"]);
        house.world.fail(FsOp::Append, "inbox.jsonl", FOREVER, 3);
        assert_eq!(client.ending("k1").await, ("final".into(), "re: first".into()));
        sleep(Duration::from_secs(20)).await;
        assert_eq!(house.asked(), ["first"], "nothing is begun that is not on record");
        house.world.heal();
        assert_eq!(client.ending("k2").await, ("final".into(), "re: second".into()));
        // What was owed meanwhile has been written in its order.
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        let journal = house.world.text(INBOX);
        let steps: Vec<_> = journal.lines().map(|line| &line[..30.min(line.len())]).collect();
        assert_eq!(journal.lines().count(), 6, "{steps:#?}");
        assert_eq!(journal.matches("\"how\":\"answered\"").count(), 2, "{journal}");
    });
}

#[test]
fn a_reply_that_is_on_record_is_final_whatever_fails_after_it() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        house.world.neighbour(7);
        let mut client = house.client().await;
        house.model.set(Model::Answers(Duration::from_secs(1)));
        client.accepted("hello", "k1").await;
        sleep(Duration::from_millis(500)).await;
        // From here on neither the store can be changed nor the journal be written.
        house.world.put(STORE_LOCK, &json!({"pid": 7, "createdAt": "", "ownerId": "x"}).to_string());
        house.world.fail(FsOp::Append, "inbox.jsonl", FOREVER, 0);
        let heard =
            timeout(Duration::from_secs(1), client.ending("k1")).await.expect("nothing waits any more");
        assert_eq!(heard, ("final".into(), "re: hello".into()));
        assert_eq!(client.history().await, [user("hello"), reply("hello")]);
        let retried = client.send("hello", "k1").await;
        assert_eq!(
            (&retried["payload"]["status"], &retried["payload"]["outcome"]),
            (&json!("ok"), &json!("answered"))
        );
        life.killed().await;

        // The journal does not know; the transcript does.
        house.world.heal();
        house.world.remove(STORE_LOCK);
        let life = house.live().await;
        assert!(!house.world.text(SESSIONS).contains("running"), "{}", house.world.text(SESSIONS));
        assert_eq!(house.client().await.history().await, [user("hello"), reply("hello")]);
        assert_eq!(house.asked(), ["hello"]);
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert!(house.world.text(INBOX).contains("answered"));
    });
}

#[traced_test]
#[test]
fn a_reply_that_cannot_be_recorded_becomes_one_notice() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        sleep(Duration::from_millis(50)).await;
        // The reply is torn, and then the notice several times.
        house.world.fail(FsOp::Append, ".jsonl", 4, 30);
        let (state, text) = client.ending("k1").await;
        assert_eq!(state, "error");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(client.history().await, [user("hello"), ("notice".into(), text.clone())]);
        life.killed().await;
        house.live().await;
        assert_eq!(house.client().await.history().await, [user("hello"), ("notice".into(), text)]);
        assert_eq!(house.asked(), ["hello"]);
    });
    logs_assert(|lines| named(lines, "k1"));
}

#[test]
fn a_long_life_keeps_a_short_journal() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        house.model.set(Model::Answers(Duration::ZERO));
        let text = "x".repeat(1_000);
        for number in 0..500 {
            let key = format!("k{number}");
            let params = json!({"sessionKey": key, "message": text, "idempotencyKey": key});
            assert_eq!(client.request("chat.send", params).await["ok"], true);
            client.ending(&key).await;
        }
        assert!(house.world.text(INBOX).len() < 300_000, "{}", house.world.text(INBOX).len());
        life.killed().await;
        house.live().await;
        let mut client = house.client().await;
        let params = json!({"sessionKey": "k0", "message": text, "idempotencyKey": "k0"});
        let again = client.request("chat.send", params).await;
        assert_eq!(again["payload"]["outcome"], "answered", "{again}");
        let params = json!({"sessionKey": "k0", "message": "another", "idempotencyKey": "k0"});
        assert_eq!(client.request("chat.send", params).await["error"]["code"], "INVALID_REQUEST");
        assert_eq!(house.asked().len(), 500);
    });
}

#[test]
fn a_message_told_while_it_waited_is_not_run_by_the_next_life() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("first", "k1").await;
        client.ending("k1").await;
        life.killed().await;
        // The crash came between the notice in the transcript and the journal's record of it.
        let transcript = house.transcript();
        let notice = r#"{"type":"message","role":"notice","text":"no","runId":"k2","at":1}"#;
        house.world.put(&transcript, &format!("{}{notice}\n", house.world.text(&transcript)));
        let open = r#"{"type":"accepted","runId":"k2","sessionKey":"main","text":"second","at":1}"#;
        house.world.put(INBOX, &format!("{}{open}\n", house.world.text(INBOX)));

        let life = house.live().await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(house.asked(), ["first"]);
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert!(
            house.world.text(INBOX).ends_with("{\"type\":\"settled\",\"runId\":\"k2\",\"how\":\"told\"}\n")
        );
    });
}

#[test]
fn a_cancellation_that_could_not_be_recorded_still_holds() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        house.model.set(Model::Hangs);
        client.accepted("first", "k1").await;
        client.accepted("second", "k2").await;
        sleep(Duration::from_millis(10)).await;
        house.world.fail(FsOp::Append, "inbox.jsonl", 4, 5);
        let abort = json!({"sessionKey": "main", "runId": "k2"});
        let refused = client.request("chat.abort", abort.clone()).await;
        let (error, why) = (&refused["error"], refused["error"]["message"].as_str().unwrap_or_default());
        assert!(error["retryable"] == true && why.contains("could not be recorded"), "{refused}");
        let again = client.request("chat.abort", abort.clone()).await;
        assert_eq!(again["ok"], false, "{again}");
        // As soon as a crash would not bring it back.
        assert_eq!(client.ending("k2").await.0, "aborted");
        let already = client.request("chat.abort", abort).await;
        assert_eq!(already["payload"]["alreadyStopped"], json!(["k2"]), "{already}");
        sleep(Duration::from_secs(5)).await;
        life.killed().await;

        house.live().await;
        sleep(Duration::from_secs(5)).await;
        assert_eq!(house.asked(), ["first"]);
    });
}

#[test]
fn one_conversation_that_cannot_be_read_keeps_nobody_else_waiting() {
    run(async {
        let house = House::new();
        let life = house.live().await;
        let mut client = house.client().await;
        house.model.set(Model::Hangs);
        client.accepted("hello", "k1").await;
        sleep(Duration::from_millis(10)).await;
        life.killed().await;
        let journal = house.world.text(INBOX);
        let transcript = house.transcript();
        house.world.put(&transcript, "no transcript\n");

        let life = house.live().await;
        house.model.set(Model::Answers(Duration::ZERO));
        let mut client = house.client().await;
        let unreadable = client.request("chat.history", json!({"sessionKey": "main"})).await;
        assert_eq!(unreadable["error"]["code"], "UNAVAILABLE", "{unreadable}");
        let params = json!({"sessionKey": "other", "message": "hi", "idempotencyKey": "k2"});
        assert_eq!(client.request("chat.send", params).await["ok"], true);
        assert_eq!(client.ending("k2").await.0, "final");
        assert_eq!(house.world.text(&transcript), "no transcript\n");
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert!(house.world.text(INBOX).starts_with(&journal), "the message is still open");
    });
}

#[test]
fn state_that_is_not_ours_is_never_overwritten() {
    for (path, text) in [
        (INBOX, "my shopping list"),
        (INBOX, "my shopping list\n"),
        (INBOX, "{\"type\":\"accepted\"}\n"),
        (INBOX, "{\"type\":\"started\",\"runId\":\"a\"}\nmilk"),
        (SESSIONS, "{"),
        (SESSIONS, "[]"),
    ] {
        run(async {
            let house = House::new();
            house.world.put(path, text);
            assert_eq!(house.launch().ended().await, ExitCode::CONFIG, "{text:?}");
            assert_eq!(house.world.text(path), text);
            assert_eq!(house.world.text("/state/gateway.lock"), "", "the lock is released");
        });
    }
}

#[test]
fn a_torn_record_is_cut_off_and_the_rest_kept() {
    for torn in ["{", "{\"typ", "{\"type\":\"accepted\",\"runId\":\"k9", "\0\0\0\0"] {
        run(async {
            let house = House::new();
            let whole = "{\"type\":\"started\",\"runId\":\"a\"}\n";
            house.world.put(INBOX, &format!("{whole}{torn}"));
            house.live().await;
            assert_eq!(house.world.text(INBOX), whole, "{torn:?}");
        });
    }
}

#[test]
fn trouble_of_the_disk_at_the_start_may_pass() {
    for (op, file) in [
        (FsOp::CreateDir, "/state"),
        (FsOp::CreateNew, "gateway.lock"),
        (FsOp::Write, "gateway.lock"),
        (FsOp::Read, "inbox.jsonl"),
        (FsOp::Read, "config.json"),
    ] {
        run(async {
            let house = House::new();
            house.world.put(INBOX, "");
            house.world.fail(op, file, 3, 0);
            let begun = Instant::now();
            house.live().await;
            assert!(begun.elapsed() >= Duration::from_secs(1), "{op} {file}");
        });
        run(async {
            let house = House::new();
            house.world.put(INBOX, "");
            house.world.fail(op, file, FOREVER, 0);
            let begun = Instant::now();
            assert_eq!(house.launch().ended().await, ExitCode::FAILURE, "{op} {file}");
            assert!(begun.elapsed() >= Duration::from_secs(60), "a supervisor soon gives up");
            assert_eq!(house.world.text("/state/gateway.lock"), "", "{op} {file}");
        });
    }
}
