//! Requests of `RecommendationService`, checked and in the types of the core.

use std::mem;

use crate::model::{Filter, PinId, UserId};
use crate::recommend::{Context, MergeStrategy, Request, Rerank, Seed, SeedMode, Seeds};
use crate::serve::request_limits::{
    BATCH_REQUESTS, DEFAULT_LIMIT, DEFAULT_MEDOIDS, EXCLUDED_PINS, FRESHNESS_TOKEN, MAX_LIMIT,
    MAX_MEDOIDS, MaxCount, number_or_default,
};
use crate::serve::rpc::attributes;
use crate::serve::rpc::context_pin::ContextPin;
use crate::serve::rpc::ids::{self, PinLists};
use crate::serve::rpc::page::Page;
use crate::serve::rpc::reranking::RequestReranking;
use crate::serve::rpc::search_budget::SearchBudget;
use crate::serve::rpc::seeds::RequestSeeds;
use crate::serve::state::Serving;
use crate::serve::status::CallError;
use crate::wire::reranking::RerankFields;
use crate::wire::v1;

/// Greatest number of medoids of a small request: handing the call to a worker takes
/// longer than answering so many from lists.
const SMALL_MEDOIDS: usize = 10;

/// The pins that a request excludes.
const EXCLUDED: PinLists = PinLists {
    ids: "exclude_pin_ids",
    keys: "exclude_pin_keys",
    max: EXCLUDED_PINS,
};

/// How an answer holds its candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseFormat {
    /// A message a candidate.
    Messages,
    /// A list a field.
    Columns,
}

/// A [`v1::RecommendRequest`] or [`v1::SimilarPinsRequest`] that keeps every limit.
#[derive(Debug, PartialEq)]
pub(crate) struct RecommendParams {
    /// None for nobody.
    pub(crate) user: Option<UserId>,
    pub(crate) seed: Option<u64>,
    pub(crate) require_profile: bool,
    pub(crate) include_titles: bool,
    pub(crate) format: ResponseFormat,
    /// Empty when the request has none.
    pub(crate) token: Vec<u8>,
    pub(crate) seeds: RequestSeeds,
    pub(crate) context: Option<ContextPin>,
    pub(crate) page: Page,
    limit: usize,
    medoids: usize,
    top: usize,
    strategy: MergeStrategy,
    excluded: Vec<PinId>,
    /// Which pins the answer may contain; none for all.
    pub(crate) filter: Option<Filter>,
    pub(crate) reranking: RequestReranking,
}

impl RecommendParams {
    /// The parameters of a call for recommendations, which asks for `page`.
    pub(crate) fn of_recommend(
        mut request: v1::RecommendRequest,
        page: Page,
    ) -> Result<Self, CallError> {
        let strategy = merge_strategy(request.merge_strategy)?;
        let format = response_format(request.response_format)?;
        let seeds = mem::take(&mut request.seeds);
        let seeds = RequestSeeds::of_messages(seeds, request.seed_mode)?;
        let context = ContextPin::of_request(&request, seeds.mode())?;
        let reranking = RequestReranking::new(RerankFields {
            boosts: mem::take(&mut request.boosts),
            min_score: request.min_score,
            spacing: mem::take(&mut request.spacing),
            diversity: request.diversity,
            popularity_weight: request.popularity_weight,
            boost_time: request.boost_time,
        })?;
        let token = request.freshness_token;
        FRESHNESS_TOKEN.check("freshness_token", token.len())?;
        let medoids = number_or_default("medoids", request.medoids, MAX_MEDOIDS, DEFAULT_MEDOIDS)?;
        let top = request.top_medoids as usize;
        MaxCount::new(medoids, "medoids").check("top_medoids", top)?;
        let mut excluded = EXCLUDED.pins(request.exclude_pin_ids, &request.exclude_pin_keys)?;
        excluded.extend(context.map(|context| context.pin));
        excluded.extend(page.pins_before());
        let (id, key) = (request.user_id, request.user_key.as_deref());
        let user = if seeds.mode() == SeedMode::Replace && !request.require_profile {
            optional_user(id, key)?
        } else {
            Some(required_user(id, key)?)
        };
        Ok(Self {
            user,
            seed: page.seed().or(request.seed),
            require_profile: request.require_profile,
            include_titles: request.include_titles,
            format,
            token,
            seeds,
            context,
            page,
            limit: number_or_default("limit", request.limit, MAX_LIMIT, DEFAULT_LIMIT)?,
            medoids,
            top,
            strategy,
            excluded,
            filter: attributes::filter(request.filter)?,
            reranking,
        })
    }

    /// The parameters of a call that asks for pins like others, and for `page` of them. Nothing
    /// is drawn for it.
    pub(crate) fn of_similar_pins(
        mut request: v1::SimilarPinsRequest,
        page: Page,
        serving: &Serving,
    ) -> Result<Self, CallError> {
        FRESHNESS_TOKEN.check("freshness_token", request.freshness_token.len())?;
        let limit = number_or_default("limit", request.limit, MAX_LIMIT, DEFAULT_LIMIT)?;
        let (id, key) = (request.user_id, request.user_key.as_deref());
        let user = optional_user(id, key)?;
        let vectors = serving.loaded.catalog().pins.vectors();
        let seeds = RequestSeeds::of_queries(&mut request, vectors)?;
        let mut excluded = EXCLUDED.pins(request.exclude_pin_ids, &request.exclude_pin_keys)?;
        excluded.extend(page.pins_before());
        Ok(Self {
            user,
            seed: Some(0),
            require_profile: false,
            include_titles: request.include_titles,
            token: request.freshness_token,
            seeds,
            context: None,
            page,
            limit,
            medoids: 1,
            top: 0,
            strategy: MergeStrategy::Interleave,
            excluded,
            filter: attributes::filter(request.filter)?,
            reranking: RequestReranking::new(RerankFields {
                boosts: request.boosts,
                min_score: request.min_score,
                spacing: request.spacing,
                diversity: request.diversity,
                popularity_weight: request.popularity_weight,
                boost_time: request.boost_time,
            })?,
            format: ResponseFormat::Messages,
        })
    }

    /// Whether an answer from lists is a matter of microseconds.
    pub(crate) fn is_small(&self) -> bool {
        self.limit <= DEFAULT_LIMIT
            && self.medoids + self.seeds.len() <= SMALL_MEDOIDS
            && !self.seeds.has_vectors()
            && self.context.is_none()
            && self.excluded.len() <= DEFAULT_LIMIT
            && !self.include_titles
            && self.reranking.is_cheap()
    }

    /// What the popularity of a pin is worth beside its nearness.
    pub(crate) fn popularity_weight(&self, serving: &Serving) -> f32 {
        let own = self.reranking.rules.popularity_weight;
        own.unwrap_or(serving.loaded.popularity_weight())
    }

    /// Whether the catalog lacks the context pin, which is ignored then.
    pub(crate) fn has_unknown_context(&self, serving: &Serving) -> bool {
        let mut context = self.context.iter();
        context.any(|context| !serving.pins().contains(context.pin))
    }

    /// The request to the core, with its `seeds`, its `context` and its reranking rules in the
    /// types of the core.
    pub(crate) fn request<'a>(
        &'a self,
        seeds: &'a [Seed<'a>],
        context: Option<Context<'a>>,
        rerank: Rerank<'a>,
        budget: SearchBudget<'a>,
    ) -> Request<'a> {
        Request {
            limit: self.limit,
            medoids: self.medoids,
            top: self.top,
            seeds: Seeds {
                list: seeds,
                mode: self.seeds.mode(),
            },
            context,
            strategy: self.strategy,
            excluded: &self.excluded,
            rerank,
            drawn: self.page.drawn_before(),
            effort: budget.effort,
            deadline: budget.deadline,
        }
    }
}

/// The user of a request, which must name one by id or key.
pub(crate) fn required_user(id: Option<u64>, key: Option<&str>) -> Result<UserId, CallError> {
    ids::required_user(id, key, str::to_owned)
}

/// The user whose features are asked for, by a request that keeps every limit.
pub(crate) fn user_of_features(request: &v1::GetUserFeaturesRequest) -> Result<UserId, CallError> {
    FRESHNESS_TOKEN.check("freshness_token", request.freshness_token.len())?;
    required_user(request.user_id, request.user_key.as_deref())
}

fn optional_user(id: Option<u64>, key: Option<&str>) -> Result<Option<UserId>, CallError> {
    ids::optional_user(id, key, || "user_key".to_owned())
}

/// The requests of a batch.
pub(crate) fn batch_requests(
    request: v1::BatchRecommendRequest,
) -> Result<Vec<v1::RecommendRequest>, CallError> {
    if request.requests.is_empty() {
        return Err(CallError::field("requests", "is empty"));
    }
    BATCH_REQUESTS.check("requests", request.requests.len())?;
    Ok(request.requests)
}

fn merge_strategy(value: i32) -> Result<MergeStrategy, CallError> {
    match v1::MergeStrategy::try_from(value) {
        Ok(v1::MergeStrategy::Unspecified | v1::MergeStrategy::Interleave) => {
            Ok(MergeStrategy::Interleave)
        }
        Ok(v1::MergeStrategy::GlobalTop) => Ok(MergeStrategy::GlobalTop),
        Err(_) => {
            let reason = format!("{value} is no merge strategy");
            Err(CallError::field("merge_strategy", reason))
        }
    }
}

fn response_format(value: i32) -> Result<ResponseFormat, CallError> {
    match v1::ResponseFormat::try_from(value) {
        Ok(v1::ResponseFormat::Unspecified | v1::ResponseFormat::Messages) => {
            Ok(ResponseFormat::Messages)
        }
        Ok(v1::ResponseFormat::Columns) => Ok(ResponseFormat::Columns),
        Err(_) => {
            let reason = format!("{value} is no format of responses");
            Err(CallError::field("response_format", reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(
        change: impl FnOnce(&mut v1::RecommendRequest),
    ) -> Result<RecommendParams, CallError> {
        let mut request = v1::RecommendRequest {
            user_id: Some(0),
            ..Default::default()
        };
        change(&mut request);
        let page = Page::of_recommend(&request)?;
        RecommendParams::of_recommend(request, page)
    }

    fn refused_field(change: impl FnOnce(&mut v1::RecommendRequest)) -> String {
        match params(change) {
            Err(CallError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn zero_means_the_default_and_the_greatest_values_are_accepted() {
        let defaults = params(|_| {}).expect("a good request");
        assert_eq!(
            (defaults.limit, defaults.medoids),
            (DEFAULT_LIMIT, DEFAULT_MEDOIDS)
        );
        assert_eq!(defaults.strategy, MergeStrategy::Interleave);
        let greatest = params(|r| {
            r.limit = MAX_LIMIT;
            r.medoids = MAX_MEDOIDS;
            r.exclude_pin_ids = vec![7; EXCLUDED_PINS.max];
            r.merge_strategy = 2;
        });
        let greatest = greatest.expect("a good request");
        assert_eq!((greatest.limit, greatest.medoids), (2_000, 20));
        assert_eq!(greatest.excluded.len(), 10_000);
        assert_eq!(greatest.strategy, MergeStrategy::GlobalTop);
    }

    #[test]
    fn a_field_that_breaks_its_limit_is_named() {
        assert_eq!(refused_field(|r| r.user_id = None), "user_id");
        assert_eq!(refused_field(|r| r.limit = MAX_LIMIT + 1), "limit");
        assert_eq!(refused_field(|r| r.medoids = u32::MAX), "medoids");
        assert_eq!(
            refused_field(|r| r.exclude_pin_ids = vec![7; EXCLUDED_PINS.max + 1]),
            "exclude_pin_ids"
        );
        assert_eq!(
            refused_field(|r| {
                r.exclude_pin_ids = vec![7; EXCLUDED_PINS.max];
                r.exclude_pin_keys = vec!["tea".to_owned()];
            }),
            "exclude_pin_keys"
        );
        assert_eq!(
            refused_field(|r| r.user_key = Some("tea".to_owned())),
            "user_key"
        );
        assert_eq!(refused_field(|r| r.merge_strategy = 3), "merge_strategy");
        assert_eq!(refused_field(|r| r.merge_strategy = -1), "merge_strategy");
        assert_eq!(refused_field(|r| r.response_format = 3), "response_format");
        assert_eq!(refused_field(|r| r.response_format = -1), "response_format");
        assert_eq!(
            refused_field(|r| r.freshness_token = vec![0; FRESHNESS_TOKEN.max + 1]),
            "freshness_token"
        );
        // No more of the top medoids than are sampled, which is 3 by default.
        assert_eq!(
            params(|r| r.top_medoids = 3).map(|params| params.top),
            Ok(3)
        );
        assert_eq!(refused_field(|r| r.top_medoids = 4), "top_medoids");
    }

    #[test]
    fn a_seed_that_breaks_its_limit_is_named() {
        let seed = |weight: f64| v1::Seed {
            pin_id: Some(7),
            pin_key: None,
            weight,
        };
        let replace = v1::SeedMode::Replace as i32;
        assert_eq!(refused_field(|r| r.seed_mode = 3), "seed_mode");
        assert_eq!(refused_field(|r| r.seed_mode = replace), "seeds");
        assert_eq!(refused_field(|r| r.seeds = vec![seed(1.0); 21]), "seeds");
        let second = |bad: v1::Seed| refused_field(|r| r.seeds = vec![seed(1.0), bad]);
        for weight in [f64::NAN, f64::INFINITY, -1.0, f64::NEG_INFINITY, 1e6 + 1.0] {
            assert_eq!(second(seed(weight)), "seeds[1].weight");
        }
        assert_eq!(second(v1::Seed::default()), "seeds[1].pin_id");
        let with_key = |key: &str| v1::Seed {
            pin_key: Some(key.to_owned()),
            ..seed(1.0)
        };
        assert_eq!(second(with_key("")), "seeds[1].pin_key");
        assert_eq!(second(with_key("tea")), "seeds[1].pin_key");

        let greatest = params(|r| r.seeds = [0.0, -0.0, 1e6, 5e-324].map(seed).to_vec());
        let greatest = greatest.expect("a good request");
        let weights: Vec<f64> = greatest.seeds.pins().map(|(_, weight)| weight).collect();
        assert_eq!(weights, [1.0, 1.0, 1e6, 5e-324]);
    }

    #[test]
    fn a_request_needs_no_user_where_seeds_replace_the_medoids() {
        let anonymous = |mode: v1::SeedMode, require_profile| {
            let changed = params(|r| {
                r.user_id = None;
                r.seeds = vec![v1::Seed {
                    pin_key: Some("tea".to_owned()),
                    ..Default::default()
                }];
                r.set_seed_mode(mode);
                r.require_profile = require_profile;
            });
            changed.map(|params| params.user)
        };
        assert_eq!(anonymous(v1::SeedMode::Replace, false), Ok(None));
        anonymous(v1::SeedMode::Replace, true).expect_err("whose profile?");
        anonymous(v1::SeedMode::Join, false).expect_err("whose medoids?");
    }

    #[test]
    fn keys_stand_for_their_ids() {
        let params = params(|r| {
            r.user_id = None;
            r.user_key = Some("user-1".to_owned());
            r.exclude_pin_ids = vec![7];
            r.exclude_pin_keys = vec!["tea".to_owned()];
        });
        let params = params.expect("a good request");
        assert_eq!(params.user, Some(UserId::of_key("user-1")));
        assert_eq!(params.excluded, [PinId(7), PinId::of_key("tea")]);
    }

    #[test]
    fn a_batch_has_one_request_or_more_up_to_its_limit() {
        let count = |requests: usize| {
            let requests = vec![Default::default(); requests];
            let batch = v1::BatchRecommendRequest { requests };
            batch_requests(batch).map(|requests| requests.len()).ok()
        };
        assert_eq!(count(0), None);
        assert_eq!(count(1), Some(1));
        assert_eq!(count(BATCH_REQUESTS.max), Some(BATCH_REQUESTS.max));
        assert_eq!(count(BATCH_REQUESTS.max + 1), None);
    }

    #[test]
    fn a_small_request_has_few_medoids_and_no_titles() {
        let is_small = |change: fn(&mut v1::RecommendRequest)| {
            params(change).expect("a good request").is_small()
        };
        assert!(is_small(|_| {}));
        assert!(is_small(|r| r.medoids = 10));
        assert!(!is_small(|r| r.medoids = 11));
        assert!(!is_small(|r| r.limit = 401));
        assert!(!is_small(|r| r.include_titles = true));
    }
}
