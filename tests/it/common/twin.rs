//! A naive twin of retrieval: all pins of a table, sorted.

use std::collections::HashMap;

use pinnersage::index::Catalog;
use pinnersage::model::{Embeddings, Neighbor, PinId};

use super::{DIMENSION, PINS};

/// The unit vectors of a table of pins, by pin.
pub(crate) struct Table(pub(crate) HashMap<u64, Vec<f32>>);

impl Table {
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let vector = |pin: u64| Some((pin, catalog.pins.vector(PinId(pin))?.to_vec()));
        Self((0..PINS).filter_map(vector).collect())
    }

    /// All pins but `blocked`, nearest to `target` first.
    pub(crate) fn sorted(&self, target: &[f32], blocked: &[u64]) -> Vec<Neighbor> {
        let pins = self.0.iter().filter(|(pin, _)| !blocked.contains(pin));
        let mut all: Vec<Neighbor> = pins
            .map(|(&pin, vector)| Neighbor {
                pin: PinId(pin),
                score: pinnersage::kernel::dot(target, vector).clamp(-1.0, 1.0),
            })
            .collect();
        all.sort_by(Neighbor::by_descending_score);
        all
    }
}

/// `vector`, normalized.
pub(crate) fn unit(vector: &[f32]) -> Vec<f32> {
    let mut vectors = Embeddings::new(DIMENSION).expect("a dimension");
    vectors.push(vector).expect("a vector");
    vectors.row(0).to_vec()
}
