//! The answer of one model to one case, by the code that serves.

use super::case::EvaluationCase;
use super::replayer::Replayer;
use super::shapes::ModelShape;
use crate::evaluation::models::{IndexWithQueries, Model, ModelInterests, Ranking};
use crate::evaluation::seeds::Purpose;
use crate::model::PinId;
use crate::recommend::{
    Deadline, MedoidSources, Origin, RecommendScratch, Recommendation, Recommender, Request,
    Rerank, Seeds, Unobserved, User, UserMedoids,
};

/// One model that is asked about one case.
pub(super) struct Call<'a> {
    pub(super) replayer: &'a Replayer<'a>,
    pub(super) model: &'a Model,
    pub(super) shape: &'a ModelShape<'a>,
    /// Among the pins that the filter of the model selects.
    pub(super) case: &'a EvaluationCase,
    pub(super) interests: &'a ModelInterests<'a>,
}

impl Call<'_> {
    /// The index, in which the queries of the model have ids beside the pins.
    pub(super) fn index(&self) -> IndexWithQueries<'_> {
        IndexWithQueries {
            index: &self.shape.index,
            selection: self.shape.index.selection,
            pins: self.replayer.context.pins,
            ids: self.replayer.context.free_ids,
            queries: &self.interests.queries,
        }
    }

    /// Asks for a list. Ages count from the day of the case.
    pub(super) fn answer(&self, scratch: &mut RecommendScratch) -> Recommendation {
        let ranking = self.ranking();
        let popularity = |pin: PinId| self.popularity(ranking, pin);
        let weight = self.replayer.params.popularity_of(self.model);
        let reranker = self.shape.reranker.at(self.case.day);
        reranker.with_rerank(weight, popularity, |rerank| self.pages(rerank, scratch))
    }

    /// Asks for a list, page after page.
    fn pages(&self, rerank: Rerank<'_>, scratch: &mut RecommendScratch) -> Recommendation {
        let user = User {
            sources: MedoidSources {
                user_medoids: Some(UserMedoids {
                    medoids: &self.interests.sampled_from,
                    origin: Origin::Profile,
                }),
                popular_medoids: &[],
                sampling_factors: &self.interests.factors,
                all_in_catalog: true,
            },
            is_blocked: |pin| self.case.is_blocked(pin),
        };
        let recommender = Recommender {
            index: &self.index(),
            observer: &Unobserved,
        };
        let rng = &mut self.case.seeds.rng(Purpose::Sample);
        let (mut shown, mut drawn): (Vec<PinId>, Vec<PinId>) = Default::default();
        let mut page = |page: usize| {
            let request = Request {
                rerank,
                drawn: &drawn,
                ..self.request(page, &shown)
            };
            let answer = recommender
                .recommend(&user, &request, rng, scratch)
                .expect("an index that searches needs no cached list");
            shown.extend(answer.candidates.iter().map(|candidate| candidate.pin));
            drawn = answer.drawn(&drawn);
            answer
        };
        let mut list = page(0);
        for number in 1..self.model.pages.min(self.replayer.params.limit) {
            let next = page(number);
            list.candidates.extend(next.candidates);
            list.sampled.extend(next.sampled);
        }
        list
    }

    /// The request for one page, without the pins that were `shown` before. The first
    /// pages take what the limit leaves over.
    fn request<'r>(&self, page: usize, shown: &'r [PinId]) -> Request<'r> {
        let (limit, pages) = (self.replayer.params.limit, self.model.pages);
        Request {
            limit: limit / pages + usize::from(page < limit % pages),
            medoids: self.model.medoids,
            top: self.model.top,
            strategy: self.model.merge,
            seeds: Seeds::NONE,
            context: None,
            excluded: shown,
            rerank: Rerank::NONE,
            drawn: &[],
            effort: 1.0,
            deadline: Deadline::never(),
        }
    }

    /// The popularity of pins when the interests were made; none where no model needs it.
    fn ranking(&self) -> Option<&Ranking> {
        let age = f64::from(self.model.stale_days);
        let as_of = self.case.day.minus_days(age);
        self.replayer.context.rankings.get(&as_of)
    }

    /// The score of `pin`; 0 where it is not known.
    fn popularity(&self, ranking: Option<&Ranking>, pin: PinId) -> f32 {
        let slot = self.replayer.context.pins.position(pin);
        let score = |slot: usize| Some(ranking?.scores[slot]);
        slot.and_then(score).unwrap_or(0.0)
    }
}
