//! What `GetUserFeatures` answers.

use super::response::{fallback_reason, key_of, medoid_origin, state_age};
use super::times::timestamp;
use crate::model::Timestamp;
use crate::recommend::{MedoidVector, Origin};
use crate::serve::state::{Serving, UserContext};
use crate::wire::v1;

/// The features of `user` at `now`.
pub(super) fn response(
    user: &UserContext<'_>,
    serving: &Serving,
    now: Timestamp,
) -> v1::GetUserFeaturesResponse {
    let features = serving.loaded.user_features(user, serving.pins());
    let catalog = serving.loaded.catalog().manifest();
    let medoids = features.medoids.iter();
    let medoid = |one| medoid_features(one, features.origin, user, serving);
    v1::GetUserFeaturesResponse {
        aggregate: features.aggregate().unwrap_or_default(),
        medoids: medoids.map(medoid).collect(),
        dimension: catalog.facts.dimension as u32,
        embedding_version: catalog.facts.embedding_version.clone(),
        catalog_version: catalog.version.clone(),
        profile_version: serving.loaded.profiles().manifest().version.clone(),
        fallback_reason: fallback_reason(features.fallback).into(),
        state_time: Some(timestamp(user.as_of())),
        state_age: Some(state_age(user, now)),
        medoids_not_in_catalog: features.medoids_missing as u32,
        silenced_interests: user.silenced_interests() as u32,
    }
}

fn medoid_features(
    one: &MedoidVector<'_>,
    origin: Origin,
    user: &UserContext<'_>,
    serving: &Serving,
) -> v1::MedoidFeatures {
    let medoid = one.medoid;
    let age = user.as_of().days_since(medoid.last_action_time);
    v1::MedoidFeatures {
        pin_id: medoid.pin.0,
        pin_key: key_of(medoid.pin, serving),
        vector: one.vector.to_vec(),
        importance: medoid.importance,
        size: medoid.size,
        last_action_time: Some(timestamp(medoid.last_action_time)),
        age_days: age.max(0.0),
        origin: medoid_origin(origin, user, medoid.pin).into(),
    }
}
