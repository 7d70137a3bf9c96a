//! Starts that find the lock or the port in somebody else's hands: who gives way, who waits, and who is ended.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::{House, MARKER, PORT, run};
use crate::env::EndSignal::{Kill, Terminate};
use crate::env::test_env::Neighbour;
use crate::env::{ExitCode, FsOp, Pid, ProcessId, Signal, StartTime};
use crate::lifecycle::predecessor;
use crate::policy::{Policies, Predecessors};

const LOCK: &str = "/state/gateway.lock";
const SECOND: Duration = Duration::from_secs(1);
const A_DAY: Duration = Duration::from_secs(86_400);

/// The gateway's lock in the name of process 7.
fn lock_of_seven(house: &House) {
    let payload = json!({
        "pid": 7, "createdAt": "2026-03-02T00:00:00Z", "startTime": 1, "ownerId": "o", "generation": "g", "renewal": 0
    });
    house.world.put(LOCK, &payload.to_string());
}

/// A gateway that has been there for long.
fn old_gateway() -> Neighbour {
    Neighbour { running_for: A_DAY, ..Neighbour::default() }
}

async fn serves(house: &House) -> bool {
    timeout(SECOND, house.probe("/readyz")).await == Ok(Some(200))
}

#[test]
fn under_a_supervisor_that_restarts_whatever_ends_it_stands_by_and_takes_over() {
    run(async {
        let house = House::new();
        let first = house.live().await;
        let second = house.launch();
        sleep(300 * SECOND).await;
        assert_eq!(second.process.tasks_alive(), 1, "it waits");
        assert_eq!(house.world.binds(), 2, "the model and the first");
        first.end(Signal::Terminate).await;
        let left = Instant::now();
        while !serves(&house).await {
            sleep(SECOND).await;
        }
        assert!(left.elapsed() <= 6 * SECOND, "{:?}", left.elapsed());
        assert_eq!(second.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn who_stands_by_follows_a_signal_at_once() {
    run(async {
        let house = House::new();
        let _first = house.live().await;
        let second = house.launch();
        sleep(60 * SECOND).await;
        let asked = Instant::now();
        assert_eq!(second.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(asked.elapsed(), Duration::ZERO);
        assert!(serves(&house).await);
    });
}

#[test]
fn where_a_status_ends_it_it_gives_way_with_that() {
    for (name, value) in [("INVOCATION_ID", "0f6a"), ("OPENCLAW_WINDOWS_TASK_NAME", "Gateway"), (MARKER, "")]
    {
        run(async {
            let house = House::new();
            house.world.set_env_var(name, value);
            let _first = house.live().await;
            assert_eq!(house.launch().ended().await, ExitCode::CONFIG, "{name}");
            assert!(serves(&house).await);
        });
    }
}

#[test]
fn a_gateway_that_drains_is_waited_for() {
    run(async {
        let house = House::new();
        house.world.set_env_var("INVOCATION_ID", "0f6a");
        house.model.set(super::Model::Answers(40 * SECOND));
        let first = house.live().await;
        let mut client = house.client().await;
        client.accepted("slow", "k1").await;
        first.signal(Signal::User1);
        let second = house.launch();
        assert_eq!(client.ending("k1").await.0, "final");
        assert_eq!(first.ended().await, ExitCode::RESTART);
        while !serves(&house).await {
            sleep(SECOND).await;
        }
        assert_eq!(second.end(Signal::Terminate).await, ExitCode::CLEAN);
    });
}

#[test]
fn a_lock_that_somebody_else_holds_is_waited_for_and_a_person_is_told_after_half_a_minute() {
    run(async {
        let house = House::new();
        house.world.set_env_var("INVOCATION_ID", "0f6a");
        house.world.neighbour(7);
        lock_of_seven(&house);
        let life = house.launch();
        sleep(600 * SECOND).await;
        assert_eq!(life.process.tasks_alive(), 1);
        house.world.bury(7);
        sleep(10 * SECOND).await;
        assert!(serves(&house).await);
        assert_eq!(house.world.struck(), []);
    });
    run(async {
        let house = House::new();
        house.world.set_env_var(MARKER, "");
        house.world.neighbour(7);
        lock_of_seven(&house);
        let begun = Instant::now();
        assert_eq!(house.launch().ended().await, ExitCode::CONFIG);
        assert!((30..50).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    });
}

#[test]
fn trouble_of_the_machine_after_a_long_conflict_is_waited_out_like_any() {
    run(async {
        let house = House::new();
        house.world.neighbour(7);
        lock_of_seven(&house);
        let _life = house.launch();
        sleep(600 * SECOND).await;
        house.world.fail(FsOp::CreateDir, "sessions", 2, 0);
        house.world.bury(7);
        sleep(30 * SECOND).await;
        assert!(serves(&house).await);
    });
}

/// Whom a start has ended within `within` that finds `neighbour`, process 7, holding the lock, and the port if it
/// listens; and whether it serves by then.
async fn after(
    neighbour: Neighbour,
    listens: bool,
    prepare: impl FnOnce(&House),
    within: Duration,
) -> (Vec<(u32, crate::env::EndSignal)>, bool) {
    let house = House::new();
    house.world.set_env_var("INVOCATION_ID", "0f6a");
    house.world.neighbour_who(7, neighbour);
    lock_of_seven(&house);
    let _backlog = listens.then(|| house.world.squat_port(PORT, 7));
    prepare(&house);
    let _life = house.launch();
    sleep(within).await;
    (house.world.struck(), serves(&house).await)
}

#[test]
fn one_that_holds_lock_and_port_and_answers_nobody_is_ended_after_a_minute() {
    run(async {
        let nothing = |_: &House| {};
        assert_eq!(after(old_gateway(), true, nothing, 55 * SECOND).await.0, []);
        let ended = after(old_gateway(), true, nothing, 110 * SECOND).await;
        assert_eq!(ended, (vec![(7, Terminate), (7, Kill)], true));
    });
}

#[test]
fn one_that_holds_the_port_alone_is_ended_too() {
    run(async {
        let ended = after(old_gateway(), true, |house| house.world.remove(LOCK), 160 * SECOND).await;
        assert_eq!(ended, (vec![(7, Terminate), (7, Kill)], true));
    });
}

#[test]
fn who_was_stopped_has_five_minutes() {
    run(async {
        let stopped = || Neighbour { is_stopped: true, ..old_gateway() };
        assert_eq!(after(stopped(), true, |_| {}, 290 * SECOND).await, (vec![], false));
        assert_eq!(after(stopped(), true, |_| {}, 360 * SECOND).await.0.len(), 2);
    });
}

#[test]
fn who_is_not_proven_stuck_is_left_alone() {
    let nothing = |_: &House| {};
    let minutes = 500 * SECOND;
    run(async {
        let bystander = Neighbour { program: "bystander", ..old_gateway() };
        assert_eq!(after(bystander, true, nothing, minutes).await.0, [], "no gateway");
    });
    run(async {
        let young = Neighbour::default();
        assert_eq!(after(young, false, nothing, minutes).await.0, [], "it may be starting");
    });
    run(async {
        let our_parent = |house: &House| {
            // The life that will be launched is process 101.
            house.world.neighbour_who(8, Neighbour { parent: Some(7), ..Neighbour::default() });
            house.world.adopt(8);
        };
        assert_eq!(after(old_gateway(), true, our_parent, minutes).await.0, [], "an ancestor");
    });
    run(async {
        let unmarked = |house: &House| house.world.set_env_var(MARKER, " ");
        assert_eq!(after(old_gateway(), true, unmarked, minutes).await.0, [], "no service");
    });
    run(async {
        let reused = Neighbour { start: 2, ..old_gateway() };
        let (struck, serves) = after(reused, false, nothing, 20 * SECOND).await;
        assert_eq!((struck, serves), (vec![], true), "the owner is dead, and this is another");
    });
}

#[test]
fn a_healthy_gateway_on_another_port_is_no_silent_one() {
    run(async {
        let house = House::new();
        let _first = house.live().await;
        let config =
            house.world.text("/config.json").replacen("\"stateDir\"", "\"port\":18790,\"stateDir\"", 1);
        house.world.put("/config.json", &config);
        let _second = house.launch();
        sleep(900 * SECOND).await;
        assert_eq!(house.world.struck(), []);
        assert!(serves(&house).await);
    });
}

/// Process 7 answers every question at the port with these bytes, from when `is_awake` on.
fn answers(house: &House, says: &'static str, is_awake: impl Fn() -> bool + 'static) {
    let mut backlog = house.world.squat_port(PORT, 7);
    drop(house.outside.env.spawn("answers", async move {
        let mut unread = Vec::new();
        while let Some(mut stream) = backlog.recv().await {
            if is_awake() {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(says.as_bytes()).await;
            } else {
                unread.push(stream);
            }
        }
    }));
}

#[test]
fn one_that_answers_is_not_ended_whatever_it_says() {
    let crowded = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let newer = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"status\":\"up\"}";
    for says in [crowded, newer, "SSH-2.0-gateway\r\n"] {
        run(async {
            let prepare = |house: &House| answers(house, says, || true);
            assert_eq!(after(old_gateway(), false, prepare, 500 * SECOND).await.0, [], "{says}");
        });
    }
}

#[test]
fn one_that_cannot_be_asked_is_not_ended() {
    run(async {
        let prepare = |house: &House| house.world.refuse_connections(io::ErrorKind::InvalidInput);
        assert_eq!(after(old_gateway(), true, prepare, 500 * SECOND).await.0, []);
    });
}

#[test]
fn one_that_sigterm_has_woken_may_finish_what_it_accepted() {
    let live = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"ok\":true,\"status\":\"live\"}";
    run(async {
        let prepare = |house: &House| {
            let world = house.world.clone();
            answers(house, live, move || !world.struck().is_empty());
        };
        assert_eq!(after(old_gateway(), false, prepare, 500 * SECOND).await.0, [(7, Terminate)]);
    });
}

/// Whom history's cleaning ends, and how long it takes.
async fn cleaned(policy: Predecessors, parent: Option<u32>, prepare: impl FnOnce(&House)) -> (usize, u128) {
    let house = House::with_policies(Policies { predecessors: policy, ..Policies::default() });
    let life = house.world.process(100);
    house.world.neighbour_who(100, Neighbour { parent, ..Neighbour::default() });
    house.world.neighbour_who(7, old_gateway());
    let _backlog = house.world.squat_port(PORT, 7);
    prepare(&house);
    let began = Instant::now();
    predecessor::clean(&life.env, PORT, policy).await;
    (house.world.struck().len(), began.elapsed().as_millis())
}

#[test]
fn history_ended_every_gateway_on_the_port_whoever_it_was() {
    use Predecessors::{EveryListenerEnded, EveryListenerEndedAndPortAwaited};
    run(async {
        let nothing = |_: &House| {};
        assert_eq!(cleaned(EveryListenerEnded, None, nothing).await, (2, 500));
        assert_eq!(cleaned(EveryListenerEnded, Some(7), nothing).await, (2, 500), "openclaw/openclaw#68451");
        assert_eq!(cleaned(EveryListenerEndedAndPortAwaited, Some(7), nothing).await, (0, 0));
        assert_eq!(cleaned(EveryListenerEndedAndPortAwaited, None, nothing).await, (2, 500));
        let lingers = |house: &House| house.world.linger_ports();
        assert_eq!(cleaned(EveryListenerEnded, None, lingers).await, (2, 500), "openclaw/openclaw#33399");
        assert_eq!(cleaned(EveryListenerEndedAndPortAwaited, None, lingers).await, (2, 2_500));
        let on_macos = |house: &House| house.world.set_env_var("XPC_SERVICE_NAME", "ai.openclaw.gateway");
        assert_eq!(cleaned(EveryListenerEnded, None, on_macos).await, (0, 0), "openclaw/openclaw#70664");
        let by_hand = |house: &House| house.world.set_env_var(MARKER, "");
        assert_eq!(cleaned(EveryListenerEnded, None, by_hand).await, (0, 0));
    });
}

#[test]
fn who_is_somebody_else_by_now_is_not_touched() {
    run(async {
        let house = House::new();
        let life = house.world.process(100);
        house.world.neighbour_who(7, Neighbour { start: 2, ..old_gateway() });
        let judged = ProcessId { pid: Pid(7), start: StartTime(1) };
        predecessor::end(&life.env, judged, PORT, async || true).await;
        assert_eq!(house.world.struck(), []);
        house.world.neighbour_who(7, Neighbour { program: "bystander", ..old_gateway() });
        predecessor::end(&life.env, judged, PORT, async || true).await;
        assert_eq!(house.world.struck(), []);
    });
}

#[test]
fn a_port_that_lingers_after_a_kill_is_waited_for_and_not_for_ever() {
    run(async {
        let house = House::new();
        let life = house.world.process(100);
        house.world.neighbour_who(7, old_gateway());
        let _backlog = house.world.squat_port(PORT, 7);
        house.world.linger_ports();
        let began = Instant::now();
        let seven = ProcessId { pid: Pid(7), start: StartTime(1) };
        predecessor::end(&life.env, seven, PORT, async || true).await;
        assert_eq!(house.world.struck(), [(7, Terminate), (7, Kill)]);
        assert_eq!(began.elapsed().as_secs(), 12, "ten for SIGTERM and two for the port");
    });
}
