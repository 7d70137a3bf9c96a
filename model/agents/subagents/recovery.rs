//! What this life owes to the subagents that an earlier one left behind.
//!
//! [`verdict`] decides from evidence alone: the row, how far its run came on the message road, and what the transcript
//! says. So a crash at any point of this leads to the same end. Work that was cut short is resumed under a new run, whose
//! name takes the place of the old one in the books in one write, before it begins; a few times, and not when restarts
//! follow each other so fast that the work itself may be what brings them about (openclaw/openclaw#47711, #96230).

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Entry, FIRST_RETRY_DELAY, Outcome, OutcomeStatus, PREFIX, Status, announce, cancelled, end, hand_over,
    note_of, pay_later, result_of, sweeper, try_again, work_id,
};
use crate::gateway::Gateway;
use crate::lifecycle::phase::Phase;
use crate::lifecycle::recovery::flagged;
use crate::messages::inbox::{Settlement, Stage};
use crate::policy::{ResumeAge, SubagentRestore, SubagentWithoutSession};
use crate::sessions;

/// How often a subagent is resumed at most.
const MOST_RESUMES: usize = 3;
/// So many resumes within so many milliseconds, and one more interruption, end it.
const RAPID_RESUMES: usize = 2;
const RAPID_MS: u64 = 2 * 60 * 1_000;
/// How long after the start a subagent is resumed; the pause doubles with each time (OpenClaw: 5 s).
const RESUME_DELAY: Duration = Duration::from_secs(5);
/// OpenClaw 2026.5.3-1 asked itself for a resume: how long the answer takes, how long it waited for it, and how often it
/// tried again.
const HISTORY_ANSWER: Duration = Duration::from_millis(20);
const HISTORY_PATIENCE: Duration = Duration::from_secs(10);
const HISTORY_RETRIES: u32 = 3;
/// How long after its beginning a run is not resumed any more (openclaw/openclaw#90817): what it was to do is what somebody
/// wanted then, and it may have done half of it.
const TOO_OLD_MS: u64 = 2 * 60 * 60 * 1_000;
/// How much of a task the resumed run is reminded of (OpenClaw: 2,000).
const REMINDED_CHARS: usize = 2_000;

/// What is known of a subagent's run beside its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Evidence {
    /// How far its message is, as far as the inbox remembers.
    stage: Option<Stage>,
    /// Whether its conversation exists.
    has_session: bool,
    /// Whether the transcript says that it had begun.
    has_begun: bool,
    /// Whether the transcript holds its answer.
    has_answer: bool,
}

/// What becomes of a subagent that an earlier life left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing: it is over.
    Leave,
    /// Its run is on the message road.
    Adopt,
    /// Its run never got there.
    HandOver,
    /// Another run takes its place.
    Resume,
    /// It was cut short too often.
    GiveUp,
    /// It was cut short too long ago.
    TooOld,
    /// Nobody can go on with it: its conversation is gone.
    Lost,
    /// Its run has its answer.
    Answered,
    /// It was stopped.
    Cancelled,
    /// It is over, and nobody was told.
    Announce,
}

fn verdict(age: ResumeAge, entry: &Entry, evidence: Evidence, now: u64) -> Verdict {
    let is_too_old = age == ResumeAge::Limited && is_too_old(entry, now);
    let cut_short = match is_too_old {
        _ if is_worn_out(entry, now) => Verdict::GiveUp,
        true => Verdict::TooOld,
        false => Verdict::Resume,
    };
    match entry.status {
        Status::Ended if entry.is_over() => Verdict::Leave,
        Status::Ended => Verdict::Announce,
        _ if evidence.has_answer => Verdict::Answered,
        _ if evidence.stage == Some(Stage::Settled(Settlement::Cancelled)) => Verdict::Cancelled,
        _ if !evidence.has_session => Verdict::Lost,
        Status::Interrupted => cut_short,
        Status::Running => match evidence.stage {
            Some(Stage::Accepted | Stage::Started) => Verdict::Adopt,
            // It ended without a reply, and the row says nothing of it.
            Some(Stage::Settled(_)) => cut_short,
            None if evidence.has_begun || is_too_old => cut_short,
            None => Verdict::HandOver,
        },
    }
}

/// Whether it was cut short too often to be tried again.
fn is_worn_out(entry: &Entry, now: u64) -> bool {
    let recent = entry.resumed_at.iter().filter(|at| now.abs_diff(**at) < RAPID_MS).count();
    entry.resumed_at.len() >= MOST_RESUMES || recent >= RAPID_RESUMES
}

/// Whether its run began too long ago to be gone on with.
fn is_too_old(entry: &Entry, now: u64) -> bool {
    now.saturating_sub(entry.started_at.unwrap_or(entry.created_at)) > TOO_OLD_MS
}

/// Looks after what earlier lives left behind. The message road is recovered before.
pub(crate) fn recover(gateway: &Rc<Gateway>) {
    for (run_id, entry) in gateway.subagents.registry.rows() {
        match gateway.policies.subagent_restore {
            SubagentRestore::ResumeOrTell => look_after(gateway, &run_id, &entry),
            _ if entry.status == Status::Ended => look_after(gateway, &run_id, &entry),
            policy => of_history(gateway, policy, &run_id, &entry),
        }
    }
    sweeper::forget_unowned(gateway);
    sweeper::start(gateway);
}

fn look_after(gateway: &Rc<Gateway>, run_id: &str, entry: &Entry) {
    match evidence(gateway, run_id, entry) {
        Ok(evidence) => {
            let verdict = verdict(gateway.policies.resume_age, entry, evidence, gateway.subagents.now_ms());
            carry_out(gateway, verdict, run_id, entry);
        }
        Err(error) => {
            tracing::error!(name: "subagent.no-evidence", child = run_id, %error, "trying again");
            try_again(gateway, &entry.id, look_after);
        }
    }
}

fn evidence(gateway: &Gateway, run_id: &str, entry: &Entry) -> Result<Evidence, sessions::StateError> {
    let stage = gateway.inbox.stage_of(run_id);
    let Some(transcript) = gateway.sessions.find_transcript(&entry.child_session_key)? else {
        return Ok(Evidence { stage, has_session: false, has_begun: false, has_answer: false });
    };
    let has_begun = transcript.entries()?.iter().any(|said| said.run_id == run_id);
    let has_answer = has_begun && matches!(transcript.outcome(run_id)?, Some(sessions::Outcome::Reply(_)));
    Ok(Evidence { stage, has_session: true, has_begun, has_answer })
}

fn carry_out(gateway: &Rc<Gateway>, verdict: Verdict, run_id: &str, entry: &Entry) {
    let ends = |status, text: &str| end(gateway, run_id, Outcome { status, text: text.to_string() });
    match verdict {
        Verdict::Leave => {}
        Verdict::Adopt => {
            let generation = gateway.subagents.generation.clone();
            note_of(gateway, run_id, |entry| entry.generation = generation);
        }
        Verdict::HandOver => {
            let generation = gateway.subagents.generation.clone();
            note_of(gateway, run_id, |entry| entry.generation = generation);
            hand_over(gateway, run_id, entry);
        }
        Verdict::Resume => {
            note_of(gateway, run_id, |entry| entry.status = Status::Interrupted);
            resume_later(gateway, entry);
        }
        Verdict::GiveUp => ends(OutcomeStatus::Lost, "restarts interrupted it too often"),
        Verdict::TooOld => ends(OutcomeStatus::Lost, "a restart interrupted it, hours ago"),
        Verdict::Lost if gateway.policies.subagent_without_session == SubagentWithoutSession::Pruned => {
            prune(gateway, run_id);
        }
        Verdict::Lost => ends(OutcomeStatus::Lost, "its conversation is gone"),
        Verdict::Answered => end(gateway, run_id, result_of(gateway, run_id, entry)),
        Verdict::Cancelled => end(gateway, run_id, cancelled()),
        Verdict::Announce => announce::make(gateway, run_id, entry),
    }
}

/// Resumes a subagent after a while, if it is still to be resumed then.
fn resume_later(gateway: &Rc<Gateway>, entry: &Entry) {
    let delay = RESUME_DELAY * 2_u32.pow(u32::try_from(entry.resumed_at.len()).unwrap_or(0));
    let (gateway, id) = (gateway.clone(), entry.id.clone());
    drop(gateway.env.clone().spawn("subagent to resume", async move {
        sleep(delay).await;
        while let Some((run_id, entry)) = gateway.subagents.registry.of_subagent(&id) {
            // It may have been stopped meanwhile; and no end of a life begins anything new.
            let is_wanted = entry.status == Status::Interrupted && !gateway.subagents.is_hushed(&entry);
            if !is_wanted || gateway.phase.get() > Phase::Serving {
                return;
            }
            match resume(&gateway, &run_id, &entry) {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(name: "subagent.not-resumed", child = run_id, %error, "trying again");
                    sleep(FIRST_RETRY_DELAY).await;
                }
            }
        }
    }));
}

/// Gives a subagent another run: in the books first, in one write, and then on the message road.
fn resume(gateway: &Rc<Gateway>, old: &str, entry: &Entry) -> Result<(), sessions::StateError> {
    let now = gateway.subagents.now_ms();
    let mut resumed = Entry {
        status: Status::Running,
        generation: gateway.subagents.generation.clone(),
        started_at: Some(now),
        ..entry.clone()
    };
    resumed.resumed_at.push(now);
    let run_id = work_id(&entry.id, 1 + resumed.resumed_at.len());
    gateway.subagents.registry.change(|rows| {
        rows.remove(old);
        rows.insert(run_id.clone(), resumed.clone());
    })?;
    let attempt = resumed.resumed_at.len();
    tracing::warn!(name: "subagent.resumed", child = run_id, old, attempt, "another run goes on with it");
    hand_over(gateway, &run_id, &resumed);
    Ok(())
}

/// What a subagent's run is told: its task, and that it is not the first if it is not.
pub(super) fn task_words(entry: &Entry) -> String {
    match entry.resumed_at.len() {
        0 => entry.task.clone(),
        _ => {
            let task: String = entry.task.chars().take(REMINDED_CHARS).collect();
            format!(
                "The service restarted while you were at work on this. Go on where you were. Your task: {task}"
            )
        }
    }
}

/// The row of a subagent whose conversation is not there.
fn prune(gateway: &Rc<Gateway>, run_id: &str) {
    tracing::warn!(name: "subagent.pruned", child = run_id, "its conversation is not there");
    let noted = gateway.subagents.registry.note(|rows| drop(rows.remove(run_id)));
    pay_later(gateway, noted);
}

/// What history did with a subagent that was at work.
fn of_history(gateway: &Rc<Gateway>, policy: SubagentRestore, run_id: &str, entry: &Entry) {
    let has_session = gateway.sessions.find_transcript(&entry.child_session_key).ok().flatten().is_some();
    if !has_session && gateway.policies.subagent_without_session == SubagentWithoutSession::Pruned {
        return prune(gateway, run_id);
    }
    match policy {
        SubagentRestore::ResumeOrTell => unreachable!("that is no history"),
        // As long as it takes.
        SubagentRestore::WaitForDeadRun => {}
        SubagentRestore::ResumeBeforeTracking | SubagentRestore::ResumeUntracked => {
            let (gateway, id, old) = (gateway.clone(), entry.id.clone(), run_id.to_string());
            let child = entry.child_session_key.clone();
            drop(gateway.env.clone().spawn("subagent to resume", async move {
                sleep(RESUME_DELAY).await;
                // Without the flag its run is waited for, for as long as it takes.
                if flagged::is_flagged(&gateway, &child) {
                    resume_like_history(&gateway, policy, &id, &old).await;
                }
            }));
        }
    }
}

/// Resumes a subagent first, and tells the books then. A resume whose answer is late counts as none, and is made again
/// under another name.
async fn resume_like_history(gateway: &Rc<Gateway>, policy: SubagentRestore, id: &str, old: &str) {
    for attempt in 0..=HISTORY_RETRIES {
        let Some((_, mut entry)) = gateway.subagents.registry.of_subagent(id) else { return };
        let now = gateway.subagents.now_ms();
        if entry.resumed_at.iter().filter(|at| now.abs_diff(**at) < RAPID_MS).count() >= RAPID_RESUMES {
            let text = "restarts interrupted it too often".to_string();
            return end(gateway, old, Outcome { status: OutcomeStatus::Lost, text });
        }
        entry.resumed_at.push(now);
        let run_id = format!("{PREFIX}{id}:{}", gateway.env.random_id("subagent-resume"));
        tracing::warn!(name: "subagent.resumed", child = run_id, old, attempt, "another run goes on with it");
        let asked = Instant::now();
        hand_over(gateway, &run_id, &entry);
        sleep(HISTORY_ANSWER).await;
        if asked.elapsed() > HISTORY_PATIENCE {
            sleep(RESUME_DELAY * 2_u32.pow(attempt)).await;
            continue;
        }
        if policy == SubagentRestore::ResumeBeforeTracking {
            let noted = gateway.subagents.registry.note(|rows| {
                rows.remove(old);
                rows.insert(run_id, entry);
            });
            pay_later(gateway, noted);
        }
        return;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Announcement, Requester};
    use super::*;
    use crate::channels::Route;

    pub(in crate::agents::subagents) fn entry() -> Entry {
        Entry {
            id: "a".into(),
            child_session_key: "subagent:a".into(),
            requester: Requester { session_key: "main".into(), run_id: "m".into(), route: Route::Webchat },
            label: None,
            task: "count".into(),
            generation: "g".into(),
            created_at: 0,
            started_at: Some(0),
            ended_at: None,
            status: Status::Running,
            outcome: None,
            announcement: Announcement::Pending,
            resumed_at: Vec::new(),
        }
    }

    const NOTHING: Evidence =
        Evidence { stage: None, has_session: true, has_begun: false, has_answer: false };

    const NOW: u64 = 7_000_000;

    fn check(entry: &Entry, evidence: Evidence, expected: Verdict) {
        assert_eq!(verdict(ResumeAge::Limited, entry, evidence, NOW), expected, "{entry:?} {evidence:?}");
    }

    #[test]
    fn the_evidence_decides_once() {
        use Settlement::{Answered, Cancelled, Told};
        let stage = |stage| Evidence { stage: Some(stage), has_begun: true, ..NOTHING };
        let running = entry();
        check(&running, NOTHING, Verdict::HandOver);
        check(&running, stage(Stage::Accepted), Verdict::Adopt);
        check(&running, stage(Stage::Started), Verdict::Adopt);
        check(&running, stage(Stage::Settled(Told)), Verdict::Resume);
        check(&running, stage(Stage::Settled(Answered)), Verdict::Resume);
        check(&running, stage(Stage::Settled(Cancelled)), Verdict::Cancelled);
        check(&running, Evidence { has_begun: true, ..NOTHING }, Verdict::Resume);
        check(&running, Evidence { has_answer: true, has_begun: true, ..NOTHING }, Verdict::Answered);
        check(&running, Evidence { has_session: false, ..NOTHING }, Verdict::Lost);
        let interrupted = Entry { status: Status::Interrupted, ..entry() };
        check(&interrupted, stage(Stage::Settled(Told)), Verdict::Resume);
        check(&interrupted, stage(Stage::Settled(Cancelled)), Verdict::Cancelled);
        check(&interrupted, stage(Stage::Started), Verdict::Resume);
        let ended = |announcement| Entry { status: Status::Ended, announcement, ..entry() };
        check(&ended(Announcement::Pending), NOTHING, Verdict::Announce);
        check(&ended(Announcement::Made), NOTHING, Verdict::Leave);
        check(&ended(Announcement::NotWanted), NOTHING, Verdict::Leave);
    }

    #[test]
    fn what_is_cut_short_too_often_or_too_fast_is_given_up() {
        let resumed =
            |times: &[u64]| Entry { resumed_at: times.to_vec(), status: Status::Interrupted, ..entry() };
        check(&resumed(&[1, 2]), NOTHING, Verdict::Resume);
        check(&resumed(&[1, 2, 3]), NOTHING, Verdict::GiveUp);
        check(&resumed(&[1, NOW]), NOTHING, Verdict::Resume);
        check(&resumed(&[6_900_000, 6_990_000]), NOTHING, Verdict::GiveUp);
    }

    #[test]
    fn what_began_long_ago_is_not_gone_on_with() {
        let begun = |at| Entry { started_at: Some(at), status: Status::Interrupted, ..entry() };
        let judged = |age, at| verdict(age, &begun(at), NOTHING, TOO_OLD_MS + 1_000);
        assert_eq!(judged(ResumeAge::Limited, 1_000), Verdict::Resume);
        assert_eq!(judged(ResumeAge::Limited, 999), Verdict::TooOld);
        assert_eq!(judged(ResumeAge::Any, 0), Verdict::Resume);
        // Whoever set the clock back has made nothing old.
        assert_eq!(judged(ResumeAge::Limited, u64::MAX), Verdict::Resume);
        let answered = Evidence { has_answer: true, has_begun: true, ..NOTHING };
        check(&Entry { created_at: 0, started_at: None, ..begun(0) }, answered, Verdict::Answered);
    }

    #[test]
    fn a_run_that_is_not_the_first_is_told_so() {
        assert_eq!(task_words(&entry()), "count");
        assert!(task_words(&Entry { resumed_at: vec![1], ..entry() }).ends_with("Your task: count"));
    }
}
