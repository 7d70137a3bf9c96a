//! A compact phrase for every fact, and the column it belongs in.
//!
//! An arrow at the beginning of a phrase shows the way of a message: `->` away from the column's owner, `<-`
//! towards it. Phrases begin with what matters, since a narrow column cuts their end.

use gateway::env::Pid;

use crate::timeline::words::{counted, cut, quoted, span};
use crate::timeline::{Event, Fact, Level, LogRecord, MessageId, Source, StateSeen, Via};

/// Where a phrase is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A line of its own, across all columns.
    Note,
    /// The operator and the supervisor.
    Supervisor,
    /// A process.
    Process(Pid),
    /// A sender, by name.
    Sender(String),
    /// The readiness prober.
    Prober,
    /// The model provider.
    Model,
    /// The disk, by itself.
    Disk,
}

/// The column and the phrase of an event; `None` for what other code words: operations of the disk.
pub(super) fn phrase(event: &Event) -> Option<(Place, String)> {
    let words = match &event.fact {
        Fact::Disk { .. } => return None,
        Fact::State(state) => return Some((Place::Disk, state_words(state))),
        Fact::Log { pid, record } => return Some((Place::Process(*pid), log_words(record))),
        Fact::ReadySeen { ready, .. } => return Some((Place::Prober, ready_words(*ready).to_string())),
        fact => sender_words(fact)
            .or_else(|| model_words(fact))
            .or_else(|| process_words(fact))
            .or_else(|| supervisor_words(fact))
            .or_else(|| world_words(fact))?,
    };
    Some((place(event), words))
}

fn place(event: &Event) -> Place {
    match (&event.fact, &event.source) {
        // Who sent a signal is not known; who got it is.
        (Fact::SignalDelivered { pid, .. }, _) => Place::Process(*pid),
        (Fact::PowerLost { .. } | Fact::PowerRestored, _) => Place::Supervisor,
        (Fact::LinkPartitioned { .. } | Fact::LinkHealed { .. } | Fact::Injected { .. }, _) => Place::Note,
        (_, Source::World | Source::Machine(_)) => Place::Note,
        (_, Source::Operator | Source::Supervisor) => Place::Supervisor,
        (_, Source::Provider) => Place::Model,
        (_, Source::Process(pid)) => Place::Process(*pid),
        (_, Source::Sender(name)) => Place::Sender(name.clone()),
        (_, Source::Prober) => Place::Prober,
    }
}

fn sender_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::SenderConnected => "connected".to_string(),
        Fact::SenderDisconnected { how } => format!("closed: {how}"),
        Fact::SenderConnectFailed { how } => format!("cannot connect: {how}"),
        Fact::MessageSent { message, text, attempt } => {
            let again = if *attempt > 1 { " again" } else { "" };
            format!("-> #{}{again} {}", message.number, said(message, text))
        }
        Fact::MessageAccepted { message } => format!("#{} accepted", message.number),
        Fact::MessageRefused { message, reason } => format!("#{} refused: {reason}", message.number),
        Fact::MessageUnacknowledged { message } => format!("#{} in doubt, no answer", message.number),
        Fact::MessageCancelled { message } => format!("#{} cancelled", message.number),
        Fact::ReplyReceived { message, text, via } => {
            format!("{} #{} {}", arrival(*via), message.number, said(message, text))
        }
        Fact::NoticeReceived { message: Some(message), text, via } => {
            format!("{} notice #{} {}", arrival(*via), message.number, said(message, text))
        }
        Fact::NoticeReceived { message: None, text, via } => {
            format!("{} notice {}", arrival(*via), quoted(text))
        }
        Fact::IntruderAnswered { request, refused: true } => format!("refused: {request}"),
        Fact::IntruderAnswered { request, refused: false } => format!("SERVED: {request}"),
        _ => return None,
    })
}

const fn arrival(via: Via) -> &'static str {
    match via {
        Via::Live => "<-",
        Via::History => "<- history",
    }
}

/// The text in quotation marks, without the mark that only observers need.
fn said(message: &MessageId, text: &str) -> String {
    let mark = message.mark();
    quoted(&text.replace(&format!(" {mark}"), "").replace(&mark, ""))
}

fn model_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::ProviderRequested { message, .. } => format!("<- {message}"),
        Fact::ProviderAnswered { message, tokens, .. } => {
            format!("-> {message}, {}", counted(*tokens as usize, "token"))
        }
        Fact::ProviderStopped { message, how, .. } => format!("{message} broke off: {how}"),
        _ => return None,
    })
}

fn process_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::ProcessStarted { pid, .. } => format!("pid {pid} starts"),
        Fact::ProcessExited { cause, .. } => cause.to_string(),
        Fact::ProcessFrozen { .. } => "frozen".to_string(),
        Fact::ProcessThawed { .. } => "thawed".to_string(),
        Fact::SignalDelivered { signal, handled: true, .. } => format!("<- {signal}"),
        Fact::SignalDelivered { signal, handled: false, .. } => format!("<- {signal}, not handled"),
        Fact::PortBound { port, .. } => format!("listens on {port}"),
        Fact::PortReleased { port, .. } => format!("port {port} is free"),
        Fact::BindRefused { port, .. } => format!("port {port} is taken"),
        _ => return None,
    })
}

fn supervisor_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::ServiceStarting { attempt: 1 } => "start".to_string(),
        Fact::ServiceStarting { attempt } => format!("start, the {}", ordinal(*attempt)),
        Fact::ServiceStopping { stop_timeout } => format!("stop, within {}", span(*stop_timeout)),
        Fact::StopTimedOut => "stop timed out: kill".to_string(),
        Fact::ServiceInactive { why } => format!("stays down: {why}"),
        Fact::RestartScheduled { after } => format!("restart in {}", span(*after)),
        Fact::StartLimitHit => "gives up: start limit".to_string(),
        Fact::PowerLost { lost_operations: 0 } => "power lost".to_string(),
        Fact::PowerLost { lost_operations } => {
            format!("power lost, {} gone", counted(*lost_operations as usize, "write"))
        }
        Fact::PowerRestored => "power is back".to_string(),
        _ => return None,
    })
}

fn world_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::LinkPartitioned { a, b } => format!("link {a} - {b}: nothing passes"),
        Fact::LinkHealed { a, b } => format!("link {a} - {b}: works again"),
        Fact::Injected { what } => format!("fault: {what}"),
        Fact::SettleBegan => "faults end, the run settles".to_string(),
        Fact::RunEnded => "the run ends".to_string(),
        _ => return None,
    })
}

/// What a probe found.
const fn ready_words(ready: Option<bool>) -> &'static str {
    match ready {
        Some(true) => "ready",
        Some(false) => "not ready",
        None => "no answer",
    }
}

fn state_words(state: &StateSeen) -> String {
    let store = match &state.store {
        None => "no store".to_string(),
        Some(Ok(())) => "store ok".to_string(),
        Some(Err(why)) => format!("store DAMAGED: {why}"),
    };
    let messages = counted(state.mentioned.len(), "message");
    format!("found: {store}, {messages}, {} answered", state.answered.len())
}

/// A log record: what it is, then its fields. Names are turned into words, so that a new record reads well
/// before anybody has thought of a phrase for it.
fn log_words(record: &LogRecord) -> String {
    let run = record.field("run").map(|run| cut(run, 5));
    let mut words = match (record.name.as_str(), run) {
        ("run.started", Some(run)) => return format!("run {run} starts"),
        ("run.finished", Some(run)) => return format!("run {run} is done"),
        ("inbox.recorded", Some(run)) => return format!("run {run} is recorded"),
        ("drain.started", _) => match record.field("budget_ms").and_then(|ms| ms.parse().ok()) {
            Some(ms) => return format!("drain, budget {}", span(std::time::Duration::from_millis(ms))),
            None => "drain".to_string(),
        },
        _ => record.name.replace(['.', '-', '_'], " "),
    };
    if record.level <= Level::Warn {
        words.insert_str(0, "! ");
    }
    let fields = record.fields.iter().filter(|(field, _)| !NOISE.contains(&field.as_str()));
    for (index, (field, value)) in fields.enumerate() {
        words.push_str(if index == 0 { ": " } else { ", " });
        let value = if field == "run" { cut(value, 5) } else { value.clone() };
        words.push_str(&format!("{} {value}", field.replace('_', " ")));
    }
    words
}

/// Fields that say nothing new in a column: the record's own text (`message`, as tracing names it), and keys that
/// are long and known.
const NOISE: [&str; 2] = ["message", "session"];

fn ordinal(number: u32) -> String {
    let suffix = match (number % 10, number % 100) {
        (1, n) if n != 11 => "st",
        (2, n) if n != 12 => "nd",
        (3, n) if n != 13 => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

/// The words for a note on a line of its own.
pub(super) fn note(words: &str) -> String {
    format!("--- {words} ---")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::story::Story;

    fn words(story: Story) -> Vec<String> {
        story.events().iter().filter_map(phrase).map(|(_, words)| words).collect()
    }

    #[test]
    fn a_phrase_drops_the_mark_and_keeps_the_number() {
        assert_eq!(
            words(Story::new().sent(1).sent_again(1, 2).found_reply(1, "Re [ann#1]: yes")),
            [r#"-> #1 "hello""#, r#"-> #1 again "hello""#, r#"<- history #1 "Re: yes""#]
        );
    }

    #[test]
    fn a_log_record_without_a_phrase_of_its_own_reads_as_words() {
        let story = Story::new()
            .log("run.started", &[("run", "0123456789abcdef"), ("session", "s")])
            .log("drain.started", &[("ending", "stop"), ("budget_ms", "85000")])
            .log("shutdown.step-timed-out", &[("step", "websocket clients"), ("took_ms", "1000")]);
        assert_eq!(
            words(story),
            [
                "run 0123… starts",
                "drain, budget 85.0 s",
                "shutdown step timed out: step websocket clients, took ms 1000"
            ]
        );
    }

    #[test]
    fn ordinals() {
        let all: Vec<_> = [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal).into();
        assert_eq!(all, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]);
    }
}
