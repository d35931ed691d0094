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

use super::graph::Graph;
use crate::recommend::Deadline;
use super::quantization::{QuantizedVectors, Query};

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
        let marked = node;
        self.nodes.insert(rank, ScoredNode { similarity, marked });
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
