//! The walk over the graph: the nodes most similar to a query, nearly.
//!
//! Keeps the best nodes seen so far in one sorted pool and expands the best of
//! them that is not expanded yet, until all of them are (algorithm 2 of the HNSW
//! paper, arXiv 1603.09320, with one sorted pool in place of two heaps). Nodes
//! that count for nothing lead on like any other: a filter makes the walk longer,
//! not its answer shorter.
//!
//! Most nodes that a walk comes upon are too far away to enter the pool. Once the pool is
//! full, sketches tell which are, and only the others are compared by their codes.
//!
//! What a walk waits for is memory, so it fetches ahead, and has two nodes in hand: while
//! the sketches around the one that is expanded are on their way, the nodes that were
//! found near the one before, whose codes have come, are put into the pool.

use super::graph::Graph;
use super::quantization::{QuantizedVectors, Query};
use crate::recommend::Deadline;

/// Marks a node of the pool that was expanded.
const EXPANDED: u32 = 1 << 31;

/// A node in the pool of a walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Inner product with the query, in units of the query.
    pub(super) similarity: i32,
    /// With the mark on top; nodes are numbered by 31 bits.
    marked: u32,
}

/// Memory of one walk, used again for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Best first.
    pool: Vec<Found>,
    /// Links of the node that is being expanded which no node led to before.
    fresh: Vec<u32>,
    /// Those of the node before which may enter the pool, and how similar they are to the
    /// query.
    near: Vec<u32>,
    similarities: Vec<i32>,
    /// A bit for each node that the walk came upon, few enough to stay in the nearest
    /// cache; and those nodes, so that the bits of the next walk are cleared one by one.
    seen: Vec<u64>,
    come_upon: Vec<u32>,
}

/// Nodes that are expanded between two looks at the time: 20 to 50 us of work.
const HOPS: usize = 16;

/// How far a walk goes.
#[derive(Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// What the nodes of the pool must count for together: the walk goes on until
    /// these are the best it can reach. At least 1.
    pub(super) effort: usize,
    /// Nodes at the front of the pool that are expanded; those behind are only
    /// found on the way.
    pub(super) max_expansions: usize,
    /// Most nodes to keep in the pool; past that the walk gives up.
    pub(super) max_candidates: usize,
    /// When the walk must end as it is.
    pub(super) deadline: Deadline<'a>,
}

/// Why a walk did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// It kept more than it may.
    GaveUp,
    /// Time was up.
    OutOfTime,
}

impl Bounds<'_> {
    /// A walk that looks for `effort` pins and never halts.
    pub(super) fn of(effort: usize) -> Self {
        Self {
            effort: effort.max(1),
            max_expansions: usize::MAX,
            max_candidates: usize::MAX,
            deadline: Deadline::never(),
        }
    }
}

impl Found {
    /// The node.
    pub(super) fn node(self) -> u32 {
        self.marked & !EXPANDED
    }

    fn is_expanded(self) -> bool {
        self.marked & EXPANDED != 0
    }
}

/// The nodes most similar to `query`, by falling similarity, reached from
/// `starts`, until they count for `effort`, where `weigh` says how much a node
/// counts for.
pub(super) fn walk<'a>(
    graph: &Graph,
    codes: &QuantizedVectors,
    query: &Query,
    starts: impl IntoIterator<Item = u32>,
    bounds: Bounds<'_>,
    weigh: impl Fn(u32) -> usize,
    scratch: &'a mut Scratch,
) -> Result<&'a [Found], Halt> {
    let Scratch {
        pool,
        fresh,
        near,
        similarities,
        seen,
        come_upon,
    } = scratch;
    let mut is_new = |node: u32| {
        let (word, bit) = (&mut seen[node as usize / 64], 1 << (node % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    };
    near.clear();
    near.extend(starts.into_iter().filter(|&start| is_new(start)));
    come_upon.extend_from_slice(near);
    let mut held = 0;
    // Everything before it in the pool is expanded.
    let mut next = 0;
    for hop in 0_usize.. {
        if hop.is_multiple_of(HOPS) && bounds.deadline.has_passed() {
            return Err(Halt::OutOfTime);
        }
        fresh.clear();
        while pool.get(next).is_some_and(|found| found.is_expanded()) {
            next += 1;
        }
        if let Some(found) = pool.get_mut(next)
            && next < bounds.max_expansions
        {
            found.marked |= EXPANDED;
            fresh.extend(graph.links(found.node()).filter(|&link| is_new(link)));
            come_upon.extend_from_slice(fresh);
            codes.prefetch_sketches(fresh);
            next += 1;
        } else if near.is_empty() {
            break;
        }
        codes.dot_each(query, near, similarities);
        for (&node, &similarity) in near.iter().zip(&*similarities) {
            let worst = pool.last().map_or(i32::MIN, |worst| worst.similarity);
            if held >= bounds.effort && similarity <= worst {
                continue;
            }
            held += weigh(node);
            let place = pool.partition_point(|old| old.similarity >= similarity);
            let marked = node;
            pool.insert(place, Found { similarity, marked });
            while let Some(worst) = pool.last() {
                let left = held - weigh(worst.node());
                if left < bounds.effort {
                    break;
                }
                held = left;
                pool.pop();
            }
            next = next.min(place);
        }
        if pool.len() > bounds.max_candidates {
            return Err(Halt::GaveUp);
        }
        if let Some(found) = pool.get(next) {
            graph.prefetch(found.node());
        }
        std::mem::swap(near, fresh);
        if let Some(worst) = pool.last()
            && held >= bounds.effort
        {
            codes.prune(query, worst.similarity, near, similarities);
        }
        codes.prefetch(near);
    }
    Ok(pool)
}

impl Scratch {
    /// Makes ready for a walk over `nodes`.
    pub(super) fn begin(&mut self, nodes: usize) -> &mut Self {
        self.pool.clear();
        for node in self.come_upon.drain(..) {
            self.seen[node as usize / 64] = 0;
        }
        self.seen.resize(nodes.div_ceil(64), 0);
        self
    }
}
