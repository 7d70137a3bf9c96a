//! A safe restart interrupts nothing: no message that was at work ends other than answered because of it.
//!
//! Looked at is the moment at which the gateway gives its port back. What is cut off then, or stays without an answer, is
//! laid to the safe restart only when nobody and nothing else wanted the gateway to go.

use std::time::Duration;

use super::life::Life;
use super::restarts::RestartRequest;
use super::{Evidence, Oracle, Violation, breach};
use crate::actors::provider::CLIENT_LEFT;
use crate::timeline::words::{capital, moment};
use crate::timeline::{DeathCause, Entry, Fact, Fate, Injection, MessageId, RestartMode, Source};

/// How much later the model may notice that nobody listens to it any more.
const NOTICING: Duration = Duration::from_secs(1);

/// What a notice says of a message that the model failed.
const FAILED: &str = "could not be answered";

/// A safe restart interrupts nothing.
pub(super) struct SafeRestartInterruptsNothing;

impl Oracle for SafeRestartInterruptsNothing {
    fn invariant(&self) -> &'static str {
        "safe-restart-interrupts-nothing"
    }

    fn sentence(&self) -> &'static str {
        "No message that was at work ends other than answered because of a safe restart."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let safe = run.restarts.iter().filter(|request| request.mode == RestartMode::Safe);
        safe.flat_map(|request| self.interrupted(run, request)).collect()
    }
}

impl SafeRestartInterruptsNothing {
    fn interrupted(&self, run: &Evidence<'_>, request: &RestartRequest) -> Vec<Violation> {
        let Some((life, took_at, left_at)) = left(run, request) else { return Vec::new() };
        if request.was_turned_away() || had_other_reasons(run, request, life, left_at) {
            return Vec::new();
        }
        let cut_off = |entry: &&Entry<'_>| {
            // What came later is the business of the next one, be it in the same process.
            entry.sent_at() <= left_at && was_cut_off(run, entry.message, request.asked_at, left_at)
                || stayed_open(entry, left_at)
                    && !had_failed(run, entry.message, left_at)
                    && !was_cut_off_before(run, entry, took_at, left_at)
        };
        let breach_of = |entry: &Entry<'_>| {
            let message =
                format!("The safe restart of request {} interrupted {}", request.number, entry.message);
            let accepted = entry.accepted_at.map_or_else(String::new, |at| {
                format!(" {} was accepted at {} and ended as {}.", entry.message, moment(at), entry.fate)
            });
            let explanation = format!(
                "{}. {} gave its port back at {}.{accepted}",
                request.words(),
                capital(&life.name()),
                moment(left_at),
            );
            Violation { last_seen: Some(entry.last_seen()), ..breach(self, message, explanation) }
        };
        run.ledger.entries().iter().filter(cut_off).map(breach_of).collect()
    }
}

/// Who was asked, and when it took its port and gave it back.
fn left<'a>(run: &'a Evidence<'_>, request: &RestartRequest) -> Option<(&'a Life, Duration, Duration)> {
    run.lives.iter().find_map(|life| {
        let hold = life.holds.iter().find(|hold| hold.contains(request.asked_at))?;
        Some((life, hold.from, hold.until?))
    })
}

/// Whether anything else than the safe request may have made the gateway go.
fn had_other_reasons(run: &Evidence<'_>, request: &RestartRequest, life: &Life, left_at: Duration) -> bool {
    if life.ended.is_some_and(|(at, cause)| at == left_at && !matches!(cause, DeathCause::Exited(_))) {
        return true;
    }
    let began = life.began_before(request.asked_at);
    let others = run.restarts.iter().any(|other| {
        let is_over = other.ended_at().or(other.restarted_at).is_some_and(|ended| ended <= request.asked_at);
        other.mode.may_interrupt() && other.asked_at <= left_at && !is_over
    });
    others
        || run.mishaps.was_signalled(life.pid, began, left_at)
        || run.mishaps.was_ordered(request.asked_at, left_at)
        || run.mishaps.was_edited(began, left_at)
}

/// Whether the gateway stopped listening to the model's answer to a message between the request and its leaving,
/// although nobody had stopped that message.
fn was_cut_off(run: &Evidence<'_>, of: &MessageId, asked_at: Duration, left_at: Duration) -> bool {
    let stopped_by_sender = |event: &crate::timeline::Event| match &event.fact {
        Fact::MessageStopRequested { message } | Fact::MessageCancelled { message } => message == of,
        _ => false,
    };
    let cut_off = |event: &crate::timeline::Event| match &event.fact {
        Fact::ProviderStopped { message, how, .. } => {
            message == of && how == CLIENT_LEFT && (asked_at..=left_at + NOTICING).contains(&event.at)
        }
        _ => false,
    };
    // A request is given up for another one that has more to say.
    let answered = |event: &crate::timeline::Event| {
        let is_it = matches!(&event.fact, Fact::ProviderAnswered { message, .. } if message == of);
        is_it && (asked_at..=left_at).contains(&event.at)
    };
    let mut of_it = run.events.iter().rev().filter(|event| cut_off(event) || answered(event));
    let is_stopped = run.events.iter().any(stopped_by_sender)
        || run.mishaps.stops_of(&of.sender).any(|at| (asked_at..=left_at).contains(&at));
    of_it.next().is_some_and(cut_off) && !is_stopped
}

/// Whether a message was accepted by a gateway before the one that left, and cut off by whatever ended that: it was at the
/// model before and not since, or the books say when the gateway leaves that it has its notice. Where they said so before
/// it came, or somebody had given up the model's answer by then, its platform may hand it out once more.
fn was_cut_off_before(run: &Evidence<'_>, entry: &Entry<'_>, took_at: Duration, left_at: Duration) -> bool {
    let of = entry.message;
    let asked = run
        .events
        .iter()
        .take_while(|event| event.at <= left_at)
        .filter(|event| matches!(&event.fact, Fact::ProviderRequested { message, .. } if message == of));
    let is_noticed = is_noticed_after(run, of, left_at);
    let asked_at = asked.last().map(|event| event.at);
    // A platform says late that a message was taken.
    let handed_out = run
        .events
        .iter()
        .take_while(|event| event.at <= left_at)
        .filter(|event| matches!(&event.fact, Fact::UpdateHandedOut { message, .. } if message == of));
    let came_at = handed_out.last().map(|event| event.at).or(entry.accepted_at);
    let looks = run.events.iter().rev().skip_while(|event| event.at > took_at);
    let mut looks = looks.filter_map(|event| match &event.fact {
        Fact::State(state) => Some(state),
        _ => None,
    });
    let was_noticed = looks.next().is_some_and(|state| state.noticed.contains(of));
    let was_given_up = || {
        let before = run.events.iter().take_while(|event| event.at < took_at);
        before.into_iter().any(|event| {
            matches!(&event.fact, Fact::ProviderStopped { message, how, .. } if message == of && how == CLIENT_LEFT)
        })
    };
    (came_at.is_some_and(|came| came < took_at) || was_noticed || (is_noticed && was_given_up()))
        && asked_at.map_or(is_noticed, |asked| asked < took_at)
}

/// Whether a message had no end when the gateway left, and no answer ever after.
fn stayed_open(entry: &Entry<'_>, left_at: Duration) -> bool {
    entry.open_at(left_at) && matches!(entry.fate, Fate::Told | Fate::Dropped)
}

/// Whether a message had failed when the gateway left, by the model, which may never have been reached, or by the disk that
/// refused what the model had said, and its sender was told so: that may have been on its way. Who is away is told of what the disk refused by the next
/// gateway, which does not know why.
fn had_failed(run: &Evidence<'_>, of: &MessageId, left_at: Duration) -> bool {
    let before = run.events.iter().rev().skip_while(|event| event.at > left_at);
    let mut asked = before.filter_map(|event| match &event.fact {
        Fact::ProviderRequested { message, .. } if message == of => Some(false),
        Fact::ProviderStopped { message, how, .. } if message == of => Some(how != CLIENT_LEFT),
        _ => None,
    });
    let said = |event: &crate::timeline::Event| match &event.fact {
        Fact::NoticeReceived { message: Some(message), text, .. } => message == of && text.contains(FAILED),
        _ => false,
    };
    let last = asked.next();
    // Who has left for good hears nothing: the books say that it has its notice.
    if last.is_none() && is_away(run, &of.sender, left_at) && was_out_of_reach(run, of, left_at) {
        return true;
    }
    let was_said_at_once = || run.events.iter().take_while(|event| event.at <= left_at + NOTICING).any(said);
    if last.is_none() && was_said_at_once() {
        return true;
    }
    let was_never_begun = || {
        let accepted = run.ledger.entry(of).and_then(|entry| entry.accepted_at);
        accepted.is_some_and(|at| run.mishaps.disk_failed(at, left_at.min(at + NOTICING)))
    };
    let was_refused = run.was_refused_by_the_disk(of, left_at) || (last.is_none() && was_never_begun());
    (last == Some(true) || was_refused) && run.events.iter().any(said)
        || was_refused && is_away(run, &of.sender, left_at)
}

/// Whether the model was down when a message was accepted that the model was never asked for, and the books have a notice
/// for it when the gateway has left.
fn was_out_of_reach(run: &Evidence<'_>, of: &MessageId, left_at: Duration) -> bool {
    let Some(accepted) = run.ledger.entry(of).and_then(|entry| entry.accepted_at) else { return false };
    let went_down = run
        .events
        .iter()
        .take_while(|event| event.at <= left_at)
        .filter(|event| matches!(event.fact, Fact::Injected { fault: Injection::ProviderDown, .. }));
    let answered_since = |from: Duration| {
        run.events.iter().any(|event| {
            (from..=accepted).contains(&event.at) && matches!(event.fact, Fact::ProviderAnswered { .. })
        })
    };
    is_noticed_after(run, of, left_at) && went_down.last().is_some_and(|event| !answered_since(event.at))
}

/// Whether the books have a notice for a message at the first look from that moment on.
fn is_noticed_after(run: &Evidence<'_>, of: &MessageId, at: Duration) -> bool {
    let look = run.events.iter().find_map(|event| match &event.fact {
        Fact::State(state) if event.at >= at => Some(state),
        _ => None,
    });
    look.is_some_and(|state| state.noticed.contains(of))
}

/// Whether a sender had no connection at that moment.
fn is_away(run: &Evidence<'_>, sender: &str, at: Duration) -> bool {
    let by_it = run.events.iter().rev().skip_while(|event| event.at > at);
    let mut connections = by_it.filter_map(|event| match (&event.source, &event.fact) {
        (Source::Sender(name), Fact::SenderConnected) if name == sender => Some(true),
        (Source::Sender(name), Fact::SenderDisconnected { .. }) if name == sender => Some(false),
        _ => None,
    });
    connections.next() == Some(false)
}

#[cfg(test)]
mod tests {
    use gateway::env::Signal;

    use super::*;
    use crate::oracle::tests::complaints;
    use crate::timeline::OperatorOrder;
    use crate::timeline::story::Story;

    const ORACLE: SafeRestartInterruptsNothing = SafeRestartInterruptsNothing;
    const INTERRUPTED: [&str; 1] = ["The safe restart of request 1 interrupted ann#1"];

    fn at_work() -> Story {
        Story::new().at(0).serves(214).at(1_000).sent(1).at(1_002).accepted(1).asked(1, 1)
    }

    fn asked(story: Story, mode: RestartMode) -> Story {
        let story = story.at(2_000).asks_for_restart(1, mode).at(2_200);
        story.answers_restart(1, true, Some("deferred"), "it will come")
    }

    fn safe() -> Story {
        asked(at_work(), RestartMode::Safe)
    }

    fn cut_off(story: Story) -> Story {
        let story = story.at(5_000).stopped(1, 1, CLIENT_LEFT).releases().exits(75).at(6_000).serves(215);
        story.at(6_500).told(1, "please resend").ended()
    }

    #[test]
    fn what_comes_when_it_has_left_is_the_business_of_the_next_one() {
        let cut_off = |sent_at: u64| {
            let asked = asked(Story::new().at(0).serves(214).at(1_000), RestartMode::Safe);
            let left = |story: Story| story.at(5_000).gateway(214).releases().binds();
            let comes = |story: Story| story.at(sent_at).sent(1).accepted(1).asked(1, 1);
            let story = if sent_at < 5_000 { left(comes(asked)) } else { comes(left(asked)) };
            let story = story.at(5_600).stopped(1, 1, CLIENT_LEFT).gateway(214).dies(DeathCause::Killed);
            complaints(&ORACLE, story.at(6_000).serves(215).at(6_500).told(1, "please resend").ended())
        };
        assert_eq!(cut_off(5_100), [""; 0]);
        assert_eq!(cut_off(4_900), INTERRUPTED);
    }

    #[test]
    fn what_is_answered_first_is_not_interrupted() {
        let story = safe().at(4_000).answered(1, 1).at(4_001).replied(1, "Hi").at(4_100).releases();
        assert_eq!(complaints(&ORACLE, story.exits(75).at(5_000).serves(215).ended()), [""; 0]);
    }

    #[test]
    fn what_is_cut_off_is() {
        assert_eq!(complaints(&ORACLE, cut_off(safe())), INTERRUPTED);
        let queued = Story::new().at(0).serves(214).at(1_000).sent(1).at(1_002).accepted(1);
        let queued = asked(queued, RestartMode::Safe).at(5_000).exits(75).at(6_000).serves(215);
        assert_eq!(complaints(&ORACLE, queued.at(6_500).told(1, "please resend").ended()), INTERRUPTED);
    }

    #[test]
    fn what_the_model_had_failed_may_be_told_late() {
        let failed = |text: &str, again: bool| {
            let story = safe().at(4_000).stopped(1, 1, "failed with 500").at(4_500);
            let story = if again { story.asked(1, 2) } else { story };
            let story = story.at(5_000).releases().exits(75).at(5_200).told(1, text);
            complaints(&ORACLE, story.at(6_000).serves(215).ended())
        };
        let text = "it could not be answered: the model failed";
        assert_eq!(failed(text, false), [""; 0]);
        assert_eq!(failed(text, true), INTERRUPTED, "the model was at work");
        assert_eq!(failed("the service restarted", false), INTERRUPTED);
    }

    #[test]
    fn who_could_not_be_asked_had_failed_a_message_when_its_sender_hears_so_at_once() {
        let failed = |told_at: u64, text: &str| {
            let story = Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1);
            let story = asked(story, RestartMode::Safe).at(5_000).releases().exits(75);
            let story = story.at(told_at).told(1, text).at(60_000).ended();
            complaints(&ORACLE, story).len()
        };
        let text = "it could not be answered: cannot reach the model";
        assert_eq!([failed(6_000, text), failed(6_001, text), failed(6_000, "please resend")], [0, 1, 1]);
    }

    #[test]
    fn what_the_disk_refused_before_the_model_was_asked_had_failed() {
        let refused = |is_away: bool, refused_at: u64| {
            let story = Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1);
            let gone = Fact::SenderDisconnected { how: "closed".into() };
            let story = if is_away { story.fact(Source::Sender("ann".into()), gone) } else { story };
            let story = story.gateway(214).at(refused_at);
            let story = story.disk_fails(gateway::env::FsOp::Append, "/state/t", "no space");
            let story = asked(story.at(3_000), RestartMode::Safe).at(5_000).releases().exits(75);
            complaints(&ORACLE, story.at(60_000).told(1, "please resend").ended()).len()
        };
        assert_eq!([refused(true, 1_500), refused(true, 2_001), refused(false, 1_500)], [0, 1, 1]);
    }

    #[test]
    fn what_the_disk_refused_of_the_model_had_failed() {
        let wants = || Fact::ProviderWantedTools { message: crate::timeline::story::id("ann#1"), request: 1 };
        let ended = |is_away: bool, refused_at: u64, text: &str| {
            let story = safe().at(4_000).fact(Source::Provider, wants()).gateway(214);
            let gone = Fact::SenderDisconnected { how: "closed".into() };
            let story = if is_away { story.fact(Source::Sender("ann".into()), gone) } else { story };
            let story = story.at(refused_at).disk_fails(gateway::env::FsOp::Append, "/state/t", "no space");
            let story = story.at(6_000).releases().exits(75).at(6_200).serves(215);
            complaints(&ORACLE, story.at(7_000).told(1, text).ended()).len()
        };
        let (failed, restarted) = ("it could not be answered: no space", "the service restarted");
        assert_eq!([ended(false, 4_001, failed), ended(true, 4_001, restarted)], [0, 0]);
        assert_eq!([ended(false, 5_001, failed), ended(true, 5_001, restarted)], [1, 1], "something else");
        assert_eq!(ended(false, 4_001, restarted), 1, "it was there to be told");
    }

    #[test]
    fn what_never_reached_the_model_of_who_left_had_failed() {
        let left = |is_down: bool, is_away: bool, noticed: &[&str]| {
            let story = Story::new().at(0).serves(214).at(500);
            let down = |story: Story| story.injected(Injection::ProviderDown, "the model is down");
            let story = if is_down { down(story) } else { story };
            let story = story.at(1_000).connected().sent(1).accepted(1).at(1_010);
            let story = if is_away { story.left() } else { story };
            let story = asked(story, RestartMode::Safe).gateway(214).at(5_000).releases().exits(75);
            let story = story.looked(Some(Ok(())), &["ann#1"], &[], noticed).at(6_000).serves(216);
            complaints(&ORACLE, story.ended()).len()
        };
        assert_eq!(left(true, true, &["ann#1"]), 0);
        assert_eq!(left(false, true, &["ann#1"]), 1, "nothing was wrong with the model");
        assert_eq!(left(true, true, &[]), 1, "nobody noted that it failed");
        assert_eq!(left(true, false, &["ann#1"]), 1, "it was there to be told");
    }

    #[test]
    fn a_signal_of_the_command_line_is_the_request_and_any_other_excuses_it() {
        let story =
            at_work().at(2_000).asks_for_restart(1, RestartMode::Safe).at(2_100).signal(Signal::User1);
        let story = story.at(2_200).answers_restart(1, true, Some("signalled"), "sent");
        assert_eq!(complaints(&ORACLE, cut_off(story)), INTERRUPTED);
        assert_eq!(complaints(&ORACLE, cut_off(safe().at(3_000).signal(Signal::User1))), [""; 0]);
    }

    #[test]
    fn whoever_else_wants_it_to_go_excuses_it() {
        assert_eq!(complaints(&ORACLE, cut_off(asked(at_work(), RestartMode::Plain))), [""; 0]);
        let forced = safe().at(3_000).asks_for_restart(2, RestartMode::Force);
        assert_eq!(complaints(&ORACLE, cut_off(forced)), [""; 0]);
        let order = Fact::Ordered { order: OperatorOrder::Restart };
        let ordered = safe().at(3_000).fact(Source::Operator, order);
        assert_eq!(complaints(&ORACLE, cut_off(ordered)), [""; 0]);
        let edited = safe().at(3_000).fact(Source::Operator, Fact::ConfigEdited { what: "a port".into() });
        assert_eq!(complaints(&ORACLE, cut_off(edited)), [""; 0]);
        let killed =
            safe().at(5_000).stopped(1, 1, CLIENT_LEFT).dies(DeathCause::Killed).at(6_000).serves(215);
        assert_eq!(complaints(&ORACLE, killed.at(6_500).told(1, "please resend").ended()), [""; 0]);
    }

    #[test]
    fn what_an_earlier_end_had_cut_off_is_not_laid_to_a_restart_that_comes_later() {
        let killed = || at_work().at(1_200).dies(DeathCause::Killed).at(1_500).serves(215);
        let told = |story: Story| {
            let story = story.at(5_000).releases().exits(75).at(6_000).serves(216);
            complaints(&ORACLE, story.at(6_500).told(1, "please resend").ended())
        };
        let restarted = || asked(killed(), RestartMode::Safe);
        assert_eq!(told(restarted()), [""; 0]);
        assert_eq!(told(restarted().asked(1, 2)), INTERRUPTED, "it was at work again");
        let queued = Story::new().at(0).serves(214).at(1_000).sent(1).at(1_002).accepted(1);
        let queued = queued.at(1_200).dies(DeathCause::Killed).at(1_500).serves(215);
        assert_eq!(told(asked(queued, RestartMode::Safe)), INTERRUPTED, "nobody had begun it");
    }

    #[test]
    fn what_has_its_notice_in_the_books_when_the_gateway_leaves_was_cut_off_before() {
        let left = |noticed: &[&str]| {
            let story = Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1);
            let story = story.at(1_200).dies(DeathCause::Killed).at(1_500).serves(215);
            let story = asked(story, RestartMode::Safe).at(5_000).releases().exits(75);
            let story = story.looked(Some(Ok(())), &["ann#1"], &[], noticed).at(6_000).serves(216);
            complaints(&ORACLE, story.at(60_000).told(1, "please resend").ended()).len()
        };
        assert_eq!((left(&["ann#1"]), left(&[])), (0, 1));
    }

    #[test]
    fn what_had_its_notice_before_its_platform_handed_it_out_once_more_was_cut_off_before() {
        let left = |noticed: &[&str], asks: bool| {
            let story = Story::new().at(0).serves(214).at(1_000).writes(1).handed_out(1, 1).asked(1, 1);
            let story = story.at(1_200).releases().exits(75).looked(Some(Ok(())), &["ann#1"], &[], noticed);
            let story = story.at(1_500).serves(215).at(1_600).handed_out(1, 2).at(1_700).accepted(1);
            let story = if asks { story.asked(1, 2) } else { story };
            let story = asked(story, RestartMode::Safe).at(5_000).releases().exits(75);
            let story = story.looked(Some(Ok(())), &["ann#1"], &[], &["ann#1"]).at(6_000).serves(216);
            complaints(&ORACLE, story.at(60_000).posts_notice(&[1], 1, "please resend").ended()).len()
        };
        assert_eq!((left(&["ann#1"], false), left(&[], false), left(&["ann#1"], true)), (0, 1, 1));
        let in_place = |given_up: bool, asks: bool| {
            let terms = crate::oracle::Terms { restarts_in_place: true, ..Default::default() };
            let story = Story::new().at(0).serves(214).at(1_000).writes(1).handed_out(1, 1).asked(1, 1);
            let story = story.at(1_100).signal(Signal::User1).at(1_200).releases();
            let story = if given_up { story.stopped(1, 1, CLIENT_LEFT) } else { story };
            let story = story.at(1_500).binds().at(1_600).handed_out(1, 2).at(1_700).accepted(1);
            let story = if asks { story.asked(1, 2) } else { story };
            let story = asked(story, RestartMode::Safe).at(5_000).releases().at(6_000).binds();
            let story = story.looked(Some(Ok(())), &["ann#1"], &[], &["ann#1"]);
            let story = story.at(60_000).posts_notice(&[1], 1, "please resend").ended();
            crate::oracle::tests::verdict(&ORACLE, story, &terms).len()
        };
        assert_eq!((in_place(true, false), in_place(false, false), in_place(true, true)), (0, 1, 1));
    }

    #[test]
    fn a_request_that_is_given_up_for_a_fuller_one_is_no_interruption() {
        let joined = || safe().at(3_000).stopped(1, 1, CLIENT_LEFT).asked(1, 2);
        let answered = joined().at(4_000).answered(1, 2).at(4_100).releases().exits(75);
        assert_eq!(complaints(&ORACLE, answered.at(5_000).serves(215).replied(1, "Hi").ended()), [""; 0]);
        assert_eq!(complaints(&ORACLE, cut_off(joined())), INTERRUPTED);
    }

    #[test]
    fn a_stop_signal_is_never_the_command_lines() {
        let story = at_work().at(2_000).asks_for_restart(1, RestartMode::Safe).at(2_100);
        let story = story.signal(Signal::Terminate).at(2_200).answers_restart(1, true, Some("deferred"), "");
        assert_eq!(complaints(&ORACLE, cut_off(story)), [""; 0]);
    }

    #[test]
    fn what_its_sender_stopped_is_nobodys() {
        let stopped = safe().at(3_000).asks_to_stop(1).stopped(1, 1, CLIENT_LEFT).at(3_001).cancelled(1);
        assert_eq!(complaints(&ORACLE, stopped.at(4_000).exits(75).at(5_000).serves(215).ended()), [""; 0]);
    }
}
