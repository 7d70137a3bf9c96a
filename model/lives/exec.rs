//! Programs that the model has run: what it is told of them, and whose fault their death is.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{House, configure_all, run};
use crate::env::test_env::TestProgram;
use crate::env::{CommandEnd, ExitCode, Signal};
use crate::policy::{Policies, ToolDeath};

const SECOND: Duration = Duration::from_secs(1);

fn house_with(policies: Policies) -> House {
    let house = House::with_policies(policies);
    configure_all(&house.world, json!({}), json!({"tools": {"exec": {"enabled": true}}}));
    house.world.install(
        "work",
        TestProgram { stdout: "done\n", lasting: Some(SECOND * 30), ..TestProgram::default() },
    );
    house
}

fn result(house: &House) -> Value {
    let asked = house.asked();
    serde_json::from_str(asked.last().expect("the model was asked")).expect("a result")
}

#[test]
fn the_model_is_told_what_a_program_printed() {
    run(async {
        let house = house_with(Policies::default());
        house.live().await;
        let mut client = house.client().await;
        client.accepted("exec: work", "k1").await;
        let (state, _) = client.ending("k1").await;
        assert_eq!(state, "final");
        let told = json!({"end": "exit status 0", "stdout": "done\n", "stderr": "", "cut": false});
        assert_eq!(result(&house), told);
        client.accepted("exec: nothing", "k2").await;
        client.ending("k2").await;
        assert_eq!(
            house.asked().last().map(String::as_str),
            Some("error: nothing cannot be run: entity not found")
        );
    });
}

#[test]
fn nothing_is_run_that_is_not_allowed() {
    run(async {
        let house = House::new();
        house.world.install("work", TestProgram::default());
        house.live().await;
        let mut client = house.client().await;
        client.accepted("exec: work", "k1").await;
        client.ending("k1").await;
        assert!(house.world.ran().is_empty());
        assert!(house.asked().last().is_some_and(|told| told.starts_with("error: there is no tool")));
    });
}

#[test]
fn a_program_that_dies_with_its_service_interrupts_the_run() {
    run(async {
        let house = house_with(Policies::default());
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("exec: work", "k1").await;
        sleep(SECOND).await;
        house.world.strike_commands(CommandEnd::Signalled(15));
        sleep(SECOND / 10).await;
        life.signal(Signal::Terminate);
        let (state, text) = client.ending("k1").await;
        assert_eq!(state, "error");
        assert!(text.contains("the service restarted before it was answered"), "{text}");
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert_eq!(house.asked(), ["exec: work"], "the model was not blamed");
    });
}

#[test]
fn a_program_that_somebody_kills_has_failed_and_history_saw_no_difference() {
    run(async {
        let house = house_with(Policies::default());
        house.live().await;
        let mut client = house.client().await;
        client.accepted("exec: work", "k1").await;
        sleep(SECOND).await;
        house.world.strike_commands(CommandEnd::Signalled(15));
        assert_eq!(client.ending("k1").await.0, "final");
        assert_eq!(result(&house)["end"], "killed by SIGTERM");
    });
    run(async {
        let house = house_with(Policies { tool_death: ToolDeath::ToolFailed, ..Policies::default() });
        let life = house.live().await;
        let mut client = house.client().await;
        client.accepted("exec: work", "k1").await;
        sleep(SECOND).await;
        life.signal(Signal::Terminate);
        house.world.strike_commands(CommandEnd::Signalled(15));
        assert_eq!(client.ending("k1").await.0, "final", "an answer about a failure that was none");
        assert_eq!(life.ended().await, ExitCode::CLEAN);
    });
}
