//! How a platform behaves at present: what scenario steps change for a while.
//!
//! Plain state. Several troubles may hold at once; each ends by itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How a platform is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It listens no more, and its connections are reset.
    Refuses,
    /// It answers every request with status 502, and its long connections are reset.
    Fails,
}

/// Why a platform takes nothing for a user any more, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The user does not want to hear of the bot.
    Blocked,
    /// The conversation is not there any more.
    ChatGone,
}

/// A change of a platform's behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is down, or up again.
    Outage(Option<Outage>),
    /// Every request takes so much longer; zero: no longer.
    Slow(Duration),
    /// Sends are refused for now, and may be tried again after so long.
    Limit(Option<Duration>),
    /// The bot's messages to a user are refused for good, or no more.
    Block {
        /// The user.
        sender: String,
        /// Why.
        block: Option<Block>,
    },
    /// Of the sends that come, after so many the next `count` are taken and the line is cut before the answer.
    CutLine {
        /// So many are answered before.
        after: u32,
        /// So many are cut.
        count: u32,
    },
    /// An acknowledgement counts only so long after it came; zero: at once.
    LateAcknowledgement(Duration),
}

/// The present behaviour.
#[derive(Default)]
pub(super) struct Mood {
    pub(super) outage: Option<Outage>,
    pub(super) slow: Duration,
    pub(super) limit: Option<Duration>,
    pub(super) blocks: BTreeMap<String, Block>,
    cut_after: u32,
    cut_count: u32,
    pub(super) acknowledges_after: Duration,
}

impl Mood {
    pub(super) fn take(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Outage(outage) => self.outage = outage,
            Trouble::Slow(by) => self.slow = by,
            Trouble::Limit(limit) => self.limit = limit,
            Trouble::Block { sender, block: Some(block) } => drop(self.blocks.insert(sender, block)),
            Trouble::Block { sender, block: None } => drop(self.blocks.remove(&sender)),
            Trouble::CutLine { after, count } => (self.cut_after, self.cut_count) = (after, count),
            Trouble::LateAcknowledgement(by) => self.acknowledges_after = by,
        }
    }

    /// Whether the send that was just taken is one whose line is cut.
    pub(super) fn cuts_line(&mut self) -> bool {
        if self.cut_count == 0 {
            return false;
        }
        if self.cut_after > 0 {
            self.cut_after -= 1;
            return false;
        }
        self.cut_count -= 1;
        true
    }
}

/// A duration in a range; the shorter end, without a draw, when there is no choice.
pub(super) fn draw(range: &RangeInclusive<Duration>, random: impl FnOnce() -> u64) -> Duration {
    let span_ms = u64::try_from(range.end().saturating_sub(*range.start()).as_millis()).unwrap_or(u64::MAX);
    match span_ms {
        0 => *range.start(),
        _ => *range.start() + Duration::from_millis(random() % span_ms.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_cut_for_those_sends_that_were_named() {
        let mut mood = Mood::default();
        assert!(!mood.cuts_line());
        mood.take(Trouble::CutLine { after: 1, count: 2 });
        assert_eq!([(); 4].map(|()| mood.cuts_line()), [false, true, true, false]);
    }
}
