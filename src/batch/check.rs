//! Checking a catalog: that its files are whole, and how well and how fast its
//! graph finds neighbors, compared with looking at every pin.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rayon::prelude::*;

use super::BatchError;
use crate::index::{Approximate, Catalog, Exact};
use crate::model::PinId;
use crate::progress::Progress;
use crate::recommend::Retrieve;

/// What is asked of a catalog.
#[derive(Clone, Debug)]
pub struct CheckParams {
    /// Neighbors to find; at least 1.
    pub k: usize,
    /// Pins whose neighbors are asked for; at least 1.
    pub queries: usize,
    /// Threads that ask; at least 1.
    pub threads: usize,
    /// Nodes that a walk expands: one point of the curve each.
    pub efforts: Vec<usize>,
    /// Seed of the choice of the queries.
    pub seed: u64,
}

/// One point of the curve of recall against rate.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CurvePoint {
    /// Neighbors that were asked for.
    pub k: usize,
    /// Nodes that each walk expanded.
    pub effort: usize,
    /// Share of the true neighbors that were found.
    pub recall: f64,
    /// Answers a second, of all threads together.
    pub queries_per_second: f64,
    /// Median time of an answer, in microseconds.
    pub p50_us: f64,
    /// Time that one answer in a hundred exceeds, in microseconds.
    pub p99_us: f64,
    /// Memory that the catalog cannot do without, for each pin.
    pub resident_bytes_per_pin: f64,
    /// Pages of its files that are in memory as well, which the system takes back
    /// when it needs them, for each pin.
    pub cached_bytes_per_pin: f64,
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
    let (places, truth) = {
        let catalog = Catalog::open(path)?;
        catalog.check_mapped()?;
        let places = sampled(catalog.pins.ids().len(), params);
        let stage = progress.stage("exact neighbors", places.len() as u64);
        let nearest = |&place: &usize| {
            let pin = catalog.pins.ids()[place];
            let found = Exact(&catalog.pins).neighbors_of(pin, params.k, &|other| other != pin);
            let mut pins: Vec<PinId> = found.into_iter().map(|found| found.pin).collect();
            pins.sort_unstable();
            stage.advance(1);
            pins
        };
        let truth: Vec<Vec<PinId>> = places.par_iter().map(nearest).collect();
        (places, truth)
    };
    // Opened anew, so that what the scan has read does not count as resident.
    let before = Memory::now();
    let catalog = Arc::new(Catalog::open(path)?);
    let pins = catalog.pins.ids().len() as f64;
    let index = Approximate::new(catalog, 1);
    let point = |&effort: &usize| {
        // What the first answers wait for, cold memory, is not the walk.
        ask_all(&index, &places, params, effort);
        let (answers, seconds) = ask_all(&index, &places, params, effort);
        let mut latencies: Vec<Duration> = answers.iter().map(|(_, _, spent)| *spent).collect();
        latencies.sort_unstable();
        let quantile = |q: f64| {
            let at = ((latencies.len() - 1) as f64 * q).round() as usize;
            latencies[at].as_secs_f64() * 1e6
        };
        let hits = |(at, found, _): &(usize, Vec<PinId>, Duration)| {
            let hit = |pin: &&PinId| truth[*at].binary_search(pin).is_ok();
            found.iter().filter(hit).count()
        };
        let wanted: usize = truth.iter().map(Vec::len).sum();
        let memory = Memory::now();
        CurvePoint {
            k: params.k,
            effort,
            recall: answers.iter().map(hits).sum::<usize>() as f64 / wanted.max(1) as f64,
            queries_per_second: answers.len() as f64 / seconds,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            resident_bytes_per_pin: (memory.own - before.own).max(0.0) / pins,
            cached_bytes_per_pin: (memory.of_files - before.of_files).max(0.0) / pins,
        }
    };
    Ok(params.efforts.iter().map(point).collect())
}

/// Places of distinct pins, as many as are asked for or there are.
fn sampled(pins: usize, params: &CheckParams) -> Vec<usize> {
    let rng = &mut ChaCha8Rng::seed_from_u64(params.seed);
    rand::seq::index::sample(rng, pins, params.queries.min(pins)).into_vec()
}

/// For each query its number, the pins that were found, and how long that took;
/// and how many seconds it took for all.
fn ask_all(
    index: &Approximate,
    places: &[usize],
    params: &CheckParams,
    effort: usize,
) -> (Vec<(usize, Vec<PinId>, Duration)>, f64) {
    let ask = |at: usize| {
        let begun = Instant::now();
        // One more than is asked for: the pin itself is among them.
        let found = index.nearest(places[at], params.k.saturating_add(1), effort);
        let spent = begun.elapsed();
        let own = index.catalog().pins.ids()[places[at]];
        let pins = found.into_iter().map(|found| found.pin);
        let others = pins.filter(|&pin| pin != own).take(params.k).collect();
        (at, others, spent)
    };
    let threads = params.threads.min(places.len());
    let begun = Instant::now();
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let mine = (thread..places.len()).step_by(threads);
                scope.spawn(move || mine.map(ask).collect::<Vec<_>>())
            })
            .collect();
        let answers = threads.into_iter().flat_map(|thread| match thread.join() {
            Ok(answers) => answers,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        answers.collect()
    });
    (answers, begun.elapsed().as_secs_f64())
}

/// Memory of this process, in bytes; zeros where the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    own: f64,
    of_files: f64,
}

impl Memory {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
        };
        Self {
            own: bytes("RssAnon:"),
            of_files: bytes("RssFile:"),
        }
    }
}
