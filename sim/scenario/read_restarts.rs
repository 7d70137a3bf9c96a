//! Reading the verbs that ask for restarts and edit the configuration.
//!
//! Combinations that say two things at once, or nothing, are refused here.

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::DeValue;

use super::Verb;
use super::error::{Problem, Read};
use super::read::to_json;
use super::read_steps::{self, World};
use super::restarts::{ConfigEdit, NewContents, RestartAsk, Urgency};
use super::table::{Table, choice, duration, entries, in_file_order, some_range, text, whole};
use crate::timeline::RestartMode;

/// Reads the step `table`, whose verb is `word`; `None` when that is no verb of this kind.
pub(super) fn verb(table: &Table<'_>, word: &str, world: &World<'_>) -> Read<Option<Verb>> {
    Ok(Some(match word {
        "ask-for-restart" => Verb::AskForRestart(RestartAsk {
            mode: mode(table)?,
            count: table.get("count", whole)?,
            every: table.get("every", duration)?,
            session_of: session_of(table, world)?,
        }),
        "write-config" => Verb::EditConfig(edit(table, new_contents(table)?)?),
        "revert-config" => Verb::EditConfig(edit(table, NewContents::Original)?),
        _ => return Ok(None),
    }))
}

fn session_of(table: &Table<'_>, world: &World<'_>) -> Read<Option<String>> {
    let sender = table.optional("session-of", text)?;
    match sender {
        Some(sender) if !world.senders.contains_key(&sender) => {
            Err(read_steps::unknown_sender(&sender, table.span_of("session-of"), world.senders))
        }
        sender => Ok(sender),
    }
}

fn mode(table: &Table<'_>) -> Read<RestartMode> {
    let wait = table.optional("wait", duration)?;
    match (table.get("mode", choice)?, wait) {
        (Urgency::Wait, Some(limit)) => Ok(RestartMode::Wait((!limit.is_zero()).then_some(limit))),
        (Urgency::Wait, None) => {
            Err(Problem::at(table.span_of("mode"), "this step does not say how long to wait")
                .label("`mode = \"wait\"` goes with `wait`")
                .help("add `wait = \"10s\"`, or `wait = \"0s\"` for no limit."))
        }
        (_, Some(_)) => Err(Problem::at(table.span_of("wait"), "`wait` goes with `mode = \"wait\"` only")
            .label("the command line refuses the two together")
            .help("keep one of the two.")),
        (Urgency::Plain, None) => Ok(RestartMode::Plain),
        (Urgency::Safe, None) => Ok(RestartMode::Safe),
        (Urgency::Force, None) => Ok(RestartMode::Force),
    }
}

fn edit(table: &Table<'_>, contents: NewContents) -> Read<ConfigEdit> {
    Ok(ConfigEdit { contents, half_first: table.optional("half-first", some_range)? })
}

fn new_contents(table: &Table<'_>) -> Read<NewContents> {
    match (table.optional("text", text)?, table.value("set")) {
        (Some(text), None) => Ok(NewContents::Text(text)),
        (None, Some(value)) => settings(value, "set").map(NewContents::Set),
        (Some(_), Some(value)) => Err(Problem::at(value.span(), "this step has both `text` and `set`")
            .label("the file is written whole, or single settings change")
            .help("keep one of the two.")),
        (None, None) => Err(Problem::at(table.span_of("do"), "this edit changes nothing")
            .label("what is written?")
            .help("add `set = { \"gateway.drainBudgetMs\" = 1000 }`, or the whole file as `text`.")),
    }
}

/// Reads settings by their dotted paths.
pub(super) fn settings(value: &Spanned<DeValue<'_>>, key: &str) -> Read<Map<String, Value>> {
    let mut settings = Map::new();
    for (path, value) in in_file_order(entries(value, key)?) {
        if path.get_ref().split('.').any(str::is_empty) {
            return Err(Problem::at(path.span(), format!("`{path}` is no path of a setting"))
                .label("a path is names with dots in between")
                .help("write it in quotes, as in `\"gateway.drainBudgetMs\"`."));
        }
        if value.get_ref().is_table() && !path.get_ref().contains('.') {
            return Err(Problem::at(path.span(), format!("this would replace all of `{path}`"))
                .label("settings that are not named here would be gone")
                .help(format!("name single settings by their paths, in quotes: `\"{path}. ...\" = ...`.")));
        }
        settings.insert(path.get_ref().to_string(), to_json(value.get_ref()));
    }
    if settings.is_empty() {
        return Err(Problem::at(value.span(), format!("`{key}` is empty"))
            .label("no setting is named")
            .help(format!("name one, as in `{key} = {{ \"gateway.drainBudgetMs\" = 1000 }}`.")));
    }
    Ok(settings)
}
