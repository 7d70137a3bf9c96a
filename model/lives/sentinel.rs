//! A restart that is asked for from a conversation: that conversation is told, once, whatever comes in between.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{House, Life, run};
use crate::env::{ExitCode, FsOp};
use crate::policy::{Policies, RestartSentinel};

const SECOND: Duration = Duration::from_secs(1);
const LEDGER: &str = "/state/restart-ledger.json";

/// Somebody in the conversation `main` asks for a restart, and a new life serves, whose disk is full.
async fn restarted_onto_a_full_disk(house: &House) -> Life {
    let life = house.live().await;
    let mut client = house.client().await;
    client.accepted("hello", "k1").await;
    client.ending("k1").await;
    let params = json!({"sessionKey": "main", "note": "Back to work."});
    let answer = client.request("gateway.restart.request", params).await;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(life.ended().await, ExitCode::RESTART);
    // As many as there may be until it heals.
    house.world.fail(FsOp::Append, ".jsonl", usize::MAX, 0);
    house.live().await
}

fn told(history: &[(String, String)]) -> usize {
    history.iter().filter(|(role, text)| role == "notice" && text.ends_with("Back to work.")).count()
}

/// Whether the ledger still owes the conversation its words; what came of requests stands there besides.
fn is_owed(house: &House) -> bool {
    let ledger: serde_json::Value = serde_json::from_str(&house.world.text(LEDGER)).expect("JSON");
    ["open", "untold"].iter().any(|owed| ledger[owed].to_string().contains("Back to work."))
}

#[test]
fn it_is_kept_until_the_conversation_has_it_and_whoever_follows_hears_it() {
    run(async {
        let house = House::new();
        let life = restarted_onto_a_full_disk(&house).await;
        sleep(SECOND).await;
        assert!(is_owed(&house));
        life.killed().await;
        house.live().await;
        let mut client = house.client().await;
        assert_eq!(told(&client.history().await), 0);
        house.world.heal();
        let heard = loop {
            let event = client.event("chat").await;
            if event["runId"].as_str().is_some_and(|run| run.starts_with("restart:")) {
                break event;
            }
        };
        assert!(
            heard["errorMessage"].as_str().is_some_and(|text| text.ends_with("Back to work.")),
            "{heard}"
        );
        sleep(SECOND * 60).await;
        assert_eq!(told(&client.history().await), 1);
        assert!(!is_owed(&house), "it is handed over");
    });
}

#[test]
fn history_forgot_it_before_it_was_told() {
    run(async {
        let policies = Policies { restart_sentinel: RestartSentinel::DeletedFirst, ..Policies::default() };
        let house = House::with_policies(policies);
        let life = restarted_onto_a_full_disk(&house).await;
        sleep(SECOND).await;
        assert!(!is_owed(&house));
        life.killed().await;
        house.world.heal();
        house.live().await;
        sleep(SECOND * 60).await;
        assert_eq!(told(&house.client().await.history().await), 0);
    });
}
