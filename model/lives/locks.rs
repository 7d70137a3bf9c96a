//! Locks in the way of a message, holders that die or stand still at every step, and two programs at one store.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{House, Model, SESSIONS, STORE_LOCK, TOKEN, run};
use crate::env::test_env::{TestProcess, World};
use crate::env::{FsOp, Signal};
use crate::policy::{InstanceLock, Policies, StoreLock};
use crate::sessions::{LOCK_DEADLINE, LockError, Rules, SessionStore, StateError, StateFiles, Trace};

const DIR: &str = "/state/agents/main/sessions";
const INSTANCE_LOCK: &str = "/state/gateway.lock";

/// The lock of another program that promises nothing.
fn foreign(pid: u32) -> String {
    json!({"pid": pid, "createdAt": "2026-03-02T00:00:00Z"}).to_string()
}

/// The lock of a process of this version.
fn leased(pid: u32, owner: &str) -> String {
    json!({"pid": pid, "createdAt": "", "startTime": 1, "ownerId": owner, "leaseMs": 30_000}).to_string()
}

/// A program that changes the store, with no gateway around it.
struct Tool {
    process: TestProcess,
    store: Rc<SessionStore>,
}

type Outcome = Rc<RefCell<Option<Result<(), StateError>>>>;

impl Tool {
    fn new(world: &World, pid: u32, policy: StoreLock) -> Self {
        let process = world.process(pid);
        let policies = Policies { store_lock: policy, ..Policies::default() };
        let files = StateFiles::new(process.env.clone(), policies.state_write);
        let store = SessionStore::open(process.env.clone(), files, Path::new(DIR), &policies);
        Self { process, store: Rc::new(store.expect("the store is sound")) }
    }

    /// Begins to add a session; the result is there once it is done.
    fn add(&self, key: &'static str) -> Outcome {
        let (store, outcome) = (self.store.clone(), Outcome::default());
        let slot = outcome.clone();
        drop(self.process.env.spawn("add", async move {
            let added = store.touch(key, &Trace::default()).await.map(drop);
            slot.replace(Some(added));
        }));
        outcome
    }
}

fn keys(world: &World) -> Vec<String> {
    let sessions: Value = serde_json::from_str(&world.text(SESSIONS)).expect("the store parses");
    sessions.as_object().expect("an object").keys().cloned().collect()
}

#[track_caller]
fn check_tidy(world: &World) {
    let names = world.names_in(DIR);
    let left: Vec<_> =
        names.iter().filter(|name| name.ends_with(".tmp") || name.ends_with(".lock")).collect();
    assert!(left.is_empty(), "{names:?}");
}

#[test]
fn a_conversation_that_exists_goes_on_whatever_holds_the_store() {
    run(async {
        let house = House::new();
        house.world.neighbour(7);
        house.live().await;
        let mut client = house.client().await;
        client.accepted("first", "k1").await;
        assert_eq!(client.ending("k1").await.0, "final");
        house.world.put(STORE_LOCK, &foreign(7));
        sleep(Duration::from_secs(120)).await;
        let asked = Instant::now();
        client.accepted("second", "k2").await;
        assert_eq!(client.ending("k2").await.0, "final");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    });
}

#[test]
fn the_store_is_written_for_a_new_session_and_then_once_a_minute() {
    run(async {
        let house = House::new();
        house.live().await;
        let mut client = house.client().await;
        let mut written = Vec::new();
        for number in 0..4 {
            let key = format!("k{number}");
            client.accepted("hello", &key).await;
            client.ending(&key).await;
            written.push(house.world.text(SESSIONS));
            sleep(Duration::from_secs(25)).await;
        }
        assert_eq!(written[0], written[2], "50 s are not worth a write");
        assert_ne!(written[2], written[3]);
    });
}

#[test]
fn locks_that_nobody_holds_are_gone_before_anybody_needs_them() {
    let dead = leased(99, "x");
    for (path, text) in [
        (STORE_LOCK, dead.as_str()),
        ("/state/agents/main/sessions/abc.jsonl.lock", dead.as_str()),
        ("/state/agents/other/sessions/sessions.json.lock", dead.as_str()),
        ("/state/cron.lock", dead.as_str()),
    ] {
        run(async {
            let house = House::new();
            house.world.put(path, text);
            house.live().await;
            assert_eq!(house.world.text(path), "", "{path}");
        });
    }
    // While it serves, too.
    run(async {
        let house = House::new();
        house.world.neighbour(7);
        house.world.put(STORE_LOCK, &foreign(7));
        house.live().await;
        assert_eq!(house.world.text(STORE_LOCK), foreign(7));
        house.world.bury(7);
        sleep(Duration::from_secs(61)).await;
        assert_eq!(house.world.text(STORE_LOCK), "");
        // A tool alone would never see that this one is silent.
        house.world.neighbour(7);
        house.world.put(STORE_LOCK, &leased(7, "x"));
        sleep(Duration::from_secs(121)).await;
        assert_eq!(house.world.text(STORE_LOCK), "");
    });
}

#[test]
fn history_swept_the_locks_of_transcripts_only() {
    run(async {
        let sweep = crate::policy::LockSweep::TranscriptsOnly;
        let house = House::with_policies(Policies { lock_sweep: sweep, ..Policies::default() });
        let transcript = "/state/agents/main/sessions/abc.jsonl.lock";
        house.world.put(transcript, &foreign(99));
        house.world.put(STORE_LOCK, &foreign(99));
        house.live().await;
        sleep(Duration::from_secs(200)).await;
        assert_eq!(house.world.text(transcript), "");
        assert_eq!(house.world.text(STORE_LOCK), foreign(99));
    });
}

#[test]
fn health_names_every_lock_and_who_holds_it() {
    run(async {
        let house = House::new();
        house.world.neighbour(7);
        house.live().await;
        house.world.put(STORE_LOCK, &foreign(7));
        house.world.put("/state/other.lock", "no lock");
        house.world.put("/state/old.lock", &foreign(99));
        let mut client = house.stranger().await;
        client.identify(TOKEN).await;
        let health = client.request("health", json!({})).await;
        let locks = health["payload"]["locks"].as_array().expect("a list");
        let found: Vec<_> =
            locks.iter().map(|lock| (&lock["file"], &lock["owner"], &lock["state"])).collect();
        assert_eq!(
            found,
            [
                (&json!(INSTANCE_LOCK), &json!(101), &json!("held")),
                (&json!("/state/old.lock"), &json!(99), &json!("stale")),
                (&json!("/state/other.lock"), &json!(null), &json!("unreadable")),
                (&json!(STORE_LOCK), &json!(7), &json!("held")),
            ]
        );
        assert!(locks[3]["heldForMs"].as_u64().is_some() || locks[3]["since"].is_string(), "{health}");
        assert_eq!(health["payload"]["store"]["state"], "ok");
    });
}

#[test]
fn a_frozen_holder_is_taken_over_and_cannot_write_any_more() {
    for (op, file) in [(FsOp::Write, "json.lock"), (FsOp::SyncFile, ".tmp")] {
        run(async {
            let world = World::default();
            let frozen = Tool::new(&world, 7, StoreLock::Leased);
            let other = Tool::new(&world, 8, StoreLock::Leased);
            world.stop_after(op, file);
            let first = frozen.add("first");
            sleep(Duration::from_secs(1)).await;
            assert!(frozen.process.is_frozen(), "{op}");
            let tried = other.add("impatient");
            sleep(Duration::from_secs(12)).await;
            assert!(
                matches!(&*tried.borrow(), Some(Err(StateError::Lock(LockError::Held { owner, .. }))) if owner.0 == 7),
                "{tried:?}"
            );
            // What was watched in the first attempt counts in the next.
            sleep(Duration::from_secs(10)).await;
            let second = other.add("second");
            sleep(Duration::from_secs(10)).await;
            assert!(matches!(*second.borrow(), Some(Ok(()))), "{second:?}");
            assert_eq!(keys(&world), ["second"]);
            frozen.process.thaw();
            sleep(Duration::from_secs(1)).await;
            assert!(matches!(*first.borrow(), Some(Ok(()))), "{first:?}");
            assert_eq!(keys(&world), ["first", "second"], "it began again with what was there: {op}");
            check_tidy(&world);
        });
    }
}

/// What it read still stands there; the one who has the lock by now is about to change it.
#[test]
fn who_lost_its_lock_does_not_write_although_nobody_else_has_yet() {
    run(async {
        let world = World::default();
        world.neighbour(8);
        let frozen = Tool::new(&world, 7, StoreLock::Leased);
        world.stop_after(FsOp::SyncFile, ".tmp");
        let added = frozen.add("first");
        sleep(Duration::from_secs(1)).await;
        world.put(STORE_LOCK, &leased(8, "x"));
        frozen.process.thaw();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(world.text(SESSIONS), "");
        assert_eq!(world.text(STORE_LOCK), leased(8, "x"));
        world.remove(STORE_LOCK);
        sleep(Duration::from_secs(2)).await;
        assert!(matches!(*added.borrow(), Some(Ok(()))), "{added:?}");
        assert_eq!(keys(&world), ["first"]);
    });
}

#[test]
fn the_planted_writer_loses_the_others_update() {
    run(async {
        let world = World::default();
        let frozen = Tool::new(&world, 7, StoreLock::WritesWithoutLooking);
        let other = Tool::new(&world, 8, StoreLock::Leased);
        world.stop_after(FsOp::SyncFile, ".tmp");
        drop(frozen.add("first"));
        drop(other.add("impatient"));
        sleep(Duration::from_secs(25)).await;
        drop(other.add("second"));
        sleep(Duration::from_secs(10)).await;
        assert_eq!(keys(&world), ["second"]);
        frozen.process.thaw();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(keys(&world), ["first"]);
    });
}

#[test]
fn a_silent_holder_is_respected_by_those_who_promise_it_and_when_it_promised_nothing() {
    for (policy, lock) in [(StoreLock::RespectsTheSilent, leased(7, "x")), (StoreLock::Leased, foreign(7))] {
        run(async {
            let world = World::default();
            world.neighbour(7);
            world.put(STORE_LOCK, &lock);
            let tool = Tool::new(&world, 8, policy);
            for _ in 0..20 {
                let tried = tool.add("first");
                sleep(Duration::from_secs(11)).await;
                assert!(matches!(*tried.borrow(), Some(Err(_))), "{policy:?}");
            }
            world.bury(7);
            drop(tool.add("first"));
            sleep(Duration::from_secs(1)).await;
            assert_eq!(keys(&world), ["first"]);
        });
    }
}

#[test]
fn a_holder_that_dies_at_any_step_leaves_the_old_store_or_the_new_and_is_taken_over_at_once() {
    for (op, file) in [
        (FsOp::Write, "json.lock"),
        (FsOp::SyncFile, ".tmp"),
        (FsOp::Rename, "sessions.json"),
        (FsOp::SyncDir, "sessions"),
    ] {
        run(async {
            let world = World::default();
            drop(Tool::new(&world, 6, StoreLock::Leased).add("old"));
            sleep(Duration::from_secs(1)).await;
            let doomed = Tool::new(&world, 7, StoreLock::Leased);
            world.stop_after(op, file);
            drop(doomed.add("new"));
            sleep(Duration::from_secs(1)).await;
            assert!(doomed.process.is_frozen(), "{op}");
            doomed.process.kill();
            let asked = Instant::now();
            let next = Tool::new(&world, 8, StoreLock::Leased);
            let added = next.add("next");
            while added.borrow().is_none() {
                sleep(Duration::from_millis(1)).await;
            }
            assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
            let expected: &[&str] = match op {
                FsOp::Rename | FsOp::SyncDir => &["new", "next", "old"],
                _ => &["next", "old"],
            };
            assert_eq!(keys(&world), expected, "{op}");
        });
    }
}

#[test]
fn two_programs_at_one_store_lose_no_update() {
    const KEYS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    run(async {
        let world = World::default();
        let tools = [7, 8, 9].map(|pid| Tool::new(&world, pid, StoreLock::Leased));
        for (number, key) in KEYS.into_iter().enumerate() {
            drop(tools[number % 3].add(key));
        }
        sleep(Duration::from_secs(10)).await;
        assert_eq!(keys(&world), KEYS);
        check_tidy(&world);
    });
}

#[test]
fn everybody_in_the_queue_has_its_own_deadline_from_when_it_asked() {
    run(async {
        let world = World::default();
        world.neighbour(7);
        world.put(STORE_LOCK, &foreign(7));
        let tool = Tool::new(&world, 8, StoreLock::Leased);
        let waiting = ["a", "b", "c", "d"].map(|key| tool.add(key));
        sleep(Duration::from_millis(11_000)).await;
        for outcome in &waiting {
            let outcome = outcome.borrow();
            let Some(Err(StateError::Lock(LockError::Held { owner, .. }))) = &*outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(owner.0, 7, "who is behind learns who is in the way of all");
        }
    });
}

#[test]
fn a_store_lock_that_cannot_be_read_just_now_is_not_broken() {
    run(async {
        let world = World::default();
        world.neighbour(7);
        world.put(STORE_LOCK, &leased(7, "x"));
        world.fail_with(io::ErrorKind::WouldBlock, FsOp::Read, "json.lock", usize::MAX);
        let tool = Tool::new(&world, 8, StoreLock::Leased);
        for _ in 0..5 {
            drop(tool.add("a"));
            sleep(Duration::from_secs(11)).await;
        }
        assert_eq!(world.text(STORE_LOCK), leased(7, "x"));
    });
}

#[test]
fn no_jump_of_the_clock_breaks_a_lock() {
    run(async {
        let world = World::default();
        world.neighbour(7);
        let tool = Tool::new(&world, 8, StoreLock::Leased);
        for (key, text) in [("a", leased(7, "x")), ("b", String::new()), ("c", "no lock".to_string())] {
            world.put(STORE_LOCK, &text);
            let tried = tool.add(key);
            sleep(Duration::from_secs(2)).await;
            world.jump_clock(86_400_000);
            sleep(Duration::from_secs(2)).await;
            assert_eq!(world.text(STORE_LOCK), text, "{text}");
            assert!(tried.borrow().is_none());
            world.remove(STORE_LOCK);
            sleep(Duration::from_secs(2)).await;
        }
    });
}

#[test]
fn an_aborted_holder_and_the_end_of_a_life_leave_no_lock() {
    run(async {
        let world = World::default();
        let tool = Tool::new(&world, 7, StoreLock::Leased);
        let store = tool.store.clone();
        let task = tool
            .process
            .env
            .spawn("change", async move { store.touch("a", &Trace::default()).await.map(drop) });
        // It has the lock and waits for its next turn.
        while world.text(STORE_LOCK).is_empty() {
            tokio::task::yield_now().await;
        }
        task.abort();
        assert!(task.await.is_none());
        check_tidy(&world);
    });
    for signal in [Signal::Terminate, Signal::User1] {
        run(async {
            let house = House::new();
            house.model.set(Model::Hangs);
            let life = house.live().await;
            // A notice that is owed is written by a task that nobody waits for at the end.
            house.world.stop_after(FsOp::SyncFile, ".tmp");
            house.client().await.accepted("hello", "k1").await;
            sleep(Duration::from_secs(1)).await;
            assert!(life.process.is_frozen());
            assert_ne!(house.world.text(STORE_LOCK), "");
            life.process.thaw();
            life.end(signal).await;
            check_tidy(&house.world);
            assert_eq!(house.world.text(INSTANCE_LOCK), "");
        });
    }
}

#[test]
fn a_lock_that_the_disk_does_not_give_back_is_tried_again_and_in_nobodys_way() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other] {
        run(async {
            let world = World::default();
            let (first, other) =
                (Tool::new(&world, 7, StoreLock::Leased), Tool::new(&world, 8, StoreLock::Leased));
            world.fail_with(kind, FsOp::Remove, "json.lock", 2);
            drop(first.add("a"));
            sleep(Duration::from_millis(100)).await;
            assert_ne!(world.text(STORE_LOCK), "");
            drop(other.add("b"));
            sleep(Duration::from_secs(6)).await;
            assert_eq!(keys(&world), ["a", "b"], "{kind}");
            check_tidy(&world);
        });
    }
}

#[test]
fn a_change_begins_again_when_a_program_without_locks_wrote_in_between() {
    let entry = json!({"sessionId": "1", "sessionFile": "1.jsonl", "updatedAt": 1});
    for attempts in [1, 2, 3] {
        run(async {
            let world = World::default();
            let tool = Tool::new(&world, 7, StoreLock::Leased);
            let added = tool.add("first");
            let mut others = json!({});
            for attempt in 0..attempts {
                world.stop_after(FsOp::SyncFile, ".tmp");
                tool.process.thaw();
                sleep(Duration::from_secs(1)).await;
                assert!(tool.process.is_frozen(), "{attempt}");
                others[format!("other {attempt}")] = entry.clone();
                world.put(SESSIONS, &others.to_string());
            }
            tool.process.thaw();
            sleep(Duration::from_secs(1)).await;
            let mut expected: Vec<_> = (0..attempts).map(|attempt| format!("other {attempt}")).collect();
            match attempts {
                3 => {
                    let outcome = added.borrow();
                    let Some(Err(error)) = &*outcome else { panic!("{outcome:?}") };
                    assert!(error.to_string().contains("does not take its lock"), "{error}");
                }
                _ => {
                    assert!(matches!(*added.borrow(), Some(Ok(()))), "{added:?}");
                    expected.insert(0, "first".into());
                }
            }
            assert_eq!(keys(&world), expected);
            check_tidy(&world);
        });
    }
}

#[test]
fn nobody_is_told_of_a_session_before_it_is_durable() {
    run(async {
        let world = World::default();
        let tool = Tool::new(&world, 7, StoreLock::Leased);
        world.fail(FsOp::SyncDir, "sessions", 2, 0);
        let added = tool.add("a");
        sleep(Duration::from_secs(1)).await;
        assert!(matches!(*added.borrow(), Some(Err(_))));
        assert_eq!(keys(&world), ["a"], "it is there, and may not stay");
        let open = || tool.store.open_transcript("a", LOCK_DEADLINE);
        assert!(open().await.is_err());
        assert!(open().await.is_ok());
    });
}

#[test]
fn a_lock_that_was_replaced_while_it_was_judged_is_left_alone() {
    for judged in [String::new(), foreign(99)] {
        run(async {
            let world = World::default();
            world.neighbour(7);
            world.put(STORE_LOCK, &judged);
            let tool = Tool::new(&world, 8, StoreLock::Leased);
            let added = tool.add("a");
            sleep(Duration::from_millis(4_900 * u64::from(judged.is_empty()))).await;
            world.replace_after(FsOp::Stat, "json.lock", &foreign(7));
            sleep(Duration::from_secs(1)).await;
            assert_eq!(world.text(STORE_LOCK), foreign(7), "{judged:?}");
            world.bury(7);
            sleep(Duration::from_secs(2)).await;
            assert!(matches!(*added.borrow(), Some(Ok(()))), "{added:?}");
        });
    }
}

#[test]
fn what_goes_on_after_the_end_of_a_life_has_no_lock_and_gets_none() {
    run(async {
        let world = World::default();
        let tool = Tool::new(&world, 7, StoreLock::Leased);
        let locks = tool.store.files().locks();
        let rules = Rules::instance(InstanceLock::Verified);
        let last = locks.acquire(Path::new(INSTANCE_LOCK), rules, Duration::ZERO).await.expect("it is free");
        let at_work = tool.add("a");
        while world.text(STORE_LOCK).is_empty() {
            tokio::task::yield_now().await;
        }
        locks.close(last).await;
        assert_eq!((world.text(STORE_LOCK), world.text(INSTANCE_LOCK)), Default::default());
        let late = tool.add("b");
        sleep(Duration::from_secs(30)).await;
        for outcome in [at_work, late] {
            let outcome = outcome.borrow();
            assert!(matches!(*outcome, Some(Err(StateError::Lock(LockError::Closed { .. })))), "{outcome:?}");
        }
        assert_eq!(world.text(SESSIONS), "");
        check_tidy(&world);
    });
}

#[test]
fn a_lock_whose_payload_the_disk_refused_is_in_nobodys_way() {
    for torn in [0, 5] {
        run(async {
            let world = World::default();
            let tool = Tool::new(&world, 7, StoreLock::Leased);
            world.fail(FsOp::Write, "json.lock", 1, torn);
            let refused = tool.add("a");
            sleep(Duration::from_millis(10)).await;
            assert!(matches!(*refused.borrow(), Some(Err(StateError::Lock(LockError::Io { .. })))));
            let added = tool.add("a");
            sleep(Duration::from_millis(10)).await;
            assert!(matches!(*added.borrow(), Some(Ok(()))), "{added:?}");
        });
    }
}

#[test]
fn a_lock_that_changes_hands_is_not_silent() {
    run(async {
        let world = World::default();
        world.neighbour(7);
        let tool = Tool::new(&world, 8, StoreLock::Leased);
        for turn in 0..6 {
            let lock = leased(7, &turn.to_string());
            world.put(STORE_LOCK, &lock);
            for _ in 0..2 {
                let tried = tool.add("a");
                sleep(Duration::from_millis(10_500)).await;
                assert!(matches!(*tried.borrow(), Some(Err(_))), "{turn}");
                assert_eq!(world.text(STORE_LOCK), lock);
            }
        }
        let tried = tool.add("a");
        sleep(Duration::from_millis(10_500)).await;
        assert!(matches!(*tried.borrow(), Some(Ok(()))), "the last one was silent: {tried:?}");
    });
}

#[test]
fn a_lock_without_payload_is_taken_over_although_the_clock_went_back() {
    run(async {
        let house = House::new();
        house.world.put_from_the_future(INSTANCE_LOCK, "");
        let started = Instant::now();
        house.live().await;
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    });
}
