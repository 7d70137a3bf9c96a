//! Which second send nobody could avoid, and which somebody could: both sides of every rule.

use super::*;
use crate::timeline::story::Story;
use gateway::env::{ExitCode, Signal};

/// The first send is taken at 1.000 s.
fn taken(platform: Platform, key: Option<&str>) -> Story {
    Story::new().at(0).serves(214).at(1_000).takes(platform, 1, key)
}

fn telegram() -> Story {
    taken(Platform::Telegram, None)
}

/// Whether somebody could have avoided the second send, which is taken at that time.
fn avoidable(first: Story, at: u64) -> bool {
    let platform = Platform::Telegram;
    avoidable_on(platform, first, at, None)
}

fn avoidable_on(platform: Platform, first: Story, at: u64, key: Option<&str>) -> bool {
    let mut sends = Sends::default();
    first.at(at).takes(platform, 2, key).events().iter().for_each(|event| sends.take(event));
    sends.unavoidable(1, 2).is_none()
}

#[test]
fn a_death_before_the_answer_could_be_noted_excuses_and_a_later_one_does_not() {
    let killed = |story: Story, at| story.at(at).dies(DeathCause::Killed).at(at + 1_000).serves(215);
    assert!(!avoidable(killed(telegram(), 1_020), 9_000));
    assert!(!avoidable(killed(telegram().at(1_040).answers_send(1), 1_540), 9_000));
    assert!(avoidable(killed(telegram().at(1_040).answers_send(1), 1_541), 9_000));
    let frozen = telegram().at(1_030).frozen().at(1_040).answers_send(1);
    assert!(!avoidable(killed(frozen, 31_000), 40_000), "it stood still all the time");
    let thawed = telegram().at(1_030).frozen().at(1_040).answers_send(1).at(2_000).thawed();
    assert!(avoidable(killed(thawed, 31_000), 40_000));
    let full = telegram().at(1_040).answers_send(1).at(1_041).disk_fails(
        gateway::env::FsOp::Append,
        "/state/outbox.jsonl",
        "ENOSPC",
    );
    assert!(!avoidable(killed(full, 31_000), 40_000), "it could not write");
}

#[test]
fn what_is_taken_after_the_death_of_its_sender_was_on_its_way() {
    let dead = Story::new().at(0).serves(214).at(990).dies(DeathCause::Killed);
    let taken = dead.at(1_000).takes(Platform::Telegram, 1, None).at(2_000).serves(215);
    assert!(!avoidable(taken, 3_000));
    let by_nobody = |story: Story| {
        let fact = Fact::SendTaken {
            account: "main".into(),
            send: 1,
            key: None,
            pid: None,
            to: "ann".into(),
            text: String::new(),
            again: false,
            under_way: Duration::ZERO,
        };
        story.at(1_000).fact(Source::Platform(Platform::Telegram), fact).at(2_000)
    };
    let dead = || Story::new().at(0).serves(214).at(990);
    assert!(!avoidable(by_nobody(dead().dies(DeathCause::Killed)).serves(215), 3_000));
    assert!(avoidable(by_nobody(dead().exits(0)).serves(215), 3_000), "it left before it had its answer");
    assert!(avoidable(by_nobody(dead()), 3_000), "nobody died");
}

#[test]
fn what_was_on_its_way_may_be_overtaken_by_what_the_next_life_sends() {
    let (telegram, again) = (Platform::Telegram, "Re: hi\n(again)");
    let lives = |died_at: u64, how: DeathCause| {
        let story = Story::new().at(0).serves(214).at(died_at).dies(how);
        story.at(900).serves(215).at(1_000).takes(telegram, 1, None).answers_send(1)
    };
    let late = |story: Story, dead: Pid| {
        let late = Fact::SendTaken {
            account: "main".into(),
            send: 2,
            key: None,
            pid: Some(dead),
            to: "ann".into(),
            text: String::new(),
            again: false,
            under_way: Duration::from_secs(2),
        };
        let mut sends = Sends::default();
        let story = story.at(1_004).fact(Source::Platform(telegram), late);
        story.events().iter().for_each(|event| sends.take(event));
        sends
    };
    let killed = late(lives(500, DeathCause::Killed), Pid(214));
    assert!(killed.had_to_come_again((1, again), (2, "Re: hi")));
    assert!(!killed.had_to_come_again((1, "Re: hi"), (2, again)), "the one with the word was sent last");
    let by_itself = late(lives(500, DeathCause::Exited(ExitCode(0))), Pid(214));
    assert!(!by_itself.had_to_come_again((1, again), (2, "Re: hi")), "it left before it had its answer");
    let living = late(lives(500, DeathCause::Killed), Pid(215));
    assert!(!living.had_to_come_again((1, again), (2, "Re: hi")), "it had the answer to the first");
}

#[test]
fn who_stood_still_gives_up_what_is_overdue() {
    let went_on = |at| Story::new().at(0).serves(214).at(500).frozen().at(at).thawed();
    let taken = |story: Story, at| story.at(at).takes(Platform::Telegram, 1, None);
    assert!(!avoidable(taken(went_on(20_000), 20_040).loses_send(1, false), 21_000));
    assert!(avoidable(taken(went_on(20_000), 20_501), 21_000), "it had the time to wait");
    let slow = went_on(20_000).at(20_520).takes_after(500, Platform::Telegram, 1, None);
    assert!(!avoidable(slow, 21_000), "the platform was slow to take it");
    assert!(avoidable(taken(went_on(5_000), 5_040), 6_000), "nothing was overdue");
    let answered = |at| taken(went_on(20_000), 20_040).at(at).answers_send(1);
    assert!(avoidable(answered(20_051), 21_000), "it had the answer");
    assert!(!avoidable(answered(20_050), 21_000), "it may have hung up before it had the answer");
    let over = |way_ms, answered_at| {
        let longest_way = Duration::from_millis(way_ms);
        let mut sends = Sends::within(Delays { longest_way, ..Delays::default() });
        let story = taken(went_on(20_000), 20_240).at(answered_at).answers_send(1).at(22_000);
        let story = story.takes(Platform::Telegram, 2, None);
        story.events().iter().for_each(|event| sends.take(event));
        sends.unavoidable(1, 2).is_none()
    };
    assert_eq!([over(400, 20_400), over(400, 20_401), over(200, 20_400)], [false, true, true]);
}

#[test]
fn who_has_used_up_what_a_stop_may_take_need_not_wait_for_answers() {
    let again = |stop_timeout: Option<u64>, exits_at: u64| {
        let stop_timeout = stop_timeout.map(Duration::from_secs);
        let mut sends = Sends::within(Delays { stop_timeout, ..Delays::default() });
        let asked = Story::new().at(0).serves(214).at(4_000).signal(Signal::Terminate).at(7_000);
        let left = asked.takes(Platform::Telegram, 1, None).at(exits_at).exits(0).at(20_000).gateway(215);
        left.takes(Platform::Telegram, 2, None).events().iter().for_each(|event| sends.take(event));
        sends.unavoidable(1, 2).is_some()
    };
    assert!(again(Some(10), 9_000), "half of it");
    assert!(!again(Some(10), 8_999), "it had more time");
    assert!(!again(None, 9_000), "nobody hurried it");
}

#[test]
fn an_answer_on_its_way_is_not_known_to_who_has_used_up_what_a_stop_may_take() {
    let again = |way_ms: u64, signalled: bool, exits_at: u64| {
        let (longest_way, stop_timeout) = (Duration::from_millis(way_ms), Some(Duration::from_secs(10)));
        let mut sends = Sends::within(Delays { longest_way, stop_timeout, ..Delays::default() });
        let serving = Story::new().at(0).serves(214).at(1_000);
        let asked = if signalled { serving.signal(Signal::Terminate) } else { serving };
        let taken = asked.at(7_000).takes(Platform::Telegram, 1, None).answers_send(1);
        let left = taken.at(exits_at).exits(0).at(20_000).gateway(215).takes(Platform::Telegram, 2, None);
        left.events().iter().for_each(|event| sends.take(event));
        sends.unavoidable(1, 2).is_some()
    };
    assert!(again(400, true, 7_300), "it cannot have had it");
    assert!(again(400, true, 7_900), "it had no time to note it");
    assert!(!again(400, true, 7_901), "it had it, and the time");
    assert!(!again(0, true, 7_501), "the way is short");
    assert!(!again(400, false, 7_900), "nobody hurried it");
}

#[test]
fn who_waits_for_its_disk_notes_no_answer_meanwhile() {
    let again = |syncs: u32, longest_ms: u64| {
        let longest_sync = Duration::from_millis(longest_ms);
        let mut sends = Sends::within(Delays { longest_sync, ..Delays::default() });
        let taken = Story::new().at(0).serves(214).at(1_000).takes(Platform::Telegram, 1, None);
        let busy = (0..syncs).fold(taken, |story, _| story.disk(FsOp::SyncFile, "/state/inbox.jsonl"));
        let killed = busy.at(1_020).answers_send(1).at(1_700).dies(DeathCause::Killed);
        let story = killed.at(3_000).gateway(215).takes(Platform::Telegram, 2, None);
        story.events().iter().for_each(|event| sends.take(event));
        sends.unavoidable(1, 2).is_some()
    };
    assert!(again(3, 100), "the disk was slow");
    assert!(!again(3, 50), "it had the time to note it");
    assert!(!again(0, 100), "nothing was made durable");
}

#[test]
fn who_ends_of_its_own_will_has_to_have_waited() {
    let exits =
        |story: Story, at| story.at(at).dies(DeathCause::Exited(ExitCode(0))).at(at + 1_000).serves(215);
    assert!(avoidable(exits(telegram(), 1_020), 9_000));
    assert!(!avoidable(exits(telegram(), 6_000), 9_000));
    let hurried = telegram().signal(Signal::Terminate).signal(Signal::Interrupt);
    assert!(!avoidable(exits(hurried, 1_020), 9_000));
    assert!(avoidable(exits(telegram().at(1_010).answers_send(1), 6_500), 9_000), "it had the answer");
    let after = |ms| Story::new().at(0).serves(214).at(12_000).takes_after(ms, Platform::Telegram, 1, None);
    assert!(!avoidable(exits(after(10_000), 13_000), 14_000), "the platform was slow to take it");
    assert!(avoidable(exits(after(5_000), 13_000), 14_000));
}

#[test]
fn who_is_told_to_leave_at_once_has_no_time_to_note_anything() {
    let leaves = |story: Story, at, code| {
        let story = story.at(at).signal(Signal::Quit).dies(DeathCause::Exited(code));
        story.at(at + 1_000).serves(215)
    };
    let answered = || telegram().at(1_010).answers_send(1);
    assert!(!avoidable(leaves(telegram(), 1_020, ExitCode::FORCED), 9_000));
    assert!(!avoidable(leaves(answered(), 1_020, ExitCode::FORCED), 9_000), "the answer was on its way");
    assert!(avoidable(leaves(answered(), 1_511, ExitCode::FORCED), 9_000), "it had the answer");
    assert!(avoidable(leaves(answered(), 1_020, ExitCode::CLEAN), 9_000), "it took its time");
}

#[test]
fn a_line_that_the_platform_cut_excuses_and_one_that_was_given_up_does_not() {
    assert!(!avoidable(telegram().loses_send(1, true), 2_000));
    let exits = DeathCause::Exited(ExitCode(0));
    let exited = |story: Story| story.at(1_500).dies(exits).at(1_800).serves(215);
    assert!(!avoidable(exited(telegram().loses_send(1, true)), 2_000), "nor does it know in its next life");
    let reset = telegram().at(1_020).answers_send(1).loses_send(1, true);
    assert!(!avoidable(reset, 2_000), "the answer was on its way");
    assert!(avoidable(telegram().at(1_500).loses_send(1, false), 2_000));
    assert!(avoidable(telegram(), 10_999), "impatient");
    assert!(!avoidable(telegram(), 11_000));
    assert!(avoidable(telegram().at(1_040).answers_send(1), 20_000));
}

#[test]
fn an_answer_that_a_cut_link_held_back_was_never_read() {
    let link = |story: Story, at, heals: bool| {
        let (a, b) = ("gateway".to_string(), "platforms".to_string());
        let fact = if heals { Fact::LinkHealed { a, b } } else { Fact::LinkPartitioned { a, b } };
        story.at(at).fact(Source::World, fact)
    };
    let held = || link(telegram(), 1_010, false).at(1_040).answers_send(1);
    assert!(!avoidable(held(), 20_000));
    assert!(avoidable(link(held(), 5_000, true), 20_000), "it came at last");
    assert!(!avoidable(link(held(), 12_000, true), 300_000), "nobody waited for it any more");
    let killed = link(held(), 12_000, true).at(250_000).dies(DeathCause::Killed).at(251_000).serves(215);
    assert!(!avoidable(killed, 300_000), "nor did the next life know");
    let leaves =
        |story: Story, at| story.at(at).dies(DeathCause::Exited(ExitCode(0))).at(at + 100).serves(215);
    assert!(!avoidable(link(leaves(held(), 16_470), 16_500, true), 20_000), "it waited as long as it could");
    assert!(avoidable(leaves(held(), 5_000), 20_000), "it left before it had to");
    assert!(avoidable(leaves(link(held(), 5_000, true), 16_470), 20_000), "it had the answer");
}

#[test]
fn a_platform_with_a_key_is_sent_the_key() {
    let feishu = |key| taken(Platform::Feishu, key).at(1_020).dies(DeathCause::Killed);
    assert!(avoidable_on(Platform::Feishu, feishu(None), 9_000, None));
    assert!(avoidable_on(Platform::Feishu, feishu(Some("a")), 9_000, Some("b")));
    assert!(
        !avoidable_on(Platform::Feishu, feishu(Some("a")), 4_000_000, Some("a")),
        "it forgot after an hour"
    );
}

#[test]
fn a_repeat_may_say_in_a_line_that_it_is_one() {
    let check = |text, other, expected| assert_eq!(is_repeated_by(text, other), expected, "{other:?}");
    check("Re: hi", "Re: hi", true);
    check("Re: hi", "Re: hi\n(You may have got this before)", true);
    check("Re: hi", "Re: hi there", false);
    check("Re: hi", "Re: hi\nAnd\nmore", false);
    check("Re: hi\n(You may have got this before)", "Re: hi", false);
}
