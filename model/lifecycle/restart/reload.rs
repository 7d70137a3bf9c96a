//! What a change of the configuration asks for: nothing, a reload of some part, or a restart.
//!
//! Each setting is a dotted path; the longest known prefix of it decides, and a setting that nobody knows asks for a
//! restart. Pure: two configurations go in, a [`Plan`] comes out.

use serde::Serialize;
use serde_json::{Map, Value};

/// What the change of a setting asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing: it is in force at once.
    #[default]
    None,
    /// A part of the gateway begins anew. None of this one does without the others, so that the whole of it restarts;
    /// as OpenClaw does where `gateway.reload.mode` is `restart`.
    Hot,
    /// The gateway restarts.
    Restart,
}

/// What a change asks for, by the prefix of the setting (OpenClaw 2026.3.2, where the list is in such an order that
/// the first prefix is the longest).
const RULES: &[(Effect, &[&str])] = &[
    (
        Effect::None,
        &[
            "gateway.remote",
            "gateway.reload",
            "diagnostics.stuckSessionWarnMs",
            "meta",
            "identity",
            "wizard",
            "logging",
            "agents",
            "tools",
            "bindings",
            "audio",
            "agent",
            "routing",
            "messages",
            "session",
            "talk",
            "skills",
            "secrets",
            "ui",
        ],
    ),
    (
        Effect::Hot,
        &[
            "gateway.channelHealthCheckMinutes",
            "hooks",
            "agents.defaults.heartbeat",
            "agents.defaults.model",
            "agent.heartbeat",
            "models",
            "cron",
            "browser",
            "channels",
        ],
    ),
    (Effect::Restart, &["plugins", "gateway", "discovery", "canvasHost"]),
];

/// What a change asks for in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The settings that are in force at once.
    pub none: Vec<String>,
    /// Those for which a part of the gateway begins anew.
    pub hot: Vec<String>,
    /// Those for which the gateway restarts.
    pub restart: Vec<String>,
}

impl Plan {
    /// What the change of these settings asks for.
    pub fn of(paths: impl IntoIterator<Item = String>) -> Self {
        let mut plan = Self::default();
        for path in paths {
            match effect(&path) {
                Effect::None => plan.none.push(path),
                Effect::Hot => plan.hot.push(path),
                Effect::Restart => plan.restart.push(path),
            }
        }
        plan
    }

    /// What it asks for at most.
    pub fn effect(&self) -> Effect {
        match (self.restart.is_empty(), self.hot.is_empty()) {
            (false, _) => Effect::Restart,
            (true, false) => Effect::Hot,
            (true, true) => Effect::None,
        }
    }

    /// The settings that take effect with a restart only.
    pub fn with_a_restart(&self) -> Vec<String> {
        [&self.restart[..], &self.hot].concat()
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.none.is_empty() && self.effect() == Effect::None
    }
}

/// What the change of one setting asks for.
fn effect(path: &str) -> Effect {
    let rules = RULES.iter().flat_map(|(effect, prefixes)| prefixes.iter().map(|prefix| (*effect, *prefix)));
    let matching = rules.filter(|(_, prefix)| is_within(path, prefix));
    matching.max_by_key(|(_, prefix)| prefix.len()).map_or(Effect::Restart, |(effect, _)| effect)
}

/// Whether a setting is `prefix` or below it.
fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The settings in which two configurations differ, as dotted paths in alphabetical order. What is a list or a
/// simple value is one setting; what appears or disappears is named as a whole.
pub fn changed_paths(before: &Value, after: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => collect("", before, after, &mut paths),
        _ if before == after => {}
        // Not even an object: everything is different.
        _ => paths.push(String::new()),
    }
    paths.sort();
    paths
}

fn collect(prefix: &str, before: &Map<String, Value>, after: &Map<String, Value>, paths: &mut Vec<String>) {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    for key in after.keys().chain(gone) {
        let path = match prefix {
            "" => key.clone(),
            _ => format!("{prefix}.{key}"),
        };
        match (before.get(key), after.get(key)) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => collect(&path, before, after, paths),
            (before, after) if before == after => {}
            _ => paths.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let cases = [
            ("gateway.port", Effect::Restart),
            ("gateway", Effect::Restart),
            ("gateway.reload.deferralTimeoutMs", Effect::None),
            ("gateway.remote", Effect::None),
            ("gateway.remoteControl", Effect::Restart),
            ("agents.defaults.heartbeat.every", Effect::Hot),
            ("agents.list", Effect::None),
            ("hooks.gmail.account", Effect::Hot),
            ("channels.telegram.token", Effect::Hot),
            ("somethingNew", Effect::Restart),
            ("", Effect::Restart),
        ];
        for (path, expected) in cases {
            assert_eq!(effect(path), expected, "{path}");
        }
    }

    #[test]
    fn no_prefix_is_listed_twice() {
        let mut all: Vec<_> = RULES.iter().flat_map(|(_, prefixes)| prefixes.iter()).collect();
        let listed = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), listed);
    }

    #[test]
    fn what_differs_is_named_by_its_path() {
        let before = json!({"gateway": {"port": 1, "auth": {"token": "a"}}, "ui": [1], "cron": {"jobs": []}});
        let after = json!({"gateway": {"port": 2, "auth": {"token": "a"}}, "ui": [2], "hooks": {"x": 1}});
        let paths = changed_paths(&before, &after);
        assert_eq!(paths, ["cron", "gateway.port", "hooks", "ui"]);
        assert_eq!(changed_paths(&before, &before), [""; 0]);
        assert_eq!(changed_paths(&before, &json!(null)), [""]);

        let plan = Plan::of(paths);
        assert_eq!(plan.restart, ["gateway.port"]);
        assert_eq!(plan.hot, ["cron", "hooks"]);
        assert_eq!((plan.effect(), plan.none), (Effect::Restart, vec!["ui".to_string()]));
        assert!(Plan::of([]).is_empty());
    }
}
