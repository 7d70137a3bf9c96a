//! The JSON Schema of scenario files, made from the same list of keys that the reader obeys.
//!
//! Editors use it to complete and to check. It is published as `docs/scenario.schema.json`. What stands in many places,
//! such as the keys that every step has, stands once, among the definitions.

use std::collections::BTreeMap;

use gateway::policy;
use serde_json::{Map, Value, json};

use super::keys::{CELLS, FILE, Key, Need, STEP, Shape, VERBS, VerbKeys, machine_words};
use super::supervisor_keys::{KIND, KINDS, KindKeys};
use super::{Choice, EVENTS, FATES, policies};

/// The JSON Schema (draft 7, which editors of TOML understand) of scenario files.
pub fn schema() -> Value {
    let mut schema = table(FILE);
    let mut definitions = Map::from_iter([
        (PLACEHOLDER.to_string(), placeholder()),
        ("outcome".to_string(), outcome()),
        ("fate".to_string(), or_placeholder(json!({ "enum": FATES }))),
    ]);
    define_what_recurs(&mut schema, &mut definitions);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("gatesim scenario");
    schema["definitions"] = Value::Object(definitions);
    schema
}

const PLACEHOLDER: &str = "placeholder";

fn placeholder() -> Value {
    json!({
        "description": "In a file with a matrix: the value of an axis, as in ${signal}",
        "type": "string",
        "pattern": "\\$\\{[^}]+\\}",
    })
}

fn defined(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

/// What is shorter than this is better read where it stands.
const WORTH_A_DEFINITION: usize = 80;

/// Moves what several tables say of a key to the definitions, under the key's name.
fn define_what_recurs(schema: &mut Value, definitions: &mut Map<String, Value>) {
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    each_property(schema, &mut |name, property| {
        *places.entry((name.to_string(), property.to_string())).or_default() += 1;
    });
    let mut names: BTreeMap<(String, String), String> = BTreeMap::new();
    for (place, times) in places {
        if times > 1 && place.1.len() > WORTH_A_DEFINITION {
            let taken =
                |name: &str| names.values().any(|taken| taken == name) || definitions.contains_key(name);
            let free = (1..).map(|n| if n == 1 { place.0.clone() } else { format!("{}-{n}", place.0) });
            let name = free.into_iter().find(|name| !taken(name)).unwrap_or_default();
            names.insert(place, name);
        }
    }
    each_property(schema, &mut |name, property| {
        if let Some(definition) = names.get(&(name.to_string(), property.to_string())) {
            definitions.insert(definition.clone(), std::mem::replace(property, defined(definition)));
        }
    });
}

/// Shows `look` what is said of each key of each table, innermost first.
fn each_property(schema: &mut Value, look: &mut impl FnMut(&str, &mut Value)) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| each_property(item, look)),
        Value::Object(words) => {
            for (word, says) in words.iter_mut() {
                match says {
                    Value::Object(properties) if word == "properties" => {
                        for (name, property) in properties.iter_mut() {
                            each_property(property, look);
                            look(name, property);
                        }
                    }
                    _ => each_property(says, look),
                }
            }
        }
        _ => {}
    }
}

/// The schema as it is published: what fits on a line stands on one.
pub fn schema_text() -> String {
    written(&schema(), 0) + "\n"
}

/// So wide is a line, at most, on which a whole table or list stands.
const WIDEST: usize = 110;

fn written(value: &Value, depth: usize) -> String {
    let (begin, items, end) = match value {
        Value::Object(words) => {
            let item =
                |(word, says): (&String, &Value)| format!("{}: {}", json!(word), written(says, depth + 1));
            ('{', words.iter().map(item).collect::<Vec<_>>(), '}')
        }
        Value::Array(items) => ('[', items.iter().map(|item| written(item, depth + 1)).collect(), ']'),
        plain => return plain.to_string(),
    };
    let pad = "  ".repeat(depth);
    let inside = if begin == '{' && !items.is_empty() { " " } else { "" };
    let on_one_line = format!("{begin}{inside}{}{inside}{end}", items.join(", "));
    match on_one_line.len() + pad.len() <= WIDEST && !on_one_line.contains('\n') && depth > 0 {
        true => on_one_line,
        false => format!("{begin}\n{pad}  {}\n{pad}{end}", items.join(&format!(",\n{pad}  "))),
    }
}

/// `value`, or a placeholder in its place.
fn or_placeholder(mut value: Value) -> Value {
    // Texts of any kind have placeholders in them as they are.
    if value["type"] == "string" && value.get("pattern").is_none() {
        return value;
    }
    let placeholder = defined(PLACEHOLDER);
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
            "additionalProperties": { "anyOf": [
                defined("fate"),
                { "type": "array", "items": defined("fate"), "minItems": 1 },
            ] },
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
        "properties": { key: defined(PLACEHOLDER) },
        "required": [key],
    })
}

/// Events are offered with their meaning.
fn event() -> Value {
    let known = EVENTS.iter().map(|(name, _, meaning)| json!({ "const": name, "description": meaning }));
    json!({ "anyOf": known.collect::<Vec<_>>() })
}

fn step(verb: &VerbKeys) -> Value {
    let mut step = object(&STEP.iter().chain(verb.keys).collect::<Vec<_>>());
    step["title"] = json!(verb.word);
    step["description"] = json!(verb.doc);
    step["properties"]["do"] = json!({ "const": verb.word });
    step["oneOf"] = json!([{ "required": ["at"] }, { "required": ["on"] }]);
    step["dependencies"] =
        json!({ "nth": ["on"], "of": ["on"], "path": ["on"], "after": ["on"], "times": ["on"] });
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

fn outcome() -> Value {
    let outcome = "^(pass|inconclusive|fail: *[a-z-]+( *, *[a-z-]+)*)$";
    or_placeholder(json!({ "type": "string", "pattern": outcome }))
}

fn outcomes() -> Value {
    let properties: Map<_, _> = policy::profile_names()
        .chain(policy::planted_names())
        .map(|profile| (profile.to_string(), defined("outcome")))
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::reference::kept_up_to_date;

    #[test]
    fn the_published_schema_is_up_to_date() {
        kept_up_to_date("docs/scenario.schema.json", |_| schema_text());
    }

    #[test]
    fn what_fits_on_a_line_stands_on_one() {
        let value = json!({ "a": [1, 2], "b": { "c": "x".repeat(200) } });
        let long = "x".repeat(200);
        assert_eq!(
            written(&value, 0),
            format!("{{\n  \"a\": [1, 2],\n  \"b\": {{\n    \"c\": \"{long}\"\n  }}\n}}")
        );
        let text = schema_text();
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), schema());
    }

    #[test]
    fn every_definition_is_used_and_every_reference_defined() {
        let schema = schema();
        let text = schema.to_string();
        let definitions = schema["definitions"].as_object().expect("a table");
        for name in definitions.keys() {
            assert!(text.contains(&format!("#/definitions/{name}\"")), "nobody needs {name}");
        }
        for rest in text.split("#/definitions/").skip(1) {
            let name = rest.split('"').next().unwrap_or_default();
            assert!(definitions.contains_key(name), "nobody defines {name}");
        }
    }
}
