//! The exact neighbors of many pins at once.
//!
//! The codes of a few thousand nodes stay in the cache while many pins are
//! compared with them. A code tells a cosine only nearly, but how nearly is known
//! for sure: what cannot be among the best by that bound is left out, and the rest
//! is put in order from the vectors. So the lists are those of the exact scan.

use rayon::prelude::*;

use super::Catalog;
use super::quantization::Query;
use crate::kernel;
use crate::model::Neighbor;

/// Pins that are compared with a stretch of codes while it is in the cache.
const BLOCK: usize = 32;
/// Nodes of a stretch: 256 KiB of codes at 256 dimensions.
const STRETCH: usize = 1024;

/// For each pin in `places` its `depth` nearest pins, itself among them, by
/// [`Neighbor::by_descending_score`]; fewer where the catalog has no more. On all
/// cores.
pub fn exact_lists(catalog: &Catalog, places: &[usize], depth: usize) -> Vec<Vec<Neighbor>> {
    places
        .par_chunks(BLOCK)
        .flat_map_iter(|block| lists_of(catalog, block, depth))
        .collect()
}

/// The best of one pin so far.
struct Best {
    query: Query,
    /// Two sums this far apart may stand in either order in truth.
    margin: i32,
    /// Sums below are not among the best.
    least: i32,
    sums: Vec<(i32, u32)>,
}

fn lists_of(catalog: &Catalog, block: &[usize], depth: usize) -> Vec<Vec<Neighbor>> {
    let Catalog { pins, codes, .. } = catalog;
    let vectors = pins.vectors();
    let begin = |&place: &usize| {
        let mut query = Query::default();
        let vector = vectors.row(pins.node(place));
        codes.query(vector, &mut query);
        Best {
            margin: (2.0 * codes.error(vector, &query) / query.unit).ceil() as i32,
            query,
            least: i32::MIN,
            sums: Vec::new(),
        }
    };
    let mut bests: Vec<Best> = block.iter().map(begin).collect();
    let (mut stretch, mut sums) = (Vec::new(), Vec::new());
    for first in (0..vectors.len()).step_by(STRETCH) {
        stretch.clear();
        stretch.extend(first as u32..(first + STRETCH).min(vectors.len()) as u32);
        for best in &mut bests {
            codes.dot_each(&best.query, &stretch, &mut sums);
            let pairs = sums.iter().copied().zip(stretch.iter().copied());
            best.sums
                .extend(pairs.filter(|&(sum, _)| sum >= best.least));
            if best.sums.len() >= 4 * depth + STRETCH {
                best.tighten(depth);
            }
        }
    }
    let mut lists = Vec::with_capacity(block.len());
    for (place, mut best) in block.iter().zip(bests) {
        best.tighten(depth);
        let rows = best
            .sums
            .iter()
            .map(|&(_, node)| vectors.row(node as usize));
        let mut cosines = Vec::new();
        kernel::dot_each(vectors.row(pins.node(*place)), rows, &mut cosines);
        let nodes = best.sums.iter().map(|&(_, node)| node as usize);
        let neighbors = nodes.zip(cosines);
        let mut list = neighbors
            .flat_map(|(node, cosine)| pins.neighbors_at(node, cosine))
            .collect();
        Neighbor::keep_best(&mut list, depth);
        lists.push(list);
    }
    lists
}

impl Best {
    /// Leaves out what cannot be among the best `depth`: the nodes of the best
    /// `depth` sums are at least as near as the last of them, less one error, and
    /// what is near by its sum may be nearer by one.
    fn tighten(&mut self, depth: usize) {
        if self.sums.len() > depth {
            let by_falling_sum = |a: &(i32, u32), b: &(i32, u32)| b.0.cmp(&a.0);
            let (_, last, _) = self.sums.select_nth_unstable_by(depth - 1, by_falling_sum);
            self.least = last.0.saturating_sub(self.margin);
            let least = self.least;
            self.sums.retain(|&(sum, _)| sum >= least);
        }
    }
}
