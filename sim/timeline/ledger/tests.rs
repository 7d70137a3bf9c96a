//! Each rule of the ledger on a hand-made story.

use super::*;
use crate::timeline::story::{Story, id, key};
use crate::timeline::{DeathCause, OperatorOrder};
use gateway::env::Signal;

fn fate(story: Story, name: &str) -> Fate {
    entry(story, name).fate
}

/// What the ledger says of one message.
struct Said {
    fate: Fate,
    why: String,
    last_seen: Sighting,
    settled_at: Option<Duration>,
}

fn entry(story: Story, name: &str) -> Said {
    let events = story.events();
    let ledger = Ledger::of(&events);
    let entry = ledger.entry(&id(name)).expect("the message was sent");
    let &Entry { fate, settled_at, .. } = entry;
    Said { fate, why: entry.why(), last_seen: entry.last_seen(), settled_at }
}

/// ann#1 is handed over at 1.000 s and acknowledged at 1.001 s.
fn accepted() -> Story {
    Story::new().at(1_000).sent(1).at(1_001).accepted(1)
}

#[test]
fn a_reply_settles_its_message() {
    let events = accepted().at(2_000).replied(1, "Hello").events();
    let ledger = Ledger::of(&events);
    let entry = ledger.entry(&id("ann#1")).expect("the message was sent");
    assert_eq!(entry.fate, Fate::Replied);
    assert_eq!(entry.text, "hello [ann#1]");
    assert_eq!(entry.accepted_at, Some(Duration::from_millis(1_001)));
    assert_eq!(entry.settled_at, Some(Duration::from_millis(2_000)));
    assert_eq!(entry.why(), "The reply reached ann at 2.000 s.");
    assert_eq!(entry.attempts[0].outcome, Some(AttemptOutcome::Accepted));
    assert!(entry.open_at(Duration::from_millis(1_999)) && !entry.open_at(Duration::from_millis(2_000)));
}

#[test]
fn who_is_answered_that_a_message_is_over_needs_to_have_heard_how() {
    let again = || Story::new().at(1_000).sent(1).unacknowledged(1).at(5_000).sent_again(1, 2);
    let heard_first = |story: Story| story.at(6_000).told(1, "Your message may be lost").at(6_001);
    assert_eq!(fate(heard_first(again()).over(1).ended(), "ann#1"), Fate::Told);
    assert_eq!(fate(heard_first(again()).accepted(1).ended(), "ann#1"), Fate::Dropped, "taken up again");
    assert_eq!(fate(again().at(6_000).over(1).told(1, "It may be lost").ended(), "ann#1"), Fate::Told);
    assert_eq!(fate(again().at(6_000).over(1).ended(), "ann#1"), Fate::Dropped, "nobody said how");
    let entry = entry(again().at(6_000).over(1).ended(), "ann#1");
    assert_eq!(entry.why, "The gateway acknowledged it at 6.000 s, and ann was never told anything.");
}

#[test]
fn silence_after_the_acknowledgement_is_a_drop() {
    let entry = entry(accepted().at(9_000).ended(), "ann#1");
    assert_eq!(entry.fate, Fate::Dropped);
    assert_eq!(entry.settled_at, None);
    assert_eq!(entry.last_seen.place, "the gateway had acknowledged it to ann");
}

#[test]
fn what_is_owed_when_the_service_is_stopped_for_good_is_kept_if_it_is_durable() {
    let order = |story: Story, order| story.fact(Source::Operator, Fact::Ordered { order });
    let serves = || Story::new().at(0).serves(214).at(1_000).sent(1).at(1_001).accepted(1).at(2_000);
    let stops = |story: Story| story.signal(Signal::Terminate).at(3_000).exits(0);
    let kept = |story: Story| fate(story.at(9_000).keeps(&["ann#1"]).ended(), "ann#1");
    let ordered = || stops(order(serves(), OperatorOrder::Stop));
    assert_eq!(kept(ordered()), Fate::Kept);
    assert_eq!(kept(stops(serves())), Fate::Kept, "nobody supervises it");
    assert_eq!(fate(ordered().at(9_000).keeps(&[]).ended(), "ann#1"), Fate::Dropped, "not durable");
    assert_eq!(kept(serves().exits(1)), Fate::Dropped, "nobody stopped it");
    assert_eq!(kept(stops(order(serves(), OperatorOrder::Reload))), Fate::Dropped, "it was to come back");
    assert_eq!(kept(ordered().at(4_000).serves(215)), Fate::Dropped, "it came back, and told nothing");
    assert_eq!(kept(ordered().at(4_000).replied(1, "Hi")), Fate::Replied);
    let why = entry(ordered().at(9_000).keeps(&["ann#1"]).ended(), "ann#1").why;
    assert_eq!(
        why,
        "The service was stopped for good at 3.000 s before ann was told, and what the next start has to tell is durable."
    );
}

#[test]
fn a_service_that_nobody_will_start_again_is_stopped_for_good_too() {
    let order = |story: Story, order| story.fact(Source::Operator, Fact::Ordered { order });
    let serves = || Story::new().at(0).serves(214).at(1_000).sent(1).at(1_001).accepted(1).at(2_000);
    let kept = |story: Story| fate(story.at(9_000).keeps(&["ann#1"]).ended(), "ann#1");
    let left = |story: Story| kept(story.inactive("nobody runs the task again"));
    assert_eq!(left(serves().dies(DeathCause::Killed)), Fate::Kept);
    assert_eq!(left(serves().exits(1)), Fate::Dropped, "its own doing");
    assert_eq!(kept(serves().dies(DeathCause::Killed)), Fate::Dropped, "who minds it may start it again");
    let beside = || order(serves(), OperatorOrder::StartByHand).gateway(215).starts().gateway(214);
    let killed = |code| kept(beside().exits(code).gateway(215).at(3_000).dies(DeathCause::Killed));
    assert_eq!((killed(78), killed(1)), (Fate::Kept, Fate::Dropped), "the operator's own, and nobody's");
    let loading = || order(serves(), OperatorOrder::Reload).program("tool", 300).starts().gateway(214);
    let stopped = || loading().signal(Signal::Terminate).exits(0).program("tool", 300).at(3_000);
    assert_eq!(kept(stopped().dies(DeathCause::Killed)), Fate::Kept, "the tool was to start it again");
    assert_eq!(kept(stopped().exits(0)), Fate::Dropped);
}

#[test]
fn what_is_stopped_by_who_shares_the_conversation_was_to_be_stopped() {
    let by = |name: &str, fact| (Source::Sender(name.into()), fact);
    let left = |whose: &str| {
        let (source, fact) = by("bob", Fact::SenderJoined { whose: "ann".into() });
        let story = Story::new().fact(source, fact).at(1_000).sent(1).accepted(1);
        let (source, fact) = by("bob", Fact::ConversationStopRequested { whose: whose.into() });
        fate(story.at(2_000).fact(source, fact).at(3_000).left().at(9_000), "ann#1")
    };
    assert_eq!((left("ann"), left("eve")), (Fate::Cancelled, Fate::Dropped));
}

#[test]
fn a_message_has_ended_when_its_sender_was_told_first() {
    let twice = || accepted().at(2_000).told(1, "the disk is full").at(5_000);
    let settled = |story: Story| entry(story, "ann#1").settled_at.map(|at| at.as_secs());
    assert_eq!(settled(twice().told(1, "it restarted")), Some(2));
    assert_eq!(
        settled(twice().accepted(1).at(6_000).told(1, "it restarted")),
        Some(6),
        "it was opened again"
    );
}

#[test]
fn silence_without_an_acknowledgement_is_a_drop_too() {
    let story = Story::new().at(1_000).sent(1).accepted(1).replied(1, "Hi").at(2_000).sent(2);
    assert_eq!(fate(story, "ann#2"), Fate::Dropped);
}

#[test]
fn a_sender_that_never_listens_is_served_by_the_transcript() {
    let deaf = || Story::new().deaf().at(1_000).sent(1).at(1_001).asked(1, 1).at(9_000);
    assert_eq!(fate(deaf().state(Some(Ok(())), &["ann#1"], &["ann#1"]), "ann#1"), Fate::Replied);
    assert_eq!(fate(deaf().looked(Some(Ok(())), &["ann#1"], &[], &["ann#1"]), "ann#1"), Fate::Told);
    assert_eq!(fate(deaf().state(Some(Ok(())), &["ann#1"], &[]), "ann#1"), Fate::Dropped);
    assert_eq!(fate(Story::new().deaf().at(1_000).sent(1), "ann#1"), Fate::Refused);
}

#[test]
fn who_asks_to_stop_and_never_listens_got_what_it_asked_for() {
    let asked = || Story::new().deaf().at(1_000).sent(1).at(1_001).asked(1, 1).at(2_000).asks_to_stop(1);
    assert_eq!(fate(asked().at(9_000).state(Some(Ok(())), &["ann#1"], &[]), "ann#1"), Fate::Cancelled);
    assert_eq!(fate(asked().at(9_000).state(Some(Ok(())), &["ann#1"], &["ann#1"]), "ann#1"), Fate::Replied);
    // Who listens is owed an answer.
    let listens = accepted().at(2_000).asks_to_stop(1).at(9_000);
    assert_eq!(fate(listens.ended(), "ann#1"), Fate::Dropped);
}

#[test]
fn a_notice_to_all_settles_what_was_accepted_before_it_and_is_open() {
    let story = accepted()
        .sent(2)
        .accepted(2)
        .replied(2, "Hi")
        .sender("bob")
        .sent(1)
        .accepted(1)
        .sender("ann")
        .told_all("service restarted, please resend")
        .at(3_000)
        .sent(3)
        .accepted(3);
    let events = story.events();
    let ledger = Ledger::of(&events);
    let fates: Vec<_> =
        ledger.entries().iter().map(|entry| format!("{} {}", entry.message, entry.fate)).collect();
    assert_eq!(fates, ["ann#1 told", "ann#2 replied", "bob#1 dropped", "ann#3 dropped"]);
    assert_eq!(ledger.count(Fate::Dropped), 2);
}

#[test]
fn a_message_both_told_and_replied_is_replied() {
    let story = accepted().at(2_000).told(1, "interrupted, will go on").at(3_000).found_reply(1, "Hello");
    assert_eq!(fate(story, "ann#1"), Fate::Replied);
}

#[test]
fn a_retry_that_is_accepted_after_a_notice_opens_the_message_again() {
    let story = accepted().at(2_000).told(1, "please resend").at(3_000).sent_again(1, 2).accepted(1);
    assert_eq!(fate(story, "ann#1"), Fate::Dropped);
}

#[test]
fn refused_is_every_attempt_refused() {
    assert_eq!(fate(Story::new().sent(1).refused(1, "draining"), "ann#1"), Fate::Refused);
    let later_accepted = Story::new().sent(1).refused(1, "draining").at(5).sent_again(1, 2).accepted(1);
    assert_eq!(fate(later_accepted, "ann#1"), Fate::Dropped);
    let accepted_then_refused = accepted().sent_again(1, 2).refused(1, "draining");
    assert_eq!(fate(accepted_then_refused, "ann#1"), Fate::Dropped);
}

#[test]
fn a_connection_that_breaks_before_the_acknowledgement_refuses_unless_the_model_was_asked() {
    let broken = || Story::new().at(1_000).sent(1).at(1_500);
    assert_eq!(fate(broken().unacknowledged(1), "ann#1"), Fate::Refused);
    assert_eq!(fate(broken().asked(1, 1).unacknowledged(1), "ann#1"), Fate::Dropped);
    let found = broken().asked(1, 1).unacknowledged(1).at(3_000).found_reply(1, "Hello");
    assert_eq!(fate(found, "ann#1"), Fate::Replied);
    let told = broken().asked(1, 1).unacknowledged(1).at(3_000).told_all("please resend");
    assert_eq!(fate(told, "ann#1"), Fate::Told);
}

#[test]
fn a_cancelled_message_that_is_answered_later_is_not_cancelled() {
    assert_eq!(fate(accepted().at(2_000).cancelled(1), "ann#1"), Fate::Cancelled);
    assert_eq!(fate(accepted().at(2_000).cancelled(1).at(3_000).replied(1, "Hello"), "ann#1"), Fate::Replied);
}

#[test]
fn the_same_reply_live_and_in_the_history_is_one_reply() {
    let story = accepted().at(2_000).replied(1, "Hello").at(3_000).found_reply(1, "Hello\n");
    assert_eq!(fate(story.at(4_000).found_reply(1, "Hello"), "ann#1"), Fate::Replied);
}

#[test]
fn two_replies_are_a_duplicate() {
    let twice_live = accepted().at(2_000).replied(1, "Hello").at(3_000).replied(1, "Hello");
    assert_eq!(fate(twice_live, "ann#1"), Fate::Duplicated);
    let live_and_other = accepted().at(2_000).replied(1, "Hello").at(3_000).found_reply(1, "Good day");
    assert_eq!(fate(live_and_other, "ann#1"), Fate::Duplicated);
    let twice_in_one_reading = accepted().at(2_000).found_reply(1, "Hello").found_reply(1, "Hello");
    assert_eq!(fate(twice_in_one_reading, "ann#1"), Fate::Duplicated);
}

#[test]
fn a_message_the_model_answered_twice_is_a_duplicate() {
    let story =
        accepted().asked(1, 1).at(2_000).answered(1, 1).at(2_001).asked(1, 2).at(3_000).answered(1, 2);
    let entry = entry(story.replied(1, "Hello"), "ann#1");
    assert_eq!(entry.fate, Fate::Duplicated);
    assert_eq!(entry.why, "The model answered it twice, at 2.000 s and at 3.000 s.");
}

#[test]
fn work_that_a_death_cut_off_and_recovery_resumed_is_not_a_duplicate() {
    let cut_off = || accepted().asked(1, 1).at(1_500).dies(DeathCause::Killed).stopped(1, 1, "reset");
    let resumed = cut_off().at(3_000).asked(1, 2).at(4_000).answered(1, 2).found_reply(1, "Hello");
    assert_eq!(fate(resumed, "ann#1"), Fate::Replied);
    let answer_lost = accepted().asked(1, 1).at(1_500).answered(1, 1).dies(DeathCause::Killed).at(3_000);
    let resumed = answer_lost.asked(1, 2).at(4_000).answered(1, 2).replied(1, "Hello");
    assert_eq!(fate(resumed, "ann#1"), Fate::Replied);
}

#[test]
fn work_that_was_answered_before_the_death_and_ran_again_is_a_duplicate() {
    let answered = accepted().asked(1, 1).at(1_500).answered(1, 1).replied(1, "Hello").at(2_000).exits(0);
    let again = answered.at(3_000).asked(1, 2).at(4_000).answered(1, 2);
    assert_eq!(fate(again, "ann#1"), Fate::Duplicated);
}

#[test]
fn a_reply_kept_for_a_sender_that_left_counts() {
    let gone = || accepted().at(2_000).left().at(9_000);
    assert_eq!(fate(gone().state(Some(Ok(())), &["ann#1"], &["ann#1"]), "ann#1"), Fate::Replied);
    assert_eq!(fate(gone().state(Some(Ok(())), &["ann#1"], &[]), "ann#1"), Fate::Dropped);
    assert_eq!(fate(gone().looked(Some(Ok(())), &["ann#1"], &[], &["ann#1"]), "ann#1"), Fate::Told);
    let stayed = accepted().at(9_000).state(Some(Ok(())), &["ann#1"], &["ann#1"]);
    assert_eq!(fate(stayed, "ann#1"), Fate::Dropped);
}

#[test]
fn the_last_sighting_names_the_run_and_follows_the_messages_key() {
    let key = key("ann#1");
    let started = || accepted().at(1_002).log("run.started", &[("run", &key)]);
    let seen = entry(started().at(1_003).asked(1, 1), "ann#1").last_seen;
    let place = "run key-of-a… on gateway pid 214 was waiting for the model's answer";
    assert_eq!(seen, Sighting { at_ms: 1_003, place: place.into() });

    let story = started().at(1_400).log("run.interrupted", &[("run", &key)]);
    let seen = entry(story.at(1_500).log("run.started", &[("run", "another")]), "ann#1").last_seen;
    let place = "run key-of-a… on gateway pid 214 logged run.interrupted";
    assert_eq!(seen, Sighting { at_ms: 1_400, place: place.into() });
}

#[test]
fn a_key_names_its_message_whatever_the_order_and_in_every_life() {
    let recorded = |story: Story, name| story.log("inbox.recorded", &[("run", &key(name))]);
    let sent = Story::new().at(1_000).sent(1).sent(2).sent(3).at(1_001).refused(1, "INVALID_REQUEST");
    let story = recorded(recorded(sent, "ann#3"), "ann#2").dies(DeathCause::Killed);
    let story = story.at(2_000).gateway(215).starts().at(2_001);
    let story = story.log("recovery.resumed", &[("run", &key("ann#2"))]);
    let events = story.events();
    let ledger = Ledger::of(&events);
    let place = |name| ledger.entry(&id(name)).expect("sent").last_seen().place;
    assert_eq!(place("ann#1"), "ann was refused: INVALID_REQUEST");
    assert_eq!(place("ann#2"), "run key-of-a… on gateway pid 215 logged recovery.resumed");
    assert_eq!(place("ann#3"), "run key-of-a… on gateway pid 214 logged inbox.recorded");
}

#[test]
fn log_records_and_disk_never_decide_a_fate() {
    let story = accepted().log("reply.delivered", &[("message", "ann#1")]).at(9_000);
    let story = story.state(Some(Ok(())), &["ann#1"], &["ann#1"]).ended();
    assert_eq!(fate(story, "ann#1"), Fate::Dropped);
}

/// ann writes on telegram at 1.000 s, and the gateway has it.
fn written() -> Story {
    Story::new().at(0).serves(214).at(1_000).writes(1).at(1_020).handed_out(1, 1)
}

#[test]
fn a_message_may_be_confirmed_after_it_was_settled() {
    let told = written().at(2_000).posts_notice(&[1], 1, "Your message").at(2_100).accepted(1);
    assert_eq!(fate(told, "ann#1"), Fate::Told);
}

#[test]
fn a_second_reply_counts_unless_nobody_could_avoid_it() {
    let replied = || written().accepted(1).at(2_000).posts_reply(1, 1, "Re [ann#1]: yes");
    let died = || replied().at(2_010).dies(DeathCause::Killed).at(3_000).serves(215).at(4_000);
    let entry = entry(died().posts_reply(1, 2, "Re [ann#1]: yes"), "ann#1");
    assert_eq!((entry.fate, entry.why.as_str()), (Fate::Replied, "The reply reached ann at 2.000 s."));
    let marked = "Re [ann#1]: yes\n(You may have got this before.)";
    assert_eq!(fate(died().posts_reply(1, 2, marked), "ann#1"), Fate::Replied, "it says that it comes again");
    for other in ["Re [ann#1]: no", "Re [ann#1]: yes and no"] {
        assert_eq!(fate(died().posts_reply(1, 2, other), "ann#1"), Fate::Duplicated, "another text");
    }
    let knew = || replied().at(2_020).answers_send(1).at(3_000);
    assert_eq!(fate(knew().posts_reply(1, 2, "Re [ann#1]: yes"), "ann#1"), Fate::Duplicated);
    let third = died().posts_reply(1, 2, "Re [ann#1]: yes").at(4_020).answers_send(2).at(5_000);
    assert_eq!(
        fate(third.posts_reply(1, 3, "Re [ann#1]: yes"), "ann#1"),
        Fate::Duplicated,
        "it knew of the second"
    );
}

#[test]
fn what_a_platform_still_has_when_the_service_is_stopped_for_good_is_kept() {
    let stops = |story: Story| {
        let story = story.at(2_000).fact(Source::Operator, Fact::Ordered { order: OperatorOrder::Stop });
        story.signal(Signal::Terminate).at(3_000).exits(0).at(9_000).ended()
    };
    let kept = entry(stops(written()), "ann#1");
    assert_eq!(kept.fate, Fate::Kept);
    assert_eq!(
        kept.why,
        "The service was stopped for good at 3.000 s before it had confirmed the message to telegram, which keeps it \
         for the next start to fetch."
    );
    assert_eq!(
        fate(stops(written().accepted(1)), "ann#1"),
        Fate::Dropped,
        "it was confirmed, and nothing keeps it"
    );
    let lost = entry(written().at(9_000).ended(), "ann#1");
    assert_eq!(lost.fate, Fate::Dropped, "nobody stopped the service");
    assert_eq!(lost.why, "ann wrote it at 1.000 s, and the gateway never confirmed it to telegram.");
    assert_eq!(lost.last_seen.place, "its platform had handed it out to the gateway");
}
