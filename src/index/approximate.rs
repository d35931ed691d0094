//! Approximate retrieval by a walk over the graph, put into its true order from
//! the vectors; by the exact scan where a walk falls short.

use std::sync::Arc;

use super::graph_search::{self, Bounds, Halt, walk};
use super::quantization::Query;
use super::{Catalog, Exact, RetrieveNear};
use crate::kernel;
use crate::memory::prefetch;
use crate::model::{Neighbor, PinId};
use crate::pool::Pool;
use crate::recommend::{Deadline, Retrieve, Retrieved, SearchParams};

/// Nodes that a walk looks for, for each pin that is asked for.
const MARGIN: usize = 2;
/// Pins whose cosine is computed from the vectors, for each one that is asked
/// for, as a fraction. With 5/4 the recall of 100 among 200,000 clustered pins was
/// the same, but for one in the fourth digit.
const RESCORED: (usize, usize) = (10, 9);
/// A walk that keeps this many nodes for each pin it looks for meets a filter
/// that bars nearly everything near; the exact scan is then the cheaper way.
const NODES_A_PIN: usize = 16;
/// Nodes that are looked at for a place to start at, where the query is none of
/// them, and how many of them a walk starts at.
const ENTRIES: usize = 1024;
const STARTS: usize = 4;
/// How many vectors ahead to fetch while cosines are computed.
const AHEAD: usize = 4;

/// Approximate retrieval over a catalog.
#[derive(Debug)]
pub struct Approximate {
    catalog: Arc<Catalog>,
    ef_search: usize,
    scratches: Pool<Scratch>,
}

/// Memory of one retrieval.
#[derive(Debug, Default)]
struct Scratch {
    walk: graph_search::Scratch,
    query: Query,
    nodes: Vec<u32>,
    cosines: Vec<f32>,
}

impl Approximate {
    /// Retrieval over `catalog` by walks that look for at least `ef_search` pins.
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

    /// The `k` pins nearest to the pin at `place`, itself among them, by falling
    /// score, as far as a walk that expands the best `effort` nodes finds them.
    pub fn nearest(&self, place: usize, k: usize, effort: usize) -> Vec<Neighbor> {
        // A walk that always has time comes to its end.
        let found = self.nearest_in_time(place, k, effort, Deadline::never());
        found.unwrap_or_default()
    }

    /// The same; none when time was up before it was done.
    pub(super) fn nearest_in_time(
        &self,
        place: usize,
        k: usize,
        effort: usize,
        deadline: Deadline<'_>,
    ) -> Option<Vec<Neighbor>> {
        let pins = &self.catalog.pins;
        let bounds = Bounds {
            max_expansions: effort,
            deadline,
            ..Bounds::of(effort.max(k))
        };
        let weigh = |node: u32| pins.weight(node as usize);
        let mut found = Vec::new();
        let node = pins.node(place);
        let (target, starts) = (pins.vectors().row(node), [node as u32]);
        let searched = self.search((target, &starts), k, bounds, weigh, |_| true, &mut found);
        searched.ok().map(|()| found)
    }

    /// How many pins a walk looks for when `k` are asked for.
    pub(super) fn effort(&self, k: usize) -> usize {
        self.ef_search.max(k.saturating_mul(MARGIN))
    }

    /// Nodes to start at for `query`: the nearest of those that were put into the
    /// graph first, which are a random thousand.
    fn entries(&self, query: &Query) -> Vec<u32> {
        let codes = &self.catalog.codes;
        let nodes: Vec<u32> = (0..codes.len().min(ENTRIES) as u32).collect();
        let mut similarities = Vec::new();
        codes.dot_each(query, &nodes, &mut similarities);
        let mut nearest: Vec<(i32, u32)> = similarities.into_iter().zip(nodes).collect();
        nearest.sort_unstable_by(|a, b| b.cmp(a));
        nearest.iter().take(STARTS).map(|&(_, node)| node).collect()
    }

    /// The walk from `starts` to the pins nearest to `target`, or the scan where it
    /// falls short.
    fn neighbors_from(
        &self,
        target: &[f32],
        starts: &[u32],
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let pins = &self.catalog.pins;
        let SearchParams { k, eligible, .. } = *wanted;
        let usual = self.effort(k);
        // What is re-scored must have been found.
        let effort = ((usual as f32 * wanted.effort) as usize).max(rescored(k));
        let bounds = Bounds {
            // Less effort must not lead to a scan where the usual one would not.
            max_candidates: usual.saturating_mul(NODES_A_PIN),
            deadline: wanted.deadline,
            ..Bounds::of(effort)
        };
        let weigh = |node: u32| {
            pins.duplicates(node as usize)
                .filter(|&pin| eligible(pin))
                .count()
        };
        match self.search((target, starts), k, bounds, weigh, eligible, out) {
            Err(Halt::OutOfTime) => Retrieved::DeadlinePassed,
            // Fewer than k are an answer only when they are all; the scan can tell.
            Ok(()) if out.len() == k => wanted.completed(),
            Ok(()) | Err(Halt::GaveUp) => Exact(pins).near(target, wanted, out),
        }
    }

    /// Makes `out` the `k` eligible pins nearest to `target`, reached from `starts`,
    /// where `weigh` says how many of them a node holds.
    fn search(
        &self,
        (target, starts): (&[f32], &[u32]),
        k: usize,
        bounds: Bounds<'_>,
        weigh: impl Fn(u32) -> usize,
        eligible: impl Fn(PinId) -> bool,
        out: &mut Vec<Neighbor>,
    ) -> Result<(), Halt> {
        let Catalog {
            pins, codes, graph, ..
        } = &*self.catalog;
        let vectors = pins.vectors();
        self.scratches.with(|scratch| {
            let Scratch {
                walk: memory,
                query,
                nodes,
                cosines,
            } = scratch;
            codes.query(target, query);
            codes.query_walk(target, query);
            let memory = memory.begin(vectors.len());
            let found = walk(
                graph,
                codes,
                query,
                starts.iter().copied(),
                bounds,
                &weigh,
                memory,
            )?;
            nodes.clear();
            let (mut held, wanted) = (0, rescored(k));
            for found in found {
                if held > wanted {
                    break;
                }
                let weight = weigh(found.node());
                if weight > 0 {
                    nodes.push(found.node());
                    held += weight;
                }
            }
            let row = |node: u32| vectors.row(node as usize);
            // Vectors lie in pages of 4 KiB. To find one costs as much as to fetch a row, so
            // all are found first, several at a time.
            nodes.iter().for_each(|&node| prefetch(&row(node)[..1]));
            nodes
                .iter()
                .take(AHEAD)
                .for_each(|&node| prefetch(row(node)));
            let rows = nodes.iter().enumerate().map(|(at, &node)| {
                if let Some(&ahead) = nodes.get(at + AHEAD) {
                    prefetch(row(ahead));
                }
                row(node)
            });
            kernel::dot_each(target, rows, cosines);
            out.clear();
            out.reserve(held);
            for (&node, &cosine) in nodes.iter().zip(&*cosines) {
                let duplicates = pins.neighbors_at(node as usize, cosine);
                out.extend(duplicates.filter(|neighbor| eligible(neighbor.pin)));
            }
            Neighbor::keep_best(out, k);
            Ok(())
        })
    }
}

impl Retrieve for Approximate {
    fn contains(&self, pin: PinId) -> bool {
        self.catalog.pins.place(pin).is_some()
    }

    fn neighbors(
        &self,
        pin: PinId,
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let pins = &self.catalog.pins;
        out.clear();
        let Some(place) = pins.place(pin) else {
            return Retrieved::Complete;
        };
        let node = pins.node(place);
        let target = pins.vectors().row(node);
        self.neighbors_from(target, &[node as u32], wanted, out)
    }
}

impl RetrieveNear for Approximate {
    fn near(
        &self,
        target: &[f32],
        wanted: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let starts = self.scratches.with(|scratch| {
            let Scratch { query, .. } = scratch;
            self.catalog.codes.query(target, query);
            self.entries(query)
        });
        self.neighbors_from(target, &starts, wanted, out)
    }
}

/// How many pins are put into their true order when `k` are asked for.
fn rescored(k: usize) -> usize {
    k.saturating_mul(RESCORED.0) / RESCORED.1
}
