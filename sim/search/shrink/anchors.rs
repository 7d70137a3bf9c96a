//! Anchors in the place of instants: a step that happens at a time is made to happen after the event before it, so that
//! the scenario fails also when the code takes another time to come there.

use std::time::Duration;

use toml::Value;

use super::passes::words;
use super::{Shrinking, passes};
use crate::scenario::{About, EVENTS};
use crate::search::Draft;
use crate::timeline::Event;

/// How long before its step an event may have happened to be what the step is about.
const NEAR: Duration = Duration::from_secs(5);
/// How many of the latest events before a step are tried.
const TRIED: usize = 6;

/// Anchors every step that can be, and what hands over messages not at all: that is where a story begins.
pub(super) fn anchor(shrinking: &mut Shrinking<'_>) {
    for index in 0..shrinking.draft.steps().len() {
        let Some(at) = instant(&shrinking.draft, index) else { continue };
        let (draft, seed) = (shrinking.draft.clone(), shrinking.seed);
        let Some((result, true)) = shrinking.result(&draft, seed) else { return };
        for proposal in proposals(&draft, index, at, &result.timeline) {
            if shrinking.is_used_up() || shrinking.take_if_it_fails(proposal) {
                break;
            }
        }
    }
    shrinking.exhaust(passes::rounder_times);
    shrinking.exhaust(passes::fewer_keys);
}

/// When the step happens, if that is an instant and it is no load.
fn instant(draft: &Draft, index: usize) -> Option<Duration> {
    let step = draft.steps().get(index)?.as_table()?;
    let is_load = step.get("do").and_then(Value::as_str) == Some("send");
    let at = step.get("at").and_then(Value::as_str).filter(|_| !is_load)?;
    humantime::parse_duration(at).ok()
}

fn proposals(draft: &Draft, index: usize, at: Duration, timeline: &[Event]) -> Vec<Draft> {
    let before = timeline.iter().enumerate().filter(|(_, event)| event.at <= at && event.at + NEAR >= at);
    let mut anchors: Vec<(usize, &Event, &str)> =
        before.filter_map(|(place, event)| Some((place, event, anchor_name(event)?))).collect();
    anchors.reverse();
    let mut seen: Vec<&str> = Vec::new();
    anchors.retain(|(_, _, name)| {
        let is_new = !seen.contains(name);
        seen.push(name);
        is_new
    });
    anchors.truncate(TRIED);
    let proposal = |(place, event, name): (usize, &Event, &str)| {
        let nth = timeline[..=place].iter().filter(|event| anchor_name(event) == Some(name)).count();
        let mut anchored = draft.clone();
        let step = anchored.steps_mut()?.get_mut(index)?.as_table_mut()?;
        let rest: Vec<_> =
            step.iter().filter(|(key, _)| *key != "at").map(|(k, v)| (k.clone(), v.clone())).collect();
        step.clear();
        step.insert("on".into(), Value::from(name));
        if nth > 1 {
            step.insert("nth".into(), Value::from(nth as i64));
        }
        if at > event.at {
            step.insert("after".into(), Value::from(words(at - event.at)));
        }
        step.extend(rest);
        Some(anchored)
    };
    anchors.into_iter().filter_map(proposal).collect()
}

/// The name by which an event is listed that can anchor a step and says something about it: an event of the gateway's
/// work or of a message, and not of the run itself.
fn anchor_name(event: &Event) -> Option<&'static str> {
    let name = event.fact.name();
    let (known, about, _) = EVENTS.iter().find(|(known, ..)| *known == name)?;
    let is_telling =
        matches!(about, About::Sender) || known.starts_with("drain.") || known.starts_with("gateway.");
    (is_telling && !known.starts_with("run.ended")).then_some(*known)
}
