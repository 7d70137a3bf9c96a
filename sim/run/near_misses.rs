//! What a step that was never done came close to, for whoever wrote it: events that were nearly the ones it waits for,
//! and operations of the disk that were nearly those it is about.
//!
//! Looks at what has been recorded, and changes no verdict.

use std::collections::BTreeMap;

use super::script::{is_of, is_on};
use crate::scenario::{Anchor, DiskCalls, Verb};
use crate::timeline::{Event, Fact};
use crate::world::disk::path_matches;

/// So many different ones are named.
const FEW: usize = 5;

/// What there was of the event that `anchor` waits for. `chat` is what a platform calls the sender's conversation.
pub(super) fn of_anchor(events: &[Event], anchor: &Anchor, chat: Option<&str>) -> String {
    let name = &anchor.event;
    let all: Vec<_> = events.iter().filter(|event| event.fact.name() == name.as_str()).collect();
    let is_theirs = |event: &&&Event| anchor.of.as_ref().is_none_or(|of| is_of(event, of, chat));
    let is_there = |event: &&&Event| anchor.path.as_ref().is_none_or(|path| is_on(event, path));
    let met = all.iter().filter(is_theirs).filter(is_there).count();
    let narrowed = anchor.of.is_some() || anchor.path.is_some();
    match (met, all.len()) {
        (_, 0) => format!("there was no {name} at all"),
        (0, all_of_it) if narrowed => {
            let files = match anchor.path {
                Some(_) => files(all.iter().filter_map(|event| path_of(event))),
                None => String::new(),
            };
            format!("{name} was there {}, and never of what is asked for{files}", times(all_of_it))
        }
        (met, _) => format!("it was there {}", times(met)),
    }
}

/// What there was of the operations that a step is about; nothing where it is about none.
pub(super) fn of_calls(events: &[Event], verb: &Verb) -> Option<String> {
    let calls = match verb {
        Verb::DiskFault(trouble) => &trouble.calls,
        Verb::CrashAt(crash) => &crash.calls,
        _ => return None,
    };
    Some(of_disk(events, calls))
}

fn of_disk(events: &[Event], calls: &DiskCalls) -> String {
    let operations = events.iter().filter_map(|event| match &event.fact {
        Fact::Disk { op, path, .. } => Some((op, path.as_str())),
        _ => None,
    });
    let on_the_file = operations.clone().filter(|(_, path)| path_matches(&calls.file, path));
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    on_the_file.for_each(|(op, _)| *kinds.entry(op.name()).or_default() += 1);
    if kinds.is_empty() {
        let alike = operations.filter(|(op, _)| calls.operation.is_none_or(|wanted| wanted == **op));
        return format!(
            "nothing was done to such a file in the whole run{}",
            files(alike.map(|(_, path)| path))
        );
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{kind} ({count})")).collect();
    format!("in the whole run there were, on such files, {}", kinds.join(", "))
}

fn path_of(event: &Event) -> Option<&str> {
    match &event.fact {
        Fact::Disk { path, .. } => Some(path),
        _ => None,
    }
}

/// The files that were met most often, by their last names.
fn files<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    paths.for_each(|path| *met.entry(path.rsplit('/').next().unwrap_or(path)).or_default() += 1);
    let mut met: Vec<_> = met.into_iter().collect();
    met.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let names: Vec<_> = met.iter().take(FEW).map(|(name, _)| *name).collect();
    if names.is_empty() { String::new() } else { format!("; there were {}", names.join(", ")) }
}

fn times(count: usize) -> String {
    match count {
        1 => "once".into(),
        2 => "twice".into(),
        count => format!("{count} times"),
    }
}
