//! The hooks' part of the configuration: programs that are run when the gateway stops and when it has started.
//!
//! Written as a program, as a list of a program and its arguments, or as a table with a time limit. No shell reads any
//! of it. What hooks are told is not known here.

use std::time::Duration;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What is run at the ends of a life (openclaw/openclaw#38836, option B). The report's own names are known, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HooksConfig {
    /// When a stop or a restart is under way and it is known what it interrupts; before the process goes.
    #[serde(alias = "pre-stop")]
    pub pre_stop: Option<Hook>,
    /// When the gateway serves and has settled what earlier lives left.
    #[serde(alias = "post-start")]
    pub post_start: Option<Hook>,
}

/// A program with its arguments, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name or path.
    pub program: String,
    /// Its arguments, without its name.
    pub arguments: Vec<String>,
    /// How long it may take before it is killed, in milliseconds.
    pub timeout_ms: u64,
}

/// How long a hook may take that does not say.
const DEFAULT_TIMEOUT_MS: u64 = 10_000;

impl Hook {
    /// [`Hook::timeout_ms`] as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    fn of(words: Words) -> Result<Self, &'static str> {
        let mut words = match words {
            // In a shell this would be several words, and here it is one program that there is not.
            Words::One(program) if program.trim().contains(char::is_whitespace) => {
                return Err(
                    "a command with arguments is a list, such as [\"/usr/local/bin/notify\", \"--all\"]; \
                            no shell reads it",
                );
            }
            Words::One(program) => vec![program].into_iter(),
            Words::All(words) => words.into_iter(),
        };
        match words.next() {
            Some(program) if !program.trim().is_empty() => {
                Ok(Self { program, arguments: words.collect(), timeout_ms: DEFAULT_TIMEOUT_MS })
            }
            _ => Err("a command must not be empty"),
        }
    }
}

/// A command, as it may be written.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    All(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Table {
    command: Words,
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
}

const fn default_timeout_ms() -> u64 {
    DEFAULT_TIMEOUT_MS
}

impl<'de> Deserialize<'de> for Hook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let hook = match &value {
            Value::String(_) | Value::Array(_) => {
                let words = Words::deserialize(value).map_err(|_| not_words::<D::Error>())?;
                Self::of(words).map_err(D::Error::custom)?
            }
            Value::Object(_) => {
                let table = Table::deserialize(value).map_err(D::Error::custom)?;
                let hook = Self::of(table.command).map_err(D::Error::custom)?;
                Self { timeout_ms: table.timeout_ms, ..hook }
            }
            other => {
                let found = Unexpected::Other(match other {
                    Value::Null => "null",
                    Value::Bool(_) => "a boolean",
                    _ => "a number",
                });
                return Err(D::Error::invalid_type(found, &"a command, as text, list or table"));
            }
        };
        match hook.timeout_ms {
            0 => Err(D::Error::custom("timeoutMs must be at least 1: a hook has a limit")),
            _ => Ok(hook),
        }
    }
}

fn not_words<E: Error>() -> E {
    E::custom("a command is a text or a list of texts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HooksConfig, String> {
        serde_json::from_str(text).map_err(|error| super::super::without_position(&error))
    }

    fn hook(program: &str, arguments: &[&str], timeout_ms: u64) -> Option<Hook> {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Some(Hook { program: program.to_string(), arguments, timeout_ms })
    }

    #[test]
    fn the_report_s_own_words_are_understood() {
        let hooks = read(
            r#"{"pre-stop": "script-to-collect-active-sessions.sh", "post-start": "script-to-notify-users.sh"}"#,
        );
        let hooks = hooks.expect("is valid");
        assert_eq!(hooks.pre_stop, hook("script-to-collect-active-sessions.sh", &[], 10_000));
        assert_eq!(hooks.post_start, hook("script-to-notify-users.sh", &[], 10_000));
    }

    #[test]
    fn a_command_is_a_text_a_list_or_a_table() {
        let of = |text: &str| read(&format!("{{\"preStop\": {text}}}")).map(|hooks| hooks.pre_stop);
        assert_eq!(of(r#"["a b", "-x"]"#), Ok(hook("a b", &["-x"], 10_000)));
        assert_eq!(of(r#"{"command": ["a"], "timeoutMs": 500}"#), Ok(hook("a", &[], 500)));
        assert_eq!(of(r#"{"command": "a"}"#), Ok(hook("a", &[], 10_000)));
        assert!(of(r#""a b""#).is_err_and(|why| why.starts_with("a command with arguments is a list")));
        assert_eq!(of("[]"), Err("a command must not be empty".to_string()));
        assert_eq!(of("[1]"), Err("a command is a text or a list of texts".to_string()));
        assert!(of(r#"{"command": "a", "timeoutMs": 0}"#).is_err_and(|why| why.contains("at least 1")));
        assert!(of(r#"{"command": "a", "timeout": 1}"#).is_err_and(|why| why.contains("unknown field")));
        assert!(of("7").is_err_and(|why| why.contains("expected a command")));
    }
}
