//! From the text of a file to a [`Scenario`]: the top level and the tables that describe the world.
//!
//! Steps and expectations, which refer to what is read here, have files of their own.

use std::path::Path;
use std::time::Duration;

use gateway::policy::Policies;
use indexmap::IndexMap;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, de};

use super::error::{Problem, Read, list};
use super::keys;
use super::read_restarts::settings;
use super::read_steps::asked;
use super::setup::{merge, policy_choices, policy_names};
use super::table::{
    Table, choice, duration, entries, in_file_order, period, range, some_text, text, whole, wrong_type,
};
use super::{
    CronSetup, DiskSetup, GatewaySetup, NetworkSetup, PolicyOverrides, ProviderSetup, Scenario, SenderSetup,
    Step, limits, programs, read_expect, read_peers, read_platforms, read_steps, read_supervisor,
};
use crate::actors::intruder;
use crate::timeline::TOOL_PROGRAM;

/// The tables and values of a file, whatever they mean.
pub(super) fn document(source: &str) -> Read<Spanned<DeTable<'_>>> {
    DeTable::parse(source).map_err(|error| not_toml(&error, source))
}

/// The steps of `scenario` and those of `source` after them, which has nothing else.
pub(super) fn further_steps(source: &str, scenario: &Scenario) -> Read<Vec<Step>> {
    let document = document(source)?;
    let key = keys::FILE.iter().filter(|key| key.name == "steps");
    let file = Table::open("the further steps", 0..0, document.get_ref(), key)?;
    let Scenario { senders, peers, gateway, storm_limit, .. } = scenario;
    let world = read_steps::World { source, senders, peers, gateway, storm_limit: *storm_limit };
    let steps = [scenario.steps.clone(), read_steps::steps(&file, &world)?].concat();
    limits::number_of_steps(&file, steps.len())?;
    limits::steps(&file, &steps, &scenario.provider)?;
    Ok(steps)
}

/// Reads a whole file from its `document`.
pub(super) fn scenario(path: &Path, source: &str, document: &DeTable<'_>) -> Read<Scenario> {
    let start = source.len() - source.trim_start().len();
    let file = Table::open("the scenario", start..start, document, keys::FILE)?;
    let (settle, storm_limit) = (file.get("settle", duration)?, file.get("storm-limit", period)?);
    let gateway = gateway(&file.table("gateway", "[gateway]")?, storm_limit + settle)?;
    let provider = provider(&file.table("provider", "[provider]")?)?;
    let senders = senders(&file)?;
    let platforms = read_platforms::platforms(&file.table("platforms", "[platforms]")?)?;
    limits::senders(&file, &senders)?;
    let peers = read_peers::peers(&file, &senders)?;
    let cron = cron(&file, &senders, storm_limit + settle)?;
    let programs = programs::programs(&file)?;
    let world =
        read_steps::World { source, senders: &senders, peers: &peers, gateway: &gateway, storm_limit };
    let steps = read_steps::steps(&file, &world)?;
    limits::steps(&file, &steps, &provider)?;
    limits::peers(&file, &steps, &peers)?;
    let expect = read_expect::expectations(&file.table("expect", "[expect]")?, &senders, &steps)?;
    Ok(Scenario {
        path: path.to_path_buf(),
        cell: None,
        name: file.get("name", some_text)?,
        about: file.optional("about", text)?,
        issue: file.optional("issue", some_text)?,
        settle,
        storm_limit,
        provider,
        disk: DiskSetup { sync: file.table("disk", "[disk]")?.get("sync", range)? },
        network: NetworkSetup { latency: file.table("network", "[network]")?.get("latency", range)? },
        probe: interval(&file, "probe", "[probe]", storm_limit)?,
        intruder: interval(&file, "intruder", "[intruder]", storm_limit)?,
        gateway,
        senders,
        platforms,
        peers,
        cron,
        programs,
        steps,
        expect,
    })
}

fn not_toml(error: &de::Error, source: &str) -> Box<Problem> {
    let end = source.len();
    if error.message() == "duplicate key" {
        return Problem::at(error.span().unwrap_or(end..end), "this key stands here for the second time")
            .label("TOML allows each key and each `[table]` once")
            .help("keep one of the two, or give this one another name.");
    }
    Problem::at(error.span().unwrap_or(end..end), "this is not TOML")
        .label(error.message())
        .help("a scenario is a TOML file, see https://toml.io: text in quotes, one `key = value` a line.")
}

/// `run` is how long the longest run takes.
fn gateway(table: &Table<'_>, run: Duration) -> Read<GatewaySetup> {
    let (supervised, supervisor) = read_supervisor::supervisor(table)?;
    limits::starts(&supervised, &supervisor, run)?;
    Ok(GatewaySetup {
        port: table.get("port", whole)?,
        token: table.get("token", text)?,
        drain_budget: table.get("drain-budget", duration)?,
        deferral_limit: table.optional("deferral-limit", duration)?,
        max_buffered: table.get("max-buffered", whole)?,
        startup: table.get("startup", range)?,
        supervisor,
        settings: table
            .value("settings")
            .map(|value| settings(value, "settings"))
            .transpose()?
            .unwrap_or_default(),
        policies: table.value("policies").map(policies).transpose()?.unwrap_or_default(),
    })
}

fn provider(table: &Table<'_>) -> Read<ProviderSetup> {
    Ok(ProviderSetup {
        first_token: table.get("first-token", range)?,
        tokens: table.get("tokens", whole)?,
        token_interval: table.get("token-interval", duration)?,
        behaviour: table.get("behaviour", choice)?,
        fail_first: table.get("fail-first", whole)?,
    })
}

fn interval(file: &Table<'_>, name: &str, what: &str, storm_limit: Duration) -> Read<Option<Duration>> {
    if file.value(name).is_none() {
        return Ok(None);
    }
    let table = file.table(name, what)?;
    let every = table.get("every", period)?;
    limits::probes(&table, every, storm_limit)?;
    Ok(Some(every))
}

fn senders(file: &Table<'_>) -> Read<IndexMap<String, SenderSetup>> {
    let Some(value) = file.value("senders") else { return Ok(IndexMap::new()) };
    let mut senders = IndexMap::new();
    let mut joins = Vec::new();
    for (name, value) in in_file_order(entries(value, "senders")?) {
        if let Some(why) = unfit_name(name.get_ref()) {
            return Err(Problem::at(name.span(), format!("`{name}` cannot be a sender's name"))
                .label(why)
                .help("messages are called by it, as in `ann#1`."));
        }
        let what = format!("[senders.{name}]");
        let table = Table::open(what, value.span(), entries(value, name.get_ref())?, keys::SENDER)?;
        let setup = SenderSetup {
            channel: table.get("channel", choice)?,
            account: table.get("account", text)?,
            kind: table.get("kind", choice)?,
            token: table.optional("token", text)?,
            joins: table.optional("joins", text)?,
        };
        read_platforms::sender(&table, &setup)?;
        joins.extend(setup.joins.clone().map(|whose| (whose, table.span_of("joins"))));
        senders.insert(name.get_ref().to_string(), setup);
    }
    for (whose, span) in joins {
        match senders.get(&whose) {
            None => return Err(read_steps::unknown_sender(&whose, span, &senders)),
            Some(setup) if setup.joins.as_ref().is_some_and(|joined| *joined != whose) => {
                return Err(Problem::at(span, format!("`{whose}` has no conversation of its own to join"))
                    .label("this sender joins somebody, too")
                    .help("name a sender that has no `joins`."));
            }
            Some(setup) => read_platforms::can_be_joined(setup, span)?,
        }
    }
    Ok(senders)
}

/// The job that every gateway has.
const POLLER: &str = "sessions-rebuild-poller";

/// `run` is how long the longest run takes.
fn cron(
    file: &Table<'_>,
    senders: &IndexMap<String, SenderSetup>,
    run: Duration,
) -> Read<IndexMap<String, CronSetup>> {
    let Some(value) = file.value("cron") else { return Ok(IndexMap::new()) };
    let mut jobs = IndexMap::new();
    for (name, value) in in_file_order(entries(value, "cron")?) {
        if let Some(why) = unfit_name(name.get_ref()) {
            return Err(Problem::at(name.span(), format!("`{name}` cannot be a job's name")).label(why));
        }
        if name.get_ref() == POLLER {
            return Err(Problem::at(name.span(), format!("`{name}` cannot be a job's name"))
                .label("the gateway has a job of this name, which looks after its session store")
                .help("give this one another name; the built-in job is always there."));
        }
        let what = format!("[cron.{name}]");
        let table = Table::open(what, value.span(), entries(value, name.get_ref())?, keys::CRON)?;
        let setup = CronSetup {
            every: table.get("every", period)?,
            text: table.get("text", asked)?,
            on_interruption: table.get("on-interruption", choice)?,
            session_of: table.optional("session-of", text)?,
        };
        if let Some(sender) = setup.session_of.as_ref().filter(|sender| !senders.contains_key(*sender)) {
            return Err(read_steps::unknown_sender(sender, table.span_of("session-of"), senders));
        }
        limits::scheduled(&table, setup.every, run)?;
        jobs.insert(name.get_ref().to_string(), setup);
    }
    limits::jobs(file, &jobs)?;
    Ok(jobs)
}

/// What keeps `name` from being a sender's name.
pub(super) fn unfit_name(name: &str) -> Option<String> {
    if let Some(why) = unfit_word(name) {
        return Some(why);
    }
    if name == TOOL_PROGRAM {
        return Some("the marks of command-line tools have this name, see `run-tool`".into());
    }
    (name == intruder::NAME).then(|| "somebody else has this name, see `[intruder]`".into())
}

/// What keeps `name` from being a name at all.
pub(super) fn unfit_word(name: &str) -> Option<String> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_word) {
        return Some("a name has small letters, digits and hyphens, and begins with a letter".into());
    }
    (name.len() > limits::LONGEST_NAME)
        .then(|| format!("a name has at most {} letters", limits::LONGEST_NAME))
}

fn policies(value: &Spanned<DeValue<'_>>) -> Read<PolicyOverrides> {
    let known = policy_names();
    let mut overrides = Map::new();
    for (name, value) in in_file_order(entries(value, "policies")?) {
        let name_text = name.get_ref().as_ref();
        if !known.iter().any(|known| known == name_text) {
            return Err(Problem::at(name.span(), format!("unknown policy `{name}`"))
                .label("there is no such policy")
                .choices(name_text, known.iter().map(String::as_str)));
        }
        let single = Map::from_iter([(name_text.to_string(), to_json(value.get_ref()))]);
        if let Err(error) = merge(Policies::default(), &single) {
            return Err(refused_policy(name_text, value, &error.to_string()));
        }
        overrides.extend(single);
    }
    Ok(PolicyOverrides(overrides))
}

fn refused_policy(name: &str, value: &Spanned<DeValue<'_>>, why: &str) -> Box<Problem> {
    let choices = policy_choices(name);
    let words = choices.iter().map(String::as_str);
    match value.get_ref().as_str() {
        Some(word) => Problem::at(value.span(), format!("unknown value `{word}` of the policy `{name}`"))
            .label("there is no such choice")
            .choices(word, words),
        None if choices.is_empty() => {
            Problem::at(value.span(), format!("the policy `{name}` cannot have this value")).label(why)
        }
        None => wrong_type(name, value.get_ref(), value.span(), "a word in quotes", "\"...\"")
            .help(format!("the choices are {}.", list(words))),
    }
}

pub(super) fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(yes) => Value::from(*yes),
        DeValue::Datetime(instant) => Value::from(instant.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(entries) => in_file_order(entries)
            .into_iter()
            .map(|(name, value)| (name.get_ref().to_string(), to_json(value.get_ref())))
            .collect(),
    }
}
