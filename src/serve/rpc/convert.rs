//! Between the messages of the contract and the types of the core. Every limit of
//! a request is checked here, before any work is done.

use prost::Message;
use tonic::Status;

use crate::cluster::Interest;
use crate::model::{Medoid, PinId, Timestamp, UserId};
use crate::recommend::{Deadline, Fallback, MergeStrategy, Origin, Recommendation, Request};
use crate::serve::state::changed_pins::Serving;
use crate::serve::state::user_context::UserContext;
use crate::serve::status::CallError;
use crate::serve::{DEFAULT_LIMIT, DEFAULT_MEDOIDS};
use crate::wire::v1;

const MAX_LIMIT: u32 = 2_000;
const MAX_MEDOIDS: u32 = 20;
/// So many medoids at most are answered from lists at once, where they suffice: to hand
/// the call to a worker takes longer.
const FEW_MEDOIDS: usize = 10;
const MAX_EXCLUDED: usize = 2_000;
const MAX_TOKEN: usize = 256;
const MAX_BATCH: usize = 100;
const SECONDS_PER_DAY: i64 = 86_400;

/// A [`v1::RecommendRequest`] that keeps every limit.
#[derive(Debug, PartialEq)]
pub(crate) struct RecommendParams {
    pub(crate) user: UserId,
    pub(crate) seed: Option<u64>,
    pub(crate) require_profile: bool,
    pub(crate) include_titles: bool,
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
        let strategy = match request.merge_strategy() {
            v1::MergeStrategy::Unspecified | v1::MergeStrategy::Interleave => {
                MergeStrategy::Interleave
            }
            v1::MergeStrategy::GlobalTop => MergeStrategy::GlobalTop,
        };
        if v1::MergeStrategy::try_from(request.merge_strategy).is_err() {
            let reason = format!("{} is no merge strategy", request.merge_strategy);
            return Err(CallError::field("merge_strategy", reason));
        }
        let token = request.freshness_token;
        at_most("freshness_token", token.len(), MAX_TOKEN, "bytes")?;
        let medoids = or_default("medoids", request.medoids, MAX_MEDOIDS, DEFAULT_MEDOIDS)?;
        let top = request.top_medoids as usize;
        at_most("top_medoids", top, medoids, "medoids")?;
        let excluded = request.exclude_pin_ids;
        at_most("exclude_pin_ids", excluded.len(), MAX_EXCLUDED, "pins")?;
        Ok(Self {
            user: user(request.user_id)?,
            seed: request.seed,
            require_profile: request.require_profile,
            include_titles: request.include_titles,
            token,
            limit: or_default("limit", request.limit, MAX_LIMIT, DEFAULT_LIMIT)?,
            medoids,
            top,
            strategy,
            excluded: excluded.into_iter().map(PinId).collect(),
        })
    }
}

impl RecommendParams {
    /// Whether an answer from lists is a matter of microseconds.
    pub(crate) fn is_small(&self) -> bool {
        self.limit <= DEFAULT_LIMIT
            && self.medoids <= FEW_MEDOIDS
            && self.excluded.len() <= DEFAULT_LIMIT
            && !self.include_titles
    }

    /// What the core is asked, with this share of the usual effort and until `deadline`.
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

/// The user of a request, who must be named.
pub(crate) fn user(user_id: Option<u64>) -> Result<UserId, CallError> {
    user_id
        .map(UserId)
        .ok_or_else(|| CallError::field("user_id", "is required"))
}

/// The requests of a batch.
pub(crate) fn batch(
    request: v1::BatchRecommendRequest,
) -> Result<Vec<v1::RecommendRequest>, CallError> {
    if request.requests.is_empty() {
        return Err(CallError::field("requests", "is empty"));
    }
    at_most("requests", request.requests.len(), MAX_BATCH, "requests")?;
    Ok(request.requests)
}

fn at_most(field: &str, found: usize, most: usize, what: &str) -> Result<(), CallError> {
    if found > most {
        return Err(CallError::field(
            field,
            format!("has {found} {what}, at most {most} may be"),
        ));
    }
    Ok(())
}

/// Refuses a number of `what` that is not from 1 to `most`.
pub(crate) fn from_one(
    field: &str,
    found: usize,
    most: usize,
    what: &str,
) -> Result<(), CallError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    let reason = format!("has {found} {what}, from 1 to {most} may be");
    Err(CallError::field(field, reason))
}

fn or_default(field: &str, value: u32, most: u32, default: usize) -> Result<usize, CallError> {
    match value {
        0 => Ok(default),
        value if value <= most => Ok(value as usize),
        value => Err(CallError::field(
            field,
            format!("is {value}, at most {most} may be"),
        )),
    }
}

/// The answer to `ask`, for which `seed` was used.
pub(crate) fn response(
    ask: &RecommendParams,
    seed: u64,
    user: &UserContext<'_>,
    answer: &Recommendation,
    serving: &Serving,
    now: Timestamp,
) -> v1::RecommendResponse {
    let title = |pin| match ask.include_titles {
        true => serving.pins().title(pin).to_owned(),
        false => String::new(),
    };
    // The worst of them.
    let degraded = if answer.answered_in_time.is_some() {
        v1::DegradedReason::OutOfTime
    } else if answer.with_less_effort {
        v1::DegradedReason::LessEffort
    } else if answer.medoids_missing {
        v1::DegradedReason::MedoidsNotInCatalog
    } else {
        v1::DegradedReason::Unspecified
    };
    let candidate = |candidate: &crate::model::Candidate| v1::Candidate {
        pin_id: candidate.pin.0,
        score: candidate.score,
        medoid_index: candidate.medoid_index as u32,
        title: title(candidate.pin),
    };
    let medoid = |sampled: &crate::recommend::SampledMedoid| v1::SampledMedoid {
        pin_id: sampled.medoid.pin.0,
        importance: sampled.medoid.importance,
        weight: sampled.weight,
        inclusion_probability: sampled.inclusion_probability,
        origin: origin(answer.origin, user, sampled.medoid.pin).into(),
        title: title(sampled.medoid.pin),
    };
    // Whole days: an answer must not differ from an equal one a second later.
    let days = now.days_since(user.as_of()).max(0.0) as i64;
    v1::RecommendResponse {
        candidates: answer.candidates.iter().map(candidate).collect(),
        medoids: answer.sampled.iter().map(medoid).collect(),
        catalog_version: serving.loaded.catalog().manifest().version.clone(),
        profile_version: serving.loaded.profiles().manifest().version.clone(),
        seed,
        fallback_reason: fallback(answer.fallback).into(),
        degraded: degraded != v1::DegradedReason::Unspecified,
        degraded_reason: degraded.into(),
        state_age: Some(prost_types::Duration {
            seconds: days * SECONDS_PER_DAY,
            nanos: 0,
        }),
        state_time: Some(timestamp(user.as_of())),
        engagement_feedback: user.counts_engagement(),
        popularity_weight: serving.loaded.popularity_weight(),
    }
}

/// The outcome of one request of a batch.
pub(crate) fn batch_result(
    outcome: Result<v1::RecommendResponse, CallError>,
) -> v1::BatchRecommendResult {
    use v1::batch_recommend_result::Outcome;
    let outcome = match outcome {
        Ok(response) => Outcome::Response(response),
        Err(error) => Outcome::Error(rpc_status(&error.into())),
    };
    v1::BatchRecommendResult {
        outcome: Some(outcome),
    }
}

/// A status as a message: its details are one already, where it has any.
fn rpc_status(status: &Status) -> tonic_types::pb::Status {
    let detailed = tonic_types::pb::Status::decode(status.details()).unwrap_or_default();
    tonic_types::pb::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: detailed.details,
    }
}

/// All interests of a user; the popular ones for a user of whom nothing is known.
pub(crate) fn interests(user: &UserContext<'_>, serving: &Serving) -> v1::ExplainUserResponse {
    let interest = |medoid: &Medoid, origin: v1::MedoidOrigin| v1::Interest {
        pin_id: medoid.pin.0,
        title: serving.pins().title(medoid.pin).to_owned(),
        importance: medoid.importance,
        size: medoid.size,
        last_action_time: Some(timestamp(medoid.last_action_time)),
        origin: origin.into(),
        in_catalog: serving.pins().contains(medoid.pin),
        profile_clusters: u32::from(origin == v1::MedoidOrigin::Profile),
        recent_actions: 0,
        negative_actions: 0,
        silenced: false,
    };
    let folded = |folded: &Interest| v1::Interest {
        profile_clusters: folded.profile_clusters,
        recent_actions: folded.recent_actions,
        negative_actions: folded.negative_actions,
        silenced: folded.silenced,
        ..interest(&folded.medoid, origin_of(folded))
    };
    let of = |medoids: &[Medoid], origin| -> Vec<v1::Interest> {
        medoids
            .iter()
            .map(|medoid| interest(medoid, origin))
            .collect()
    };
    let recent: Option<Vec<v1::Interest>> = user
        .folded()
        .map(|recent| recent.interests.iter().map(folded).collect())
        .filter(|interests: &Vec<_>| !interests.is_empty());
    let (interests, fallback) = match (recent, user.stored()) {
        (Some(recent), Some(_)) => (recent, None),
        (Some(recent), None) => (recent, Some(Fallback::RecentActionsOnly)),
        (None, Some(stored)) => (of(stored, v1::MedoidOrigin::Profile), None),
        (None, None) => {
            let popular = of(
                serving.loaded.profiles().popular(),
                v1::MedoidOrigin::Popular,
            );
            (popular, Some(Fallback::UnknownUser))
        }
    };
    v1::ExplainUserResponse {
        interests,
        fallback_reason: self::fallback(fallback).into(),
        as_of: Some(timestamp(user.as_of())),
        catalog_version: serving.loaded.catalog().manifest().version.clone(),
        profile_version: serving.loaded.profiles().manifest().version.clone(),
    }
}

pub(crate) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = time.seconds_and_nanos();
    prost_types::Timestamp { seconds, nanos }
}

/// Where the medoid `pin` comes from, which was sampled on the step `step` of the
/// ladder.
fn origin(step: Origin, user: &UserContext<'_>, pin: PinId) -> v1::MedoidOrigin {
    let folded = || {
        let interests = user.folded()?.interests.iter();
        interests
            .into_iter()
            .find(|interest| interest.medoid.pin == pin)
    };
    match step {
        Origin::Popular => v1::MedoidOrigin::Popular,
        Origin::Profile | Origin::Recent => folded().map_or(v1::MedoidOrigin::Profile, origin_of),
    }
}

fn origin_of(interest: &Interest) -> v1::MedoidOrigin {
    let actions = interest.recent_actions + interest.negative_actions;
    match (interest.profile_clusters, actions) {
        (0, _) => v1::MedoidOrigin::Recent,
        (1, 0) => v1::MedoidOrigin::Profile,
        _ => v1::MedoidOrigin::ProfileAndRecent,
    }
}

fn fallback(fallback: Option<Fallback>) -> v1::FallbackReason {
    match fallback {
        None => v1::FallbackReason::Unspecified,
        Some(Fallback::UnknownUser) => v1::FallbackReason::UnknownUser,
        Some(Fallback::ProfileNotInCatalog) => v1::FallbackReason::ProfileNotInCatalog,
        Some(Fallback::RecentActionsOnly) => v1::FallbackReason::RecentActionsOnly,
        Some(Fallback::NothingWanted) => v1::FallbackReason::NothingWanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(change: impl FnOnce(&mut v1::RecommendRequest)) -> Result<RecommendParams, CallError> {
        let mut request = v1::RecommendRequest {
            user_id: Some(0),
            ..Default::default()
        };
        change(&mut request);
        RecommendParams::try_from(request)
    }

    fn refused(change: impl FnOnce(&mut v1::RecommendRequest)) -> String {
        match ask(change) {
            Err(CallError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn zero_means_the_default_and_the_greatest_values_are_taken() {
        let asked = ask(|_| {}).expect("a good request");
        assert_eq!(
            (asked.limit, asked.medoids),
            (DEFAULT_LIMIT, DEFAULT_MEDOIDS)
        );
        assert_eq!(asked.strategy, MergeStrategy::Interleave);
        let greatest = ask(|r| {
            r.limit = MAX_LIMIT;
            r.medoids = MAX_MEDOIDS;
            r.exclude_pin_ids = vec![7; MAX_EXCLUDED];
            r.merge_strategy = 2;
        });
        assert_eq!(greatest.expect("a good request").limit, 2_000);
    }

    #[test]
    fn what_breaks_a_limit_is_named() {
        assert_eq!(refused(|r| r.user_id = None), "user_id");
        assert_eq!(refused(|r| r.limit = MAX_LIMIT + 1), "limit");
        assert_eq!(refused(|r| r.medoids = u32::MAX), "medoids");
        assert_eq!(
            refused(|r| r.exclude_pin_ids = vec![7; MAX_EXCLUDED + 1]),
            "exclude_pin_ids"
        );
        assert_eq!(refused(|r| r.merge_strategy = 3), "merge_strategy");
        assert_eq!(refused(|r| r.merge_strategy = -1), "merge_strategy");
        assert_eq!(
            refused(|r| r.freshness_token = vec![0; MAX_TOKEN + 1]),
            "freshness_token"
        );
        let batch = |requests| batch(v1::BatchRecommendRequest { requests });
        assert!(batch(vec![]).is_err());
        assert!(batch(vec![Default::default(); MAX_BATCH + 1]).is_err());
        assert_eq!(
            batch(vec![Default::default()]).map(|requests| requests.len()),
            Ok(1)
        );
    }

    #[test]
    fn a_status_in_a_batch_keeps_its_details() {
        let status = Status::from(CallError::field("limit", "is 9"));
        let message = rpc_status(&status);
        assert_eq!((message.code, message.message.as_str()), (3, "limit: is 9"));
        assert!(
            message.details[0]
                .type_url
                .ends_with("google.rpc.BadRequest")
        );
        assert_eq!(rpc_status(&Status::internal("x")).details, []);
    }
}
