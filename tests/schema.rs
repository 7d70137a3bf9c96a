//! The published JSON Schema says of every scenario of the repository what the reader says: it is fine.
//!
//! An editor that complains about a good file teaches its user to look away. The checker knows the words of JSON
//! Schema that ours has, and no others.

use gatesim::scenario;
use libtest_mimic::Trial;
use serde_json::{Map, Value, json};

use crate::{corpus, test};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("schema: every scenario is valid", every_scenario_is_valid),
        test("schema: a placeholder stands for anything", a_placeholder_stands_for_anything),
        test("schema: mistakes are found", mistakes_are_found),
    ]
}

fn every_scenario_is_valid() {
    let root = scenario::schema();
    let mut paths: Vec<_> = corpus::scenarios().into_iter().map(|scenario| scenario.path).collect();
    paths.dedup();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("it was read before");
        assert!(is_valid(&root, &root, &parsed(&text)), "{}", path.display());
    }
}

const MATRIX: &str = r#"
name = "x"
[matrix]
verb = ["kill", "service-stop"]
number = [1, 2]
[matrix.any]
one = { kind = "systemd" }
[gateway]
port = "${number}"
supervisor = "${any}"
policies = { recovery = "${any}" }
[senders.ann]
kind = "${verb}"
[[steps]]
at = "1s"
do = "${verb}"
[[steps]]
on = "${verb}"
nth = "${number}"
do = "send"
from = "ann"
text = "x"
count = "${number}"
[expect]
outcomes = { hardened = "${any}" }
fates = { "ann#1" = ["${any}"] }
[[cells]]
when = { number = 1, verb = ["kill"] }
skip = "why"
"#;

fn a_placeholder_stands_for_anything() {
    let root = scenario::schema();
    assert!(is_valid(&root, &root, &parsed(MATRIX)));
    let kind =
        MATRIX.replace("supervisor = \"${any}\"", "supervisor = { kind = \"${any}\", restart = \"no\" }");
    assert!(is_valid(&root, &root, &parsed(&kind)));
}

fn mistakes_are_found() {
    let root = scenario::schema();
    for (right, wrong) in [
        ("count =", "cuont ="),
        ("\"${number}\"\ndo", "\"number\"\ndo"),
        ("from = \"ann\"\n", ""),
        ("skip =", "skipped ="),
        ("[1, 2]", "[]"),
        ("[1, 2]", "[1, 1]"),
        ("do = \"send\"", "do = \"sent\""),
    ] {
        let text = MATRIX.replacen(right, wrong, 1);
        assert_ne!(text, MATRIX, "{right}");
        assert!(!is_valid(&root, &root, &parsed(&text)), "{wrong}");
    }
}

fn parsed(text: &str) -> Value {
    toml::from_str::<Value>(text).expect("TOML")
}

/// Whether `value` is as `schema`, a part of `root`, says.
fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let words = schema.as_object().expect("a schema is an object");
    words.iter().all(|(word, says)| holds(root, words, word, says, value))
}

fn holds(root: &Value, schema: &Map<String, Value>, word: &str, says: &Value, value: &Value) -> bool {
    let list = || says.as_array().expect("a list");
    let number = || says.as_u64().expect("a number");
    let length = || value.as_array().map_or(0, Vec::len) as u64;
    let valid = |schema: &Value| is_valid(root, schema, value);
    match word {
        "$schema" | "title" | "description" | "default" | "examples" | "definitions" | "propertyNames" => {
            true
        }
        "$ref" => {
            let path = says.as_str().and_then(|path| path.strip_prefix('#')).expect("a place in this file");
            valid(root.pointer(path).expect("it is there"))
        }
        "type" => says
            .as_array()
            .map_or_else(|| is_a(says, value), |types| types.iter().any(|one| is_a(one, value))),
        "enum" => list().contains(value),
        "const" => says == value,
        "anyOf" => list().iter().any(valid),
        "oneOf" => list().iter().filter(|schema| valid(schema)).count() == 1,
        // Of all patterns, only that of placeholders tells one alternative from another.
        "pattern" if says.as_str().is_some_and(|pattern| pattern.contains("\\{")) => {
            value.as_str().is_none_or(|text| text.contains("${"))
        }
        "pattern" => true,
        "minimum" => value.as_u64().is_none_or(|found| found >= number()),
        "maximum" => value.as_u64().is_none_or(|found| found <= number()),
        "minItems" => !value.is_array() || length() >= number(),
        "maxItems" => !value.is_array() || length() <= number(),
        "uniqueItems" => {
            value.as_array().is_none_or(|items| (1..items.len()).all(|n| !items[..n].contains(&items[n])))
        }
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(root, says, item))),
        "minProperties" => value.as_object().is_none_or(|entries| entries.len() as u64 >= number()),
        "required" => value.as_object().is_none_or(|entries| {
            list().iter().all(|name| entries.contains_key(name.as_str().expect("a name")))
        }),
        "dependencies" => value.as_object().is_none_or(|entries| {
            let says = says.as_object().expect("names");
            let has = |name: &Value| entries.contains_key(name.as_str().expect("a name"));
            says.iter().all(|(name, needs)| {
                !entries.contains_key(name) || needs.as_array().expect("names").iter().all(has)
            })
        }),
        "properties" => value.as_object().is_none_or(|entries| {
            let says = says.as_object().expect("schemas by name");
            says.iter().all(|(name, says)| entries.get(name).is_none_or(|entry| is_valid(root, says, entry)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|entries| {
            let known = schema.get("properties").and_then(Value::as_object);
            let others =
                entries.iter().filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
            others.into_iter().all(|(_, entry)| {
                if says.is_boolean() { *says == json!(true) } else { is_valid(root, says, entry) }
            })
        }),
        _ => panic!("the schema has the word `{word}`, which is not known here"),
    }
}

fn is_a(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type's name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        other => panic!("the type `{other}` is not known here"),
    }
}
