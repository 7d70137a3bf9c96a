//! The prompt: what the model is shown of a conversation.
//!
//! Every use of a tool is shown with what came of it, right behind it, as the model's API demands: one whose result
//! never reached the transcript is shown as interrupted, so that no crash spoils a conversation for ever
//! (openclaw/openclaw#10310, #118147). Knows transcripts and the wire format of a prompt, nothing else.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde::Serialize;

use crate::sessions::{Role, ToolCall, TranscriptEntry};

/// How many entries of the transcript the model sees; all of its present turn in any case.
const CONTEXT_ENTRIES: usize = 50;
/// What stands in the prompt after a message that was not answered.
const NO_ANSWER: &str = "(This message was not answered.)";
/// What is said of a tool whose use was cut short.
pub(super) const NO_RESULT: &str =
    "error: the service restarted before the tool was done; it is not known what it did";

/// One message of the prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PromptMessage<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<PromptCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

impl PromptMessage<'_> {
    /// Writes it as JSON. A prompt is long, and most of it is text that needs no more than quotation marks.
    pub(super) fn write(&self, body: &mut Vec<u8>) {
        if !self.tool_calls.is_empty() || self.tool_call_id.is_some() {
            return serde_json::to_writer(body, self).expect("a message is plain text");
        }
        body.extend_from_slice(br#"{"role":""#);
        body.extend_from_slice(self.role.as_bytes());
        body.extend_from_slice(br#"","content":"#);
        serde_json::to_writer(&mut *body, self.content).expect("text is JSON");
        body.push(b'}');
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PromptCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: PromptFunction<'a>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PromptFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> From<&'a ToolCall> for PromptCall<'a> {
    fn from(call: &'a ToolCall) -> Self {
        let function = PromptFunction { name: &call.name, arguments: &call.arguments };
        Self { id: &call.id, r#type: "function", function }
    }
}

/// The end of a conversation, as a prompt for a turn that is to answer the runs `asked` together. Whatever else was not
/// answered is marked as such, so that it is not taken for another of them.
pub(super) fn of<'a>(entries: &'a [Rc<TranscriptEntry>], asked: &[&str]) -> Vec<PromptMessage<'a>> {
    let recent = entries.len().saturating_sub(CONTEXT_ENTRIES);
    let turn = entries.iter().position(|entry| asked.contains(&entry.run_id.as_str())).unwrap_or(recent);
    let replies = entries.iter().filter(|entry| entry.role == Role::Assistant);
    let answered: BTreeSet<&str> = replies.flat_map(|entry| entry.run_ids()).collect();
    let mut prompt = Vec::new();
    // Whether what was said before is of a turn that came to no answer.
    let mut is_open = false;
    for (place, entry) in entries.iter().enumerate().skip(recent.min(turn)) {
        let said = |role| PromptMessage { role, content: &entry.text, ..PromptMessage::default() };
        match entry.role {
            Role::User => {
                if is_open {
                    let content = NO_ANSWER;
                    prompt.push(PromptMessage { role: "assistant", content, ..PromptMessage::default() });
                }
                prompt.push(said("user"));
                let run_id = entry.run_id.as_str();
                is_open = !asked.contains(&run_id) && !answered.contains(run_id);
            }
            Role::Assistant => prompt.push(said("assistant")),
            Role::ToolCalls => {
                let tool_calls = entry.calls.iter().map(PromptCall::from).collect();
                prompt.push(PromptMessage { tool_calls, ..said("assistant") });
                prompt.extend(entry.calls.iter().map(|call| PromptMessage {
                    role: "tool",
                    content: result(&entries[place..], &call.id).unwrap_or(NO_RESULT),
                    tool_call_id: Some(&call.id),
                    ..PromptMessage::default()
                }));
            }
            // Shown with its call.
            Role::ToolResult | Role::Notice => {}
        }
    }
    prompt
}

/// The calls of which nothing says what came of them, each with its run.
pub(super) fn unanswered(entries: &[Rc<TranscriptEntry>]) -> Vec<(String, String)> {
    let wanted = entries.iter().enumerate().flat_map(|(place, entry)| {
        entry.calls.iter().map(move |call| (place, call.id.clone(), entry.run_id.clone()))
    });
    let unanswered = wanted.filter(|(place, call, _)| result(&entries[*place..], call).is_none());
    unanswered.map(|(_, call, run_id)| (call, run_id)).collect()
}

/// What came of a call of the first of `entries`. A model may use a name again in its next round.
fn result<'a>(entries: &'a [Rc<TranscriptEntry>], call: &str) -> Option<&'a str> {
    let (wanted, later) = entries.split_first()?;
    let of_run = later.iter().filter(|entry| entry.run_id == wanted.run_id);
    let mut of_round = of_run.take_while(|entry| entry.role != Role::ToolCalls);
    let result = of_round.find(|entry| entry.call_id.as_deref() == Some(call))?;
    Some(&result.text)
}

/// One message of each kind.
#[cfg(test)]
pub(super) fn examples(calls: &[ToolCall]) -> [PromptMessage<'_>; 3] {
    let plain = PromptMessage { role: "user", content: "Hi \"Ann\"\n", ..PromptMessage::default() };
    let wants = PromptMessage {
        role: "assistant",
        tool_calls: calls.iter().map(PromptCall::from).collect(),
        ..PromptMessage::default()
    };
    let result = PromptMessage { role: "tool", tool_call_id: Some("c"), ..plain.clone() };
    [plain, wants, result]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(role: Role, text: &str, run_id: &str) -> Rc<TranscriptEntry> {
        let (text, run_id) = (text.to_string(), run_id.to_string());
        let with = Vec::new();
        Rc::new(TranscriptEntry { role, text, run_id, with, at_ms: 0, calls: Vec::new(), call_id: None })
    }

    fn calls(ids: &[&str], run_id: &str) -> Rc<TranscriptEntry> {
        let call = |id: &&str| {
            let [id, name, arguments] = [*id, "exec", "{}"].map(str::to_string);
            ToolCall { id, name, arguments }
        };
        let calls = ids.iter().map(call).collect();
        Rc::new(TranscriptEntry { calls, ..Rc::unwrap_or_clone(entry(Role::ToolCalls, "", run_id)) })
    }

    fn result(id: &str, text: &str, run_id: &str) -> Rc<TranscriptEntry> {
        let entry = Rc::unwrap_or_clone(entry(Role::ToolResult, text, run_id));
        Rc::new(TranscriptEntry { call_id: Some(id.into()), ..entry })
    }

    fn shown(entries: &[Rc<TranscriptEntry>], run_id: &str) -> Vec<String> {
        let words = |message: PromptMessage| match message.tool_calls.len() {
            0 => format!("{}: {}", message.role, message.content),
            count => format!("{} wants {count}", message.role),
        };
        of(entries, &[run_id]).into_iter().map(words).collect()
    }

    #[test]
    fn results_stand_behind_their_calls_whatever_came_in_between() {
        let entries = [
            entry(Role::User, "hi", "a"),
            calls(&["1", "2"], "a"),
            result("1", "one", "a"),
            entry(Role::Notice, "interrupted", "a"),
            entry(Role::User, "again", "b"),
            calls(&["1"], "b"),
            result("1", "uno", "b"),
            calls(&["1"], "b"),
            result("1", "due", "b"),
        ];
        let cut = format!("tool: {NO_RESULT}");
        let unanswered_words = format!("assistant: {NO_ANSWER}");
        let expected = [
            "user: hi",
            "assistant wants 2",
            "tool: one",
            &cut,
            &unanswered_words,
            "user: again",
            "assistant wants 1",
            "tool: uno",
            "assistant wants 1",
            "tool: due",
        ];
        assert_eq!(shown(&entries, "b"), expected);
        assert_eq!(unanswered(&entries), [("2".to_string(), "a".to_string())]);
    }

    #[test]
    fn the_present_turn_is_shown_from_its_beginning() {
        let mut entries = vec![entry(Role::User, "old", "a"), entry(Role::User, "hi", "b")];
        for round in 0..CONTEXT_ENTRIES {
            entries.extend([calls(&["1"], "b"), result("1", &round.to_string(), "b")]);
        }
        assert_eq!(shown(&entries, "b")[..2], ["user: hi", "assistant wants 1"]);
        assert_eq!(shown(&entries, "b").len(), 1 + 2 * CONTEXT_ENTRIES);
    }
}
