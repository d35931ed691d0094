//! What tells one action from another where two sources may deliver the same one.

use bytemuck::{Pod, Zeroable};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{ActionId, PinId, Timestamp, UserId};

const MICROS_PER_MILLISECOND: i64 = 1_000;

/// A 64-bit hash that two deliveries of one action share. Among the actions of one user,
/// two different ones share it by chance only once in 2^64 pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct ActionIdentity(u64);

impl ActionIdentity {
    /// The identity of an action whose id is known.
    pub fn from_id(id: ActionId) -> Self {
        Self(xxh3_64(&id.0))
    }

    /// The identity of an action without an id: its user, pin and name, and its time in
    /// milliseconds, since many warehouses keep no finer one.
    pub fn from_content(user: UserId, pin: PinId, time: Timestamp, name: &str) -> Self {
        Self(hash_content(user, pin, time, name).digest())
    }
}

impl ActionId {
    /// An id for an action that has none: XXH3 of 128 bits, in big endian, over user, pin
    /// and the time in milliseconds, each in 8 bytes of little endian, and the name. The
    /// same action has the same id wherever it comes from.
    pub fn from_content(user: UserId, pin: PinId, time: Timestamp, name: &str) -> Self {
        Self(
            hash_content(user, pin, time, name)
                .digest128()
                .to_be_bytes(),
        )
    }
}

fn hash_content(user: UserId, pin: PinId, time: Timestamp, name: &str) -> Xxh3 {
    let millis = time.micros().div_euclid(MICROS_PER_MILLISECOND);
    let mut hash = Xxh3::new();
    hash.update(&user.0.to_le_bytes());
    hash.update(&pin.0.to_le_bytes());
    hash.update(&millis.to_le_bytes());
    hash.update(name.as_bytes());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_that_of_the_id_or_of_the_content_to_the_millisecond() {
        let id = |byte| ActionIdentity::from_id(ActionId([byte; 16]));
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2));
        let content = |user, pin, micros, name| {
            let time = Timestamp::from_micros(micros);
            ActionIdentity::from_content(UserId(user), PinId(pin), time, name)
        };
        let action = content(1, 2, 3_456, "save");
        assert_eq!(action, content(1, 2, 3_000, "save"));
        for other in [
            content(2, 2, 3_456, "save"),
            content(1, 1, 3_456, "save"),
            content(1, 2, 4_000, "save"),
            content(1, 2, 3_456, "hide"),
        ] {
            assert_ne!(action, other);
        }
        let id = |micros| {
            let time = Timestamp::from_micros(micros);
            ActionId::from_content(UserId(1), PinId(2), time, "save")
        };
        assert_eq!(id(3_456), id(3_000));
        assert_ne!(id(3_456), id(4_000));
    }
}
