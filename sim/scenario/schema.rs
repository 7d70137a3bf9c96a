//! The JSON Schema of scenario files, made from the same list of keys that the reader obeys.
//!
//! Editors use it to complete and to check. It is published as `docs/scenario.schema.json`.

use gateway::policy;
use serde_json::{Map, Value, json};

use super::keys::{CELLS, FILE, Key, Need, STEP, Shape, VERBS, VerbKeys, machine_words};
use super::supervisor_keys::{KIND, KINDS, KindKeys};
use super::{Choice, EVENTS, FATES, policies};

/// The JSON Schema (draft 7, which editors of TOML understand) of scenario files.
pub fn schema() -> Value {
    let mut schema = table(FILE);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("gatesim scenario");
    schema["definitions"] = json!({ "placeholder": {
        "description": "In a file with a matrix: the value of an axis, as in ${signal}",
        "type": "string",
        "pattern": "\\$\\{[^}]+\\}",
    } });
    schema
}

/// `value`, or a placeholder in its place.
fn or_placeholder(mut value: Value) -> Value {
    // Texts of any kind have placeholders in them as they are.
    if value["type"] == "string" && value.get("pattern").is_none() {
        return value;
    }
    let placeholder = json!({ "$ref": "#/definitions/placeholder" });
    match value.get_mut("anyOf").and_then(Value::as_array_mut) {
        Some(alternatives) => alternatives.push(placeholder),
        None => value = json!({ "anyOf": [value, placeholder] }),
    }
    value
}

fn table(keys: &[Key]) -> Value {
    object(&keys.iter().collect::<Vec<_>>())
}

fn object(keys: &[&Key]) -> Value {
    let properties: Map<_, _> = keys.iter().map(|key| (key.name.to_string(), property(key))).collect();
    let required: Vec<_> = keys.iter().filter(|key| key.need == Need::Required).map(|key| key.name).collect();
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn property(key: &Key) -> Value {
    let mut property = match key.shape {
        // What cells there are has to be known first.
        Shape::Axes | Shape::Cells | Shape::Places => shape(&key.shape),
        _ => or_placeholder(shape(&key.shape)),
    };
    property["description"] = json!(description(key));
    if let Need::Default(default) = key.need {
        property["default"] = match key.shape {
            Shape::Whole(..) | Shape::WholeRange(..) | Shape::Statuses => {
                default.parse().unwrap_or(Value::Null)
            }
            _ => json!(default),
        };
    }
    property
}

/// The key's line of meaning; for one of a few words also theirs, since editors show no more than this.
fn description(key: &Key) -> String {
    let Shape::Choice(words) = key.shape else { return key.doc.into() };
    let words: Vec<_> = words().iter().map(|(word, meaning)| format!("- {word}: {meaning}")).collect();
    format!("{}\n{}", key.doc, words.join("\n"))
}

fn shape(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Sender | Shape::Peers => json!({ "type": "string" }),
        Shape::Whole(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::WholeRange(min, max) => json!({ "anyOf": [
            { "type": "integer", "minimum": min, "maximum": max },
            { "type": "string", "pattern": "^ *[0-9]+ *[.][.] *[0-9]+ *$", "examples": ["1..20"] },
        ] }),
        Shape::Duration | Shape::Period => json!({ "type": "string", "examples": ["5s", "250ms", "1m 30s"] }),
        Shape::Range => json!({ "type": "string", "examples": ["5s", "1s..5s"] }),
        Shape::Choice(words) => {
            json!({ "enum": words().iter().map(|(word, _)| word).collect::<Vec<_>>() })
        }
        Shape::Statuses => {
            json!({ "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 255 } })
        }
        Shape::TwoMachines => json!({
            "type": "array", "items": or_placeholder(json!({ "enum": machine_words() })),
            "minItems": 2, "maxItems": 2, "uniqueItems": true,
        }),
        Shape::Event => event(),
        Shape::Table(keys) => table(keys),
        Shape::Named(keys) => {
            json!({ "type": "object", "additionalProperties": or_placeholder(table(keys)) })
        }
        Shape::Steps => {
            let verbs = VERBS.iter().map(step).chain([of_the_matrix("do")]);
            json!({ "type": "array", "items": { "oneOf": verbs.collect::<Vec<_>>() } })
        }
        Shape::Supervisor => supervisor(),
        Shape::Policies => policies(),
        Shape::Settings => json!({ "type": "object", "minProperties": 1 }),
        Shape::Outcomes => outcomes(),
        Shape::Axes => json!({
            "type": "object", "minProperties": 1, "propertyNames": { "pattern": "^[a-z][a-z0-9-]*$" },
            "additionalProperties": { "anyOf": [several(64), { "type": "object", "minProperties": 1 }] },
        }),
        Shape::Places => json!({
            "type": "object",
            "additionalProperties": { "anyOf": [{ "type": ["string", "integer"] }, several(64)] },
        }),
        Shape::Cells => json!({ "type": "array", "items": table(CELLS) }),
        Shape::Fates => json!({
            "type": "object",
            "additionalProperties": or_placeholder(json!({ "anyOf": [
                { "enum": FATES },
                { "type": "array", "items": or_placeholder(json!({ "enum": FATES })), "minItems": 1 },
            ] })),
        }),
    }
}

/// Different words and numbers.
fn several(most: usize) -> Value {
    json!({
        "type": "array", "items": { "type": ["string", "integer"] },
        "minItems": 1, "maxItems": most, "uniqueItems": true,
    })
}

/// A table whose `key` decides what else it has, where that is known in each cell only.
fn of_the_matrix(key: &str) -> Value {
    json!({
        "title": "as the matrix says",
        "type": "object",
        "properties": { key: { "$ref": "#/definitions/placeholder" } },
        "required": [key],
    })
}

/// Known events are offered with their meaning; any other dotted name is valid.
fn event() -> Value {
    let known = EVENTS.iter().map(|(name, _, meaning)| json!({ "const": name, "description": meaning }));
    let other = json!({ "type": "string", "pattern": "^[a-z0-9-]+(\\.[a-z0-9-]+)+$" });
    json!({ "anyOf": known.chain([other]).collect::<Vec<_>>() })
}

fn step(verb: &VerbKeys) -> Value {
    let mut step = object(&STEP.iter().chain(verb.keys).collect::<Vec<_>>());
    step["title"] = json!(verb.word);
    step["description"] = json!(verb.doc);
    step["properties"]["do"] = json!({ "const": verb.word });
    step["oneOf"] = json!([{ "required": ["at"] }, { "required": ["on"] }]);
    step["dependencies"] = json!({ "nth": ["on"], "of": ["on"], "path": ["on"], "after": ["on"] });
    step
}

/// One alternative for each kind; the kind may be left out of the first.
fn supervisor() -> Value {
    let of_kind = |(number, of): (usize, &KindKeys)| {
        let mut kind = object(&[&KIND].into_iter().chain(of.keys).collect::<Vec<_>>());
        kind["title"] = json!(of.kind.word());
        kind["properties"]["kind"] = json!({ "const": of.kind.word(), "description": description(&KIND) });
        if number > 0 {
            kind["required"] = json!(["kind"]);
        }
        kind
    };
    let kinds = KINDS.iter().enumerate().map(of_kind).chain([of_the_matrix("kind")]);
    json!({ "oneOf": kinds.collect::<Vec<_>>() })
}

fn policies() -> Value {
    let properties: Map<_, _> = policies::all()
        .iter()
        .map(|policy| {
            let choices: Vec<_> = policy.choices.iter().map(|choice| &choice.word).collect();
            let mut choice = or_placeholder(json!({ "enum": choices }));
            choice["description"] = json!(policy.description());
            (policy.name.clone(), choice)
        })
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn outcomes() -> Value {
    let outcome =
        json!({ "type": "string", "pattern": "^(pass|inconclusive|fail: *[a-z-]+( *, *[a-z-]+)*)$" });
    let properties: Map<_, _> = policy::profile_names()
        .chain(policy::planted_names())
        .map(|profile| (profile.to_string(), or_placeholder(outcome.clone())))
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::reference::kept_up_to_date;

    #[test]
    fn the_published_schema_is_up_to_date() {
        kept_up_to_date("docs/scenario.schema.json", |_| format!("{:#}\n", schema()));
    }
}
