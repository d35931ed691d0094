//! History filters: the pins that a user acted on, in a binary fuse filter a user. It takes 212 bytes for
//! 100 pins, 3.6 kB for 3,000 (see the test), and nine bits a pin in the limit.
//!
//! It never forgets a pin of the history; one in 256 other pins is taken for one
//! of it too, and so not recommended to this user.

use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter, FilterRef};

use crate::model::PinId;

/// Rate at which a pin outside of the history is taken for one inside.
pub const FALSE_POSITIVE_RATE: f64 = 1.0 / 256.0;

/// The history of one user, in place in the bytes of its file.
#[derive(Clone, Debug)]
pub struct HistoryFilter<'a>(BinaryFuse8Ref<'a>);

/// Bytes that are no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a history filter is malformed")]
pub struct InvalidFilter;

impl<'a> HistoryFilter<'a> {
    /// The bytes of a filter over `pins`, which must be distinct.
    ///
    /// None when none could be constructed, which for distinct pins is
    /// practically impossible. Equal pins in equal order give equal bytes.
    pub fn encode(pins: &[PinId]) -> Option<Vec<u8>> {
        let keys: &[u64] = bytemuck::cast_slice(pins);
        let filter = BinaryFuse8::try_from(keys).ok()?;
        let mut bytes = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut bytes);
        bytes.extend_from_slice(filter.dma_fingerprints());
        Some(bytes)
    }

    /// A filter over bytes that [`Self::check`] has accepted.
    pub fn decode(bytes: &'a [u8]) -> Self {
        let (descriptor, fingerprints) = bytes.split_at(BinaryFuse8::DESCRIPTOR_LEN);
        Self(BinaryFuse8Ref::from_dma(descriptor, fingerprints))
    }

    /// Refuses bytes from which [`Self::contains`] would read out of bounds: a
    /// key is looked up in three neighboring segments.
    pub fn check(bytes: &[u8]) -> Result<(), InvalidFilter> {
        // The descriptor: seed (8 bytes), segment length, its mask, and the
        // length of all segments in which a first lookup may fall (4 each).
        let Some((descriptor, fingerprints)) = bytes.split_at_checked(BinaryFuse8::DESCRIPTOR_LEN)
        else {
            return Err(InvalidFilter);
        };
        let (words, _) = descriptor[8..].as_chunks::<4>();
        let [segment, mask, first] = [0, 1, 2].map(|at| u64::from(u32::from_le_bytes(words[at])));
        let fits = segment.is_power_of_two()
            && mask == segment - 1
            && first > 0
            && first.is_multiple_of(segment)
            && first + 2 * segment <= fingerprints.len() as u64;
        if fits { Ok(()) } else { Err(InvalidFilter) }
    }

    /// Whether the user acted on `pin`, or seems to.
    pub fn contains(&self, pin: PinId) -> bool {
        self.0.contains(&pin.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_is_found_and_few_others() {
        for count in [1u64, 2, 3, 10, 100, 1_000, 3_000] {
            let pins: Vec<PinId> = (0..count).map(|i| PinId(i * i + 7)).collect();
            let bytes = HistoryFilter::encode(&pins).expect("distinct pins");
            assert_eq!(HistoryFilter::encode(&pins).expect("distinct pins"), bytes);
            HistoryFilter::check(&bytes).expect("what was encoded");
            let filter = HistoryFilter::decode(&bytes);
            assert!(pins.iter().all(|&pin| filter.contains(pin)));
            let others = (1u64 << 40..).take(100_000).map(PinId);
            let found = others.filter(|&pin| filter.contains(pin)).count();
            let expected = FALSE_POSITIVE_RATE * 100_000.0;
            assert!(
                (found as f64) < 1.5 * expected,
                "{count} pins: {found} of 100,000"
            );
        }
    }

    #[test]
    fn malformed_bytes_are_refused() {
        let bytes = HistoryFilter::encode(&[PinId(1), PinId(2)]).expect("distinct pins");
        for length in 0..bytes.len() {
            assert_eq!(HistoryFilter::check(&bytes[..length]), Err(InvalidFilter));
        }
        let mut shifted = bytes.clone();
        shifted[16] += 1;
        shifted.push(0);
        assert_eq!(
            HistoryFilter::check(&shifted),
            Err(InvalidFilter),
            "no whole segment"
        );
        for at in 8..BinaryFuse8::DESCRIPTOR_LEN {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            assert_eq!(HistoryFilter::check(&damaged), Err(InvalidFilter));
        }
    }
}
