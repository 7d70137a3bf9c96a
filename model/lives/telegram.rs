//! Lives with a bot: what its users hear, what is confirmed to the platform, and what a crash leaves of both.

use std::cell::Cell;
use std::rc::Rc;
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

/// Has `talk` done with a life that dies after so many changes of the disk, and the next lives do the rest; for every
/// number of changes. `check` sees what the platform took in the end.
fn crash_anywhere(
    speed: Duration,
    talk: impl AsyncFn(&Telegram),
    enough: impl Fn(&[String]) -> bool,
    check: impl Fn(&[String], &str),
) {
    for changes in 0.. {
        let crashed = Rc::new(Cell::new(false));
        let has_crashed = crashed.clone();
        run(async {
            let house = House::new();
            let telegram = Telegram::beside(&house);
            house.model.set(Model::Answers(speed));
            let life = house.live().await;
            sleep(Duration::from_secs(1)).await;
            house.world.crash_after(changes);
            let talking = talk(&telegram);
            let living = async {
                for _ in 0..6_000 {
                    if life.process.is_frozen() || enough(&telegram.sent()) {
                        return;
                    }
                    sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::join!(talking, living);
            sleep(Duration::from_millis(500)).await;
            has_crashed.set(life.process.is_frozen());
            house.world.spare();
            life.killed().await;
            house.live().await;
            sleep(Duration::from_secs(90)).await;
            check(&telegram.sent(), &format!("after {changes} changes of the disk: {:#?}", telegram.sent()));
        });
        if !crashed.get() {
            assert!(changes > 10, "only {changes} changes of the disk");
            return;
        }
    }
}

/// What was sent, without what the gateway could not know to have been sent, which says so.
fn once(sent: &[String]) -> Vec<&str> {
    sent.iter().filter(|text| !text.contains("You may have got this before")).map(String::as_str).collect()
}

#[test]
fn a_crash_between_any_two_changes_of_the_disk_neither_loses_nor_repeats() {
    crash_anywhere(
        Duration::from_millis(300),
        async |telegram| {
            telegram.write("one");
            sleep(Duration::from_millis(100)).await;
            telegram.write("two");
        },
        |sent| sent.len() == 2,
        |sent, when| {
            let once = once(sent);
            assert_eq!(once.len(), 2, "{when}");
            for text in ["one", "two"] {
                let notice = format!("Your message \"{text}\" was not answered");
                let ends = |sent: &&&str| **sent == format!("re: {text}") || sent.starts_with(&notice);
                assert_eq!(once.iter().filter(ends).count(), 1, "{text} {when}");
            }
        },
    );
}

#[test]
fn a_stop_holds_wherever_a_crash_comes() {
    crash_anywhere(
        Duration::from_secs(1),
        async |telegram| {
            telegram.write("one");
            sleep(Duration::from_millis(100)).await;
            telegram.write("two");
            sleep(Duration::from_millis(100)).await;
            telegram.write("/stop");
            sleep(Duration::from_millis(100)).await;
            telegram.write("three");
        },
        |sent| sent.len() == 2,
        |sent, when| {
            let once = once(sent);
            let about = |text: &str| once.iter().filter(|sent| sent.contains(text)).count();
            assert_eq!((about("one"), about("two"), about("three")), (1, 1, 1), "{when}");
            let answers = |sent: &&&str| sent.starts_with("Stopped: ") || **sent == "Nothing was running.";
            assert_eq!(once.iter().filter(answers).count(), 1, "{when}");
        },
    );
}
