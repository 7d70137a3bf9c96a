//! Reading `[peers.NAME]` and the steps that let groups of peers in, send them away and reset them.

use indexmap::IndexMap;

use super::error::{Problem, Read};
use super::peers_keys::PEERS;
use super::read::unfit_name;
use super::read_platforms;
use super::read_steps::{self, World};
use super::table::{Table, choice, entries, in_file_order, range, text, whole};
use super::{Choice, PeersSetup, SenderSetup, Verb, nearest};
use crate::actors::rude::WITNESS;

/// Reads all groups of the file.
pub(super) fn peers(
    file: &Table<'_>,
    senders: &IndexMap<String, SenderSetup>,
) -> Read<IndexMap<String, PeersSetup>> {
    let Some(value) = file.value("peers") else { return Ok(IndexMap::new()) };
    let mut peers = IndexMap::new();
    for (name, value) in in_file_order(entries(value, "peers")?) {
        if let Some(why) = unfit_name(name.get_ref()).or_else(|| taken(name.get_ref(), senders)) {
            return Err(Problem::at(name.span(), format!("`{name}` cannot be the name of a group of peers"))
                .label(why));
        }
        let what = format!("[peers.{name}]");
        let table = Table::open(what, value.span(), entries(value, name.get_ref())?, PEERS)?;
        peers.insert(name.get_ref().to_string(), group(&table, senders)?);
    }
    Ok(peers)
}

/// Who else has this name.
fn taken(name: &str, senders: &IndexMap<String, SenderSetup>) -> Option<String> {
    let whose = match name {
        WITNESS => "who listens beside peers that do not read has this name",
        _ if senders.contains_key(name) => "a sender has this name",
        _ => return None,
    };
    Some(whose.to_string())
}

fn group(table: &Table<'_>, senders: &IndexMap<String, SenderSetup>) -> Read<PeersSetup> {
    let setup = PeersSetup {
        kind: table.get("kind", choice)?,
        count: table.get("count", whole)?,
        arrive: table.get("arrive", range)?,
        returns: table.optional("returns", range)?,
        joins: table.optional("joins", text)?,
    };
    if let Some(sender) = &setup.joins {
        let span = table.span_of("joins");
        let Some(joined) = senders.get(sender) else {
            return Err(read_steps::unknown_sender(sender, span, senders));
        };
        read_platforms::can_be_joined(joined, span.clone())?;
        if !setup.kind.can_join() {
            return Err(Problem::at(span, format!("a peer that is `{}` joins nobody", setup.kind.word()))
                .label("it does not come that far, or does not stay")
                .help(
                    "leave it out, or choose a kind that authenticates and stays, such as `never-reads`.",
                ));
        }
    }
    Ok(setup)
}

/// Reads the step `table`, whose verb is `word`; `None` when that is no verb of this kind.
pub(super) fn verb(table: &Table<'_>, word: &str, world: &World<'_>) -> Read<Option<Verb>> {
    let verb = match word {
        "peers-arrive" => |peers| Verb::PeersArrive { peers },
        "peers-leave" => |peers| Verb::PeersLeave { peers },
        "peers-reset" => |peers| Verb::PeersReset { peers },
        _ => return Ok(None),
    };
    Ok(Some(verb(group_named(table, "peers", world)?)))
}

/// The group that the value of `key` names.
pub(super) fn group_named(table: &Table<'_>, key: &str, world: &World<'_>) -> Read<String> {
    let name = table.get(key, text)?;
    if world.peers.contains_key(&name) {
        return Ok(name);
    }
    let problem = Problem::at(table.span_of(key), format!("unknown peers `{name}`"))
        .label("no group of peers has this name");
    Err(match nearest(&name, world.peers.keys().map(String::as_str)) {
        Some(close) => problem.help(format!("did you mean `{close}`?")),
        None => problem.help(format!("declare the group with `[peers.{name}]`.")),
    })
}
