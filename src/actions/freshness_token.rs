//! The token by which a client reads its own writes.

use crate::durable::{MAX_STREAMS, Position, Positions};

/// First byte of a token that names streams.
const NAMES_STREAMS: u8 = 1;
/// Bytes of that and of the number of the log.
const HEAD: usize = 9;
/// Bytes of one position.
const POSITION: usize = 9;

/// Names a moment in a log of recorded actions. A request that carries it wants an answer
/// that reflects all actions up to then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshnessToken {
    /// The log that holds the actions.
    pub(super) log_id: u64,
    /// Up to where, in each of its streams.
    pub(super) positions: Positions,
}

impl FreshnessToken {
    /// The token as a client sees it, numbers in big endian: 8 bytes of the log and 8 of the
    /// position in its only stream; or a byte 1, 8 of the log, and for each stream 1 of its
    /// number and 8 of the position.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let log_id = self.log_id.to_be_bytes();
        if let sequences @ ([] | [_]) = self.positions.sequences() {
            let sequence = sequences.first().copied().unwrap_or(0);
            return [log_id, sequence.to_be_bytes()].concat();
        }
        let mut bytes = vec![NAMES_STREAMS];
        bytes.extend(log_id);
        for (stream, sequence) in (0u8..).zip(self.positions.sequences()) {
            if *sequence > 0 {
                bytes.push(stream);
                bytes.extend(sequence.to_be_bytes());
            }
        }
        bytes
    }

    /// The token of these bytes; none when they are no token.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if let Ok(both) = bytes.try_into().map(u128::from_be_bytes) {
            let sequence = both as u64;
            let position = Position {
                stream: 0,
                sequence,
            };
            return Some(Self {
                log_id: (both >> 64) as u64,
                positions: [position].into_iter().collect(),
            });
        }
        let (head, positions) = bytes.split_at_checked(HEAD)?;
        let log_id = head.strip_prefix(&[NAMES_STREAMS])?;
        let (positions, rest) = positions.as_chunks::<POSITION>();
        if !rest.is_empty() || positions.len() > MAX_STREAMS {
            return None;
        }
        let position = |&[stream, ref sequence @ ..]: &[u8; POSITION]| {
            let sequence = u64::from_be_bytes(*sequence);
            let is_known = usize::from(stream) < MAX_STREAMS;
            is_known.then_some(Position { stream, sequence })
        };
        Some(Self {
            log_id: u64::from_be_bytes(log_id.try_into().ok()?),
            positions: positions.iter().map(position).collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(log_id: u64, sequences: &[u64]) -> FreshnessToken {
        FreshnessToken {
            log_id,
            positions: Positions::new(sequences.to_vec()).expect("few streams"),
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_written_and_other_lengths_are_refused() {
        for sequences in [&[7][..], &[0, 0, 9], &[1, 2], &[3; MAX_STREAMS]] {
            let token = token(u64::MAX - 1, sequences);
            let bytes = token.to_bytes();
            assert_eq!(FreshnessToken::from_bytes(&bytes), Some(token));
            assert_eq!(FreshnessToken::from_bytes(&bytes[1..]), None);
        }
        assert_eq!(FreshnessToken::from_bytes(&[]), None);
    }

    #[test]
    fn the_token_of_a_single_machine_is_what_it_was_before_there_were_streams() {
        let bytes = token(1, &[2]).to_bytes();
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(token(1, &[]).to_bytes(), token(1, &[0]).to_bytes());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..170)) {
            for bytes in [bytes.clone(), [&[1], &bytes[..]].concat()] {
                if let Some(token) = FreshnessToken::from_bytes(&bytes) {
                    let again = FreshnessToken::from_bytes(&token.to_bytes());
                    prop_assert_eq!(again.map(|again| again.positions.cover(&token.positions)),
                        Some(true));
                }
            }
        }
    }
}
