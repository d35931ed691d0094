//! The live recall probe: one in so many answers has one of its retrievals repeated,
//! and compared with an exact scan, on a thread that gets out of everybody's way.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::Instant;

use metrics::{counter, gauge};
use rayon::{ThreadPool, ThreadPoolBuildError};

use crate::index::Exact;
use crate::metrics as names;
use crate::model::PinId;
use crate::recommend::Retrieve;
use crate::serve::ServerParams;
use crate::serve::overload::workers;
use crate::serve::state::changed_pins::Serving;

/// Neighbors that are compared, and how many that is for `/metrics`.
const K: (usize, &str) = (100, "100");
/// Latest probes whose mean is told.
const LATEST: usize = 200;

/// See the module.
#[derive(Debug)]
pub(crate) struct Probe {
    /// One in so many answers; 0 for none.
    one_in: u64,
    /// Share of a core that probes may take, above 0 and at most 1.
    cpu: f64,
    answers: AtomicU64,
    background: ThreadPool,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether there is a probe already: others are left out, not kept waiting.
    busy: AtomicBool,
    ratios: Mutex<VecDeque<f64>>,
}

impl Probe {
    pub(crate) fn new(params: &ServerParams) -> Result<Self, ThreadPoolBuildError> {
        Ok(Self {
            one_in: params.probe_one_in,
            cpu: params.probe_cpu,
            answers: AtomicU64::new(0),
            background: workers::background("probe")?,
            shared: Arc::default(),
        })
    }

    /// Takes note of an answer that was made from `serving`, of which `medoids` gives
    /// the sampled ones.
    pub(crate) fn answered(
        &self,
        serving: &Arc<Serving>,
        mut medoids: impl ExactSizeIterator<Item = PinId>,
    ) {
        let (one_in, cpu) = (self.one_in, self.cpu);
        if one_in == 0 || medoids.len() == 0 {
            return;
        }
        let answer = self.answers.fetch_add(1, Ordering::Relaxed);
        if !answer.is_multiple_of(one_in) || self.shared.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        // All places in turn.
        let place = (answer / one_in) as usize % medoids.len();
        let Some(pin) = medoids.nth(place) else {
            return;
        };
        let (serving, shared) = (serving.clone(), self.shared.clone());
        self.background.spawn(move || {
            let begun = Instant::now();
            // A panic here must not end the server.
            if let Ok(Some(ratio)) = workers::guarded(|| recall(&serving, pin)) {
                shared.tell(ratio);
            }
            drop(serving);
            // The rest of the time belongs to others.
            sleep(begun.elapsed().mul_f64(1.0 / cpu - 1.0));
            shared.busy.store(false, Ordering::Release);
        });
    }
}

impl Shared {
    fn tell(&self, ratio: f64) {
        let mut ratios = self.ratios.lock().unwrap_or_else(PoisonError::into_inner);
        if ratios.len() == LATEST {
            ratios.pop_front();
        }
        ratios.push_back(ratio);
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        gauge!(names::RECALL, "k" => K.1).set(mean);
        counter!(names::RECALL_PROBES).increment(1);
    }
}

/// Share of the true neighbors of `pin` in the catalog that the index finds; none
/// for a pin that the catalog does not have.
fn recall(serving: &Serving, pin: PinId) -> Option<f64> {
    let index = serving.loaded.index();
    if !index.contains(pin) {
        return None;
    }
    let found = index.neighbors_of(pin, K.0, &|_| true);
    let found: HashSet<PinId> = found.iter().map(|neighbor| neighbor.pin).collect();
    let truth = Exact(&index.catalog().pins).neighbors_of(pin, K.0, &|_| true);
    let hits = truth
        .iter()
        .filter(|neighbor| found.contains(&neighbor.pin));
    Some(hits.count() as f64 / truth.len().max(1) as f64)
}
