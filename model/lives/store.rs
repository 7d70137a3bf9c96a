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
fn an_empty_file_where_nobody_ever_talked_is_in_the_way_of_nobody() {
    for damage in ["", "{"] {
        run(async {
            let house = House::new();
            assert_eq!(house.live().await.end(Signal::Terminate).await, ExitCode::CLEAN);
            house.world.put(SESSIONS, damage);
            if !damage.is_empty() {
                assert_eq!(house.launch().ended().await, ExitCode::CONFIG, "something may have stood there");
                assert_eq!(house.world.text(SESSIONS), damage);
                return;
            }
            house.live().await;
            let mut client = house.client().await;
            client.accepted("hello", "k1").await;
            client.ending("k1").await;
            assert_eq!(client.history().await, [user("hello"), reply("hello")]);
            assert!(house.world.text(SESSIONS).contains("main"));
        });
    }
}

/// How often the poller looks.
const POLLER: Duration = Duration::from_secs(300);

#[test]
fn a_store_that_is_cut_to_nothing_while_the_gateway_serves_is_restored_by_the_poller() {
    for (damage, holder) in [("", None), ("{\"main\":", None), ("", Some(99)), ("", Some(7))] {
        run(async {
            let house = lived_in().await;
            house.world.neighbour(7);
            house.live().await;
            let before: serde_json::Value = serde_json::from_str(&house.world.text(SESSIONS)).expect("JSON");
            house.world.put(SESSIONS, damage);
            if let Some(pid) = holder {
                house
                    .world
                    .put(super::STORE_LOCK, &serde_json::json!({"pid": pid, "createdAt": ""}).to_string());
            }
            sleep(POLLER + Duration::from_secs(11)).await;
            if holder == Some(7) {
                assert_eq!(house.world.text(SESSIONS), damage, "nobody writes past a holder that lives");
                house.world.bury(7);
                sleep(POLLER).await;
            }
            let after: serde_json::Value = serde_json::from_str(&house.world.text(SESSIONS)).expect("JSON");
            for key in ["main", "other"] {
                assert_eq!(after[key]["sessionId"], before[key]["sessionId"], "{damage:?} {holder:?}");
            }
            let mut client = house.client().await;
            client.accepted("again", "k3").await;
            assert_eq!(client.ending("k3").await, ("final".into(), "re: again".into()));
            let health = client.request("health", serde_json::json!({})).await;
            assert_eq!(health["payload"]["store"]["state"], "restored");
        });
    }
}

#[test]
fn a_message_that_meets_a_damaged_store_is_kept_until_that_is_restored() {
    run(async {
        let house = lived_in().await;
        house.live().await;
        house.world.put(SESSIONS, "");
        let mut client = house.client().await;
        client.accepted("again", "k3").await;
        client.send_in("third", "hey", "k4").await;
        for _ in 0..2 {
            let event = client.event("chat").await;
            assert!(event["errorMessage"].as_str().is_some_and(|text| text.contains("waits")), "{event}");
        }
        sleep(POLLER).await;
        for _ in 0..2 {
            let event = loop {
                let event = client.event("chat").await;
                if event["state"] != "delta" {
                    break event;
                }
            };
            assert_eq!(event["state"], "final", "{event}");
        }
    });
}

#[test]
fn the_poller_frees_what_nobody_holds_although_every_lock_of_the_store_is_held() {
    run(async {
        let house = lived_in().await;
        house.world.neighbour(7);
        house.live().await;
        let live = serde_json::json!({"pid": 7, "createdAt": ""}).to_string();
        let dead = serde_json::json!({"pid": 99, "createdAt": ""}).to_string();
        house.world.put(super::STORE_LOCK, &live);
        // Only the poller looks where this version has no locks.
        let stale =
            ["/state/agents/other/sessions/sessions.json.lock", "/state/agents/other/sessions/a.jsonl.lock"];
        stale.iter().for_each(|path| house.world.put(path, &dead));
        sleep(Duration::from_secs(80)).await;
        assert_eq!(house.world.text(stale[0]), dead, "the watch of every minute leaves it to the poller");
        sleep(POLLER).await;
        assert_eq!(stale.map(|path| house.world.text(path)), ["", ""]);
        assert_eq!(house.world.text(super::STORE_LOCK), live);
    });
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
            let life = house.launch();
            sleep(Duration::from_millis(100)).await;
            life.killed().await;
            assert_eq!(house.probe("/readyz").await, None, "{op} {file}");
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
