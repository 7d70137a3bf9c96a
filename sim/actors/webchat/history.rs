//! What a sender has already seen of its conversation, so that reading the history tells only news.
//!
//! The same reply can arrive live and stand in the history: that is one reply. The same reply twice in the
//! history is two. So every text is counted, and a history tells something only where it holds more copies than
//! have been seen before. Knows nothing of connections or of what is still open.

use std::collections::BTreeMap;

use super::heard::{Entry, Heard};
use crate::timeline::{self, Fact, MessageId, SUBAGENT_RUN, Via};

/// The counts of everything seen.
pub(super) struct Transcript {
    name: String,
    replies: BTreeMap<(MessageId, String), u32>,
    notices: BTreeMap<Notice, u32>,
    /// What was heard of subagents, and whether it was a notice.
    subagents: BTreeMap<(bool, String), u32>,
}

/// The run a notice names, and its text.
type Notice = (Option<String>, String);

/// What a history told that was not known before.
pub(super) struct Findings {
    /// The replies, as facts.
    pub(super) replies: Vec<Fact>,
    /// The notices, by the run they name; one that names several is told for each.
    pub(super) notices: Vec<Notice>,
    /// What was heard of subagents, as facts.
    pub(super) subagents: Vec<Fact>,
}

impl Transcript {
    /// Nothing seen yet by the sender called `name`.
    pub(super) fn new(name: &str) -> Self {
        let (replies, notices, subagents) = Default::default();
        Self { name: name.to_owned(), replies, notices, subagents }
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

    /// The answer to a message that was handed over once more says this reply: one fact for each message of this sender
    /// that it names and that is not known to be answered by it. `None`: it names none.
    pub(super) fn reply_repeated(&mut self, text: &str) -> Option<Vec<Fact>> {
        let answered = self.answered_by(text);
        let is_told = !answered.is_empty();
        let mut facts = Vec::new();
        for message in answered {
            let seen = self.replies.entry((message.clone(), text.to_owned())).or_default();
            if *seen == 0 {
                *seen = 1;
                facts.push(Fact::ReplyReceived { message, text: text.to_owned(), via: Via::Repeated });
            }
        }
        is_told.then_some(facts)
    }

    /// Whether a notice is news that such an answer says about its run.
    pub(super) fn notice_repeated(&self, run_id: &str, text: &str) -> bool {
        !self.notices.contains_key(&(Some(run_id.to_owned()), text.to_owned()))
    }

    /// What came of a subagent was pushed over the connection.
    pub(super) fn subagent_heard(&mut self, text: &str, notice: bool) -> Vec<Fact> {
        *self.subagents.entry((notice, text.to_owned())).or_default() += 1;
        timeline::heard(&self.name, text, notice, Via::Live).into_iter().collect()
    }

    /// A notice was pushed over the connection.
    pub(super) fn notice_arrived(&mut self, run_id: Option<&str>, text: &str) {
        *self.notices.entry((run_id.map(str::to_owned), text.to_owned())).or_default() += 1;
    }

    /// The history was read: tells what is new in it. A reply that stands there more often than it was ever seen
    /// is told with all its copies, so that two copies in one reading can be recognised as such.
    pub(super) fn history_arrived(&mut self, heard: &Heard) -> Findings {
        let mut replies = Vec::new();
        let (mut notices, mut subagents) = (Vec::new(), Vec::new());
        for entry in heard.messages.items() {
            let text = entry.text();
            let is_subagents = entry.run_id.text().is_some_and(|run_id| run_id.starts_with(SUBAGENT_RUN));
            match entry.role.text() {
                Some(role @ ("assistant" | "notice")) if is_subagents => {
                    subagents.push((role == "notice", text.to_owned()));
                }
                Some("assistant") => {
                    let answered = self.answered_by(text).into_iter();
                    replies.extend(answered.map(|message| (message, text.to_owned())));
                }
                Some("notice") => {
                    notices.extend(runs_of(entry).into_iter().map(|run| (run, text.to_owned())));
                }
                _ => {}
            }
        }
        let more_replies = count_more(&replies, &mut self.replies);
        let mut more_notices = count_more(&notices, &mut self.notices);
        replies.retain(|reply| more_replies.contains_key(reply));
        notices.retain(|notice| more_notices.get_mut(notice).is_some_and(take_one));
        let more_of_subagents = count_more(&subagents, &mut self.subagents);
        subagents.retain(|heard| more_of_subagents.contains_key(heard));
        let heard = |(notice, text): (bool, String)| timeline::heard(&self.name, &text, notice, Via::History);
        let subagents = subagents.into_iter().filter_map(heard).collect();
        let told = |(message, text)| Fact::ReplyReceived { message, text, via: Via::History };
        Findings { replies: replies.into_iter().map(told).collect(), notices, subagents }
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

/// Of what there are more copies `here` than were ever `seen`, and how many more. All of them are seen now.
fn count_more<T: Ord + Clone>(here: &[T], seen: &mut BTreeMap<T, u32>) -> BTreeMap<T, u32> {
    let mut copies: BTreeMap<T, u32> = BTreeMap::new();
    for what in here {
        *copies.entry(what.clone()).or_insert(0) += 1;
    }
    copies.retain(|what, copies| {
        let seen = seen.entry(what.clone()).or_default();
        let more = copies.saturating_sub(*seen);
        *seen += more;
        *copies = more;
        more > 0
    });
    copies
}

/// The runs that an entry of the history is about: several, or one, or none in particular.
fn runs_of(entry: &Entry) -> Vec<Option<String>> {
    match &entry.run_ids.0 {
        Some(runs) => runs.iter().map(|run| run.0.clone()).collect(),
        None => vec![entry.run_id.0.clone()],
    }
}

fn take_one(left: &mut u32) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::actors::lenient::Lenient;

    fn history(entries: &[(&str, &str)]) -> Heard {
        let entry = |(role, text): &(&str, &str)| json!({ "role": role, "content": [{ "type": "text", "text": text }], "timestamp": 1 });
        heard(json!({ "messages": entries.iter().map(entry).collect::<Vec<_>>() }))
    }

    fn heard(payload: Value) -> Heard {
        let heard: Lenient<Heard> = serde_json::from_value(payload).expect("is read whatever it is");
        heard.0.unwrap_or_default()
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
    fn a_second_copy_of_a_known_reply_is_told_with_the_first() {
        let mut seen = Transcript::new("ann");
        seen.reply_arrived("Re [ann#1]: yes");
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
        let again = history(&[("notice", "service restarted, please resend"); 2]);
        assert_eq!(seen.history_arrived(&again).notices.len(), 1);
    }

    #[test]
    fn a_malformed_history_is_empty() {
        let mut seen = Transcript::new("ann");
        for payload in
            [json!(null), json!({ "messages": 3 }), json!({ "messages": [null, 1, { "role": 2 }] })]
        {
            let findings = seen.history_arrived(&heard(payload));
            assert!(findings.replies.is_empty() && findings.notices.is_empty());
        }
    }
}
