//! Webchat: senders on the gateway's own WebSocket, who get `chat` events while they are connected and read
//! `chat.history` when they come back.

use serde::Serialize;

use crate::messages::inbox::Accepted;
use crate::wire::Peers;

/// What happened to a run, as its conversation's peers see it.
#[derive(Clone, Debug)]
pub(crate) enum ChatState<'a> {
    /// The answer so far.
    Delta(&'a str),
    /// The whole answer.
    Final(&'a str),
    /// Another run answers it: that one's end is its own.
    JoinedTo(&'a str),
    /// The sender stopped it.
    Aborted,
    /// It will not be answered; the text says why and what to do.
    Error(&'a str),
}

#[derive(Serialize)]
struct ChatEvent<'a> {
    r#type: &'static str,
    event: &'static str,
    payload: Payload<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    run_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    joined_run_id: Option<&'a str>,
    session_key: &'a str,
    seq: u64,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<AssistantMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
}

#[derive(Serialize)]
struct AssistantMessage<'a> {
    role: &'static str,
    content: [TextBlock<'a>; 1],
}

#[derive(Serialize)]
struct TextBlock<'a> {
    r#type: &'static str,
    text: &'a str,
}

/// Sends a `chat` event to everybody who follows the conversation.
pub(crate) fn publish(peers: &Peers, session_key: &str, run_id: &str, seq: u64, state: &ChatState<'_>) {
    // Each delta has the whole answer so far.
    let may_be_missed = matches!(state, ChatState::Delta(_));
    peers.publish(session_key, event(session_key, run_id, seq, state), may_be_missed);
}

/// Says how messages of a conversation ended that ended together. A reply is the first one's, and the others are said to
/// be part of it; of a notice each hears. `seq` counts for the first.
pub(crate) fn publish_end(peers: &Peers, messages: &[Accepted], seq: u64, state: &ChatState<'_>) {
    let [lead, others @ ..] = messages else { return };
    publish(peers, &lead.session_key, &lead.run_id, seq, state);
    let joined = match state {
        ChatState::Final(_) => &ChatState::JoinedTo(&lead.run_id),
        _ => state,
    };
    for other in others {
        publish(peers, &other.session_key, &other.run_id, 0, joined);
    }
}

/// A `chat` event, as a frame. Most have a text, and are put together by hand: that takes half as long.
pub(crate) fn event(session_key: &str, run_id: &str, seq: u64, state: &ChatState<'_>) -> String {
    let (name, text) = match state {
        ChatState::Delta(text) => ("delta", text),
        ChatState::Final(text) => ("final", text),
        _ => return serialized(session_key, run_id, seq, state),
    };
    let mut frame = Vec::with_capacity(256 + text.len());
    frame.extend_from_slice(br#"{"type":"event","event":"chat","payload":{"runId":"#);
    quote(run_id, &mut frame);
    frame.extend_from_slice(br#","sessionKey":"#);
    quote(session_key, &mut frame);
    frame.extend_from_slice(br#","seq":"#);
    frame.extend_from_slice(seq.to_string().as_bytes());
    frame.extend_from_slice(br#","state":""#);
    frame.extend_from_slice(name.as_bytes());
    frame.extend_from_slice(br#"","message":{"role":"assistant","content":[{"type":"text","text":"#);
    quote(text, &mut frame);
    frame.extend_from_slice(b"}]}}}");
    String::from_utf8(frame).expect("an event is plain text")
}

fn quote(text: &str, frame: &mut Vec<u8>) {
    serde_json::to_writer(frame, text).expect("text is JSON");
}

fn serialized(session_key: &str, run_id: &str, seq: u64, state: &ChatState<'_>) -> String {
    let message =
        |text| Some(AssistantMessage { role: "assistant", content: [TextBlock { r#type: "text", text }] });
    let joined_run_id = match state {
        ChatState::JoinedTo(lead) => Some(*lead),
        _ => None,
    };
    let (state, message, stop_reason, error_message) = match state {
        ChatState::Delta(text) => ("delta", message(text), None, None),
        ChatState::Final(text) => ("final", message(text), None, None),
        ChatState::JoinedTo(_) => ("final", None, None, None),
        ChatState::Aborted => ("aborted", None, Some("user"), None),
        ChatState::Error(text) => ("error", None, None, Some(*text)),
    };
    let payload =
        Payload { run_id, joined_run_id, session_key, seq, state, message, stop_reason, error_message };
    let event = ChatEvent { r#type: "event", event: "chat", payload };
    serde_json::to_string(&event).expect("an event is plain text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_by_hand_is_what_would_be_serialized() {
        for state in [ChatState::Delta("Hi \"Ann\"\n"), ChatState::Final("\u{1} ä")] {
            let by_hand = event("agent:\"x\"", "run\\1", 12, &state);
            assert_eq!(by_hand, serialized("agent:\"x\"", "run\\1", 12, &state));
        }
    }

    #[test]
    fn a_final_event_reads_as_the_protocol_says() {
        let message = AssistantMessage {
            role: "assistant",
            content: [TextBlock { r#type: "text", text: "Hi \"Ann\"" }],
        };
        let payload = Payload {
            run_id: "r",
            joined_run_id: None,
            session_key: "s",
            seq: 2,
            state: "final",
            message: Some(message),
            stop_reason: None,
            error_message: None,
        };
        let event = ChatEvent { r#type: "event", event: "chat", payload };
        assert_eq!(
            serde_json::to_value(event).expect("is plain text"),
            serde_json::json!({"type": "event", "event": "chat", "payload": {
                "runId": "r", "sessionKey": "s", "seq": 2, "state": "final",
                "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi \"Ann\""}]},
            }}),
        );
    }
}
