//! What counts as twice: two replies to one message, two answers of the model, or the same text sent again. Not all of it
//! is somebody's fault: what a death swallowed is done again, and what nobody can know to be taken is sent again.

use std::time::Duration;

use super::{Reply, Tally};
use crate::timeline::Via;
use crate::timeline::is_repeated_by;
use crate::timeline::sends::Sends;
use crate::timeline::words::{moment, quoted};

/// What makes it right to ask the model twice about a message, or to say something twice.
pub(super) struct Blows<'a> {
    pub(super) gateway_deaths: &'a [Duration],
    /// What platforms took.
    pub(super) sends: &'a Sends,
    /// Whether two requests were about different messages: of the first one, which another message overtook, nothing
    /// counts.
    pub(super) differ: &'a dyn Fn(u32, u32) -> bool,
}

impl Reply<'_> {
    /// Whether `other` is the same, sent once more because nobody could know that the first had been taken.
    fn had_to_come_again_as(&self, other: &Self, sends: &Sends) -> bool {
        match (self.via, other.via) {
            (Via::Platform { send: first }, Via::Platform { send: second }) => {
                sends.had_to_come_again((first, self.text), (second, other.text))
            }
            _ => false,
        }
    }

    /// Whether `other` says the same. What comes again on a platform may end with a word about that.
    fn says_the_same_as(&self, other: &Self) -> bool {
        let (one, two) = (self.text.trim(), other.text.trim());
        match (self.via, other.via) {
            (Via::Platform { .. }, Via::Platform { .. }) => {
                is_repeated_by(one, two) || is_repeated_by(two, one)
            }
            _ => one == two,
        }
    }
}

impl Tally<'_> {
    /// Why the message counts as answered or executed twice, if it does.
    pub(super) fn duplicated(&self, blows: &Blows<'_>) -> Option<String> {
        let sender = &self.message.sender;
        let was_pushed = |reply: &&Reply| !matches!(reply.via, Via::History | Via::Repeated);
        let pushed: Vec<_> = self.replies.iter().filter(was_pushed).collect();
        let avoidable = |pair: &&[&Reply]| !pair[0].had_to_come_again_as(pair[1], blows.sends);
        if let Some([first, second]) = pushed.windows(2).find(avoidable) {
            let (first, second) = (moment(first.at), moment(second.at));
            return Some(format!("{sender} received two replies to it, at {first} and at {second}."));
        }
        if let Some(first) = self.replies.first()
            && let Some(other) = self.replies.iter().find(|reply| !first.says_the_same_as(reply))
        {
            let (one, two) = (quoted(first.text), quoted(other.text));
            return Some(format!("{sender} has two different replies to it: {one} and {two}."));
        }
        // One reading of the history is one instant; the same reply in two readings is still one reply.
        let in_history = |reply: &&Reply| reply.via == Via::History;
        let readings: Vec<_> = self.replies.iter().filter(in_history).map(|reply| reply.at).collect();
        if let Some(twice) = readings.windows(2).find(|pair| pair[0] == pair[1]) {
            return Some(format!(
                "The history that {sender} read at {} holds two replies to it.",
                moment(twice[0])
            ));
        }
        self.executed_twice(blows)
    }

    /// The model answered it twice. A first answer that a death of the gateway swallowed before the sender saw
    /// it does not count: the second request then resumed the work. Nor does one that was given up for another message,
    /// which the second request is about as well.
    fn executed_twice(&self, blows: &Blows<'_>) -> Option<String> {
        let answered: Vec<_> = self
            .requests
            .iter()
            .filter_map(|asked| Some((asked.number, asked.asked_at, asked.answered_at?)))
            .collect();
        for pair in answered.windows(2) {
            let [(one, asked, first), (other, asked_again, second)] = *pair else { continue };
            let died = blows.gateway_deaths.iter().any(|death| (asked..=asked_again).contains(death));
            let replied = self.replies.iter().any(|reply| reply.at < asked_again);
            if replied || !(died || (blows.differ)(one, other)) {
                let (first, second) = (moment(first), moment(second));
                return Some(format!("The model answered it twice, at {first} and at {second}."));
            }
        }
        None
    }
}
