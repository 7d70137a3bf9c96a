//! The tools that the model wants, and what it is told came of them.
//!
//! The call that starts a subagent bears the subagent's name, so that its result is recognised. As the real API does, the
//! model refuses a prompt in which a call has no result right behind it.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::timeline::{Errand, Fact, MessageId, Recorder, Source, SubagentId, SubagentSeen};

/// How the names of calls begin that start a subagent.
const SPAWN_CALL: &str = "spawn-";
/// How the name of the call begins that has a program run; its message's follows.
const EXEC_CALL: &str = "exec-";

/// A message of the prompt, as far as it is about tools.
#[derive(Deserialize)]
struct Said {
    role: String,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    tool_calls: Vec<Call>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
struct Call {
    id: String,
}

/// What a prompt says of tools.
pub(super) struct Turn {
    /// A call that has no result.
    pub(super) unanswered: Option<String>,
    /// The results that nothing was said to yet, by the names of their calls.
    results: Vec<(String, String)>,
    /// The calls that were made before.
    calls: Vec<String>,
}

impl Turn {
    /// Reads the prompt.
    pub(super) fn of(messages: &[&RawValue]) -> Self {
        let mut turn = Self { unanswered: None, results: Vec::new(), calls: Vec::new() };
        let mut open: Vec<String> = Vec::new();
        for message in messages {
            // Most prompts are without tools, and most messages of the others.
            if !message.get().contains("\"tool_call") && open.is_empty() {
                turn.results.clear();
                continue;
            }
            let Ok(said) = serde_json::from_str::<Said>(message.get()) else { continue };
            match said.tool_call_id {
                Some(call) if said.role == "tool" => {
                    open.retain(|other| *other != call);
                    turn.results.push((call, said.content.unwrap_or_default()));
                }
                _ => {
                    turn.results.clear();
                    turn.unanswered = turn.unanswered.or(open.pop());
                    open = said.tool_calls.into_iter().map(|call| call.id).collect();
                    turn.calls.extend(open.iter().cloned());
                }
            }
        }
        turn.unanswered = turn.unanswered.or(open.pop());
        turn
    }

    /// Whether the prompt gives results back, so that the model goes on where it was.
    pub(super) fn is_follow_up(&self) -> bool {
        !self.results.is_empty()
    }

    /// The last of these messages for which no tool was wanted before: a turn that somebody joined is made again, with all
    /// that was done in it.
    pub(super) fn last_without_a_call<'m>(&self, messages: &'m [MessageId]) -> Option<&'m MessageId> {
        let called: Vec<MessageId> = self.calls.iter().filter_map(|call| message_of(call)).collect();
        messages.iter().rev().find(|message| !called.contains(message))
    }

    /// Records what the model learns of its subagents and its programs.
    pub(super) fn report(&self, recorder: &Recorder) {
        for (call, said) in &self.results {
            if call.starts_with(EXEC_CALL)
                && let Some(message) = message_of(call)
            {
                recorder.record(Source::Provider, Fact::ProgramTold { message, said: said.clone() });
            }
            let Some(subagent) = call.strip_prefix(SPAWN_CALL).and_then(SubagentId::named) else { continue };
            let seen = match said.contains("\"status\":\"accepted\"") {
                true => SubagentSeen::Begun,
                false => SubagentSeen::Refused { why: said.clone() },
            };
            recorder.record(Source::Provider, Fact::Subagent { subagent, seen });
        }
    }
}

/// The message for which a call was made, by its name.
fn message_of(call: &str) -> Option<MessageId> {
    match call.strip_prefix(SPAWN_CALL) {
        Some(subagent) => SubagentId::named(subagent).map(|subagent| subagent.message),
        None => MessageId::marked_in(&format!("[{}]", call.strip_prefix(EXEC_CALL)?)).pop(),
    }
}

/// The pieces in which the model asks for a subagent, as choices of a chunk.
pub(super) fn pieces_of_a_call(subagent: &SubagentId, errand: Errand) -> [String; 3] {
    let index = subagent.number - 1;
    let arguments = json!({"task": errand.task(subagent), "label": format!("part {}", subagent.number)});
    pieces(index, &format!("{SPAWN_CALL}{subagent}"), "sessions_spawn", &arguments.to_string())
}

/// The program that the text of a message has the model run: `build`, of `make it [exec build]`.
pub(super) fn program_in(text: &str) -> Option<&str> {
    Some(text.split_once("[exec ")?.1.split_once(']')?.0)
}

/// The pieces in which the model asks for a program to be run.
pub(super) fn pieces_of_exec(message: &MessageId, program: &str) -> [String; 3] {
    let arguments = json!({"command": [program]}).to_string();
    pieces(0, &format!("{EXEC_CALL}{message}"), "exec", &arguments)
}

/// A call in pieces, as choices of a chunk.
fn pieces(index: u32, id: &str, name: &str, arguments: &str) -> [String; 3] {
    let (beginning, end) = arguments.split_at(arguments.len() / 2);
    let choice = |call: serde_json::Value| {
        json!({"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}).to_string()
    };
    let function = json!({"name": name, "arguments": ""});
    [
        choice(json!({"index": index, "id": id, "type": "function", "function": function})),
        choice(json!({"index": index, "function": {"arguments": beginning}})),
        choice(json!({"index": index, "function": {"arguments": end}})),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn turn(messages: &[Value]) -> Turn {
        let raw: Vec<_> = messages
            .iter()
            .map(|message| serde_json::value::to_raw_value(message).expect("is JSON"))
            .collect();
        Turn::of(&raw.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    #[test]
    fn tools_are_wanted_once_for_a_message_however_often_its_turn_is_made() {
        let user = json!({"role": "user", "content": "hi"});
        let call = json!({"role": "assistant", "content": "", "tool_calls": [{"id": "spawn-dan#1/1"}]});
        let result = json!({"role": "tool", "tool_call_id": "spawn-dan#1/1", "content": "ok"});
        let exec = json!({"role": "assistant", "content": "", "tool_calls": [{"id": "exec-cleo#1"}]});
        let told = json!({"role": "tool", "tool_call_id": "exec-cleo#1", "content": "ok"});
        let messages: Vec<MessageId> = MessageId::marked_in("[cleo#1] [dan#1]");
        let wanting = |said: &[Value]| turn(said).last_without_a_call(&messages).map(ToString::to_string);
        assert_eq!(wanting(std::slice::from_ref(&user)).as_deref(), Some("dan#1"));
        let once = [user.clone(), call.clone(), result.clone(), user.clone()];
        assert_eq!(wanting(&once).as_deref(), Some("cleo#1"));
        assert_eq!(wanting(&[user.clone(), call, result, user.clone(), exec, told, user]), None);
    }

    #[test]
    fn results_are_news_until_something_is_said_to_them() {
        let user = json!({"role": "user", "content": "hi"});
        let call = json!({"role": "assistant", "content": "", "tool_calls": [{"id": "spawn-ann#1/1"}]});
        let result = json!({"role": "tool", "tool_call_id": "spawn-ann#1/1", "content": "ok"});
        let said = json!({"role": "assistant", "content": "done"});
        let whole = [user.clone(), call.clone(), result, said, user.clone()];
        assert!(!turn(&whole[..1]).is_follow_up());
        assert!(turn(&whole[..3]).is_follow_up() && turn(&whole[..3]).unanswered.is_none());
        assert!(!turn(&whole).is_follow_up());
        assert_eq!(turn(&[user.clone(), call.clone()]).unanswered.as_deref(), Some("spawn-ann#1/1"));
        assert_eq!(turn(&[call, user]).unanswered.as_deref(), Some("spawn-ann#1/1"));
    }
}
