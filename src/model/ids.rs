//! Identifiers. Both are opaque 64-bit numbers: the caller's own, or the hash of a key,
//! which is the caller's string.

use std::fmt;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Identifies a user.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable, Serialize, Deserialize,
)]
#[repr(transparent)]
pub struct UserId(pub u64);

/// Maximum length of a key, in bytes. The minimum is 1.
pub const MAX_KEY: usize = 256;

/// Maximum length of the title of a pin, in bytes.
pub const MAX_TITLE: usize = 1_024;

/// Identifies a pin, the item that a user acts on and that is recommended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct PinId(pub u64);

/// The id of what the caller calls `key`: XXH3 of 64 bits over its UTF-8 bytes, with seed 0.
pub fn id_of_key(key: &str) -> u64 {
    xxh3_64(key.as_bytes())
}

impl UserId {
    /// The id of the user whom the caller calls `key`: see [`id_of_key`].
    pub fn of_key(key: &str) -> Self {
        Self(id_of_key(key))
    }
}

impl PinId {
    /// The id of the pin that the caller calls `key`: see [`id_of_key`].
    pub fn of_key(key: &str) -> Self {
        Self(id_of_key(key))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Two keys of one hash, found by a search over strings of 16 hexadecimal digits.
#[cfg(test)]
pub(crate) const SAME_HASH: [&str; 2] = ["5acafa86498ffdd1", "0e99eef78e21102b"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_key_is_its_hash_which_is_the_same_everywhere() {
        // Computed with the Python package xxhash: `xxhash.xxh3_64_intdigest(key)`.
        assert_eq!(UserId::of_key("user-1"), UserId(8_968_379_626_967_066_057));
        assert_eq!(PinId::of_key("tea"), PinId(13_401_501_658_203_149_440));
        assert_eq!(id_of_key(SAME_HASH[0]), id_of_key(SAME_HASH[1]));
    }
}
