//! A process that was asked to end gives the port back in time.
//!
//! Work in flight may keep the port for as long as a drain may take, and only while there is work; then a short
//! budget remains for closing. Work is what is visible from outside: accepted messages whose sender waits, and
//! requests the model has not finished. A successor must never find the port taken by such a process.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway::env::Pid;

use super::life::{Cause, Interval, Life, Request, end_of};
use super::work_in_flight::work_done;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::Fact;
use crate::timeline::words::{capital, moment, quoted, span};

/// A process that was asked to end releases the port within its budget, and no successor finds it taken.
pub(super) struct PortIsReleased;

impl Oracle for PortIsReleased {
    fn invariant(&self) -> &'static str {
        "port-is-released"
    }

    fn sentence(&self) -> &'static str {
        "A process that was asked to end releases the port within its budget, and no successor finds it taken."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let lives = &run.lives;
        let mut found: Vec<_> = lives
            .iter()
            .flat_map(|life| {
                life.requests.iter().filter_map(|request| self.kept_too_long(run, life, request))
            })
            .collect();
        found.extend(self.refused_successors(run, lives));
        found
    }
}

impl PortIsReleased {
    fn kept_too_long(&self, run: &Evidence<'_>, life: &Life, request: &Request) -> Option<Violation> {
        let terms = run.terms;
        let Request { at: asked, by, .. } = *request;
        let hold = life.holds.iter().find(|hold| hold.until.is_none_or(|until| until > asked))?;
        // The port that it took in order to begin again is not the one it had to give back.
        if request.followed.is_some_and(|followed| hold.from >= followed) {
            return None;
        }
        let released = hold.until.unwrap_or_else(|| end_of(run));
        let done = work_done(run, asked, released);
        let frozen = life.frozen_between(asked, released);
        let disk = run.mishaps.waited_for_disk(life.pid, asked, released);
        let due = done + terms.port_release_budget + frozen + disk;
        if released <= due {
            return None;
        }
        let message = format!(
            "The port {} was still bound {} after {by} (budget {})",
            terms.port,
            span(released.saturating_sub(asked)),
            span(due.saturating_sub(asked)),
        );
        Some(breach(self, message, explain(run, life, (asked, by), *hold, done)))
    }

    fn refused_successors(&self, run: &Evidence<'_>, lives: &[Life]) -> Vec<Violation> {
        let mut seen: BTreeSet<(Pid, Pid, Duration)> = BTreeSet::new();
        let mut found = Vec::new();
        for event in run.events {
            let Fact::BindRefused { pid, machine, port } = &event.fact else { continue };
            if *machine != run.terms.machine || *port != run.terms.port {
                continue;
            }
            let at = event.at;
            // Another program may well come and find the port taken, be it that a gateway has its number later.
            let lived =
                |life: &Life| life.started_at <= at && life.ended_at().is_none_or(|ended| at <= ended);
            if !lives.iter().any(|life| life.pid == *pid && lived(life)) {
                continue;
            }
            let holder = lives.iter().find(|life| life.pid != *pid && life.holds_port_at(at));
            let Some((holder, Request { at: asked, by, .. })) =
                holder.and_then(|life| Some((life, life.request_at(at)?)))
            else {
                continue;
            };
            if !seen.insert((*pid, holder.pid, holder.started_at)) {
                continue;
            }
            let message = format!("Gateway pid {pid} found the port {port} taken by {}", holder.name());
            let explanation = format!(
                "{}. At {}, {} later, gateway pid {pid} could not bind the port {port}, \
                 which {} still held; {}.",
                by.words(&holder.name(), asked),
                moment(at),
                span(at.saturating_sub(asked)),
                holder.name(),
                holder.end_words(),
            );
            found.push(breach(self, message, explanation));
        }
        found
    }
}

fn explain(
    run: &Evidence<'_>,
    life: &Life,
    (asked, by): (Duration, Cause),
    hold: Interval,
    done: Duration,
) -> String {
    let name = life.name();
    let work = if done == asked {
        "no work was in flight".to_string()
    } else {
        format!("work in flight excuses it until {}", moment(done))
    };
    let release = match hold.until {
        Some(until) => format!("It held the port until {}", moment(until)),
        None => "It never gave the port back".to_string(),
    };
    let mut text = format!("{}; {work}. {release}; {}.", by.words(&name, asked), life.end_words());
    if let Some(step) = last_step(run, life, asked, hold.until) {
        text.push(' ');
        text.push_str(&step);
    }
    text
}

/// What the process itself said last about its shutdown while it held the port.
fn last_step(run: &Evidence<'_>, life: &Life, from: Duration, until: Option<Duration>) -> Option<String> {
    let during = |at: Duration| at >= from && until.is_none_or(|until| at < until);
    run.events.iter().rev().filter(|event| during(event.at)).find_map(|event| {
        let Fact::Log { pid, record } = &event.fact else { return None };
        let fields: Vec<_> = record
            .fields
            .iter()
            .filter(|(field, _)| field != "message")
            .map(|(field, value)| format!("{field} {}", quoted(value)))
            .collect();
        let about_ending = ["shutdown.", "drain."].iter().any(|prefix| record.name.starts_with(prefix));
        if *pid != life.pid || !about_ending || fields.is_empty() {
            return None;
        }
        let said = format!("{} last said {}", life.name(), record.name);
        Some(format!("{} at {}: {}.", capital(&said), moment(event.at), fields.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::story::Story;
    use crate::timeline::{Platform, Source, SubagentSeen, Via};
    use gateway::env::Signal;

    fn signalled() -> Story {
        Story::new().at(0).serves(214).at(10_000).signal(Signal::User1)
    }

    #[test]
    fn an_idle_gateway_has_the_release_budget_and_not_a_millisecond_more() {
        assert_eq!(complaints(&PortIsReleased, signalled().at(12_000).releases()), [""; 0]);
        let late = signalled().log("shutdown.step", &[("step", "websocket clients"), ("waiting", "tab")]);
        let found = verdict(&PortIsReleased, late.at(14_000).exits(0), &Terms::default());
        assert_eq!(found[0].message, "The port 18789 was still bound 4.0 s after SIGUSR1 (budget 2.0 s)");
        assert_eq!(
            found[0].explanation,
            "SIGUSR1 reached gateway pid 214 at 10.000 s; no work was in flight. It held the port until 14.000 s; \
             it ended at 14.000 s (exit 0). Gateway pid 214 last said shutdown.step at 10.000 s: \
             step \"websocket clients\", waiting \"tab\"."
        );
    }

    #[test]
    fn work_in_flight_excuses_it_until_it_is_done() {
        let busy = |released| {
            let story = Story::new().at(0).serves(214).at(9_000).sent(1).accepted(1);
            let story = story.at(10_000).signal(Signal::Terminate).at(30_000).replied(1, "Hi");
            story.at(released).releases()
        };
        assert_eq!(complaints(&PortIsReleased, busy(32_000)), [""; 0]);
        assert_eq!(complaints(&PortIsReleased, busy(32_001)).len(), 1);
    }

    #[test]
    fn a_message_whose_sender_was_told_that_it_waits_is_in_flight() {
        let waits = |answered: bool| {
            let story = Story::new().at(0).serves(214).at(9_000).sent(1).accepted(1);
            let story = story.at(10_000).signal(Signal::Terminate).at(15_000).told(1, "it waits");
            let story = if answered { story.at(28_000).asked(1, 1).at(30_000).answered(1, 1) } else { story };
            complaints(&PortIsReleased, story.at(31_000).releases()).len()
        };
        assert_eq!((waits(true), waits(false)), (0, 1));
        let ends = |story: fn(Story) -> Story| {
            let waiting = Story::new().at(0).serves(214).at(5_000).sent(1).accepted(1).told(1, "it waits");
            let ended = story(waiting.at(10_000).signal(Signal::Terminate).at(30_000));
            complaints(&PortIsReleased, ended.at(31_000).releases()).len()
        };
        assert_eq!([ends(|it| it.told(1, "it could not be answered")), ends(|it| it.cancelled(1))], [0, 0]);
        assert_eq!([ends(|it| it), ends(|it| it.told(2, "it could not be answered"))], [1, 1]);
    }

    #[test]
    fn a_message_that_waits_has_no_end() {
        let kept = |text: &str, told_by: u32, ends: bool| {
            let story = Story::new().at(0).serves(told_by).at(5_000).sent(1).accepted(1).told(1, text);
            let story = match told_by {
                214 => story,
                other => story.gateway(other).at(5_500).exits(75).at(6_000).serves(214),
            };
            let story = story.gateway(214).at(10_000).signal(Signal::Terminate);
            let story = if ends { story.at(12_000).told(1, "it could not be answered") } else { story };
            complaints(&PortIsReleased, story.at(90_000).releases()).len()
        };
        let waits = "Your message waits: the disk is full. It is kept";
        assert_eq!(kept(waits, 214, false), 0);
        assert_eq!(
            [kept("it failed", 214, false), kept(waits, 213, false), kept(waits, 214, true)],
            [1, 1, 1]
        );
    }

    #[test]
    fn a_scheduled_run_waits_for_a_store_that_was_spoilt() {
        let due = |spoilt: bool, at_ms: u64| {
            let job = crate::oracle::CronTerm {
                job: "digest".into(),
                every: Duration::from_secs(60),
                session_of: None,
            };
            let terms = Terms { cron_jobs: vec![job], ..Terms::default() };
            let what = "agents/main/sessions/sessions.json in the state directory is overwritten";
            let story = Story::new().at(10_000).serves(214).at(11_000);
            let story = match spoilt {
                true => story.injected(crate::timeline::Injection::CorruptState, what),
                false => story,
            };
            let story = story.gateway(214).at(at_ms).signal(Signal::Terminate).at(at_ms + 80_000);
            verdict(&PortIsReleased, story.releases(), &terms).len()
        };
        assert_eq!([due(true, 60_000), due(true, 59_000), due(false, 60_000)], [0, 1, 1]);
    }

    #[test]
    fn what_is_handed_over_after_the_signal_is_no_excuse() {
        let busy = Story::new().at(0).serves(214).at(10_000).signal(Signal::Terminate).at(11_000).sent(1);
        assert_eq!(complaints(&PortIsReleased, busy.at(12_001).releases()).len(), 1);
    }

    #[test]
    fn what_was_answered_long_ago_is_no_excuse_although_its_sender_had_left() {
        let story = Story::new().at(0).serves(214).at(1_000).sent(1).accepted(1).left();
        let story = story.asked(1, 1).at(2_000).answered(1, 1).at(10_000).signal(Signal::User1);
        assert_eq!(complaints(&PortIsReleased, story.at(12_001).releases()).len(), 1);
    }

    #[test]
    fn what_stood_in_line_behind_work_is_work() {
        let story = Story::new().at(0).serves(214).at(9_000).asked(1, 1).at(10_000).signal(Signal::Terminate);
        let story = story.at(20_000).answered(1, 1).asked(2, 2).at(30_000).answered(2, 2);
        assert_eq!(complaints(&PortIsReleased, story.at(32_000).releases()), [""; 0]);
    }

    #[test]
    fn a_scheduled_run_is_work_in_flight() {
        let at_work = || Story::new().at(0).serves(214).at(9_000).cron_asked("report", 0, 1);
        let done = at_work().at(10_000).signal(Signal::User1).at(13_000).cron_answered("report", 0, 1);
        assert_eq!(complaints(&PortIsReleased, done.at(15_000).releases()), [""; 0]);
        let done = at_work().at(10_000).signal(Signal::User1).at(13_000).cron_answered("report", 0, 1);
        assert_eq!(complaints(&PortIsReleased, done.at(15_001).releases()).len(), 1);
        let due_after = |jump_ms, slot_ms| {
            let story = Story::new().at(0).serves(214).at(8_000).clock_jumps(jump_ms);
            let story = story.at(9_000).signal(Signal::User1).at(11_000);
            let story = story.cron_asked("report", slot_ms, 1).at(13_000).cron_answered("report", slot_ms, 1);
            complaints(&PortIsReleased, story.at(15_000).releases()).len()
        };
        let epoch_ms = Terms::default().wall_epoch_ms;
        assert_eq!((due_after(0, epoch_ms + 9_000), due_after(0, epoch_ms + 9_001)), (0, 1));
        let jumped = |slot_ms| due_after(60_000, epoch_ms + 60_000 + slot_ms);
        assert_eq!((jumped(9_000), jumped(9_001)), (0, 1), "by the machine's clock");
    }

    #[test]
    fn a_request_to_the_model_is_work_even_when_the_acknowledgement_was_lost() {
        let story = Story::new().at(0).serves(214).at(9_000).sent(1).asked(1, 1).unacknowledged(1);
        let story =
            story.at(10_000).signal(Signal::Terminate).at(20_000).answered(1, 1).at(21_000).releases();
        assert_eq!(complaints(&PortIsReleased, story), [""; 0]);
    }

    #[test]
    fn what_came_of_a_subagent_is_work_until_its_sender_has_heard_it() {
        let announced = |via, released| {
            let story = Story::new().at(0).serves(214).at(9_000).asked(1, 1).at(10_000).signal(Signal::User1);
            let story = story.subagent(1, SubagentSeen::Requested { request: 2 }).at(11_000).answered(1, 1);
            let story = story.at(12_000).subagent(1, SubagentSeen::Answered { request: 2 });
            let story = story.at(13_000).subagent(1, SubagentSeen::AnnouncementRequested { request: 3 });
            let story = story.at(14_000).subagent(1, SubagentSeen::AnnouncementAnswered { request: 3 });
            let heard = SubagentSeen::Heard { text: "Done".into(), notice: false, via };
            story.at(15_000).subagent(1, heard).at(released).releases()
        };
        let posted = Via::Platform { send: 1 };
        assert_eq!(complaints(&PortIsReleased, announced(posted, 17_000)), [""; 0]);
        assert_eq!(complaints(&PortIsReleased, announced(posted, 17_001)).len(), 1);
        assert_eq!(complaints(&PortIsReleased, announced(Via::History, 16_001)).len(), 1);
    }

    #[test]
    fn what_came_of_a_subagent_is_work_until_a_notice_says_so_where_the_model_cannot_be_asked() {
        let told = |notice, via, released| {
            let story = Story::new().at(0).serves(214).at(9_000).asked(1, 1).at(10_000).signal(Signal::User1);
            let story = story.subagent(1, SubagentSeen::Requested { request: 2 }).at(11_000);
            let how = "went down".to_string();
            let story = story.stopped(1, 1, &how).subagent(1, SubagentSeen::Stopped { request: 2, how });
            let heard = SubagentSeen::Heard { text: "It failed".into(), notice, via };
            complaints(&PortIsReleased, story.at(14_000).subagent(1, heard).at(released).releases()).len()
        };
        assert_eq!([told(true, Via::Live, 16_000), told(true, Via::Live, 16_001)], [0, 1]);
        let until_a_stop = |stopped: bool, whose: &str, released| {
            let story = Story::new().at(0).serves(214).at(8_000);
            let story = story.subagent(1, SubagentSeen::Requested { request: 2 }).at(9_000);
            let story = story.subagent(1, SubagentSeen::Answered { request: 2 }).at(9_500);
            let stop = Fact::ConversationStopRequested { whose: whose.into() };
            let story = if stopped { story.fact(Source::Sender("bob".into()), stop) } else { story };
            let story = story.at(10_000).signal(Signal::User1).at(released).releases();
            complaints(&PortIsReleased, story).len()
        };
        assert_eq!(
            [until_a_stop(false, "ann", 97_000), until_a_stop(false, "ann", 97_001)],
            [0, 1],
            "the drain"
        );
        assert_eq!([until_a_stop(true, "ann", 12_001), until_a_stop(true, "eve", 97_000)], [1, 0]);
    }

    /// The gateway left the model in the middle of a subagent's work, if it did.
    fn cut_off(story: Story, was_cut: bool) -> Story {
        if !was_cut {
            return story;
        }
        let how = crate::actors::provider::CLIENT_LEFT.to_string();
        let asked = story.subagent(1, SubagentSeen::Requested { request: 1 }).at(2_000);
        asked.subagent(1, SubagentSeen::Stopped { request: 1, how })
    }

    #[test]
    fn a_subagent_that_was_cut_off_is_taken_up_again_a_little_before_the_model_hears_of_it() {
        let again = |was_cut: bool, asked_at: u64| {
            let story = cut_off(Story::new().at(0).serves(214).at(1_000), was_cut);
            let story = story.at(10_000).signal(Signal::User1).at(asked_at);
            let story = story.subagent(1, SubagentSeen::Requested { request: 2 }).at(20_000);
            let story = story.subagent(1, SubagentSeen::Answered { request: 2 });
            complaints(&PortIsReleased, story.at(22_000).releases()).len()
        };
        assert_eq!([again(true, 14_000), again(true, 14_001), again(false, 10_500)], [0, 1, 1]);
    }

    #[test]
    fn a_subagent_that_was_cut_off_and_cannot_be_written_down_is_work_until_its_sender_hears_of_it() {
        let refused = |was_cut: bool, refused: bool, heard: bool| {
            let story = cut_off(Story::new().at(0).serves(213).at(1_000), was_cut);
            let story = story.gateway(213).at(2_500).exits(75).at(3_000).serves(214).at(9_000);
            let append = gateway::env::FsOp::Append;
            let story = if refused { story.disk_fails(append, "/state/t.jsonl", "no space") } else { story };
            let told = SubagentSeen::Heard { text: "It failed".into(), notice: true, via: Via::Live };
            let story = if heard { story.at(9_500).subagent(1, told) } else { story };
            let story = story.gateway(214).at(10_000).signal(Signal::User1).at(20_000).releases();
            complaints(&PortIsReleased, story).len()
        };
        assert_eq!(refused(true, true, false), 0);
        assert_eq!(
            [refused(false, true, false), refused(true, false, false), refused(true, true, true)],
            [1, 1, 1]
        );
    }

    #[test]
    fn a_program_that_a_turn_runs_is_work_and_one_that_a_hook_runs_is_none() {
        let runs = |input: &str, released| {
            let (began, by) = (Story::new().at(0).serves(214).at(9_000).gateway(301), Pid(214));
            let (arguments, input) = (Vec::new(), input.to_string());
            let began = began
                .fact(Source::Process(Pid(301)), Fact::CommandBegan { pid: Pid(301), by, arguments, input });
            let story = began.gateway(214).at(10_000).signal(Signal::User1).at(15_000);
            let story = story.program("build", 301).dies(crate::timeline::DeathCause::Killed).gateway(214);
            complaints(&PortIsReleased, story.at(released).releases()).len()
        };
        assert_eq!([runs("", 17_000), runs("", 17_001)], [0, 1]);
        assert_eq!([runs("{}", 12_000), runs("{}", 17_000)], [0, 1]);
    }

    #[test]
    fn time_in_which_it_waited_for_its_disk_does_not_count() {
        let slow = |syncs: u32, by: u32, released| {
            let story = Story::new().at(0).serves(214).at(9_900).gateway(by);
            let story =
                (0..syncs).fold(story, |story, _| story.disk(gateway::env::FsOp::SyncFile, "/state/x"));
            let story = story.gateway(214).at(10_000).signal(Signal::User1).at(released).releases();
            let terms = Terms { longest_sync: Duration::from_millis(100), ..Terms::default() };
            verdict(&PortIsReleased, story, &terms).len()
        };
        assert_eq!([slow(5, 214, 12_400), slow(5, 214, 12_401)], [0, 1], "four of the five after the signal");
        assert_eq!([slow(0, 214, 12_400), slow(5, 215, 12_400)], [1, 1], "another one's waits");
    }

    #[test]
    fn what_a_platform_refuses_is_work_until_that_can_be_known() {
        let busy = |refused, released| {
            let story = Story::new().at(0).serves(214).at(9_000).sender("bob").writes(1).handed_out(1, 1);
            let story = story.at(9_100).accepted(1).asked(1, 1).at(10_000).signal(Signal::User1);
            let story = story.at(11_000).answered(1, 1).at(15_000);
            let fact = Fact::SendRefused { account: "main".into(), to: "bob".into(), why: "blocked".into() };
            let by = if refused { Platform::Telegram } else { Platform::Feishu };
            story.fact(Source::Platform(by), fact).at(released).releases()
        };
        assert_eq!(complaints(&PortIsReleased, busy(true, 21_000)), [""; 0]);
        assert_eq!(complaints(&PortIsReleased, busy(true, 21_001)).len(), 1);
        assert_eq!(complaints(&PortIsReleased, busy(false, 13_001)).len(), 1);
    }

    #[test]
    fn work_that_never_ends_excuses_no_longer_than_the_drain_budget() {
        let stuck = |released| {
            let story = Story::new().at(0).serves(214).at(9_000).sent(1).accepted(1);
            story.at(10_000).signal(Signal::Terminate).at(released).releases()
        };
        assert_eq!(complaints(&PortIsReleased, stuck(97_000)), [""; 0]);
        assert_eq!(complaints(&PortIsReleased, stuck(97_001)).len(), 1);
    }

    #[test]
    fn time_in_which_it_was_frozen_does_not_count() {
        let story = signalled().at(10_001).frozen().at(20_001).thawed().at(21_000).releases();
        assert_eq!(complaints(&PortIsReleased, story), [""; 0]);
    }

    #[test]
    fn a_port_that_is_never_released_is_seen_at_the_end() {
        assert_eq!(complaints(&PortIsReleased, signalled().at(11_000).ended()), [""; 0]);
        assert_eq!(complaints(&PortIsReleased, signalled().at(60_000).ended()).len(), 1);
    }

    #[test]
    fn each_restart_in_place_has_its_own_budget() {
        let terms = Terms { restarts_in_place: true, ..Terms::default() };
        let again = |released| {
            let story = signalled().at(12_000).releases().at(12_010).binds();
            story.at(60_000).signal(Signal::User1).at(released).releases().binds().at(600_000).ended()
        };
        assert_eq!(verdict(&PortIsReleased, again(62_000), &terms), []);
        let found = verdict(&PortIsReleased, again(62_100), &terms);
        assert_eq!(found[0].message, "The port 18789 was still bound 2.1 s after SIGUSR1 (budget 2.0 s)");
    }

    #[test]
    fn a_successor_that_finds_the_port_taken_is_reported_once() {
        let story = signalled().at(11_000).gateway(215).starts().bind_refused().bind_refused();
        let story = story.gateway(214).at(11_500).releases();
        assert_eq!(
            complaints(&PortIsReleased, story),
            ["Gateway pid 215 found the port 18789 taken by gateway pid 214"]
        );
        let stranger = signalled().at(11_000).gateway(900).bind_refused().gateway(214).at(11_500).releases();
        assert_eq!(complaints(&PortIsReleased, stranger), [""; 0]);
        let reused = signalled().at(11_000).gateway(900).bind_refused().gateway(214).at(11_500).releases();
        let reused = reused.exits(0).at(12_000).gateway(900).starts();
        assert_eq!(complaints(&PortIsReleased, reused), [""; 0], "a gateway has its number later");
        let healthy_holder = Story::new().at(0).serves(214).at(5).gateway(215).starts().bind_refused();
        assert_eq!(complaints(&PortIsReleased, healthy_holder), [""; 0]);
    }
}
