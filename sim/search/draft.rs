//! A draft: a scenario file as a document that can be changed, written out as a person would write it, and read.
//!
//! Whatever makes scenarios by itself works on drafts, so that everything it finds is a file from the beginning, and
//! is read and checked like any other. A draft knows the order of the format's keys and nothing of what they mean.

use std::fmt::Write;
use std::path::Path;

use toml::{Table, Value};

use crate::scenario::{self, Cell, Scenario, ScenarioError};

/// A scenario file that is being changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    table: Table,
}

impl Draft {
    /// The draft of a table.
    pub fn new(table: Table) -> Self {
        Self { table }
    }

    /// The file at `path`, or one cell of its matrix, written out.
    ///
    /// Errors: as of [`Scenario::read`].
    pub fn read(path: &Path, cell: Option<&Cell>) -> Result<Self, ScenarioError> {
        scenario::written_out(path, cell).map(Self::new)
    }

    /// What it says.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// What it says, to be changed.
    pub fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    /// The steps, or none.
    pub fn steps(&self) -> &[Value] {
        self.table.get("steps").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The steps, to be changed.
    pub fn steps_mut(&mut self) -> Option<&mut Vec<Value>> {
        self.table.get_mut("steps").and_then(Value::as_array_mut)
    }

    /// Says that it fails under `profile` because of `invariant`, and nothing else of what is expected.
    pub fn expect_failure(&mut self, profile: &str, invariant: &str) {
        let mut outcomes = Table::new();
        outcomes.insert(profile.into(), Value::from(format!("fail: {invariant}")));
        let mut expect = Table::new();
        expect.insert("outcomes".into(), Value::Table(outcomes));
        self.table.insert("expect".into(), Value::Table(expect));
    }

    /// The scenario that it is, under the name of `path`.
    ///
    /// Errors: what a file of this text would be refused for.
    pub fn scenario(&self, path: &Path) -> Result<Scenario, ScenarioError> {
        Scenario::parse(path, &self.to_text())
    }

    /// The file: sections in the order of the format, one line a key, what is inside a value in one line with it.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let order = scenario::file_keys();
        let place = |name: &str| order.iter().position(|known| *known == name).unwrap_or(usize::MAX);
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(name, _)| place(name));
        let (sections, plain): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, value)| is_section(value));
        for (name, value) in plain {
            key_value(&mut text, name, value);
        }
        for (name, value) in sections {
            match value {
                Value::Array(items) => items.iter().for_each(|item| {
                    section(&mut text, &format!("[[{}]]", key(name)), item.as_table());
                }),
                Value::Table(named) if scenario::is_named(name) => named.iter().for_each(|(each, value)| {
                    section(&mut text, &format!("[{}.{}]", key(name), key(each)), value.as_table());
                }),
                _ => section(&mut text, &format!("[{}]", key(name)), value.as_table()),
            }
        }
        text
    }
}

/// A table, or a list of tables.
fn is_section(value: &Value) -> bool {
    match value {
        Value::Table(_) => true,
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_table),
        _ => false,
    }
}

fn section(text: &mut String, header: &str, entries: Option<&Table>) {
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "{header}");
    let entries = entries.into_iter().flatten();
    let entries: Vec<_> = entries.collect();
    let width = entries.iter().map(|(name, _)| key(name).len()).max().unwrap_or(0);
    for (name, value) in entries {
        let _ = writeln!(text, "{:width$} = {}", key(name), inline(value));
    }
}

fn key_value(text: &mut String, name: &str, value: &Value) {
    let _ = writeln!(text, "{} = {}", key(name), inline(value));
}

/// A key as it is written: bare where that can be.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(is_bare) {
        name.to_string()
    } else {
        Value::from(name).to_string()
    }
}

/// A value in one line, whatever is inside.
fn inline(value: &Value) -> String {
    match value {
        Value::Table(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(words) if words.contains('\n') && !words.contains("'''") => format!("'''\n{words}'''"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"name = "x"
about = '''
Two lines.
Of text.'''

[gateway]
supervisor = { kind = "systemd", restart = "always" }
policies   = { stop-drain = "skip" }

[provider]
first-token = "1s..2s"

[senders.ann]

[senders.bob]
kind = "leaves"

[[steps]]
at   = "1s"
do   = "send"
from = "ann"
text = "hello"

[[steps]]
on = "run.started"
do = "kill"

[expect]
outcomes = { hardened = "pass", "openclaw-2026.3.2" = "fail: no-silent-drop" }
"#;

    #[test]
    fn a_draft_writes_what_it_read() {
        let draft = Draft::new(FILE.parse().expect("is TOML"));
        assert_eq!(draft.to_text(), FILE);
        assert_eq!(draft.scenario(Path::new("x.toml")).expect("is a scenario").steps.len(), 2);
    }

    #[test]
    fn every_scenario_says_the_same_as_its_draft() {
        for file in ["scenarios/lifecycle/restart-under-load.toml", "scenarios/faults/rude-crowd.toml"] {
            let text = std::fs::read_to_string(file).expect("is there");
            let draft = Draft::new(text.parse().expect("is TOML"));
            let again: Table = draft.to_text().parse().expect("is TOML");
            assert_eq!(&again, draft.table(), "{file}");
        }
    }
}
