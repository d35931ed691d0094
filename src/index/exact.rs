//! The exact scan: every pin is looked at. The yardstick of recall, and what the
//! walk falls back to when it would have to look at most pins anyway.

use super::{PinTable, RetrieveNear};
use crate::kernel;
use crate::model::{Neighbor, PinId};
use crate::recommend::{Retrieve, Retrieved, SearchParams};

/// Nodes scored in one call of the kernel.
const BLOCK: usize = 1024;

/// Exact retrieval over the pins of a catalog.
#[derive(Clone, Copy, Debug)]
pub struct Exact<'a>(pub &'a PinTable);

impl Retrieve for Exact<'_> {
    fn contains(&self, pin: PinId) -> bool {
        self.0.place(pin).is_some()
    }

    fn neighbors(
        &self,
        pin: PinId,
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        match self.0.vector(pin) {
            Some(query) => self.near(query, wanted, out),
            None => {
                out.clear();
                Retrieved::Complete
            }
        }
    }
}

impl RetrieveNear for Exact<'_> {
    /// A scan has no effort that could be less.
    fn near(&self, query: &[f32], wanted: &SearchParams<'_>, out: &mut Vec<Neighbor>) -> Retrieved {
        let SearchParams { k, eligible, .. } = *wanted;
        out.clear();
        let vectors = self.0.vectors();
        let mut scores = Vec::new();
        let blocks = vectors.as_slice().chunks(BLOCK * vectors.dimension());
        for (node, block) in (0..).step_by(BLOCK).zip(blocks) {
            if wanted.deadline.has_passed() {
                return Retrieved::DeadlinePassed;
            }
            let rows = block.chunks_exact(vectors.dimension());
            kernel::dot_each(query, rows, &mut scores);
            // Pins that can no longer be among the best k are not even looked up.
            let least = out
                .get(k.wrapping_sub(1))
                .map_or(f32::NEG_INFINITY, |worst| worst.score);
            for (node, &score) in (node..).zip(&scores) {
                if score.clamp(-1.0, 1.0) >= least {
                    let duplicates = self.0.neighbors_at(node, score);
                    out.extend(duplicates.filter(|neighbor| eligible(neighbor.pin)));
                }
            }
            Neighbor::keep_best(out, k);
        }
        Retrieved::Complete
    }
}
