//! Subagents: work that a turn hands to a conversation of its own, and whose result comes back as a turn of the
//! conversation that asked for it.
//!
//! A subagent's run is an ordinary message with a name of its own, `subagent:ID:ATTEMPT`, and so is the announcement of
//! its result, `subagent:ID:announce`; so both are as durable as any message, and recovery knows them. What the message
//! road cannot know stands in the books (`registry`): who asked, which run works on it now, what came of it, and
//! whether that is announced. The order is the promise: the conversation is there before the row, and the row before
//! the run; the result is in the transcript before the row says so, and the row before the announcement. What a crash
//! leaves in between, `recovery` judges from what stands there.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::notice::NoticeCause;
use crate::channels::Route;
use crate::config::Config;
use crate::env::Env;
use crate::gateway::Gateway;
use crate::messages::inbox::{Accepted, Settlement, Stage};
use crate::messages::lanes::Interruption;
use crate::messages::{Receipt, SendRefused};
use crate::policy::{Policies, SubagentRecord, SubagentSpawn};
use crate::sessions::{self, LOCK_DEADLINE, StateError, StateFiles};

mod announce;
mod recovery;
mod registry;
mod sweeper;

pub(crate) use announce::notice;
pub(crate) use recovery::recover;
use registry::{Announcement, Entry, Outcome, OutcomeStatus, Registry, Requester, Status};

/// The tool's name.
pub(super) const TOOL: &str = "sessions_spawn";
/// What the model is told of it.
pub(super) const OFFER: &str = r#"{"type":"function","function":{"name":"sessions_spawn","description":"Starts a background task in a session of its own. Its result is announced here when it is done.","parameters":{"type":"object","properties":{"task":{"type":"string"},"label":{"type":"string"}},"required":["task"]}}}"#;

/// How the ids of subagents' runs and of their announcements begin, and the keys of their conversations. No client may
/// use it for a message of its own.
const PREFIX: &str = "subagent:";
/// How many subagents a conversation may have at work (OpenClaw: 5).
const MOST_AT_WORK: usize = 5;
/// How much of a result is kept, and announced.
const KEPT_RESULT_CHARS: usize = 4_000;
/// When something that the disk refused is tried again; the pause doubles up to the longest.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(8);

/// The subagents of a life.
pub(crate) struct Subagents {
    env: Env,
    registry: Registry,
    /// This life, as the rows name it.
    generation: String,
    policies: Policies,
    /// Somebody sees to what is owed to the disk.
    is_paying: Cell<bool>,
    /// Somebody sweeps.
    is_sweeping: Cell<bool>,
    /// The subagents that somebody looks after who tries something again.
    tried_again: RefCell<BTreeSet<String>>,
    /// The subagents that are being stopped, while the books do not say so yet: nothing begins for them.
    hushed: RefCell<BTreeSet<String>>,
    /// How often it was tried to announce what came of which subagent; in history only.
    announcing: RefCell<BTreeMap<String, u32>>,
}

/// What a run of ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name<'a> {
    /// It does the work of the subagent.
    Work(&'a str),
    /// It announces what came of it.
    Announcement(&'a str),
}

fn parse(run_id: &str) -> Option<Name<'_>> {
    let (id, rest) = run_id.strip_prefix(PREFIX)?.split_once(':')?;
    Some(if rest.starts_with("announce") { Name::Announcement(id) } else { Name::Work(id) })
}

/// Whether a run, an idempotency key or a conversation is of a subagent, or about one.
pub(crate) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Whether a run does the work of a subagent.
pub(crate) fn is_work(run_id: &str) -> bool {
    matches!(parse(run_id), Some(Name::Work(_)))
}

/// The run of the subagent's `attempt`, counting from 1.
fn work_id(id: &str, attempt: usize) -> String {
    format!("{PREFIX}{id}:{attempt}")
}

impl Subagents {
    /// Reads what earlier lives did.
    pub(crate) fn open(
        env: &Env,
        files: &StateFiles,
        config: &Config,
        policies: &Policies,
    ) -> Result<Self, StateError> {
        Ok(Self {
            env: env.clone(),
            registry: Registry::open(files.clone(), &config.gateway.state_dir)?,
            generation: env.random_id("subagent-generation"),
            policies: policies.clone(),
            is_paying: Cell::new(false),
            is_sweeping: Cell::new(false),
            tried_again: RefCell::default(),
            hushed: RefCell::default(),
            announcing: RefCell::default(),
        })
    }

    fn now_ms(&self) -> u64 {
        self.env.wall_clock().epoch_ms()
    }

    fn is_hushed(&self, entry: &Entry) -> bool {
        self.hushed.borrow().contains(&entry.id)
    }

    /// Whether the books say on the disk what they say in memory; what is owed is written now.
    pub(crate) fn confirm(&self) -> Result<(), StateError> {
        self.registry.pay()
    }
}

#[derive(Deserialize)]
struct Arguments {
    task: String,
    #[serde(default)]
    label: Option<String>,
}

/// Starts a subagent for the turn about `message`; returns what the model is told.
pub(super) async fn spawn(gateway: &Rc<Gateway>, message: &Accepted, arguments: &str) -> String {
    let arguments: Arguments = match serde_json::from_str(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return format!("error: {error}"),
    };
    if is_ours(&message.session_key) {
        return "error: a background task starts no others".to_string();
    }
    let at_work = gateway.subagents.registry.rows().into_iter().filter(|(_, entry)| {
        entry.requester.session_key == message.session_key && entry.status != Status::Ended
    });
    if at_work.count() >= MOST_AT_WORK {
        return format!("error: {MOST_AT_WORK} background tasks are at work already");
    }
    match bring_about(gateway, message, arguments).await {
        Ok((run_id, session)) => {
            json!({"status": "accepted", "runId": run_id, "childSessionKey": session}).to_string()
        }
        Err(error) => {
            // A row that got there nevertheless must not begin in the next life what is said here not to begin.
            pay_later(gateway, gateway.subagents.registry.pay());
            format!("error: the background task could not be started: {error}")
        }
    }
}

/// Conversation, row, run. Without the row nothing was started, whatever else is there.
async fn bring_about(
    gateway: &Rc<Gateway>,
    message: &Accepted,
    Arguments { task, label }: Arguments,
) -> Result<(String, String), StateError> {
    let subagents = &gateway.subagents;
    let id = subagents.env.random_id("subagent");
    let (run_id, child_session_key) = (work_id(&id, 1), format!("{PREFIX}{id}"));
    if subagents.policies.subagent_spawn == SubagentSpawn::SessionFirst {
        gateway.sessions.open_transcript(&child_session_key, LOCK_DEADLINE).await?;
    }
    let Accepted { session_key, run_id: asked_by, route, .. } = message.clone();
    let now = subagents.now_ms();
    let entry = Entry {
        id,
        child_session_key: child_session_key.clone(),
        requester: Requester { session_key, run_id: asked_by, route },
        label,
        task,
        generation: subagents.generation.clone(),
        created_at: now,
        started_at: Some(now),
        ended_at: None,
        status: Status::Running,
        outcome: None,
        announcement: Announcement::Pending,
        resumed_at: Vec::new(),
    };
    match subagents.policies.subagent_record {
        SubagentRecord::First => {
            subagents.registry.change(|rows| drop(rows.insert(run_id.clone(), entry.clone())))?;
        }
        // Whatever comes of it.
        SubagentRecord::FailureIgnored => {
            let _ = subagents.registry.note(|rows| drop(rows.insert(run_id.clone(), entry.clone())));
        }
    }
    tracing::info!(
        name: "subagent.spawned",
        run = message.run_id,
        child = run_id,
        session = message.session_key,
        "a background task begins"
    );
    sweeper::start(gateway);
    hand_over(gateway, &run_id, &entry);
    Ok((run_id, child_session_key))
}

/// Gives a subagent's run its place on the message road. While the disk refuses it, it is tried again.
fn hand_over(gateway: &Rc<Gateway>, run_id: &str, entry: &Entry) {
    let message = Accepted {
        run_id: run_id.to_string(),
        session_key: entry.child_session_key.clone(),
        text: recovery::task_words(entry),
        // Nobody hears from the work itself; its end is announced to whoever asked.
        route: Route::Webchat,
    };
    match gateway.accept_follow_up(&message) {
        Ok(Receipt::Started | Receipt::InFlight | Receipt::Over(_)) => {}
        // The next life finds the row.
        Err(SendRefused::NotAdmitting) => {}
        Err(SendRefused::NotDurable(_) | SendRefused::Busy) => {
            try_again(gateway, &entry.id, |gateway, run_id, entry| {
                if entry.status == Status::Running && !gateway.subagents.is_hushed(entry) {
                    hand_over(gateway, run_id, entry);
                }
            })
        }
        Err(SendRefused::KeyReused) => {
            let why = "its name was used for something else".to_string();
            end(gateway, run_id, Outcome { status: OutcomeStatus::Error, text: why });
        }
    }
}

/// Does `what` with the subagent's row after a while, as it is then.
fn try_again(gateway: &Rc<Gateway>, id: &str, what: fn(&Rc<Gateway>, &str, &Entry)) {
    let is_new = gateway.subagents.tried_again.borrow_mut().insert(id.to_string());
    if !is_new {
        return;
    }
    let (gateway, id) = (gateway.clone(), id.to_string());
    drop(gateway.env.clone().spawn("subagent", async move {
        sleep(FIRST_RETRY_DELAY).await;
        gateway.subagents.tried_again.borrow_mut().remove(&id);
        if let Some((run_id, entry)) = gateway.subagents.registry.of_subagent(&id) {
            what(&gateway, &run_id, &entry);
        }
    }));
}

/// A message of ours is over. A run that no row names any more is nobody's, whatever comes of it.
pub(crate) fn settled(gateway: &Rc<Gateway>, run_id: &str, how: Settlement) {
    match parse(run_id) {
        None => {}
        Some(Name::Announcement(id)) => announce::settled(gateway, id, how),
        Some(Name::Work(_)) => {
            let Some(entry) = gateway.subagents.registry.of_run(run_id) else { return };
            if entry.status == Status::Ended {
                return;
            }
            match how {
                Settlement::Answered => end(gateway, run_id, result_of(gateway, run_id, &entry)),
                Settlement::Cancelled => end(gateway, run_id, cancelled()),
                // Said by `ended_without_reply`, which knows why.
                Settlement::Told => {}
            }
        }
    }
}

fn cancelled() -> Outcome {
    Outcome { status: OutcomeStatus::Cancelled, text: "stopped by its sender".to_string() }
}

/// What the subagent's transcript says came of its run.
fn result_of(gateway: &Gateway, run_id: &str, entry: &Entry) -> Outcome {
    let transcript = gateway.sessions.find_transcript(&entry.child_session_key);
    let outcome =
        transcript.and_then(|transcript| transcript.map_or(Ok(None), |found| found.outcome(run_id)));
    let (status, text) = match outcome {
        Ok(Some(sessions::Outcome::Reply(reply))) => (OutcomeStatus::Ok, reply),
        Ok(Some(sessions::Outcome::Notice(why))) => (OutcomeStatus::Error, why),
        Ok(None) => (OutcomeStatus::Lost, "its answer is gone".to_string()),
        Err(error) => (OutcomeStatus::Lost, format!("its answer cannot be read: {error}")),
    };
    Outcome { status, text }
}

/// A subagent's run ends without a reply. Recorded before its message is settled, so that a crash in between is seen.
pub(crate) fn ended_without_reply(gateway: &Rc<Gateway>, run_id: &str, cause: &NoticeCause) {
    let Some(entry) = gateway.subagents.registry.of_run(run_id) else { return };
    if entry.status != Status::Running {
        return;
    }
    match cause {
        NoticeCause::Interrupted => {
            tracing::warn!(name: "subagent.interrupted", child = run_id, "a restart cut a background task short");
            note_of(gateway, run_id, |entry| entry.status = Status::Interrupted);
        }
        NoticeCause::Failed(_) | NoticeCause::TriedTooOften(_) | NoticeCause::TooOld => {
            let text = match cause {
                NoticeCause::Failed(error) => error.to_string(),
                other => other.to_string(),
            };
            end(gateway, run_id, Outcome { status: OutcomeStatus::Error, text });
        }
    }
}

/// The subagent's work is over: that is recorded, and then announced.
fn end(gateway: &Rc<Gateway>, run_id: &str, outcome: Outcome) {
    let is_wanted = outcome.status != OutcomeStatus::Cancelled;
    tracing::info!(
        name: "subagent.ended",
        child = run_id,
        status = ?outcome.status,
        "a background task is over"
    );
    let now = gateway.subagents.now_ms();
    let text = outcome.text.chars().take(KEPT_RESULT_CHARS).collect();
    note_of(gateway, run_id, |entry| {
        entry.status = Status::Ended;
        entry.ended_at = Some(now);
        entry.outcome = Some(Outcome { status: outcome.status, text });
        if !is_wanted {
            entry.announcement = Announcement::NotWanted;
        }
    });
    if let Some(entry) = gateway.subagents.registry.of_run(run_id).filter(|_| is_wanted) {
        announce::make(gateway, run_id, &entry);
    }
}

/// Notes something in a row. What the disk refuses is owed, and tried again for as long as the process lives.
fn note_of(gateway: &Rc<Gateway>, run_id: &str, change: impl FnOnce(&mut Entry)) {
    let noted = gateway.subagents.registry.note_of(run_id, change);
    pay_later(gateway, noted);
}

fn pay_later(gateway: &Rc<Gateway>, written: Result<(), StateError>) {
    let Err(error) = written else { return };
    tracing::error!(name: "subagent.record-not-durable", %error, "trying again");
    if gateway.subagents.is_paying.replace(true) {
        return;
    }
    let gateway = gateway.clone();
    drop(gateway.env.clone().spawn("subagent records", async move {
        let mut delay = FIRST_RETRY_DELAY;
        loop {
            sleep(delay).await;
            if gateway.subagents.registry.pay().is_ok() {
                break;
            }
            delay = (delay * 2).min(LONGEST_RETRY_DELAY);
        }
        gateway.subagents.is_paying.set(false);
    }));
}

/// Stops, for good, the subagents that a conversation asked for; those of one message only when `run_id` names it.
/// Returns the runs that were stopped.
pub(crate) fn cancel(gateway: &Rc<Gateway>, session_key: &str, run_id: Option<&str>) -> Vec<String> {
    let mut cancelled_runs = Vec::new();
    for (work, entry) in gateway.subagents.registry.rows() {
        let is_meant = entry.requester.session_key == session_key
            && run_id.is_none_or(|run_id| run_id == entry.requester.run_id)
            && !entry.is_over();
        if !is_meant {
            continue;
        }
        if entry.status == Status::Ended {
            // What is on its way to be announced is stopped with its lane; the rest would be tried again.
            note_of(gateway, &work, |entry| entry.announcement = Announcement::NotWanted);
            continue;
        }
        tracing::warn!(name: "subagent.cancelled", child = work, "stopped by its sender");
        gateway.cancel(&entry.child_session_key, None);
        if gateway.subagents.registry.of_run(&work).is_some_and(|entry| entry.status != Status::Ended) {
            end(gateway, &work, cancelled());
        }
        cancelled_runs.push(work);
    }
    cancelled_runs
}

/// A subagent that a user stops, by the run that works on it.
pub(crate) struct Background {
    run_id: String,
    session_key: String,
    /// What it was to do.
    pub(crate) task: String,
}

/// The subagents of the command's conversation that were asked for before it and are not over, nor announced.
pub(crate) fn asked_for_before(gateway: &Gateway, command: &Accepted) -> Vec<Background> {
    let rows = gateway.subagents.registry.rows().into_iter().filter(|(_, entry)| {
        let Requester { session_key, run_id, .. } = &entry.requester;
        *session_key == command.session_key && !entry.is_over() && gateway.inbox.is_before(run_id, command)
    });
    rows.map(|(run_id, entry)| Background { run_id, session_key: entry.child_session_key, task: entry.task })
        .collect()
}

/// Ends their runs. From now on nobody in this life works on them, nor begins to.
pub(crate) fn hush(gateway: &Gateway, stopped: &[Background]) {
    for Background { run_id, session_key, .. } in stopped {
        tracing::warn!(name: "subagent.cancelled", child = run_id, "stopped by its sender");
        if let Some(entry) = gateway.subagents.registry.of_run(run_id) {
            gateway.subagents.hushed.borrow_mut().insert(entry.id);
        }
        if gateway.inbox.find_open(run_id).is_some() {
            gateway.inbox.presume_over(run_id, Settlement::Cancelled);
        }
        gateway.lanes.stop(session_key, None, Interruption::ByUser);
    }
}

/// Ends them for good. When this returns the books say so, durably.
pub(crate) fn end_stopped(gateway: &Rc<Gateway>, stopped: &[Background]) -> Result<(), StateError> {
    for Background { run_id, .. } in stopped {
        if gateway.inbox.stage_of(run_id) == Some(Stage::Settled(Settlement::Cancelled)) {
            gateway.settle(&[run_id], Settlement::Cancelled);
        }
        match gateway.subagents.registry.of_run(run_id) {
            Some(entry) if entry.status != Status::Ended => end(gateway, run_id, cancelled()),
            Some(entry) if !entry.is_over() => {
                note_of(gateway, run_id, |entry| entry.announcement = Announcement::NotWanted);
            }
            _ => {}
        }
    }
    gateway.subagents.confirm()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_names_its_subagent_and_what_it_does() {
        assert_eq!(work_id("a1", 2), "subagent:a1:2");
        assert_eq!(parse("subagent:a1:2"), Some(Name::Work("a1")));
        assert_eq!(parse("subagent:a1:announce"), Some(Name::Announcement("a1")));
        assert_eq!(parse("subagent:a1"), None);
        assert!(is_ours("subagent:a1") && !is_ours("ann-1") && !is_work("subagent:a1:announce"));
    }

    #[test]
    fn the_offer_is_json() {
        let offer: serde_json::Value = serde_json::from_str(OFFER).expect("is JSON");
        assert_eq!(offer["function"]["name"], TOOL);
    }
}
