//! The pins that a request excludes, up to many thousands.

use super::pin_set::spread;
use crate::model::PinId;

/// Bits for each pin, at least: of the pins that are not excluded, one in so many is looked
/// up for nothing.
const BITS_PER_PIN: usize = 16;
const WORD: usize = u64::BITS as usize;

/// The pins that a request excludes.
///
/// Most pins that are asked about are not excluded, and one bit says so. What a caller
/// excludes could be chosen so that bits collide; then the list decides, as it does for
/// pins that are excluded.
#[derive(Debug, Default)]
pub(super) struct ExcludedPins {
    /// Ascending.
    pins: Vec<PinId>,
    /// The bit of each pin is set. Their number is a power of two.
    bits: Vec<u64>,
    /// Number of bits by which the product of a pin is shifted to give its bit.
    shift: u32,
}

impl ExcludedPins {
    /// Replaces the pins.
    pub(super) fn reset(&mut self, excluded: &[PinId]) {
        let Self { pins, bits, shift } = self;
        pins.clear();
        pins.extend_from_slice(excluded);
        // Stable, as this sort makes use of the long ascending run that a page token brings.
        pins.sort();
        let count = (pins.len() * BITS_PER_PIN).next_power_of_two().max(WORD);
        *shift = u64::BITS - count.trailing_zeros();
        bits.clear();
        bits.resize(count / WORD, 0);
        for &pin in &*pins {
            let bit = (spread(pin) >> *shift) as usize;
            bits[bit / WORD] |= 1 << (bit % WORD);
        }
    }

    /// Whether `pin` is excluded. The pins must have been reset before.
    #[inline]
    pub(super) fn contains(&self, pin: PinId) -> bool {
        // Most requests exclude nothing.
        if self.pins.is_empty() {
            return false;
        }
        let bit = (spread(pin) >> self.shift) as usize;
        let may_be = self.bits[bit / WORD] >> (bit % WORD) & 1 != 0;
        may_be && self.pins.binary_search(&pin).is_ok()
    }
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
                prop::collection::vec(prop_oneof![0u64..400, any::<u64>()], 0..300), 1..4),
        ) {
            let mut excluded = ExcludedPins::default();
            for pins in rounds {
                let list: Vec<PinId> = pins.iter().copied().map(PinId).collect();
                excluded.reset(&list);
                let twin: HashSet<u64> = pins.iter().copied().collect();
                for pin in (0..500).chain(pins.iter().flat_map(|&pin| [pin, pin ^ 1, !pin])) {
                    prop_assert_eq!(excluded.contains(PinId(pin)), twin.contains(&pin));
                }
            }
        }
    }

    #[test]
    fn of_pins_that_are_not_excluded_few_are_looked_up() {
        let mut excluded = ExcludedPins::default();
        let list: Vec<PinId> = (0..10_000).map(|i| PinId(i * 997)).collect();
        excluded.reset(&list);
        let is_set = |pin: &u64| {
            let bit = (spread(PinId(*pin)) >> excluded.shift) as usize;
            excluded.bits[bit / WORD] >> (bit % WORD) & 1 != 0
        };
        let looked_up = (0..100_000).map(|i| i * 997 + 1).filter(is_set).count();
        assert!(looked_up < 100_000 / BITS_PER_PIN, "{looked_up}");
    }
}
