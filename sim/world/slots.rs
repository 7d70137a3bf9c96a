//! The pool of addresses: one socket kernel for every process that lives, used again after its death.
//!
//! Hosts can only be added before the socket stack starts and never removed, and every one of them is walked
//! whenever the world is idle; so the pool is small and an address that was free longest is taken first.

use std::net::{IpAddr, Ipv4Addr};

use turmoil_net::{HostId, Net};

use super::network::MachineId;

/// One address of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotId(pub(super) u16);

/// All addresses and who has them.
pub(super) struct Slots {
    slots: Vec<Slot>,
    next_vacancy: u64,
}

struct Slot {
    host: HostId,
    /// The machine of the present or last process here.
    machine: Option<MachineId>,
    /// What its kernel sends leaves no sooner than then.
    held_until_ms: u64,
    /// `None` while a process has it; otherwise the order in which it became free.
    free_since: Option<u64>,
}

impl Slots {
    pub(super) fn new(net: &mut Net, count: usize) -> Self {
        let count = count.clamp(1, 60_000) as u16;
        let slot = |number| Slot {
            host: net.add_host(address_of(SlotId(number))),
            machine: None,
            held_until_ms: 0,
            free_since: Some(0),
        };
        Self { slots: (0..count).map(slot).collect(), next_vacancy: 1 }
    }

    /// The address to use next: free for longest, if possible of a machine that `has_power`, since peers of one
    /// without power would learn of its end by a reset where they should see silence.
    pub(super) fn choose(&self, has_power: impl Fn(MachineId) -> bool) -> Option<SlotId> {
        let free = self.slots.iter().zip(0..).filter_map(|(slot, number)| {
            let is_silent = slot.machine.is_some_and(|machine| !has_power(machine));
            Some((is_silent, slot.free_since?, SlotId(number)))
        });
        free.min().map(|(_, _, slot)| slot)
    }

    /// Gives the address to a process of `machine`.
    pub(super) fn occupy(&mut self, id: SlotId, machine: MachineId) -> HostId {
        let slot = &mut self.slots[usize::from(id.0)];
        slot.machine = Some(machine);
        slot.free_since = None;
        slot.host
    }

    /// What the kernel at `id` sends leaves no sooner than `until_ms`.
    pub(super) fn hold(&mut self, id: SlotId, until_ms: u64) {
        self.slots[usize::from(id.0)].held_until_ms = until_ms;
    }

    /// When a packet from `address` may leave.
    pub(super) fn held_until_ms(&self, address: IpAddr) -> u64 {
        let slot = slot_at(address).and_then(|id| self.slots.get(usize::from(id.0)));
        slot.map_or(0, |slot| slot.held_until_ms)
    }

    /// The process is gone; the address stays with its machine until somebody needs it.
    pub(super) fn vacate(&mut self, id: SlotId) {
        self.slots[usize::from(id.0)].free_since = Some(self.next_vacancy);
        self.next_vacancy += 1;
    }

    pub(super) fn address(&self, id: SlotId) -> IpAddr {
        address_of(id)
    }

    pub(super) fn machine_at(&self, address: IpAddr) -> Option<MachineId> {
        self.slots.get(usize::from(slot_at(address)?.0))?.machine
    }

    pub(super) fn of_machine(&self, machine: MachineId) -> Vec<SlotId> {
        let mine = self.slots.iter().zip(0..).filter(|(slot, _)| slot.machine == Some(machine));
        mine.map(|(_, number)| SlotId(number)).collect()
    }
}

/// Addresses of kernels never leave the world's inside: peers are shown the address of the machine.
fn address_of(id: SlotId) -> IpAddr {
    let [high, low] = (id.0 + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 255, high, low))
}

/// Whose address it is, if it is one of a pool.
pub(super) fn slot_at(address: IpAddr) -> Option<SlotId> {
    let IpAddr::V4(address) = address else { return None };
    let [10, 255, high, low] = address.octets() else { return None };
    u16::from_be_bytes([high, low]).checked_sub(1).map(SlotId)
}
