//! One action as a point to cluster.

use crate::model::{PinId, Timestamp};

/// One action as a point to cluster.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Row of the pin's vector in the embeddings.
    pub row: usize,
    /// The pin acted on.
    pub pin: PinId,
    /// Time of the action.
    pub time: Timestamp,
    /// Importance that an action of this kind adds at its own moment; above 0.
    pub weight: f64,
}
