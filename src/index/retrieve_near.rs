//! Retrieval by a vector, which may be that of no pin.

use crate::model::Neighbor;
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// Retrieval by a vector as well, which may be that of no pin.
pub trait RetrieveNear: Retrieve {
    /// Like [`Retrieve::neighbors`], for the unit vector `target`.
    fn near(&self, target: &[f32], params: &SearchParams<'_>, out: &mut Vec<Neighbor>)
    -> Retrieved;
}
