//! What a scenario says about the world before anything happens: gateway, supervisor, provider, senders, network.
//!
//! Plain validated values. Where a file leaves something out, the default is already in place; defaults are
//! written once, in `keys`.

use std::time::Duration;

use gateway::config::OnInterruption;
use gateway::policy::{self, Policies};
use serde_json::{Map, Value};

use super::{DurationRange, Supervisor};
pub use crate::actors::provider::Behaviour as ProviderBehaviour;
pub use crate::actors::webchat::SenderKind;
use crate::timeline::Platform;

/// A word of the file format that stands for one of a few values.
pub trait Choice: Sized + Copy + PartialEq + 'static {
    /// Every value with its word and what the word means.
    const WORDS: &'static [(&'static str, Self, &'static str)];

    /// The words, in the order they are documented.
    fn words() -> Vec<&'static str> {
        Self::WORDS.iter().map(|(word, ..)| *word).collect()
    }

    /// The words with their meanings, in the same order.
    fn meanings() -> Vec<(&'static str, &'static str)> {
        Self::WORDS.iter().map(|(word, _, meaning)| (*word, *meaning)).collect()
    }

    /// The word for this value.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value, _)| *value == self).map_or("?", |(word, ..)| word)
    }
}

/// How the gateway is set up and supervised.
#[derive(Clone, Debug)]
pub struct GatewaySetup {
    /// The port it listens on.
    pub port: u16,
    /// The token that `connect` asks for.
    pub token: String,
    /// The drain budget in its configuration.
    pub drain_budget: Duration,
    /// The deferral limit in its configuration; zero: none. `None`: its configuration does not say.
    pub deferral_limit: Option<Duration>,
    /// How many bytes may wait for one client, in its configuration.
    pub max_buffered: u64,
    /// How long a start takes before the program itself runs: exec, loading, runtime. A signal in that time
    /// has its default action. Drawn for each start.
    pub startup: DurationRange,
    /// Who starts it again.
    pub supervisor: Supervisor,
    /// Other settings of its configuration, by their dotted paths.
    pub settings: Map<String, Value>,
    /// Single policies that differ from the profile's.
    pub policies: PolicyOverrides,
}

impl GatewaySetup {
    /// The policies of a run: those of `profile` with this scenario's overrides. `None`: no such profile.
    pub fn policies_under(&self, profile: &str) -> Option<Policies> {
        policy::profile(profile).map(|policies| self.policies.apply(policies))
    }
}

/// Single policies that a scenario sets whatever the profile says. They have been validated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyOverrides(pub(super) Map<String, Value>);

impl PolicyOverrides {
    /// Whether nothing is overridden.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `policies` with the overrides in place.
    pub fn apply(&self, policies: Policies) -> Policies {
        if self.0.is_empty() {
            return policies;
        }
        merge(policies, &self.0).expect("policy overrides are validated when the file is read")
    }
}

/// `policies` with `overrides` in place, or serde's opinion of them.
pub(super) fn merge(policies: Policies, overrides: &Map<String, Value>) -> serde_json::Result<Policies> {
    let mut merged = serde_json::to_value(policies)?;
    if let Value::Object(merged) = &mut merged {
        merged.extend(overrides.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    serde_json::from_value(merged)
}

/// The policies in which `policies` differ from the default ones, each with its choice.
pub fn differences(policies: &Policies) -> Vec<(String, String)> {
    let as_json = |policies: &Policies| match serde_json::to_value(policies) {
        Ok(Value::Object(policies)) => policies,
        _ => Map::new(),
    };
    let default = as_json(&Policies::default());
    let differing = as_json(policies).into_iter().filter(|(name, choice)| default.get(name) != Some(choice));
    differing
        .map(|(name, choice)| {
            let choice = choice.as_str().map_or_else(|| choice.to_string(), Into::into);
            (name, choice)
        })
        .collect()
}

/// The names of all policies.
pub(super) fn policy_names() -> Vec<String> {
    match serde_json::to_value(Policies::default()) {
        Ok(Value::Object(policies)) => policies.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// The values that the policy called `name` can have, as far as they are plain words.
pub(super) fn policy_choices(name: &str) -> Vec<String> {
    // Only serde knows the variants; it names them, each in backticks, when it meets a word that is none.
    let nonsense = Map::from_iter([(name.to_string(), Value::from("?"))]);
    match merge(Policies::default(), &nonsense) {
        Ok(_) => Vec::new(),
        Err(error) => {
            let message = error.to_string();
            message.split('`').skip(1).step_by(2).filter(|word| *word != "?").map(Into::into).collect()
        }
    }
}

/// How the model provider behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderSetup {
    /// From a request to the first token of its answer; drawn for each request.
    pub first_token: DurationRange,
    /// How many tokens an answer has.
    pub tokens: u32,
    /// From one token to the next.
    pub token_interval: Duration,
    /// What it does with requests.
    pub behaviour: ProviderBehaviour,
    /// So many requests fail with status 500 before `behaviour` sets in.
    pub fail_first: u32,
}

impl Choice for ProviderBehaviour {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("answers", Self::Answers, "streams an answer"),
        ("fails", Self::Fails, "answers with status 500 when the first token would be due"),
        ("hangs", Self::Hangs, "takes the request and never says a word"),
    ];
}

/// One who sends messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderSetup {
    /// Where the sender talks to the gateway.
    pub channel: Channel,
    /// The bot it writes to, on a platform.
    pub account: String,
    /// How the sender behaves as a peer and when something breaks.
    pub kind: SenderKind,
    /// The token it presents, where that is not the gateway's.
    pub token: Option<String>,
    /// The sender whose conversation it takes part in, where it has none of its own.
    pub joins: Option<String>,
}

/// One scheduled job of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronSetup {
    /// From one time to the next; the times are the multiples of it, counted from the world's beginning.
    pub every: Duration,
    /// What the model is asked.
    pub text: String,
    /// What becomes of a run that a restart interrupts.
    pub on_interruption: OnInterruption,
    /// The sender in whose conversation it is asked; `None`: in one of the job's own.
    pub session_of: Option<String>,
}

impl Choice for OnInterruption {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("retry", Self::Retry, "it is made again, up to three times in all"),
        ("skip", Self::Skip, "it is recorded as skipped"),
    ];
}

/// A chat channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The gateway's own WebSocket protocol.
    Webchat,
    /// A chat platform.
    On(Platform),
}

impl Channel {
    /// The platform that it is.
    pub const fn platform(self) -> Option<Platform> {
        match self {
            Self::Webchat => None,
            Self::On(platform) => Some(platform),
        }
    }
}

impl Choice for Channel {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        ("webchat", Self::Webchat, "the gateway's own WebSocket protocol"),
        (
            "telegram",
            Self::On(Platform::Telegram),
            "a platform that the gateway polls; what a user writes waits there until the gateway confirms it",
        ),
        (
            "feishu",
            Self::On(Platform::Feishu),
            "a platform that pushes events over a long connection, and again until the gateway acknowledges them",
        ),
    ];
}

impl Choice for SenderKind {
    const WORDS: &'static [(&'static str, Self, &'static str)] = &[
        (
            "patient",
            Self::Patient,
            "reconnects after a break and reads the history, where late answers count",
        ),
        (
            "retrying",
            Self::Retrying,
            "as patient, and hands a message over again, with the same idempotency key, when it was refused for \
             now or left in doubt; at most 20 times",
        ),
        (
            "never-reads",
            Self::NeverReads,
            "reads nothing after the handshake, so it never learns of anything",
        ),
        (
            "never-closes",
            Self::NeverCloses,
            "its first connection answers no close frame and stays open for ever; it goes on in a second one",
        ),
        ("leaves", Self::Leaves, "leaves for good as soon as its last message was acknowledged or refused"),
    ];
}

/// How the gateway's disk behaves while nothing is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSetup {
    /// How long it takes to make a file or a name durable. The gateway stands still meanwhile.
    pub sync: DurationRange,
}

/// How the network behaves while nothing is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSetup {
    /// One way, from one machine to another.
    pub latency: DurationRange,
}

#[cfg(test)]
mod tests {
    use gateway::policy::{HARDENED, StopDrain};

    use super::*;

    #[test]
    fn an_override_changes_one_policy_and_leaves_the_profile_alone() {
        let overrides = PolicyOverrides(Map::from_iter([("stop-drain".into(), "skip".into())]));
        let changed = overrides.apply(Policies::default());
        assert_eq!(changed, Policies { stop_drain: StopDrain::Skip, ..Policies::default() });
        assert_eq!(PolicyOverrides::default().apply(changed.clone()), changed);
    }

    #[test]
    fn every_policy_names_its_choices() {
        assert!(policy_names().contains(&"stop-drain".to_string()));
        assert_eq!(policy_choices("stop-drain"), ["drain", "skip"]);
        assert_eq!(
            policy_choices("recovery"),
            ["resume-or-tell", "skip", "main-session-only", "rerun-everything", "before-lock"],
            "{HARDENED} first"
        );
    }
}
