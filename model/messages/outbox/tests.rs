//! What the journal says, and that a rewritten one says the same.

use super::*;
use crate::channels::Platform;
use crate::env::test_env::World;
use crate::policy::StateWrite;

fn account() -> Account {
    Account { platform: Platform::Telegram, name: "main".into() }
}

fn text(id: &str) -> (Delivery, About) {
    let chat = Chat { account: account(), chat: "5".into(), message: Some("7".into()), written_at: None };
    let about = About { run_id: "r".into(), session_key: "s".into() };
    (Delivery { id: id.into(), chat, text: format!("text of {id}") }, about)
}

fn open(world: &World) -> Outbox {
    let env = world.process(1).env;
    let files = StateFiles::new(env.clone(), StateWrite::Durable);
    files.create_dir(Path::new("/state")).expect("the disk is fine");
    Outbox::open(env, files, Path::new("/state")).expect("the journal can be read")
}

fn queue(outbox: &Outbox, id: &str) {
    let (delivery, about) = text(id);
    outbox.queue(vec![delivery], &about).expect("the disk is fine");
}

fn owed(outbox: &Outbox) -> Vec<(String, Progress)> {
    let pending = outbox.pending(&account(), None).into_iter();
    pending.map(|pending| (pending.delivery.id, pending.progress)).collect()
}

#[test]
fn the_next_life_knows_what_was_sent_what_was_not_and_what_nobody_can_tell() {
    let world = World::default();
    let outbox = open(&world);
    ["fresh", "begun", "refused", "sent", "failed"].into_iter().for_each(|id| queue(&outbox, id));
    for id in ["begun", "refused", "sent", "failed"] {
        outbox.attempt(id).expect("the disk is fine");
    }
    outbox.not_taken("refused", "busy").expect("the disk is fine");
    outbox.sent("sent", "99").expect("the disk is fine");
    let failed = outbox.pending(&account(), None).into_iter().find(|text| text.delivery.id == "failed");
    outbox.fail(&failed.expect("it is owed"), "blocked").expect("the disk is fine");

    let next = open(&world);
    let expected = [
        ("fresh".to_string(), Progress::Queued { attempts: 0 }),
        ("begun".to_string(), Progress::Unknown { attempts: 1, earlier: false }),
        ("refused".to_string(), Progress::Queued { attempts: 1 }),
    ];
    assert_eq!(owed(&next), expected);
    assert!(next.pending(&account(), None).iter().all(|text| !text.is_new));
    let letters = next.files.read(Path::new("/state/dead-letters.jsonl")).expect("it can be read");
    let letters = String::from_utf8(letters.expect("there is one")).expect("is UTF-8");
    assert!(letters.contains("text of failed") && letters.contains("blocked"), "{letters}");
}

#[test]
fn what_is_known_is_not_queued_again() {
    let world = World::default();
    let outbox = open(&world);
    queue(&outbox, "a");
    queue(&outbox, "a");
    assert_eq!(outbox.depth(|_, _| true), 1);
    outbox.attempt("a").expect("the disk is fine");
    outbox.sent("a", "99").expect("the disk is fine");
    let next = open(&world);
    queue(&next, "a");
    assert_eq!(next.depth(|_, _| true), 0);
}

/// What is not known of one attempt is not known any better when the next is refused.
#[test]
fn a_refusal_says_nothing_of_the_attempts_before_it() {
    let world = World::default();
    let outbox = open(&world);
    queue(&outbox, "a");
    let mut progress = Progress::Queued { attempts: 0 };
    for (is_taken, expected) in [
        (Some(false), Progress::Queued { attempts: 1 }),
        (None, Progress::Unknown { attempts: 2, earlier: false }),
        (Some(false), Progress::Unknown { attempts: 3, earlier: true }),
        (Some(false), Progress::Unknown { attempts: 4, earlier: true }),
    ] {
        outbox.attempt("a").expect("the disk is fine");
        progress = progress.begun();
        if is_taken == Some(false) {
            outbox.not_taken("a", "busy").expect("the disk is fine");
            progress = progress.not_taken();
        }
        assert_eq!(progress, expected);
        assert_eq!(owed(&outbox), [("a".to_string(), expected)]);
        assert_eq!(owed(&open(&world)), [("a".to_string(), expected)]);
    }
}

#[test]
fn a_digest_says_what_the_whole_journal_said() {
    let world = World::default();
    let outbox = open(&world);
    ["fresh", "begun", "twice", "refused", "sent"].into_iter().for_each(|id| queue(&outbox, id));
    for id in ["refused", "begun"] {
        outbox.attempt(id).expect("the disk is fine");
        outbox.not_taken(id, "busy").expect("the disk is fine");
    }
    for id in ["begun", "twice", "twice", "refused", "sent"] {
        outbox.attempt(id).expect("the disk is fine");
    }
    outbox.not_taken("refused", "busy").expect("the disk is fine");
    outbox.not_taken("twice", "busy").expect("the disk is fine");
    outbox.sent("sent", "99").expect("the disk is fine");
    let whole = outbox.entries.borrow().clone();
    let lines = in_order(&whole).into_iter().flat_map(digest);
    let again = replay(lines.map(|line| serde_json::from_slice(&line).expect("is a record")).collect());
    assert_eq!(again.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    for (id, entry) in &whole {
        assert_eq!(again[id].progress, entry.progress, "{id}");
    }
}

#[test]
fn the_journal_reads_as_documented() {
    let (Delivery { id, chat, text }, about) = text("r:outcome");
    let line = String::from_utf8(json_line(&Record::Queued { id, about, chat, text, at: 3 }));
    assert_eq!(
        line.expect("is UTF-8"),
        "{\"type\":\"queued\",\"id\":\"r:outcome\",\"about\":{\"runId\":\"r\",\"sessionKey\":\"s\"},\
         \"chat\":{\"account\":{\"platform\":\"telegram\",\"name\":\"main\"},\"chat\":\"5\",\"message\":\"7\"},\
         \"text\":\"text of r:outcome\",\"at\":3}\n"
    );
}
