//! `RecommendationService`: convert, call the core, convert back.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tonic::{Request, Response, Status};

use super::convert::{self, Ask};
use super::deadline::Budget;
use super::live::Live;
use super::overload::Limiter;
use super::pins::Serving;
use super::probe::Probe;
use super::status::CallError;
use super::trace;
use super::user::{AnswerParams, Known};
use super::workers::{self, Workers};
use crate::actions::{Actions, FreshnessToken};
use crate::metrics as names;
use crate::model::{Timestamp, UserId};
use crate::recommend::{Fallback, Recommendation, Retrieve, Stage, Watch};
use crate::wire::v1;
use crate::wire::v1::recommendation_service_server::RecommendationService;

pub(super) struct Service {
    pub(super) live: Arc<Live>,
    pub(super) workers: Workers,
    pub(super) limiter: Arc<Limiter>,
    pub(super) probe: Arc<Probe>,
    /// Tells the time of an answer.
    pub(super) clock: fn() -> Timestamp,
    pub(super) answers: AnswerParams,
}

impl Service {
    /// What an answer that is given now is made from.
    fn at_hand(&self) -> Result<AtHand, CallError> {
        Ok(AtHand {
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
        work: impl FnOnce(Means<'_>) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let mut permit = self.limiter.enter(budget).await?;
        let work = move |is_gone: &dyn Fn() -> bool| {
            permit.begin();
            let until = budget.search_until();
            work(Means {
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
        let (budget, at_hand) = (budget(&request)?, self.at_hand()?);
        let served = at_hand.serving.clone();
        let ask = Asked::new(request.into_inner(), &at_hand)?;
        // What lists answer takes less time than to hand it to a worker would.
        if ask.ask.is_small() {
            let from_lists = workers::guarded(|| ask.answer_from_lists(&at_hand))?;
            if let Some(response) = from_lists {
                return Ok(served.loaded.stamp().put_on(response));
            }
        }
        let work = move |means: Means<'_>| ask.answer(&at_hand, means);
        let response = self.search(budget, work).await??;
        Ok(served.loaded.stamp().put_on(response))
    }

    async fn batch_recommend(
        &self,
        request: Request<v1::BatchRecommendRequest>,
    ) -> Result<Response<v1::BatchRecommendResponse>, Status> {
        let (budget, at_hand) = (budget(&request)?, self.at_hand()?);
        let served = at_hand.serving.clone();
        let requests = convert::batch(request.into_inner())?;
        let work = move |means: Means<'_>| {
            let answer = |request| Asked::new(request, &at_hand)?.answer(&at_hand, means);
            let outcomes = requests.into_iter().map(answer);
            outcomes.map(convert::batch_result).collect()
        };
        let results = self.search(budget, work).await?;
        let response = v1::BatchRecommendResponse { results };
        Ok(served.loaded.stamp().put_on(response))
    }

    async fn explain_user(
        &self,
        request: Request<v1::ExplainUserRequest>,
    ) -> Result<Response<v1::ExplainUserResponse>, Status> {
        let at_hand = self.at_hand()?;
        let user = convert::user(request.into_inner().user_id)?;
        let explained = || convert::interests(&at_hand.know(user), &at_hand.serving);
        let explained = workers::guarded(explained)?;
        Ok(at_hand.serving.loaded.stamp().put_on(explained))
    }
}

/// What an answer may cost.
#[derive(Clone, Copy)]
struct Means<'a> {
    /// Share of the usual effort of a search.
    effort: f32,
    /// Whether nobody waits for the answer any more, or will when it is sent.
    time_is_up: &'a dyn Fn() -> bool,
}

/// What an answer is made from: one catalogue, one set of profiles, the actions
/// recorded so far, one moment.
struct AtHand {
    probe: Arc<Probe>,
    serving: Arc<Serving>,
    actions: Option<Arc<Actions>>,
    answers: AnswerParams,
    now: Timestamp,
}

impl AtHand {
    fn know(&self, user: UserId) -> Known<'_> {
        let actions = self.actions.as_ref();
        let state = actions.and_then(|actions| actions.state(user));
        let average = actions.map(|actions| actions.engagement());
        let single = (state, average.unwrap_or_default());
        let folder = self.serving.loaded.folder();
        folder.know(user, single, &self.serving, self.answers, self.now)
    }

    /// Refuses a freshness token that an answer made from this would not honour.
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
struct Asked {
    ask: Ask,
    seed: u64,
}

impl Asked {
    /// Checks `request`. A seed that is not given is drawn here.
    fn new(request: v1::RecommendRequest, at_hand: &AtHand) -> Result<Self, CallError> {
        let ask = Ask::try_from(request)?;
        at_hand.check_token(&ask.token)?;
        if ask.require_profile && at_hand.serving.loaded.profiles().get(ask.user).is_none() {
            return Err(CallError::NoProfile(ask.user));
        }
        let seed = ask.seed.unwrap_or_else(rand::random);
        Ok(Self { ask, seed })
    }

    /// The answer, unless it takes a walk.
    fn answer_from_lists(&self, at_hand: &AtHand) -> Option<v1::RecommendResponse> {
        let lists = at_hand.serving.loaded.index().without_walks();
        let index = at_hand.serving.pins();
        // Lists take no effort, and less time than to look at the clock.
        let means = Means {
            effort: 1.0,
            time_is_up: &|| false,
        };
        let (user, answer, stopwatch) = self.recommend(at_hand, &index.over(&lists), means);
        (!lists.needs_walk()).then(|| self.response(&user, &answer, &stopwatch, at_hand))
    }

    /// The answer, with walks where they are needed.
    fn answer(
        &self,
        at_hand: &AtHand,
        means: Means<'_>,
    ) -> Result<v1::RecommendResponse, CallError> {
        if (means.time_is_up)() {
            return Err(CallError::OutOfTime);
        }
        let pins = at_hand.serving.pins();
        let index = pins.over(at_hand.serving.loaded.index());
        let (user, answer, stopwatch) = self.recommend(at_hand, &index, means);
        if answer.answered_in_time == Some(0) {
            return Err(CallError::OutOfTime);
        }
        Ok(self.response(&user, &answer, &stopwatch, at_hand))
    }

    fn recommend<'a>(
        &self,
        at_hand: &'a AtHand,
        index: &dyn Retrieve,
        means: Means<'a>,
    ) -> (Known<'a>, Recommendation, Stopwatch<'a>) {
        let Self { ask, seed } = self;
        let stopwatch = Stopwatch::new(means.time_is_up);
        let user = stopwatch.stage(Stage::Lookup, || at_hand.know(ask.user));
        let request = ask.request(means.effort);
        let Serving { loaded, delta } = &*at_hand.serving;
        let answer = loaded.recommend(&user, &request, (index, delta), *seed, &stopwatch);
        (user, answer, stopwatch)
    }

    /// Counts and times `answer`, which is given now.
    fn response(
        &self,
        user: &Known<'_>,
        answer: &Recommendation,
        stopwatch: &Stopwatch<'_>,
        at_hand: &AtHand,
    ) -> v1::RecommendResponse {
        stopwatch.record();
        count(answer);
        let AtHand { serving, now, .. } = at_hand;
        let sampled = answer.sampled.iter().map(|sampled| sampled.medoid.pin);
        at_hand.probe.answered(serving, sampled);
        convert::response(&self.ask, self.seed, user, answer, serving, *now)
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
