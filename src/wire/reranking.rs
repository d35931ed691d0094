//! Reranking rules as messages.

use super::{attributes, v1};
use crate::model::{Boost, BoostBy, Decay, DiversityRule, SpacingRule};

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
            // At most a hundred years.
            half_life: Some(prost_types::Duration {
                seconds: half_life.as_secs() as i64,
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
