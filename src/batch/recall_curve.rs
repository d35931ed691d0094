//! Checking a catalog: all its files, and how recall of its graph trades against speed,
//! compared with the exact scan.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rayon::prelude::*;

use super::error::BatchError;
use super::process_memory::ProcessMemory;
use crate::index::{Approximate, Catalog, Exact, Selection};
use crate::model::{Filter, Neighbor, PinId};
use crate::progress::Progress;
use crate::recommend::Retrieve;

/// The searches that a catalog is measured with.
#[derive(Clone, Debug)]
pub struct CheckParams {
    /// Number of neighbors of a search; at least 1.
    pub k: usize,
    /// Number of pins whose neighbors are searched; at least 1.
    pub queries: usize,
    /// Number of threads that search; at least 1.
    pub threads: usize,
    /// Nodes that a search expands: one point of the curve each.
    pub efforts: Vec<usize>,
    /// Seed of the draw of the pins.
    pub seed: u64,
    /// Which pins may be neighbors; none for all.
    pub filter: Option<Filter>,
}

/// One point of the curve of recall against rate.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CurvePoint {
    /// Number of neighbors of a search.
    pub k: usize,
    /// How the pins that a filter selects were found; none without a filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filtered: Option<FilteredSearches>,
    /// Nodes that each search expanded; with a filter, those that hold selected pins.
    pub effort: usize,
    /// Share of the true neighbors that were found.
    pub recall: f64,
    /// Searches a second, of all threads together.
    pub queries_per_second: f64,
    /// Median latency of a search, in microseconds.
    pub p50_us: f64,
    /// 99th percentile of latencies, in microseconds.
    pub p99_us: f64,
    /// Memory that the catalog cannot do without, in bytes for each pin.
    pub resident_bytes_per_pin: f64,
    /// Pages of its files that are in memory as well, which the system takes back when it
    /// needs them, in bytes for each pin.
    pub cached_bytes_per_pin: f64,
}

/// How the pins that a filter selects were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FilteredSearches {
    /// Number of pins that the filter selects.
    pub selected_pins: usize,
    /// `search` of the graph, or `scan` of all selected pins.
    pub plan: &'static str,
}

/// Checks every file of the catalog in `path`, and measures its curve.
///
/// Queries are pins of the catalog, drawn evenly, each left out of its own
/// neighbors. The truth is the exact scan over the vectors. Each point is
/// measured after a first round over all queries that is not timed.
pub fn check_catalog(
    path: &Path,
    params: &CheckParams,
    progress: Progress,
) -> Result<Vec<CurvePoint>, BatchError> {
    let queries = Queries::draw(path, params, progress)?;
    // Opened anew, so that pages that the scan has read do not count as resident.
    let before = ProcessMemory::now();
    let catalog = Arc::new(Catalog::open(path)?);
    let selection = select(&catalog, params)?;
    let measure = |&effort: &usize| {
        let index = Approximate::new(catalog.clone(), effort);
        let searcher = Searcher {
            index: &index,
            selection: selection.as_ref(),
            // One more than asked for: the pin itself is among them.
            k: params.k.saturating_add(1),
            effort,
        };
        // The first searches wait for cold memory, which is not the cost of a search.
        queries.search_all(&searcher, params);
        let round = queries.search_all(&searcher, params);
        CurvePoint {
            filtered: searcher.filtered(),
            ..queries.curve_point(&round, params.k, effort, before)
        }
    };
    Ok(params.efforts.iter().map(measure).collect())
}

/// The pins that the filter of `params` selects; none without a filter.
fn select(catalog: &Catalog, params: &CheckParams) -> Result<Option<Selection>, BatchError> {
    let Some(filter) = &params.filter else {
        return Ok(None);
    };
    let invalid = |reason: &dyn std::fmt::Display| BatchError::Filter(reason.to_string());
    filter
        .check(catalog.attributes.definitions())
        .map_err(|e| invalid(&e))?;
    let selection = Selection::new(filter, &catalog.attributes, &catalog.pins);
    selection.map(Some).map_err(|e| invalid(&e))
}

/// Searches of one effort.
struct Searcher<'a> {
    index: &'a Approximate,
    /// The pins that may be found; none for all.
    selection: Option<&'a Selection>,
    /// Number of neighbors.
    k: usize,
    /// Nodes that a search expands.
    effort: usize,
}

impl Searcher<'_> {
    fn nearest(&self, position: usize) -> Vec<Neighbor> {
        match self.selection {
            None => self.index.nearest(position, self.k, self.effort),
            Some(selection) => {
                let index = self.index;
                index.nearest_selected(position, selection, self.k, self.effort)
            }
        }
    }

    fn filtered(&self) -> Option<FilteredSearches> {
        let selection = self.selection?;
        let plan = match self.index.is_scanned(selection, self.k) {
            true => "scan",
            false => "search",
        };
        Some(FilteredSearches {
            selected_pins: selection.pins(),
            plan,
        })
    }
}

/// Pins whose neighbors are searched, with the true ones.
struct Queries {
    /// Positions of distinct pins in the catalog.
    positions: Vec<usize>,
    /// The true neighbors of each, by ascending id.
    truth: Vec<Vec<PinId>>,
    /// Number of pins of the catalog.
    pins: usize,
}

/// One search.
struct Search {
    /// Position of its query among the queries.
    query: usize,
    found: Vec<PinId>,
    latency: Duration,
}

/// All queries, searched once.
struct Round {
    searches: Vec<Search>,
    seconds: f64,
}

impl Queries {
    /// Draws queries from the catalog in `path`, all files of which are checked.
    fn draw(path: &Path, params: &CheckParams, progress: Progress) -> Result<Self, BatchError> {
        let catalog = Catalog::open(path)?;
        catalog.check_mapped()?;
        let pins = catalog.pins.ids().len();
        let rng = &mut ChaCha8Rng::seed_from_u64(params.seed);
        let positions = rand::seq::index::sample(rng, pins, params.queries.min(pins)).into_vec();
        let stage = progress.stage("exact neighbors", positions.len() as u64);
        let selection = select(&catalog, params)?;
        let is_selected = |pin: PinId| {
            let selects = |selection: &Selection| selection.selects(pin, &catalog.pins);
            selection.as_ref().is_none_or(selects)
        };
        let exact = |&position: &usize| {
            let pin = catalog.pins.ids()[position];
            let is_other = |other: PinId| other != pin && is_selected(other);
            let found = Exact(&catalog.pins).neighbors_of(pin, params.k, &is_other);
            let mut pins: Vec<PinId> = found.into_iter().map(|found| found.pin).collect();
            pins.sort_unstable();
            stage.advance(1);
            pins
        };
        let truth = positions.par_iter().map(exact).collect();
        Ok(Self {
            positions,
            truth,
            pins,
        })
    }

    fn search_all(&self, searcher: &Searcher<'_>, params: &CheckParams) -> Round {
        let search = |query: usize| {
            let position = self.positions[query];
            let begun = Instant::now();
            let found = searcher.nearest(position);
            let latency = begun.elapsed();
            let pin = searcher.index.catalog().pins.ids()[position];
            let others = found.into_iter().map(|found| found.pin);
            Search {
                query,
                found: others
                    .filter(|&other| other != pin)
                    .take(params.k)
                    .collect(),
                latency,
            }
        };
        let threads = params.threads.min(self.positions.len());
        let begun = Instant::now();
        let searches = std::thread::scope(|scope| {
            let spawn = |thread| {
                let share = (thread..self.positions.len()).step_by(threads);
                scope.spawn(move || share.map(search).collect::<Vec<_>>())
            };
            let threads: Vec<_> = (0..threads).map(spawn).collect();
            let searches = threads.into_iter().flat_map(|thread| match thread.join() {
                Ok(searches) => searches,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            searches.collect()
        });
        Round {
            searches,
            seconds: begun.elapsed().as_secs_f64(),
        }
    }

    fn curve_point(
        &self,
        round: &Round,
        k: usize,
        effort: usize,
        before: ProcessMemory,
    ) -> CurvePoint {
        let searches = &round.searches;
        let mut latencies: Vec<Duration> = searches.iter().map(|search| search.latency).collect();
        latencies.sort_unstable();
        let memory = ProcessMemory::now();
        let bytes_per_pin = |bytes: f64| bytes.max(0.0) / self.pins as f64;
        CurvePoint {
            k,
            filtered: None,
            effort,
            recall: self.recall(searches),
            queries_per_second: searches.len() as f64 / round.seconds,
            p50_us: quantile_us(&latencies, 0.5),
            p99_us: quantile_us(&latencies, 0.99),
            resident_bytes_per_pin: bytes_per_pin(memory.anonymous - before.anonymous),
            cached_bytes_per_pin: bytes_per_pin(memory.of_files - before.of_files),
        }
    }

    /// Share of the true neighbors of all queries that were found.
    fn recall(&self, searches: &[Search]) -> f64 {
        let hits = |search: &Search| {
            let truth = &self.truth[search.query];
            let is_true = |pin: &&PinId| truth.binary_search(pin).is_ok();
            search.found.iter().filter(is_true).count()
        };
        let hits: usize = searches.iter().map(hits).sum();
        let all: usize = self.truth.iter().map(Vec::len).sum();
        hits as f64 / all.max(1) as f64
    }
}

/// The quantile `q` of ascending latencies, in microseconds.
fn quantile_us(latencies: &[Duration], q: f64) -> f64 {
    let rank = ((latencies.len() - 1) as f64 * q).round() as usize;
    latencies[rank].as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_ascending_latencies() {
        let latencies: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        let rounded = |q| quantile_us(&latencies, q).round();
        assert_eq!(
            (rounded(0.0), rounded(0.99), rounded(1.0)),
            (1.0, 99.0, 100.0)
        );
        assert_eq!(quantile_us(&latencies[..1], 0.5).round(), 1.0);
    }

    #[test]
    fn recall_is_the_share_of_all_true_neighbors() {
        let ids = |ids: &[u64]| ids.iter().map(|&id| PinId(id)).collect::<Vec<_>>();
        let queries = Queries {
            positions: vec![0, 1],
            truth: vec![ids(&[1, 2, 3]), ids(&[4])],
            pins: 5,
        };
        let search = |query, found: &[u64]| Search {
            query,
            found: ids(found),
            latency: Duration::ZERO,
        };
        let searches = [search(1, &[9]), search(0, &[3, 1, 7])];
        assert_eq!(queries.recall(&searches), 0.5);
    }
}
