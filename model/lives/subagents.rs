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

/// A life whose model has started a subagent that never answers.
async fn with_a_subagent_at_work(house: &House) -> Life {
    let life = house.live().await;
    let mut client = house.client().await;
    client.accepted("spawn: count", "m").await;
    let (_, text) = client.ending("m").await;
    assert!(text.contains("accepted"), "{text}");
    life
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
