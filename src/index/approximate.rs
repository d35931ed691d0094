//! Approximate retrieval: a graph search over codes, whose best nodes are put into their
//! true order from the vectors. The exact scan answers where the search falls short.

use std::sync::Arc;

use super::graph_search::{GraphSearch, ScoredNode, SearchLimits, SearchScratch, StopReason};
use super::quantization::Query;
use super::{Catalog, Exact, RetrieveByVector};
use crate::kernel;
use crate::memory::prefetch;
use crate::model::{Embeddings, Neighbor, PinId};
use crate::pool::Pool;
use crate::recommend::{Deadline, Retrieve, Retrieved, SearchParams};

/// Pins that a search looks for, for each one that is asked for.
const EF_PER_PIN: usize = 2;
/// Pins whose cosine is computed from the vectors, for each one that is asked
/// for, as a fraction. With 5/4 the recall of 100 among 200,000 clustered pins was
/// the same, but for one in the fourth digit.
const RESCORED: (usize, usize) = (10, 9);
/// A search that keeps this many nodes for each pin it looks for meets a filter
/// that blocks nearly everything near; the exact scan is then the cheaper way.
const MAX_CANDIDATES_PER_EF: usize = 16;
/// Nodes that are compared with a query that is no node, to choose where to start.
const ENTRY_CANDIDATES: usize = 1024;
/// How many of them a search starts at.
const STARTS: usize = 4;
/// How many vectors ahead to fetch while cosines are computed.
const PREFETCH_DISTANCE: usize = 4;

/// Approximate retrieval over a catalog.
#[derive(Debug)]
pub struct Approximate {
    catalog: Arc<Catalog>,
    ef_search: usize,
    scratches: Pool<RetrievalScratch>,
}

/// Memory of one retrieval.
#[derive(Debug, Default)]
struct RetrievalScratch {
    search: SearchScratch,
    query: Query,
    /// Nodes whose cosines are computed from the vectors.
    nodes: Vec<u32>,
    cosines: Vec<f32>,
}

/// One search: the unit vector that pins should be near to, and how to look for them.
#[derive(Clone, Copy)]
struct VectorSearch<'a> {
    target: &'a [f32],
    /// Nodes to start at.
    starts: &'a [u32],
    /// Number of pins.
    k: usize,
    limits: SearchLimits<'a>,
}

impl Approximate {
    /// Retrieval over `catalog` by searches that look for at least `ef_search` pins.
    pub fn new(catalog: Arc<Catalog>, ef_search: usize) -> Self {
        Self {
            catalog,
            ef_search,
            scratches: Pool::default(),
        }
    }

    /// The catalog that is searched.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// The `k` pins nearest to the pin at `position`, itself among them, by falling
    /// score, as far as a search that expands the best `ef` nodes finds them.
    pub fn nearest(&self, position: usize, k: usize, ef: usize) -> Vec<Neighbor> {
        // A search that always has time comes to its end.
        let found = self.nearest_in_time(position, k, ef, Deadline::never());
        found.unwrap_or_default()
    }

    /// The same as [`Self::nearest`]; none when time was up before it was done.
    pub(super) fn nearest_in_time(
        &self,
        position: usize,
        k: usize,
        ef: usize,
        deadline: Deadline<'_>,
    ) -> Option<Vec<Neighbor>> {
        let pins = &self.catalog.pins;
        let node = pins.node(position);
        let search = VectorSearch {
            target: pins.vectors().row(node),
            starts: &[node as u32],
            k,
            limits: SearchLimits {
                max_expansions: ef,
                deadline,
                ..SearchLimits::with_ef(ef.max(k))
            },
        };
        let multiplicity = |node: u32| pins.multiplicity(node as usize);
        let mut found = Vec::new();
        let searched = self.search(search, multiplicity, |_| true, &mut found);
        searched.ok().map(|()| found)
    }

    /// How many pins a search looks for when `k` are asked for.
    pub(super) fn ef(&self, k: usize) -> usize {
        self.ef_search.max(k.saturating_mul(EF_PER_PIN))
    }

    /// Nodes to start at for `query`: the nearest of those that were put into the
    /// graph first, which are a random thousand.
    fn entry_nodes(&self, query: &Query) -> Vec<u32> {
        let codes = &self.catalog.codes;
        let nodes: Vec<u32> = (0..codes.len().min(ENTRY_CANDIDATES) as u32).collect();
        let mut similarities = Vec::new();
        codes.dot_nodes(query, &nodes, &mut similarities);
        let mut nearest: Vec<(i32, u32)> = similarities.into_iter().zip(nodes).collect();
        nearest.sort_unstable_by(|a, b| b.cmp(a));
        nearest.iter().take(STARTS).map(|&(_, node)| node).collect()
    }

    /// Searches from `starts` for the pins nearest to `target`, or scans all pins where
    /// the search falls short.
    fn search_or_scan(
        &self,
        target: &[f32],
        starts: &[u32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let pins = &self.catalog.pins;
        let SearchParams { k, eligible, .. } = *params;
        let full_ef = self.ef(k);
        // What is re-scored must have been found.
        let ef = ((full_ef as f32 * params.effort) as usize).max(rescored(k));
        let limits = SearchLimits {
            // A search of less effort must not lead to a scan where the full one would not.
            max_candidates: full_ef.saturating_mul(MAX_CANDIDATES_PER_EF),
            deadline: params.deadline,
            ..SearchLimits::with_ef(ef)
        };
        let multiplicity = |node: u32| {
            pins.duplicates(node as usize)
                .filter(|&pin| eligible(pin))
                .count()
        };
        let search = VectorSearch {
            target,
            starts,
            k,
            limits,
        };
        match self.search(search, multiplicity, eligible, out) {
            Err(StopReason::OutOfTime) => Retrieved::DeadlinePassed,
            // Fewer than k are an answer only when they are all; the scan can tell.
            Ok(()) if out.len() == k => params.completed(),
            Ok(()) | Err(StopReason::TooManyCandidates) => {
                Exact(pins).nearest_to_vector(target, params, out)
            }
        }
    }

    /// Makes `out` the `k` eligible pins nearest to the target, where `multiplicity` is
    /// the number of eligible pins of a node.
    fn search(
        &self,
        search: VectorSearch<'_>,
        multiplicity: impl Fn(u32) -> usize,
        eligible: impl Fn(PinId) -> bool,
        out: &mut Vec<Neighbor>,
    ) -> Result<(), StopReason> {
        let VectorSearch { target, k, .. } = search;
        let pins = &self.catalog.pins;
        self.scratches.with(|scratch| {
            let RetrievalScratch {
                search: memory,
                query,
                nodes,
                cosines,
            } = scratch;
            let found = self.search_graph(search, &multiplicity, query, memory)?;
            let held = select_nodes(found, rescored(k), multiplicity, nodes);
            compute_cosines(target, pins.vectors(), nodes, cosines);
            out.clear();
            out.reserve(held);
            for (&node, &cosine) in nodes.iter().zip(&*cosines) {
                let neighbors = pins.neighbors_of_node(node as usize, cosine);
                out.extend(neighbors.filter(|neighbor| eligible(neighbor.pin)));
            }
            Neighbor::keep_best(out, k);
            Ok(())
        })
    }

    /// Prepares `query` for the target and searches the graph for it.
    fn search_graph<'s>(
        &self,
        search: VectorSearch<'_>,
        multiplicity: impl Fn(u32) -> usize,
        query: &mut Query,
        memory: &'s mut SearchScratch,
    ) -> Result<&'s [ScoredNode], StopReason> {
        let Catalog {
            pins, codes, graph, ..
        } = &*self.catalog;
        codes.prepare(search.target, query);
        codes.prepare_sketch(search.target, query);
        let graph_search = GraphSearch {
            graph,
            codes,
            query,
            limits: search.limits,
        };
        let starts = search.starts.iter().copied();
        graph_search.run(starts, multiplicity, memory.reset(pins.vectors().len()))
    }
}

/// Makes `nodes` the first of `found` that hold more than `pins` pins together, without
/// those that hold none. Returns how many pins they hold.
fn select_nodes(
    found: &[ScoredNode],
    pins: usize,
    multiplicity: impl Fn(u32) -> usize,
    nodes: &mut Vec<u32>,
) -> usize {
    nodes.clear();
    let mut held = 0;
    for found in found {
        if held > pins {
            break;
        }
        let of_node = multiplicity(found.node());
        if of_node > 0 {
            nodes.push(found.node());
            held += of_node;
        }
    }
    held
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

impl Retrieve for Approximate {
    fn contains(&self, pin: PinId) -> bool {
        self.catalog.pins.position(pin).is_some()
    }

    fn neighbors(
        &self,
        pin: PinId,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let pins = &self.catalog.pins;
        out.clear();
        let Some(position) = pins.position(pin) else {
            return Retrieved::Complete;
        };
        let node = pins.node(position);
        let target = pins.vectors().row(node);
        self.search_or_scan(target, &[node as u32], params, out)
    }
}

impl RetrieveByVector for Approximate {
    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let starts = self.scratches.with(|scratch| {
            let RetrievalScratch { query, .. } = scratch;
            self.catalog.codes.prepare(target, query);
            self.entry_nodes(query)
        });
        self.search_or_scan(target, &starts, params, out)
    }
}

/// How many pins are put into their true order when `k` are asked for.
fn rescored(k: usize) -> usize {
    k.saturating_mul(RESCORED.0) / RESCORED.1
}
