//! One direction of a connection, as the wires see it: the order of its packets, and which acknowledgements nobody
//! waits for.
//!
//! A kernel acknowledges every segment at once. Real receivers delay an acknowledgement in the hope of something to
//! send it with; so do the wires, where it cannot be noticed. It halves their work. Knows segments, not kernels,
//! machines or time.

use std::cmp::Ordering;
use std::net::SocketAddr;

use bytes::Bytes;
use turmoil_net::{Packet, TcpFlags, TcpSegment, Transport};

use super::slots::{SlotId, slot_at};
use crate::mix::MixMap;

/// So many unacknowledged bytes keep nobody waiting, where the window is at least so wide.
const LITTLE: u32 = 8 * 1024;
const WIDE: u16 = 32 * 1024;

/// Names one direction of a connection: the slot and the port that it comes from, and those that it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Way(u64);

impl Way {
    /// From one end to the other.
    pub(super) fn between(from: SocketAddr, to: SocketAddr) -> Self {
        let end = |end: SocketAddr| {
            u64::from(slot_at(end.ip()).map_or(0, |slot| slot.0)) << 16 | u64::from(end.port())
        };
        Self(end(from) << 32 | end(to))
    }

    /// The other direction.
    pub(super) fn back(self) -> Self {
        Self(self.0.rotate_left(32))
    }

    /// Whether it comes from the kernel at `slot`.
    pub(super) fn comes_from(self, slot: SlotId) -> bool {
        self.0 >> 48 == u64::from(slot.0)
    }

    /// Whether it comes from the kernel at `slot` or goes there.
    pub(super) fn touches(self, slot: SlotId) -> bool {
        self.comes_from(slot) || self.back().comes_from(slot)
    }
}

/// What is known of ways. Several are looked up for every packet, in maps that grow with each connection of a run: an
/// ordered map took a fiftieth of its time.
pub(super) type ByWay<T> = MixMap<Way, T>;

/// When a packet arrives: the millisecond, then the random rank of its connection, then the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrival {
    pub(super) at_ms: u64,
    pub(super) rank: u64,
    pub(super) sequence: u64,
}

/// A packet on its way. The one that arrives first is the greatest, for a heap.
pub(super) struct InFlight {
    pub(super) arrival: Arrival,
    pub(super) packet: Packet,
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.arrival == other.arrival
    }
}

impl Eq for InFlight {}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> Ordering {
        other.arrival.cmp(&self.arrival)
    }
}

/// An acknowledgement that nobody waits for. From its arrival on it is delivered when the pump has something to do anyway.
pub(super) struct Delayed {
    pub(super) arrival: Arrival,
    pub(super) packet: Packet,
}

/// The acknowledgements that wait, by their way: one for each, in the order of ways. There are few at a time, and one is
/// looked for with every packet.
#[derive(Default)]
pub(super) struct Waiting(Vec<(Way, Delayed)>);

impl Waiting {
    fn place(&self, way: Way) -> Result<usize, usize> {
        self.0.binary_search_by_key(&way, |(way, _)| *way)
    }

    /// Lets one wait, instead of an earlier one.
    pub(super) fn insert(&mut self, way: Way, delayed: Delayed) {
        match self.place(way) {
            Ok(place) => self.0[place].1 = delayed,
            Err(place) => self.0.insert(place, (way, delayed)),
        }
    }

    /// It need not be sent any more.
    pub(super) fn remove(&mut self, way: Way) {
        if let Ok(place) = self.place(way) {
            self.0.remove(place);
        }
    }

    /// Takes the first one that has waited long enough.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<(Way, Delayed)> {
        let place = self.0.iter().position(|(_, delayed)| delayed.arrival.at_ms <= now_ms)?;
        Some(self.0.remove(place))
    }

    /// Keeps those whose packets are wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&Packet) -> bool) {
        self.0.retain(|(_, delayed)| is_wanted(&delayed.packet));
    }
}

/// A packet that waits at a cut link.
pub(super) struct Parked {
    pub(super) since_ms: u64,
    pub(super) arrival: Arrival,
    pub(super) packet: Packet,
}

/// One direction of a connection.
#[derive(Clone, Copy)]
pub(super) struct Flow {
    /// Decides among packets that arrive in the same millisecond.
    pub(super) rank: u64,
    /// Later packets arrive no sooner.
    pub(super) last_arrival_ms: u64,
    /// The sequence number after everything sent so far.
    sent: u32,
    /// The latest acknowledgement that travelled, of what the other direction sent, and the window it gave.
    acked: Option<(u32, u16)>,
    /// The latest acknowledgement of what this direction sent that has arrived, and the window it gave.
    heard: Option<(u32, u16)>,
    /// Somebody has begun to end the connection.
    pub(super) is_ending: bool,
}

impl Flow {
    /// One that nothing was sent on yet.
    pub(super) fn ranked(rank: u64) -> Self {
        Self { rank, last_arrival_ms: 0, sent: 0, acked: None, heard: None, is_ending: false }
    }

    /// Takes note of a segment that leaves.
    pub(super) fn follow(&mut self, segment: &TcpSegment) {
        let TcpFlags { syn, ack, fin, rst, .. } = segment.flags;
        if syn {
            // The same addresses may have been used before.
            (self.acked, self.heard, self.is_ending) = (None, None, false);
        }
        if ack {
            self.acked = Some((segment.ack, segment.window));
        }
        self.is_ending |= fin || rst;
        let len = segment.payload.len() as u32 + u32::from(syn) + u32::from(fin);
        self.sent = segment.seq.wrapping_add(len);
    }

    /// Takes note of a segment of the other direction that arrives.
    pub(super) fn hear(&mut self, segment: &TcpSegment) {
        if segment.flags.ack {
            self.heard = Some((segment.ack, segment.window));
        }
    }

    /// Whether the kernel that sends in this direction need not be asked for packets when a segment of `other`
    /// arrives there: of its own it has nothing that waited for room, and its acknowledgement will be one that
    /// [may wait](Self::may_delay).
    pub(super) fn can_stay_silent(&self, segment: &TcpSegment, other: &Self) -> bool {
        let TcpFlags { syn, fin, rst, .. } = segment.flags;
        let (Some((heard, room)), Some((acked, window))) = (self.heard, self.acked) else { return false };
        let in_flight = self.sent.wrapping_sub(heard);
        let unacknowledged = other.sent.wrapping_sub(acked);
        !(syn || fin || rst || segment.payload.is_empty())
            && in_flight <= LITTLE
            && room >= WIDE
            && unacknowledged <= LITTLE
            && u32::from(window) >= u32::from(WIDE) + LITTLE
            && !self.is_ending
            && !other.is_ending
    }

    /// Whether a segment of this direction can wait for the next one, as with a receiver that delays its
    /// acknowledgements: it does nothing but acknowledge so little of what `other` sent that nobody waits for it.
    pub(super) fn may_delay(&self, segment: &TcpSegment, other: Option<&Self>) -> bool {
        let TcpFlags { syn, ack, fin, rst, .. } = segment.flags;
        let (Some(other), Some((acked, window))) = (other, self.acked) else { return false };
        let unacknowledged = other.sent.wrapping_sub(acked);
        ack && !(syn || fin || rst)
            && segment.payload.is_empty()
            && (1..=LITTLE).contains(&unacknowledged)
            && window.min(segment.window) >= WIDE
            && !self.is_ending
            && !other.is_ending
    }
}

/// Sender and receiver of a TCP packet.
pub(super) fn tcp_ends(packet: &Packet) -> Option<(SocketAddr, SocketAddr)> {
    let Transport::Tcp(segment) = &packet.payload else { return None };
    Some((SocketAddr::new(packet.src, segment.src_port), SocketAddr::new(packet.dst, segment.dst_port)))
}

/// A reset that seems to come from `from`. Kernels look at nothing but its addresses and the flag.
pub(super) fn reset_segment(from: SocketAddr, to: SocketAddr) -> Packet {
    let segment = TcpSegment {
        src_port: from.port(),
        dst_port: to.port(),
        seq: 0,
        ack: 0,
        flags: TcpFlags { rst: true, ack: true, ..TcpFlags::default() },
        window: 0,
        payload: Bytes::new(),
    };
    Packet { src: from.ip(), dst: to.ip(), ttl: 64, payload: Transport::Tcp(segment) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(seq: u32, payload: usize, ack: u32, window: u16) -> TcpSegment {
        let flags = TcpFlags { ack: true, ..TcpFlags::default() };
        let payload = Bytes::from(vec![0; payload]);
        TcpSegment { src_port: 1, dst_port: 2, seq, ack, flags, window, payload }
    }

    fn with_flags(flags: TcpFlags) -> TcpSegment {
        TcpSegment { flags: TcpFlags { ack: true, ..flags }, ..segment(0, 0, 0, u16::MAX) }
    }

    /// Both directions of a fresh connection; `sent` bytes are on their way back.
    fn connected(sent: usize) -> (Flow, Flow) {
        let (mut there, mut back) = (Flow::ranked(1), Flow::ranked(2));
        there.follow(&segment(0, 0, 0, u16::MAX));
        back.follow(&segment(0, sent, 0, u16::MAX));
        (there, back)
    }

    #[test]
    fn only_a_small_acknowledgement_may_wait() {
        let (there, back) = connected(500);
        let plain = segment(0, 0, 500, u16::MAX);
        assert!(there.may_delay(&plain, Some(&back)));
        assert!(!there.may_delay(&plain, None), "the other direction is unknown");
        assert!(!there.may_delay(&segment(0, 1, 500, u16::MAX), Some(&back)), "it carries something");
        let fin = TcpFlags { fin: true, ..TcpFlags::default() };
        assert!(!there.may_delay(&with_flags(fin), Some(&back)), "it ends the connection");
        assert!(!there.may_delay(&segment(0, 0, 500, 1_000), Some(&back)), "the window gets narrow");
        let (there, back) = connected(20_000);
        assert!(!there.may_delay(&plain, Some(&back)), "a writer may wait for it");
    }

    #[test]
    fn a_wider_window_and_the_handshake_are_told_at_once() {
        let (mut there, back) = connected(500);
        there.follow(&segment(0, 0, 500, u16::MAX));
        assert!(!there.may_delay(&segment(0, 0, 500, u16::MAX), Some(&back)), "it acknowledges nothing new");
        there.follow(&segment(0, 0, 400, 10));
        assert!(!there.may_delay(&segment(0, 0, 500, u16::MAX), Some(&back)), "the window was narrow");
        assert!(!Flow::ranked(3).may_delay(&segment(0, 0, 500, u16::MAX), Some(&back)), "the first one");
    }

    #[test]
    fn a_kernel_is_left_alone_while_it_has_nothing_to_say() {
        let (mut there, back) = connected(500);
        let news = segment(0, 500, 0, u16::MAX);
        assert!(!there.can_stay_silent(&news, &back), "it has heard nothing yet");
        there.hear(&segment(0, 1, 0, u16::MAX));
        assert!(there.can_stay_silent(&news, &back));
        assert!(!there.can_stay_silent(&segment(0, 0, 0, u16::MAX), &back), "it may give way to a writer");
        let fin = TcpFlags { fin: true, ..TcpFlags::default() };
        assert!(!there.can_stay_silent(&with_flags(fin), &back), "it ends the connection");
        let (_, much) = connected(20_000);
        assert!(!there.can_stay_silent(&news, &much), "a writer may wait for the acknowledgement");
        there.hear(&segment(0, 1, 0, 10));
        assert!(!there.can_stay_silent(&news, &back), "what it wanted to send had no room");
        there.hear(&segment(0, 1, 0, u16::MAX));
        there.follow(&segment(0, 20_000, 0, u16::MAX));
        assert!(!there.can_stay_silent(&news, &back), "what it sent may fill the window");
    }

    #[test]
    fn nothing_waits_once_somebody_hangs_up_until_the_next_connection() {
        let (mut there, mut back) = connected(500);
        back.follow(&with_flags(TcpFlags { fin: true, ..TcpFlags::default() }));
        assert!(!there.may_delay(&segment(0, 0, 1, u16::MAX), Some(&back)));
        for flow in [&mut there, &mut back] {
            flow.follow(&with_flags(TcpFlags { syn: true, ..TcpFlags::default() }));
            assert!(!flow.is_ending);
        }
    }
}
