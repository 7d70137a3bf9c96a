//! What a bot's text tells the user who reads it.
//!
//! Pure: a text and whose conversation it was sent to. Replies are what the model says, notices begin with a few known
//! words, and both carry the marks of the messages that they are about. A text that is none of these tells nothing.

use crate::actors::{REPLY_PREFIX, SORRY_PREFIX};
use crate::timeline::{self, Fact, MessageId, SubagentId, Via};

/// How a notice begins.
const NOTICES: [&str; 2] = ["Your message", "The service"];
/// What stands in a notice that a message is kept, and which settles nothing.
const WAITS: &str = " waits: ";
/// How the answer to `/stop` begins that names what was stopped.
const STOPPED: &str = "Stopped";

/// What `sender` learns from `text`, which is the `send`th that platforms took. `answered` is the message that the text
/// was sent as an answer to, if the bot says so.
pub(super) fn facts(sender: &str, text: &str, answered: Option<MessageId>, send: u32) -> Vec<Fact> {
    let via = Via::Platform { send };
    let is_notice = NOTICES.into_iter().any(|notice| text.starts_with(notice));
    // What came of a subagent is no answer to the message that wanted it, although it is sent as one.
    if (is_notice || text.starts_with(REPLY_PREFIX) || text.starts_with(SORRY_PREFIX))
        && let Some(heard) = timeline::heard(sender, text, is_notice, via)
    {
        return vec![heard];
    }
    let mut about = MessageId::marked_in(text);
    about.retain(|message| message.sender == sender);
    if about.is_empty() {
        about.extend(answered);
    }
    about.sort();
    about.dedup();
    let text = text.to_owned();
    let begins = |with: &str| text.starts_with(with);
    if begins(STOPPED) {
        let mut subagents = SubagentId::marked_in(&text);
        subagents.retain(|subagent| subagent.message.sender == sender);
        let runs = u32::try_from(subagents.len()).unwrap_or(u32::MAX);
        let stopped = (runs > 0).then_some(Fact::SubagentsCancelled { runs });
        return about.into_iter().map(|message| Fact::MessageCancelled { message }).chain(stopped).collect();
    }
    if begins(REPLY_PREFIX) {
        let reply = |message| Fact::ReplyReceived { message, text: text.clone(), via };
        return about.into_iter().map(reply).collect();
    }
    if timeline::is_about_a_restart(&text) {
        return vec![Fact::NoticeReceived { message: None, text, via }];
    }
    if !is_notice || text.contains(WAITS) {
        return Vec::new();
    }
    let notice = |message| Fact::NoticeReceived { message: Some(message), text: text.clone(), via };
    match about.is_empty() && begins(NOTICES[0]) {
        true => vec![Fact::NoticeReceived { message: None, text, via }],
        false => about.into_iter().map(notice).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let name = |fact: Fact| {
            let about = fact.message().map_or("-".into(), ToString::to_string);
            format!("{} {about}", fact.name())
        };
        let found: Vec<_> = facts("ann", text, None, 1).into_iter().map(name).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_text_says_by_its_beginning_what_it_is_and_by_its_marks_what_about() {
        check("Re [ann#1]: the harbour", &["reply.received ann#1"]);
        check("Re [ann#2] [ann#1]: the harbour", &["reply.received ann#1", "reply.received ann#2"]);
        check("Your message \"hello [ann#1]\" was not answered", &["notice.received ann#1"]);
        check(
            "Your messages \"[ann#1]\" and \"[ann#2]\"",
            &["notice.received ann#1", "notice.received ann#2"],
        );
        check("Your message was not answered", &["notice.received -"]);
        check("Re [ann#1/2]: the harbour", &["subagent.heard -"]);
        check("Sorry [ann#1/2]: the harbour", &["subagent.heard -"]);
        check("The service restarted before it answered [ann#1]", &["notice.received ann#1"]);
        check("Stopped: \"hello [ann#1]\"", &["message.cancelled ann#1"]);
        check("Your message \"hello [ann#1]\" waits: the disk is full. It is kept", &[]);
        check(
            "Stopped: \"[ann#1]\", the task \"[ann#1/1]\"",
            &["message.cancelled ann#1", "subagents.cancelled -"],
        );
        check("Nothing was running.", &[]);
        check("The service is back.", &[]);
        check("restart r1: done, the gateway is up again", &["notice.received -"]);
        check("Re [bob#1]: sent to the wrong one", &[]);
    }

    #[test]
    fn an_answer_without_marks_is_about_what_it_answers() {
        let id = MessageId { sender: "ann".into(), number: 4 };
        let found = facts("ann", "Your message \"looooo...\" was not answered", Some(id.clone()), 1);
        assert_eq!(found.iter().filter_map(Fact::message).collect::<Vec<_>>(), [&id]);
    }
}
