//! A set of pins for the length of one request.
//!
//! Open addressing with linear probing in memory that is used again. The slots
//! hold indices into a list of the pins, so that many slots take little memory. Most
//! slots are empty, so most searches end at the first one, as the processor predicts.
//!
//! The first slot of a pin follows from its id by fixed multiplications. Only pins of
//! the catalog and of profiles are inserted, which are data of the operator. Pins that a
//! caller excludes could be chosen to collide. `std`'s hash would withstand that, and
//! costs several times as much.

use crate::model::PinId;

/// Minimum number of slots for each pin.
const SLOTS_PER_PIN: usize = 8;
/// An empty slot.
const EMPTY: u32 = 0;
/// 2^64 divided by the golden ratio: spreads numbers that differ in few bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Another odd number without a pattern.
const SPREAD_FIRST: u64 = 0xd6e8_feb8_6659_fd93;

/// A set of pins. It must be reset before each use.
#[derive(Clone, Debug, Default)]
pub(super) struct PinSet {
    pins: Vec<PinId>,
    /// Indices into `pins`, counted from 1. The number of slots is a power of two.
    slots: Vec<u32>,
    /// Number of bits by which the product of a pin is shifted to give a slot.
    shift: u32,
}

impl PinSet {
    /// Empties the set and makes room for `capacity` pins.
    pub(super) fn reset(&mut self, capacity: usize) {
        let slots = (capacity.max(1) * SLOTS_PER_PIN).next_power_of_two();
        self.pins.clear();
        self.slots.clear();
        self.slots.resize(slots, EMPTY);
        self.shift = u64::BITS - slots.trailing_zeros();
    }

    /// Adds `pin`, and says whether it is new. The set must have room.
    #[inline]
    pub(super) fn insert(&mut self, pin: PinId) -> bool {
        let slot = self.slot(pin);
        let new = self.slots[slot] == EMPTY;
        if new {
            self.pins.push(pin);
            self.slots[slot] = self.pins.len() as u32;
        }
        new
    }

    /// Whether `pin` is in the set.
    #[inline]
    pub(super) fn contains(&self, pin: PinId) -> bool {
        self.slots[self.slot(pin)] != EMPTY
    }

    /// The slot of `pin`, or the empty one where it would be.
    #[inline]
    fn slot(&self, pin: PinId) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.first_slot(pin) & mask;
        while self.slots[slot] != EMPTY && self.pins[self.slots[slot] as usize - 1] != pin {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// The slot where the search for `pin` begins, before it is masked.
    #[inline]
    fn first_slot(&self, pin: PinId) -> usize {
        (spread(pin) >> self.shift) as usize
    }
}

/// A number whose highest bits differ for most pins, in whatever pattern their ids come.
#[inline]
pub(super) fn spread(pin: PinId) -> u64 {
    // The highest bits of a product depend on all bits of a factor. One round
    // would crowd ids in steps of certain sizes, 2^50 for one.
    let fold = |bits: u64| bits ^ (bits >> 32);
    let once = fold(pin.0).wrapping_mul(SPREAD_FIRST);
    fold(once).wrapping_mul(SPREAD)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(
            rounds in prop::collection::vec(
                prop::collection::vec(prop_oneof![0u64..40, any::<u64>()], 0..60), 1..4),
        ) {
            let mut set = PinSet::default();
            for pins in rounds {
                set.reset(pins.len());
                let mut twin = HashSet::new();
                for &pin in &pins {
                    prop_assert_eq!(set.contains(PinId(pin)), twin.contains(&pin));
                    prop_assert_eq!(set.insert(PinId(pin)), twin.insert(pin));
                }
                for pin in (0..50).chain(pins) {
                    prop_assert_eq!(set.contains(PinId(pin)), twin.contains(&pin));
                }
            }
        }
    }

    #[test]
    fn ids_in_steps_do_not_crowd() {
        let powers = (0..54).map(|shift| 1 << shift);
        let products = [3, 1_000, 1_000_003, SPREAD, SPREAD.wrapping_mul(SPREAD)];
        for step in powers.chain(products) {
            let mut set = PinSet::default();
            set.reset(500);
            let first_slots = (1..=500u64).map(|i| set.first_slot(PinId(i.wrapping_mul(step))));
            let first_slots: HashSet<usize> = first_slots.collect();
            // By chance it would be 471 of the 4096.
            assert!(
                first_slots.len() > 440,
                "{} at steps of {step}",
                first_slots.len()
            );
        }
    }
}
