//! What the gateway's policies and their choices mean, for the schema and the documentation.
//!
//! The sentences are the doc comments of `gateway::policy`, read from its source: written once, where the choice
//! is made. Which names there are is serde's to say; a test compares the two.

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// As scenario files write it.
    pub(super) name: String,
    /// What it decides.
    pub(super) meaning: String,
    /// What it can be.
    pub(super) choices: Vec<PolicyChoice>,
}

/// One value of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PolicyChoice {
    /// As scenario files write it.
    pub(super) word: String,
    pub(super) meaning: String,
    /// Whether `hardened` chooses it.
    pub(super) is_default: bool,
}

impl Policy {
    /// Its meaning and those of its choices, a line each.
    pub(super) fn description(&self) -> String {
        let mut lines = vec![self.meaning.clone()];
        for PolicyChoice { word, meaning, is_default } in &self.choices {
            lines.push(format!("- {word}{}: {meaning}", if *is_default { " (hardened)" } else { "" }));
        }
        lines.join("\n")
    }
}

/// Where the gateway declares its policies and their choices.
const SOURCES: [&str; 10] = [
    include_str!("../../model/policy/mod.rs"),
    include_str!("../../model/policy/lifecycle.rs"),
    include_str!("../../model/policy/restart.rs"),
    include_str!("../../model/policy/state.rs"),
    include_str!("../../model/policy/cron.rs"),
    include_str!("../../model/policy/channels.rs"),
    include_str!("../../model/policy/delivery.rs"),
    include_str!("../../model/policy/agents.rs"),
    include_str!("../../model/policy/hooks.rs"),
    include_str!("../../model/policy/recovery.rs"),
];

/// All policies, in the order in which the gateway declares them.
pub(super) fn all() -> Vec<Policy> {
    let types: Vec<_> = SOURCES.iter().flat_map(|source| declarations(source)).collect();
    let fields = types.iter().find(|declared| declared.name == "Policies").map(|declared| &declared.items);
    let policy = |field: &Item| Policy {
        name: field.name.replace('_', "-"),
        meaning: field.doc.clone(),
        choices: types
            .iter()
            .filter(|declared| declared.name == field.of_type)
            .flat_map(|declared| &declared.items)
            .map(|item| PolicyChoice {
                word: kebab(item.name),
                meaning: item.doc.clone(),
                is_default: item.is_default,
            })
            .collect(),
    };
    fields.into_iter().flatten().map(policy).collect()
}

/// What it means that the policy called `policy` is `choice`, both as scenario files write them.
pub fn meaning_of(policy: &str, choice: &str) -> Option<String> {
    let policy = all().into_iter().find(|known| known.name == policy)?;
    policy.choices.into_iter().find(|known| known.word == choice).map(|known| known.meaning)
}

/// A struct or an enum of the source.
struct Declared<'s> {
    name: &'s str,
    items: Vec<Item<'s>>,
}

/// A field or a variant.
struct Item<'s> {
    name: &'s str,
    /// Empty for a variant.
    of_type: &'s str,
    doc: String,
    is_default: bool,
}

/// The public structs and enums of a Rust source in rustfmt's layout, whose fields and variants bear no data but
/// a type's name.
fn declarations(source: &str) -> Vec<Declared<'_>> {
    let mut declared: Vec<Declared<'_>> = Vec::new();
    let (mut inside, mut doc, mut is_default) = (false, String::new(), false);
    for line in source.lines() {
        let code = line.trim();
        if let Some(text) = code.strip_prefix("///") {
            if !doc.is_empty() {
                doc.push(' ');
            }
            doc.push_str(text.trim());
            continue;
        }
        if code.starts_with('#') {
            is_default |= code == "#[default]";
            continue;
        }
        let head = code.strip_prefix("pub enum ").or_else(|| code.strip_prefix("pub struct "));
        if let Some(name) = head.and_then(|head| head.strip_suffix(" {")) {
            declared.push(Declared { name, items: Vec::new() });
            inside = true;
        } else if line.starts_with('}') {
            inside = false;
        } else if let (true, Some(item), Some(declared)) =
            (inside, code.strip_suffix(','), declared.last_mut())
        {
            let item = item.strip_prefix("pub ").unwrap_or(item);
            let (name, of_type) = item.split_once(": ").unwrap_or((item, ""));
            declared.items.push(Item { name, of_type, doc: std::mem::take(&mut doc), is_default });
        }
        doc.clear();
        is_default = false;
    }
    declared
}

/// `ThirtySeconds` as serde writes it: `thirty-seconds`.
fn kebab(name: &str) -> String {
    let mut word = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use gateway::policy::Policies;
    use serde_json::{Map, Value};

    use super::*;
    use crate::scenario::setup::{merge, policy_choices, policy_names};

    #[test]
    fn the_source_and_serde_know_the_same_policies_and_choices() {
        let mut documented: Vec<_> = all().into_iter().map(|policy| policy.name).collect();
        documented.sort();
        let mut known = policy_names();
        known.sort();
        assert_eq!(documented, known);
        for policy in all() {
            let words: Vec<_> = policy.choices.iter().map(|choice| choice.word.clone()).collect();
            assert_eq!(words, policy_choices(&policy.name), "{}", policy.name);
        }
    }

    #[test]
    fn everything_has_a_meaning_and_the_default_is_hardened() {
        for policy in all() {
            assert!(policy.meaning.ends_with('.'), "{policy:?}");
            assert!(policy.choices.iter().all(|choice| choice.meaning.ends_with('.')), "{policy:?}");
            let [default] = &policy.choices.iter().filter(|choice| choice.is_default).collect::<Vec<_>>()[..]
            else {
                panic!("one default: {policy:?}");
            };
            let single = Map::from_iter([(policy.name.clone(), Value::from(default.word.clone()))]);
            let merged = merge(Policies::default(), &single).expect("a choice");
            assert_eq!(merged, Policies::default(), "{}", policy.name);
        }
    }
}
