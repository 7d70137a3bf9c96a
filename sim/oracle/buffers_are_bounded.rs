//! A client that does not read is owed no more than its buffer holds: then it is sent away.
//!
//! What the gateway keeps in its memory cannot be seen, but what it has to keep can. Somebody follows the same
//! conversation beside those who read nothing, and is sent the same. All of that which came after a peer had joined,
//! and which the windows of its connection have no room for, the gateway still owes to this peer for as long as the
//! connection stands: it has it in its memory, or it has dropped it in silence and broken the order of events.

use std::collections::BTreeMap;
use std::time::Duration;

use super::life::end_of;
use super::{Evidence, Oracle, Violation, breach};
use crate::timeline::words::moment;
use crate::timeline::{Event, Fact, Source};

/// A client that does not read is sent away before it is owed more than its buffer holds.
pub(super) struct BuffersAreBounded;

impl Oracle for BuffersAreBounded {
    fn invariant(&self) -> &'static str {
        "buffers-are-bounded"
    }

    fn sentence(&self) -> &'static str {
        "A client that does not read is sent away before it is owed more than its buffer holds."
    }

    fn check(&self, run: &Evidence<'_>) -> Vec<Violation> {
        run.terms.never_reading.iter().filter_map(|(group, sender)| self.judge(run, group, sender)).collect()
    }
}

/// A connection of a peer that reads nothing.
struct Stay {
    peer: u32,
    from: Duration,
    until: Option<Duration>,
}

/// A peer that was owed too much.
struct Creditor {
    peer: u32,
    /// When its buffer was full.
    full_at: Duration,
    until: Option<Duration>,
    owed: u64,
}

impl BuffersAreBounded {
    /// One violation for a whole group: what happens to one of them happens to all.
    fn judge(&self, run: &Evidence<'_>, group: &str, sender: &str) -> Option<Violation> {
        let heard: Vec<_> = run.events.iter().filter_map(|event| heard(event, sender)).collect();
        let creditors: Vec<_> =
            stays(run.events, group).into_iter().filter_map(|stay| creditor(run, &heard, &stay)).collect();
        let first = creditors.iter().min_by_key(|creditor| (creditor.full_at, creditor.peer))?;
        let limit = run.terms.max_buffered;
        let message = format!(
            "{} of the peers {group} {} kept although each was owed more than {}",
            creditors.len(),
            if creditors.len() == 1 { "was" } else { "were" },
            kibibytes(limit),
        );
        let end = match first.until {
            Some(until) => format!("Its connection stood until {}", moment(until)),
            None => "Its connection stood until the end of the run".to_string(),
        };
        let explanation = format!(
            "Peer {} of {group} follows {sender}'s conversation and reads nothing. From {} on it was owed more than \
             the {} that may wait for a client, beside what the windows of its connection take. {end}, when it was \
             owed {}.",
            first.peer,
            moment(first.full_at),
            kibibytes(limit),
            kibibytes(first.owed),
        );
        Some(breach(self, message, explanation))
    }
}

fn kibibytes(bytes: u64) -> String {
    format!("{} KiB", bytes / 1024)
}

/// How much of a sender's conversation an attentive follower has been sent by then.
fn heard(event: &Event, sender: &str) -> Option<(Duration, u64)> {
    match &event.fact {
        Fact::ConversationHeard { sender: of, bytes } if of == sender => Some((event.at, *bytes)),
        _ => None,
    }
}

/// The connections of a group, from the joining of the conversation on.
fn stays(events: &[Event], group: &str) -> Vec<Stay> {
    let mut stays: Vec<Stay> = Vec::new();
    let mut open = BTreeMap::new();
    for event in events.iter().filter(|event| matches!(&event.source, Source::Peers(name) if name == group)) {
        match event.fact {
            Fact::PeerConnected { peer, .. } => {
                open.insert(peer, stays.len());
                stays.push(Stay { peer, from: event.at, until: None });
            }
            Fact::PeerEnded { peer, .. } => {
                if let Some(index) = open.remove(&peer) {
                    stays[index].until = Some(event.at);
                }
            }
            _ => {}
        }
    }
    stays
}

/// The peer of `stay`, if its connection stood when it was owed too much and for too long after that.
fn creditor(run: &Evidence<'_>, heard: &[(Duration, u64)], stay: &Stay) -> Option<Creditor> {
    let terms = run.terms;
    let life = run.lives.iter().find(|life| life.holds_port_at(stay.from))?;
    let hold = life.holds.iter().find(|hold| hold.contains(stay.from))?;
    // Who reads nothing does not notice that the gateway has gone.
    let until = stay.until.into_iter().chain(hold.until).min();
    let stands = |at: Duration| until.is_none_or(|until| at < until);
    let before = heard.iter().rev().find(|(at, _)| *at <= stay.from).map_or(0, |(_, bytes)| *bytes);
    let room = before + terms.max_buffered + terms.buffer_slack;
    let full_at = heard.iter().find(|(at, bytes)| *at > stay.from && *bytes > room).map(|(at, _)| *at)?;
    let ended = until.unwrap_or_else(|| end_of(run));
    let grace = terms.farewell_grace + life.frozen_between(full_at, ended);
    // Where links were cut the end of a connection may not have arrived.
    if ended <= full_at + grace || run.mishaps.any_link_was_cut(full_at, full_at + grace) {
        return None;
    }
    let last = heard.iter().rev().find(|(at, _)| stands(*at)).map_or(0, |(_, bytes)| *bytes);
    let owed = last.saturating_sub(before + terms.buffer_slack);
    Some(Creditor { peer: stay.peer, full_at, until, owed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Terms;
    use crate::oracle::tests::verdict;
    use crate::timeline::story::Story;

    const KIB: u64 = 1024;

    fn terms() -> Terms {
        Terms {
            never_reading: vec![("deaf".to_string(), "ann".to_string())],
            max_buffered: 256 * KIB,
            buffer_slack: 100 * KIB,
            ..Terms::default()
        }
    }

    fn peer(story: Story, fact: Fact) -> Story {
        story.fact(Source::Peers("deaf".into()), fact)
    }

    fn joins(story: Story, peer_number: u32) -> Story {
        peer(story, Fact::PeerConnected { peer: peer_number, place: "reading nothing" })
    }

    fn is_reset(story: Story, peer_number: u32) -> Story {
        let how = "reset".to_string();
        peer(story, Fact::PeerEnded { peer: peer_number, place: "reading nothing", how })
    }

    fn heard(story: Story, kib: u64) -> Story {
        let fact = Fact::ConversationHeard { sender: "ann".into(), bytes: kib * KIB };
        story.fact(Source::Peers("witness".into()), fact)
    }

    fn complaints(story: Story) -> Vec<String> {
        let found = verdict(&BuffersAreBounded, story, &terms());
        found.into_iter().map(|violation| violation.message).collect()
    }

    /// Two peers that joined after 64 KiB; at 10 s they are owed more than a gateway may keep.
    fn full() -> Story {
        let story = heard(Story::new().at(0).serves(214).at(1_000), 64).at(2_000);
        let story = joins(joins(story, 1), 2).at(9_000);
        heard(heard(story, 64 + 256 + 100).at(10_000), 64 + 256 + 101)
    }

    #[test]
    fn who_is_owed_too_much_has_to_go() {
        assert_eq!(complaints(is_reset(is_reset(full().at(10_500), 1), 2).at(60_000).ended()), [""; 0]);
        let kept_one = is_reset(full().at(10_500), 2).at(60_000).ended();
        assert_eq!(
            complaints(kept_one),
            ["1 of the peers deaf was kept although each was owed more than 256 KiB"]
        );
        let found = verdict(&BuffersAreBounded, heard(full().at(20_000), 600).at(60_000).ended(), &terms());
        assert_eq!(found.len(), 1, "one for the whole group");
        assert!(found[0].explanation.starts_with("Peer 1 of deaf follows ann's conversation"), "{found:?}");
        assert!(found[0].explanation.contains("From 10.000 s on"), "{found:?}");
    }

    #[test]
    fn exactly_what_the_buffer_holds_may_wait() {
        let story = joins(Story::new().at(0).serves(214).at(1_000), 1);
        assert_eq!(complaints(heard(story.at(2_000), 356).at(60_000).ended()), [""; 0]);
    }

    #[test]
    fn the_end_of_a_gateway_is_the_end_of_what_it_owes() {
        assert_eq!(complaints(full().at(11_000).exits(0).at(60_000).ended()), [""; 0]);
        assert_eq!(complaints(full().at(11_000).releases().at(60_000).ended()), [""; 0]);
        assert_eq!(complaints(full().at(20_000).exits(0).at(60_000).ended()).len(), 1, "too late");
    }

    #[test]
    fn a_reset_that_cannot_arrive_does_not_count_as_missing() {
        let cut = Fact::LinkPartitioned { a: "clients".into(), b: "gateway".into() };
        assert_eq!(complaints(full().fact(Source::World, cut).at(60_000).ended()), [""; 0]);
    }
}
