//! The randomness of one user on one day. It is the same for all models, whatever was
//! replayed before.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::model::{Timestamp, UserId};

/// The purposes of random numbers. Each has a stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Sample,
    Negatives,
    KMeans,
    Random,
}

/// The seed of one user on one day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seeds(u64);

impl Seeds {
    pub(super) fn new(seed: u64, user: UserId, day: Timestamp) -> Self {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&user.0.to_le_bytes());
        bytes[16..].copy_from_slice(&day.micros().to_le_bytes());
        Self(xxhash_rust::xxh3::xxh3_64(&bytes))
    }

    /// A generator for one purpose, which always yields the same numbers.
    pub(super) fn rng(self, purpose: Purpose) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.0);
        rng.set_stream(match purpose {
            Purpose::Sample => 0,
            Purpose::Negatives => 1,
            Purpose::KMeans => 2,
            Purpose::Random => 3,
        });
        rng
    }
}
