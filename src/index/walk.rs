//! The walk over the graph: the nodes most similar to a node, nearly.

use super::{Graph, PinTable};
use crate::kernel;

/// A node that a walk came upon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) node: u32,
    /// Cosine to the node at which the walk began.
    pub(super) similarity: f32,
    /// Number of pins that it holds.
    weight: usize,
    expanded: bool,
}

/// Memory of one walk, used again for the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Best first.
    pool: Vec<Found>,
    /// Links of the node that is being expanded which no node led to before, and
    /// how similar they are to the start.
    fresh: Vec<u32>,
    similarities: Vec<f32>,
    /// For each node the last walk that came upon it.
    seen_in: Vec<u32>,
    walk: u32,
}

/// How far a walk goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Pins to find: the walk goes on until these are the best it can reach.
    pub(super) effort: usize,
    /// Most nodes to keep while looking for them; past that it gives up.
    pub(super) most_kept: usize,
}

/// The nodes most similar to `start`, itself among them, by falling similarity,
/// until they hold `effort` pins, where `weigh` says how many a node holds.
///
/// Keeps the best nodes seen so far and expands the best of them that is not
/// expanded yet, until all of them are (algorithm 2 of the HNSW paper, with one
/// sorted pool in place of two heaps). Nodes that hold no pin lead on like any
/// other, but do not count: a filter makes the walk longer, not its answer
/// shorter. None when it had to give up.
pub(super) fn walk<'a>(
    graph: &Graph,
    pins: &PinTable,
    start: usize,
    bounds: Bounds,
    weigh: impl Fn(usize) -> usize,
    scratch: &'a mut Scratch,
) -> Option<&'a [Found]> {
    let vectors = pins.vectors();
    let query = vectors.row(start);
    scratch.begin(vectors.len());
    let Scratch {
        pool,
        fresh,
        similarities,
        seen_in,
        walk,
    } = scratch;
    let mut held = weigh(start);
    seen_in[start] = *walk;
    pool.push(Found {
        node: u32::try_from(start).expect("nodes are numbered by u32"),
        similarity: kernel::dot(query, query),
        weight: held,
        expanded: false,
    });
    let mut at = 0;
    while at < pool.len() {
        if pool[at].expanded {
            at += 1;
            continue;
        }
        pool[at].expanded = true;
        let mut next = at + 1;
        fresh.clear();
        fresh.extend(graph.links(pool[at].node as usize));
        fresh.retain(|&link| std::mem::replace(&mut seen_in[link as usize], *walk) != *walk);
        let rows = fresh.iter().map(|&node| vectors.row(node as usize));
        kernel::dot_each(query, rows, similarities);
        for (&node, &similarity) in fresh.iter().zip(&*similarities) {
            let worst = pool
                .last()
                .map_or(f32::NEG_INFINITY, |worst| worst.similarity);
            if held >= bounds.effort && similarity <= worst {
                continue;
            }
            let weight = weigh(node as usize);
            let place = pool.partition_point(|old| old.similarity >= similarity);
            pool.insert(
                place,
                Found {
                    node,
                    similarity,
                    weight,
                    expanded: false,
                },
            );
            held += weight;
            while let Some(worst) = pool.last().filter(|w| held - w.weight >= bounds.effort) {
                held -= worst.weight;
                pool.pop();
            }
            if pool.len() > bounds.most_kept {
                return None;
            }
            next = next.min(place);
        }
        at = next;
    }
    Some(pool)
}

impl Scratch {
    fn begin(&mut self, nodes: usize) {
        self.pool.clear();
        if self.seen_in.len() != nodes || self.walk == u32::MAX {
            self.seen_in.clear();
            self.seen_in.resize(nodes, 0);
            self.walk = 0;
        }
        self.walk += 1;
    }
}
