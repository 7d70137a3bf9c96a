//! Choices about who learns of the ends of a life: the programs that are run then, and whoever asked for a restart from
//! a conversation.

use serde::{Deserialize, Serialize};

/// What becomes of the hooks that the configuration names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifecycleHooks {
    /// `post-start` is run once the gateway serves and has settled what earlier lives left; `pre-stop` when the drain is over
    /// and what it interrupted is known. Each has a limit, and its failure stops nothing.
    #[default]
    BoundedAndOrdered,
    /// Nothing: history had none (openclaw/openclaw#38836 asks for them).
    Missing,
    /// Their limits are not enforced: who stops waits for as long as a program takes. A planted defect.
    Unbounded,
    /// `post-start` is run before what earlier lives left is settled. A planted defect.
    PostStartFirst,
    /// `pre-stop` is not run. A planted defect.
    PreStopSkipped,
}

/// When what a restart leaves behind for a conversation is forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartSentinel {
    /// Once the conversation has it, durably. Until then it is tried again, by this life and the next.
    #[default]
    KeptUntilTold,
    /// Once the conversation has it, or after 45 tries, one a second (OpenClaw 2026.5.3).
    FortyFiveTries,
    /// As soon as it was read; then it is tried once (OpenClaw 2026.3.2: openclaw/openclaw#34580, #18612, #29116).
    DeletedFirst,
}
