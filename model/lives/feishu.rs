//! Lives with an app: what its users hear, what is acknowledged to the platform, and what a crash leaves of both.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::platform::{Feishu, Taking};
use super::{House, Model, run};
use crate::env::{ExitCode, FsOp, Signal};
use crate::policy::{Policies, profile};

/// A moment: enough for whatever waits for nothing.
const MOMENT: Duration = Duration::from_millis(200);

#[test]
fn a_message_is_answered_in_its_chat_and_acknowledged() {
    run(async {
        let house = House::new();
        let feishu = Feishu::beside(&house);
        let life = house.live().await;
        feishu.write("hello");
        feishu.write("again");
        assert_eq!(feishu.sent_so_many(2).await, ["re: hello", "re: again"]);
        assert_eq!((feishu.unacknowledged(), feishu.connections()), (0, 1));
        // Long silence is no reason to connect anew.
        sleep(Duration::from_secs(600)).await;
        assert_eq!((feishu.connections(), feishu.tokens()), (1, 1));
        assert_eq!(life.end(Signal::Terminate).await, ExitCode::CLEAN);
        assert_eq!((feishu.connections(), feishu.closed_well()), (0, 1));
    });
}

#[test]
fn a_connection_that_ends_is_replaced() {
    run(async {
        let house = House::new();
        let feishu = Feishu::beside(&house);
        house.live().await;
        for count in 1..5 {
            sleep(Duration::from_secs(60)).await;
            feishu.cut();
            sleep(MOMENT).await;
            feishu.write("hello");
            assert_eq!(feishu.sent_so_many(count).await.len(), count);
        }
        assert_eq!(feishu.unacknowledged(), 0);
    });
}

/// openclaw/openclaw#41195.
#[test]
fn what_comes_again_is_known_under_any_name_and_in_any_life() {
    for renamed in [false, true] {
        run(async {
            let house = House::new();
            let feishu = Feishu::beside(&house);
            feishu.set_deaf(true);
            let mut life = house.live().await;
            house.model.set(Model::Answers(Duration::from_secs(2)));
            feishu.write("hello");
            // While it is worked on, and when it is over.
            for _ in 0..3 {
                sleep(Duration::from_secs(1)).await;
                feishu.push_again(renamed);
            }
            for signal in [None, Some(Signal::Terminate), Some(Signal::User1)] {
                match signal {
                    None => life.killed().await,
                    Some(signal) => drop(life.end(signal).await),
                }
                life = house.live().await;
                feishu.push_again(renamed);
                sleep(Duration::from_secs(5)).await;
            }
            assert_eq!((feishu.sent(), house.asked()), (vec!["re: hello".into()], vec!["hello".into()]));
            assert_eq!(feishu.unacknowledged(), 1);
            // The same words, written again, are another message.
            feishu.set_deaf(false);
            feishu.write("hello");
            feishu.sent_so_many(2).await;
            feishu.push_again(false);
            sleep(MOMENT).await;
            assert_eq!((house.asked().len(), feishu.unacknowledged()), (2, 0));
        });
    }
}

#[test]
fn an_old_message_is_not_run_and_its_sender_told_once() {
    run(async {
        let house = House::new();
        let feishu = Feishu::beside(&house);
        feishu.set_deaf(true);
        let life = house.live().await;
        let now = house.outside.env.wall_clock().epoch_ms();
        feishu.write_at("too late", now - 25 * 3_600_000);
        feishu.write_at("in time", now - 23 * 3_600_000);
        let sent = feishu.sent_so_many(2).await;
        let late = sent.iter().find(|text| text.contains("too late")).expect("it is told");
        assert!(late.starts_with("Your message \"too late\" was not answered"), "{late}");
        for renamed in [false, true, true] {
            feishu.push_again(renamed);
            sleep(MOMENT).await;
        }
        life.killed().await;
        house.live().await;
        feishu.set_deaf(false);
        feishu.push_again(true);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(
            (feishu.sent().len(), house.asked(), feishu.unacknowledged()),
            (2, vec!["in time".into()], 0)
        );
    });
}

#[test]
fn a_crash_between_any_two_changes_of_the_disk_neither_loses_nor_repeats() {
    for changes in 0.. {
        let crashed = Rc::new(Cell::new(false));
        let has_crashed = crashed.clone();
        run(async {
            let house = House::new();
            let feishu = Feishu::beside(&house);
            house.model.set(Model::Answers(Duration::from_millis(500)));
            let life = house.live().await;
            sleep(Duration::from_secs(1)).await;
            house.world.crash_after(changes);
            for text in ["one", "two", "/stop", "three"] {
                feishu.write(text);
                sleep(Duration::from_millis(200)).await;
            }
            sleep(Duration::from_secs(2)).await;
            has_crashed.set(life.process.is_frozen());
            house.world.spare();
            life.killed().await;
            // The platform pushes again when somebody listens, now and then as something else.
            if changes % 2 == 1 {
                feishu.push_again(true);
            }
            house.live().await;
            sleep(Duration::from_secs(90)).await;
            let sent = feishu.sent();
            let when = format!("after {changes} changes of the disk: {sent:#?}");
            let about = |text: &str| sent.iter().filter(|sent| sent.contains(text)).count();
            assert_eq!((about("one"), about("two"), about("three")), (1, 1, 1), "{when}");
            let answers = |sent: &&String| sent.starts_with("Stopped: ") || *sent == "Nothing was running.";
            assert_eq!(sent.iter().filter(answers).count(), 1, "{when}");
            assert_eq!(feishu.unacknowledged(), 0, "{when}");
        });
        if !crashed.get() {
            assert!(changes > 10, "only {changes} changes of the disk");
            return;
        }
    }
}

#[test]
fn what_is_not_taken_is_not_acknowledged() {
    run(async {
        let house = House::new();
        let feishu = Feishu::beside(&house);
        house.model.set(Model::Answers(Duration::from_secs(5)));
        let life = house.live().await;
        sleep(MOMENT).await;
        house.world.fail(FsOp::Append, "inbox.jsonl", 1, 0);
        feishu.write("one");
        sleep(MOMENT).await;
        assert_eq!((feishu.unacknowledged(), house.asked().len()), (1, 0));
        feishu.push_again(false);
        sleep(MOMENT).await;
        assert_eq!((feishu.unacknowledged(), house.asked().len()), (0, 1));
        life.signal(Signal::Terminate);
        sleep(MOMENT).await;
        assert_eq!(feishu.connections(), 0, "a drain listens to nobody");
        feishu.write("two");
        assert_eq!(life.ended().await, ExitCode::CLEAN);
        assert_eq!((feishu.unacknowledged(), feishu.sent().len()), (1, 1));
        house.live().await;
        assert_eq!(feishu.sent_so_many(2).await, ["re: one", "re: two"]);
    });
}

#[test]
fn a_word_goes_to_who_sends_what_is_no_text() {
    run(async {
        let house = House::new();
        let feishu = Feishu::beside(&house);
        house.live().await;
        sleep(MOMENT).await;
        feishu.happens("im.message.receive_v1", feishu.message("image", json!({"image_key": "i"}), 0));
        feishu.happens("im.chat.updated_v1", json!({"chat_id": "oc_1"}));
        feishu.happens("im.message.receive_v1", json!("whatever"));
        let sent = feishu.sent_so_many(1).await;
        assert!(sent[0].starts_with("Your message ") && sent[0].contains("only texts"), "{sent:?}");
        sleep(MOMENT).await;
        assert_eq!((feishu.unacknowledged(), house.asked().len(), feishu.sent().len()), (0, 0, 1));
    });
}

#[test]
fn what_the_platform_says_about_a_text_decides_what_becomes_of_it() {
    let refusal = |status: u16, code: i64| Taking::Says(status, json!({"code": code, "msg": "no"}));
    for (taking, sent, tokens) in [
        (refusal(400, 230_002), 0, 1),
        (refusal(400, 230_013), 0, 1),
        (refusal(429, 99_991_400), 1, 1),
        (refusal(401, 99_991_663), 1, 2),
        (refusal(500, 1), 1, 1),
        (Taking::Says(503, json!("busy")), 1, 1),
        // It is recognised by its name, so that it comes once.
        (Taking::AndSilence, 1, 1),
    ] {
        run(async {
            let house = House::new();
            let feishu = Feishu::beside(&house);
            house.live().await;
            feishu.next_send(taking.clone());
            feishu.write("hello");
            sleep(Duration::from_secs(100)).await;
            assert_eq!(feishu.sent(), vec!["re: hello"; sent], "{taking:?}");
            assert_eq!(feishu.tokens(), tokens, "{taking:?}");
            let health = house.client().await.request("health", json!({})).await;
            assert_eq!(health["payload"]["channels"][0]["owed"], 0, "{health}");
        });
    }
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    run(async {
        let house = House::new();
        let feishu = Feishu::beside(&house);
        feishu.set_token_lifetime(400);
        house.live().await;
        for _ in 0..4 {
            sleep(Duration::from_secs(150)).await;
            feishu.write("hello");
        }
        feishu.sent_so_many(4).await;
        assert_eq!(feishu.tokens(), 3);
    });
}

/// openclaw/openclaw#52844.
#[test]
fn no_connection_outlives_its_generation() {
    let ghost = profile("planted:feishu-ghost-connection").expect("exists");
    for (policies, connections) in [(Policies::default(), 1), (ghost, 2)] {
        run(async {
            let house = House::with_policies(Policies {
                restart_mode: crate::policy::RestartMode::InProcess,
                ..policies.clone()
            });
            let feishu = Feishu::beside(&house);
            let life = house.live().await;
            feishu.write("one");
            feishu.sent_so_many(1).await;
            life.signal(Signal::User1);
            sleep(Duration::from_secs(10)).await;
            assert_eq!(feishu.connections(), connections);
            feishu.write("two");
            sleep(Duration::from_secs(10)).await;
            // The ghost swallows it.
            assert_eq!((feishu.sent().len(), feishu.unacknowledged()), (3 - connections, 0));
        });
    }
}

/// Kills a life in the middle of taking a message; what the platform took after the next one, when it pushes again what
/// was not acknowledged, under another name or the same.
fn after_a_crash_in_taking(profile_name: &str, renamed: bool) -> Vec<String> {
    let policies = profile(profile_name).expect("exists");
    let sent = Rc::new(RefCell::new(Vec::new()));
    let all = sent.clone();
    run(async move {
        let house = House::with_policies(policies);
        let feishu = Feishu::beside(&house);
        let life = house.live().await;
        sleep(Duration::from_secs(1)).await;
        feishu.write("hello");
        sleep(Duration::from_millis(20)).await;
        life.killed().await;
        if renamed {
            feishu.push_again(true);
        }
        house.live().await;
        sleep(Duration::from_secs(90)).await;
        all.replace(feishu.sent());
    });
    sent.take()
}

#[test]
fn history_lost_what_it_had_acknowledged_or_recorded_first() {
    for renamed in [false, true] {
        // It was told before its run began, or answered.
        assert_eq!(after_a_crash_in_taking("hardened", renamed).len(), 1);
        assert_eq!(after_a_crash_in_taking("planted:feishu-acknowledges-first", renamed), [""; 0]);
    }
    assert_eq!(after_a_crash_in_taking("planted:feishu-records-ids-first", false), [""; 0]);
    assert_eq!(after_a_crash_in_taking("planted:feishu-records-ids-first", true), ["re: hello"]);
}

#[test]
fn history_answered_again_what_came_under_another_name() {
    for (name, answers) in [("hardened", 1), ("planted:feishu-forgets-ids", 2)] {
        run(async move {
            let house = House::with_policies(profile(name).expect("exists"));
            let feishu = Feishu::beside(&house);
            feishu.set_deaf(true);
            house.live().await;
            feishu.write("hello");
            feishu.sent_so_many(1).await;
            feishu.push_again(true);
            sleep(Duration::from_secs(5)).await;
            assert_eq!(feishu.sent().len(), answers, "{name}");
        });
    }
}
