//! Claims on the archive of a shared log. The last one that the log took says which replica
//! writes files, until when, and of which messages. So what a file has depends on its claim
//! alone, and whoever comes later can write the same.

use std::ops::RangeInclusive;

use super::message_place::{MAX_MESSAGE, ranges};
use super::positions::{MAX_STREAMS, Positions};
use crate::model::Timestamp;

const VERSION: u8 = 1;
/// Bytes before the positions: version, holder, end of the lease, number of streams.
const HEAD: usize = 18;

/// A claim on a part of the archive. Its number in the control stream tells it from others.
///
/// It is only made once the files of all messages up to `from` are there. One of no messages
/// says that the files of all claims before are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveClaim {
    /// Random number of the process that writes the files.
    pub holder: u64,
    /// By then it has written them, or another may claim them.
    pub lease_until: Timestamp,
    /// The messages after these, by stream of actions, ...
    pub from: Positions,
    /// ... and up to these are claimed.
    pub through: Positions,
}

impl ArchiveClaim {
    /// Whether it is one of no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from.cover(&self.through)
    }

    /// The streams that have messages in it, and the numbers that actions may have in these.
    pub fn numbers(&self) -> impl Iterator<Item = (u8, RangeInclusive<u64>)> {
        ranges(&self.from, &self.through)
    }

    /// The encoded claim. Positions are those of the streams that `through` lists.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let through = self.through.sequences();
        let mut bytes = vec![VERSION];
        bytes.extend(self.holder.to_le_bytes());
        bytes.extend(self.lease_until.micros().to_le_bytes());
        bytes.push(through.len() as u8);
        for (stream, through) in (0..).zip(through) {
            bytes.extend(self.from.of(stream).to_le_bytes());
            bytes.extend(through.to_le_bytes());
        }
        bytes
    }

    /// Decodes a claim; none if it is malformed, or of another version.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let ([version, numbers @ .., streams], (pairs, [])) = (head, rest.as_chunks::<16>()) else {
            return None;
        };
        let ([holder, lease_until], []) = numbers.as_chunks::<8>() else {
            return None;
        };
        let is_known = *version == VERSION && pairs.len() == usize::from(*streams);
        if !is_known || pairs.len() >= MAX_STREAMS {
            return None;
        }
        let (mut from, mut through) = (Vec::new(), Vec::new());
        for pair in pairs {
            let pair = pair.as_chunks::<8>().0;
            let [first, last] = [0, 1].map(|at| u64::from_le_bytes(pair[at]));
            if first > last || last > MAX_MESSAGE {
                return None;
            }
            from.push(first);
            through.push(last);
        }
        Some(Self {
            holder: u64::from_le_bytes(*holder),
            lease_until: Timestamp::from_micros(i64::from_le_bytes(*lease_until)),
            from: Positions::new(from)?,
            through: Positions::new(through)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(from: &[u64], through: &[u64]) -> ArchiveClaim {
        let positions = |sequences: &[u64]| Positions::new(sequences.to_vec()).expect("few");
        ArchiveClaim {
            holder: u64::MAX - 1,
            lease_until: Timestamp::from_micros(-9),
            from: positions(from),
            through: positions(through),
        }
    }

    #[test]
    fn claims_are_read_as_they_were_written_and_nothing_else_is_read() {
        for claim in [claim(&[1, 0, 7], &[4, 0, 7]), claim(&[], &[])] {
            let bytes = claim.to_bytes();
            assert_eq!(ArchiveClaim::from_bytes(&bytes), Some(claim));
            for length in 0..bytes.len() {
                assert_eq!(ArchiveClaim::from_bytes(&bytes[..length]), None, "{length}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(ArchiveClaim::from_bytes(&longer), None);
            let other_version = [&[2], &bytes[1..]].concat();
            assert_eq!(ArchiveClaim::from_bytes(&other_version), None);
        }
        for refused in [
            claim(&[5], &[4]),
            claim(&[0], &[1 << 44]),
            claim(&[0; MAX_STREAMS], &[1; MAX_STREAMS]),
        ] {
            assert_eq!(ArchiveClaim::from_bytes(&refused.to_bytes()), None);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_are_a_claim_that_can_be_written_again() {
        let bytes = claim(&[1, 3], &[4, 3]).to_bytes();
        for (at, value) in (0..bytes.len()).flat_map(|at| (0..=255).map(move |x| (at, x))) {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            if let Some(claim) = ArchiveClaim::from_bytes(&damaged) {
                assert_eq!(claim.to_bytes(), damaged);
            }
        }
    }

    #[test]
    fn a_claim_of_no_messages_is_empty() {
        assert!(claim(&[3, 1], &[3, 1]).is_empty() && claim(&[], &[]).is_empty());
        assert!(!claim(&[3, 1], &[3, 2]).is_empty());
    }
}
