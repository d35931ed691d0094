//! The reranking rules of a request, checked.

use super::attributes;
use super::times;
use crate::model::{
    AttributeDefinition, Boost, BoostBy, Decay, DiversityRule, InvalidReranking, RerankRules,
    SpacingRule, Timestamp,
};
use crate::serve::status::CallError;
use crate::wire::reranking::RerankFields;
use crate::wire::v1;

/// The reranking rules of a request.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RequestReranking {
    pub(crate) rules: RerankRules,
    /// From when ages count; none for the moment of the answer.
    time: Option<Timestamp>,
}

impl RequestReranking {
    /// The rules of `fields`, each within its range.
    pub(crate) fn new(fields: RerankFields) -> Result<Self, CallError> {
        let boosts = fields.boosts.into_iter().enumerate();
        let spacing = fields.spacing.into_iter().map(|rule| SpacingRule {
            attribute: rule.attribute,
            max: rule.max,
            places: rule.places,
        });
        let rules = RerankRules {
            min_score: fields.min_score,
            popularity_weight: fields.popularity_weight,
            boosts: boosts
                .map(|(at, message)| boost(message, &format!("boosts[{at}]")))
                .collect::<Result<_, _>>()?,
            spacing: spacing.collect(),
            diversity: fields.diversity.map(|rule| DiversityRule {
                strength: rule.strength,
                among: match rule.among {
                    0 => DiversityRule::USUAL_AMONG,
                    among => among,
                },
            }),
        };
        rules.check_ranges().map_err(refused)?;
        let time = fields.boost_time.map(|time| {
            times::moment(time).ok_or_else(|| CallError::field("boost_time", "is out of range"))
        });
        Ok(Self {
            rules,
            time: time.transpose()?,
        })
    }

    /// Refuses rules on attributes that the catalog lacks, or has of another type.
    pub(crate) fn check(&self, definitions: &[AttributeDefinition]) -> Result<(), CallError> {
        self.rules.check(definitions).map_err(refused)
    }

    /// Whether candidates are what they would be without, or nearly as cheap.
    pub(crate) fn is_cheap(&self) -> bool {
        let RerankRules {
            boosts,
            spacing,
            diversity,
            ..
        } = &self.rules;
        boosts.is_empty() && spacing.is_empty() && diversity.is_none()
    }

    /// Whether there may be fewer candidates than eligible pins.
    pub(crate) fn leaves_out(&self) -> bool {
        self.rules.min_score.is_some() || !self.rules.spacing.is_empty()
    }

    /// The moment from which ages count in an answer that is given at `now`.
    pub(crate) fn time(&self, now: Timestamp) -> Timestamp {
        self.time.unwrap_or(now)
    }

    /// The same; none where no age counts.
    pub(crate) fn reported_time(&self, now: Timestamp) -> Option<Timestamp> {
        self.rules.counts_ages().then(|| self.time(now))
    }
}

fn refused(invalid: InvalidReranking) -> CallError {
    CallError::field(invalid.field, invalid.reason)
}

/// The boost of a message, which stands at `path` in the request.
fn boost(message: v1::Boost, path: &str) -> Result<Boost, CallError> {
    use v1::boost::By;
    let by = match message.by {
        Some(By::Condition(condition)) => {
            let path = format!("{path}.condition");
            BoostBy::Condition(attributes::condition(condition, &path)?)
        }
        Some(By::Decay(v1::Decay {
            attribute,
            half_life,
        })) => {
            let half_life = times::duration(half_life.unwrap_or_default());
            let half_life = half_life.ok_or_else(|| {
                let reason = "is out of range, a second to a hundred years may be";
                CallError::field(format!("{path}.decay.half_life"), reason)
            })?;
            BoostBy::Decay(Decay {
                attribute,
                half_life,
            })
        }
        None => {
            let reason = "has nothing that is worth it: one of condition, decay";
            return Err(CallError::field(path, reason));
        }
    };
    Ok(Boost {
        weight: message.weight,
        by,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost_types::Timestamp as TimestampMessage;

    use super::*;

    fn refused_field(fields: RerankFields) -> String {
        match RequestReranking::new(fields) {
            Err(CallError::Field { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    fn decay(seconds: i64, nanos: i32) -> v1::Boost {
        v1::Boost {
            weight: 0.5,
            by: Some(v1::boost::By::Decay(v1::Decay {
                attribute: "created_at".to_owned(),
                half_life: Some(prost_types::Duration { seconds, nanos }),
            })),
        }
    }

    fn boosts(boosts: Vec<v1::Boost>) -> RerankFields {
        RerankFields {
            boosts,
            ..RerankFields::default()
        }
    }

    #[test]
    fn a_field_that_breaks_its_limit_is_named() {
        for (seconds, nanos) in [
            (0, 0),
            (-5, 0),
            (0, -1),
            (i64::MAX, 0),
            (i64::MIN, i32::MIN),
        ] {
            let fields = boosts(vec![decay(9, 0), decay(seconds, nanos)]);
            assert_eq!(refused_field(fields), "boosts[1].decay.half_life");
        }
        let nothing = v1::Boost {
            weight: 0.5,
            by: None,
        };
        assert_eq!(refused_field(boosts(vec![nothing])), "boosts[0]");
        for weight in [0.0, f32::NAN, f32::INFINITY, 2.5, -2.5] {
            let boost = v1::Boost {
                weight,
                ..decay(9, 0)
            };
            assert_eq!(refused_field(boosts(vec![boost])), "boosts[0].weight");
        }
        assert_eq!(refused_field(boosts(vec![decay(9, 0); 17])), "boosts");
        for min_score in [f32::NAN, 1.5, -1.5] {
            let fields = RerankFields {
                min_score: Some(min_score),
                ..RerankFields::default()
            };
            assert_eq!(refused_field(fields), "min_score");
        }
        for (seconds, nanos) in [(i64::MAX, 0), (0, -1), (0, i32::MAX)] {
            let fields = RerankFields {
                boost_time: Some(TimestampMessage { seconds, nanos }),
                ..RerankFields::default()
            };
            assert_eq!(refused_field(fields), "boost_time");
        }
    }

    #[test]
    fn rules_come_back_from_their_fields() {
        let text = concat!(
            r#"{"min_score":0.5,"popularity_weight":0.25,"boosts":[{"weight":0.125,"#,
            r#""condition":{"attribute":"brand","any_of":["a","b"]}},{"weight":-0.5,"#,
            r#""decay":{"attribute":"created_at","half_life":"1day 1s 5ms"}}],"#,
            r#""spacing":[{"attribute":"brand","max":2,"places":10}],"#,
            r#""diversity":{"strength":0.5,"among":20}}"#,
        );
        let rules: RerankRules = serde_json::from_str(text).expect("rules");
        let fields = RerankFields::from(rules.clone());
        let back = RequestReranking::new(fields).expect("good rules");
        assert_eq!(back.rules, rules);
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let nothing = RequestReranking::new(RerankFields::default()).expect("no rules");
        assert_eq!(nothing, RequestReranking::default());
        assert!(nothing.is_cheap() && !nothing.leaves_out());
        let now = Timestamp::from_micros(7);
        assert_eq!(nothing.reported_time(now), None);
        let fields = RerankFields {
            diversity: Some(v1::Diversity {
                strength: 0.5,
                among: 0,
            }),
            ..boosts(vec![decay(90, 0)])
        };
        let some = RequestReranking::new(fields).expect("good rules");
        let among = some.rules.diversity.map(|rule| rule.among);
        assert_eq!(among, Some(DiversityRule::USUAL_AMONG));
        let BoostBy::Decay(decay) = &some.rules.boosts[0].by else {
            panic!("a decay");
        };
        assert_eq!(decay.half_life, Duration::from_secs(90));
        assert_eq!(some.reported_time(now), Some(now));
        assert!(!some.is_cheap());
    }
}
