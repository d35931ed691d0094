//! Reranking: what a request asks of candidates beside nearness to what found them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::attribute::{AttributeDefinition, AttributeKind};
use super::filter::Condition;

/// Greatest number of boosts of a request.
pub const MAX_BOOSTS: usize = 16;
/// Greatest number of spacing rules of a request.
pub const MAX_SPACING_RULES: usize = 4;
/// Greatest number of places that a spacing rule looks at.
pub const MAX_PLACES: u32 = 1_000;
/// Greatest weight of a boost and of popularity, as a difference of cosines.
pub const MAX_BOOST: f32 = 2.0;
/// Greatest half-life: a hundred years.
pub const MAX_HALF_LIFE: Duration = Duration::from_secs(36_525 * 86_400);
/// Greatest number of candidates that are compared for a place.
pub const MAX_AMONG: u32 = 1_000;

/// What a request asks of candidates beside nearness. The default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RerankRules {
    /// Least cosine of a candidate to what found it, in [-1, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f32>,
    /// What the popularity of a pin is worth, in place of the setting of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub popularity_weight: Option<f32>,
    /// What else counts. They add up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub boosts: Vec<Boost>,
    /// How often a keyword may come within a few places. All hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spacing: Vec<SpacingRule>,
    /// What candidates lose that are like those before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diversity: Option<DiversityRule>,
}

/// What an attribute of a pin is worth, as a difference of cosines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SpelledBoost", into = "SpelledBoost")]
pub struct Boost {
    /// From -[`MAX_BOOST`] to [`MAX_BOOST`], and not 0.
    pub weight: f32,
    /// What of a pin is worth it.
    pub by: BoostBy,
}

/// What of a pin is worth a boost.
#[derive(Clone, Debug, PartialEq)]
pub enum BoostBy {
    /// The weight is that of a pin for which this holds.
    Condition(Condition),
    /// The weight is that of a pin of the present moment or a later one. It halves with each
    /// half-life of age: weight * 2^(-age / half-life). A pin without the timestamp has none.
    Decay(Decay),
}

/// By which moment a pin is old, and how fast that counts less.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decay {
    /// Name of a timestamp.
    pub attribute: String,
    /// At least a second.
    #[serde(with = "humantime_serde")]
    pub half_life: Duration,
}

/// At most `max` candidates of one word in any `places` places in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpacingRule {
    /// Name of a keyword. Pins that lack it are bound by nothing.
    pub attribute: String,
    /// At least 1.
    pub max: u32,
    /// Above `max`, at most [`MAX_PLACES`].
    pub places: u32,
}

/// Maximal marginal relevance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiversityRule {
    /// What likeness to candidates before is worth beside the rank: above 0, at most 1.
    pub strength: f32,
    /// Number of candidates that are compared for each place, 1 to [`MAX_AMONG`].
    #[serde(default = "DiversityRule::usual_among")]
    pub among: u32,
}

/// A part of reranking that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct InvalidReranking {
    /// What is refused, as `boosts[0].weight`.
    pub field: String,
    /// Why.
    pub reason: String,
}

impl Boost {
    fn check_range(&self, path: &str) -> Result<(), InvalidReranking> {
        let weights = |weight: &f32| weight.abs() <= MAX_BOOST && *weight != 0.0;
        let field = format!("{path}.weight");
        check(&field, &Some(self.weight), weights, "-2 to 2 and not 0")?;
        if let BoostBy::Decay(Decay { half_life, .. }) = &self.by
            && !(Duration::from_secs(1)..=MAX_HALF_LIFE).contains(half_life)
        {
            return Err(InvalidReranking {
                field: format!("{path}.decay.half_life"),
                reason: format!("is {half_life:?}, a second to a hundred years may be"),
            });
        }
        Ok(())
    }
}

impl SpacingRule {
    fn check_range(&self, path: &str) -> Result<(), InvalidReranking> {
        let Self { max, places, .. } = *self;
        let field = |part: &str| format!("{path}.{part}");
        check(&field("max"), &Some(max), |&max| max >= 1, "1 or more")?;
        let fits = |&places: &u32| places > max && places <= MAX_PLACES;
        let range = "above max and up to 1000";
        check(&field("places"), &Some(places), fits, range)
    }
}

impl DiversityRule {
    fn check_range(&self) -> Result<(), InvalidReranking> {
        let Self { strength, among } = *self;
        let strengths = |&strength: &f32| strength > 0.0 && strength <= 1.0;
        let range = "above 0 and up to 1";
        check("diversity.strength", &Some(strength), strengths, range)?;
        let counts = |among: &u32| (1..=MAX_AMONG).contains(among);
        check("diversity.among", &Some(among), counts, "1 to 1000")
    }

    /// Number of candidates that are compared for each place where nothing else is said.
    pub const USUAL_AMONG: u32 = 100;

    fn usual_among() -> u32 {
        Self::USUAL_AMONG
    }
}

impl RerankRules {
    /// Refuses values out of their range, and attributes that are not among `definitions` or
    /// of another type, by the first of them.
    pub fn check(&self, definitions: &[AttributeDefinition]) -> Result<(), InvalidReranking> {
        self.check_ranges()?;
        for (at, boost) in self.boosts.iter().enumerate() {
            let refused = |(part, reason): (&str, String)| InvalidReranking {
                field: format!("boosts[{at}].{part}"),
                reason,
            };
            match &boost.by {
                BoostBy::Condition(condition) => {
                    condition.check(definitions).map_err(|(part, reason)| {
                        refused((&format!("condition.{part}"), reason))
                    })?;
                }
                BoostBy::Decay(decay) => {
                    has_kind(&decay.attribute, AttributeKind::Timestamp, definitions)
                        .map_err(|reason| refused(("decay.attribute", reason)))?;
                }
            }
        }
        for (at, rule) in self.spacing.iter().enumerate() {
            has_kind(&rule.attribute, AttributeKind::Keyword, definitions).map_err(|reason| {
                InvalidReranking {
                    field: format!("spacing[{at}].attribute"),
                    reason,
                }
            })?;
        }
        Ok(())
    }

    /// Refuses values out of their range, whatever attributes there are.
    pub fn check_ranges(&self) -> Result<(), InvalidReranking> {
        let Self {
            min_score,
            popularity_weight,
            boosts,
            spacing,
            diversity,
        } = self;
        check(
            "min_score",
            min_score,
            |score| (-1.0..=1.0).contains(score),
            "-1 to 1",
        )?;
        let popularity = |weight: &f32| (0.0..=MAX_BOOST).contains(weight);
        check("popularity_weight", popularity_weight, popularity, "0 to 2")?;
        check_count("boosts", boosts.len(), MAX_BOOSTS)?;
        check_count("spacing", spacing.len(), MAX_SPACING_RULES)?;
        for (at, boost) in boosts.iter().enumerate() {
            boost.check_range(&format!("boosts[{at}]"))?;
        }
        for (at, rule) in spacing.iter().enumerate() {
            rule.check_range(&format!("spacing[{at}]"))?;
        }
        let mut diversity = diversity.iter();
        diversity.try_for_each(DiversityRule::check_range)
    }

    /// Whether ages count.
    pub fn counts_ages(&self) -> bool {
        let decays = |boost: &Boost| matches!(boost.by, BoostBy::Decay(_));
        self.boosts.iter().any(decays)
    }
}

/// Refuses the value of `field`, where it has one, unless it is `allowed`.
fn check<T: std::fmt::Display>(
    field: &str,
    value: &Option<T>,
    allowed: impl Fn(&T) -> bool,
    range: &str,
) -> Result<(), InvalidReranking> {
    match value {
        Some(value) if !allowed(value) => Err(InvalidReranking {
            field: field.to_owned(),
            reason: format!("is {value}, {range} may be"),
        }),
        _ => Ok(()),
    }
}

fn check_count(field: &str, found: usize, max: usize) -> Result<(), InvalidReranking> {
    if found <= max {
        return Ok(());
    }
    Err(InvalidReranking {
        field: field.to_owned(),
        reason: format!("has {found} rules, at most {max} may be"),
    })
}

/// Refuses `attribute` unless it is one of this type.
fn has_kind(
    attribute: &str,
    kind: AttributeKind,
    definitions: &[AttributeDefinition],
) -> Result<(), String> {
    match definitions.iter().find(|one| one.name == attribute) {
        Some(found) if found.kind == kind => Ok(()),
        Some(found) => Err(format!(
            "is {attribute:?}, which is {}, not {kind}",
            found.kind
        )),
        None => Err(AttributeDefinition::unknown(attribute, definitions)),
    }
}

/// A boost as JSON has it: one of the two beside the weight.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpelledBoost {
    weight: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<Condition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decay: Option<Decay>,
}

impl TryFrom<SpelledBoost> for Boost {
    type Error = String;

    fn try_from(spelled: SpelledBoost) -> Result<Self, String> {
        let SpelledBoost {
            weight,
            condition,
            decay,
        } = spelled;
        let by = match (condition, decay) {
            (Some(condition), None) => BoostBy::Condition(condition),
            (None, Some(decay)) => BoostBy::Decay(decay),
            _ => return Err("a boost needs one of condition, decay".to_owned()),
        };
        Ok(Self { weight, by })
    }
}

impl From<Boost> for SpelledBoost {
    fn from(Boost { weight, by }: Boost) -> Self {
        let (condition, decay) = match by {
            BoostBy::Condition(condition) => (Some(condition), None),
            BoostBy::Decay(decay) => (None, Some(decay)),
        };
        Self {
            weight,
            condition,
            decay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions() -> Vec<AttributeDefinition> {
        [
            "brand:keyword",
            "tags:keywords",
            "created_at:timestamp",
            "price:float",
        ]
        .map(|text| text.parse().expect("a definition"))
        .to_vec()
    }

    fn rules(text: &str) -> RerankRules {
        serde_json::from_str(text).expect("rules")
    }

    #[test]
    fn rules_are_spelled_as_json() {
        let text = concat!(
            r#"{"min_score":0.5,"popularity_weight":0.25,"boosts":[{"weight":0.125,"#,
            r#""condition":{"attribute":"brand","any_of":["acme"]}},{"weight":-0.5,"#,
            r#""decay":{"attribute":"created_at","half_life":"7days"}}],"#,
            r#""spacing":[{"attribute":"brand","max":2,"places":10}],"#,
            r#""diversity":{"strength":0.5,"among":20}}"#,
        );
        let all = rules(text);
        assert_eq!(serde_json::to_string(&all).expect("rules"), text);
        assert_eq!(all.check(&definitions()), Ok(()));
        assert!(all.counts_ages());
        let none = rules("{}");
        assert_eq!(none, RerankRules::default());
        assert_eq!(serde_json::to_string(&none).expect("rules"), "{}");
        let usual = rules(r#"{"diversity":{"strength":0.5}}"#).diversity;
        assert_eq!(
            usual.map(|rule| rule.among),
            Some(DiversityRule::USUAL_AMONG)
        );
        for bad in [
            r#"{"boosts":[{"weight":1}]}"#,
            r#"{"boost":[]}"#,
            r#"{"diversity":{}}"#,
        ] {
            serde_json::from_str::<RerankRules>(bad).expect_err(bad);
        }
    }

    #[test]
    fn what_is_out_of_range_or_does_not_fit_is_refused_by_its_field() {
        let decay = |attribute: &str, half_life: &str, weight: f32| {
            format!(
                r#"{{"boosts":[{{"weight":{weight},"decay":{{"attribute":"{attribute}","half_life":"{half_life}"}}}}]}}"#
            )
        };
        let spacing = |attribute: &str, max: u32, places: u32| {
            format!(
                r#"{{"spacing":[{{"attribute":"{attribute}","max":{max},"places":{places}}}]}}"#
            )
        };
        for (text, reason) in [
            (
                r#"{"min_score":1.5}"#.to_owned(),
                "min_score is 1.5, -1 to 1 may be",
            ),
            (
                r#"{"popularity_weight":-1}"#.to_owned(),
                "popularity_weight is -1, 0 to 2 may be",
            ),
            (
                decay("created_at", "7days", 3.0),
                "boosts[0].weight is 3, -2 to 2 and not 0 may be",
            ),
            (
                decay("created_at", "0s", 1.0),
                "boosts[0].decay.half_life is 0ns, a second to a hundred years may be",
            ),
            (
                decay("price", "1h", 1.0),
                "boosts[0].decay.attribute is \"price\", which is float, not timestamp",
            ),
            (
                spacing("tags", 1, 2),
                "spacing[0].attribute is \"tags\", which is keywords, not keyword",
            ),
            (
                spacing("color", 1, 2),
                "spacing[0].attribute \"color\" is no attribute of the catalog, which has brand, \
                 tags, created_at, price",
            ),
            (
                spacing("brand", 0, 2),
                "spacing[0].max is 0, 1 or more may be",
            ),
            (
                spacing("brand", 2, 2),
                "spacing[0].places is 2, above max and up to 1000 may be",
            ),
            (
                r#"{"diversity":{"strength":0}}"#.to_owned(),
                "diversity.strength is 0, above 0 and up to 1 may be",
            ),
            (
                r#"{"diversity":{"strength":1,"among":1001}}"#.to_owned(),
                "diversity.among is 1001, 1 to 1000 may be",
            ),
            (
                r#"{"boosts":[{"weight":1,"condition":{"attribute":"price","is":true}}]}"#
                    .to_owned(),
                "boosts[0].condition.is does not go with \"price\", which is float",
            ),
        ] {
            let refused = rules(&text).check(&definitions()).expect_err(&text);
            assert_eq!(refused.to_string(), reason);
        }
        let nan = RerankRules {
            min_score: Some(f32::NAN),
            ..RerankRules::default()
        };
        nan.check_ranges().expect_err("not a number");
        let many = RerankRules {
            boosts: vec![
                Boost {
                    weight: 1.0,
                    by: BoostBy::Condition(Condition {
                        attribute: "brand".to_owned(),
                        test: super::super::Test::Exists(true),
                    }),
                };
                MAX_BOOSTS + 1
            ],
            ..RerankRules::default()
        };
        let refused = many.check_ranges().expect_err("too many");
        assert_eq!(
            refused.to_string(),
            "boosts has 17 rules, at most 16 may be"
        );
    }
}
