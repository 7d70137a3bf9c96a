//! What conversations are still to be told: messages that end without a reply, gathered until it is known what else of
//! their conversation ends so.
//!
//! The end of a life interrupts a turn here and what waits behind it there; whoever wrote both hears of it once. So
//! nobody tells of an interruption by himself: a turn leaves its messages here, and whoever ends the work, or finds what
//! an earlier life left, tells conversation by conversation. What is here is in memory only; the journal keeps every
//! message open until it is told, for the next life.

use std::cell::RefCell;
use std::rc::Rc;

use super::notice::NoticeCause;
use crate::channels::Route;
use crate::messages::inbox::Accepted;
use crate::policy::InterruptionNotice;

/// How many messages a notice names at most: with their quotes, what a platform takes at once.
const MOST_IN_A_NOTICE: usize = 40;

/// A message that ends without a reply.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered {
    pub(crate) message: Accepted,
    pub(crate) cause: Rc<NoticeCause>,
    /// The number of the next event of its run.
    pub(crate) seq: u64,
}

impl Unanswered {
    /// A message whose run had no event yet.
    pub(crate) fn new(message: Accepted, cause: NoticeCause) -> Self {
        Self { message, cause: Rc::new(cause), seq: 0 }
    }

    /// The messages of a turn, whose next event has the number `seq` and is the first one's.
    pub(crate) fn of_turn(messages: &[Accepted], cause: NoticeCause, seq: u64) -> Vec<Self> {
        let cause = Rc::new(cause);
        let unanswered = |(place, message): (usize, &Accepted)| Self {
            message: message.clone(),
            cause: cause.clone(),
            seq: if place == 0 { seq } else { 0 },
        };
        messages.iter().enumerate().map(unanswered).collect()
    }

    /// What it has in common with whatever one notice can be about: its conversation, and where that is read.
    pub(crate) fn place(&self) -> (String, Route) {
        (self.message.session_key.clone(), self.message.route.place())
    }
}

/// What turns have left to be told.
#[derive(Default)]
pub(crate) struct Untold(RefCell<Vec<Unanswered>>);

impl Untold {
    /// Leaves the messages of a turn, which has ended. Whoever ends the work tells of them.
    pub(crate) fn leave(&self, unanswered: Vec<Unanswered>) {
        self.0.borrow_mut().extend(unanswered);
    }

    /// Everything that was left; nobody else tells of it then.
    pub(crate) fn take(&self) -> Vec<Unanswered> {
        self.0.take()
    }
}

/// What is to be told, conversation by conversation, in the order of the first of each.
pub(crate) fn by_conversation(
    policy: InterruptionNotice,
    unanswered: impl IntoIterator<Item = Unanswered>,
) -> Vec<Vec<Unanswered>> {
    let most = match policy {
        InterruptionNotice::EachMessage => 1,
        _ => MOST_IN_A_NOTICE,
    };
    let mut conversations: Vec<Vec<Unanswered>> = Vec::new();
    for unanswered in unanswered {
        let place = unanswered.place();
        let is_its = |others: &&mut Vec<Unanswered>| others[0].place() == place && others.len() < most;
        match conversations.iter_mut().rev().find(is_its) {
            Some(others) => others.push(unanswered),
            None => conversations.push(vec![unanswered]),
        }
    }
    conversations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unanswered(run_id: &str, session_key: &str) -> Unanswered {
        let (run_id, session_key) = (run_id.to_string(), session_key.to_string());
        let message = Accepted { run_id, session_key, text: "hi".into(), route: Route::Webchat };
        Unanswered::new(message, NoticeCause::Interrupted)
    }

    fn check(policy: InterruptionNotice, expected: &[&[&str]]) {
        let said = [("a", "s"), ("b", "t"), ("c", "s")];
        let said = said.map(|(run_id, session_key)| unanswered(run_id, session_key));
        let told = by_conversation(policy, said);
        let names = |of: &Vec<Unanswered>| of.iter().map(|it| it.message.run_id.clone()).collect::<Vec<_>>();
        assert_eq!(told.iter().map(names).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_conversation_is_told_at_once_and_no_other_with_it() {
        check(InterruptionNotice::Once, &[&["a", "c"], &["b"]]);
        check(InterruptionNotice::EachMessage, &[&["a"], &["b"], &["c"]]);
    }

    #[test]
    fn what_is_left_is_taken_once() {
        let untold = Untold::default();
        untold.leave(vec![unanswered("a", "s")]);
        untold.leave(vec![unanswered("b", "s")]);
        assert_eq!((untold.take().len(), untold.take().len()), (2, 0));
    }
}
