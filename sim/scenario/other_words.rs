//! What people call verbs and events that are called otherwise here.
//!
//! Only for hints: nobody guesses the vocabulary of another head, and a near miss in spelling is not the only one.

/// The verb that was probably meant by `word`, in a sentence.
pub(super) fn for_verb(word: &str) -> Option<String> {
    let plain = word.to_lowercase().replace(['_', ' '], "-");
    if plain.starts_with("sig") && plain.len() > 3 && !plain.contains('-') {
        return Some(match plain.as_str() {
            "sigkill" => "write `do = \"kill\"`.".into(),
            "sigstop" => "write `do = \"freeze\"`, with `for = \"10s\"`.".into(),
            signal => format!("write `do = \"signal\"` and `signal = \"{}\"`.", signal.to_uppercase()),
        });
    }
    let (_, means) = VERBS.iter().find(|(words, _)| words.contains(&plain.as_str()))?;
    Some(format!("did you mean {means}?"))
}

/// The event that was probably meant by `name`.
pub(super) fn for_event(name: &str) -> Option<&'static str> {
    EVENTS.iter().find(|(other, _)| *other == name).map(|(_, means)| *means)
}

const VERBS: &[(&[&str], &str)] = &[
    (&["crash", "die", "oom", "panic", "exit", "abort-process"], "`kill`, or `crash-at` inside an operation"),
    (&["restart", "reboot-service"], "`service-restart` by its supervisor, or `ask-for-restart`"),
    (&["stop", "shutdown", "terminate"], "`service-stop`, or `signal` with `SIGTERM`"),
    (&["start", "boot"], "`service-start`, or `start-second-instance` for another one beside it"),
    (&["sleep", "hibernate", "close-lid", "standby"], "`suspend`"),
    (&["pause", "stall", "hang", "block"], "`freeze`, with `for = \"10s\"`"),
    (&["reboot", "power-off", "power-cut", "blackout"], "`power-loss`"),
    (&["set-clock", "clock", "clock-step", "time-jump"], "`clock-jump`"),
    (&["disk-full", "enospc", "eio", "read-only"], "`disk-fault`, with `error = \"ENOSPC\"`"),
    (&["disconnect", "cut", "network-down", "offline", "unplug"], "`partition`, with two machines"),
    (&["dns", "dns-down", "unresolvable", "name-server-down"], "`name-unknown`"),
    (
        &["model-down", "provider-fails", "provider-hangs", "model-fails", "rate-limit"],
        "`provider-down`, with `how`",
    ),
    (&["platform-fails", "telegram-down", "feishu-down"], "`platform-down`"),
    (&["lock", "take-lock", "hold-lock"], "`squat-lock`"),
    (&["take-port", "block-port", "port-busy", "listen"], "`squat-port`"),
    (&["edit-config", "set-config", "config", "change-config"], "`write-config`"),
    (&["message", "say", "write", "chat"], "`send`"),
    (&["cancel", "stop-run"], "`abort`"),
    (&["corrupt", "write-file", "delete-file", "truncate"], "`corrupt-state`"),
    (&["connect", "arrive"], "`peers-arrive`"),
];

const EVENTS: &[(&str, &str)] = &[
    ("message.received", "message.accepted"),
    ("message.acknowledged", "message.accepted"),
    ("message.delivered", "reply.received"),
    ("message.replied", "reply.received"),
    ("message.recorded", "inbox.recorded"),
    ("reply.sent", "send.taken"),
    ("run.completed", "run.finished"),
    ("run.requested", "provider.requested"),
    ("provider.started", "provider.requested"),
    ("provider.finished", "provider.answered"),
    ("provider.failed", "provider.stopped"),
    ("gateway.started", "gateway.ready"),
    ("gateway.up", "gateway.ready"),
    ("gateway.stopped", "process.exited"),
    ("gateway.exited", "process.exited"),
    ("gateway.crashed", "process.exited"),
    ("process.killed", "process.exited"),
    ("process.died", "process.exited"),
    ("process.spawned", "process.started"),
    ("gateway.restarted", "restart.done"),
    ("gateway.draining", "drain.started"),
    ("drain.ended", "drain.finished"),
    ("shutdown.ended", "shutdown.finished"),
    ("signal.sent", "signal.delivered"),
    ("service.started", "service.starting"),
    ("service.stopped", "service.inactive"),
    ("subagent.started", "subagent.spawned"),
    ("subagent.finished", "subagent.ended"),
    ("lock.taken", "disk.create-new"),
    ("lock.released", "disk.remove"),
    ("disk.full", "disk.failed"),
    ("config.written", "config.edited"),
    ("config.reloaded", "config.changed"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::keys::verb_words;

    #[test]
    fn other_words_are_none_of_ours_and_mean_some_of_ours() {
        for (other, means) in EVENTS {
            assert!(crate::scenario::EVENTS.iter().all(|(known, ..)| known != other), "{other} is an event");
            assert!(crate::scenario::EVENTS.iter().any(|(known, ..)| known == means), "{means} is none");
        }
        for (words, means) in VERBS {
            assert!(words.iter().all(|word| !verb_words().contains(word)), "{words:?}");
            let first = means.split('`').nth(1).expect("a verb in backticks");
            assert!(verb_words().contains(&first), "{first} is no verb");
        }
    }

    #[test]
    fn signals_are_no_verbs() {
        let signal = "write `do = \"signal\"` and `signal = \"SIGTERM\"`.";
        assert_eq!(for_verb("sigterm").as_deref(), Some(signal));
        assert_eq!(for_verb("SIGKILL").as_deref(), Some("write `do = \"kill\"`."));
        assert_eq!(for_verb("dance"), None);
    }
}
