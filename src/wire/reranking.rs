//! Reranking rules as fields of a request, for both ends.

use prost_types::{Duration as DurationMessage, Timestamp as TimestampMessage};

use super::{attributes, v1};
use crate::model::{Boost, BoostBy, Decay, DiversityRule, RerankRules, SpacingRule};

/// The fields of a request that are about reranking.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RerankFields {
    pub(crate) boosts: Vec<v1::Boost>,
    pub(crate) min_score: Option<f32>,
    pub(crate) spacing: Vec<v1::SpacingRule>,
    pub(crate) diversity: Option<v1::Diversity>,
    pub(crate) popularity_weight: Option<f32>,
    pub(crate) boost_time: Option<TimestampMessage>,
}

impl From<RerankRules> for RerankFields {
    /// Ages count from the moment of the answer.
    fn from(rules: RerankRules) -> Self {
        let RerankRules {
            min_score,
            popularity_weight,
            boosts,
            spacing,
            diversity,
        } = rules;
        Self {
            boosts: boosts.into_iter().map(message_of_boost).collect(),
            min_score,
            spacing: spacing.into_iter().map(message_of_spacing).collect(),
            diversity: diversity.map(message_of_diversity),
            popularity_weight,
            boost_time: None,
        }
    }
}

/// A boost as a message.
pub(crate) fn message_of_boost(Boost { weight, by }: Boost) -> v1::Boost {
    use v1::boost::By;
    let by = match by {
        BoostBy::Condition(condition) => By::Condition(attributes::message_of_condition(condition)),
        BoostBy::Decay(Decay {
            attribute,
            half_life,
        }) => By::Decay(v1::Decay {
            attribute,
            half_life: Some(DurationMessage {
                // More than the server allows, however much more it is.
                seconds: i64::try_from(half_life.as_secs()).unwrap_or(i64::MAX),
                nanos: half_life.subsec_nanos() as i32,
            }),
        }),
    };
    v1::Boost {
        weight,
        by: Some(by),
    }
}

/// A spacing rule as a message.
pub(crate) fn message_of_spacing(rule: SpacingRule) -> v1::SpacingRule {
    let SpacingRule {
        attribute,
        max,
        places,
    } = rule;
    v1::SpacingRule {
        attribute,
        max,
        places,
    }
}

/// A diversity rule as a message.
pub(crate) fn message_of_diversity(rule: DiversityRule) -> v1::Diversity {
    let DiversityRule { strength, among } = rule;
    v1::Diversity { strength, among }
}
