//! What a sender has already seen of its conversation, so that reading the history tells only news.
//!
//! The same reply can arrive live and stand in the history: that is one reply. The same reply twice in the
//! history is two. So every text is counted, and a history shows news only where it holds more copies than have
//! been seen before. Knows nothing of connections or of what is still open.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::actors::frames::{string_at, text_of};
use crate::timeline::{Fact, MessageId, Via};

/// The counts of everything seen.
pub(super) struct Transcript {
    name: String,
    replies: BTreeMap<(MessageId, String), u32>,
    notices: BTreeMap<Notice, u32>,
}

/// The run a notice names, and its text.
type Notice = (Option<String>, String);

/// What a history told that was not known before.
pub(super) struct Findings {
    /// The replies, as facts.
    pub(super) replies: Vec<Fact>,
    /// The notices, by the run they name.
    pub(super) notices: Vec<Notice>,
}

impl Transcript {
    /// Nothing seen yet by the sender called `name`.
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), replies: BTreeMap::new(), notices: BTreeMap::new() }
    }

    /// A reply was pushed over the connection: one fact for each message of this sender that it names.
    pub(super) fn reply_arrived(&mut self, text: &str) -> Vec<Fact> {
        let mut facts = Vec::new();
        for message in self.answered_by(text) {
            *self.replies.entry((message.clone(), text.to_owned())).or_default() += 1;
            facts.push(Fact::ReplyReceived { message, text: text.to_owned(), via: Via::Live });
        }
        facts
    }

    /// A notice was pushed over the connection.
    pub(super) fn notice_arrived(&mut self, run_id: Option<&str>, text: &str) {
        *self.notices.entry((run_id.map(str::to_owned), text.to_owned())).or_default() += 1;
    }

    /// The history was read: tells what is new in it.
    pub(super) fn history_arrived(&mut self, payload: &Value) -> Findings {
        let mut findings = Findings { replies: Vec::new(), notices: Vec::new() };
        let mut replies_here = BTreeMap::new();
        let mut notices_here = BTreeMap::new();
        for entry in payload.get("messages").and_then(Value::as_array).into_iter().flatten() {
            let text = text_of(entry);
            match string_at(entry, "role") {
                Some("assistant") => {
                    for message in self.answered_by(&text) {
                        let reply = (message.clone(), text.clone());
                        if is_news(&mut replies_here, &mut self.replies, reply) {
                            let text = text.clone();
                            findings.replies.push(Fact::ReplyReceived { message, text, via: Via::History });
                        }
                    }
                }
                Some("notice") => {
                    let notice = (string_at(entry, "runId").map(str::to_owned), text);
                    if is_news(&mut notices_here, &mut self.notices, notice.clone()) {
                        findings.notices.push(notice);
                    }
                }
                _ => {}
            }
        }
        findings
    }

    /// The messages of this sender that `text` names, each once. A reply to somebody else's message does not
    /// tell that somebody anything.
    fn answered_by(&self, text: &str) -> Vec<MessageId> {
        let mut answered = MessageId::marked_in(text);
        answered.retain(|message| message.sender == self.name);
        answered.sort();
        answered.dedup();
        answered
    }
}

/// Counts one more copy of `what` in the history at hand; news when that makes more than were `seen` before.
fn is_news<T: Ord + Clone>(here: &mut BTreeMap<T, u32>, seen: &mut BTreeMap<T, u32>, what: T) -> bool {
    let copies = here.entry(what.clone()).or_default();
    *copies += 1;
    let seen = seen.entry(what).or_default();
    let news = *copies > *seen;
    *seen = (*seen).max(*copies);
    news
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn history(entries: &[(&str, &str)]) -> Value {
        let entry = |(role, text): &(&str, &str)| json!({ "role": role, "content": [{ "type": "text", "text": text }], "timestamp": 1 });
        json!({ "messages": entries.iter().map(entry).collect::<Vec<_>>() })
    }

    #[test]
    fn a_reply_seen_live_is_no_news_in_the_history() {
        let mut seen = Transcript::new("ann");
        assert_eq!(seen.reply_arrived("Re [ann#1]: yes").len(), 1);
        let once = history(&[("user", "hello [ann#1]"), ("assistant", "Re [ann#1]: yes")]);
        assert!(seen.history_arrived(&once).replies.is_empty());
    }

    #[test]
    fn every_copy_in_the_history_counts_and_counts_once() {
        let mut seen = Transcript::new("ann");
        let twice = history(&[("assistant", "Re [ann#1]: yes"), ("assistant", "Re [ann#1]: yes")]);
        assert_eq!(seen.history_arrived(&twice).replies.len(), 2);
        assert!(seen.history_arrived(&twice).replies.is_empty());
    }

    #[test]
    fn another_answer_to_the_same_message_is_news() {
        let mut seen = Transcript::new("ann");
        seen.reply_arrived("Re [ann#1]: yes");
        assert_eq!(seen.history_arrived(&history(&[("assistant", "Re [ann#1]: no")])).replies.len(), 1);
    }

    #[test]
    fn replies_to_others_tell_this_sender_nothing() {
        let mut seen = Transcript::new("ann");
        assert!(seen.reply_arrived("Re [bob#1]: yes").is_empty());
        assert!(seen.reply_arrived("no mark at all").is_empty());
    }

    #[test]
    fn notices_are_told_once() {
        let mut seen = Transcript::new("ann");
        let restarted = history(&[("notice", "service restarted, please resend")]);
        assert_eq!(seen.history_arrived(&restarted).notices.len(), 1);
        assert!(seen.history_arrived(&restarted).notices.is_empty());
    }

    #[test]
    fn a_malformed_history_is_empty() {
        let mut seen = Transcript::new("ann");
        for payload in
            [json!(null), json!({ "messages": 3 }), json!({ "messages": [null, 1, { "role": 2 }] })]
        {
            let findings = seen.history_arrived(&payload);
            assert!(findings.replies.is_empty() && findings.notices.is_empty());
        }
    }
}
