//! The keys of rude peers and the verbs that let them in, send them away and reset them: a part of `keys`.

use super::keys::Need::{Default, Optional, Required};
use super::keys::{Key, Shape, VerbKeys, key, verb};
use super::{Choice, PeerKind};

/// The most peers of a scenario, all groups and waves together.
pub(super) const MOST_PEERS: u64 = 1_000;

pub(super) const PEERS: &[Key] = &[
    key("kind", Shape::Choice(PeerKind::meanings), Required, "What each of them does"),
    key("count", Shape::Whole(1, MOST_PEERS), Default("1"), "How many there are"),
    key(
        "arrive",
        Shape::Range,
        Default("0ms..1s"),
        "When each arrives, drawn for each: so long after the gateway first listens, or after the \
         [step](#peers-arrive) that lets them in, if there is one",
    ),
    key(
        "returns",
        Shape::Range,
        Optional,
        "How long after the end of its connection each is back; without it, none comes back",
    ),
    key("joins", Shape::Sender, Optional, "The sender whose conversation they follow"),
];

const GROUP: Key = key("peers", Shape::Peers, Required, "The group");

pub(super) const PEERS_ARRIVE: VerbKeys = verb(
    "peers-arrive",
    &[GROUP],
    "A group of rude peers is let in, and does not arrive by itself. Another such step brings as many once more",
);

pub(super) const PEERS_LEAVE: VerbKeys = verb(
    "peers-leave",
    &[GROUP],
    "Each peer of a group closes its connection and does not come back. Cannot be done when none is connected",
);

pub(super) const PEERS_RESET: VerbKeys = verb(
    "peers-reset",
    &[GROUP],
    "Each peer of a group resets its connection. Those that return do. Cannot be done when none is connected",
);
