//! `RecommendationService`: convert, call the core, convert back.

use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::{Request, Response, Status};

use super::page::Page;
use super::request_context::RequestContext;
use super::search_budget::SearchBudget;
use super::validated_request::{Convert, ValidatedRequest};
use super::{attributes, request, response, user_features};
use crate::actions::FreshnessToken;
use crate::model::Timestamp;
use crate::recommend::Deadline;
use crate::serve::middleware::Budget;
use crate::serve::overload::{Limiter, Workers, catch_panic};
use crate::serve::state::{AnswerParams, Live, Probe};
use crate::serve::status::CallError;
use crate::serve::surfaces::{CallLabels, Surfaces};
use crate::wire::v1;
use crate::wire::v1::recommendation_service_server::RecommendationService;

pub(crate) struct Service {
    pub(crate) live: Arc<Live>,
    pub(crate) workers: Workers,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) probe: Arc<Probe>,
    pub(crate) surfaces: Arc<Surfaces>,
    /// Reads the time of an answer.
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) answers: AnswerParams,
    /// How long a call waits for what its token stands for.
    pub(crate) max_wait: Duration,
}

impl Service {
    /// The state that an answer given now is made from.
    fn context(&self) -> Result<RequestContext, CallError> {
        Ok(RequestContext {
            probe: self.probe.clone(),
            serving: self.live.get().ok_or(CallError::NotLoaded)?,
            actions: self.live.actions().cloned(),
            answers: self.answers,
            now: (self.clock)(),
        })
    }

    /// Reads which page `request` asks for, and makes of it what its surface asks for.
    fn admit(&self, request: &mut v1::RecommendRequest) -> Result<(Page, CallLabels), CallError> {
        let page = Page::of_recommend(request)?;
        Ok((page, self.surfaces.admit(request)?))
    }

    /// Waits until what each of `tokens` stands for can be seen here, but not for long: other
    /// replicas may have recorded it a moment ago. A token that is still not honored then is
    /// refused where the request is checked.
    async fn wait_for<'t>(&self, budget: Budget, tokens: impl Iterator<Item = &'t Vec<u8>>) {
        // Nobody else records into an embedded log, so nothing is on its way to it.
        let Some(actions) = self.live.actions().filter(|actions| actions.is_shared()) else {
            return;
        };
        let deadline = (Instant::now() + self.max_wait).min(budget.search_until());
        for token in tokens.filter(|token| !token.is_empty()) {
            if let Some(token) = FreshnessToken::from_bytes(token) {
                actions.wait_for(&token, deadline).await;
            }
        }
    }

    /// Answers `request` from lists where they suffice, else on a worker.
    async fn answer<T: Send + 'static>(
        &self,
        budget: Budget,
        context: RequestContext,
        request: ValidatedRequest,
        convert: Convert<T>,
    ) -> Result<Response<T>, Status> {
        let served = context.serving.clone();
        // An answer from lists takes less time than to hand the call to a worker.
        if request.is_small()
            && let Ok(response) = catch_panic(|| request.answer_from_lists(&context, convert))?
        {
            return Ok(served.loaded.version_headers().apply(response));
        }
        let work = move |budget: SearchBudget<'_>| request.answer(&context, budget, convert);
        let response = self.search(budget, work).await??;
        Ok(served.loaded.version_headers().apply(response))
    }

    /// Runs `work`, which searches, on a worker when its turn has come.
    async fn search<T: Send + 'static>(
        &self,
        budget: Budget,
        work: impl FnOnce(SearchBudget<'_>) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let mut permit = self.limiter.enter(budget).await?;
        let work = move |is_gone: &dyn Fn() -> bool| {
            permit.begin();
            let until = budget.search_until();
            work(SearchBudget {
                effort: permit.effort(),
                deadline: Deadline::new(&|| is_gone() || Instant::now() >= until),
            })
        };
        self.workers.run(work).await
    }
}

/// How long the caller of `request` waits for its answer.
fn budget<T>(request: &Request<T>) -> Result<Budget, CallError> {
    let budget = request.extensions().get::<Budget>();
    // The layer around this service gives one to every call.
    budget.copied().ok_or(CallError::Internal)
}

/// Refuses a surface that does not fit the catalog.
fn check_surface(labels: &CallLabels, context: &RequestContext) -> Result<(), CallError> {
    let attributes = &context.serving.loaded.catalog().attributes;
    labels.check_attributes(attributes.definitions())
}

#[tonic::async_trait]
impl RecommendationService for Service {
    async fn recommend(
        &self,
        request: Request<v1::RecommendRequest>,
    ) -> Result<Response<v1::RecommendResponse>, Status> {
        let (budget, mut request) = (budget(&request)?, request.into_inner());
        let (page, labels) = self.admit(&mut request)?;
        labels.trace();
        self.wait_for(budget, iter::once(&request.freshness_token))
            .await;
        let context = self.context()?;
        check_surface(&labels, &context)?;
        let request = ValidatedRequest::new(request, page, &context)?;
        let answer = self.answer(budget, context, request, |answered| answered.response());
        Ok(labels.respond(answer.await?))
    }

    async fn similar_pins(
        &self,
        request: Request<v1::SimilarPinsRequest>,
    ) -> Result<Response<v1::SimilarPinsResponse>, Status> {
        let (budget, mut request) = (budget(&request)?, request.into_inner());
        let page = Page::of_similar_pins(&request)?;
        let labels = self.surfaces.admit(&mut request)?;
        labels.trace();
        self.wait_for(budget, iter::once(&request.freshness_token))
            .await;
        let context = self.context()?;
        check_surface(&labels, &context)?;
        let request = ValidatedRequest::of_similar_pins(request, page, &context)?;
        let answer = self.answer(budget, context, request, |answered| answered.similar_pins());
        Ok(labels.respond(answer.await?))
    }

    async fn batch_recommend(
        &self,
        request: Request<v1::BatchRecommendRequest>,
    ) -> Result<Response<v1::BatchRecommendResponse>, Status> {
        let budget = budget(&request)?;
        let requests = request::batch_requests(request.into_inner())?;
        // Each has a surface of its own, whose refusal is that of this request alone.
        let admit = |mut request| Ok((self.admit(&mut request)?, request));
        let requests: Vec<Result<_, CallError>> = requests.into_iter().map(admit).collect();
        let admitted = requests.iter().flatten();
        let tokens = admitted.map(|(_, request)| &request.freshness_token);
        self.wait_for(budget, tokens).await;
        let context = self.context()?;
        let served = context.serving.clone();
        let work = move |budget: SearchBudget<'_>| {
            let answer = |admitted: Result<((Page, CallLabels), _), CallError>| {
                let ((page, labels), request) = admitted?;
                check_surface(&labels, &context)?;
                let request = ValidatedRequest::new(request, page, &context)?;
                let mut answer = request.answer(&context, budget, |one| one.response())?;
                labels.mark(&mut answer);
                Ok(answer)
            };
            let outcomes = requests.into_iter().map(answer);
            outcomes.map(response::batch_result).collect()
        };
        let results = self.search(budget, work).await?;
        let response = v1::BatchRecommendResponse { results };
        Ok(served.loaded.version_headers().apply(response))
    }

    async fn list_attributes(
        &self,
        _: Request<v1::ListAttributesRequest>,
    ) -> Result<Response<v1::ListAttributesResponse>, Status> {
        let context = self.context()?;
        let manifest = context.serving.loaded.catalog().manifest();
        let attributes = manifest.facts.attributes.iter();
        let listed = v1::ListAttributesResponse {
            attributes: attributes.map(attributes::info).collect(),
            catalog_version: manifest.version.clone(),
        };
        Ok(context.serving.loaded.version_headers().apply(listed))
    }

    async fn explain_user(
        &self,
        request: Request<v1::ExplainUserRequest>,
    ) -> Result<Response<v1::ExplainUserResponse>, Status> {
        let context = self.context()?;
        let request = request.into_inner();
        let user = request::required_user(request.user_id, request.user_key.as_deref())?;
        let explained = || response::explain_user(&context.resolve(user), &context.serving);
        let explained = catch_panic(explained)?;
        Ok(context.serving.loaded.version_headers().apply(explained))
    }

    async fn get_user_features(
        &self,
        request: Request<v1::GetUserFeaturesRequest>,
    ) -> Result<Response<v1::GetUserFeaturesResponse>, Status> {
        let (budget, request) = (budget(&request)?, request.into_inner());
        self.wait_for(budget, iter::once(&request.freshness_token))
            .await;
        let context = self.context()?;
        let user = request::user_of_features(&request)?;
        context.check_token(&request.freshness_token)?;
        let features =
            || user_features::response(&context.resolve(user), &context.serving, context.now);
        let features = catch_panic(features)?;
        Ok(context.serving.loaded.version_headers().apply(features))
    }
}
