//! The live recall probe: one in so many answers has one of its retrievals repeated,
//! and compared with an exact scan, on a thread of low priority.

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
use crate::serve::overload::{background_thread, catch_panic};
use crate::serve::params::ServerParams;
use crate::serve::state::serving::Serving;

/// Number of neighbors that are compared.
const K: usize = 100;
/// The same as the label of a metric.
const K_LABEL: &str = "100";
/// Number of latest probes whose mean is reported.
const WINDOW: usize = 200;

/// Measures the recall of answers.
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
    /// Whether a probe runs: others are skipped, they do not wait.
    is_busy: AtomicBool,
    /// Recall of the latest probes, oldest first.
    recalls: Mutex<VecDeque<f64>>,
}

impl Probe {
    pub(crate) fn new(params: &ServerParams) -> Result<Self, ThreadPoolBuildError> {
        Ok(Self {
            one_in: params.probe_one_in,
            cpu: params.probe_cpu,
            answers: AtomicU64::new(0),
            background: background_thread("probe")?,
            shared: Arc::default(),
        })
    }

    /// Counts an answer that was made from `serving` and retrievals for `pins`, and probes it
    /// when its turn has come.
    pub(crate) fn observe_answer(
        &self,
        serving: &Arc<Serving>,
        mut pins: impl Iterator<Item = PinId> + Clone,
    ) {
        let (one_in, cpu) = (self.one_in, self.cpu);
        if one_in == 0 {
            return;
        }
        let count = pins.clone().count();
        if count == 0 {
            return;
        }
        let answer = self.answers.fetch_add(1, Ordering::Relaxed);
        if !answer.is_multiple_of(one_in) || self.shared.is_busy.swap(true, Ordering::AcqRel) {
            return;
        }
        // All ranks in turn.
        let rank = (answer / one_in) as usize % count;
        let Some(pin) = pins.nth(rank) else {
            return;
        };
        let (serving, shared) = (serving.clone(), self.shared.clone());
        self.background.spawn(move || {
            let begun = Instant::now();
            // A panic here must not end the server.
            if let Ok(Some(recall)) = catch_panic(|| recall(&serving, pin)) {
                shared.report(recall);
            }
            // Old versions must leave memory while this sleeps.
            drop(serving);
            // The rest of the time belongs to others.
            sleep(begun.elapsed().mul_f64(1.0 / cpu - 1.0));
            shared.is_busy.store(false, Ordering::Release);
        });
    }
}

impl Shared {
    fn report(&self, recall: f64) {
        let mut recalls = self.recalls.lock().unwrap_or_else(PoisonError::into_inner);
        if recalls.len() == WINDOW {
            recalls.pop_front();
        }
        recalls.push_back(recall);
        let mean = recalls.iter().sum::<f64>() / recalls.len() as f64;
        gauge!(names::RECALL, "k" => K_LABEL).set(mean);
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
    let found = index.neighbors_of(pin, K, &|_| true);
    let found: HashSet<PinId> = found.iter().map(|neighbor| neighbor.pin).collect();
    let truth = Exact(&index.catalog().pins).neighbors_of(pin, K, &|_| true);
    let hits = truth
        .iter()
        .filter(|neighbor| found.contains(&neighbor.pin));
    Some(hits.count() as f64 / truth.len().max(1) as f64)
}
