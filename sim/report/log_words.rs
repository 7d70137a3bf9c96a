//! A phrase for each of the gateway's log records.
//!
//! A record calls a message by the idempotency key that its sender gave it; here it gets the name that senders
//! use. What another event says as well (a signal arrived, the process ended) is not said twice. A record that
//! nobody has thought of a phrase for is turned into words, so that a new one reads well from its first day.

use std::collections::BTreeMap;
use std::time::Duration;

use super::phrases::length_of_time;
use crate::timeline::words::{counted, cut};
use crate::timeline::{Event, Fact, Level, LogRecord, MessageId};

/// The messages by their keys.
#[derive(Default)]
pub(super) struct Keys(BTreeMap<String, MessageId>);

impl Keys {
    /// Takes note of the key of a message that is handed over.
    pub(super) fn learn(&mut self, event: &Event) {
        if let Fact::MessageSent { message, key, .. } | Fact::UpdateHandedOut { message, key, .. } =
            &event.fact
        {
            self.0.insert(key.clone(), message.clone());
        }
    }

    /// What to call the message of the run whose id is `run`.
    fn name(&self, run: &str) -> String {
        let scheduled = run.strip_prefix("cron:").and_then(|run| run.split(':').next());
        match (self.0.get(run), scheduled) {
            (Some(message), _) => message.to_string(),
            (None, Some(job)) => job.to_string(),
            (None, None) => format!("run {}", cut(run, 5)),
        }
    }
}

/// The words for a record; `None` when other events say the same.
pub(super) fn log_words(record: &LogRecord, keys: &Keys) -> Option<String> {
    let words = match record.field("run") {
        Some(run) => message_words(record, &keys.name(run)),
        None => life_words(record)?,
    };
    let words = words.unwrap_or_else(|| generic_words(record, keys));
    Some(if record.level <= Level::Warn { format!("! {words}") } else { words })
}

/// Records about one message. `None`: there is no phrase.
fn message_words(record: &LogRecord, message: &str) -> Option<String> {
    Some(match record.name.as_str() {
        "inbox.recorded" => format!("{message} recorded"),
        "run.started" => format!("{message} runs"),
        "run.finished" => format!("{message} done"),
        "recovery.resumed" => format!("{message} resumed"),
        "message.told" => format!("{message} told: {}", gist(record.field("notice")?)),
        "message.cancelled" => format!("{message} cancelled"),
        "message.left-to-successor" => format!("{message} left to the next life"),
        "provider.retrying" => format!("{message} asks again: {}", record.field("error")?),
        _ => return None,
    })
}

/// What a notice says beyond which message it is about, which is quoted first, and what to do, which comes last.
fn gist(notice: &str) -> &str {
    let why = notice.rsplit_once("\" was not answered: ").map_or(notice, |(_, why)| why);
    why.split_once(". ").map_or(why, |(why, _)| why).trim_end_matches('.')
}

/// Records about the life of the process. `None`: nothing to say; `Some(None)`: there is no phrase.
fn life_words(record: &LogRecord) -> Option<Option<String>> {
    let number = |name| record.field(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let words = |words: String| Some(Some(words));
    match record.name.as_str() {
        // The process table, the signal and the exit status say it.
        "gateway.starting"
        | "gateway.exiting"
        | "signal.received"
        | "signal.during-drain"
        | "signal.during-close" => None,
        // The exit status and the supervisor say it.
        "respawn.chosen" if record.field("how") == Some("supervised exit") => None,
        "respawn.chosen" => words(format!("successor: {}", record.field("how").unwrap_or("?"))),
        "gateway.ready" => words("ready".to_string()),
        "recovery.finished" if number("resumed") + number("told") == 0 => None,
        "recovery.finished" => {
            words(format!("recovered: {} resumed, {} told", number("resumed"), number("told")))
        }
        "drain.started" if number("work") == 0 => None,
        "drain.started" => words(match record.field("budget_ms") {
            Some(_) => format!("drains {}, up to {}", runs(number("work")), time(number("budget_ms"))),
            None => format!("drains {} without limit", runs(number("work"))),
        }),
        "drain.finished" if number("took_ms") == 0 && number("left") == 0 => None,
        "drain.finished" if record.field("in_time") == Some("true") => words("drained".to_string()),
        "drain.finished" => words(format!("gives up on {}", runs(number("left")))),
        "shutdown.started" => words(match number("peers") {
            0 => "closes".to_string(),
            peers => format!("closes {}", counted(peers as usize, "connection")),
        }),
        "shutdown.finished" if number("took_ms") < 100 => None,
        "shutdown.finished" => words(format!("closed in {}", time(number("took_ms")))),
        "shutdown.step-timed-out" => {
            let step = record.field("step").unwrap_or("a step");
            words(format!("goes on without: {step}, after {}", time(number("took_ms"))))
        }
        "shutdown.forced" => words(format!("forced out of: {}", record.field("step").unwrap_or("a step"))),
        "lock.taken-over" => {
            let (file, why) = (record.field("file").unwrap_or_default(), record.field("why"));
            let name = file.rsplit('/').next().unwrap_or(file);
            words(format!("{name} taken over: {}", why.unwrap_or("it was stale")))
        }
        "start.conflict" => {
            let (pid, is) = (record.field("by").unwrap_or("?"), record.field("is").unwrap_or("in the way"));
            words(format!("pid {pid} is in the way: {is}"))
        }
        name if name.starts_with("hook.") => hook_words(record).map(Some),
        "start.standing-by" => words("stands by".to_string()),
        "start.taking-over" => words("takes over".to_string()),
        "predecessor.signalled" => None,
        "predecessor.stuck" => words(format!(
            "pid {} is stuck: silent for {}",
            predecessor(record),
            time(number("silent_s") * 1_000)
        )),
        "predecessor.spared" => {
            let why = record.field("why").unwrap_or("for no reason");
            words(format!("leaves pid {} alone: {why}", predecessor(record)))
        }
        "predecessor.gone" => words(format!("pid {} is gone", predecessor(record))),
        "predecessor.remains" => words(format!("pid {} or its port is still there", predecessor(record))),
        "gateway.start-delayed" => {
            words(format!("cannot start yet: {}", record.field("error").unwrap_or("for no reason")))
        }
        "gateway.start-failed" => {
            words(format!("cannot start: {}", record.field("error").unwrap_or("for no reason")))
        }
        _ => Some(record.field("job").and_then(|job| cron_words(record, job))),
    }
}

/// `None`: the program itself is shown.
fn hook_words(record: &LogRecord) -> Option<String> {
    let event = record.field("event").unwrap_or("a hook");
    match record.name.as_str() {
        "hook.failed" => Some(format!("{event} failed: {}", record.field("why").unwrap_or("?"))),
        "hook.timed-out" => Some(format!("{event} took too long")),
        "hook.cut-off" => Some(format!("{event} cut off")),
        _ => None,
    }
}

fn predecessor(record: &LogRecord) -> &str {
    record.field("predecessor").unwrap_or("?")
}

/// Records about a scheduled job. `None`: there is no phrase.
fn cron_words(record: &LogRecord, job: &str) -> Option<String> {
    // 2026-03-02T00:05:00.000Z
    let at = |field| record.field(field).and_then(|slot| slot.get(11..19)).unwrap_or("?");
    Some(match record.name.as_str() {
        "cron.started" if record.field("attempt") == Some("1") => format!("{job} {} is due", at("slot")),
        "cron.started" => format!("{job} {} is tried again", at("slot")),
        "cron.finished" => format!("{job} {} is done", at("slot")),
        "cron.not-done" => {
            let outcome = record.field("outcome").unwrap_or("not done");
            format!("{job} {}: {outcome}, {}", at("slot"), record.field("detail").unwrap_or("for no reason"))
        }
        "cron.interrupted" => format!("{job} {} interrupted", at("slot")),
        "cron.skipped" if record.field("count") == Some("1") => {
            format!("{job} {} skipped: {}", at("from"), record.field("why").unwrap_or("for no reason"))
        }
        "cron.skipped" => {
            let (count, why) = (record.field("count").unwrap_or("some"), record.field("why"));
            format!("{job} skipped {count} times: {}", why.unwrap_or("for no reason"))
        }
        _ => return None,
    })
}

fn time(ms: u64) -> String {
    length_of_time(Duration::from_millis(ms))
}

fn runs(count: u64) -> String {
    counted(count as usize, "run")
}

/// What the record is called, then its fields.
fn generic_words(record: &LogRecord, keys: &Keys) -> String {
    let mut words = record.name.replace(['.', '-', '_'], " ");
    let fields = record.fields.iter().filter(|(field, _)| !NOISE.contains(&field.as_str()));
    for (index, (field, value)) in fields.enumerate() {
        words.push_str(if index == 0 { ": " } else { ", " });
        match field.as_str() {
            "run" => words.push_str(&keys.name(value)),
            _ => words.push_str(&format!("{} {value}", field.replace('_', " "))),
        }
    }
    words
}

/// Fields that say nothing new in a column: the record's own text (`message`, as tracing names it), and keys that
/// are long and known.
const NOISE: [&str; 2] = ["message", "session"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::phrases::NO_BREAK;
    use crate::timeline::story::{Story, key};

    fn words(story: Story) -> Vec<String> {
        let mut keys = Keys::default();
        let events = story.events();
        events.iter().for_each(|event| keys.learn(event));
        let logged = events.iter().filter_map(|event| match &event.fact {
            Fact::Log { record, .. } => log_words(record, &keys),
            _ => None,
        });
        logged.collect()
    }

    #[test]
    fn a_record_calls_a_message_by_its_name() {
        let story = Story::new()
            .sent(1)
            .log("run.started", &[("run", &key("ann#1")), ("session", "s")])
            .log("run.finished", &[("run", "0123456789abcdef")])
            .log("run.wedged", &[("run", &key("ann#1")), ("took_ms", "7")]);
        assert_eq!(words(story), ["ann#1 runs", "run 0123… done", "run wedged: ann#1, took ms 7"]);
    }

    #[test]
    fn of_a_notice_only_the_reason_is_told() {
        let story =
            |notice| Story::new().sent(1).log("message.told", &[("run", &key("ann#1")), ("notice", notice)]);
        let long = "Your message \"a. b\" was not answered: the service restarted. Please send it again.";
        assert_eq!(words(story(long)), ["ann#1 told: the service restarted"]);
        assert_eq!(words(story("Try later.")), ["ann#1 told: Try later"]);
    }

    #[test]
    fn what_other_events_say_is_not_said_twice() {
        let story = Story::new()
            .log("gateway.starting", &[("config", "/etc/gateway/config.json")])
            .log("recovery.finished", &[("resumed", "0"), ("told", "0")])
            .log("signal.received", &[("signal", "SIGTERM")])
            .log("shutdown.finished", &[("took_ms", "3")]);
        assert_eq!(words(story), [""; 0]);
    }

    #[test]
    fn a_start_that_meets_another_says_what_it_is_and_what_becomes_of_it() {
        let seven = ("predecessor", "7");
        let story = Story::new()
            .log("start.conflict", &[("by", "7"), ("is", "silent")])
            .log("predecessor.spared", &[seven, ("why", "it may be starting")])
            .log("predecessor.stuck", &[seven, ("silent_s", "61")])
            .log("predecessor.signalled", &[seven, ("signal", "SIGTERM")])
            .log("predecessor.gone", &[seven]);
        let told: Vec<_> = words(story).iter().map(|words| words.replace(NO_BREAK, " ")).collect();
        assert_eq!(
            told,
            [
                "pid 7 is in the way: silent",
                "leaves pid 7 alone: it may be starting",
                "pid 7 is stuck: silent for 61 s",
                "pid 7 is gone"
            ]
        );
    }

    #[test]
    fn a_life_ends_in_a_few_words() {
        let story = Story::new()
            .log("drain.started", &[("work", "2"), ("budget_ms", "75000")])
            .log("drain.finished", &[("in_time", "false"), ("left", "1")])
            .log("shutdown.started", &[("peers", "3")])
            .log("shutdown.finished", &[("took_ms", "1250")]);
        let expected =
            ["drains 2 runs, up to 75 s", "gives up on 1 run", "closes 3 connections", "closed in 1.3 s"];
        let told: Vec<_> = words(story).iter().map(|words| words.replace(NO_BREAK, " ")).collect();
        assert_eq!(told, expected);
    }
}
