//! The token by which a client reads its own writes.

/// Names a moment in the sequence of recorded actions. A request that carries it wants
/// an answer that reflects all actions up to then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshnessToken {
    /// The store that holds the actions.
    pub(super) store_id: u64,
    /// Number of actions accepted there up to this moment.
    pub(super) accepted: u64,
}

impl FreshnessToken {
    /// The token as a client sees it.
    pub fn to_bytes(self) -> [u8; 16] {
        let both = u128::from(self.store_id) << 64 | u128::from(self.accepted);
        both.to_be_bytes()
    }

    /// The token of these bytes; none when they are of another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let both = u128::from_be_bytes(bytes.try_into().ok()?);
        Some(Self {
            store_id: (both >> 64) as u64,
            accepted: both as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_other_lengths_are_refused() {
        let token = FreshnessToken {
            store_id: u64::MAX - 1,
            accepted: 7,
        };
        let bytes = token.to_bytes();
        assert_eq!(FreshnessToken::from_bytes(&bytes), Some(token));
        assert_eq!(FreshnessToken::from_bytes(&bytes[1..]), None);
        assert_eq!(FreshnessToken::from_bytes(&[]), None);
    }
}
