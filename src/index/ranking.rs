//! The last step of a retrieval: the nodes that codes say are best are put into their true
//! order, from their vectors.

use super::PinTable;
use super::graph_search::ScoredNode;
use crate::kernel;
use crate::memory::prefetch;
use crate::model::{Embeddings, Neighbor, PinId};

/// Pins whose cosine is computed from the vectors, for each one that is asked
/// for, as a fraction. With 5/4 the recall of 100 among 200,000 clustered pins was
/// the same, but for one in the fourth digit.
const RESCORED: (usize, usize) = (10, 9);
/// How many vectors ahead to fetch while cosines are computed.
const PREFETCH_DISTANCE: usize = 4;

/// Memory of putting nodes into their true order.
#[derive(Debug, Default)]
pub(super) struct RankScratch {
    /// Nodes whose cosines are computed from the vectors.
    nodes: Vec<u32>,
    cosines: Vec<f32>,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The unit vector that pins should be near to.
    pub(super) target: &'a [f32],
    /// Number of pins.
    pub(super) k: usize,
    /// Whether a pin may be among them.
    pub(super) eligible: &'a dyn Fn(PinId) -> bool,
}

/// Number of pins whose cosines are computed where `k` are asked for.
pub(super) fn rescored(k: usize) -> usize {
    k.saturating_mul(RESCORED.0) / RESCORED.1
}

impl RankScratch {
    /// Selects the first of `found` that hold enough pins for `k`, without those that hold
    /// none; `multiplicity` is the number of eligible pins of a node. Returns how many pins
    /// they hold.
    pub(super) fn select(
        &mut self,
        found: &[ScoredNode],
        k: usize,
        multiplicity: impl Fn(u32) -> usize,
    ) -> usize {
        self.nodes.clear();
        let mut held = 0;
        for found in found {
            if held > rescored(k) {
                break;
            }
            let of_node = multiplicity(found.node());
            if of_node > 0 {
                self.nodes.push(found.node());
                held += of_node;
            }
        }
        held
    }

    /// Selects all of `nodes`.
    pub(super) fn select_all(&mut self, nodes: impl Iterator<Item = u32>) {
        self.nodes.clear();
        self.nodes.extend(nodes);
    }

    /// Adds the pins of the selected nodes to `out`, and keeps the best.
    pub(super) fn rank(&mut self, wanted: Wanted<'_>, pins: &PinTable, out: &mut Vec<Neighbor>) {
        let Self { nodes, cosines } = self;
        compute_cosines(wanted.target, pins.vectors(), nodes, cosines);
        for (&node, &cosine) in nodes.iter().zip(&*cosines) {
            let neighbors = pins.neighbors_of_node(node as usize, cosine);
            out.extend(neighbors.filter(|neighbor| (wanted.eligible)(neighbor.pin)));
        }
        Neighbor::keep_best(out, wanted.k);
    }
}

/// Makes `cosines` the cosines of `target` and each of `nodes`.
fn compute_cosines(target: &[f32], vectors: &Embeddings, nodes: &[u32], cosines: &mut Vec<f32>) {
    let row = |node: u32| vectors.row(node as usize);
    // Vectors lie in pages of 4 KiB. To find one costs as much as to fetch a row, so
    // all are found first, several at a time.
    nodes.iter().for_each(|&node| prefetch(&row(node)[..1]));
    nodes
        .iter()
        .take(PREFETCH_DISTANCE)
        .for_each(|&node| prefetch(row(node)));
    let rows = nodes.iter().enumerate().map(|(at, &node)| {
        if let Some(&ahead) = nodes.get(at + PREFETCH_DISTANCE) {
            prefetch(row(ahead));
        }
        row(node)
    });
    kernel::dot_rows(target, rows, cosines);
}
