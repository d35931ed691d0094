//! Responses of `RecommendationService`, from the types of the core.

use prost::Message;
use tonic::Status;

use crate::cluster::Interest;
use crate::model::{Candidate, Medoid, PinId, Timestamp};
use crate::recommend::{Fallback, Origin, Recommendation, SampledMedoid, SeedMode, Shortage};
use crate::serve::rpc::candidate_columns::candidate_columns;
use crate::serve::rpc::request::{RecommendParams, ResponseFormat};
use crate::serve::rpc::times::timestamp;
use crate::serve::state::{Serving, UserContext};
use crate::serve::status::CallError;
use crate::wire::v1;

const SECONDS_PER_DAY: i64 = 86_400;

/// An answer, and what it was made from.
pub(crate) struct Answered<'a> {
    pub(crate) params: &'a RecommendParams,
    /// The seed that was used, whether it was given or drawn.
    pub(crate) seed: u64,
    pub(crate) user: &'a UserContext<'a>,
    pub(crate) recommendation: &'a Recommendation,
    pub(crate) serving: &'a Serving,
    pub(crate) now: Timestamp,
}

impl Answered<'_> {
    /// The answer as a message of `Recommend`.
    pub(crate) fn response(&self) -> v1::RecommendResponse {
        let Self {
            params,
            seed,
            user,
            recommendation,
            serving,
            ..
        } = *self;
        let (candidates, columns) = match params.format {
            ResponseFormat::Messages => (self.candidates(), None),
            ResponseFormat::Columns => (Vec::new(), Some(self.columns())),
        };
        let seeds = params.seeds.pins().map(|one| self.seed(one));
        let sampled = recommendation.sampled.iter();
        let medoids = seeds.chain(sampled.map(|one| self.sampled_medoid(one)));
        let degraded = degraded_reason(recommendation);
        let exhausted = self.exhausted_reason();
        let unknown = params.seeds.unknown().clone();
        // Seeds in the place of medoids leave nothing to draw.
        let may_draw =
            params.seeds.mode() != SeedMode::Replace || !recommendation.sampled.is_empty();
        v1::RecommendResponse {
            candidates,
            columns,
            medoids: medoids.collect(),
            catalog_version: serving.loaded.catalog().manifest().version.clone(),
            profile_version: serving.loaded.profiles().manifest().version.clone(),
            seed,
            fallback_reason: fallback_reason(recommendation.fallback).into(),
            degraded: degraded != v1::DegradedReason::Unspecified,
            degraded_reason: degraded.into(),
            state_age: params.user.map(|_| state_age(user, self.now)),
            state_time: params.user.map(|_| timestamp(user.as_of())),
            engagement_feedback: user.counts_engagement() && may_draw,
            popularity_weight: params.popularity_weight(serving),
            boost_time: self.boost_time(),
            exhausted: exhausted != v1::ExhaustedReason::Unspecified,
            exhausted_reason: exhausted.into(),
            unknown_seed_pin_ids: unknown.ids,
            unknown_seed_pin_keys: unknown.keys,
            unknown_context_pin: params.has_unknown_context(serving),
            // Whoever knows them sets them.
            surface: String::new(),
            arm: String::new(),
            next_page_token: self.next_page_token(),
            versions_changed: self.versions_changed(),
        }
    }

    /// The answer as a message of `SimilarPins`.
    pub(crate) fn similar_pins(&self) -> v1::SimilarPinsResponse {
        let Self {
            params,
            recommendation,
            serving,
            ..
        } = *self;
        let candidates = recommendation.candidates.iter().map(|one| v1::Candidate {
            medoid_index: params.seeds.place(one.medoid_index) as u32,
            ..self.candidate(one)
        });
        let degraded = degraded_reason(recommendation);
        let exhausted = self.exhausted_reason();
        let unknown = params.seeds.unknown().clone();
        v1::SimilarPinsResponse {
            candidates: candidates.collect(),
            catalog_version: serving.loaded.catalog().manifest().version.clone(),
            degraded: degraded != v1::DegradedReason::Unspecified,
            degraded_reason: degraded.into(),
            unknown_pin_ids: unknown.ids,
            unknown_pin_keys: unknown.keys,
            popularity_weight: params.popularity_weight(serving),
            boost_time: self.boost_time(),
            exhausted: exhausted != v1::ExhaustedReason::Unspecified,
            exhausted_reason: exhausted.into(),
            // Whoever knows them sets them.
            surface: String::new(),
            arm: String::new(),
            next_page_token: self.next_page_token(),
            versions_changed: self.versions_changed(),
        }
    }

    /// Why there are fewer candidates than were asked for. It is said of answers only that
    /// leave out pins for what the request says of pins.
    fn exhausted_reason(&self) -> v1::ExhaustedReason {
        let Self {
            params,
            recommendation,
            ..
        } = *self;
        // Without anything to search from, nothing is known of what the filter selects.
        let has_searched = params.seeds.len() + recommendation.sampled.len() > 0;
        let is_said = params.filter.is_some() || params.reranking.leaves_out();
        match recommendation.shortage.filter(|_| is_said && has_searched) {
            Some(Shortage::Spacing) => v1::ExhaustedReason::Spacing,
            Some(Shortage::MinScore) => v1::ExhaustedReason::MinScore,
            Some(Shortage::Eligible) if params.filter.is_some() => v1::ExhaustedReason::Filter,
            Some(Shortage::Eligible) | None => v1::ExhaustedReason::Unspecified,
        }
    }

    /// The moment from which ages counted; none where none did.
    fn boost_time(&self) -> Option<prost_types::Timestamp> {
        self.params.reranking.reported_time(self.now).map(timestamp)
    }

    fn candidates(&self) -> Vec<v1::Candidate> {
        let candidates = self.recommendation.candidates.iter();
        candidates.map(|one| self.candidate(one)).collect()
    }

    fn columns(&self) -> v1::CandidateColumns {
        let candidates = &self.recommendation.candidates;
        candidate_columns(candidates, self.serving.pins(), self.params.include_titles)
    }

    fn candidate(&self, candidate: &Candidate) -> v1::Candidate {
        v1::Candidate {
            pin_id: candidate.pin.0,
            score: candidate.score,
            medoid_index: candidate.medoid_index as u32,
            title: self.title(candidate.pin),
            pin_key: key_of(candidate.pin, self.serving),
        }
    }

    /// A seed as a medoid that is always drawn.
    fn seed(&self, (pin, weight): (PinId, f64)) -> v1::SampledMedoid {
        v1::SampledMedoid {
            pin_id: pin.0,
            importance: 0.0,
            weight,
            inclusion_probability: 1.0,
            origin: v1::MedoidOrigin::Seed.into(),
            title: self.title(pin),
            pin_key: key_of(pin, self.serving),
        }
    }

    fn sampled_medoid(&self, sampled: &SampledMedoid) -> v1::SampledMedoid {
        let pin = sampled.medoid.pin;
        let origin = medoid_origin(self.recommendation.origin, self.user, pin);
        v1::SampledMedoid {
            pin_id: pin.0,
            importance: sampled.medoid.importance,
            weight: sampled.weight,
            inclusion_probability: sampled.inclusion_probability,
            origin: origin.into(),
            title: self.title(pin),
            pin_key: key_of(pin, self.serving),
        }
    }

    /// The title of `pin`; empty when the request does not ask for titles.
    fn title(&self, pin: PinId) -> String {
        if self.params.include_titles {
            self.serving.pins().title(pin).to_owned()
        } else {
            String::new()
        }
    }
}

/// Age at `now` of the newest information about `user`. In whole days: an answer must not
/// differ from an equal one a second later.
pub(crate) fn state_age(user: &UserContext<'_>, now: Timestamp) -> prost_types::Duration {
    let days = now.days_since(user.as_of()).max(0.0) as i64;
    prost_types::Duration {
        seconds: days * SECONDS_PER_DAY,
        nanos: 0,
    }
}

/// The key of `pin` as messages have it: empty for none.
pub(crate) fn key_of(pin: PinId, serving: &Serving) -> String {
    serving.pins().key(pin).unwrap_or_default().to_owned()
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

/// All interests of a user; the popular ones for an unknown user.
pub(crate) fn explain_user(user: &UserContext<'_>, serving: &Serving) -> v1::ExplainUserResponse {
    let of_medoids = |medoids: &[Medoid], origin| -> Vec<v1::Interest> {
        let medoids = medoids.iter();
        medoids
            .map(|medoid| v1::Interest {
                silenced: medoid.is_silenced(user.silenced_by()),
                ..interest_of_medoid(medoid, origin, serving)
            })
            .collect()
    };
    let folded = user.folded().filter(|folded| !folded.interests.is_empty());
    let folded: Option<Vec<v1::Interest>> = folded.map(|folded| {
        let interests = folded.interests.iter();
        interests
            .map(|interest| folded_interest(interest, serving))
            .collect()
    });
    let (interests, fallback) = match (folded, user.batch_medoids()) {
        (Some(folded), Some(_)) => (folded, None),
        (Some(folded), None) => (folded, Some(Fallback::RecentActionsOnly)),
        (None, Some(batch_medoids)) => (of_medoids(batch_medoids, v1::MedoidOrigin::Profile), None),
        (None, None) => {
            let popular = serving.loaded.profiles().popular();
            let interests = of_medoids(popular, v1::MedoidOrigin::Popular);
            (interests, Some(Fallback::UnknownUser))
        }
    };
    v1::ExplainUserResponse {
        interests,
        fallback_reason: fallback_reason(fallback).into(),
        as_of: Some(timestamp(user.as_of())),
        catalog_version: serving.loaded.catalog().manifest().version.clone(),
        profile_version: serving.loaded.profiles().manifest().version.clone(),
    }
}

/// A status as a message: its details are encoded already, where it has any.
fn rpc_status(status: &Status) -> tonic_types::pb::Status {
    let detailed = tonic_types::pb::Status::decode(status.details()).unwrap_or_default();
    tonic_types::pb::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: detailed.details,
    }
}

/// The worst of the reasons for which an answer is less than it could be.
fn degraded_reason(recommendation: &Recommendation) -> v1::DegradedReason {
    if recommendation.answered_in_time.is_some() {
        v1::DegradedReason::OutOfTime
    } else if recommendation.with_less_effort {
        v1::DegradedReason::LessEffort
    } else if recommendation.medoids_missing {
        v1::DegradedReason::MedoidsNotInCatalog
    } else {
        v1::DegradedReason::Unspecified
    }
}

fn interest_of_medoid(
    medoid: &Medoid,
    origin: v1::MedoidOrigin,
    serving: &Serving,
) -> v1::Interest {
    v1::Interest {
        pin_id: medoid.pin.0,
        title: serving.pins().title(medoid.pin).to_owned(),
        importance: if medoid.is_used_up() {
            0.0
        } else {
            medoid.importance
        },
        size: medoid.size,
        last_action_time: Some(timestamp(medoid.last_action_time)),
        origin: origin.into(),
        in_catalog: serving.pins().contains(medoid.pin),
        profile_clusters: u32::from(origin == v1::MedoidOrigin::Profile),
        recent_actions: 0,
        negative_actions: medoid.dislikes,
        silenced: false,
        pin_key: key_of(medoid.pin, serving),
    }
}

fn folded_interest(interest: &Interest, serving: &Serving) -> v1::Interest {
    v1::Interest {
        profile_clusters: interest.profile_clusters,
        recent_actions: interest.recent_actions,
        // Some of those since the last positive one may be the batch's.
        negative_actions: interest.negative_actions.max(interest.medoid.dislikes),
        silenced: interest.silenced,
        ..interest_of_medoid(&interest.medoid, origin_of(interest), serving)
    }
}

/// Where the sampled medoid `pin` comes from, among medoids that come from `origin`.
pub(crate) fn medoid_origin(
    origin: Origin,
    user: &UserContext<'_>,
    pin: PinId,
) -> v1::MedoidOrigin {
    let folded = || {
        let mut interests = user.folded()?.interests.iter();
        interests.find(|interest| interest.medoid.pin == pin)
    };
    match origin {
        Origin::Popular => v1::MedoidOrigin::Popular,
        Origin::Profile | Origin::Recent => folded().map_or(v1::MedoidOrigin::Profile, origin_of),
    }
}

fn origin_of(interest: &Interest) -> v1::MedoidOrigin {
    match (
        interest.profile_clusters,
        interest.recent_actions + interest.negative_actions,
    ) {
        (0, _) => v1::MedoidOrigin::Recent,
        (1, 0) => v1::MedoidOrigin::Profile,
        _ => v1::MedoidOrigin::ProfileAndRecent,
    }
}

/// Why an answer does not rest on the user's own profile, as a message has it.
pub(crate) fn fallback_reason(fallback: Option<Fallback>) -> v1::FallbackReason {
    match fallback {
        None => v1::FallbackReason::Unspecified,
        Some(Fallback::UnknownUser) => v1::FallbackReason::UnknownUser,
        Some(Fallback::ProfileNotInCatalog) => v1::FallbackReason::ProfileNotInCatalog,
        Some(Fallback::RecentActionsOnly) => v1::FallbackReason::RecentActionsOnly,
        Some(Fallback::NothingWanted) => v1::FallbackReason::NothingWanted,
        Some(Fallback::SeedsNotInCatalog) => v1::FallbackReason::SeedsNotInCatalog,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn the_origin_tells_clusters_of_the_profile_from_recent_actions() {
        let interest = |profile_clusters, recent_actions, negative_actions| Interest {
            medoid: Medoid {
                pin: PinId(1),
                importance: 1.0,
                last_action_time: Timestamp::from_micros(0),
                size: 1,
                dislikes: 0,
            },
            profile_clusters,
            recent_actions,
            negative_actions,
            silenced: false,
        };
        let origin = |clusters, recent, negative| origin_of(&interest(clusters, recent, negative));
        assert_eq!(origin(0, 2, 0), v1::MedoidOrigin::Recent);
        assert_eq!(origin(1, 0, 0), v1::MedoidOrigin::Profile);
        assert_eq!(origin(1, 1, 0), v1::MedoidOrigin::ProfileAndRecent);
        assert_eq!(origin(1, 0, 1), v1::MedoidOrigin::ProfileAndRecent);
        assert_eq!(origin(2, 0, 0), v1::MedoidOrigin::ProfileAndRecent);
    }
}
