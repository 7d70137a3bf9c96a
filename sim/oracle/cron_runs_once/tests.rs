//! Scheduled runs told in stories: what must be made or written down, and what is excused.
//!
//! Times are minutes of a wall clock that begins at a fixed moment. Knows nothing of how a gateway schedules.

use super::*;
use crate::oracle::Terms;
use crate::oracle::tests::verdict;
use crate::timeline::Injection;
use crate::timeline::story::Story;

const MINUTE: u64 = 60_000;

fn terms() -> Terms {
    let job = |job: &str| CronTerm { job: job.into(), every: Duration::from_secs(300), session_of: None };
    let cron_grace = Duration::from_secs(600);
    Terms { cron_jobs: vec![job("report")], cron_grace, wall_epoch_ms: 3_000_000, ..Terms::default() }
}

fn check(story: Story, expected: &[&str]) {
    let found = verdict(&CronRunsOnce, story, &terms());
    assert_eq!(found.iter().map(|violation| violation.message.as_str()).collect::<Vec<_>>(), expected);
}

/// A gateway that serves from the beginning, with the slot of five minutes answered.
fn serving() -> Story {
    Story::new().at(100).serves(214)
}

/// The slot of five minutes, on the wall clock.
const FIVE: u64 = 3_300_000;

#[test]
fn a_run_that_the_model_answered_is_made() {
    let story = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1).cron_answered("report", FIVE, 1);
    check(story.at(19 * MINUTE).ended(), &[]);
}

#[test]
fn a_run_that_never_came_needs_a_record() {
    let missing =
        ["The run of report that was due at 300.000 s was never made, and nothing says that it was \
                    skipped"];
    check(serving().at(19 * MINUTE).ended(), &missing);
    check(serving().at(19 * MINUTE).books(&[("report", FIVE, FIVE, "skipped")]).ended(), &[]);
    let range = [("report", 3_000_000, 4_000_000, "skipped")];
    check(serving().at(19 * MINUTE).books(&range).ended(), &[]);
    check(serving().at(19 * MINUTE).books(&[("other", FIVE, FIVE, "skipped")]).ended(), &missing);
    check(serving().at(14 * MINUTE).ended(), &[]);
}

#[test]
fn a_run_waits_while_others_keep_the_model_busy_in_its_conversation() {
    // Ann is answered from minute six to sixteen, and the run would have ended by fifteen.
    let missed = |host: Option<&str>, sender: &str, at: u64| {
        let job = |job: &str, every: u64, host: Option<&str>| CronTerm {
            job: job.into(),
            every: Duration::from_secs(every),
            session_of: host.map(Into::into),
        };
        let cron_jobs = vec![job("report", 300, host), job("beat", 1_800, Some("ann"))];
        let terms = Terms { cron_jobs, ..terms() };
        let busy = serving().at(6 * MINUTE);
        let story = match sender {
            "beat" => {
                busy.cron_asked("beat", 2_000_000, 1).at(16 * MINUTE).cron_stopped("beat", 2_000_000, 1)
            }
            "about" => {
                let told = |seen| busy.sender("ann").subagent(1, seen).at(16 * MINUTE);
                let story = told(SubagentSeen::AnnouncementRequested { request: 1 });
                story.subagent(1, SubagentSeen::AnnouncementAnswered { request: 1 })
            }
            "subagent" => {
                let works = busy.sender("ann").subagent(1, SubagentSeen::Requested { request: 1 });
                works.at(16 * MINUTE).subagent(1, SubagentSeen::Answered { request: 1 })
            }
            _ => busy.sender(sender).asked(1, 1).at(16 * MINUTE).answered(1, 1),
        };
        verdict(&CronRunsOnce, story.at(at * MINUTE).ended(), &terms).len()
    };
    assert_eq!([missed(Some("ann"), "ann", 19), missed(Some("ann"), "beat", 19)], [0, 0]);
    assert_eq!(missed(Some("ann"), "about", 19), 0);
    assert!(missed(Some("ann"), "about", 26) >= 1, "it had its time afterwards");
    assert_eq!([missed(Some("bob"), "about", 19), missed(Some("ann"), "subagent", 19)], [1, 1], "elsewhere");
    assert_eq!([missed(Some("ann"), "bob", 19), missed(None, "ann", 19)], [1, 1], "elsewhere");
    assert!(missed(Some("ann"), "ann", 26) >= 1, "it had its time afterwards");
}

#[test]
fn nothing_is_made_on_a_store_that_nothing_can_restore() {
    let missed = |what: &str| {
        let story = serving().at(4 * MINUTE).injected(crate::timeline::Injection::CorruptState, what);
        verdict(&CronRunsOnce, story.at(19 * MINUTE).ended(), &terms()).len()
    };
    assert_eq!(missed("agents/main/sessions/sessions.json in the state directory is overwritten"), 0);
    assert_eq!(missed("tasks.json in the state directory is overwritten"), 1);
}

#[test]
fn a_run_that_was_interrupted_needs_an_end() {
    let story = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1).at(5 * MINUTE + 500).exits(0);
    let again = story.at(5 * MINUTE + 900).serves(215);
    let forgotten = again.at(19 * MINUTE).books(&[("report", FIVE, FIVE, "started")]).ended();
    check(
        forgotten,
        &[
            "The run of report that was due at 300.000 s was begun and never finished, and nothing says that it \
           was skipped",
        ],
    );
}

#[test]
fn nothing_is_asked_of_a_gateway_that_has_no_time() {
    let story = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1).at(5 * MINUTE + 500).exits(0);
    check(story.at(60 * MINUTE).ended(), &[]);
    let frozen = serving().at(4 * MINUTE).frozen().at(19 * MINUTE).thawed().ended();
    check(frozen, &[]);
}

#[test]
fn who_stood_still_in_its_first_moment_learned_of_its_jobs_when_it_went_on() {
    let first = |ms| Story::new().at(100).serves(214).at(ms).frozen().at(6 * MINUTE).thawed();
    check(first(100).at(30 * MINUTE).books(&[("report", 3_600_000, 4_900_000, "skipped")]).ended(), &[]);
    let missing =
        "The run of report that was due at 300.000 s was never made, and nothing says that it was skipped";
    let later = first(4 * MINUTE).at(30 * MINUTE);
    check(later.books(&[("report", 3_600_000, 4_900_000, "skipped")]).ended(), &[missing]);
}

fn asked_again() -> Story {
    let first = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1).cron_answered("report", FIVE, 1);
    let again = first.at(5 * MINUTE + 500).exits(0).at(5 * MINUTE + 900).serves(215);
    again.at(5 * MINUTE + 950).cron_asked("report", FIVE, 2).cron_answered("report", FIVE, 2)
}

#[test]
fn a_run_is_made_twice_when_it_is_asked_for_after_its_answer() {
    check(asked_again(), &["The run of report that was due at 300.000 s was made twice"]);
    check(asked_again().books(&[("report", FIVE, FIVE, "interrupted")]), &[]);
}

#[test]
fn asking_again_after_a_failure_is_no_second_run() {
    let story = serving().at(5 * MINUTE).cron_asked("report", FIVE, 1);
    let again = story.at(5 * MINUTE + 900).cron_asked("report", FIVE, 2).cron_answered("report", FIVE, 2);
    check(again, &[]);
}

#[test]
fn booked_as_done_without_an_answer_is_a_lie() {
    let story = serving().at(19 * MINUTE).books(&[("report", FIVE, FIVE, "ok")]).ended();
    check(
        story,
        &["The run of report that was due at 300.000 s is booked as done, and the model never answered it"],
    );
}

#[test]
fn nothing_is_asked_of_a_job_that_nobody_lived_to_declare() {
    let died_at_once = Story::new().at(100).serves(214).at(600).exits(1).at(6 * MINUTE).serves(215);
    check(
        died_at_once.at(26 * MINUTE).ended(),
        &[
            "The run of report that was due at 600.000 s was never made, and nothing says that it was skipped",
            "The run of report that was due at 900.000 s was never made, and nothing says that it was skipped",
        ],
    );
}

#[test]
fn books_that_were_written_anew_before_anybody_read_them_need_not_know_of_a_skip() {
    let missed = |anew: bool| {
        let story = serving().at(12 * MINUTE);
        let story = if anew { story.disk(FsOp::Rename, "/state/cron/runs.jsonl") } else { story };
        verdict(&CronRunsOnce, story.at(19 * MINUTE).books(&[]).ended(), &terms()).len()
    };
    assert_eq!((missed(true), missed(false)), (0, 1));
    let read_between = |at: u64| {
        let story = serving().at(at * MINUTE).books(&[]).at(16 * MINUTE);
        let story = story.disk(FsOp::Rename, "/state/cron/runs.jsonl").at(19 * MINUTE).books(&[]).ended();
        verdict(&CronRunsOnce, story, &terms()).len()
    };
    assert_eq!((read_between(11), read_between(15)), (0, 1), "who reads them too soon knows nothing yet");
}

#[test]
fn who_died_soon_may_have_declared_its_jobs() {
    // A second after five minutes past; then nine seconds back, and killed.
    let first = |back| {
        let story = Story::new().at(5 * MINUTE + 1_000).serves(214).at(5 * MINUTE + 1_010);
        story.clock_jumps(back).exits(1).at(5 * MINUTE + 1_100).serves(215)
    };
    check(first(-9_000).at(18 * MINUTE).ended(), &[]);
    let missing =
        "The run of report that was due at 600.000 s was never made, and nothing says that it was skipped";
    check(first(0).at(24 * MINUTE).ended(), &[missing]);
}

#[test]
fn a_clock_that_is_set_back_lets_a_time_come_again() {
    // Ten minutes back, four minutes after the start: five minutes past comes a quarter of an hour after it.
    let back = || serving().at(4 * MINUTE).clock_jumps(-10 * MINUTE as i64);
    check(back().at(20 * MINUTE).ended(), &[]);
    check(
        back().at(26 * MINUTE).ended(),
        &["The run of report that was due at 900.000 s was never made, and nothing says that it was skipped"],
    );
    let made = back().at(15 * MINUTE).cron_asked("report", FIVE, 1).cron_answered("report", FIVE, 1);
    check(made.at(26 * MINUTE).books(&[("report", FIVE + 1, FIVE + 1, "skipped")]).ended(), &[]);
}

#[test]
fn what_the_clock_had_shown_when_the_job_was_declared_counts_once() {
    let on_the_hour = Terms { wall_epoch_ms: FIVE, ..terms() };
    let back = Story::new().at(100).serves(214).at(200).clock_jumps(-(MINUTE as i64)).at(12 * MINUTE).ended();
    let found = verdict(&CronRunsOnce, back, &on_the_hour);
    assert_eq!(found, [], "five past came before the job was there; ten past is due at six minutes");
}

#[test]
fn a_time_that_the_clock_jumps_over_needs_a_word() {
    let forward = || serving().at(4 * MINUTE).clock_jumps(6 * MINUTE as i64);
    let due = |name: &str| {
        format!(
            "The run of report that was due at {name} s was never made, and nothing says that it was skipped"
        )
    };
    let found = verdict(&CronRunsOnce, forward().at(18 * MINUTE).ended(), &terms());
    let messages: Vec<_> = found.iter().map(|violation| violation.message.clone()).collect();
    assert_eq!(messages, [due("240.000"), due("240.000")]);
}

#[test]
fn jobs_whose_time_comes_again_are_not_late() {
    let back = serving().at(6 * MINUTE).clock_jumps(-5 * MINUTE as i64);
    let again = ["a", "b", "c", "d"]
        .iter()
        .zip(1..)
        .fold(back.at(10 * MINUTE), |story, (job, turn)| story.cron_asked(job, FIVE, turn));
    check(again, &[]);
}

#[test]
fn late_runs_must_not_come_as_a_crowd() {
    let late = |jobs: &[&str], apart: u64| {
        let served = Story::new().at(100).serves(214).at(200).exits(0).at(6 * MINUTE).serves(215);
        jobs.iter().zip(0..).fold(served, |story, (job, turn)| {
            story.at(6 * MINUTE + turn * apart).cron_asked(job, FIVE, turn as u32)
        })
    };
    check(late(&["a", "b"], 1), &[]);
    check(late(&["a", "b", "c", "d"], 1), &["4 scheduled runs that were late began all at once"]);
    check(late(&["a", "b", "c", "d"], 5_000), &[]);
}

#[test]
fn who_waited_for_a_lock_that_came_free_are_no_crowd() {
    let late = |taker: u32, freed_at: u64| {
        let served = Story::new().at(100).serves(214).at(200).exits(0).at(5 * MINUTE).gateway(taker);
        let lock = "/state/agents/main/sessions/sessions.json.lock";
        let held = served.disk(FsOp::CreateNew, lock).at(6 * MINUTE).serves(215).at(freed_at).gateway(taker);
        let freed = held.disk(FsOp::Remove, lock).at(7 * MINUTE);
        let all = ["a", "b", "c"].iter().zip(0..);
        all.fold(freed, |story, (job, turn)| story.cron_asked(job, FIVE, turn))
    };
    let crowd = ["3 scheduled runs that were late began all at once"];
    check(late(900, 7 * MINUTE - 500), &[]);
    check(late(900, 7 * MINUTE - 1_001), &crowd);
    check(late(214, 7 * MINUTE - 500), &crowd);
}

#[test]
fn who_waited_for_the_disk_after_a_lock_or_for_the_line_to_the_model_are_no_crowd() {
    let crowd = |story: Story, longest_sync: u64| {
        let story = ["a", "b", "c"]
            .iter()
            .zip(0..)
            .fold(story.at(7 * MINUTE), |story, (job, turn)| story.cron_asked(job, FIVE, turn));
        let terms = Terms { longest_sync: Duration::from_millis(longest_sync), ..terms() };
        let found = verdict(&CronRunsOnce, story.ended(), &terms);
        found.iter().filter(|violation| violation.message.contains("all at once")).count()
    };
    let served = || Story::new().at(100).serves(214).at(200).exits(0).at(5 * MINUTE);
    let freed = |by: u32| {
        let lock = "/state/agents/main/sessions/sessions.json.lock";
        let held = served().gateway(900).disk(FsOp::CreateNew, lock).at(6 * MINUTE).serves(215);
        let freed = held.at(7 * MINUTE - 1_100).gateway(900).disk(FsOp::Remove, lock);
        freed.at(7 * MINUTE - 500).gateway(by).disk(FsOp::SyncFile, "/state/x")
    };
    assert_eq!([crowd(freed(215), 100), crowd(freed(215), 99), crowd(freed(900), 100)], [0, 1, 1]);
    let cut = |with: &str, healed_at: u64| {
        let world = || crate::timeline::Source::World;
        let (a, b) = ("gateway".to_string(), with.to_string());
        let cut = Fact::LinkPartitioned { a: a.clone(), b: b.clone() };
        let story = served().at(6 * MINUTE).serves(215).fact(world(), cut);
        story.at(healed_at).fact(world(), Fact::LinkHealed { a, b })
    };
    assert_eq!(crowd(cut("provider", 7 * MINUTE - 1_000), 0), 0);
    assert_eq!(crowd(cut("provider", 7 * MINUTE - 1_001), 0), 1, "long ago");
    assert_eq!(crowd(cut("clients", 7 * MINUTE - 1_000), 0), 1, "another line");
}

#[test]
fn who_waited_for_a_lock_that_was_left_behind_are_no_crowd() {
    let late = |left: &str| {
        let served = Story::new().at(100).serves(214).at(200).exits(0).at(5 * MINUTE);
        let what = format!("{left} was left behind, owner: reused-undated");
        let served = served.injected(Injection::LeaveLock, &what).at(6 * MINUTE).serves(215);
        let lock = "/state/agents/main/sessions/sessions.json.lock";
        let taken = served.at(7 * MINUTE - 500).disk(FsOp::Remove, lock).at(7 * MINUTE);
        ["a", "b", "c"].iter().zip(0..).fold(taken, |story, (job, turn)| story.cron_asked(job, FIVE, turn))
    };
    check(late("agents/main/sessions/sessions.json.lock"), &[]);
    check(late("gateway.lock"), &["3 scheduled runs that were late began all at once"]);
}

#[test]
fn what_an_earlier_life_had_begun_goes_on_at_once() {
    let died = |begun: &[&str]| {
        let served = Story::new().at(100).serves(214).at(5 * MINUTE + 10).exits(1);
        let records: Vec<_> = begun.iter().map(|job| (*job, FIVE, FIVE, "started")).collect();
        let next = served.books(&records).at(6 * MINUTE).serves(215);
        let asked = |story: Story, (job, turn): (&&str, u32)| story.cron_asked(job, FIVE, turn);
        let next = ["a", "b", "c"].iter().zip(0..).fold(next, asked);
        let records = ["a", "b", "c"].map(|job| (job, FIVE, FIVE, "started"));
        next.at(6 * MINUTE + 100).books(&records)
    };
    check(died(&["a", "b", "c"]), &[]);
    check(died(&[]), &["3 scheduled runs that were late began all at once"]);
    check(died(&["a"]), &[]);
}
