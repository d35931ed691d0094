//! Where an id stands among ascending ids: buckets of equal width, and a binary search in
//! one of them. Ids that are numbered or hashes lie evenly, so a bucket has a few; where ids
//! lie in clumps, the search takes more steps, at most as many as without buckets.

use crate::model::PinId;

/// Ids of a bucket, if they lie evenly.
const IDS_PER_BUCKET: usize = 4;

/// The buckets of ascending ids.
#[derive(Debug, Default)]
pub(super) struct IdBuckets {
    first: u64,
    /// An id belongs to the bucket of its distance from the first, shifted by so many bits.
    shift: u32,
    /// Where each bucket begins among the ids; the last entry is their number.
    begins: Vec<u32>,
}

impl IdBuckets {
    /// The buckets of `ids`, which ascend.
    pub(super) fn new(ids: &[PinId]) -> Self {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Self::default();
        };
        let (first, range) = (first.0, last.0 - first.0);
        let buckets = (ids.len() / IDS_PER_BUCKET).max(1) as u64;
        let bits = |number: u64| u64::BITS - number.leading_zeros();
        // At most twice as many buckets as that.
        let shift = bits(range).saturating_sub(bits(buckets)).min(u64::BITS - 1);
        let count = (range >> shift) as usize + 1;
        let mut begins = vec![0u32; count + 1];
        for id in ids {
            begins[((id.0 - first) >> shift) as usize + 1] += 1;
        }
        for bucket in 0..count {
            begins[bucket + 1] += begins[bucket];
        }
        Self {
            first,
            shift,
            begins,
        }
    }

    /// Position of `id` among `ids`, those that the buckets were made of.
    #[inline]
    pub(super) fn position(&self, id: PinId, ids: &[PinId]) -> Option<usize> {
        let bucket = (id.0.checked_sub(self.first)? >> self.shift) as usize;
        let &[begin, end] = self.begins.get(bucket..)?.first_chunk()?;
        let (begin, end) = (begin as usize, end as usize);
        let found = ids.get(begin..end)?.binary_search(&id).ok()?;
        Some(begin + found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ids that lie evenly, in clumps, or at the ends of their range.
    fn id() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0..300u64,
            (0..4u64).prop_map(|at| (1 << 40) + at),
            Just(u64::MAX),
        ]
    }

    proptest! {
        #[test]
        fn positions_are_those_of_a_binary_search(
            ids in prop::collection::btree_set(id(), 0..200),
            others in prop::collection::vec(id(), 0..50),
        ) {
            let ids: Vec<PinId> = ids.into_iter().map(PinId).collect();
            let buckets = IdBuckets::new(&ids);
            prop_assert!(buckets.begins.len() <= 2 * (ids.len() / IDS_PER_BUCKET).max(1) + 2);
            for id in ids.iter().copied().chain(others.into_iter().map(PinId)) {
                prop_assert_eq!(buckets.position(id, &ids), ids.binary_search(&id).ok());
            }
        }
    }
}
