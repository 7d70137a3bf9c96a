//! Acknowledged state never goes back: the store always parses, and nothing that was acknowledged disappears.
//!
//! Judged whenever an outside observer looks into the state directory: after each death and at the end. What the
//! gateway acknowledged before the look must be mentioned there, a reply that a sender has must be recorded, what a
//! command-line tool said it had done must be found, and so must every session that an earlier look found; except, after
//! a power loss, those of a store that a killed process had not come to make durable. A store that somebody spoils is the
//! gateway's to put in order, when it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway::env::FsOp;

use super::{Evidence, Oracle, Violation, breach, file_name};
use crate::timeline::words::moment;
use crate::timeline::{
    DeathCause, Event, Fact, Fate, MessageId, STORE_FILE, SUBAGENT_RUN, Source, StateSeen,
};

/// How long a message has to be known that its sender stopped: who sends it again may not get it answered.
const MEMORY: Duration = Duration::from_secs(3_600);

/// The store always parses, and nothing that was acknowledged disappears from the state directory.
pub(super) struct StateNeverGoesBack;

impl Oracle for StateNeverGoesBack {
    fn invariant(&self) -> &'static str {
        "state-never-goes-back"
    }

    fn sentence(&self) -> &'static str {
        "The store always parses, and nothing that was acknowledged disappears from the state directory."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        let mut watch = Watch::default();
        let mut found = Vec::new();
        for event in run.events {
            match &event.fact {
                Fact::MessageAccepted { message } => {
                    watch.accepted.insert(message.clone());
                }
                Fact::ReplyReceived { message, .. } => {
                    watch.replied.insert(message.clone());
                }
                // What was spoilt meanwhile may have been what it wrote.
                Fact::ToolFinished { message: Some(_), done: true, .. }
                    if run.mishaps.store_was_spoilt(began(run, event), event.at) => {}
                Fact::ToolFinished { message: Some(mark), done: true, .. } => {
                    watch.done_by_tools.insert(mark.clone(), event.at);
                }
                Fact::Disk { op, path, error: None, .. } => watch.operate(*op, path, event.at),
                Fact::PowerLost { .. } => watch.power_lost(),
                Fact::ProcessExited { program, cause, .. } if *program == run.terms.program => {
                    watch.last_death = Some((event.at, *cause));
                }
                Fact::State(state) => {
                    let mut losses = watch.look(state, event.at);
                    losses.retain(|loss| !is_forgotten(run, loss, event.at));
                    if run.mishaps.store_is_spoilt(event.at) {
                        losses.retain(|loss| !watch.excuses(loss));
                    }
                    found.extend(losses.into_iter().map(|loss| self.violation(run, &watch, event.at, loss)));
                }
                _ => {}
            }
        }
        found
    }
}

/// Whether a loss is a message that its sender stopped, and so long ago that nothing of it need be known.
fn is_forgotten(run: &Evidence<'_>, loss: &Loss, at: Duration) -> bool {
    let Loss::Message(id) = loss else { return false };
    let entry = run.ledger.entry(id).filter(|entry| entry.fate == Fate::Cancelled);
    let settled_at = entry.and_then(|entry| entry.settled_at);
    settled_at.is_some_and(|settled| at >= settled + MEMORY)
}

/// When the process began from which an event comes.
fn began(run: &Evidence<'_>, event: &Event) -> Duration {
    let Source::Process(of) = event.source else { return event.at };
    let mut starts = run.events.iter().rev().filter(|start| {
        start.at <= event.at && matches!(start.fact, Fact::ProcessStarted { pid, .. } if pid == of)
    });
    starts.next().map_or(event.at, |start| start.at)
}

/// What must still be there, and what has been reported as lost already.
#[derive(Default)]
struct Watch {
    accepted: BTreeSet<MessageId>,
    replied: BTreeSet<MessageId>,
    /// What tools said they had done, by the mark that they left, and when they said so.
    done_by_tools: BTreeMap<MessageId, Duration>,
    /// The sessions that were in the store, and when they were first and last seen there.
    sessions: BTreeMap<String, (Duration, Duration)>,
    /// When the store was first changed in a way that a power loss may undo.
    unsynced_since: Option<Duration>,
    /// The directory that the store is in.
    store_dir: String,
    /// When the store was first seen.
    store_seen: Option<Duration>,
    reported: BTreeSet<Loss>,
    last_death: Option<(Duration, DeathCause)>,
}

/// What can be wrong with a state directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    Unparsable(String),
    StoreGone,
    Message(MessageId),
    Reply(MessageId),
    Session(String),
    Tool(MessageId),
}

impl Watch {
    /// Follows what becomes of the store on the disk.
    fn operate(&mut self, op: FsOp, path: &str, at: Duration) {
        match op {
            FsOp::Write | FsOp::Rename if file_name(path) == STORE_FILE => {
                self.unsynced_since.get_or_insert(at);
                self.store_dir =
                    path.strip_suffix(STORE_FILE).unwrap_or_default().trim_end_matches('/').to_string();
            }
            FsOp::SyncDir if path == self.store_dir => self.unsynced_since = None,
            _ => {}
        }
    }

    /// What was seen of the store only after it was last made durable may be gone.
    fn power_lost(&mut self) {
        if let Some(unsynced) = self.unsynced_since.take() {
            self.sessions.retain(|_, (first, _)| *first < unsynced);
            self.store_seen = self.store_seen.filter(|first| *first < unsynced);
        }
    }

    /// What this look finds lost that no earlier look had found.
    fn look(&mut self, state: &StateSeen, at: Duration) -> Vec<Loss> {
        let mut losses = Vec::new();
        match &state.store {
            Some(Err(why)) => losses.push(Loss::Unparsable(why.clone())),
            None if self.store_seen.is_some() => losses.push(Loss::StoreGone),
            _ => {}
        }
        if state.store.is_some() {
            self.store_seen.get_or_insert(at);
        }
        losses.extend(self.accepted.difference(&state.mentioned).cloned().map(Loss::Message));
        losses.extend(self.replied.difference(&state.answered).cloned().map(Loss::Reply));
        // What a store holds that does not parse, or is gone, nobody can tell.
        if state.store == Some(Ok(())) {
            let gone = self.sessions.keys().filter(|key| !state.sessions.contains(*key));
            losses.extend(gone.cloned().map(Loss::Session));
            let tools = self.done_by_tools.keys().filter(|mark| !state.mentioned.contains(mark));
            losses.extend(tools.cloned().map(Loss::Tool));
        }
        // A subagent's is deleted some time after its result was announced; whether it was is looked at elsewhere.
        for key in state.sessions.iter().filter(|key| !key.starts_with(SUBAGENT_RUN)) {
            self.sessions.entry(key.clone()).or_insert((at, at)).1 = at;
        }
        losses.retain(|loss| self.reported.insert(loss.clone()));
        losses
    }

    /// Whether a spoilt store explains a loss, which then counts when it is still there afterwards.
    fn excuses(&mut self, loss: &Loss) -> bool {
        let of_the_store = matches!(loss, Loss::Unparsable(_) | Loss::StoreGone | Loss::Session(_));
        of_the_store && self.reported.remove(loss)
    }
}

impl StateNeverGoesBack {
    fn violation(&self, run: &Evidence<'_>, watch: &Watch, at: Duration, loss: Loss) -> Violation {
        let (message, about) = match loss {
            Loss::Unparsable(why) => ("The session store does not parse".to_string(), Err(why)),
            Loss::StoreGone => {
                let gone = "There is no session store, and there was one before".to_string();
                ("The session store is gone".to_string(), Err(gone))
            }
            Loss::Message(id) => (format!("{id} was acknowledged and is not in the state directory"), Ok(id)),
            Loss::Reply(id) => (format!("The reply to {id} was delivered and is not recorded"), Ok(id)),
            Loss::Session(key) => {
                let (_, last) = watch.sessions.get(&key).copied().unwrap_or_default();
                let why = format!("It was there at {}", moment(last));
                (format!("The session {key} is gone from the store"), Err(why))
            }
            Loss::Tool(mark) => {
                let said = watch.done_by_tools.get(&mark).copied().unwrap_or_default();
                let why = format!(
                    "The tool that was to write {} said at {} that it had",
                    mark.mark(),
                    moment(said)
                );
                (format!("What {mark} wrote is not in the state directory"), Err(why))
            }
        };
        let mut sentences = Vec::new();
        let entry = about.as_ref().ok().and_then(|id| run.ledger.entry(id));
        match &about {
            Err(why) => sentences.push(format!("{}.", why.trim_end_matches('.'))),
            Ok(id) => {
                let acknowledged = entry.and_then(|entry| entry.accepted_at).map(|at| {
                    let at = moment(at);
                    (format!("The gateway acknowledged {id} at {at}."), format!("acknowledged it at {at}"))
                });
                // The ledger's sentence may say that already.
                let why = entry.map(|entry| entry.why()).unwrap_or_default();
                sentences.extend(
                    acknowledged.filter(|(_, said)| !why.contains(said.as_str())).map(|(new, _)| new),
                );
                sentences.extend(Some(why).filter(|why| !why.is_empty()));
            }
        }
        if let Some((died, cause)) = watch.last_death {
            sentences.push(format!("The gateway had ended at {} ({cause}).", moment(died)));
        }
        sentences.push(format!("The state directory was looked at from outside at {}.", moment(at)));
        let mut violation = breach(self, message, sentences.join(" "));
        violation.last_seen = entry.map(|entry| entry.last_seen());
        violation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::{complaints, verdict};
    use crate::timeline::Injection;
    use crate::timeline::story::Story;

    fn replied() -> Story {
        Story::new().serves(214).at(1_000).sent(1).accepted(1).at(2_000).replied(1, "Hi").at(3_000)
    }

    #[test]
    fn what_was_acknowledged_and_delivered_must_be_found() {
        let whole = replied().state(Some(Ok(())), &["ann#1"], &["ann#1"]);
        assert_eq!(complaints(&StateNeverGoesBack, whole), [""; 0]);
        let without_reply = replied().state(Some(Ok(())), &["ann#1"], &[]);
        assert_eq!(
            complaints(&StateNeverGoesBack, without_reply),
            ["The reply to ann#1 was delivered and is not recorded"]
        );
    }

    #[test]
    fn what_comes_after_the_look_is_not_missed_by_it() {
        let story = Story::new().state(None, &[], &[]).at(1_000).sent(1).accepted(1);
        assert_eq!(complaints(&StateNeverGoesBack, story), [""; 0]);
        let unacknowledged = Story::new().sent(1).unacknowledged(1).state(Some(Ok(())), &[], &[]);
        assert_eq!(complaints(&StateNeverGoesBack, unacknowledged), [""; 0]);
    }

    #[test]
    fn a_loss_is_reported_once_with_the_death_before_it() {
        let story =
            Story::new().serves(214).at(1_000).sent(1).accepted(1).at(1_500).dies(DeathCause::PowerLoss);
        let story = story.at(1_501).state(Some(Ok(())), &[], &[]).at(9_000).state(Some(Ok(())), &[], &[]);
        let found = verdict(&StateNeverGoesBack, story, &Terms::default());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "ann#1 was acknowledged and is not in the state directory");
        assert!(found[0].explanation.contains("The gateway had ended at 1.500 s (power lost)."));
        assert!(found[0].last_seen.is_some());
    }

    #[test]
    fn a_session_that_was_seen_stays() {
        let first = || Story::new().serves(214).at(1_000).sessions(&["ann", "bob"]).at(2_000);
        let grown = first().sessions(&["ann", "bob", "eve"]).at(3_000).sessions(&["ann", "bob", "eve"]);
        assert_eq!(complaints(&StateNeverGoesBack, grown), [""; 0]);
        let emptied = first().sessions(&["ann"]).at(3_000).sessions(&["ann"]);
        let found = verdict(&StateNeverGoesBack, emptied, &Terms::default());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message, "The session bob is gone from the store");
        assert!(found[0].explanation.starts_with("It was there at 1.000 s."), "{found:?}");
        let torn = first().state(Some(Err("cut short".into())), &[], &[]);
        assert_eq!(complaints(&StateNeverGoesBack, torn), ["The session store does not parse"]);
    }

    #[test]
    fn a_session_that_was_never_durable_may_go_with_the_power() {
        let durable = || {
            Story::new()
                .serves(214)
                .at(500)
                .disk(FsOp::Rename, "/state/sessions.json")
                .disk(FsOp::SyncDir, "/state")
        };
        let seen =
            durable().at(1_000).sessions(&["ann"]).at(2_000).disk(FsOp::Rename, "/state/sessions.json");
        let killed = seen.dies(DeathCause::Killed).at(2_001).sessions(&["ann", "bob"]).at(3_000).power_lost();
        let found = verdict(&StateNeverGoesBack, killed.at(4_000).sessions(&[]), &Terms::default());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message, "The session ann is gone from the store");
    }

    #[test]
    fn a_first_store_that_was_never_durable_may_go_with_the_power() {
        let named = || Story::new().serves(214).at(500).disk(FsOp::Rename, "/state/sessions.json");
        let lost = |story: Story| {
            let killed = story.dies(DeathCause::Killed).at(501).sessions(&["ann"]).at(1_000).power_lost();
            complaints(&StateNeverGoesBack, killed.at(1_001).state(None, &[], &[]))
        };
        assert_eq!(lost(named()), [""; 0]);
        assert_eq!(lost(named().disk(FsOp::SyncDir, "/state")), ["The session store is gone"]);
    }

    #[test]
    fn what_a_tool_says_it_wrote_is_found_from_then_on() {
        let story =
            || Story::new().sessions(&["ann"]).at(1_000).program("tool", 300).tool_done("tool#1").at(2_000);
        assert_eq!(
            complaints(&StateNeverGoesBack, story().state(Some(Ok(())), &["tool#1"], &[])),
            ["The session ann is gone from the store"]
        );
        let found = verdict(&StateNeverGoesBack, story().sessions(&["ann"]), &Terms::default());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].message, "What tool#1 wrote is not in the state directory");
        assert!(
            found[0]
                .explanation
                .starts_with("The tool that was to write [tool#1] said at 1.000 s that it had."),
            "{found:?}"
        );
    }

    #[test]
    fn a_store_that_somebody_spoils_is_put_in_order_by_whoever_begins_next() {
        let torn = || Some(Err("cut short".into()));
        let spoilt = || {
            let story = Story::new().serves(214).at(1_000).sent(1).asked(1, 1).at(2_000).exits(0);
            let what = "agents/main/sessions/sessions.json in the state directory is overwritten";
            story
                .sessions(&["ann"])
                .at(3_000)
                .injected(Injection::CorruptState, what)
                .at(4_000)
                .gateway(215)
                .starts()
        };
        let killed = spoilt().at(4_500).dies(DeathCause::Killed).state(torn(), &["ann#1"], &[]);
        assert_eq!(complaints(&StateNeverGoesBack, killed), [""; 0], "it was at it");
        let served = || spoilt().at(4_500).binds().at(5_000);
        assert_eq!(
            complaints(&StateNeverGoesBack, served().state(torn(), &["ann#1"], &[])),
            ["The session store does not parse"]
        );
        assert_eq!(
            complaints(&StateNeverGoesBack, served().state(Some(Ok(())), &["ann#1"], &[])),
            ["The session ann is gone from the store"],
            "putting it in order is not emptying it"
        );
    }

    #[test]
    fn what_was_stopped_long_ago_may_be_forgotten() {
        let looked = |at| {
            let story = Story::new().serves(214).at(1_000).sent(1).accepted(1).cancelled(1);
            complaints(&StateNeverGoesBack, story.at(at).state(Some(Ok(())), &[], &[])).len()
        };
        assert_eq!((looked(3_601_000), looked(3_600_999)), (0, 1));
    }

    #[test]
    fn what_a_tool_wrote_while_somebody_spoilt_the_store_may_have_been_in_it() {
        let what = "agents/main/sessions/sessions.json in the state directory is overwritten";
        let writes = || Story::new().at(1_000).program("tool", 300).starts();
        let found = |story: Story| {
            let story = story.at(9_000).serves(214).at(10_000).sessions(&["ann"]);
            complaints(&StateNeverGoesBack, story)
        };
        assert_eq!(
            found(writes().at(2_000).injected(Injection::CorruptState, what).at(3_000).tool_done("tool#1")),
            [""; 0]
        );
        let spoilt_later =
            writes().at(3_000).tool_done("tool#1").at(4_000).injected(Injection::CorruptState, what);
        assert_eq!(
            found(spoilt_later),
            ["What tool#1 wrote is not in the state directory"],
            "there is a copy"
        );
    }

    #[test]
    fn a_store_must_parse_and_stay() {
        let torn = Story::new().state(Some(Err("unexpected end of input at line 3".into())), &[], &[]);
        assert_eq!(complaints(&StateNeverGoesBack, torn), ["The session store does not parse"]);
        let young = Story::new().state(None, &[], &[]).at(5).state(Some(Ok(())), &[], &[]);
        assert_eq!(complaints(&StateNeverGoesBack, young), [""; 0]);
        let gone = Story::new().state(Some(Ok(())), &[], &[]).at(5).state(None, &[], &[]);
        assert_eq!(complaints(&StateNeverGoesBack, gone), ["The session store is gone"]);
    }
}
