//! Scheduled runs over several lives: what the model is asked, and what the books say.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Client, House, INBOX, Model, PROVIDER_PORT, TOKEN, run};
use crate::env::{ExitCode, FsOp, Signal};
use crate::policy::Policies;

const JOURNAL: &str = "/state/cron/runs.jsonl";
/// The first slot of a job that runs every 100 s, and its time: 100 s after the world began.
const SLOT: u64 = 1_772_000_100_000;
const ASKED: &str = "[cron:report 2026-02-25T06:15:00.000Z] how are we?";

/// A house with one job that runs every 100 s.
fn house(on_interruption: &str) -> House {
    house_with(on_interruption, Policies::default())
}

fn house_with(on_interruption: &str, policies: Policies) -> House {
    let house = House::with_policies(policies);
    let job = json!({
        "id": "report", "everyMs": 100_000, "message": "how are we?", "onInterruption": on_interruption,
    });
    let config = json!({
        "gateway": {"auth": {"token": TOKEN}, "stateDir": "/state"},
        "model": {"baseUrl": format!("http://model:{PROVIDER_PORT}/v1"), "name": "m"},
        "cron": {"jobs": [job]},
    });
    house.world.put("/config.json", &config.to_string());
    house
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// What the books say, without what differs from life to life: type, slot in seconds after the first, and the rest.
fn books(house: &House) -> Vec<String> {
    let line = |line: &str| {
        let record: Value = serde_json::from_str(line).expect("JSON");
        let slot = record["slot"].as_u64().map(|slot| (slot - SLOT) / 1_000);
        let rest = ["outcome", "attempt", "detail", "count"].map(|key| record.get(key).map(Value::to_string));
        let rest = rest.into_iter().flatten().filter(|value| value != "\"\"");
        let words = [record["type"].as_str().expect("a type").to_string()].into_iter();
        words.chain(slot.map(|slot| slot.to_string())).chain(rest).collect::<Vec<_>>().join(" ")
    };
    house.world.text(JOURNAL).lines().map(line).collect()
}

async fn jobs(client: &mut Client) -> Value {
    client.request("cron.list", json!({})).await["payload"]["jobs"].clone()
}

#[test]
fn a_job_runs_at_its_times_and_its_books_say_so() {
    run(async {
        let house = house("retry");
        house.live().await;
        let mut client = house.client().await;
        assert_eq!(jobs(&mut client).await[0]["nextRunAtMs"], SLOT);
        seconds(210).await;
        assert_eq!(house.asked().len(), 2);
        assert_eq!(house.asked()[0], ASKED);
        let done = ["started 0 1", "finished 0 \"ok\"", "started 100 1", "finished 100 \"ok\""];
        assert_eq!(books(&house), [&["declared"][..], &done].concat());
        let listed = jobs(&mut client).await;
        assert_eq!(listed[0]["last"], json!({"slotMs": SLOT + 100_000, "outcome": "ok", "detail": ""}));
        assert_eq!(listed[0]["open"], Value::Null);
        assert_eq!(listed[1]["id"], "sessions-rebuild-poller");
        let health = client.request("health", json!({})).await;
        assert_eq!(health["payload"]["cron"], json!({"jobs": 1, "atWork": 0}));
    });
}

#[test]
fn without_jobs_nothing_is_written() {
    run(async {
        let house = House::new();
        house.live().await;
        seconds(700).await;
        assert_eq!(house.world.text(JOURNAL), "");
    });
}

#[test]
fn a_marker_without_a_message_means_that_the_run_is_still_to_be_made() {
    run(async {
        let house = house("skip");
        let life = house.live().await;
        // The disk takes the marker and not the message.
        house.world.fail(FsOp::Append, "inbox.jsonl", usize::MAX, 0);
        seconds(101).await;
        assert_eq!(books(&house), ["declared", "started 0 1"]);
        life.killed().await;
        house.world.heal();

        house.live().await;
        seconds(1).await;
        assert_eq!(house.asked(), [ASKED]);
        assert_eq!(books(&house), ["declared", "started 0 1", "finished 0 \"ok\""]);
    });
}

/// Makes a run whose end the books do not know.
async fn unrecorded(house: &House) {
    let life = house.live().await;
    seconds(101).await;
    life.killed().await;
    let journal = house.world.text(JOURNAL);
    let (without, _) = journal.trim_end().rsplit_once('\n').expect("lines");
    house.world.put(JOURNAL, &format!("{without}\n"));
    assert_eq!(books(house), ["declared", "started 0 1"]);
}

#[test]
fn a_run_whose_end_is_only_in_the_inbox_or_in_the_transcript_is_not_made_again() {
    for inbox_forgot in [false, true] {
        run(async {
            let house = house("retry");
            unrecorded(&house).await;
            if inbox_forgot {
                house.world.remove(INBOX);
            }
            house.live().await;
            seconds(10).await;
            assert_eq!(books(&house), ["declared", "started 0 1", "finished 0 \"ok\""]);
            assert_eq!(house.asked(), [ASKED]);
        });
    }
}

#[test]
fn an_interrupted_run_is_tried_again_or_skipped_as_its_job_says() {
    run(async {
        let house = house("retry");
        house.model.set(Model::Hangs);
        let life = house.live().await;
        seconds(101).await;
        life.killed().await;
        let life = house.live().await;
        seconds(1).await;
        life.killed().await;
        house.live().await;
        seconds(1).await;
        let expected =
            ["declared", "started 0 1", "interrupted 0 1", "started 0 2", "interrupted 0 2", "started 0 3"];
        assert_eq!(books(&house), expected);
        assert_eq!(house.asked(), [ASKED; 3]);
    });
    run(async {
        let house = house("skip");
        house.model.set(Model::Hangs);
        let life = house.live().await;
        seconds(101).await;
        life.killed().await;
        house.live().await;
        seconds(1).await;
        let skipped = "finished 0 \"skipped\" \"interrupted by a restart\"";
        assert_eq!(books(&house), ["declared", "started 0 1", skipped]);
        assert_eq!(house.asked(), [ASKED]);
    });
}

#[test]
fn a_run_that_restarts_interrupt_again_and_again_is_given_up() {
    run(async {
        let house = house("retry");
        house.model.set(Model::Hangs);
        seconds(1).await;
        let life = house.live().await;
        seconds(101).await;
        life.killed().await;
        for _ in 0..3 {
            let life = house.live().await;
            seconds(1).await;
            life.killed().await;
        }
        assert_eq!(house.asked().len(), 3);
        let last = books(&house).pop();
        assert_eq!(last.as_deref(), Some("finished 0 \"error\" \"interrupted by restarts too often\""));
    });
}

#[test]
fn a_run_that_the_drain_could_not_wait_for_is_tried_again() {
    run(async {
        let house = house("retry");
        house.model.set(Model::Hangs);
        let life = house.live().await;
        seconds(101).await;
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(books(&house).pop().as_deref(), Some("interrupted 0 1"));
        house.model.set(Model::Answers(Duration::from_millis(100)));
        house.live().await;
        seconds(1).await;
        // The drain took 75 s, and the next slot came after it.
        assert_eq!(books(&house)[3..], ["started 0 2", "finished 0 \"ok\""]);
    });
}

#[test]
fn missed_times_are_recorded_and_the_latest_is_made_up_for() {
    run(async {
        let house = house("retry");
        house.live().await.end(Signal::Terminate).await;
        seconds(450).await;
        house.live().await;
        seconds(1).await;
        let passed = "skipped 0 \"its time passed before the gateway could run it\" 3";
        assert_eq!(books(&house), ["declared", passed, "started 300 1", "finished 300 \"ok\""]);
    });
}

#[test]
fn a_time_that_comes_while_the_run_before_is_at_work_is_skipped() {
    run(async {
        let house = house("retry");
        house.model.set(Model::Answers(Duration::from_secs(150)));
        house.live().await;
        seconds(260).await;
        let overlap = "skipped 100 \"the run before was still at work\" 1";
        assert_eq!(books(&house), ["declared", "started 0 1", overlap, "finished 0 \"ok\""]);
    });
}

#[test]
fn a_disk_that_refuses_the_marker_delays_the_run_and_one_that_refuses_its_end_is_asked_again() {
    run(async {
        let house = house("retry");
        house.live().await;
        house.world.fail(FsOp::Append, "runs.jsonl", 3, 0);
        seconds(102).await;
        assert!(house.asked().is_empty(), "nothing is done that nobody would know of");
        seconds(3).await;
        assert_eq!(books(&house), ["declared", "started 0 1", "finished 0 \"ok\""]);
        house.model.set(Model::Answers(Duration::from_secs(5)));
        seconds(97).await;
        house.world.fail(FsOp::Append, "runs.jsonl", 1, 7);
        seconds(100).await;
        assert_eq!(books(&house)[3..5], ["started 100 1", "finished 100 \"ok\""]);
    });
}

#[test]
fn a_failed_run_is_an_error_and_not_tried_again() {
    run(async {
        let house = house("retry");
        house.model.set(Model::Says("HTTP/1.1 400 Bad Request\r\n\r\n"));
        house.live().await;
        seconds(110).await;
        let books = books(&house);
        assert!(books[2].starts_with("finished 0 \"error\" "), "{books:?}");
        assert_eq!((books.len(), house.asked().len()), (3, 1));
    });
}

#[test]
fn names_of_scheduled_runs_are_not_for_clients() {
    run(async {
        let house = house("retry");
        house.live().await;
        let mut client = house.client().await;
        let refused = client.send("mine", &format!("cron:report:{SLOT}:1")).await;
        assert_eq!(refused["error"]["code"], "INVALID_REQUEST", "{refused}");
        seconds(101).await;
        assert_eq!(house.asked(), [ASKED]);
    });
}

#[test]
fn books_that_cannot_be_read_stop_the_start_and_are_left_alone() {
    run(async {
        let house = house("retry");
        house.world.put(JOURNAL, "nonsense\n");
        assert_eq!(house.launch().ended().await, ExitCode::CONFIG);
        assert_eq!(house.world.text(JOURNAL), "nonsense\n");
    });
}

#[test]
fn a_clock_that_jumps_neither_repeats_nor_forgets_a_time() {
    run(async {
        let house = house("retry");
        house.live().await;
        seconds(110).await;
        house.world.jump_clock(-105_000);
        // The same 100 s once more, and the first time that is new.
        seconds(100).await;
        assert_eq!(house.asked(), [ASKED]);
        seconds(100).await;
        assert_eq!(books(&house)[3..], ["started 100 1", "finished 100 \"ok\""]);
        house.world.jump_clock(1_000_000);
        seconds(100).await;
        let passed = "skipped 200 \"its time passed before the gateway could run it\" 9";
        assert_eq!(books(&house)[5], passed);
    });
}

#[test]
fn a_clock_that_was_set_far_back_is_followed() {
    run(async {
        let house = house("retry");
        house.live().await;
        house.world.jump_clock(86_400_000);
        seconds(70).await;
        assert_eq!(house.asked().len(), 1);
        house.world.jump_clock(-86_400_000);
        seconds(200).await;
        assert!(house.asked().contains(&ASKED.replace("06:15:00", "06:16:40")), "{:?}", house.asked());
    });
}

#[test]
fn a_time_that_comes_a_second_time_is_not_run_again() {
    run(async {
        let house = house("retry");
        house.live().await;
        seconds(210).await;
        house.world.jump_clock(-205_000);
        seconds(400).await;
        let again = |asked: &str| house.asked().iter().filter(|text| text.as_str() == asked).count();
        assert_eq!(again(ASKED), 1, "{:?}", house.asked());
        assert_eq!(again(&ASKED.replace("06:15:00", "06:16:40")), 1, "{:?}", house.asked());
        assert_eq!(again(&ASKED.replace("06:15:00", "06:18:20")), 1, "{:?}", house.asked());
    });
}
