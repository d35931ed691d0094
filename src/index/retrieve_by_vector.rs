//! Retrieval by a vector that may be that of no pin.

use crate::model::Neighbor;
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// Retrieval by a vector as well as by a pin.
pub trait RetrieveByVector: Retrieve {
    /// [`Retrieve::neighbors`] of the unit vector `target`.
    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved;
}
