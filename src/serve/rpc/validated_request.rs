//! A request that was checked, and the ways to answer it.

use metrics::{counter, histogram};

use super::request::RecommendParams;
use super::request_context::RequestContext;
use super::response::Answered;
use super::search_budget::SearchBudget;
use super::stage_timer::StageTimer;
use crate::index::ListsOnly;
use crate::metrics as names;
use crate::recommend::{Fallback, NotCached, Recommendation, Retrieve, Stage, StageObserver};
use crate::serve::state::{LayeredIndex, Serving, UserContext};
use crate::serve::status::CallError;
use crate::wire::v1;

/// A request that was checked, with a seed. The answer is a function of these and of the
/// [`RequestContext`].
pub(super) struct ValidatedRequest {
    params: RecommendParams,
    seed: u64,
}

/// What an answer is converted from.
struct Answer<'a> {
    user: UserContext<'a>,
    recommendation: Recommendation,
    timer: StageTimer,
}

impl ValidatedRequest {
    /// Checks `request`. A seed that is not given is drawn here.
    pub(super) fn new(
        request: v1::RecommendRequest,
        context: &RequestContext,
    ) -> Result<Self, CallError> {
        let params = RecommendParams::try_from(request)?;
        context.check_token(&params.token)?;
        let profiles = context.serving.loaded.profiles();
        if params.require_profile && !profiles.has_medoids(params.user) {
            return Err(CallError::NoProfile(params.user));
        }
        let seed = params.seed.unwrap_or_else(rand::random);
        Ok(Self { params, seed })
    }

    /// Whether an answer from lists is a matter of microseconds.
    pub(super) fn is_small(&self) -> bool {
        self.params.is_small()
    }

    /// Answers from neighbor lists alone, if they suffice.
    pub(super) fn answer_from_lists(
        &self,
        context: &RequestContext,
    ) -> Result<v1::RecommendResponse, NotCached> {
        let lists = ListsOnly::new(context.serving.loaded.index());
        let pins = context.serving.pins();
        // Lists take less time than a look at the clock would.
        let budget = SearchBudget::unlimited();
        let answer = self.recommend(context, &pins.retriever(&lists), budget)?;
        lists.count_hits();
        Ok(self.respond(&answer, context))
    }

    /// Answers from neighbor lists, and by searches where they are needed.
    pub(super) fn answer(
        &self,
        context: &RequestContext,
        budget: SearchBudget<'_>,
    ) -> Result<v1::RecommendResponse, CallError> {
        if budget.deadline.has_passed() {
            return Err(CallError::OutOfTime);
        }
        let pins = context.serving.pins();
        let index = pins.retriever(context.serving.loaded.index());
        // The whole index searches what is not cached, so this error is a defect.
        let answer = self
            .recommend(context, &index, budget)
            .map_err(|NotCached| CallError::Internal)?;
        if answer.recommendation.answered_in_time == Some(0) {
            return Err(CallError::OutOfTime);
        }
        Ok(self.respond(&answer, context))
    }

    fn recommend<'a>(
        &self,
        context: &'a RequestContext,
        index: &dyn Retrieve,
        budget: SearchBudget<'a>,
    ) -> Result<Answer<'a>, NotCached> {
        let timer = StageTimer::default();
        let user = timer.observe(Stage::Lookup, || context.resolve(self.params.user));
        let request = self.params.request(budget.effort, budget.deadline);
        let Serving { loaded, delta, .. } = &*context.serving;
        let layers = LayeredIndex { index, delta };
        let recommendation = loaded.recommend(&user, &request, layers, self.seed, &timer)?;
        Ok(Answer {
            user,
            recommendation,
            timer,
        })
    }

    /// Converts `answer`, which is given now: it is counted, timed and probed.
    fn respond(&self, answer: &Answer<'_>, context: &RequestContext) -> v1::RecommendResponse {
        let Answer {
            user,
            recommendation,
            timer,
        } = answer;
        let RequestContext { serving, now, .. } = context;
        timer.record();
        count(recommendation);
        let sampled = recommendation.sampled.iter();
        let medoids = sampled.map(|sampled| sampled.medoid.pin);
        context.probe.observe_answer(serving, medoids);
        Answered {
            params: &self.params,
            seed: self.seed,
            user,
            recommendation,
            serving,
            now: *now,
        }
        .response()
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
        counter!(names::FALLBACK, "reason" => fallback_label(fallback)).increment(1);
    }
}

fn fallback_label(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::UnknownUser => "unknown_user",
        Fallback::ProfileNotInCatalog => "profile_not_in_catalog",
        Fallback::RecentActionsOnly => "recent_actions_only",
        Fallback::NothingWanted => "nothing_wanted",
    }
}
