//! `RecommendationService`: convert, call the core, convert back.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use metrics::{counter, histogram};
use tonic::{Request, Response, Status};

use super::convert::{self, Ask};
use super::live::{Live, Loaded};
use super::status::CallError;
use crate::metrics as names;
use crate::model::Timestamp;
use crate::recommend::{Fallback, Recommendation, Stage, Watch};
use crate::wire::v1;
use crate::wire::v1::recommendation_service_server::RecommendationService;

pub(super) struct Service {
    live: Arc<Live>,
}

impl Service {
    pub(super) fn new(live: Arc<Live>) -> Self {
        Self { live }
    }

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
        let loaded = self.loaded()?;
        Ok(Response::new(answer(&loaded, request.into_inner())?))
    }

    async fn batch_recommend(
        &self,
        request: Request<v1::BatchRecommendRequest>,
    ) -> Result<Response<v1::BatchRecommendResponse>, Status> {
        let loaded = self.loaded()?;
        let requests = convert::batch(request.into_inner())?;
        let work = move || {
            let outcomes = requests.into_iter().map(|request| answer(&loaded, request));
            outcomes.map(convert::batch_result).collect()
        };
        let results = tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "a batch died");
            CallError::Internal
        })?;
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

/// Answers one request. The clock is read and the seed is drawn here, so that the
/// rest is a function of its arguments.
fn answer(
    loaded: &Loaded,
    request: v1::RecommendRequest,
) -> Result<v1::RecommendResponse, CallError> {
    let ask = Ask::try_from(request)?;
    if ask.require_profile && !loaded.knows(ask.user) {
        return Err(CallError::NoProfile(ask.user));
    }
    let seed = ask.seed.unwrap_or_else(rand::random);
    let answer = loaded.recommend(ask.user, &ask.request(), seed, &Stopwatch);
    count(&answer);
    Ok(convert::response(&ask, seed, &answer, loaded, now()))
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
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

/// Times the stages of the flow.
struct Stopwatch;

impl Watch for Stopwatch {
    fn stage<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let name = match stage {
            Stage::Lookup => "lookup",
            Stage::Sample => "sample",
            Stage::Retrieve => "retrieve",
            Stage::Merge => "merge",
        };
        let begun = Instant::now();
        let result = work();
        histogram!(names::STAGE_DURATION, "stage" => name).record(begun.elapsed());
        result
    }
}
