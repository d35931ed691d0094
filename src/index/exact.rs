//! The exact scan of all pins. It is the reference for recall, and the fallback of the
//! graph search when that would have to visit most pins anyway.

use super::PinTable;
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
        self.0.position(pin).is_some()
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        match self.0.vector(pin) {
            Some(target) => self.nearest_to_vector(target, params, out),
            None => {
                out.clear();
                Retrieved::Complete
            }
        }
    }

    /// A scan always takes the same effort, whatever `params.effort` is.
    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let SearchParams { k, eligible, .. } = *params;
        out.clear();
        let vectors = self.0.vectors();
        let mut cosines = Vec::new();
        let blocks = vectors.as_slice().chunks(BLOCK * vectors.dimension());
        for (node, block) in (0..).step_by(BLOCK).zip(blocks) {
            if params.deadline.has_passed() {
                return Retrieved::DeadlinePassed;
            }
            let rows = block.chunks_exact(vectors.dimension());
            kernel::dot_rows(target, rows, &mut cosines);
            // Pins that can no longer be among the best k are not even looked up.
            let min_score = out
                .get(k.wrapping_sub(1))
                .map_or(f32::NEG_INFINITY, |worst| worst.score);
            for (node, &cosine) in (node..).zip(&cosines) {
                if cosine.clamp(-1.0, 1.0) >= min_score {
                    let neighbors = self.0.neighbors_of_node(node, cosine);
                    out.extend(neighbors.filter(|neighbor| eligible(neighbor.pin)));
                }
            }
            Neighbor::keep_best(out, k);
        }
        Retrieved::Complete
    }
}
