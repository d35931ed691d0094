//! A request that was checked, and the ways to answer it.

use metrics::{counter, histogram};

use super::attributes;
use super::page::Page;
use super::request::RecommendParams;
use super::request_context::RequestContext;
use super::response::Answered;
use super::search_budget::SearchBudget;
use super::stage_timer::StageTimer;
use crate::index::{DamagedAttribute, Filtered, ListsOnly, Reranker};
use crate::kernel;
use crate::metrics as names;
use crate::model::Filter;
use crate::recommend::{
    Context, Fallback, NotCached, Recommendation, Retrieve, Stage, StageObserver,
};
use crate::serve::state::{LayeredIndex, RandomStream, Serving, UserContext};
use crate::serve::status::CallError;
use crate::wire::v1;

/// A request that was checked, with a seed. The answer is a function of these and of the
/// [`RequestContext`].
pub(super) struct ValidatedRequest {
    params: RecommendParams,
    seed: u64,
}

/// Makes a message of an answer.
pub(super) type Convert<T> = fn(&Answered<'_>) -> T;

/// What an answer is converted from.
struct Answer<'a> {
    user: UserContext<'a>,
    recommendation: Recommendation,
    timer: StageTimer,
}

impl ValidatedRequest {
    /// Checks `request`, which asks for `page`. A seed that is not given is drawn here.
    pub(super) fn new(
        request: v1::RecommendRequest,
        page: Page,
        context: &RequestContext,
    ) -> Result<Self, CallError> {
        let mut params = RecommendParams::of_recommend(request, page)?;
        check_attributes(&params, context)?;
        context.check_token(&params.token)?;
        params.seeds.set_unknown_aside(&context.serving);
        let profiles = context.serving.loaded.profiles();
        let required = params.user.filter(|_| params.require_profile);
        if let Some(user) = required.filter(|&user| !profiles.has_medoids(user)) {
            return Err(CallError::NoProfile(user));
        }
        let seed = params.seed.unwrap_or_else(rand::random);
        Ok(Self { params, seed })
    }

    /// Checks `request`, which asks for `page`.
    pub(super) fn of_similar_pins(
        request: v1::SimilarPinsRequest,
        page: Page,
        context: &RequestContext,
    ) -> Result<Self, CallError> {
        let mut params = RecommendParams::of_similar_pins(request, page, &context.serving)?;
        check_attributes(&params, context)?;
        context.check_token(&params.token)?;
        params.seeds.set_unknown_aside(&context.serving);
        // Nothing is drawn, so no seed makes a difference.
        Ok(Self { params, seed: 0 })
    }

    /// Whether an answer from lists is a matter of microseconds.
    pub(super) fn is_small(&self) -> bool {
        self.params.is_small()
    }

    /// Answers from neighbor lists alone, if they suffice, as `convert` makes a message of it.
    pub(super) fn answer_from_lists<T>(
        &self,
        context: &RequestContext,
        convert: Convert<T>,
    ) -> Result<T, NotCached> {
        let index = context.serving.loaded.index();
        let lists = ListsOnly::new(index);
        let pins = context.serving.pins();
        // Lists take less time than a look at the clock would.
        let budget = SearchBudget::unlimited();
        // Rules that go by attributes are no small matter.
        let reranker = self.reranker(context).map_err(|_| NotCached)?;
        let answer = match &self.params.filter {
            None => self.recommend(context, &reranker, &pins.retriever(&lists), budget)?,
            Some(filter) => {
                // To evaluate a filter takes longer than to hand the call to a worker.
                let selection = index.known_selection(filter).ok_or(NotCached)?;
                let index = Filtered {
                    index: &lists,
                    selection: &selection,
                };
                let retriever = pins.filtered_retriever(&index, filter);
                self.recommend(context, &reranker, &retriever, budget)?
            }
        };
        lists.count_hits();
        Ok(convert(&self.answered(&answer, context)))
    }

    /// Answers from neighbor lists, and by searches where they are needed.
    pub(super) fn answer<T>(
        &self,
        context: &RequestContext,
        budget: SearchBudget<'_>,
        convert: Convert<T>,
    ) -> Result<T, CallError> {
        if budget.deadline.has_passed() {
            return Err(CallError::OutOfTime);
        }
        let pins = context.serving.pins();
        let index = context.serving.loaded.index();
        let damaged = |error: DamagedAttribute| {
            tracing::error!(%error, "a condition cannot be evaluated");
            CallError::Internal
        };
        let reranker = self.reranker(context).map_err(damaged)?;
        let answer = match &self.params.filter {
            None => self.recommend(context, &reranker, &pins.retriever(index), budget),
            Some(filter) => {
                let selection = index.select(filter).map_err(damaged)?;
                let index = Filtered {
                    index,
                    selection: &selection,
                };
                let retriever = pins.filtered_retriever(&index, filter);
                self.recommend(context, &reranker, &retriever, budget)
            }
        };
        // The whole index searches what is not cached, so this error is a defect.
        let answer = answer.map_err(|NotCached| CallError::Internal)?;
        if answer.recommendation.answered_in_time == Some(0) {
            return Err(CallError::OutOfTime);
        }
        Ok(convert(&self.answered(&answer, context)))
    }

    /// What the reranking rules say of each pin.
    fn reranker<'a>(
        &'a self,
        context: &'a RequestContext,
    ) -> Result<Reranker<'a>, DamagedAttribute> {
        let RequestContext { serving, now, .. } = context;
        let (index, reranking) = (serving.loaded.index(), &self.params.reranking);
        let (rules, now) = (&reranking.rules, reranking.time(*now));
        let select = |filter: &Filter| index.select(filter);
        Reranker::new(rules, index.catalog(), &serving.delta, now, select)
    }

    fn recommend<'a>(
        &self,
        context: &'a RequestContext,
        reranker: &Reranker<'_>,
        index: &dyn Retrieve,
        budget: SearchBudget<'a>,
    ) -> Result<Answer<'a>, NotCached> {
        let timer = StageTimer::default();
        let user = timer.observe(Stage::Lookup, || {
            context.resolve_or_nobody(self.params.user)
        });
        let seeds = self.params.seeds.list();
        let pins = context.serving.pins();
        let near = self
            .params
            .context
            .and_then(|near| Some((near, pins.vector(near.pin)?)));
        let cosine = |medoid| {
            let vectors = near.and_then(|(_, target)| Some((target, pins.vector(medoid)?)));
            vectors.map_or(-1.0, |(a, b)| kernel::dot(a, b).clamp(-1.0, 1.0))
        };
        let near = near.map(|(near, _)| Context {
            cosine: &cosine,
            medoids: near.medoids,
            strength: near.strength,
        });
        let Serving { loaded, delta, .. } = &*context.serving;
        let weight = self.params.popularity_weight(&context.serving);
        let popularity = |pin| loaded.popularity(pin);
        let stream = RandomStream {
            seed: self.seed,
            page: self.params.page.number(),
        };
        let recommendation = reranker.with_rerank(weight, popularity, |rerank| {
            let request = self.params.request(&seeds, near, rerank, budget);
            let layers = LayeredIndex { index, delta };
            loaded.recommend(&user, &request, layers, stream, &timer)
        })?;
        Ok(Answer {
            user,
            recommendation,
            timer,
        })
    }

    /// What a message is made from. The answer is given now: it is counted, timed and probed.
    fn answered<'a>(&'a self, answer: &'a Answer<'_>, context: &'a RequestContext) -> Answered<'a> {
        let Answer {
            user,
            recommendation,
            timer,
        } = answer;
        let RequestContext { serving, now, .. } = context;
        timer.record();
        count(recommendation);
        let seeds = &self.params.seeds;
        let unknown =
            seeds.unknown().len() as u64 + u64::from(self.params.has_unknown_context(serving));
        if unknown > 0 {
            counter!(names::UNKNOWN_SEEDS).increment(unknown);
        }
        let sampled = recommendation.sampled.iter();
        let seeds = seeds.pins().map(|(pin, _)| pin);
        let pins = seeds.chain(sampled.map(|sampled| sampled.medoid.pin));
        context.probe.observe_answer(serving, pins);
        Answered {
            params: &self.params,
            seed: self.seed,
            user,
            recommendation,
            serving,
            now: *now,
        }
    }
}

/// Refuses a filter and rules that do not fit the catalog.
fn check_attributes(params: &RecommendParams, context: &RequestContext) -> Result<(), CallError> {
    let definitions = context.serving.loaded.catalog().attributes.definitions();
    let mut filters = params.filter.iter();
    filters.try_for_each(|filter| attributes::check_filter(filter, definitions))?;
    params.reranking.check(definitions)
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
        counter!(names::FALLBACK, "reason" => fallback_label(fallback)).increment(1);
    }
}

fn fallback_label(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::UnknownUser => "unknown_user",
        Fallback::ProfileNotInCatalog => "profile_not_in_catalog",
        Fallback::RecentActionsOnly => "recent_actions_only",
        Fallback::NothingWanted => "nothing_wanted",
        Fallback::SeedsNotInCatalog => "seeds_not_in_catalog",
    }
}
