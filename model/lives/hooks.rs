//! Hooks: what they are told, when they are run, and that nothing they do stops anybody.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing_test::traced_test;

use super::{House, Model, configure, run};
use crate::env::test_env::{Ran, TestProgram};
use crate::env::{CommandEnd, ExitCode, Signal};
use crate::policy::{LifecycleHooks, Policies};

const SECOND: Duration = Duration::from_secs(1);

/// A gateway with both hooks, `before` and `after`.
fn house() -> House {
    house_with(json!({"preStop": "before", "postStart": "after"}), Policies::default())
}

fn house_with(hooks: Value, policies: Policies) -> House {
    let house = House::with_policies(policies);
    configure(&house.world, json!({"hooks": hooks}));
    house.world.install("before", TestProgram::default());
    house.world.install("after", TestProgram::default());
    house
}

fn slow(lasting: Duration) -> TestProgram {
    TestProgram { lasting: Some(lasting), ..TestProgram::default() }
}

const HANGS: TestProgram = TestProgram { lasting: None, end: CommandEnd::Exited(0), stdout: "", stderr: "" };

fn programs(house: &House) -> Vec<String> {
    house.world.ran().into_iter().map(|ran| ran.command.program).collect()
}

/// How long it ran.
fn took(ran: &Ran) -> Duration {
    ran.until.expect("it is over") - ran.from
}

fn variable<'r>(ran: &'r Ran, name: &str) -> Option<&'r str> {
    let mut variables = ran.command.environment.iter();
    variables.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn they_learn_who_is_interrupted_and_who_is_resumed() {
    run(async {
        let house = house();
        house.model.set(Model::Hangs);
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("one", "k1").await;
        client.accepted("two", "k2").await;
        assert_eq!(client.send_in("ops", "three", "k3").await["payload"]["status"], "started");
        sleep(SECOND).await;
        assert_eq!(life.end(Signal::User1).await, ExitCode::RESTART);
        let ran = house.world.ran();
        assert_eq!(programs(&house), ["after", "before"]);
        let first = ran[0].input();
        assert_eq!((&first["event"], &first["reason"]), (&json!("post-start"), &json!("start")));
        assert_eq!(first["sessions"], json!([]));
        assert_eq!(first["pid"], 101);
        let last = ran[1].input();
        assert_eq!((&last["event"], &last["reason"]), (&json!("pre-stop"), &json!("restart")));
        let sessions = json!([
            {"sessionKey": "main", "channel": "webchat", "runs": [
                {"runId": "k1", "became": "told"}, {"runId": "k2", "became": "kept"}]},
            {"sessionKey": "ops", "channel": "webchat", "runs": [{"runId": "k3", "became": "told"}]},
        ]);
        assert_eq!(last["sessions"], sessions, "{last}");
        assert_eq!(variable(&ran[1], "GATEWAY_HOOK_EVENT"), Some("pre-stop"));
        assert_eq!(variable(&ran[1], "GATEWAY_HOOK_REASON"), Some("restart"));

        house.live().await;
        let next = house.world.ran()[2].input();
        let resumed = json!([{"sessionKey": "main", "channel": "webchat", "runs": [{"runId": "k2", "became": "resumed"}]}]);
        assert_eq!(next["sessions"], resumed, "{next}");
    });
}

#[test]
fn a_start_after_a_crash_says_so_and_names_whom_it_told() {
    run(async {
        let house = house();
        house.model.set(Model::Hangs);
        let life = house.live().await;
        house.client().await.accepted("one", "k1").await;
        sleep(SECOND).await;
        life.killed().await;
        let life = house.live().await;
        let told = house.world.ran()[1].input();
        assert_eq!(told["reason"], "crash");
        let sessions = json!([{"sessionKey": "main", "channel": "webchat", "runs": [{"runId": "k1", "became": "told"}]}]);
        assert_eq!(told["sessions"], sessions);
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        let last = house.world.ran()[2].input();
        assert_eq!((&last["reason"], &last["sessions"]), (&json!("stop"), &json!([])));
        house.live().await;
        assert_eq!(house.world.ran()[3].input()["reason"], "start");
    });
}

#[traced_test]
#[test]
fn one_that_hangs_is_killed_after_its_limit_and_the_gateway_goes_on() {
    run(async {
        let hooks = json!({"pre-stop": {"command": "before", "timeoutMs": 3_000}, "post-start": "after"});
        let house = house_with(hooks, Policies::default());
        house.world.install("before", HANGS);
        house.world.install("after", HANGS);
        let life = house.live().await;
        assert_eq!(house.probe("/readyz").await, Some(200), "nobody waits for post-start");
        sleep(SECOND * 20).await;
        let asked = Instant::now();
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(asked.elapsed(), SECOND * 3);
        let ran = house.world.ran();
        assert_eq!(ran.iter().map(took).collect::<Vec<_>>(), [SECOND * 10, SECOND * 3]);
        assert!(ran.iter().all(|ran| ran.was_killed));
        for event in ["post-start", "pre-stop"] {
            assert!(logs_contain(&format!("going on without it event=\"{event}\"")), "{event}");
        }
    });
}

#[traced_test]
#[test]
fn failures_are_logged_and_stop_nothing() {
    run(async {
        let house = house();
        let fails =
            TestProgram { end: CommandEnd::Exited(3), stderr: "no such user\n", ..TestProgram::default() };
        house.world.install("after", fails);
        configure(&house.world, json!({"hooks": {"preStop": "missing", "postStart": "after"}}));
        let life = house.live().await;
        sleep(SECOND).await;
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert!(logs_contain("why=\"exit status 3\" said=\"no such user\""));
        assert!(logs_contain("why=\"it cannot be run: entity not found\""));
    });
}

#[traced_test]
#[test]
fn a_post_start_that_is_still_at_work_is_killed_before_pre_stop_is_run() {
    run(async {
        let house = house();
        house.world.install("after", slow(SECOND * 9));
        let life = house.live().await;
        sleep(SECOND).await;
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        let ran = house.world.ran();
        assert_eq!(programs(&house), ["after", "before"]);
        assert!(ran[0].was_killed && !ran[1].was_killed);
        assert!(ran[0].until <= Some(ran[1].from));
        assert!(logs_contain("it is killed, for the gateway ends"));
    });
}

#[test]
fn a_stop_with_little_time_gives_the_hook_its_share_and_no_more() {
    run(async {
        let house = house();
        configure(&house.world, json!({"stopTimeoutMs": 12_000, "hooks": {"preStop": "before"}}));
        house.world.install("before", HANGS);
        house.model.set(Model::Hangs);
        let life = house.live().await;
        house.client().await.accepted("one", "k1").await;
        sleep(SECOND).await;
        let asked = Instant::now();
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        // Six seconds are in reserve; of the others the hook has a third.
        assert_eq!(took(&house.world.ran()[0]), SECOND * 2);
        assert!(asked.elapsed() <= SECOND * 7, "{:?}", asked.elapsed());
    });
}

#[test]
fn a_stop_overtakes_the_hook_of_a_restart_and_a_third_signal_ends_it() {
    run(async {
        let house = house();
        configure(
            &house.world,
            json!({"stopTimeoutMs": 12_000, "hooks": {"preStop": {"command": "before", "timeoutMs": 60_000}}}),
        );
        house.world.install("before", HANGS);
        let life = house.live().await;
        life.signal(Signal::User1);
        sleep(SECOND * 30).await;
        let asked = Instant::now();
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(asked.elapsed(), SECOND * 6);

        let life = house.live().await;
        life.signal(Signal::Terminate);
        sleep(SECOND).await;
        let code = life.end(Signal::Quit).await;
        assert_eq!(code, ExitCode::FORCED);
        let ran = house.world.ran();
        assert_eq!((took(&ran[1]), ran[1].was_killed), (SECOND, true));
    });
}

#[test]
fn the_port_is_free_while_pre_stop_is_at_work() {
    run(async {
        let house = house();
        house.world.install("before", slow(SECOND * 5));
        let life = house.live().await;
        life.signal(Signal::Terminate);
        sleep(SECOND).await;
        assert!(!house.world.listens(super::PORT));
        assert_eq!(life.ended().await, ExitCode::CLEAN);
    });
}

#[test]
fn history_had_no_hooks() {
    run(async {
        let policies = Policies { lifecycle_hooks: LifecycleHooks::Missing, ..Policies::default() };
        let house = house_with(json!({"preStop": "before", "postStart": "after"}), policies);
        let life = house.live().await;
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(programs(&house), [""; 0]);
    });
}
