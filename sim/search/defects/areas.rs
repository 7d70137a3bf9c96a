//! The areas of the gateway, by the policies that belong to each: where a planted defect is.
//!
//! A policy's name says what it is about, so most areas are the beginnings of names.

use gateway::policy;

use crate::scenario;

/// The areas, in the order in which they are shown.
pub const AREAS: [&str; 15] = [
    "locks",
    "store",
    "inbox",
    "outbox",
    "drain",
    "shutdown",
    "coordinator",
    "recovery",
    "channels",
    "cron",
    "subagents",
    "supervisor",
    "hooks",
    "connections",
    "elsewhere",
];

/// The areas in the order in which they claim a defect, and how the names of their policies begin. A defect that takes
/// several choices is in the first that claims one: the narrower an area, the earlier it comes.
const POLICIES: &[(&str, &[&str])] = &[
    ("hooks", &["lifecycle-hooks"]),
    ("cron", &["cron-"]),
    ("subagents", &["subagent-", "tool-death"]),
    ("channels", &["telegram-", "feishu-"]),
    ("outbox", &["delivery-"]),
    (
        "supervisor",
        &[
            "successor",
            "restart-exit",
            "restart-mode",
            "failed-start",
            "hand-off",
            "missing-manager",
            "reload",
            "predecessors",
            "start-conflict",
            "bind-patience",
        ],
    ),
    ("coordinator", &["restart-"]),
    ("inbox", &["acknowledgement", "follow-up", "key-memory", "lane", "lock-failure"]),
    ("locks", &["instance-lock", "store-lock", "transcript-lock", "lock-sweep"]),
    ("store", &["state-write", "unreadable-store", "torn-line", "session-status"]),
    ("shutdown", &["peer-close", "close-budget", "forced-exit", "old-generation"]),
    ("connections", &["authentication", "slow-consumer", "readiness"]),
    ("drain", &["drain-", "stop-drain", "second-request"]),
    (
        "recovery",
        &["recovery", "begun-turn", "resume", "user-stop", "interruption-notice", "interrupted-work"],
    ),
];

/// The area of a profile.
pub fn area_of(profile: &str) -> &'static str {
    let policies = policy::profile(profile).unwrap_or_default();
    let differing = scenario::differences(&policies);
    let claims = |beginnings: &&[&str]| {
        let begins = |name: &str| beginnings.iter().any(|beginning| name.starts_with(beginning));
        differing.iter().any(|(policy, _)| begins(policy))
    };
    POLICIES.iter().find(|(_, beginnings)| claims(beginnings)).map_or("elsewhere", |(area, _)| area)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn forty_defects_and_more_are_spread_over_all_areas() {
        let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
        for name in policy::planted_names() {
            *counted.entry(area_of(name)).or_default() += 1;
        }
        assert!(counted.values().sum::<usize>() >= 40, "{counted:?}");
        for area in AREAS.into_iter().filter(|area| *area != "elsewhere") {
            assert!(counted.get(area).is_some_and(|defects| *defects >= 2), "{area}: {counted:?}");
        }
        assert!(POLICIES.iter().all(|(area, _)| AREAS.contains(area)));
    }
}
