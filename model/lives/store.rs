//! A session store that fails to be written, or that cannot be read any more: what is kept, and what is restored.

use std::time::Duration;

use tokio::time::sleep;

use super::{House, SESSIONS, named, reply, run, user};
use crate::env::{ExitCode, FsOp, Signal};
use crate::policy::{Policies, TornLine, UnreadableStore};
use tracing_test::traced_test;

const DIR: &str = "/state/agents/main/sessions";
const COPY: &str = "/state/agents/main/sessions/sessions.json.last-good";

/// A house in which somebody has talked in two conversations, with the gateway stopped.
async fn lived_in() -> House {
    let house = House::new();
    let life = house.live().await;
    let mut client = house.client().await;
    client.accepted("hello", "k1").await;
    client.ending("k1").await;
    client.send_in("other", "hi", "k2").await;
    client.ending("k2").await;
    assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
    house
}

fn names(house: &House, part: &str) -> Vec<String> {
    let mut names = house.world.names_in(DIR);
    names.retain(|name| name.contains(part));
    names
}

#[test]
fn a_store_that_is_damaged_is_restored_and_the_damage_kept() {
    for has_copy in [true, false] {
        for damage in ["", "{\"main\":", "[]", "\0\0\0"] {
            run(async {
                let house = lived_in().await;
                let before: serde_json::Value =
                    serde_json::from_str(&house.world.text(SESSIONS)).expect("JSON");
                if has_copy {
                    house.live().await.end(Signal::Terminate).await;
                    assert_eq!(house.world.text(COPY), house.world.text(SESSIONS));
                }
                house.world.put(SESSIONS, damage);
                house.live().await;
                let mut client = house.client().await;
                assert_eq!(client.history().await, [user("hello"), reply("hello")], "{damage:?} {has_copy}");
                let after: serde_json::Value =
                    serde_json::from_str(&house.world.text(SESSIONS)).expect("JSON");
                for key in ["main", "other"] {
                    assert_eq!(after[key]["sessionId"], before[key]["sessionId"], "{damage:?} {has_copy}");
                }
                assert_eq!(names(&house, ".broken-").len(), usize::from(!damage.is_empty()));
                if let [aside] = &names(&house, ".broken-")[..] {
                    assert_eq!(house.world.text(&format!("{DIR}/{aside}")), damage);
                }
                let health = client.request("health", serde_json::json!({})).await;
                assert_eq!(health["payload"]["store"]["state"], "restored");
            });
        }
    }
}

#[test]
fn a_store_that_is_gone_is_restored_from_its_copy() {
    run(async {
        let house = lived_in().await;
        house.live().await.end(Signal::Terminate).await;
        house.world.remove(SESSIONS);
        house.live().await;
        assert_eq!(house.client().await.history().await, [user("hello"), reply("hello")]);
    });
}

#[test]
fn without_copy_and_evidence_a_damaged_store_refuses_the_start() {
    run(async {
        let house = lived_in().await;
        for name in names(&house, ".jsonl") {
            let old = house.world.text(&format!("{DIR}/{name}"));
            let (_, rest) = old.split_once('\n').expect("a header");
            house
                .world
                .put(&format!("{DIR}/{name}"), &format!("{{\"type\":\"session\",\"version\":1}}\n{rest}"));
        }
        for damage in ["", "{"] {
            house.world.put(SESSIONS, damage);
            assert_eq!(house.launch().ended().await, ExitCode::CONFIG, "{damage:?}");
            assert_eq!(house.world.text(SESSIONS), damage);
        }
    });
    // Where there was never anything, an empty file is nothing.
    run(async {
        let house = House::new();
        house.world.put(SESSIONS, "");
        house.live().await;
    });
}

#[test]
fn a_crash_while_restoring_is_no_second_damage() {
    for (op, file) in [
        (FsOp::Write, ".tmp"),
        (FsOp::SyncFile, ".tmp"),
        (FsOp::Rename, "sessions.json"),
        (FsOp::SyncDir, "sessions"),
    ] {
        run(async {
            let house = lived_in().await;
            house.world.put(SESSIONS, "{\"main\":");
            house.world.fail(op, file, 1, 3);
            assert_eq!(house.launch().ended().await, ExitCode::FAILURE, "{op} {file}");
            house.live().await;
            assert_eq!(house.client().await.history().await, [user("hello"), reply("hello")], "{op} {file}");
        });
    }
}

#[test]
fn history_took_a_damaged_store_for_an_empty_one() {
    run(async {
        let unreadable_store = UnreadableStore::TreatAsEmpty;
        let house = House::with_policies(Policies { unreadable_store, ..Policies::default() });
        house.world.put(SESSIONS, "{\"main\":");
        house.live().await;
        let mut client = house.client().await;
        client.accepted("hello", "k1").await;
        assert_eq!(client.ending("k1").await.0, "final");
        assert!(names(&house, ".broken-").is_empty());
        assert!(house.world.text(SESSIONS).contains("sessionFile"));
    });
}

#[test]
fn history_wrote_on_behind_a_torn_line() {
    run(async {
        let house = House::with_policies(Policies { torn_line: TornLine::PassedOver, ..Policies::default() });
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("first", "k1").await;
        client.ending("k1").await;
        life.killed().await;
        let transcript = house.transcript();
        let whole = house.world.text(&transcript);
        house.world.put(&transcript, &format!("{whole}{{\"type\":\"mess"));
        house.live().await;
        let mut client = house.client().await;
        client.accepted("second", "k2").await;
        client.ending("k2").await;
        assert!(house.world.text(&transcript).contains("{\"type\":\"mess{\"type\""), "glued together");
        let texts = client.history().await;
        assert_eq!(texts, [user("first"), reply("first"), reply("second")], "what was glued is lost");
    });
}

#[traced_test]
#[test]
fn a_disk_that_fails_at_any_step_of_a_change_keeps_the_old_store_and_the_message() {
    for (op, file) in [
        (FsOp::Lock, "json.guard"),
        (FsOp::CreateNew, "json.lock"),
        (FsOp::Write, "json.lock"),
        (FsOp::Write, ".tmp"),
        (FsOp::SyncFile, ".tmp"),
        (FsOp::Read, "json.lock"),
        (FsOp::Rename, "sessions.json"),
        (FsOp::SyncDir, "sessions"),
    ] {
        for torn in [0, 5] {
            run(async {
                let house = lived_in().await;
                house.live().await;
                let mut client = house.client().await;
                let before = house.world.text(SESSIONS);
                house.world.fail(op, file, usize::MAX, torn);
                client.send_in("third", "hey", "k3").await;
                let (state, text) = client.ending("k3").await;
                assert_eq!(state, "error", "{op} {file}");
                assert!(text.contains("waits") && text.contains(file), "{text}");
                assert_eq!(client.history().await, [user("hello"), reply("hello")]);
                if op != FsOp::SyncDir {
                    assert_eq!(house.world.text(SESSIONS), before, "{op} {file}");
                }
                sleep(Duration::from_secs(60)).await;
                house.world.heal();
                assert_eq!(client.ending("k3").await, ("final".into(), "re: hey".into()), "{op} {file}");
                sleep(Duration::from_secs(2)).await;
                assert_eq!(names(&house, ".tmp"), [""; 0], "{op} {file}");
                assert_eq!(names(&house, ".lock"), [""; 0], "{op} {file}");
                assert_eq!(house.asked(), ["hello", "hi", "hey"]);
            });
        }
    }
    logs_assert(|lines| named(lines, "k3"));
}

#[test]
fn leftovers_of_interrupted_changes_are_removed_and_a_holders_file_is_not() {
    run(async {
        let house = lived_in().await;
        house.world.neighbour(7);
        let lock = serde_json::json!({"pid": 7, "ownerId": "alive", "leaseMs": 30_000}).to_string();
        house.world.put(super::STORE_LOCK, &lock);
        for owner in ["alive", "gone"] {
            house.world.put(&format!("{SESSIONS}.{owner}.tmp"), "{}");
        }
        house.live().await;
        assert_eq!(names(&house, ".tmp"), ["sessions.json.alive.tmp"]);
    });
}
