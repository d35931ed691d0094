//! The exact neighbors of many pins at once.
//!
//! The codes of a few thousand nodes stay in the cache while many pins are
//! compared with them. A code gives a cosine only approximately, but its greatest error
//! is known: nodes that cannot be among the best by that bound are left out, and the
//! rest is put in order from the vectors. So the lists are those of the exact scan.

use rayon::prelude::*;

use super::quantization::Query;
use super::{Catalog, PinTable};
use crate::kernel;
use crate::model::Neighbor;

/// Pins that are compared with a stretch of codes while it is in the cache.
const PINS_PER_BLOCK: usize = 32;
/// Nodes of a stretch: 256 KiB of codes at 256 dimensions.
const STRETCH: usize = 1024;

/// The `depth` nearest pins of each pin at `positions`, itself among them, by
/// [`Neighbor::by_descending_score`]; fewer where the catalog has no more. Computed on all
/// cores.
pub fn exact_lists(catalog: &Catalog, positions: &[usize], depth: usize) -> Vec<Vec<Neighbor>> {
    positions
        .par_chunks(PINS_PER_BLOCK)
        .flat_map_iter(|block| lists_of_block(catalog, block, depth))
        .collect()
}

/// The lists of the pins at `positions`, few enough to be compared together.
fn lists_of_block(catalog: &Catalog, positions: &[usize], depth: usize) -> Vec<Vec<Neighbor>> {
    let mut candidates: Vec<Candidates<'_>> = positions
        .iter()
        .map(|&position| Candidates::new(catalog, position))
        .collect();
    scan_codes(catalog, &mut candidates, depth);
    candidates
        .into_iter()
        .map(|candidates| candidates.into_list(&catalog.pins, depth))
        .collect()
}

/// Compares all codes with all of `candidates`, one stretch at a time.
fn scan_codes(catalog: &Catalog, candidates: &mut [Candidates<'_>], depth: usize) {
    let Catalog { pins, codes, .. } = catalog;
    let nodes = pins.vectors().len();
    let (mut stretch, mut sums) = (Vec::new(), Vec::new());
    for first in (0..nodes).step_by(STRETCH) {
        stretch.clear();
        stretch.extend(first as u32..(first + STRETCH).min(nodes) as u32);
        for candidates in &mut *candidates {
            codes.dot_nodes(&candidates.query, &stretch, &mut sums);
            candidates.add(&sums, &stretch);
            if candidates.scored.len() >= 4 * depth + STRETCH {
                candidates.tighten(depth);
            }
        }
    }
}

/// Nodes that may be among the nearest of one pin, as far as codes were compared.
struct Candidates<'a> {
    /// The vector of the pin.
    target: &'a [f32],
    query: Query,
    /// Two sums this far apart may stand in either order in truth.
    margin: i32,
    /// Nodes with a lower sum are not among the best.
    min_sum: i32,
    /// Each sum of the kernel with its node.
    scored: Vec<(i32, u32)>,
}

impl<'a> Candidates<'a> {
    /// No candidates, for the pin at `position`.
    fn new(catalog: &'a Catalog, position: usize) -> Self {
        let Catalog { pins, codes, .. } = catalog;
        let target = pins.vectors().row(pins.node(position));
        let mut query = Query::default();
        codes.prepare(target, &mut query);
        Self {
            target,
            margin: (2.0 * codes.max_error(target, &query) / query.unit).ceil() as i32,
            query,
            min_sum: i32::MIN,
            scored: Vec::new(),
        }
    }

    /// Adds those of `nodes` whose sum is high enough.
    fn add(&mut self, sums: &[i32], nodes: &[u32]) {
        let scored = sums.iter().copied().zip(nodes.iter().copied());
        let min_sum = self.min_sum;
        self.scored
            .extend(scored.filter(|&(sum, _)| sum >= min_sum));
    }

    /// Leaves out nodes that cannot be among the best `depth`: the nodes of the best
    /// `depth` sums are at least as near as the last of them, less one error, and
    /// any other node may be nearer than its sum by one error.
    fn tighten(&mut self, depth: usize) {
        if self.scored.len() > depth {
            let by_descending_sum = |a: &(i32, u32), b: &(i32, u32)| b.0.cmp(&a.0);
            let (_, last, _) = self
                .scored
                .select_nth_unstable_by(depth - 1, by_descending_sum);
            self.min_sum = last.0.saturating_sub(self.margin);
            let min_sum = self.min_sum;
            self.scored.retain(|&(sum, _)| sum >= min_sum);
        }
    }

    /// The best `depth` pins of the candidates, put in order from their vectors.
    fn into_list(mut self, pins: &PinTable, depth: usize) -> Vec<Neighbor> {
        self.tighten(depth);
        let nodes = self.scored.iter().map(|&(_, node)| node as usize);
        let rows = nodes.clone().map(|node| pins.vectors().row(node));
        let mut cosines = Vec::new();
        kernel::dot_rows(self.target, rows, &mut cosines);
        let mut list = nodes
            .zip(cosines)
            .flat_map(|(node, cosine)| pins.neighbors_of_node(node, cosine))
            .collect();
        Neighbor::keep_best(&mut list, depth);
        list
    }
}
