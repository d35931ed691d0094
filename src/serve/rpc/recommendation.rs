//! `RecommendationService`: convert, call the core, convert back.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tonic::{Request, Response, Status};

use crate::actions::{Actions, FreshnessToken};
use crate::metrics as names;
use crate::model::{Timestamp, UserId};
use crate::recommend::{Fallback, Recommendation, Retrieve, Stage, Watch};
use crate::serve::middleware::deadline::Budget;
use crate::serve::middleware::trace;
use crate::serve::overload::limiter::Limiter;
use crate::serve::overload::workers::{self, Workers};
use crate::serve::rpc::request::{self, RecommendParams};
use crate::serve::rpc::response;
use crate::serve::state::{
    AnswerParams, LayeredIndex, Live, Probe, RecordedActions, Serving, UserContext,
};
use crate::serve::status::CallError;
use crate::wire::v1;
use crate::wire::v1::recommendation_service_server::RecommendationService;

pub(crate) struct Service {
    pub(crate) live: Arc<Live>,
    pub(crate) workers: Workers,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) probe: Arc<Probe>,
    /// Tells the time of an answer.
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) answers: AnswerParams,
}

impl Service {
    /// What an answer that is given now is made from.
    fn context(&self) -> Result<RequestContext, CallError> {
        Ok(RequestContext {
            probe: self.probe.clone(),
            serving: self.live.get().ok_or(CallError::NotLoaded)?,
            actions: self.live.actions().cloned(),
            answers: self.answers,
            now: (self.clock)(),
        })
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
                time_is_up: &|| is_gone() || Instant::now() >= until,
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

#[tonic::async_trait]
impl RecommendationService for Service {
    async fn recommend(
        &self,
        request: Request<v1::RecommendRequest>,
    ) -> Result<Response<v1::RecommendResponse>, Status> {
        let (budget, context) = (budget(&request)?, self.context()?);
        let served = context.serving.clone();
        let ask = ValidatedRequest::new(request.into_inner(), &context)?;
        // What lists answer takes less time than to hand it to a worker would.
        if ask.ask.is_small() {
            let from_lists = workers::guarded(|| ask.answer_from_lists(&context))?;
            if let Some(response) = from_lists {
                return Ok(served.loaded.version_headers().apply(response));
            }
        }
        let work = move |means: SearchBudget<'_>| ask.answer(&context, means);
        let response = self.search(budget, work).await??;
        Ok(served.loaded.version_headers().apply(response))
    }

    async fn batch_recommend(
        &self,
        request: Request<v1::BatchRecommendRequest>,
    ) -> Result<Response<v1::BatchRecommendResponse>, Status> {
        let (budget, context) = (budget(&request)?, self.context()?);
        let served = context.serving.clone();
        let requests = request::batch_requests(request.into_inner())?;
        let work = move |means: SearchBudget<'_>| {
            let answer =
                |request| ValidatedRequest::new(request, &context)?.answer(&context, means);
            let outcomes = requests.into_iter().map(answer);
            outcomes.map(response::batch_result).collect()
        };
        let results = self.search(budget, work).await?;
        let response = v1::BatchRecommendResponse { results };
        Ok(served.loaded.version_headers().apply(response))
    }

    async fn explain_user(
        &self,
        request: Request<v1::ExplainUserRequest>,
    ) -> Result<Response<v1::ExplainUserResponse>, Status> {
        let context = self.context()?;
        let user = request::required_user(request.into_inner().user_id)?;
        let explained = || response::explain_user(&context.resolve(user), &context.serving);
        let explained = workers::guarded(explained)?;
        Ok(context.serving.loaded.version_headers().apply(explained))
    }
}

/// What an answer may cost.
#[derive(Clone, Copy)]
struct SearchBudget<'a> {
    /// Share of the usual effort of a search.
    effort: f32,
    /// Whether nobody waits for the answer any more, or will when it is sent.
    time_is_up: &'a dyn Fn() -> bool,
}

/// What an answer is made from: one catalog, one set of profiles, the actions
/// recorded so far, one moment.
struct RequestContext {
    probe: Arc<Probe>,
    serving: Arc<Serving>,
    actions: Option<Arc<Actions>>,
    answers: AnswerParams,
    now: Timestamp,
}

impl RequestContext {
    fn resolve(&self, user: UserId) -> UserContext<'_> {
        let actions = self.actions.as_ref();
        let state = actions.and_then(|actions| actions.state(user));
        let average = actions.map(|actions| actions.engagement());
        let recorded = RecordedActions {
            state,
            average: average.unwrap_or_default(),
        };
        self.serving
            .user_context(user, recorded, self.answers, self.now)
    }

    /// Refuses a freshness token that an answer made from this would not honor.
    fn check_token(&self, token: &[u8]) -> Result<(), CallError> {
        if token.is_empty() {
            return Ok(());
        }
        let actions = self.actions.as_ref().ok_or(CallError::TakesNoActions)?;
        match FreshnessToken::from_bytes(token) {
            Some(token) if actions.reflects(token) => Ok(()),
            _ => Err(CallError::NotReflected),
        }
    }
}

/// A request that was checked, with a seed: the answer is a function of these and
/// of what is at hand.
struct ValidatedRequest {
    ask: RecommendParams,
    seed: u64,
}

impl ValidatedRequest {
    /// Checks `request`. A seed that is not given is drawn here.
    fn new(request: v1::RecommendRequest, context: &RequestContext) -> Result<Self, CallError> {
        let ask = RecommendParams::try_from(request)?;
        context.check_token(&ask.token)?;
        if ask.require_profile && context.serving.loaded.profiles().get(ask.user).is_none() {
            return Err(CallError::NoProfile(ask.user));
        }
        let seed = ask.seed.unwrap_or_else(rand::random);
        Ok(Self { ask, seed })
    }

    /// The answer, unless it takes a walk.
    fn answer_from_lists(&self, context: &RequestContext) -> Option<v1::RecommendResponse> {
        let lists = context.serving.loaded.index().lists_only();
        let index = context.serving.pins();
        // Lists take no effort, and less time than to look at the clock.
        let means = SearchBudget {
            effort: 1.0,
            time_is_up: &|| false,
        };
        let (user, answer, stopwatch) = self.recommend(context, &index.over(&lists), means);
        (!lists.needs_search()).then(|| self.response(&user, &answer, &stopwatch, context))
    }

    /// The answer, with walks where they are needed.
    fn answer(
        &self,
        context: &RequestContext,
        means: SearchBudget<'_>,
    ) -> Result<v1::RecommendResponse, CallError> {
        if (means.time_is_up)() {
            return Err(CallError::OutOfTime);
        }
        let pins = context.serving.pins();
        let index = pins.over(context.serving.loaded.index());
        let (user, answer, stopwatch) = self.recommend(context, &index, means);
        if answer.answered_in_time == Some(0) {
            return Err(CallError::OutOfTime);
        }
        Ok(self.response(&user, &answer, &stopwatch, context))
    }

    fn recommend<'a>(
        &self,
        context: &'a RequestContext,
        index: &dyn Retrieve,
        means: SearchBudget<'a>,
    ) -> (UserContext<'a>, Recommendation, Stopwatch<'a>) {
        let Self { ask, seed } = self;
        let stopwatch = Stopwatch::new(means.time_is_up);
        let user = stopwatch.stage(Stage::Lookup, || context.resolve(ask.user));
        let request = ask.request(means.effort);
        let Serving { loaded, delta, .. } = &*context.serving;
        let layers = LayeredIndex { index, delta };
        let answer = loaded.recommend(&user, &request, layers, *seed, &stopwatch);
        (user, answer, stopwatch)
    }

    /// Counts and times `answer`, which is given now.
    fn response(
        &self,
        user: &UserContext<'_>,
        answer: &Recommendation,
        stopwatch: &Stopwatch<'_>,
        context: &RequestContext,
    ) -> v1::RecommendResponse {
        stopwatch.record();
        count(answer);
        let RequestContext { serving, now, .. } = context;
        let sampled = answer.sampled.iter().map(|sampled| sampled.medoid.pin);
        context.probe.observe_answer(serving, sampled);
        let answered = response::Answered {
            params: &self.ask,
            seed: self.seed,
            user,
            recommendation: answer,
            serving,
            now: *now,
        };
        answered.response()
    }
}

fn count(answer: &Recommendation) {
    histogram!(names::CANDIDATES).record(answer.candidates.len() as f64);
    let degraded = [
        (answer.medoids_missing, "medoids_not_in_catalog"),
        (answer.with_less_effort, "less_effort"),
        (answer.answered_in_time.is_some(), "out_of_time"),
    ];
    for (_, reason) in degraded.into_iter().filter(|(is_so, _)| *is_so) {
        counter!(names::DEGRADED, "reason" => reason).increment(1);
    }
    if let Some(fallback) = answer.fallback {
        let reason = match fallback {
            Fallback::UnknownUser => "unknown_user",
            Fallback::ProfileNotInCatalog => "profile_not_in_catalog",
            Fallback::RecentActionsOnly => "recent_actions_only",
            Fallback::NothingWanted => "nothing_wanted",
        };
        counter!(names::FALLBACK, "reason" => reason).increment(1);
    }
}

/// Times the stages of the flow. A stage may come in several parts; it is
/// recorded once a request, so that counts are those of requests.
struct Stopwatch<'a> {
    spent: [Cell<Duration>; 4],
    time_is_up: &'a dyn Fn() -> bool,
}

impl Watch for Stopwatch<'_> {
    fn stage<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let span = trace::stage(stage);
        let result = work();
        drop(span);
        let spent = &self.spent[stage as usize];
        spent.set(spent.get() + begun.elapsed());
        result
    }

    fn time_is_up(&self) -> bool {
        (self.time_is_up)()
    }
}

impl<'a> Stopwatch<'a> {
    fn new(time_is_up: &'a dyn Fn() -> bool) -> Self {
        let spent = Default::default();
        Self { spent, time_is_up }
    }

    fn record(&self) {
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
