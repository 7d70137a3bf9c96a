//! What a smaller draft can be: each pass proposes some, largest cuts first.

use std::time::Duration;

use toml::{Table, Value};

use crate::scenario::is_named;
use crate::search::Draft;

/// Proposals made from a draft.
pub(super) type Pass = fn(&Draft) -> Vec<Draft>;

/// All passes, in the order in which they are worth trying.
pub(super) const ALL: &[Pass] =
    &[fewer_steps, fewer_sections, fewer_keys, smaller_counts, single_instants, rounder_times];

/// The top-level words that only describe, and what is expected: none of them decides what a run comes to.
pub(super) fn tidy(draft: &mut Draft) {
    for word in ["about", "issue"] {
        draft.table_mut().remove(word);
    }
    if let Some(Value::Table(expect)) = draft.table_mut().get_mut("expect") {
        expect.remove("fates");
    }
}

/// The key that says how long a world is looked at when the storm is over: most of what a run costs.
pub(super) const SETTLE: &str = "settle";

/// With less time to calm down, so that every run after this one costs less.
pub(super) fn shorter_settle(draft: &Draft) -> Vec<Draft> {
    let with = |settle: &str| {
        let mut shorter = draft.clone();
        shorter.table_mut().insert(SETTLE.into(), Value::from(settle));
        shorter
    };
    ["30s", "2m", "6m"].map(with).to_vec()
}

/// With the usual time to calm down, which nobody has to wonder about.
pub(super) fn usual_settle(draft: &Draft) -> Vec<Draft> {
    let mut usual = draft.clone();
    usual.table_mut().remove(SETTLE);
    vec![usual]
}

/// Without a run of steps: all but one half, a quarter, an eighth, down to each alone.
fn fewer_steps(draft: &Draft) -> Vec<Draft> {
    let count = draft.steps().len();
    let mut proposals = Vec::new();
    let mut chunk = count.div_ceil(2).max(1);
    loop {
        for begin in (0..count).step_by(chunk) {
            let mut smaller = draft.clone();
            if let Some(steps) = smaller.steps_mut() {
                steps.drain(begin..(begin + chunk).min(count));
            }
            without_unused(&mut smaller);
            proposals.push(smaller);
        }
        if chunk == 1 {
            return proposals;
        }
        chunk = chunk.div_ceil(2);
    }
}

/// Takes away who is not mentioned any more.
fn without_unused(draft: &mut Draft) {
    let mentioned = |draft: &Draft, name: &str| {
        let in_steps = draft.steps().iter().any(|step| mentions(step, name));
        let elsewhere =
            draft.table().iter().filter(|(section, _)| *section != "steps" && *section != "expect");
        in_steps || elsewhere.into_iter().any(|(_, section)| mentions(section, name))
    };
    for section in ["senders", "peers"] {
        let Some(Value::Table(named)) = draft.table().get(section) else { continue };
        let unused: Vec<String> = named.keys().filter(|name| !mentioned(draft, name)).cloned().collect();
        if let Some(Value::Table(named)) = draft.table_mut().get_mut(section) {
            unused.iter().for_each(|name| drop(named.remove(name)));
        }
    }
}

fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(word) => word == name,
        Value::Array(items) => items.iter().any(|item| mentions(item, name)),
        Value::Table(entries) => entries.values().any(|value| mentions(value, name)),
        _ => false,
    }
}

/// Without a section; without one of its named parts, and without the steps that are about it.
fn fewer_sections(draft: &Draft) -> Vec<Draft> {
    let mut proposals = Vec::new();
    for (name, section) in draft.table() {
        let Value::Table(entries) = section else { continue };
        if name == "expect" {
            continue;
        }
        let mut smaller = draft.clone();
        smaller.table_mut().remove(name);
        proposals.push(smaller);
        if !is_named(name) {
            continue;
        }
        for each in entries.keys() {
            let mut smaller = draft.clone();
            if let Some(Value::Table(entries)) = smaller.table_mut().get_mut(name) {
                entries.remove(each);
            }
            if let Some(steps) = smaller.steps_mut() {
                steps.retain(|step| !mentions(step, each));
            }
            proposals.push(smaller);
        }
    }
    proposals
}

/// Without one key of some table, wherever it is: its default takes its place.
pub(super) fn fewer_keys(draft: &Draft) -> Vec<Draft> {
    let mut proposals = Vec::new();
    for place in places(draft) {
        let mut smaller = draft.clone();
        if remove(smaller.table_mut(), &place) {
            proposals.push(smaller);
        }
    }
    proposals
}

/// Whole numbers: 1, or half.
fn smaller_counts(draft: &Draft) -> Vec<Draft> {
    changed(draft, |_, value| match value {
        Value::Integer(number) if *number > 1 => vec![Value::from(1), Value::from(number / 2)],
        _ => Vec::new(),
    })
}

/// Ranges become one instant: their beginning, end or middle.
fn single_instants(draft: &Draft) -> Vec<Draft> {
    changed(draft, |_, value| {
        let Some((from, to)) = value.as_str().and_then(|text| text.split_once("..")) else {
            return Vec::new();
        };
        let (Some(from), Some(to)) = (duration(from), duration(to)) else { return Vec::new() };
        [from, to, (from + to) / 2].into_iter().map(words).map(Value::from).collect()
    })
}

/// How the key is called that says how often something is done: the longer, the less happens.
const EVERY: &str = "every";

/// Durations become shorter, or rounder; what is done again and again is done less often.
pub(super) fn rounder_times(draft: &Draft) -> Vec<Draft> {
    changed(draft, |key, value| {
        let Some(time) = value.as_str().and_then(duration) else { return Vec::new() };
        let millis = time.as_millis() as u64;
        if key == EVERY {
            let rarer = [60_000, 10_000, 5_000, 1_000].into_iter().filter(|proposed| *proposed > millis);
            return rarer.map(|millis| Value::from(words(Duration::from_millis(millis)))).collect();
        }
        let rounded = [60_000, 10_000, 1_000, 100, 10].map(|unit| millis / unit * unit);
        let shorter = [0, 1_000, millis / 2];
        let proposals = shorter.into_iter().chain(rounded).filter(|proposed| *proposed < millis);
        proposals.map(|millis| Value::from(words(Duration::from_millis(millis)))).collect()
    })
}

/// A duration as scenario files write it, if it is one.
fn duration(text: &str) -> Option<Duration> {
    let is_one =
        text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(|c: char| c.is_ascii_alphabetic());
    is_one.then(|| humantime::parse_duration(text).ok())?
}

/// In the largest unit that says it without a fraction.
pub(super) fn words(time: Duration) -> String {
    match time.as_millis() {
        0 => "0s".to_string(),
        millis if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        millis if millis % 1_000 == 0 => format!("{}s", millis / 1_000),
        millis => format!("{millis}ms"),
    }
}

/// A step of the way to a value.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Item(usize),
}

impl Step {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Key(name) => Some(name),
            Self::Item(_) => None,
        }
    }
}

/// The places of every value inside the draft's sections, except for what is expected.
fn places(draft: &Draft) -> Vec<Vec<Step>> {
    let mut found = Vec::new();
    for (name, value) in draft.table() {
        if !["expect", "name", SETTLE].contains(&name.as_str()) {
            visit(value, &mut vec![Step::Key(name.clone())], &mut found);
        }
    }
    found
}

fn visit(value: &Value, way: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    let mut inside = |step: Step, value: &Value, found: &mut Vec<Vec<Step>>| {
        way.push(step);
        visit(value, way, found);
        way.pop();
    };
    match value {
        Value::Table(entries) => {
            entries.iter().for_each(|(name, value)| inside(Step::Key(name.clone()), value, found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| inside(Step::Item(index), value, found));
        }
        _ => {}
    }
    found.push(way.clone());
}

fn at<'v>(table: &'v mut Table, way: &[Step]) -> Option<&'v mut Value> {
    let (Step::Key(first), rest) = way.split_first()? else { return None };
    rest.iter().try_fold(table.get_mut(first)?, |value, step| match step {
        Step::Key(name) => value.get_mut(name),
        Step::Item(index) => value.get_mut(index),
    })
}

/// Removes a key; what stands in a list is no key.
fn remove(table: &mut Table, way: &[Step]) -> bool {
    let Some((Step::Key(name), above)) = way.split_last() else { return false };
    match above {
        [] => table.remove(name).is_some(),
        above => at(table, above)
            .and_then(Value::as_table_mut)
            .is_some_and(|entries| entries.remove(name).is_some()),
    }
}

/// One proposal for each value in the place of another.
fn changed(draft: &Draft, values: impl Fn(&str, &Value) -> Vec<Value>) -> Vec<Draft> {
    let mut proposals = Vec::new();
    for place in places(draft) {
        let mut copy = draft.clone();
        let Some(value) = at(copy.table_mut(), &place) else { continue };
        let key = place.iter().rev().find_map(Step::key).unwrap_or_default();
        for other in values(key, value) {
            let mut smaller = draft.clone();
            if let Some(value) = at(smaller.table_mut(), &place) {
                *value = other;
                proposals.push(smaller);
            }
        }
    }
    proposals
}
