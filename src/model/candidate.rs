//! Neighbors that retrieval finds, and candidates that are recommended. Each says why it
//! is there.

use super::PinId;

/// A pin that retrieval found near a medoid or a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbor {
    /// The pin.
    pub pin: PinId,
    /// Its cosine to what it was found near, in [-1, 1].
    pub score: f32,
}

impl Neighbor {
    /// The order of every list of neighbors: by descending score, then by pin id.
    pub fn by_descending_score(a: &Self, b: &Self) -> std::cmp::Ordering {
        b.score.total_cmp(&a.score).then(a.pin.cmp(&b.pin))
    }

    /// Sorts `neighbors` in that order, and keeps the best `k`.
    pub fn keep_best(neighbors: &mut Vec<Self>, k: usize) {
        neighbors.sort_unstable_by(Self::by_descending_score);
        neighbors.truncate(k);
    }
}

/// A recommended pin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The pin.
    pub pin: PinId,
    /// Its cosine to the seed or the medoid that found it, in [-1, 1].
    pub score: f32,
    /// Index of that among the seeds of the request, which come first, and the sampled
    /// medoids.
    pub medoid_index: usize,
}
