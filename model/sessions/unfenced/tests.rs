//! The judgement as a table, and the ways in which nothing is fenced.

use std::future::Future;

use tokio::task::LocalSet;

use super::*;
use crate::env::test_env::{TestProcess, World};

const LOCK: &str = "/state/a.jsonl.lock";
const RULES: Rules = Rules {
    timeout: Duration::from_secs(10),
    stale_age: Duration::from_secs(30),
    anonymous_grace: Duration::from_secs(30),
    max_hold: Duration::from_secs(300),
    own_pid: OwnPid::Alive,
};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(LocalSet::new().run_until(test));
}

fn payload(start_time: Option<u64>) -> Payload {
    let created_at = WallTime::from_epoch_ms(1_000_000).to_string();
    Payload { pid: Pid(7), created_at, start_time: start_time.map(StartTime) }
}

fn facts(payload: Option<&Payload>, age_ms: u64) -> Facts<'_> {
    Facts {
        payload,
        file_age: Duration::from_millis(age_ms),
        now: WallTime::from_epoch_ms(1_000_000 + age_ms),
        liveness: Liveness::Alive,
        names_us: false,
        is_listed: false,
    }
}

#[test]
fn age_condemns_a_lock_whoever_lives() {
    let lock = payload(Some(1));
    assert_eq!(stale(facts(Some(&lock), 30_000), &RULES), None);
    assert_eq!(stale(facts(Some(&lock), 30_001), &RULES), Some("too-old"));
    let dead = Facts { liveness: Liveness::Dead, ..facts(Some(&lock), 0) };
    assert_eq!(stale(dead, &RULES), Some("dead-or-recycled-pid"));
    let odd = Payload { created_at: "yesterday".into(), ..lock };
    assert_eq!(stale(facts(Some(&odd), 0), &RULES), Some("invalid-created-at"));
    assert_eq!(stale(facts(None, 30_000), &RULES), None);
    assert_eq!(stale(facts(None, 30_001), &RULES), Some("missing-pid"));
}

#[test]
fn our_own_pid_is_alive_in_one_era_and_an_orphan_in_the_next() {
    let (with_start, without) = (payload(Some(1)), payload(None));
    let era_b = Rules { own_pid: OwnPid::Orphan, ..RULES };
    let ours = |lock| Facts { names_us: true, ..facts(Some(lock), 0) };
    assert_eq!(stale(ours(&with_start), &RULES), None);
    assert_eq!(stale(ours(&without), &RULES), Some("orphan-self-pid"));
    assert_eq!(stale(ours(&with_start), &era_b), Some("orphan-self-pid"));
    assert_eq!(stale(Facts { is_listed: true, ..ours(&with_start) }, &era_b), None);
}

struct Two {
    world: World,
    locks: [HeldLocks; 2],
    _processes: [TestProcess; 2],
}

fn two() -> Two {
    let world = World::default();
    let processes = [world.process(1), world.process(2)];
    world.neighbour(1);
    world.neighbour(2);
    let locks = [&processes[0], &processes[1]].map(|process| HeldLocks::new(process.env.clone()));
    Two { world, locks, _processes: processes }
}

#[test]
fn a_holder_that_is_slow_loses_its_lock_and_then_removes_the_next_ones() {
    run(async {
        let Two { world, locks: [one, other], .. } = two();
        let lock = Path::new(LOCK);
        one.acquire(lock, &RULES).await.expect("it is free");
        let error = other.acquire(lock, &RULES).await.expect_err("its owner lives and is young");
        assert!(error.to_string().contains("pid=1"), "{error}");
        sleep(Duration::from_secs(25)).await;
        other.acquire(lock, &RULES).await.expect("it is too old by now");
        assert!(world.text(LOCK).contains("\"pid\":2"));
        one.release(lock);
        assert_eq!(world.text(LOCK), "", "it was not its own to remove");
    });
}

#[test]
fn the_watchdog_tells_nobody() {
    run(async {
        let Two { world, locks: [one, _], .. } = two();
        one.acquire(Path::new(LOCK), &RULES).await.expect("it is free");
        sleep(Duration::from_secs(299)).await;
        assert_ne!(world.text(LOCK), "");
        sleep(Duration::from_secs(62)).await;
        assert_eq!(world.text(LOCK), "");
    });
}

#[test]
fn a_task_that_is_gone_leaves_its_lock_and_a_signal_takes_them_all() {
    run(async {
        let Two { world, locks: [one, _], _processes: [process, _] } = two();
        let locks = one.clone();
        let task = process.env.spawn("holder", async move {
            locks.acquire(Path::new(LOCK), &RULES).await.expect("it is free");
            std::future::pending::<()>().await;
        });
        sleep(Duration::from_millis(10)).await;
        task.abort();
        assert_eq!(task.await, None);
        assert_ne!(world.text(LOCK), "");
        assert!(one.acquire(Path::new(LOCK), &RULES).await.is_err(), "our own pid counts as alive");
        one.release_all();
        assert_eq!(world.text(LOCK), "");
    });
}
