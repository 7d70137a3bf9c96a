//! Lives with a bot: what its users hear, what is confirmed to the platform, and what a crash leaves of both.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};
use tracing_test::traced_test;

use super::platform::{Taking, Telegram};
use super::{House, Model, run};
use crate::env::{ExitCode, FsOp, Signal};
use crate::policy::profile;

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

/// What was sent. What the gateway could not know to have been sent says so when it comes again, and counts once.
fn once(sent: &[String]) -> Vec<&str> {
    let mut once: Vec<&str> = Vec::new();
    for text in sent {
        let (text, is_marked) = match text.split_once("\n(You may have got this before") {
            Some((text, _)) => (text, true),
            None => (text.as_str(), false),
        };
        if !is_marked || !once.contains(&text) {
            once.push(text);
        }
    }
    once
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

#[test]
fn a_disk_that_refuses_any_change_costs_nobody_an_end() {
    for (changes, times) in (0..70).flat_map(|changes| [(changes, 1), (changes, 4)]) {
        run(async {
            let house = House::new();
            let telegram = Telegram::beside(&house);
            house.model.set(Model::Answers(Duration::from_secs(1)));
            house.live().await;
            sleep(Duration::from_secs(1)).await;
            house.world.refuse_after(changes, times);
            for text in ["one", "two", "/stop", "three"] {
                telegram.write(text);
                sleep(Duration::from_millis(100)).await;
            }
            sleep(Duration::from_secs(120)).await;
            let sent = telegram.sent();
            let when = format!("{times} after {changes} changes of the disk: {sent:#?}");
            let about = |text: &str| {
                sent.iter().filter(|sent| sent.contains(text) && !sent.contains("waits")).count()
            };
            assert_eq!((about("one"), about("two"), about("three")), (1, 1, 1), "{when}");
            let answers = |sent: &&String| sent.starts_with("Stopped: ") || *sent == "Nothing was running.";
            assert_eq!(sent.iter().filter(answers).count(), 1, "{when}");
            assert_eq!(telegram.offset(), 104, "{when}");
        });
    }
}

#[test]
fn a_word_goes_to_who_sends_what_cannot_be_answered() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        let life = house.live().await;
        telegram.write_what(json!({"photo": [{"file_id": "f"}], "caption": "look"}));
        telegram.write(&"x".repeat(1_100_000));
        telegram.write(" \n");
        telegram.happens(200, "edited_message", json!({"message_id": 1}));
        telegram.happens(201, "poll", json!("whatever"));
        telegram.write("hello");
        let sent = telegram.sent_so_many(4).await;
        let words = ["only texts can be read", "longer than 1048576 bytes", "there is no text in it"];
        for (sent, words) in sent.iter().zip(words) {
            assert!(sent.starts_with("Your message ") && sent.contains(words) && sent.len() < 300, "{sent}");
        }
        assert_eq!(sent[3], "re: hello");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(telegram.offset(), 203);
        assert_eq!(house.asked(), ["hello"]);
        life.killed().await;
        house.live().await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(telegram.sent().len(), 4);
    });
}

#[test]
fn what_is_not_taken_is_not_confirmed() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        house.model.set(Model::Answers(Duration::from_secs(5)));
        let life = house.live().await;
        telegram.write("one");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(telegram.offset(), 101);
        // A disk that refuses the message, and one that refuses the offset.
        house.world.fail(FsOp::Append, "inbox.jsonl", 3, 0);
        telegram.write("two");
        sleep(Duration::from_millis(1_500)).await;
        assert_eq!(telegram.offset(), 101);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(telegram.offset(), 102);
        house.world.fail(FsOp::Write, "update-offset-main.json.tmp", 3, 0);
        telegram.write("three");
        sleep(Duration::from_millis(1_500)).await;
        assert_eq!(telegram.offset(), 102);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(telegram.offset(), 103);
        // A drain takes nothing.
        life.signal(Signal::Terminate);
        sleep(Duration::from_millis(500)).await;
        assert_eq!(telegram.open_polls(), 0);
        telegram.write("four");
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert_eq!((telegram.offset(), telegram.sent().len()), (103, 3));
        house.live().await;
        assert_eq!(telegram.sent_so_many(4).await, ["re: one", "re: two", "re: three", "re: four"]);
    });
}

#[test]
fn an_offset_of_another_bot_is_not_used() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        let life = house.live().await;
        telegram.write("one");
        telegram.write("two");
        telegram.sent_so_many(2).await;
        life.killed().await;
        // It counts from below, and over a number that the other used for another text.
        telegram.change_bot(8, 99);
        for text in ["three", "four", "five"] {
            telegram.write(text);
        }
        let mut life = house.live().await;
        let sent = telegram.sent_so_many(5).await;
        assert_eq!(sent[2..], ["re: three", "re: four", "re: five"]);
        // Nor one that cannot be read, is of another form, or of a time from which numbers are not counted on.
        let too_high = |version: u32, at: u64| {
            json!({"version": version, "lastUpdateId": 9_999, "botId": 8, "at": at}).to_string()
        };
        let files = ["".to_string(), "{}".to_string(), too_high(1, 1_772_000_000_000), too_high(2, 0)];
        for (number, file) in files.iter().enumerate() {
            life.killed().await;
            house.world.put("/state/telegram/update-offset-main.json", file);
            life = house.live().await;
            telegram.write("six");
            telegram.sent_so_many(6 + number).await;
        }
    });
}

#[traced_test]
#[test]
fn a_conflict_is_told_once_and_waited_for() {
    run(async {
        let house = House::new();
        let telegram = Telegram::beside(&house);
        let conflict = json!({"ok": false, "error_code": 409, "description": "Conflict: terminated"});
        for _ in 0..5 {
            telegram.next_poll(409, conflict.clone());
        }
        house.live().await;
        telegram.write("hello");
        sleep(Duration::from_secs(15)).await;
        assert!(telegram.polls() < 5, "{}", telegram.polls());
        let health = house.client().await.request("health", json!({})).await;
        let account = &health["payload"]["channels"][0];
        assert_eq!((&account["account"], &account["connected"]), (&json!("telegram:main"), &json!(false)));
        assert!(account["lastError"].as_str().is_some_and(|why| why.contains("another program")), "{health}");
        assert_eq!(telegram.sent_so_many(1).await, ["re: hello"]);
    });
    logs_assert(|lines| {
        let told = lines.iter().filter(|line| line.contains("another program takes")).count();
        (told == 1).then_some(()).ok_or(format!("told {told} times"))
    });
}

#[test]
fn what_a_platform_says_about_a_text_decides_what_becomes_of_it() {
    let refusal = |code: u16, description: &str| {
        Taking::Says(code, json!({"ok": false, "error_code": code, "description": description}))
    };
    let limit = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 7",
        "parameters": {"retry_after": 7}});
    let blocked = refusal(403, "Forbidden: bot was blocked by the user");
    for (taking, sent, least) in [
        (refusal(400, "Bad Request: chat not found"), vec![], 0),
        (blocked, vec![], 0),
        (Taking::Says(429, limit), vec!["re: hello"], 7),
        (refusal(500, "Internal Server Error"), vec!["re: hello"], 1),
        (Taking::Says(502, json!("<html>bad gateway</html>")), vec!["re: hello"], 1),
        (Taking::AndSilence, vec!["re: hello", "re: hello\n(You may have"], 1),
    ] {
        run(async {
            let house = House::new();
            let telegram = Telegram::beside(&house);
            house.live().await;
            telegram.next_send(taking.clone());
            telegram.write("hello");
            let began = Instant::now();
            telegram.sent_so_many(sent.len()).await;
            assert!(began.elapsed().as_secs() >= least, "{taking:?} {:?}", began.elapsed());
            sleep(Duration::from_secs(100)).await;
            let all = telegram.sent();
            assert_eq!(all.len(), sent.len(), "{taking:?}: {all:?}");
            assert!(all.iter().zip(&sent).all(|(text, sent)| text.starts_with(sent)), "{taking:?}: {all:?}");
            let health = house.client().await.request("health", json!({})).await;
            assert_eq!(health["payload"]["channels"][0]["owed"], 0, "{health}");
        });
    }
}

/// openclaw/openclaw#30802, and what the planted defect does.
#[test]
fn history_confirmed_what_it_had_not_looked_at() {
    for name in ["planted:telegram-confirms-first", "planted:telegram-offset-first"] {
        let lost = Cell::new(0);
        for changes in 0..6 {
            run(async {
                let house = House::with_policies(profile(name).expect("exists"));
                let telegram = Telegram::beside(&house);
                let life = house.live().await;
                sleep(Duration::from_secs(1)).await;
                house.world.fail(FsOp::Append, "inbox.jsonl", 1, 0);
                house.world.crash_after(changes);
                telegram.write("hello");
                sleep(Duration::from_millis(500)).await;
                house.world.spare();
                life.killed().await;
                house.world.heal();
                house.live().await;
                sleep(Duration::from_secs(60)).await;
                lost.set(lost.get() + usize::from(telegram.sent().is_empty()));
            });
        }
        assert!(lost.get() > 0, "{name}");
    }
}
