//! The cast of a world: what its draft says of who is there, as far as troubles and their moments depend on it.

use toml::{Table, Value};

use super::dice::Die;
use super::people::NEWCOMER;
use crate::search::Draft;

/// What a world has, as far as the faults ask: read from its draft, whoever wrote that.
pub(super) struct Cast {
    /// The senders' names.
    pub(super) senders: Vec<String>,
    /// Those who have a conversation of their own at the gateway itself.
    pub(super) on_webchat: Vec<String>,
    /// Those who have a conversation of their own, wherever.
    pub(super) hosts: Vec<String>,
    /// Those in whose conversation a job writes, each as often as there are such jobs.
    pub(super) visited: Vec<String>,
    /// Somebody hands over again what was not acknowledged.
    pub(super) retries: bool,
    /// Those who talk on a platform.
    pub(super) on_platforms: Vec<String>,
    /// Who has not said anything yet.
    pub(super) newcomer: Option<String>,
    /// How many milliseconds a process takes to begin its work, if that is certain.
    pub(super) startup: Option<u64>,
    /// Whatever is made durable takes so many milliseconds at most.
    pub(super) sync: u64,
    /// How many messages the steps send.
    pub(super) messages: u64,
    /// Some of them make the model ask for subagents.
    pub(super) has_subagents: bool,
    /// There are scheduled jobs.
    pub(super) has_jobs: bool,
    /// Programs are run, as hooks or by the model.
    pub(super) has_programs: bool,
    /// The platforms on which somebody talks.
    pub(super) platforms: Vec<String>,
    /// The groups of rude peers.
    pub(super) peers: Vec<String>,
    /// The word of the supervisor's kind.
    pub(super) supervisor: String,
    /// Somebody starts again what ends.
    pub(super) is_supervised: bool,
    /// Somebody starts again what died.
    pub(super) is_revived: bool,
    /// However it ends.
    pub(super) restarts_always: bool,
    /// A program can ask the supervisor for a stop and a start.
    pub(super) can_be_asked: bool,
}

impl Cast {
    /// That of a draft.
    pub(super) fn of(draft: &Draft) -> Self {
        let entries = |name: &str| draft.table().get(name).and_then(Value::as_table);
        let senders = entries("senders");
        let channels =
            senders.into_iter().flat_map(Table::values).filter_map(|sender| sender.get("channel")?.as_str());
        let mut platforms: Vec<_> =
            channels.filter(|channel| *channel != "webchat").map(String::from).collect();
        platforms.sort();
        platforms.dedup();
        let supervisor = entries("gateway").and_then(|gateway| gateway.get("supervisor")?.as_table());
        let word = |key: &str, usual: &str| {
            supervisor.and_then(|table| table.get(key)?.as_str()).unwrap_or(usual).to_string()
        };
        let kind = word("kind", "systemd");
        let restart = word("restart", "always");
        let names: Vec<String> = senders.into_iter().flat_map(Table::keys).cloned().collect();
        let is_on_platform = |name: &str| {
            senders
                .and_then(|all| all.get(name)?.get("channel")?.as_str())
                .is_some_and(|channel| channel != "webchat")
        };
        let is_on_webchat = |name: &&String| {
            let joins = senders.and_then(|all| all.get(*name)?.get("joins"));
            !is_on_platform(name) && joins.is_none()
        };
        let hosts = || names.iter().filter(|name| is_on_platform(name) || is_on_webchat(name));
        let sends = || {
            let is_one = |step: &&Value| step.get("do").and_then(Value::as_str) == Some("send");
            draft.steps().iter().filter(is_one)
        };
        let count = |step: &Value| step.get("count").and_then(Value::as_integer).unwrap_or(1).unsigned_abs();
        let time = |section: &str, key: &str| {
            let words = entries(section)?.get(key)?.as_str()?;
            let last = words.rsplit("..").next()?;
            Some((words == last, humantime::parse_duration(last).ok()?.as_millis() as u64))
        };
        let jobs = entries("cron").into_iter().flat_map(Table::values);
        let visited = jobs.filter_map(|job| job.get("session-of")?.as_str().map(String::from)).collect();
        Self {
            visited,
            retries: senders.into_iter().flat_map(Table::values).any(is_retrying),
            startup: time("gateway", "startup").and_then(|(is_certain, ms)| is_certain.then_some(ms)),
            sync: time("disk", "sync").map_or(2, |(_, ms)| ms),
            hosts: hosts().filter(|name| *name != NEWCOMER).cloned().collect(),
            on_webchat: names.iter().filter(is_on_webchat).cloned().collect(),
            on_platforms: names.iter().filter(|name| is_on_platform(name)).cloned().collect(),
            newcomer: names.iter().find(|name| *name == NEWCOMER).cloned(),
            messages: sends().map(count).sum(),
            has_subagents: sends().any(|step| step.get("spawns").is_some()),
            has_jobs: entries("cron").is_some(),
            has_programs: entries("programs").is_some(),
            senders: names,
            platforms,
            peers: entries("peers").into_iter().flat_map(Table::keys).cloned().collect(),
            is_supervised: kind != "none",
            is_revived: match &*kind {
                "none" => false,
                "task-scheduler" => {
                    let count = supervisor.and_then(|table| table.get("restart-count")?.as_integer());
                    count.is_some_and(|count| count > 0)
                }
                _ => true,
            },
            restarts_always: kind == "unsupported"
                || matches!(&*kind, "systemd" | "launchd" | "container")
                    && matches!(&*restart, "always" | "unless-stopped"),
            can_be_asked: matches!(&*kind, "systemd" | "launchd" | "task-scheduler"),
            supervisor: kind,
        }
    }

    /// One of the senders, if there is any.
    pub(super) fn somebody(&self, die: &Die) -> Option<&str> {
        one_of(&self.senders, die)
    }
}

fn is_retrying(sender: &Value) -> bool {
    sender.get("kind").and_then(Value::as_str) == Some("retrying")
}

pub(super) fn one_of<'a>(names: &'a [String], die: &Die) -> Option<&'a str> {
    (!names.is_empty()).then(|| die.pick(names).as_str())
}

/// The section of this name, made where it is not there.
pub(super) fn section<'a>(draft: &'a mut Draft, name: &str) -> &'a mut Table {
    let entry = draft.table_mut().entry(name).or_insert_with(|| Value::Table(Table::new()));
    match entry {
        Value::Table(table) => table,
        _ => unreachable!("a draft of our own has tables for sections"),
    }
}

/// A table of these entries.
pub(super) fn table_of(entries: &[(&str, Value)]) -> Table {
    entries.iter().map(|(key, value)| ((*key).to_string(), value.clone())).collect()
}
