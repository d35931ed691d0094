//! Requests of `RecommendationService`, checked and in the types of the core.

use crate::model::{PinId, UserId};
use crate::recommend::{Deadline, MergeStrategy, Request};
use crate::serve::request_limits::{
    BATCH_REQUESTS, DEFAULT_LIMIT, DEFAULT_MEDOIDS, EXCLUDED_PINS, FRESHNESS_TOKEN, MAX_LIMIT,
    MAX_MEDOIDS, MaxCount, number_or_default,
};
use crate::serve::rpc::ids::{self, PinLists};
use crate::serve::status::CallError;
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

/// A [`v1::RecommendRequest`] that keeps every limit.
#[derive(Debug, PartialEq)]
pub(crate) struct RecommendParams {
    pub(crate) user: UserId,
    pub(crate) seed: Option<u64>,
    pub(crate) require_profile: bool,
    pub(crate) include_titles: bool,
    pub(crate) format: ResponseFormat,
    /// Empty when the request has none.
    pub(crate) token: Vec<u8>,
    limit: usize,
    medoids: usize,
    top: usize,
    strategy: MergeStrategy,
    excluded: Vec<PinId>,
}

impl TryFrom<v1::RecommendRequest> for RecommendParams {
    type Error = CallError;

    fn try_from(request: v1::RecommendRequest) -> Result<Self, CallError> {
        let strategy = merge_strategy(request.merge_strategy)?;
        let format = response_format(request.response_format)?;
        let token = request.freshness_token;
        FRESHNESS_TOKEN.check("freshness_token", token.len())?;
        let medoids = number_or_default("medoids", request.medoids, MAX_MEDOIDS, DEFAULT_MEDOIDS)?;
        let top = request.top_medoids as usize;
        MaxCount::new(medoids, "medoids").check("top_medoids", top)?;
        let excluded = EXCLUDED.pins(request.exclude_pin_ids, &request.exclude_pin_keys)?;
        Ok(Self {
            user: required_user(request.user_id, request.user_key.as_deref())?,
            seed: request.seed,
            require_profile: request.require_profile,
            include_titles: request.include_titles,
            format,
            token,
            limit: number_or_default("limit", request.limit, MAX_LIMIT, DEFAULT_LIMIT)?,
            medoids,
            top,
            strategy,
            excluded,
        })
    }
}

impl RecommendParams {
    /// Whether an answer from lists is a matter of microseconds.
    pub(crate) fn is_small(&self) -> bool {
        self.limit <= DEFAULT_LIMIT
            && self.medoids <= SMALL_MEDOIDS
            && self.excluded.len() <= DEFAULT_LIMIT
            && !self.include_titles
    }

    /// The request to the core, with this share of the usual effort.
    pub(crate) fn request<'a>(&'a self, effort: f32, deadline: Deadline<'a>) -> Request<'a> {
        Request {
            limit: self.limit,
            medoids: self.medoids,
            top: self.top,
            strategy: self.strategy,
            excluded: &self.excluded,
            effort,
            deadline,
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
        RecommendParams::try_from(request)
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
        assert_eq!(greatest.excluded.len(), 2_000);
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
    fn keys_stand_for_their_ids() {
        let params = params(|r| {
            r.user_id = None;
            r.user_key = Some("user-1".to_owned());
            r.exclude_pin_ids = vec![7];
            r.exclude_pin_keys = vec!["tea".to_owned()];
        });
        let params = params.expect("a good request");
        assert_eq!(params.user, UserId::of_key("user-1"));
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
