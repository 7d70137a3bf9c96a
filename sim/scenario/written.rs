//! The document of a scenario file without its places in the text, for whoever changes it and writes it out again.

use toml::de::{DeInteger, DeTable, DeValue};
use toml::{Table, Value};

use super::keys::{self, Shape};
use super::table::in_file_order;

/// The top-level keys, in the order in which the format lists them.
pub fn file_keys() -> Vec<&'static str> {
    keys::FILE.iter().map(|key| key.name).collect()
}

/// Whether the top-level table called `name` is one of tables under names of the author's choice.
pub fn is_named(name: &str) -> bool {
    keys::FILE.iter().any(|key| key.name == name && matches!(key.shape, Shape::Named(_)))
}

/// A table in the order of the file.
pub(super) fn table(read: &DeTable<'_>) -> Table {
    in_file_order(read)
        .into_iter()
        .map(|(name, entry)| (name.get_ref().to_string(), value(entry.get_ref())))
        .collect()
}

fn value(read: &DeValue<'_>) -> Value {
    match read {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => integer(number),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::from(number.as_str()), Value::Float)
        }
        DeValue::Boolean(yes) => Value::from(*yes),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| value(item.get_ref())).collect()),
        DeValue::Table(entries) => Value::Table(table(entries)),
    }
}

/// What does not fit becomes text, which is refused where it is read.
fn integer(number: &DeInteger<'_>) -> Value {
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => Value::from(number),
        Err(_) => Value::from(number.as_str()),
    }
}
