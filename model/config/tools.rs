//! The tools' part of the configuration: what the model may do on this machine.
//!
//! Whoever may write to the gateway decides through the model what is run, so nothing is allowed that is not asked for.

use std::time::Duration;

use serde::Deserialize;

/// What the model may do on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ToolsConfig {
    /// Programs that it runs.
    pub exec: ExecConfig,
}

/// Whether and for how long it may run programs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ExecConfig {
    /// Whether it may.
    pub enabled: bool,
    /// How long a program may take before it is killed, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for ExecConfig {
    fn default() -> Self {
        Self { enabled: false, timeout_ms: 120_000 }
    }
}

impl ExecConfig {
    /// [`ExecConfig::timeout_ms`] as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
