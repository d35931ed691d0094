//! Times the stages of one request.

use std::cell::Cell;
use std::time::{Duration, Instant};

use metrics::histogram;

use crate::metrics as names;
use crate::recommend::{Stage, StageObserver};
use crate::serve::middleware::stage_span;

/// Times the stages of one request. A stage may come in several parts; it is
/// recorded once a request, so that counts are those of requests.
#[derive(Debug, Default)]
pub(super) struct StageTimer {
    spent: [Cell<Duration>; 4],
}

impl StageTimer {
    /// Records the time of every stage.
    pub(super) fn record(&self) {
        let stages = [
            (Stage::Lookup, "lookup"),
            (Stage::Sample, "sample"),
            (Stage::Retrieve, "retrieve"),
            (Stage::Merge, "merge"),
        ];
        for (stage, name) in stages {
            histogram!(names::STAGE_DURATION, "stage" => name)
                .record(self.spent[stage as usize].get());
        }
    }
}

impl StageObserver for StageTimer {
    fn observe<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let span = stage_span(stage);
        let result = work();
        drop(span);
        let spent = &self.spent[stage as usize];
        spent.set(spent.get() + begun.elapsed());
        result
    }
}
