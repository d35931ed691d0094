//! Approximate retrieval: a graph search over codes, whose best nodes are put into their
//! true order from the vectors. The exact scan answers where the search falls short.

use std::sync::Arc;

use super::graph_search::{GraphSearch, ScoredNode, SearchLimits, SearchScratch, StopReason};
use super::quantization::Query;
use super::ranking::{RankScratch, Wanted, rescored};
use super::selected_scan::{ScanScratch, SelectedScan};
use super::selection::Selection;
use super::{Catalog, Exact};
use crate::model::{Neighbor, PinId};
use crate::pool::Pool;
use crate::recommend::{Deadline, Retrieve, Retrieved, SearchParams};

/// Pins that a search looks for, for each one that is asked for.
const EF_PER_PIN: usize = 2;
/// A search that keeps this many nodes for each pin it looks for meets a filter
/// that blocks nearly everything near; the exact scan is then the cheaper way.
const MAX_CANDIDATES_PER_EF: usize = 16;
/// Nodes that are compared with a query that is no node, to choose where to start.
const ENTRY_CANDIDATES: usize = 1024;
/// How many of them a search starts at.
const STARTS: usize = 4;
/// Selected nodes that are scanned in the time in which a search expands one node.
const SCANNED_PER_EXPANSION: f64 = 20.0;
/// Up to so many selected pins are scanned by their vectors, which costs less than to look at
/// codes first.
const SCANNED_BY_VECTOR: usize = 1024;
/// What a search with a filter inside looks for, of what one without it does: its neighbors
/// lie further away, and more of the way to them is through pins that are not selected.
pub(super) const FILTERED_EFFORT: f32 = 1.25;
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
    scan: ScanScratch,
    query: Query,
    ranking: RankScratch,
}

/// One search of the graph.
#[derive(Clone, Copy)]
struct VectorSearch<'a> {
    wanted: Wanted<'a>,
    /// Nodes to start at.
    starts: &'a [u32],
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
            wanted: Wanted {
                target: pins.vectors().row(node),
                k,
                eligible: &|_| true,
            },
            starts: &[node as u32],
            limits: SearchLimits {
                max_expansions: ef,
                deadline,
                ..SearchLimits::with_ef(ef.max(k))
            },
        };
        let multiplicity = |node: u32| pins.multiplicity(node as usize);
        let mut found = Vec::new();
        let searched = self.search(search, multiplicity, &mut found);
        searched.ok().map(|()| found)
    }

    /// How many pins a search looks for when `k` are asked for.
    pub(super) fn ef(&self, k: usize) -> usize {
        self.ef_search.max(k.saturating_mul(EF_PER_PIN))
    }

    /// Nodes to start at for the unit vector `target`.
    fn starts_for(&self, target: &[f32]) -> Vec<u32> {
        self.scratches.with(|scratch| {
            let RetrievalScratch { query, .. } = scratch;
            self.catalog.codes.prepare(target, query);
            self.entry_nodes(query)
        })
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

    /// Whether a scan of all selected pins takes less time than a search for `k` of them,
    /// which expands about `ef` nodes that hold selected pins, and those between them.
    pub fn is_scanned(&self, selection: &Selection, k: usize) -> bool {
        let expansions = self.ef(k) as f64 / selection.selectivity().max(f64::MIN_POSITIVE);
        selection.pins() as f64 <= expansions * SCANNED_PER_EXPANSION
    }

    /// [`Retrieve::neighbors`] of the pin at `position` among the selected pins.
    pub(super) fn selected_neighbors(
        &self,
        position: usize,
        selection: &Selection,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let pins = &self.catalog.pins;
        let node = pins.node(position);
        let target = pins.vectors().row(node);
        self.search_or_scan_selected((target, &[node as u32]), selection, params, out)
    }

    /// The same of the unit vector `target`.
    pub(super) fn selected_nearest(
        &self,
        target: &[f32],
        selection: &Selection,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let starts = self.starts_for(target);
        self.search_or_scan_selected((target, &starts), selection, params, out)
    }

    /// Searches for selected pins near to a target, from where to start for it, or scans
    /// all of them.
    fn search_or_scan_selected(
        &self,
        (target, starts): (&[f32], &[u32]),
        selection: &Selection,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let pins = &self.catalog.pins;
        let eligible = |pin| selection.selects(pin, pins) && (params.eligible)(pin);
        let of_pins = SearchParams {
            eligible: &eligible,
            ..*params
        };
        // Only selected nodes are looked at. Where each has one pin, that is selected, too.
        let params = match pins.has_duplicates() {
            true => &of_pins,
            false => params,
        };
        let eligible_pins = self.eligible_pins(params.eligible);
        let multiplicity = |node: u32| match selection.has_node(node) {
            true => eligible_pins(node),
            false => 0,
        };
        if !self.is_scanned(selection, params.k) {
            let search = SearchParams {
                effort: FILTERED_EFFORT * params.effort,
                ..*params
            };
            match self.search_with_effort((target, starts), &search, multiplicity, out) {
                Err(StopReason::OutOfTime) => return Retrieved::DeadlinePassed,
                Ok(()) if out.len() == params.k => return params.completed(),
                Ok(()) | Err(StopReason::TooManyCandidates) => {}
            }
        }
        self.scan(target, selection, params, out)
    }

    /// Scans all selected pins: few by their vectors, more by their codes first.
    fn scan(
        &self,
        target: &[f32],
        selection: &Selection,
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let codes = &self.catalog.codes;
        let eligible_pins = self.eligible_pins(params.eligible);
        let has_eligible = |node: u32| eligible_pins(node) > 0;
        let wanted = Wanted {
            target,
            k: params.k,
            eligible: params.eligible,
        };
        if params.deadline.has_passed() {
            return Retrieved::DeadlinePassed;
        }
        out.clear();
        self.scratches.with(|scratch| {
            let ranking = &mut scratch.ranking;
            if selection.pins() <= SCANNED_BY_VECTOR {
                ranking.select_all(selection.nodes().filter(|&node| has_eligible(node)));
                ranking.rank(wanted, &self.catalog.pins, out);
                return Retrieved::Complete;
            }
            codes.prepare(target, &mut scratch.query);
            codes.prepare_sketch(target, &mut scratch.query);
            let scan = SelectedScan {
                codes,
                query: &scratch.query,
                selection,
                count: self.ef(params.k),
                deadline: params.deadline,
            };
            let Some(found) = scan.run(has_eligible, &mut scratch.scan) else {
                return Retrieved::DeadlinePassed;
            };
            ranking.select(found, params.k, &eligible_pins);
            ranking.rank(wanted, &self.catalog.pins, out);
            Retrieved::Complete
        })
    }

    /// Number of eligible pins of a node.
    fn eligible_pins<'a>(
        &'a self,
        eligible: &'a dyn Fn(PinId) -> bool,
    ) -> impl Fn(u32) -> usize + 'a {
        move |node: u32| {
            let pins = self.catalog.pins.duplicates(node as usize);
            pins.filter(|&pin| eligible(pin)).count()
        }
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
        let multiplicity = self.eligible_pins(params.eligible);
        match self.search_with_effort((target, starts), params, multiplicity, out) {
            Err(StopReason::OutOfTime) => Retrieved::DeadlinePassed,
            // Fewer than k are an answer only when they are all; the scan can tell.
            Ok(()) if out.len() == params.k => params.completed(),
            Ok(()) | Err(StopReason::TooManyCandidates) => {
                Exact(&self.catalog.pins).nearest_to_vector(target, params, out)
            }
        }
    }

    /// Searches with the effort of `params`; `multiplicity` is the number of eligible pins
    /// of a node.
    fn search_with_effort(
        &self,
        (target, starts): (&[f32], &[u32]),
        params: &SearchParams<'_>,
        multiplicity: impl Fn(u32) -> usize,
        out: &mut Vec<Neighbor>,
    ) -> Result<(), StopReason> {
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
        let search = VectorSearch {
            wanted: Wanted {
                target,
                k,
                eligible,
            },
            starts,
            limits,
        };
        self.search(search, multiplicity, out)
    }

    /// Makes `out` the `k` eligible pins nearest to the target, where `multiplicity` is
    /// the number of eligible pins of a node.
    fn search(
        &self,
        search: VectorSearch<'_>,
        multiplicity: impl Fn(u32) -> usize,
        out: &mut Vec<Neighbor>,
    ) -> Result<(), StopReason> {
        let wanted = search.wanted;
        self.scratches.with(|scratch| {
            let RetrievalScratch {
                search: memory,
                query,
                ranking,
                ..
            } = scratch;
            let found = self.search_graph(search, &multiplicity, query, memory)?;
            let held = ranking.select(found, wanted.k, multiplicity);
            out.clear();
            out.reserve(held);
            ranking.rank(wanted, &self.catalog.pins, out);
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
        codes.prepare(search.wanted.target, query);
        codes.prepare_sketch(search.wanted.target, query);
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

    fn nearest_to_vector(
        &self,
        target: &[f32],
        params: &SearchParams<'_>,
        out: &mut Vec<Neighbor>,
    ) -> Retrieved {
        let starts = self.starts_for(target);
        self.search_or_scan(target, &starts, params, out)
    }
}
