//! Greedy best-first search of the graph: the nodes most similar to a query, nearly.
//!
//! The search keeps the best nodes seen so far in one sorted beam and expands the best
//! of them that is not expanded yet, until all of them are (algorithm 2 of the HNSW
//! paper, arXiv 1603.09320, with one sorted beam in place of two heaps). Nodes without
//! an eligible pin lead on like any other: a filter makes the search longer, not its
//! answer shorter.
//!
//! Most nodes that a search visits are too far away to enter the beam. Once the beam is
//! full, sketches tell which are, and only the others are compared by their codes.
//!
//! A search waits for memory most of its time. So it fetches ahead and works on two
//! expansions at once: while the sketches of the newest links are on their way, the
//! links of the expansion before, whose codes have arrived, are put into the beam.

use std::cmp::Ordering;

use super::graph::Graph;
use super::quantization::{QuantizedVectors, Query};
use crate::recommend::Deadline;

/// Marks a node of the beam that was expanded.
const EXPANDED: u32 = 1 << 31;
/// Expansions between two checks of the time: 20 to 50 us of work.
const EXPANSIONS_PER_TIME_CHECK: usize = 16;

/// A node and its similarity to the query.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScoredNode {
    /// Inner product with the query, in units of the query.
    pub(super) similarity: i32,
    /// The node with [`EXPANDED`] in the top bit; nodes are numbered by 31 bits.
    marked: u32,
}

impl ScoredNode {
    /// A node that is not expanded.
    pub(super) fn new(node: u32, similarity: i32) -> Self {
        Self {
            similarity,
            marked: node,
        }
    }

    /// Most similar first, of equally similar ones the lower node.
    pub(super) fn by_falling_similarity(a: &Self, b: &Self) -> Ordering {
        let by_node = || a.node().cmp(&b.node());
        b.similarity.cmp(&a.similarity).then_with(by_node)
    }

    /// The node.
    pub(super) fn node(self) -> u32 {
        self.marked & !EXPANDED
    }

    fn is_expanded(self) -> bool {
        self.marked & EXPANDED != 0
    }
}

/// How far a search goes.
#[derive(Clone, Copy)]
pub(super) struct SearchLimits<'a> {
    /// Pins that the nodes of the beam must hold together: the search goes on until
    /// these are the best it can reach. At least 1.
    pub(super) ef: usize,
    /// Nodes at the front of the beam that are expanded; those behind are only
    /// found on the way.
    pub(super) max_expansions: usize,
    /// Most nodes to keep in the beam; past that the search stops.
    pub(super) max_candidates: usize,
    /// Whether the search must end as it is.
    pub(super) deadline: Deadline<'a>,
}

impl SearchLimits<'_> {
    /// A search for `ef` pins that always runs to its end.
    pub(super) fn with_ef(ef: usize) -> Self {
        Self {
            ef: ef.max(1),
            max_expansions: usize::MAX,
            max_candidates: usize::MAX,
            deadline: Deadline::never(),
        }
    }
}

/// Why a search stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopReason {
    /// The beam held more nodes than `max_candidates`.
    TooManyCandidates,
    /// Time was up.
    OutOfTime,
}

/// Memory of one search, used again for the next.
#[derive(Debug, Default)]
pub(super) struct SearchScratch {
    /// Most similar first.
    beam: Vec<ScoredNode>,
    /// Links of the node that is being expanded which were not visited before.
    fresh: Vec<u32>,
    /// Links of the expansion before which may enter the beam.
    pending: Vec<u32>,
    /// Similarity of each pending node to the query.
    similarities: Vec<i32>,
    visited: VisitedNodes,
}

impl SearchScratch {
    /// Makes the memory ready for a search among `nodes` nodes.
    pub(super) fn reset(&mut self, nodes: usize) -> &mut Self {
        self.beam.clear();
        self.visited.reset(nodes);
        self
    }
}

/// The nodes that a search has come upon.
#[derive(Debug, Default)]
struct VisitedNodes {
    /// A bit for each node, few enough to stay in the nearest cache.
    bits: Vec<u64>,
    /// The nodes whose bits are set. The next search clears these one by one: they are
    /// few, and the words of all nodes are many.
    nodes: Vec<u32>,
}

impl VisitedNodes {
    fn reset(&mut self, nodes: usize) {
        for node in self.nodes.drain(..) {
            self.bits[node as usize / 64] = 0;
        }
        self.bits.resize(nodes.div_ceil(64), 0);
    }

    /// Makes `fresh`, which must be empty, those of `nodes` that were not visited before.
    #[inline(always)]
    fn visit(&mut self, nodes: impl Iterator<Item = u32>, fresh: &mut Vec<u32>) {
        let bits = &mut self.bits;
        fresh.extend(nodes.filter(|&node| {
            let (word, bit) = (&mut bits[node as usize / 64], 1 << (node % 64));
            let is_fresh = *word & bit == 0;
            *word |= bit;
            is_fresh
        }));
        self.nodes.extend_from_slice(fresh);
    }
}

/// One search of a graph for the nodes most similar to a query.
#[derive(Clone, Copy)]
pub(super) struct GraphSearch<'a> {
    pub(super) graph: &'a Graph,
    pub(super) codes: &'a QuantizedVectors,
    pub(super) query: &'a Query,
    pub(super) limits: SearchLimits<'a>,
}

impl GraphSearch<'_> {
    /// Runs the search from `starts`, in `scratch` that was reset, until the nodes found
    /// hold `ef` pins; `multiplicity` is the number of eligible pins of a node. Returns
    /// the nodes by falling similarity.
    pub(super) fn run<'s>(
        &self,
        starts: impl IntoIterator<Item = u32>,
        multiplicity: impl Fn(u32) -> usize,
        scratch: &'s mut SearchScratch,
    ) -> Result<&'s [ScoredNode], StopReason> {
        let Self {
            graph,
            codes,
            query,
            limits,
        } = *self;
        let SearchScratch {
            beam,
            fresh,
            pending,
            similarities,
            visited,
        } = scratch;
        pending.clear();
        visited.visit(starts.into_iter(), pending);
        let mut beam = Beam::new(beam, limits);
        for expansion in 0_usize.. {
            if expansion.is_multiple_of(EXPANSIONS_PER_TIME_CHECK) && limits.deadline.has_passed() {
                return Err(StopReason::OutOfTime);
            }
            fresh.clear();
            if let Some(node) = beam.expand_next() {
                visited.visit(graph.links(node), fresh);
                codes.prefetch_sketches(fresh);
            } else if pending.is_empty() {
                break;
            }
            codes.dot_nodes(query, pending, similarities);
            for (&node, &similarity) in pending.iter().zip(&*similarities) {
                beam.insert(node, similarity, &multiplicity);
            }
            if beam.nodes.len() > limits.max_candidates {
                return Err(StopReason::TooManyCandidates);
            }
            if let Some(next) = beam.nodes.get(beam.next) {
                graph.prefetch(next.node());
            }
            std::mem::swap(pending, fresh);
            if let Some(threshold) = beam.threshold() {
                codes.prune(query, threshold, pending, similarities);
            }
            codes.prefetch(pending);
        }
        Ok(beam.nodes)
    }
}

/// The best nodes of a running search, most similar first. Its methods are always
/// inlined so that its counters stay in registers.
struct Beam<'a> {
    nodes: &'a mut Vec<ScoredNode>,
    /// Pins that the nodes hold together.
    held: usize,
    /// Every node before this position is expanded.
    next: usize,
    ef: usize,
    max_expansions: usize,
}

impl<'a> Beam<'a> {
    /// An empty beam in the memory of `nodes`, which must be empty.
    #[inline(always)]
    fn new(nodes: &'a mut Vec<ScoredNode>, limits: SearchLimits<'_>) -> Self {
        Self {
            nodes,
            held: 0,
            next: 0,
            ef: limits.ef,
            max_expansions: limits.max_expansions,
        }
    }

    /// Marks the best node that is not expanded yet as expanded, and returns it; none
    /// when all are, or those that may be.
    #[inline(always)]
    fn expand_next(&mut self) -> Option<u32> {
        while self.nodes.get(self.next).is_some_and(|n| n.is_expanded()) {
            self.next += 1;
        }
        if self.next >= self.max_expansions {
            return None;
        }
        let best = self.nodes.get_mut(self.next)?;
        best.marked |= EXPANDED;
        self.next += 1;
        Some(best.node())
    }

    /// Inserts a node unless the beam is full of more similar ones, and drops nodes at
    /// its end that are not needed to hold `ef` pins.
    #[inline(always)]
    fn insert(&mut self, node: u32, similarity: i32, multiplicity: &impl Fn(u32) -> usize) {
        let worst = self.nodes.last().map_or(i32::MIN, |worst| worst.similarity);
        if self.held >= self.ef && similarity <= worst {
            return;
        }
        self.held += multiplicity(node);
        let rank = self
            .nodes
            .partition_point(|old| old.similarity >= similarity);
        self.nodes.insert(rank, ScoredNode::new(node, similarity));
        while let Some(worst) = self.nodes.last() {
            let left = self.held - multiplicity(worst.node());
            if left < self.ef {
                break;
            }
            self.held = left;
            self.nodes.pop();
        }
        self.next = self.next.min(rank);
    }

    /// Similarity that a node must exceed to enter the beam; none while it is not full.
    #[inline(always)]
    fn threshold(&self) -> Option<i32> {
        let worst = self.nodes.last()?;
        (self.held >= self.ef).then_some(worst.similarity)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Embeddings;

    /// A small graph over vectors.
    struct World {
        vectors: Embeddings,
        codes: QuantizedVectors,
        graph: Graph,
    }

    impl World {
        fn new(vectors: Embeddings, links: impl Fn(u32) -> Vec<u32>) -> Self {
            let codes = QuantizedVectors::new(&vectors).expect("memory");
            let mut graph = Graph::with_slots(vectors.len(), 8).expect("memory");
            for node in 0..vectors.len() as u32 {
                graph.set_links(node, &links(node));
            }
            Self {
                vectors,
                codes,
                graph,
            }
        }

        /// Vectors on a quarter circle, by rising angle, each linked to those beside it.
        /// They are few, so that their codes tell them apart.
        fn arc(nodes: u32) -> Self {
            let mut vectors = Embeddings::new(2).expect("a dimension");
            for node in 0..nodes {
                let angle = 1.5 * node as f32 / nodes as f32;
                let vector = [angle.cos(), angle.sin()];
                vectors.push(&vector).expect("a vector");
            }
            Self::new(vectors, |node| {
                let beside = [node.checked_sub(1), node.checked_add(1)];
                let beside = beside.into_iter().flatten();
                beside.filter(|&other| other < nodes).collect()
            })
        }

        /// A search for the vector of node `target` from node `start`.
        fn search(
            &self,
            target: usize,
            start: u32,
            limits: SearchLimits<'_>,
            multiplicity: impl Fn(u32) -> usize,
        ) -> Result<Vec<u32>, StopReason> {
            let mut query = Query::default();
            self.codes.prepare(self.vectors.row(target), &mut query);
            self.codes
                .prepare_sketch(self.vectors.row(target), &mut query);
            let search = GraphSearch {
                graph: &self.graph,
                codes: &self.codes,
                query: &query,
                limits,
            };
            let mut scratch = SearchScratch::default();
            // The second search must not see what the first has visited.
            let mut found = Vec::new();
            for _ in 0..2 {
                let memory = scratch.reset(self.vectors.len());
                let nodes = search.run([start, start], &multiplicity, memory)?;
                found.push(nodes.iter().map(|found| found.node()).collect::<Vec<_>>());
            }
            assert_eq!(found[0], found[1]);
            Ok(found.swap_remove(0))
        }

        /// All nodes by falling similarity to node `target`, and these similarities.
        fn scan(&self, target: usize) -> Vec<(i32, u32)> {
            let mut query = Query::default();
            self.codes.prepare(self.vectors.row(target), &mut query);
            let nodes: Vec<u32> = (0..self.vectors.len() as u32).collect();
            let mut similarities = Vec::new();
            self.codes.dot_nodes(&query, &nodes, &mut similarities);
            let mut all: Vec<(i32, u32)> = similarities.into_iter().zip(nodes).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            all
        }
    }

    #[test]
    fn the_nearest_node_is_found_from_far_away() {
        let world = World::arc(8);
        let found = world.search(6, 0, SearchLimits::with_ef(3), |_| 1);
        let mut found = found.expect("no limit");
        assert_eq!(found[0], 6);
        found.sort_unstable();
        assert_eq!(found, [5, 6, 7]);
    }

    #[test]
    fn only_the_best_nodes_are_expanded() {
        let world = World::arc(8);
        let limits = SearchLimits {
            max_expansions: 3,
            ..SearchLimits::with_ef(8)
        };
        assert_eq!(world.search(0, 0, limits, |_| 1), Ok(vec![0, 1, 2, 3]));
    }

    #[test]
    fn nodes_without_pins_lead_on_and_do_not_count() {
        let world = World::arc(8);
        let multiplicity = |node: u32| usize::from(node == 7);
        let found = world.search(0, 0, SearchLimits::with_ef(1), multiplicity);
        assert_eq!(found.expect("no limit").last(), Some(&7));
        let found = world.search(0, 0, SearchLimits::with_ef(6), |_| 3);
        assert_eq!(found, Ok(vec![0, 1]), "two nodes hold six pins");
    }

    #[test]
    fn a_search_stops_at_its_limits() {
        let world = World::arc(8);
        let limits = SearchLimits {
            max_candidates: 5,
            ..SearchLimits::with_ef(1)
        };
        let found = world.search(0, 0, limits, |_| 0);
        assert_eq!(found, Err(StopReason::TooManyCandidates));
        let limits = SearchLimits {
            deadline: Deadline::new(&|| true),
            ..SearchLimits::with_ef(1)
        };
        let found = world.search(0, 0, limits, |_| 1);
        assert_eq!(found, Err(StopReason::OutOfTime));
    }

    proptest! {
        #[test]
        fn a_full_beam_is_the_exact_scan_and_a_short_one_its_distinct_best_nodes(
            components in prop::collection::vec(0.1f32..1.0, 4 * 40),
            links in prop::collection::vec(0u32..40, 3 * 40),
            target in 0usize..40,
            ef in 1usize..40,
        ) {
            let mut vectors = Embeddings::new(4).expect("a dimension");
            for vector in components.chunks_exact(4) {
                vectors.push(vector).expect("a vector");
            }
            // The ring makes sure that every node can be reached.
            let world = World::new(vectors, |node| {
                let mut links = links[node as usize * 3..][..3].to_vec();
                links.push((node + 1) % 40);
                links
            });
            let exact = world.scan(target);
            let similarity = |node: u32| exact.iter().find(|of| of.1 == node).map(|of| of.0);

            let found = world.search(target, 0, SearchLimits::with_ef(40), |_| 1).expect("no limit");
            let similarities: Vec<_> = found.iter().map(|&node| similarity(node)).collect();
            let expected: Vec<_> = exact.iter().map(|of| Some(of.0)).collect();
            prop_assert_eq!(similarities, expected);
            let mut nodes = found;
            nodes.sort_unstable();
            prop_assert_eq!(nodes, (0..40).collect::<Vec<u32>>());

            let found = world.search(target, 0, SearchLimits::with_ef(ef), |_| 1).expect("no limit");
            prop_assert_eq!(found.len(), ef);
            prop_assert!(found.is_sorted_by_key(|&node| std::cmp::Reverse(similarity(node))));
            let mut distinct = found.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), ef);
        }
    }
}
