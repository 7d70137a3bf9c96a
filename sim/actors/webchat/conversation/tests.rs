//! What a conversation decides, frame by frame.

use serde_json::{Value, json};

use super::*;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A connected conversation, and the facts it tells as `name message` lines.
struct Talk {
    conversation: Conversation,
    now: Duration,
}

impl Talk {
    fn new(kind: SenderKind) -> Self {
        let mut conversation = Conversation::new("ann", "ann", kind, Box::new(|| 0));
        conversation.connected(&Hello::default(), Duration::ZERO);
        Self { conversation, now: Duration::ZERO }
    }

    /// Hands over everything there is to say: the methods asked, and the facts.
    fn flush(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut methods, mut facts) = (Vec::new(), Vec::new());
        while let Some(request) = self.conversation.next_request(self.now) {
            let frame: Value = serde_json::from_str(&request.frame).unwrap();
            methods.push(format!("{} {}", frame["id"].as_str().unwrap(), frame["method"].as_str().unwrap()));
            facts.extend(told(self.conversation.handed_over(request, self.now)));
        }
        (methods, facts)
    }

    fn send(&mut self, text: &str) -> Vec<String> {
        let key = format!("key{}", self.conversation.messages.len() + 1);
        self.conversation.compose(text, key);
        self.flush().1
    }

    fn hear(&mut self, frame: Value) -> Vec<String> {
        let frame = Frame::parse(&frame.to_string()).unwrap();
        told(self.conversation.heard(frame, self.now))
    }

    fn hear_ok(&mut self, id: &str, payload: Value) -> Vec<String> {
        self.hear(json!({ "type": "res", "id": id, "ok": true, "payload": payload }))
    }

    fn hear_chat(&mut self, payload: Value) -> Vec<String> {
        self.hear(json!({ "type": "event", "event": "chat", "payload": payload }))
    }

    fn wait_until(&mut self, seconds: u64) -> Result<(), String> {
        self.now = at(seconds);
        self.conversation.last_tick = self.now;
        self.conversation.look_at_clock(self.now)
    }

    fn reconnect(&mut self) -> Vec<String> {
        let facts = told(self.conversation.disconnected(self.now));
        self.conversation.connected(&Hello::default(), self.now);
        facts
    }
}

fn told(facts: Vec<Fact>) -> Vec<String> {
    let line = |fact: &Fact| {
        let about = fact.message().map(|id| format!(" {id}")).unwrap_or_default();
        format!("{}{about}", fact.name())
    };
    facts.iter().map(line).collect()
}

fn reply(text: &str) -> Value {
    json!({ "runId": "key1", "sessionKey": "agent:main:webchat:direct:ann", "seq": 3, "state": "final",
        "message": { "role": "assistant", "content": [{ "type": "text", "text": text }] } })
}

#[test]
fn a_message_is_sent_accepted_and_answered() {
    let mut talk = Talk::new(SenderKind::Patient);
    assert_eq!(talk.send("hello"), ["message.sent ann#1"]);
    assert_eq!(
        talk.hear_ok("ann-1", json!({ "runId": "key1", "status": "started" })),
        ["message.accepted ann#1"]
    );
    assert_eq!(talk.hear_chat(reply("Re [ann#1]: hi")), ["reply.received ann#1"]);
    assert!(talk.conversation.has_said_everything());
    assert_eq!(talk.hear_chat(reply("Re [ann#1]: hi")), ["reply.received ann#1"], "pushed twice is two");
}

#[test]
fn a_refusal_is_final_for_the_patient_and_a_pause_for_the_retrying() {
    let refusal = json!({ "type": "res", "id": "ann-1", "ok": false, "error": {
        "code": "UNAVAILABLE", "message": "draining", "retryable": true, "retryAfterMs": 5000 } });
    let mut patient = Talk::new(SenderKind::Patient);
    patient.send("hello");
    assert_eq!(patient.hear(refusal.clone()), ["message.refused ann#1"]);
    assert_eq!(patient.conversation.messages[0].standing, Standing::Settled);

    let mut retrying = Talk::new(SenderKind::Retrying);
    retrying.send("hello");
    retrying.hear(refusal);
    retrying.wait_until(4).unwrap();
    assert!(retrying.flush().0.is_empty(), "too early");
    retrying.wait_until(5).unwrap();
    let (methods, facts) = retrying.flush();
    assert_eq!(
        (methods.concat().as_str(), facts.concat().as_str()),
        ("ann-2 chat.send", "message.sent ann#1")
    );
    assert_eq!(retrying.conversation.messages[0].attempts, 2);
}

#[test]
fn a_refusal_that_is_not_retryable_ends_the_retrying_too() {
    let mut talk = Talk::new(SenderKind::Retrying);
    talk.send("hello");
    talk.hear(json!({ "type": "res", "id": "ann-1", "ok": false, "error": { "code": "INVALID_REQUEST" } }));
    assert_eq!(talk.conversation.messages[0].standing, Standing::Settled);
}

#[test]
fn a_break_before_the_acknowledgement_leaves_the_message_in_doubt() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.send("hello");
    assert_eq!(talk.reconnect(), ["message.unacknowledged ann#1"]);
    assert_eq!(talk.flush().0, ["ann-2 chat.history"]);
    let found = json!({ "messages": [{ "role": "assistant", "content": "Re [ann#1]: hi" }] });
    assert_eq!(talk.hear_ok("ann-2", found), ["reply.received ann#1"]);
    assert_eq!(talk.hear_ok("ann-1", json!({})), [""; 0], "a response to a request of another connection");
}

#[test]
fn the_retrying_sender_resends_with_the_same_key_unless_the_history_answers_first() {
    let mut talk = Talk::new(SenderKind::Retrying);
    talk.send("hello");
    talk.reconnect();
    talk.flush();
    let found = json!({ "messages": [{ "role": "assistant", "content": "Re [ann#1]: hi" }] });
    talk.hear_ok("ann-2", found);
    talk.wait_until(2).unwrap();
    assert!(talk.flush().0.is_empty());

    talk.send("again");
    talk.reconnect();
    talk.wait_until(4).unwrap();
    talk.conversation.next_request(talk.now).expect("the history");
    let resent = talk.conversation.next_request(talk.now).expect("the message");
    assert!(resent.frame.contains("key2") && resent.frame.contains("again [ann#2]"));
}

/// A retrying sender that has handed its message over for the second time.
fn asks_again() -> Talk {
    let mut talk = Talk::new(SenderKind::Retrying);
    talk.send("hello");
    talk.reconnect();
    talk.wait_until(2).unwrap();
    // The history is asked for first.
    assert_eq!(talk.flush().0, ["ann-2 chat.history", "ann-3 chat.send"]);
    talk
}

#[test]
fn the_answer_to_a_retry_says_what_the_message_came_to() {
    let content = json!({ "role": "assistant", "content": [{ "type": "text", "text": "Re [ann#1]: hi" }] });
    let answered = json!({ "status": "ok", "outcome": "answered", "message": content });
    let mut talk = asks_again();
    assert_eq!(talk.hear_ok("ann-3", answered), ["message.over ann#1", "reply.received ann#1"]);
    assert!(talk.conversation.has_said_everything());
    let held = json!({ "messages": [{ "role": "assistant", "runId": "key1", "content": "Re [ann#1]: hi" }] });
    assert_eq!(talk.hear_ok("ann-2", held), [""; 0], "known");

    let told = || json!({ "status": "ok", "outcome": "told", "errorMessage": "sorry" });
    let mut talk = asks_again();
    assert_eq!(talk.hear_ok("ann-3", told()), ["message.over ann#1", "notice.received ann#1"]);
    let held = || json!({ "messages": [{ "role": "notice", "runId": "key1", "content": "sorry" }] });
    assert_eq!(talk.hear_ok("ann-2", held()), [""; 0], "known");
    let mut talk = asks_again();
    assert_eq!(talk.hear_ok("ann-2", held()), ["notice.received ann#1"]);
    assert_eq!(talk.hear_ok("ann-3", told()), ["message.over ann#1"], "known by then");

    let mut talk = asks_again();
    let cancelled = json!({ "status": "ok", "outcome": "cancelled" });
    assert_eq!(talk.hear_ok("ann-3", cancelled), ["message.over ann#1", "notice.received ann#1"]);
}

#[test]
fn what_the_answer_to_a_retry_does_not_say_is_looked_up() {
    let mut talk = asks_again();
    let silent = json!({ "status": "ok", "outcome": "told" });
    assert_eq!(talk.hear_ok("ann-3", silent), ["message.over ann#1"]);
    assert_eq!(talk.flush().0, ["ann-4 chat.history"]);
    assert_eq!(talk.conversation.messages[0].standing, Standing::Open(at(2)));
}

#[test]
fn retries_end_after_twenty_attempts() {
    let mut talk = Talk::new(SenderKind::Retrying);
    talk.send("hello");
    for round in 1..40 {
        talk.reconnect();
        talk.now = at(round * 60);
        talk.flush();
    }
    assert_eq!(talk.conversation.messages[0].attempts, 20);
    assert!(matches!(talk.conversation.messages[0].standing, Standing::Open(_)));
}

#[test]
fn a_message_that_stays_open_is_looked_up_every_minute() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.send("hello");
    talk.hear_ok("ann-1", json!({ "status": "started" }));
    talk.wait_until(59).unwrap();
    assert!(talk.flush().0.is_empty());
    talk.wait_until(60).unwrap();
    assert_eq!(talk.flush().0, ["ann-2 chat.history"]);
    talk.hear_ok("ann-2", json!({ "messages": [] }));
    talk.wait_until(119).unwrap();
    assert!(talk.flush().0.is_empty());
    talk.wait_until(120).unwrap();
    assert_eq!(talk.flush().0, ["ann-3 chat.history"]);
    let notice = json!({ "messages": [{ "role": "notice", "content": "resend", "runId": "key1" }] });
    assert_eq!(talk.hear_ok("ann-3", notice), ["notice.received ann#1"]);
    talk.wait_until(300).unwrap();
    assert!(talk.flush().0.is_empty(), "nothing is open any more");
}

#[test]
fn errors_are_notices_about_their_run_or_about_everything() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.send("hello");
    assert_eq!(
        talk.hear_chat(json!({ "runId": "key1", "state": "error", "errorMessage": "no" })),
        ["notice.received ann#1"]
    );
    assert_eq!(talk.hear_chat(json!({ "runId": "other", "state": "error" })), ["notice.received"]);
    assert_eq!(talk.hear_chat(json!({ "runId": "key1", "state": "aborted" })), ["notice.received ann#1"]);
}

#[test]
fn a_stop_that_was_asked_for_is_a_cancellation_told_once() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.send("hello");
    talk.hear_ok("ann-1", json!({ "status": "started" }));
    talk.conversation.stop();
    assert_eq!(talk.flush().0, ["ann-2 chat.abort"]);
    assert_eq!(talk.hear_chat(json!({ "runId": "key1", "state": "aborted" })), ["message.cancelled ann#1"]);
    assert_eq!(talk.hear_ok("ann-2", json!({ "ok": true, "aborted": true, "runIds": ["key1"] })), [""; 0]);
}

#[test]
fn an_abort_that_nobody_confirmed_is_asked_again() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.send("hello");
    talk.hear_ok("ann-1", json!({ "status": "started" }));
    talk.conversation.stop();
    talk.flush();
    talk.reconnect();
    assert_eq!(talk.flush().0, ["ann-3 chat.history", "ann-4 chat.abort"]);
    let confirmed = json!({ "ok": true, "aborted": true, "runIds": ["key1", "stranger"] });
    assert_eq!(talk.hear_ok("ann-4", confirmed), ["message.cancelled ann#1"]);
}

#[test]
fn what_another_stopped_meanwhile_is_found_in_the_history() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.send("hello");
    talk.hear_ok("ann-1", json!({ "status": "started" }));
    talk.reconnect();
    assert_eq!(talk.flush().0, ["ann-2 chat.history"]);
    let history = json!({ "messages": [], "stopped": ["stranger", "key1"] });
    assert_eq!(talk.hear_ok("ann-2", history), ["notice.received ann#1"]);
    talk.reconnect();
    assert_eq!(talk.flush().0, ["ann-3 chat.history"]);
    assert_eq!(talk.hear_ok("ann-3", json!({ "messages": [], "stopped": ["key1"] })), [""; 0]);
}

#[test]
fn silence_breaks_the_connection() {
    let mut talk = Talk::new(SenderKind::Patient);
    assert!(talk.conversation.look_at_clock(at(64)).is_ok());
    assert_eq!(talk.conversation.look_at_clock(at(65)), Err("no tick for 65 s".into()));
    talk.send("hello");
    assert_eq!(talk.wait_until(30), Err("no response within 30 s".into()));
}

#[test]
fn who_never_reads_never_learns() {
    let mut talk = Talk::new(SenderKind::NeverReads);
    assert_eq!(talk.send("hello"), ["message.sent ann#1", "message.unacknowledged ann#1"]);
    assert_eq!(talk.conversation.deadline(), None);
    assert_eq!(talk.reconnect(), [""; 0]);
    assert!(talk.flush().0.is_empty(), "not even the history");
}

#[test]
fn conversations_of_others_and_nonsense_mean_nothing() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.send("hello");
    let mut foreign = reply("Re [ann#1]: hi");
    foreign["sessionKey"] = json!("agent:main:webchat:direct:bob");
    assert_eq!(talk.hear_chat(foreign), [""; 0]);
    assert_eq!(talk.hear_chat(json!("boo")), [""; 0]);
    assert_eq!(talk.hear_chat(json!({ "state": "final", "message": 7 })), [""; 0]);
    assert_eq!(talk.hear_chat(json!({ "state": "delta", "message": { "content": "[ann#1]" } })), [""; 0]);
    assert_eq!(talk.hear_ok("nobody-9", json!({ "runIds": 3 })), [""; 0]);
}

#[test]
fn a_request_the_connection_did_not_take_is_not_sent() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.conversation.compose("hello", "key1".into());
    let request = talk.conversation.next_request(talk.now).unwrap();
    talk.conversation.take_back(request);
    assert_eq!(talk.reconnect(), [""; 0]);
    let (methods, facts) = talk.flush();
    assert_eq!(methods, ["ann-2 chat.history", "ann-3 chat.send"]);
    assert_eq!(facts, ["message.sent ann#1"]);
}

/// Every value that stands somewhere in `value`, by its JSON pointer.
fn pointers(value: &Value, prefix: &str, found: &mut Vec<String>) {
    found.push(prefix.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, inner)| pointers(inner, &format!("{prefix}/{name}"), found));
        }
        Value::Array(items) => {
            (0..).zip(items).for_each(|(index, inner): (u32, _)| {
                pointers(inner, &format!("{prefix}/{index}"), found);
            });
        }
        _ => {}
    }
}

#[test]
fn whatever_stands_where_something_else_should_harms_nobody() {
    let parts = json!([{ "type": "text", "text": "Re [ann#1]" }]);
    let entries = json!([{ "role": "assistant", "content": parts }, { "role": "notice", "content": "x", "runId": "key1" }]);
    let result = json!({ "status": "ok", "runIds": ["key1"], "messages": entries });
    let frames = [
        json!({ "type": "event", "event": "chat", "payload": reply("Re [ann#1]") }),
        json!({ "type": "event", "event": "chat",
            "payload": { "state": "aborted", "runId": "key1", "stopReason": "x" } }),
        json!({ "type": "res", "id": "ann-1", "ok": true, "payload": result }),
        json!({ "type": "res", "id": "ann-2", "ok": true, "payload": result }),
        json!({ "type": "res", "id": "ann-1", "ok": false,
            "error": { "code": "X", "message": "y", "retryable": true, "retryAfterMs": 1 } }),
    ];
    let others =
        [json!(null), json!(true), json!(u64::MAX), json!(-1.5), json!(""), json!([[]]), json!({ "a": {} })];
    let mut tried = 0;
    for frame in &frames {
        let mut places = Vec::new();
        pointers(frame, "", &mut places);
        for (place, other) in places.iter().flat_map(|place| others.iter().map(move |other| (place, other))) {
            let mut frame = frame.clone();
            *frame.pointer_mut(place).expect("a place of this frame") = other.clone();
            let mut talk = Talk::new(SenderKind::Retrying);
            talk.send("hello");
            talk.conversation.stop();
            talk.flush();
            if let Some(frame) = Frame::parse(&frame.to_string()) {
                talk.conversation.heard(frame, talk.now);
            }
            talk.now = at(40);
            let _ = (talk.conversation.deadline(), talk.conversation.look_at_clock(talk.now));
            talk.reconnect();
            talk.flush();
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn what_came_of_a_subagent_settles_no_message_and_is_heard_once() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.send("go [spawn 1 5ms]");
    let text = "Re [ann#1/1]: yes";
    let said = json!({ "runId": "subagent:a:announce", "state": "final", "message": { "content": text } });
    assert_eq!(talk.hear_chat(said), ["subagent.heard"]);
    let notice = "Your message started a background task, \"a part of it [ann#1/2]\"";
    let said = json!({ "runId": "subagent:b:announce", "state": "error", "errorMessage": notice });
    assert_eq!(talk.hear_chat(said), ["subagent.heard"]);
    assert_eq!(talk.conversation.messages[0].standing, Standing::InFlight);
    talk.reconnect();
    assert_eq!(talk.flush().0, ["ann-2 chat.history"]);
    let entry = |run: &str, role: &str, text: &str| json!({ "runId": run, "role": role, "content": [{ "type": "text", "text": text }] });
    let known =
        [entry("subagent:a:announce", "assistant", text), entry("subagent:b:announce", "notice", notice)];
    assert_eq!(talk.hear_ok("ann-2", json!({ "messages": known })), [""; 0]);
}

#[test]
fn who_stops_everything_learns_that_its_subagents_stopped() {
    let mut talk = Talk::new(SenderKind::Patient);
    talk.send("go [spawn 1 5ms]");
    talk.hear_chat(reply("Re [ann#1]: yes"));
    talk.conversation.stop();
    assert_eq!(talk.flush(), (vec!["ann-2 chat.abort".into()], vec!["subagents.stop-requested".into()]));
    let confirmed = json!({ "ok": true, "aborted": true, "runIds": ["subagent:a:1"] });
    assert_eq!(talk.hear_ok("ann-2", confirmed), ["subagents.cancelled"]);
}
