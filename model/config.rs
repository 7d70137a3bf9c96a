//! The configuration file: JSON, read once at start.
//!
//! A broken file is a refusal with file, line and column, never a guess. Unknown keys are errors, since a
//! mistyped key is a setting that silently does nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::env::Fs;

mod channels;
mod hooks;
mod messages;
mod tools;

pub use channels::{ChannelsConfig, FeishuAccount, FeishuConfig, TelegramAccount, TelegramConfig};
pub use hooks::{Hook, HooksConfig};
pub use messages::{MessagesConfig, QueueConfig, QueueMode};
pub use tools::{ExecConfig, ToolsConfig};

/// The settings of one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The server itself.
    pub gateway: GatewayConfig,
    /// The language model that answers.
    pub model: ModelConfig,
    /// What is done at fixed times.
    #[serde(default)]
    pub cron: CronConfig,
    /// What may be asked of a gateway that runs.
    #[serde(default)]
    pub commands: CommandsConfig,
    /// The accounts on chat platforms.
    #[serde(default)]
    pub channels: ChannelsConfig,
    /// What is done with messages before they are run.
    #[serde(default)]
    pub messages: MessagesConfig,
    /// What the model may do on this machine.
    #[serde(default)]
    pub tools: ToolsConfig,
    /// The file that it was read from, and what stood there.
    #[serde(skip)]
    pub(crate) source: Option<(PathBuf, serde_json::Value)>,
}

/// What may be asked of a gateway that runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CommandsConfig {
    /// Whether it restarts when somebody asks for that. An edit of this file is followed all the same.
    #[serde(default = "yes")]
    pub restart: bool,
}

impl Default for CommandsConfig {
    fn default() -> Self {
        Self { restart: yes() }
    }
}

fn yes() -> bool {
    true
}

/// How a restart is asked for and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ReloadConfig {
    /// What an edit of this file does.
    #[serde(default)]
    pub mode: ReloadMode,
    /// How long a restart waits for work in hand, in milliseconds; 0: without limit. Its drain shares it.
    #[serde(default = "default_deferral_timeout_ms")]
    pub deferral_timeout_ms: u64,
    /// What the restart signal does.
    #[serde(default)]
    pub signal: SignalMode,
}

impl Default for ReloadConfig {
    fn default() -> Self {
        Self {
            mode: ReloadMode::default(),
            deferral_timeout_ms: default_deferral_timeout_ms(),
            signal: SignalMode::default(),
        }
    }
}

/// What an edit of the configuration file does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadMode {
    /// Nothing before the next start.
    #[default]
    Off,
    /// The gateway restarts, unless nothing that was changed needs that.
    Restart,
}

/// What the restart signal does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignalMode {
    /// It begins the drain at once, as a stop does: whoever sends it has decided.
    #[default]
    Drain,
    /// It asks for a plain restart, which waits for work in hand first.
    Ask,
}

fn default_deferral_timeout_ms() -> u64 {
    300_000
}

/// Settings of the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GatewayConfig {
    /// TCP port for HTTP and WebSocket; OpenClaw's default is 18789.
    #[serde(default = "default_port")]
    pub port: u16,
    /// Who may connect.
    pub auth: AuthConfig,
    /// Absolute path of the directory that holds everything durable.
    pub state_dir: PathBuf,
    /// How long a drain may wait for work in flight, in milliseconds (OpenClaw 2026.5.3-1: 300 000).
    #[serde(default = "default_drain_budget_ms")]
    pub drain_budget_ms: u64,
    /// How many bytes may wait to be sent to one client. A client that lets more wait is closed (OpenClaw: 50 MiB; no
    /// chat needs that).
    #[serde(default = "default_max_buffered_bytes")]
    pub max_buffered_bytes: u64,
    /// The supervisor's stop timeout in milliseconds; the whole shutdown stays below it (systemd's default is
    /// 90 000).
    #[serde(default = "default_stop_timeout_ms")]
    pub stop_timeout_ms: u64,
    /// How a restart is asked for and what it waits for.
    #[serde(default)]
    pub reload: ReloadConfig,
    /// What is run at the ends of a life.
    #[serde(default)]
    pub hooks: HooksConfig,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AuthConfig {
    /// The shared token that `connect` must present.
    pub token: String,
}

/// The language model: any OpenAI-compatible chat-completions server over plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ModelConfig {
    /// Base URL up to and including the version, such as `http://127.0.0.1:8080/v1`.
    pub base_url: String,
    /// The model's name, passed through.
    pub name: String,
    /// How long one turn may take in milliseconds (OpenClaw: 600 000).
    #[serde(default = "default_run_timeout_ms")]
    pub run_timeout_ms: u64,
}

/// What is done at fixed times.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CronConfig {
    /// Jobs that hand a message to the model.
    #[serde(default)]
    pub jobs: Vec<CronJob>,
    /// How often the session store is looked after, in milliseconds; 0: never.
    #[serde(default = "default_sessions_rebuild_every_ms")]
    pub sessions_rebuild_every_ms: u64,
}

/// A scheduled job: a message that is handed to the model at fixed times.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CronJob {
    /// Its name: small letters, digits and hyphens.
    pub id: String,
    /// From one time to the next, in milliseconds. The times are the multiples since the Unix epoch.
    pub every_ms: u64,
    /// What the model is asked.
    pub message: String,
    /// The conversation in which it is asked; by default one of the job's own, `cron:ID`.
    pub session_key: Option<String>,
    /// What becomes of a run that a restart interrupts.
    #[serde(default)]
    pub on_interruption: OnInterruption,
}

/// What becomes of a scheduled run that a restart interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnInterruption {
    /// It is tried again, up to three times in all: its effects may come twice.
    #[default]
    Retry,
    /// It is recorded as skipped.
    Skip,
}

impl CronJob {
    /// The conversation in which it is asked.
    pub fn session_key(&self) -> String {
        self.session_key.as_ref().map_or_else(|| format!("cron:{}", self.id), |key| key.to_lowercase())
    }

    /// What makes no sense about it, if anything: the key, and why.
    fn trouble(&self) -> Option<(&'static str, &'static str)> {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.id.is_empty() || self.id.len() > 64 || !self.id.chars().all(is_word) {
            return Some(("id", "must have 1 to 64 small letters, digits and hyphens"));
        }
        if self.id == crate::cron::POLLER {
            return Some(("id", "is the name of a built-in job, see cron.sessionsRebuildEveryMs"));
        }
        if self.every_ms < 1_000 {
            return Some(("everyMs", "must be at least 1000"));
        }
        if self.message.trim().is_empty() {
            return Some(("message", "must not be empty"));
        }
        let no_session = self.session_key.as_ref().is_some_and(|key| key.trim().is_empty());
        no_session.then_some(("sessionKey", "must not be empty; leave it out for a conversation of its own"))
    }
}

impl Default for CronConfig {
    fn default() -> Self {
        Self { jobs: Vec::new(), sessions_rebuild_every_ms: default_sessions_rebuild_every_ms() }
    }
}

impl CronConfig {
    /// [`CronConfig::sessions_rebuild_every_ms`] as a duration; `None`: never.
    pub fn sessions_rebuild_every(&self) -> Option<Duration> {
        (self.sessions_rebuild_every_ms > 0).then(|| Duration::from_millis(self.sessions_rebuild_every_ms))
    }

    /// What makes no sense about the jobs, if anything: the key, and why.
    fn trouble(&self) -> Option<(String, &'static str)> {
        let mut ids = BTreeSet::new();
        self.jobs.iter().enumerate().find_map(|(index, job)| {
            let twice = !ids.insert(&job.id);
            let (key, why) = job.trouble().or(twice.then_some(("id", "must be unique")))?;
            Some((format!("cron.jobs[{index}].{key}"), why))
        })
    }
}

fn default_sessions_rebuild_every_ms() -> u64 {
    300_000
}

fn default_port() -> u16 {
    18_789
}

fn default_drain_budget_ms() -> u64 {
    300_000
}

fn default_max_buffered_bytes() -> u64 {
    4 * 1024 * 1024
}

fn default_stop_timeout_ms() -> u64 {
    90_000
}

fn default_run_timeout_ms() -> u64 {
    600_000
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the filesystem said.
        source: std::io::Error,
    },
    /// The file is not a valid configuration.
    #[error("{path}:{line}:{column}: {why}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Counting from 1.
        line: usize,
        /// Counting from 1.
        column: usize,
        /// What is wrong there.
        why: String,
    },
    /// A value is well-formed and makes no sense.
    #[error("{path}: {key}: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The dotted key.
        key: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Self, ConfigError> {
        let bytes =
            fs.read(path).map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
        let mut config = Self::parse(&bytes, path)?;
        config.source = serde_json::from_slice(&bytes).ok().map(|value| (path.to_path_buf(), value));
        Ok(config)
    }

    /// Checks the text of a configuration; `path` is for messages only.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(bytes).map_err(|error| ConfigError::Invalid {
            path: path.to_path_buf(),
            line: error.line(),
            column: error.column(),
            why: without_position(&error),
        })?;
        let unusable = |key: &str, why: &str| ConfigError::Unusable {
            path: path.to_path_buf(),
            key: key.into(),
            why: why.into(),
        };
        if config.gateway.auth.token.is_empty() {
            return Err(unusable(
                "gateway.auth.token",
                "must not be empty: it is all that protects the port",
            ));
        }
        if !config.gateway.state_dir.is_absolute() {
            return Err(unusable("gateway.stateDir", "must be an absolute path"));
        }
        if config.gateway.max_buffered_bytes == 0 {
            return Err(unusable("gateway.maxBufferedBytes", "must be at least 1"));
        }
        if crate::agents::provider::Endpoint::parse(&config.model.base_url).is_none() {
            return Err(unusable(
                "model.baseUrl",
                "must be a plain HTTP URL such as http://127.0.0.1:8080/v1",
            ));
        }
        let trouble = config.cron.trouble().or_else(|| config.channels.trouble());
        match trouble.or_else(|| config.messages.trouble()) {
            Some((key, why)) => Err(unusable(&key, why)),
            None => Ok(config),
        }
    }

    /// [`GatewayConfig::drain_budget_ms`] as a duration.
    pub fn drain_budget(&self) -> Duration {
        Duration::from_millis(self.gateway.drain_budget_ms)
    }

    /// [`GatewayConfig::stop_timeout_ms`] as a duration.
    pub fn stop_timeout(&self) -> Duration {
        Duration::from_millis(self.gateway.stop_timeout_ms)
    }

    /// [`ModelConfig::run_timeout_ms`] as a duration.
    pub fn run_timeout(&self) -> Duration {
        Duration::from_millis(self.model.run_timeout_ms)
    }
}

/// serde_json appends the position to its message; ours stands in front.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let error = Config::parse(text.as_bytes(), Path::new("/etc/gateway.json")).expect_err("is refused");
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_minimal_configuration_gets_the_documented_defaults() {
        let text = r#"{"gateway":{"auth":{"token":"t"},"stateDir":"/state"},
                       "model":{"baseUrl":"http://provider:8080/v1","name":"m"}}"#;
        let config = Config::parse(text.as_bytes(), Path::new("c")).expect("is valid");
        assert_eq!(config.gateway.port, 18_789);
        assert_eq!(config.drain_budget(), Duration::from_secs(300));
        assert_eq!(config.stop_timeout(), Duration::from_secs(90));
    }

    #[test]
    fn broken_files_are_refused_with_their_position() {
        check("{\n  \"gateway\": {,\n}", "/etc/gateway.json:2:15: key must be a string");
        check(
            "{\"gateway\":{\"auth\":{\"token\":\"t\"},\"stateDir\":\"/s\",\"prot\":1},\"model\":{}}",
            "/etc/gateway.json:1:55: unknown field `prot`, expected one of `port`, `auth`, `stateDir`, \
             `drainBudgetMs`, `maxBufferedBytes`, `stopTimeoutMs`, `reload`, `hooks`",
        );
        check("", "/etc/gateway.json:1:0: EOF while parsing a value");
    }

    #[test]
    fn jobs_that_make_no_sense_are_refused_by_key() {
        let check_jobs = |jobs: &str, expected: &str| {
            let text = format!(
                r#"{{"gateway":{{"auth":{{"token":"t"}},"stateDir":"/s"}},"model":{{"baseUrl":"http://p/v1","name":"m"}},
                    "cron":{{"jobs":[{jobs}]}}}}"#
            );
            check(&text, &format!("/etc/gateway.json: cron.jobs{expected}"));
        };
        let job = |id: &str, every: u64, message: &str| {
            format!(r#"{{"id":"{id}","everyMs":{every},"message":"{message}"}}"#)
        };
        check_jobs(&job("A:b", 5_000, "m"), "[0].id: must have 1 to 64 small letters, digits and hyphens");
        check_jobs(&job("a", 999, "m"), "[0].everyMs: must be at least 1000");
        check_jobs(&job("a", 5_000, " "), "[0].message: must not be empty");
        check_jobs(&[job("a", 5_000, "m"), job("a", 5_000, "m")].join(","), "[1].id: must be unique");
        check_jobs(
            &job("sessions-rebuild-poller", 5_000, "m"),
            "[0].id: is the name of a built-in job, see cron.sessionsRebuildEveryMs",
        );
    }

    #[test]
    fn senseless_values_are_refused_by_key() {
        check(
            r#"{"gateway":{"auth":{"token":""},"stateDir":"/s"},"model":{"baseUrl":"http://p/v1","name":"m"}}"#,
            "/etc/gateway.json: gateway.auth.token: must not be empty: it is all that protects the port",
        );
        check(
            r#"{"gateway":{"auth":{"token":"t"},"stateDir":"/s"},"model":{"baseUrl":"https://p","name":"m"}}"#,
            "/etc/gateway.json: model.baseUrl: must be a plain HTTP URL such as http://127.0.0.1:8080/v1",
        );
    }
}
