//! The wires: packets in flight between the socket kernels of processes.
//!
//! `turmoil-net` keeps one clock-free TCP kernel per host; every process gets a host of its own from a small
//! pool (`slots`). Whenever all tasks are idle, [`Network::flush`] collects what the kernels want to send, gives
//! each packet its time of arrival and sets the alarm of the [`Pump`], which delivers. Packets are never lost on a
//! wire: a cut link parks them, a machine without power swallows them. The wires know machines and addresses, not
//! processes, ports or files.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use turmoil_net::{EnterGuard, HostId, KernelConfig, Net, Packet, TcpFlags, TcpSegment, Transport};

use super::flow::{Arrival, ByWay, Delayed, Flow, InFlight, Parked, Waiting, Way, reset_segment, tcp_ends};
use super::lines::{Line, Lines};
use super::random::{RandomStream, RandomStreams};
use super::settings::WorldSettings;
use super::slots::{SlotId, Slots};
use crate::determinism::{Step, note};
use crate::instant;

/// Size of a kernel's receive buffer, and of the scratch that empties it in one go.
pub(super) const RECEIVE_BUFFER: usize = 64 * 1024;

/// How long an acknowledgement waits for company (Linux: 40 ms).
const LONGEST_ACK_DELAY_MS: u64 = 40;

/// A machine, as the wires know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MachineId(pub(super) u16);

/// The wires of one world.
pub(super) struct Network {
    state: RefCell<State>,
    alarm: RefCell<Option<Alarm>>,
    /// Something happened that may have given a kernel packets to send.
    dirty: Cell<bool>,
    /// Shared by all streams: what one read takes out of a kernel before it is handed on.
    pub(super) scratch: RefCell<Box<[u8]>>,
    epoch: Instant,
    tcp_user_timeout_ms: u64,
    counters: Counters,
}

/// How much work the wires had.
#[derive(Default)]
struct Counters {
    packets: Cell<u64>,
    parks: Cell<u64>,
}

struct State {
    /// `None` once the world has ended: sockets that outlive it must not touch a kernel any more.
    guard: Option<EnterGuard>,
    slots: Slots,
    /// In flight, by time of arrival; see [`Arrival`].
    in_flight: BinaryHeap<InFlight>,
    next_sequence: u64,
    flows: ByWay<Flow>,
    /// Acknowledgements that wait for something to travel with; a later one takes the place of an earlier one.
    delayed: Waiting,
    latency: RangeInclusive<Duration>,
    latency_of: BTreeMap<Link, RangeInclusive<Duration>>,
    latency_draw: RandomStream,
    order_draw: RandomStream,
    dark: BTreeSet<MachineId>,
    cut: BTreeMap<Link, Vec<Parked>>,
    /// Connections whose stream was dropped while the peer may still send, by the way from there.
    orphans: ByWay<()>,
    /// Who wants to know of resets.
    lines: Lines,
    /// Something arrives sooner than anything did when the alarm was last looked at.
    is_early: bool,
    egress: Vec<Packet>,
}

/// Two machines, the smaller first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Link(MachineId, MachineId);

impl Link {
    fn between(a: MachineId, b: MachineId) -> Self {
        Self(a.min(b), a.max(b))
    }
}

impl Network {
    /// Installs the socket stack on this thread. Must be called inside a runtime with a paused clock.
    ///
    /// # Panics
    /// When another world runs on this thread.
    pub(super) fn enter(settings: &WorldSettings, random: &RandomStreams) -> Rc<Self> {
        // Wires lose nothing, so retransmission would only count parks and duplicate packets.
        let config = KernelConfig::default().retx_threshold(u32::MAX).recv_buf_cap(RECEIVE_BUFFER);
        let mut net = Net::with_config(config);
        let slots = Slots::new(&mut net, settings.process_slots);
        let state = State {
            guard: Some(net.enter()),
            slots,
            in_flight: BinaryHeap::new(),
            next_sequence: 0,
            flows: ByWay::default(),
            delayed: Waiting::default(),
            latency: settings.latency.clone(),
            latency_of: BTreeMap::new(),
            latency_draw: random.stream("network latency"),
            order_draw: random.stream("delivery order"),
            dark: BTreeSet::new(),
            cut: BTreeMap::new(),
            orphans: ByWay::default(),
            lines: Lines::default(),
            is_early: false,
            egress: Vec::new(),
        };
        Rc::new(Self {
            state: RefCell::new(state),
            alarm: RefCell::new(None),
            dirty: Cell::new(false),
            scratch: RefCell::new(vec![0; RECEIVE_BUFFER].into_boxed_slice()),
            epoch: Instant::now(),
            tcp_user_timeout_ms: settings.tcp_user_timeout.as_millis() as u64,
            counters: Counters::default(),
        })
    }

    /// Removes the socket stack from this thread.
    pub(super) fn close(&self) {
        self.state.borrow_mut().guard = None;
        self.alarm.borrow_mut().take();
    }

    /// Whether sockets may still be used.
    pub(super) fn is_open(&self) -> bool {
        self.state.borrow().guard.is_some()
    }

    /// Notes that a kernel was used; its packets leave when all tasks are idle.
    pub(super) fn touch(&self) {
        self.dirty.set(true);
    }

    /// Packets sent so far, and how often the world was idle so far.
    pub(super) fn work_done(&self) -> (u64, u64) {
        (self.counters.packets.get(), self.counters.parks.get())
    }

    fn now_ms(&self) -> u64 {
        (instant::now() - self.epoch).as_millis() as u64
    }

    /// Takes an address for a new process of `machine`; `None` when all belong to living ones.
    pub(super) fn claim_slot(&self, machine: MachineId) -> Option<(SlotId, HostId)> {
        let slot = {
            let state = self.state.borrow();
            state.slots.choose(|machine| !state.dark.contains(&machine))?
        };
        self.purge(slot);
        let mut state = self.state.borrow_mut();
        Some((slot, state.slots.occupy(slot, machine)))
    }

    /// The process at `slot` is gone. Its kernel finishes the closing of its sockets, as a real one does.
    pub(super) fn release_slot(&self, slot: SlotId) {
        self.state.borrow_mut().slots.vacate(slot);
    }

    /// The address of the kernel at `slot`.
    pub(super) fn address(&self, slot: SlotId) -> IpAddr {
        self.state.borrow().slots.address(slot)
    }

    /// What the kernel at `slot` sends leaves no sooner than `until`.
    pub(super) fn hold(&self, slot: SlotId, until: Instant) {
        let until_ms = (until - self.epoch).as_millis() as u64;
        self.state.borrow_mut().slots.hold(slot, until_ms);
    }

    /// The machine that a kernel's address belongs to at present.
    pub(super) fn machine_at(&self, address: IpAddr) -> Option<MachineId> {
        self.state.borrow().slots.machine_at(address)
    }

    /// The machine has lost power: nothing is sent, what arrives vanishes.
    pub(super) fn go_dark(&self, machine: MachineId) {
        self.state.borrow_mut().dark.insert(machine);
    }

    /// Empties the kernels of a machine that has lost power.
    pub(super) fn forget_sockets(&self, machine: MachineId) {
        let slots = self.state.borrow().slots.of_machine(machine);
        slots.into_iter().for_each(|slot| self.purge(slot));
    }

    /// The machine has power again; whatever arrives for old connections is answered with a reset.
    pub(super) fn light_up(&self, machine: MachineId) {
        self.state.borrow_mut().dark.remove(&machine);
    }

    /// Cuts the link: what would arrive is parked.
    pub(super) fn cut(&self, a: MachineId, b: MachineId) {
        self.state.borrow_mut().cut.entry(Link::between(a, b)).or_default();
    }

    /// Mends the link: what was parked arrives now, in order.
    pub(super) fn mend(&self, a: MachineId, b: MachineId) {
        let now_ms = self.now_ms();
        let mut state = self.state.borrow_mut();
        for parked in state.cut.remove(&Link::between(a, b)).unwrap_or_default() {
            // The sequence of sending is kept, so later packets of the connection stay behind.
            let arrival = Arrival { at_ms: now_ms, ..parked.arrival };
            state.in_flight.push(InFlight { arrival, packet: parked.packet });
        }
        drop(state);
        if let Some(alarm) = &*self.alarm.borrow() {
            alarm.pump.wake_by_ref();
        }
    }

    /// Whether the link is cut.
    pub(super) fn is_cut(&self, a: MachineId, b: MachineId) -> bool {
        self.state.borrow().cut.contains_key(&Link::between(a, b))
    }

    /// Replaces the delay of packets between two machines from now on.
    pub(super) fn set_latency(&self, a: MachineId, b: MachineId, latency: RangeInclusive<Duration>) {
        self.state.borrow_mut().latency_of.insert(Link::between(a, b), latency);
    }

    /// A round trip between two machines, drawn like a packet's.
    pub(super) fn round_trip(&self, a: MachineId, b: MachineId) -> Duration {
        let state = self.state.borrow();
        state.draw_latency(a, b) + state.draw_latency(b, a)
    }

    /// Ends a connection with a reset: at once at the `local` end, after the delay of the link at the other.
    pub(super) fn reset(&self, local: SocketAddr, remote: SocketAddr) {
        self.flush();
        let now_ms = self.now_ms();
        let mut state = self.state.borrow_mut();
        state.send(reset_segment(local, remote), now_ms);
        state.deliver(reset_segment(remote, local));
        drop(state);
        // The next flush also sets the alarm to the reset.
        self.touch();
    }

    /// The stream at the `local` end was dropped: the kernel finishes closing, but has no reader any more.
    pub(super) fn mark_orphan(&self, local: SocketAddr, remote: SocketAddr) {
        self.state.borrow_mut().orphans.insert(Way::between(local, remote), ());
    }

    /// A new connection uses this pair of addresses.
    pub(super) fn mark_owned(&self, local: SocketAddr, remote: SocketAddr) -> Rc<Line> {
        let way = Way::between(local, remote);
        let mut state = self.state.borrow_mut();
        state.orphans.swap_remove(&way);
        state.lines.open(way)
    }

    /// Nobody has to know any more whether this connection is broken.
    pub(super) fn forget_line(&self, local: SocketAddr, remote: SocketAddr, line: &Rc<Line>) {
        self.state.borrow_mut().lines.close(Way::between(local, remote), line);
    }

    /// Every task is idle, so what they wrote leaves now.
    pub(super) fn flush_when_idle(&self) {
        self.counters.parks.set(self.counters.parks.get() + 1);
        self.flush();
    }

    /// Moves what the kernels want to send onto the wires.
    fn flush(&self) {
        if !self.dirty.replace(false) {
            return;
        }
        let now_ms = self.now_ms();
        let mut state = self.state.borrow_mut();
        let mut egress = std::mem::take(&mut state.egress);
        if let Some(guard) = &state.guard {
            guard.egress_all(&mut egress);
        }
        self.counters.packets.set(self.counters.packets.get() + egress.len() as u64);
        for packet in egress.drain(..) {
            state.send(packet, now_ms);
        }
        state.egress = egress;
        if std::mem::take(&mut state.is_early) {
            let next_ms = state.in_flight.peek().map(|next| next.arrival.at_ms);
            drop(state);
            self.advance_alarm(next_ms);
        }
    }

    /// Sets the alarm to `at_ms` if it would ring later. From here, and not from the pump's next poll, since that
    /// would cost the runtime another round for nearly every packet.
    fn advance_alarm(&self, at_ms: Option<u64>) {
        let mut alarm = self.alarm.borrow_mut();
        let (Some(alarm), Some(at_ms)) = (&mut *alarm, at_ms) else { return };
        if alarm.at_ms.is_none_or(|set| at_ms < set) && alarm.set(self.epoch, at_ms).is_ready() {
            alarm.pump.wake_by_ref();
        }
    }

    /// Makes the kernel at `slot` forget every connection, in silence.
    fn purge(&self, slot: SlotId) {
        self.flush();
        let mut state = self.state.borrow_mut();
        if state.guard.is_none() {
            return;
        }
        let address = state.slots.address(slot);
        for socket in turmoil_net::netstat(address).entries {
            if let Some(peer) = socket.peer {
                state.deliver(reset_segment(peer, socket.local));
            }
        }
        state.orphans.retain(|way, ()| !way.comes_from(slot));
        state.delayed.retain(|packet| packet.src != address && packet.dst != address);
        // Whatever still arrives for them is answered at once.
        let of_slot = state.flows.iter_mut().filter(|(way, _)| way.touches(slot));
        of_slot.for_each(|(_, flow)| flow.is_ending = true);
        drop(state);
        // The kernel removes reset sockets when it is next asked for packets; they send none.
        self.touch();
        self.flush();
    }

    /// Delivers everything that is due; the millisecond of the next event, if any is to come.
    fn deliver_due(&self) -> Option<u64> {
        let now_ms = self.now_ms();
        let mut state = self.state.borrow_mut();
        while state.in_flight.peek().is_some_and(|next| next.arrival.at_ms <= now_ms)
            && let Some(InFlight { arrival, packet }) = state.in_flight.pop()
        {
            if state.arrive(arrival, packet, now_ms) {
                self.touch();
            }
        }
        state.release_delayed(now_ms);
        let give_up_before = (now_ms + 1).saturating_sub(self.tcp_user_timeout_ms);
        if state.expire_parked(give_up_before) {
            self.touch();
        }
        let next_arrival = state.in_flight.peek().map(|next| next.arrival.at_ms);
        let next_expiry = state.oldest_parked().map(|since_ms| since_ms + self.tcp_user_timeout_ms);
        next_arrival.into_iter().chain(next_expiry).min()
    }
}

impl State {
    /// Gives a packet its time of arrival. One that waits for company draws none: when it is collected, or whether at
    /// all, moves nothing else.
    fn send(&mut self, packet: Packet, now_ms: u64) {
        let Some((from, to)) = self.ends(&packet) else { return };
        if self.dark.contains(&from) {
            return;
        }
        let leaves_ms = now_ms.max(self.slots.held_until_ms(packet.src));
        let Transport::Tcp(segment) = &packet.payload else { return };
        note(|| Step::Packet {
            from: SocketAddr::new(packet.src, segment.src_port),
            to: SocketAddr::new(packet.dst, segment.dst_port),
            bytes: segment.payload.len(),
        });
        let way = way_of(&packet, segment);
        let (known, other) = (self.flows.get(&way).copied(), self.flows.get(&way.back()).copied());
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        if let Some(flow) = &known
            && flow.may_delay(segment, other.as_ref())
            && self.cut.is_empty()
        {
            let due_ms = flow.last_arrival_ms.max(leaves_ms) + LONGEST_ACK_DELAY_MS;
            let arrival = Arrival { at_ms: due_ms, rank: flow.rank, sequence };
            self.delayed.insert(way, Delayed { arrival, packet });
            return;
        }
        if known.is_none() {
            self.forget_old_flows(now_ms);
        }
        let latency_ms = self.draw_latency(from, to).as_millis() as u64;
        let order_draw = &self.order_draw;
        let flow = self.flows.entry(way).or_insert_with(|| Flow::ranked(order_draw.next_u64()));
        flow.last_arrival_ms = flow.last_arrival_ms.max(leaves_ms + latency_ms);
        let arrival = Arrival { at_ms: flow.last_arrival_ms, rank: flow.rank, sequence };
        flow.follow(segment);
        // It says all that those said which waited, and whoever ends the connection waits for nothing more.
        self.delayed.remove(way);
        if flow.is_ending {
            self.delayed.remove(way.back());
        }
        let is_next = self.in_flight.peek().is_none_or(|first| arrival < first.arrival);
        self.in_flight.push(InFlight { arrival, packet });
        self.is_early |= is_next;
    }

    /// Delivers the acknowledgements that have waited long enough.
    fn release_delayed(&mut self, now_ms: u64) {
        while let Some((way, Delayed { arrival, packet })) = self.delayed.pop_due(now_ms) {
            if let (Some(flow), Transport::Tcp(segment)) = (self.flows.get_mut(&way), &packet.payload) {
                flow.follow(segment);
            }
            self.arrive(arrival, packet, now_ms);
        }
    }

    /// A packet has crossed the wire; whether its receiver may have an answer that somebody waits for.
    fn arrive(&mut self, arrival: Arrival, packet: Packet, now_ms: u64) -> bool {
        let Some((from, to)) = self.ends(&packet) else { return false };
        if self.dark.contains(&to) {
            return false;
        }
        if let Some(parked) = self.cut.get_mut(&Link::between(from, to)) {
            parked.push(Parked { since_ms: now_ms, arrival, packet });
            return false;
        }
        let Transport::Tcp(segment) = &packet.payload else { return false };
        let way = way_of(&packet, segment);
        let is_last = segment.flags.rst || segment.flags.fin;
        if !segment.payload.is_empty()
            && self.orphans.swap_remove(&way.back()).is_some()
            && let Some((remote, local)) = tcp_ends(&packet)
        {
            // Data for a socket that nobody holds any more: Linux answers with a reset, the kernel here would
            // buffer it for ever.
            self.deliver(reset_segment(remote, local));
            self.send(reset_segment(local, remote), now_ms);
            return true;
        }
        if is_last {
            self.orphans.swap_remove(&way.back());
        }
        let other = self.flows.get(&way).copied();
        let mut may_answer = true;
        if let (Some(flow), Some(other)) = (self.flows.get_mut(&way.back()), other) {
            may_answer = !self.cut.is_empty() || !flow.can_stay_silent(segment, &other);
            flow.hear(segment);
        }
        self.deliver_on(way, packet);
        may_answer
    }

    fn deliver(&mut self, packet: Packet) {
        if let Transport::Tcp(segment) = &packet.payload {
            self.deliver_on(way_of(&packet, segment), packet);
        }
    }

    /// Hands the kernel a packet that came that way.
    fn deliver_on(&mut self, way: Way, packet: Packet) {
        let mut told = None;
        if let Transport::Tcp(segment) = &packet.payload {
            let TcpFlags { rst, fin, .. } = segment.flags;
            if rst {
                self.lines.reset(way.back());
            } else if fin || !segment.payload.is_empty() {
                told = self.lines.bring_news(way.back(), fin);
            }
        }
        if let Some(guard) = &self.guard {
            guard.deliver(packet);
        }
        if let Some(line) = told {
            line.wake_readers();
        }
    }

    /// Resets the connections of packets that were parked before `before_ms`; whether there were any.
    fn expire_parked(&mut self, before_ms: u64) -> bool {
        if self.oldest_parked().is_none_or(|since_ms| since_ms >= before_ms) {
            return false;
        }
        let mut expired = BTreeSet::new();
        for parked in self.cut.values().flatten().filter(|parked| parked.since_ms < before_ms) {
            expired.extend(tcp_ends(&parked.packet));
        }
        let gone = |packet: &Packet| {
            tcp_ends(packet).is_some_and(|(a, b)| expired.contains(&(a, b)) || expired.contains(&(b, a)))
        };
        self.cut.values_mut().for_each(|parked| parked.retain(|parked| !gone(&parked.packet)));
        for (from, to) in &expired {
            self.deliver(reset_segment(*from, *to));
            self.deliver(reset_segment(*to, *from));
        }
        true
    }

    fn oldest_parked(&self) -> Option<u64> {
        self.cut.values().filter_map(|parked| parked.first()).map(|parked| parked.since_ms).min()
    }

    fn draw_latency(&self, a: MachineId, b: MachineId) -> Duration {
        let range = self.latency_of.get(&Link::between(a, b)).unwrap_or(&self.latency);
        self.latency_draw.duration_in(range)
    }

    fn ends(&self, packet: &Packet) -> Option<(MachineId, MachineId)> {
        Some((self.slots.machine_at(packet.src)?, self.slots.machine_at(packet.dst)?))
    }

    /// A flow without packets in flight has nothing to keep in order.
    fn forget_old_flows(&mut self, now_ms: u64) {
        const FLOWS_KEPT: usize = 4096;
        if self.flows.len() >= FLOWS_KEPT && self.flows.len().is_power_of_two() {
            self.flows.retain(|_, flow| flow.last_arrival_ms >= now_ms);
        }
    }
}

/// The way of a packet.
fn way_of(packet: &Packet, segment: &TcpSegment) -> Way {
    let from = SocketAddr::new(packet.src, segment.src_port);
    Way::between(from, SocketAddr::new(packet.dst, segment.dst_port))
}

/// Wakes the pump when the next packet is due.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it rings; `None` once it has rung.
    at_ms: Option<u64>,
    pump: Waker,
}

impl Alarm {
    /// Sets it to `at_ms`; ready when that is over already.
    fn set(&mut self, epoch: Instant, at_ms: u64) -> Poll<()> {
        if self.at_ms != Some(at_ms) {
            self.at_ms = Some(at_ms);
            self.sleep.as_mut().reset(epoch + Duration::from_millis(at_ms));
        }
        let rung = self.sleep.as_mut().poll(&mut Context::from_waker(&self.pump));
        if rung.is_ready() {
            // A finished sleep must be armed again, even for the same millisecond.
            self.at_ms = None;
        }
        rung
    }
}

/// The task that delivers packets when they are due. It never ends.
pub(super) struct Pump {
    network: Rc<Network>,
}

impl Pump {
    pub(super) fn new(network: Rc<Network>) -> Self {
        Self { network }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let network = &self.network;
        if network.alarm.borrow().is_none() {
            let sleep = Box::pin(tokio::time::sleep_until(network.epoch));
            *network.alarm.borrow_mut() = Some(Alarm { sleep, at_ms: None, pump: cx.waker().clone() });
        }
        loop {
            let due_ms = network.deliver_due();
            let mut alarm = network.alarm.borrow_mut();
            let Some(alarm) = &mut *alarm else { return Poll::Pending };
            if !alarm.pump.will_wake(cx.waker()) {
                alarm.pump.clone_from(cx.waker());
            }
            match due_ms {
                Some(due_ms) if alarm.set(network.epoch, due_ms).is_ready() => {}
                Some(_) => return Poll::Pending,
                None => {
                    alarm.at_ms = None;
                    return Poll::Pending;
                }
            }
        }
    }
}
