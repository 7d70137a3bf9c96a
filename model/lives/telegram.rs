//! Lives with a bot: what its users hear, what is confirmed to the platform, and what a crash leaves of both.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::platform::{Taking, Telegram};
use super::{House, Model, run};
use crate::env::{ExitCode, FsOp, Signal};

#[test]
fn a_message_is_answered_in_its_chat_and_confirmed() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        let life = house.live().await;
        telegram.write("hello");
        telegram.write("again");
        assert_eq!(telegram.sent_so_many(2).await, ["re: hello", "re: again"]);
        assert_eq!(telegram.offset(), 102);
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!(telegram.open_polls(), 0);
        house.live().await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(telegram.sent().len(), 2);
    });
}

/// Wherever a life ends, on the way of a message and of its answer, the next one ends it well.
#[test]
fn a_crash_between_any_two_steps_on_the_disk_neither_loses_nor_repeats() {
    for (op, file) in [
        (FsOp::Append, "inbox.jsonl"),
        (FsOp::SyncFile, "inbox.jsonl"),
        (FsOp::Write, "update-offset-main.json.tmp"),
        (FsOp::SyncFile, "update-offset-main.json.tmp"),
        (FsOp::Rename, "update-offset-main.json.tmp"),
        (FsOp::SyncDir, "telegram"),
    ] {
        run(async {
            let house = House::new();
            let telegram = Telegram::beside(&house);
            house.model.set(Model::Answers(Duration::from_secs(1)));
            let life = house.live().await;
            sleep(Duration::from_secs(1)).await;
            house.world.stop_after(op, file);
            telegram.write("hello");
            while !life.process.is_frozen() {
                sleep(Duration::from_millis(10)).await;
            }
            life.killed().await;
            house.live().await;
            let sent = telegram.sent_so_many(1).await;
            sleep(Duration::from_secs(60)).await;
            assert_eq!(telegram.sent(), sent, "{op} {file}");
            assert!(sent[0] == "re: hello" || sent[0].starts_with("Your message \"hello\""), "{sent:?}");
            assert_eq!(telegram.offset(), 101);
        });
    }
}
