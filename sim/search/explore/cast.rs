//! Who is in a world, and what holds it up: senders, load, supervisor, provider, rude peers, jobs.
//!
//! Each is drawn by its own die, and written into the draft at once; what the faults need to know of it is the [`Cast`].

use toml::{Table, Value};

use super::dice::{Dice, Die};
use super::faults::doing;
use super::weights::Weights;
use crate::search::Draft;

/// What a world has, as far as the faults ask: read from its draft, whoever wrote that.
pub(super) struct Cast {
    /// The senders' names.
    pub(super) senders: Vec<String>,
    /// Those whose stop shows what became of everything they had asked for: on a platform the answer to a stop does not
    /// tell of subagents.
    pub(super) aborting: Vec<String>,
    /// The platforms on which somebody talks.
    pub(super) platforms: Vec<String>,
    /// A group of rude peers.
    pub(super) peers: Option<String>,
    /// The word of the supervisor's kind.
    pub(super) supervisor: String,
    /// Somebody starts again what ends.
    pub(super) is_supervised: bool,
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
        let spawns = |name: &str| {
            let of_it = |step: &&Value| step.get("from").and_then(Value::as_str) == Some(name);
            draft.steps().iter().filter(of_it).any(|step| step.get("spawns").is_some())
        };
        let is_on_platform = |name: &str| {
            senders
                .and_then(|all| all.get(name)?.get("channel")?.as_str())
                .is_some_and(|channel| channel != "webchat")
        };
        Self {
            aborting: names.iter().filter(|name| !(is_on_platform(name) && spawns(name))).cloned().collect(),
            senders: names,
            platforms,
            peers: entries("peers").and_then(|groups| groups.keys().next().cloned()),
            is_supervised: kind != "none",
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

    /// One of those that may abort, if there is any.
    pub(super) fn somebody_aborting(&self, die: &Die) -> Option<&str> {
        one_of(&self.aborting, die)
    }
}

fn one_of<'a>(names: &'a [String], die: &Die) -> Option<&'a str> {
    (!names.is_empty()).then(|| die.pick(names).as_str())
}

const NAMES: [&str; 5] = ["ann", "bob", "cleo", "dan", "eve"];
const TEXTS: [&str; 4] = ["hello", "and another thing", "is anybody there?", "once more"];

/// Draws a world without trouble into `draft`. `words` gets what was drawn, a few words each.
pub(super) fn draw(dice: &Dice, weights: &Weights, draft: &mut Draft, words: &mut Vec<String>) -> Cast {
    supervisor(&dice.of("supervisor"), weights, draft, words);
    provider(&dice.of("provider"), draft, words);
    senders(&dice.of("senders"), draft, words);
    peers(&dice.of("peers"), draft, words);
    onlookers(&dice.of("onlookers"), draft, words);
    latencies(&dice.of("latencies"), draft, words);
    load(&dice.of("load"), draft, &Cast::of(draft), words);
    Cast::of(draft)
}

/// The section of this name, made where it is not there.
fn section<'a>(draft: &'a mut Draft, name: &str) -> &'a mut Table {
    let entry = draft.table_mut().entry(name).or_insert_with(|| Value::Table(Table::new()));
    match entry {
        Value::Table(table) => table,
        _ => unreachable!("a draft of our own has tables for sections"),
    }
}

fn supervisor(die: &Die, weights: &Weights, draft: &mut Draft, words: &mut Vec<String>) {
    let kinds = ["systemd", "launchd", "container", "unsupported", "task-scheduler", "none"];
    let kinds = kinds.map(|kind| (kind, weights.of_supervisor(kind)));
    let kind = die.weighted(&kinds).unwrap_or("systemd");
    let mut setup = table_of(&[("kind", kind.into())]);
    match kind {
        "systemd" => {
            let restart = *die.pick(&["always", "on-failure"]);
            setup.insert("restart".into(), Value::from(restart));
            setup.insert("stop-timeout".into(), Value::from(*die.pick(&["10s", "30s", "90s"])));
            setup.insert("restart-delay".into(), Value::from(*die.pick(&["100ms", "1s", "5s"])));
        }
        // Without, a run that failed is not tried again.
        "task-scheduler" => {
            setup.insert("restart-count".into(), Value::from(10));
        }
        _ => {}
    }
    let gateway = section(draft, "gateway");
    gateway.insert("supervisor".into(), Value::Table(setup));
    if die.chance(40) {
        gateway.insert("drain-budget".into(), Value::from(die.time(1_000, 60_000)));
    }
    if die.chance(30) {
        gateway.insert("deferral-limit".into(), Value::from(die.time(1_000, 60_000)));
    }
    if die.chance(20) {
        gateway.insert("startup".into(), Value::from(die.time(10, 5_000)));
    }
    words.push(kind.to_string());
}

fn table_of(entries: &[(&str, Value)]) -> Table {
    entries.iter().map(|(key, value)| ((*key).to_string(), value.clone())).collect()
}

fn provider(die: &Die, draft: &mut Draft, words: &mut Vec<String>) {
    let mut setup = Table::new();
    if die.chance(60) {
        setup.insert("first-token".into(), Value::from(die.time(10, 20_000)));
    }
    if die.chance(40) {
        setup.insert("tokens".into(), Value::from(die.between(1, 60) as i64));
    }
    if die.chance(15) {
        setup.insert("fail-first".into(), Value::from(die.between(1, 6) as i64));
        words.push("a provider that fails at first".to_string());
    }
    if !setup.is_empty() {
        draft.table_mut().insert("provider".into(), Value::Table(setup));
    }
}

fn senders(die: &Die, draft: &mut Draft, words: &mut Vec<String>) {
    // A swarm: this world may know one channel only, or one kind of sender.
    let channels: Vec<_> = ["webchat", "telegram", "feishu"].into_iter().filter(|_| die.chance(50)).collect();
    let channels = if channels.is_empty() { vec!["webchat"] } else { channels };
    let kinds = ["retrying", "never-reads", "never-closes", "leaves"];
    let kinds: Vec<_> = kinds.into_iter().filter(|_| die.chance(30)).collect();
    let count = die.between(1, NAMES.len() as u64) as usize;
    for name in NAMES.into_iter().take(count) {
        let mut sender = Table::new();
        let channel = *die.pick(&channels);
        let mut said = channel;
        if channel == "webchat" {
            if !kinds.is_empty() && die.chance(60) {
                said = *die.pick(&kinds);
                sender.insert("kind".into(), Value::from(said));
            }
        } else {
            sender.insert("channel".into(), Value::from(channel));
            if die.chance(20) {
                sender.insert("account".into(), Value::from("second"));
            }
        }
        words.push(format!("{name} ({said})"));
        section(draft, "senders").insert(name.into(), Value::Table(sender));
    }
}

fn peers(die: &Die, draft: &mut Draft, words: &mut Vec<String>) {
    if !die.chance(15) {
        return;
    }
    let kinds = [
        "never-answers-close",
        "bare",
        "half-upgrade",
        "drips-request",
        "keep-alive",
        "keep-alive-half",
        "speaks-tls",
        "never-connects",
        "drips-frame",
        "half-closes",
        "pipelines",
        "resets",
    ];
    let kind = *die.pick(&kinds);
    let count = die.between(1, 8) as i64;
    let setup = [("kind", kind.into()), ("count", count.into()), ("returns", die.time(100, 10_000).into())];
    section(draft, "peers").insert("rude".into(), Value::Table(table_of(&setup)));
    words.push(format!("{count} {kind}"));
}

fn onlookers(die: &Die, draft: &mut Draft, words: &mut Vec<String>) {
    if die.chance(25) {
        section(draft, "probe").insert("every".into(), Value::from("500ms"));
        words.push("a prober".into());
    }
    if die.chance(10) {
        section(draft, "intruder").insert("every".into(), Value::from("2s"));
        words.push("an intruder".into());
    }
    if die.chance(15) {
        let every = *die.pick(&["1m", "2m", "5m"]);
        let mut job = table_of(&[("every", every.into())]);
        if die.chance(40) {
            job.insert("on-interruption".into(), Value::from("skip"));
        }
        section(draft, "cron").insert("report".into(), Value::Table(job));
        words.push(format!("a job every {every}"));
    }
}

fn latencies(die: &Die, draft: &mut Draft, words: &mut Vec<String>) {
    if die.chance(30) {
        let latency = *die.pick(&["0ms..1ms", "10ms..50ms", "50ms..400ms"]);
        section(draft, "network").insert("latency".into(), Value::from(latency));
        words.push(format!("network {latency}"));
    }
    if die.chance(30) {
        let sync = *die.pick(&["0ms", "5ms..20ms", "20ms..200ms"]);
        section(draft, "disk").insert("sync".into(), Value::from(sync));
        words.push(format!("disk {sync}"));
    }
}

fn load(die: &Die, draft: &mut Draft, cast: &Cast, words: &mut Vec<String>) {
    let mut steps = Vec::new();
    let mut messages = 0;
    let spawning = die.chance(15);
    for name in &cast.senders {
        for _ in 0..die.between(1, 2) {
            let count = die.between(1, 4) as i64;
            messages += count;
            let mut step = Table::new();
            step.insert("at".into(), Value::from(die.instant(500, 30_000)));
            step.extend(doing(
                "send",
                &[("from", name.as_str().into()), ("text", (*die.pick(&TEXTS)).into())],
            ));
            if count > 1 {
                step.insert("count".into(), Value::from(count));
                step.insert("every".into(), Value::from(die.time(0, 10_000)));
            }
            if spawning && die.chance(50) {
                step.insert("spawns".into(), Value::from(die.between(1, 2) as i64));
            }
            steps.push(Value::Table(step));
        }
    }
    words.push(format!("{messages} messages"));
    draft.table_mut().insert("steps".into(), Value::Array(steps));
}
