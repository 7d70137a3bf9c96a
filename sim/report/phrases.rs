//! A compact phrase for every fact, and the column it belongs in.
//!
//! An arrow at the beginning of a phrase shows the way of a message: `->` away from the column's owner, `<-`
//! towards it. Phrases begin with what matters, since a narrow column cuts their end.

use std::time::Duration;

use gateway::env::Pid;

use super::log_words::{Keys, log_words};
use super::platform_words::platform_words;
use crate::timeline::words::{counted, cut, ordinal, quoted};
use crate::timeline::{Event, Fact, MessageId, Source, StateSeen, TOOL_PROGRAM, Via};

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
    /// Rude peers, by the name of their group.
    Peers(String),
    /// The chat platforms.
    Platforms,
}

/// The column and the phrase of an event; `None` for what other code words (operations of the disk) or other
/// events say.
pub(super) fn phrase(event: &Event, keys: &Keys) -> Option<(Place, String)> {
    let words = match &event.fact {
        Fact::Disk { .. } => return None,
        Fact::State(state) => return Some((Place::Disk, state_words(state))),
        Fact::Log { pid, record } => return Some((Place::Process(*pid), log_words(record, keys)?)),
        Fact::ReadySeen { ready, .. } => return Some((Place::Prober, ready_words(*ready).to_string())),
        fact => sender_words(fact)
            .or_else(|| peer_words(fact))
            .or_else(|| platform_words(fact))
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
        (
            Fact::LinkPartitioned { .. }
            | Fact::LinkHealed { .. }
            | Fact::ClockJumped { .. }
            | Fact::Injected { .. }
            | Fact::Remarked { .. }
            | Fact::ConfigEdited { .. },
            _,
        ) => Place::Note,
        (_, Source::World | Source::Machine(_)) => Place::Note,
        (_, Source::Operator | Source::Supervisor) => Place::Supervisor,
        (_, Source::Provider) => Place::Model,
        (_, Source::Process(pid)) => Place::Process(*pid),
        (_, Source::Sender(name)) => Place::Sender(name.clone()),
        (_, Source::Prober) => Place::Prober,
        (_, Source::Peers(name)) => Place::Peers(name.clone()),
        (_, Source::Platform(_)) => Place::Platforms,
    }
}

fn sender_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::SenderConnected => "connected".to_string(),
        Fact::SenderDisconnected { how } if how.starts_with("closed") => how.clone(),
        Fact::SenderDisconnected { how } => format!("closed: {how}"),
        Fact::SenderStoppedListening => "listens no more".to_string(),
        Fact::SenderJoined { whose } => format!("joins {whose}"),
        Fact::ConversationStopRequested { whose } => format!("-> stop all of {whose}"),
        Fact::SenderConnectFailed { how } => format!("cannot connect: {how}"),
        Fact::MessageSent { message, text, attempt, .. } => {
            let again = if *attempt > 1 { " again" } else { "" };
            format!("-> #{}{again} {}", message.number, said(message, text))
        }
        Fact::MessageAccepted { message } => format!("#{} accepted", message.number),
        Fact::MessageOver { message } => format!("#{} is over", message.number),
        Fact::MessageRefused { message, reason } => format!("#{} refused: {reason}", message.number),
        Fact::MessageUnacknowledged { message } => format!("#{} in doubt, no answer", message.number),
        Fact::MessageCancelled { message } => format!("#{} cancelled", message.number),
        Fact::MessageStopRequested { message } => format!("-> stop #{}", message.number),
        Fact::SubagentsStopRequested => "-> stop everything".to_string(),
        Fact::SubagentsCancelled { runs } => format!("{runs} of its subagents stopped"),
        Fact::ReplyReceived { message, text, via } => {
            format!("{} #{} {}", arrival(*via), message.number, said(message, text))
        }
        // What a notice says, the gateway's column says, too.
        Fact::NoticeReceived { message: Some(message), via, .. } => {
            format!("{} notice about #{}", arrival(*via), message.number)
        }
        Fact::NoticeReceived { message: None, text, via } => {
            format!("{} notice {}", arrival(*via), quoted(text))
        }
        Fact::IntruderAnswered { request, refused: true } => format!("refused: {request}"),
        Fact::IntruderAnswered { request, refused: false } => format!("SERVED: {request}"),
        _ => return None,
    })
}

fn peer_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::PeerConnected { place, .. } => format!("connected, {place}"),
        Fact::PeerTurnedAway { how, .. } => format!("turned away: {how}"),
        Fact::PeerEnded { how, .. } => format!("ended: {how}"),
        _ => return None,
    })
}

const fn arrival(via: Via) -> &'static str {
    via.arrow()
}

/// The beginning of the text in quotation marks, without the mark that only observers need.
fn said(message: &MessageId, text: &str) -> String {
    let mark = message.mark();
    quoted(&cut(&text.replace(&format!(" {mark}"), "").replace(&mark, ""), SAID))
}

/// How much of a text is shown.
const SAID: usize = 20;

fn model_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::ProviderRequested { message, .. } => format!("<- {message}"),
        Fact::ProviderAnswered { message, .. } => format!("-> {message}"),
        Fact::ProviderStopped { message, how, .. } => format!("{message} broke off: {how}"),
        Fact::ProviderWantedTools { message, .. } => format!("-> {message} wants tools"),
        Fact::Subagent { subagent, seen } => seen.words(subagent),
        Fact::ProgramTold { message, said } => format!("<- {message}'s program: {}", quoted(said)),
        Fact::CronRunRequested { job, slot_ms, .. } => format!("<- {job} {}", time_of_day(*slot_ms)),
        Fact::CronRunAnswered { job, slot_ms, .. } => format!("-> {job} {}", time_of_day(*slot_ms)),
        Fact::CronRunStopped { job, how, .. } => format!("{job} broke off: {how}"),
        _ => return None,
    })
}

fn process_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::ProcessStarted { pid, .. } => format!("pid {pid} starts"),
        Fact::ProcessExited { cause, .. } => cause.to_string(),
        Fact::CommandBegan { input, .. } => match heading(input) {
            Some(heading) => format!("reads {heading}"),
            None => "reads its input".to_string(),
        },
        Fact::ProcessFrozen { .. } => "frozen".to_string(),
        Fact::ProcessThawed { .. } => "thawed".to_string(),
        Fact::SignalDelivered { signal, handled: true, .. } => format!("<- {signal}"),
        Fact::SignalDelivered { signal, handled: false, .. } => format!("<- {signal}, not handled"),
        Fact::ProcessStruck { pid, signal, .. } => format!("{} -> pid {pid}", signal.name()),
        Fact::ToolFinished { message: Some(mark), done: true, .. } => format!("wrote {mark}"),
        Fact::ToolFinished { done: true, .. } => "done".to_string(),
        Fact::ToolFinished { done: false, said, .. } => format!("! gave up: {said}"),
        Fact::RestartAnswered { ok: true, result: Some(result), .. } => format!("told: {result}"),
        Fact::RestartAnswered { ok: true, said, .. } => format!("told: {said}"),
        Fact::RestartAnswered { ok: false, said, .. } => format!("! gave up: {said}"),
        Fact::PortBound { .. } => "listens".to_string(),
        Fact::PortReleased { .. } => "port is free".to_string(),
        Fact::BindRefused { .. } => "port is taken".to_string(),
        _ => return None,
    })
}

/// What a hook reads, in a few words: `pre-stop, stop, 2 sessions`. `None`: it is no hook's.
fn heading(input: &str) -> Option<String> {
    let report: serde_json::Value = serde_json::from_str(input).ok()?;
    let sessions = counted(report["sessions"].as_array()?.len(), "session");
    Some(format!("{}, {}, {sessions}", report["event"].as_str()?, report["reason"].as_str()?))
}

fn supervisor_words(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::Ordered { order } => order.words().to_string(),
        Fact::RestartAsked { request, mode } => format!("-> {mode} (request {request})"),
        Fact::RestartAskedFrom { sender, .. } => format!("(from {sender}'s conversation)"),
        Fact::RestartReported { request, ending, .. } => format!("<- request {request} {}", ending.word()),
        Fact::ServiceStarting { attempt: 1 } => "start".to_string(),
        Fact::ServiceStarting { attempt } => format!("{} start", ordinal(*attempt)),
        Fact::ServiceStopping { stop_timeout } => format!("stop within {}", length_of_time(*stop_timeout)),
        Fact::StopTimedOut => "stop timed out: kill".to_string(),
        Fact::ServiceInactive { why } => format!("stays down: {why}"),
        Fact::RestartScheduled { after } => format!("restart in {}", length_of_time(*after)),
        Fact::StartLimitHit => "gives up: start limit".to_string(),
        Fact::ServiceOrderRefused { order, why } => format!("refuses {order}: {why}"),
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
        Fact::ClockJumped { by_ms, .. } => {
            let by = length_of_time(Duration::from_millis(by_ms.unsigned_abs()));
            format!("fault: the clock jumps {by} {}", if *by_ms < 0 { "back" } else { "forward" })
        }
        Fact::Injected { what, .. } => format!("fault: {what}"),
        Fact::Remarked { what } | Fact::ConfigEdited { what } => what.clone(),
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
    let labels = state.mentioned.iter().filter(|mark| mark.sender == TOOL_PROGRAM).count();
    let messages = state.mentioned.len() - labels;
    let mut words = match messages {
        0 => "found: no message".to_string(),
        messages => format!("found: {}", counted(messages, "message")),
    };
    if messages > 0 && (state.noticed.is_empty() || !state.answered.is_empty()) {
        words.push_str(&format!(", {} answered", state.answered.len()));
    }
    if !state.noticed.is_empty() {
        words.push_str(&format!(", {} told", state.noticed.len()));
    }
    if labels > 0 {
        words.push_str(&format!(", {}", counted(labels, "label")));
    }
    if let Some(Err(why)) = &state.store {
        words.push_str(&format!("; store DAMAGED: {why}"));
    }
    words
}

/// A moment of the wall clock in milliseconds, as its time of day: `00:05:00`.
pub(super) fn time_of_day(ms: u64) -> String {
    let seconds = ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// The space between a number and its unit: no line breaks there.
pub(super) const NO_BREAK: char = '\u{a0}';

/// A length of time as people say it: `75 s`, `1.5 s`, `20 min`, `3 min 20 s`.
pub(super) fn length_of_time(length: Duration) -> String {
    let tenths = (length.as_millis() + 50) / 100;
    let (minutes, tenths) = if tenths < 1_200 { (0, tenths) } else { (tenths / 600, tenths % 600) };
    let seconds = match (tenths / 10, tenths % 10) {
        (seconds, 0) => format!("{seconds}{NO_BREAK}s"),
        (seconds, tenth) => format!("{seconds}.{tenth}{NO_BREAK}s"),
    };
    match (minutes, tenths) {
        (0, _) => seconds,
        (minutes, 0) => format!("{minutes}{NO_BREAK}min"),
        (minutes, _) => format!("{minutes}{NO_BREAK}min{NO_BREAK}{seconds}"),
    }
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
        let events = story.events();
        events.iter().filter_map(|event| phrase(event, &Keys::default())).map(|(_, words)| words).collect()
    }

    #[test]
    fn a_phrase_drops_the_mark_and_keeps_the_number() {
        assert_eq!(
            words(Story::new().sent(1).sent_again(1, 2).found_reply(1, "Re [ann#1]: yes")),
            [r#"-> #1 "hello""#, r#"-> #1 again "hello""#, r#"<- history #1 "Re: yes""#]
        );
    }

    #[test]
    fn lengths_of_time_read_as_people_say_them() {
        let all = [0, 1_250, 75_000, 119_900, 120_000, 200_000, 1_200_000]
            .map(|ms| length_of_time(Duration::from_millis(ms)).replace(NO_BREAK, " "));
        assert_eq!(all, ["0 s", "1.3 s", "75 s", "119.9 s", "2 min", "3 min 20 s", "20 min"]);
    }

    #[test]
    fn ordinals() {
        let all: Vec<_> = [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal).into();
        assert_eq!(all, ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th"]);
    }
}
