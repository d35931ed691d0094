//! The scan of the codes of selected nodes: where a filter selects few, or those that are
//! far away, this takes less time than to search the graph for them.

use super::graph_search::ScoredNode;
use super::quantization::{QuantizedVectors, Query};
use super::selection::Selection;
use crate::recommend::Deadline;

/// Nodes that are looked at together: the sketches of the next ones are fetched meanwhile.
const BLOCK: usize = 256;

/// Memory of a scan, for the next.
#[derive(Debug, Default)]
pub(super) struct ScanScratch {
    found: Vec<ScoredNode>,
    block: Vec<u32>,
    next: Vec<u32>,
    similarities: Vec<i32>,
}

/// A scan of the nodes of a selection for those most similar to a query.
#[derive(Clone, Copy)]
pub(super) struct SelectedScan<'a> {
    pub(super) codes: &'a QuantizedVectors,
    pub(super) query: &'a Query,
    pub(super) selection: &'a Selection,
    /// Number of nodes to find. More than are needed make it less likely that one of those
    /// is pruned.
    pub(super) count: usize,
    pub(super) deadline: Deadline<'a>,
}

impl SelectedScan<'_> {
    /// The nodes that `has_eligible` pins and are most similar to the query, by falling
    /// similarity; of equally similar ones the lower node comes first. None when time was
    /// up.
    pub(super) fn run<'s>(
        &self,
        has_eligible: impl Fn(u32) -> bool,
        scratch: &'s mut ScanScratch,
    ) -> Option<&'s [ScoredNode]> {
        let ScanScratch {
            found,
            block,
            next,
            similarities,
        } = scratch;
        let Self { codes, query, .. } = *self;
        let mut nodes = self.selection.nodes();
        let mut threshold = None;
        // A search comes upon a node by many links, and a scan looks at it once: it prunes at
        // twice the distance.
        let margin = codes.sketch_deviation(query);
        found.clear();
        self.fill(&mut nodes, next);
        while !next.is_empty() {
            if self.deadline.has_passed() {
                return None;
            }
            std::mem::swap(block, next);
            self.fill(&mut nodes, next);
            if let Some(threshold) = threshold {
                codes.prune(query, threshold - margin, block, similarities);
            }
            codes.prefetch(block);
            codes.dot_nodes(query, block, similarities);
            let scored = block.iter().zip(&*similarities);
            let scored = scored.map(|(&node, &similarity)| ScoredNode::new(node, similarity));
            let near = scored.filter(|one| threshold.is_none_or(|least| one.similarity > least));
            found.extend(near.filter(|one| has_eligible(one.node())));
            if found.len() >= 2 * self.count {
                found.select_nth_unstable_by(self.count - 1, ScoredNode::by_falling_similarity);
                found.truncate(self.count);
                threshold = Some(found[self.count - 1].similarity);
            }
        }
        found.sort_unstable_by(ScoredNode::by_falling_similarity);
        found.truncate(self.count);
        Some(found)
    }

    /// Makes `block` the next of `nodes`, and begins to fetch them.
    fn fill(&self, nodes: &mut impl Iterator<Item = u32>, block: &mut Vec<u32>) {
        block.clear();
        block.extend(nodes.take(BLOCK));
        self.codes.prefetch_sketches(block);
    }
}
