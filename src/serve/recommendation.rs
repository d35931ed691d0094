//! `RecommendationService`: convert, call the core, convert back.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tonic::{Request, Response, Status};

use super::convert::{self, Ask};
use super::live::{Live, Loaded};
use super::status::CallError;
use super::workers::Workers;
use crate::metrics as names;
use crate::model::Timestamp;
use crate::recommend::{Fallback, Recommendation, Stage, Watch};
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
        let request = request.into_inner();
        Ok(Response::new(
            self.workers
                .run(move || answer(&loaded, request, now))
                .await??,
        ))
    }

    async fn batch_recommend(
        &self,
        request: Request<v1::BatchRecommendRequest>,
    ) -> Result<Response<v1::BatchRecommendResponse>, Status> {
        let loaded = self.loaded()?;
        let requests = convert::batch(request.into_inner())?;
        let now = (self.clock)();
        let work = move || {
            let outcomes = requests
                .into_iter()
                .map(|request| answer(&loaded, request, now));
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

/// Answers one request. A seed that is not given is drawn here, so that the rest
/// is a function of its arguments.
fn answer(
    loaded: &Loaded,
    request: v1::RecommendRequest,
    now: Timestamp,
) -> Result<v1::RecommendResponse, CallError> {
    let ask = Ask::try_from(request)?;
    if ask.require_profile && !loaded.knows(ask.user) {
        return Err(CallError::NoProfile(ask.user));
    }
    let seed = ask.seed.unwrap_or_else(rand::random);
    let stopwatch = Stopwatch::default();
    let answer = loaded.recommend(ask.user, &ask.request(), seed, &stopwatch);
    stopwatch.record();
    count(&answer);
    Ok(convert::response(&ask, seed, &answer, loaded, now))
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
