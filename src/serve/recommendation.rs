//! `RecommendationService`: convert, call the core, convert back.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tonic::{Request, Response, Status};

use super::convert::{self, Ask};
use super::live::{Live, Loaded};
use super::status::CallError;
use super::workers::{self, Workers};
use crate::metrics as names;
use crate::model::Timestamp;
use crate::recommend::{Fallback, Recommendation, Retrieve, Stage, Watch};
use crate::wire::v1;
use crate::wire::v1::recommendation_service_server::RecommendationService;

pub(super) struct Service {
    pub(super) live: Arc<Live>,
    pub(super) workers: Workers,
    /// Tells the time of an answer.
    pub(super) clock: fn() -> Timestamp,
}

impl Service {
    fn loaded(&self) -> Result<Arc<Loaded>, CallError> {
        self.live.get().cloned().ok_or(CallError::NotLoaded)
    }
}

#[tonic::async_trait]
impl RecommendationService for Service {
    async fn recommend(
        &self,
        request: Request<v1::RecommendRequest>,
    ) -> Result<Response<v1::RecommendResponse>, Status> {
        let (loaded, now) = (self.loaded()?, (self.clock)());
        let ask = Asked::new(request.into_inner(), &loaded)?;
        // What lists answer takes less time than to hand it to a worker would.
        if ask.ask.is_small() {
            let from_lists = workers::guarded(|| ask.answer_from_lists(&loaded, now))?;
            if let Some(response) = from_lists {
                return Ok(Response::new(response));
            }
        }
        let work = move || ask.answer(&loaded, now);
        Ok(Response::new(self.workers.run(work).await?))
    }

    async fn batch_recommend(
        &self,
        request: Request<v1::BatchRecommendRequest>,
    ) -> Result<Response<v1::BatchRecommendResponse>, Status> {
        let loaded = self.loaded()?;
        let requests = convert::batch(request.into_inner())?;
        let now = (self.clock)();
        let work = move || {
            let answer = |request| {
                let ask = Asked::new(request, &loaded)?;
                Ok(ask.answer(&loaded, now))
            };
            let outcomes = requests.into_iter().map(answer);
            outcomes.map(convert::batch_result).collect()
        };
        let results = self.workers.run(work).await?;
        Ok(Response::new(v1::BatchRecommendResponse { results }))
    }

    async fn explain_user(
        &self,
        request: Request<v1::ExplainUserRequest>,
    ) -> Result<Response<v1::ExplainUserResponse>, Status> {
        let loaded = self.loaded()?;
        let user = convert::user(request.into_inner().user_id)?;
        Ok(Response::new(convert::interests(user, &loaded)))
    }
}

/// A request that was checked, with a seed: the answer is a function of these and
/// of what is loaded.
struct Asked {
    ask: Ask,
    seed: u64,
}

impl Asked {
    /// Checks `request`. A seed that is not given is drawn here.
    fn new(request: v1::RecommendRequest, loaded: &Loaded) -> Result<Self, CallError> {
        let ask = Ask::try_from(request)?;
        if ask.require_profile && !loaded.knows(ask.user) {
            return Err(CallError::NoProfile(ask.user));
        }
        let seed = ask.seed.unwrap_or_else(rand::random);
        Ok(Self { ask, seed })
    }

    /// The answer, unless it takes a walk.
    fn answer_from_lists(&self, loaded: &Loaded, now: Timestamp) -> Option<v1::RecommendResponse> {
        let lists = loaded.index().without_walks();
        let (answer, stopwatch) = self.recommend(loaded, &lists);
        (!lists.needs_walk()).then(|| self.response(&answer, &stopwatch, loaded, now))
    }

    /// The answer, with walks where they are needed.
    fn answer(&self, loaded: &Loaded, now: Timestamp) -> v1::RecommendResponse {
        let (answer, stopwatch) = self.recommend(loaded, loaded.index());
        self.response(&answer, &stopwatch, loaded, now)
    }

    fn recommend(&self, loaded: &Loaded, index: &dyn Retrieve) -> (Recommendation, Stopwatch) {
        let Self { ask, seed } = self;
        let stopwatch = Stopwatch::default();
        let answer = loaded.recommend(ask.user, &ask.request(), index, *seed, &stopwatch);
        (answer, stopwatch)
    }

    /// Counts and times `answer`, which is given now.
    fn response(
        &self,
        answer: &Recommendation,
        stopwatch: &Stopwatch,
        loaded: &Loaded,
        now: Timestamp,
    ) -> v1::RecommendResponse {
        stopwatch.record();
        count(answer);
        convert::response(&self.ask, self.seed, answer, loaded, now)
    }
}

fn count(answer: &Recommendation) {
    histogram!(names::CANDIDATES).record(answer.candidates.len() as f64);
    if answer.medoids_missing {
        counter!(names::DEGRADED, "reason" => "medoids_not_in_catalog").increment(1);
    }
    if let Some(fallback) = answer.fallback {
        let reason = match fallback {
            Fallback::UnknownUser => "unknown_user",
            Fallback::ProfileNotInCatalog => "profile_not_in_catalog",
        };
        counter!(names::FALLBACK, "reason" => reason).increment(1);
    }
}

/// Times the stages of the flow. A stage may come in several parts; it is
/// recorded once a request, so that counts are those of requests.
#[derive(Default)]
struct Stopwatch([Cell<Duration>; 4]);

impl Watch for Stopwatch {
    fn stage<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        let spent = &self.0[stage as usize];
        spent.set(spent.get() + begun.elapsed());
        result
    }
}

impl Stopwatch {
    fn record(&self) {
        let stages = [
            (Stage::Lookup, "lookup"),
            (Stage::Sample, "sample"),
            (Stage::Retrieve, "retrieve"),
            (Stage::Merge, "merge"),
        ];
        for (stage, name) in stages {
            histogram!(names::STAGE_DURATION, "stage" => name).record(self.0[stage as usize].get());
        }
    }
}
