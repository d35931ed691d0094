//! Settings of surfaces: the sections `surfaces.NAME`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::label::{self, is_name};
use crate::model::{
    Boost, BoostBy, Condition, DiversityRule, Filter, MAX_WORD, RerankRules, SpacingRule, Test,
};
use crate::recommend::MergeStrategy;
use crate::serve::request_limits::{
    CONDITION_WORDS, CONDITIONS, DEFAULT_MEDOIDS, MAX_LIMIT, MAX_MEDOIDS,
};
use crate::setting_rules::{InvalidSetting, require, require_in_range};

/// Greatest number of surfaces: each may become a label of metrics.
const MAX_SURFACES: usize = 256;

/// The section `surfaces` of the settings: surfaces by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct SurfaceSet(pub BTreeMap<String, SurfaceParams>);

/// One surface: what requests that name it leave unset, and what they may set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SurfaceParams {
    /// Number of candidates; none for the server's default.
    pub limit: Option<u32>,
    /// Greatest number of candidates; none for that of all requests.
    pub max_limit: Option<u32>,
    /// Number of sampled medoids; none for the server's default.
    pub medoids: Option<u32>,
    /// How many of them are the user's most important ones.
    pub top_medoids: Option<u32>,
    /// How lists are merged; none for the server's default.
    pub merge: Option<MergeStrategy>,
    /// What every answer satisfies, whatever else its request asks for.
    pub filter: Filter,
    /// What popularity is worth; none for the setting of all requests.
    pub popularity: Option<f32>,
    /// What else counts beside nearness.
    pub boosts: Vec<Boost>,
    /// Least score of a candidate.
    pub min_score: Option<f32>,
    /// How often a keyword may come within a few places.
    pub spacing: Vec<SpacingRule>,
    /// What candidates lose that are like those before them.
    pub diversity: Option<DiversityRule>,
    /// Calls a second on one server, 0 for as many as come.
    pub rate: u32,
    /// Fields that a request may set; none for all.
    pub may_override: Option<BTreeSet<RequestField>>,
}

/// A field of a request that a surface may keep for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestField {
    /// Number of candidates.
    Limit,
    /// Number of sampled medoids.
    Medoids,
    /// How many of them are the most important ones.
    TopMedoids,
    /// How lists are merged.
    MergeStrategy,
    /// A filter beside that of the surface.
    Filter,
    /// What popularity is worth.
    PopularityWeight,
    /// What else counts.
    Boosts,
    /// Least score of a candidate.
    MinScore,
    /// How often a keyword may come.
    Spacing,
    /// What candidates lose that are like others.
    Diversity,
}

impl SurfaceSet {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let found = format!("a table of {} surfaces", self.0.len());
        let rule = format!("of at most {MAX_SURFACES}");
        require("surfaces", found, self.0.len() <= MAX_SURFACES, &rule)?;
        self.0.iter().try_for_each(|(name, surface)| {
            let rule = format!("named by {}", label::RULE);
            let named = format!("a table with the name {name:?}");
            require("surfaces", named, is_name(name), &rule)?;
            surface.validate(name)
        })
    }
}

impl SurfaceParams {
    fn validate(&self, name: &str) -> Result<(), InvalidSetting> {
        let key = |key: &str| format!("surfaces.{name}.{key}");
        let most = self.max_limit.unwrap_or(MAX_LIMIT);
        require_in_range(key("max_limit"), most, 1..=MAX_LIMIT)?;
        let limit = self.limit.unwrap_or(1);
        require_in_range(key("limit"), limit, 1..=most)?;
        let medoids = self.medoids.unwrap_or(DEFAULT_MEDOIDS as u32);
        require_in_range(key("medoids"), medoids, 1..=MAX_MEDOIDS)?;
        let top = self.top_medoids.unwrap_or_default();
        require_in_range(key("top_medoids"), top, 0..=medoids)?;
        validate_filter(&self.filter, &key("filter"))?;
        self.validate_reranking(&key)
    }

    fn validate_reranking(&self, key: &dyn Fn(&str) -> String) -> Result<(), InvalidSetting> {
        self.rules().check_ranges().map_err(|invalid| {
            let field = match invalid.field.as_str() {
                "popularity_weight" => "popularity",
                field => field,
            };
            bad_part(key(field), &invalid.reason)
        })?;
        self.boosts.iter().enumerate().try_for_each(|(at, boost)| {
            let key = key(&format!("boosts[{at}].condition"));
            match &boost.by {
                BoostBy::Condition(condition) => validate_condition(condition, &key),
                BoostBy::Decay(_) => Ok(()),
            }
        })
    }

    /// Its reranking, as that of a request.
    pub(super) fn rules(&self) -> RerankRules {
        RerankRules {
            min_score: self.min_score,
            popularity_weight: self.popularity,
            boosts: self.boosts.clone(),
            spacing: self.spacing.clone(),
            diversity: self.diversity,
        }
    }

    /// Whether a request may set this field.
    pub(crate) fn lets_set(&self, field: RequestField) -> bool {
        let allowed = self.may_override.as_ref();
        allowed.is_none_or(|allowed| allowed.contains(&field))
    }
}

impl RequestField {
    /// All of them, in the order in which they are checked.
    pub(crate) const ALL: [Self; 10] = [
        Self::Limit,
        Self::Medoids,
        Self::TopMedoids,
        Self::MergeStrategy,
        Self::Filter,
        Self::PopularityWeight,
        Self::Boosts,
        Self::MinScore,
        Self::Spacing,
        Self::Diversity,
    ];

    /// Its name in messages and settings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Medoids => "medoids",
            Self::TopMedoids => "top_medoids",
            Self::MergeStrategy => "merge_strategy",
            Self::Filter => "filter",
            Self::PopularityWeight => "popularity_weight",
            Self::Boosts => "boosts",
            Self::MinScore => "min_score",
            Self::Spacing => "spacing",
            Self::Diversity => "diversity",
        }
    }
}

/// Refuses what no request could ask for. Whether the filter fits a catalog shows when one
/// is served.
fn validate_filter(filter: &Filter, key: &str) -> Result<(), InvalidSetting> {
    let conditions = filter.must.len() + filter.must_not.len();
    let rule = format!("of at most {}", CONDITIONS.max);
    let found = format!("a filter of {conditions} conditions");
    require(key.to_owned(), found, conditions <= CONDITIONS.max, &rule)?;
    for (list, conditions) in [("must", &filter.must), ("must_not", &filter.must_not)] {
        for (at, condition) in conditions.iter().enumerate() {
            validate_condition(condition, &format!("{key}.{list}[{at}]"))?;
        }
    }
    Ok(())
}

fn validate_condition(condition: &Condition, key: &str) -> Result<(), InvalidSetting> {
    if let Test::AnyOf(words) = &condition.test {
        let key = format!("{key}.any_of");
        let rule = format!("of 1 to {}", CONDITION_WORDS.max);
        let is_met = (1..=CONDITION_WORDS.max).contains(&words.len());
        let found = format!("a list of {} words", words.len());
        require(key.clone(), found, is_met, &rule)?;
        let longest = words.iter().map(String::len).max().unwrap_or_default();
        let found = format!("a list with a word of {longest} bytes");
        let rule = format!("of words of at most {MAX_WORD}");
        require(key, found, longest <= MAX_WORD, &rule)?;
    }
    let checked = condition.check_range();
    checked.map_err(|(part, reason)| bad_part(format!("{key}.{part}"), &reason))
}

/// A part of a rule that is refused for a reason of its own.
fn bad_part(key: String, reason: &str) -> InvalidSetting {
    InvalidSetting {
        key: key.into(),
        value: "refused".to_owned(),
        rule: format!("allowed: it {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(json: &str) -> Result<SurfaceParams, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn refusal(json: &str) -> String {
        let surfaces = SurfaceSet([("home".to_owned(), surface(json).expect(json))].into());
        surfaces.validate().expect_err(json).to_string()
    }

    #[test]
    fn a_surface_has_the_ranges_of_a_request() {
        let greatest = r#"{"limit": 2000, "max_limit": 2000, "medoids": 20, "top_medoids": 20,
            "merge": "global_top", "rate": 4000000000, "may_override": ["limit", "filter"]}"#;
        for good in [
            "{}",
            greatest,
            r#"{"limit": 1, "medoids": 1, "top_medoids": 0}"#,
        ] {
            let surfaces = SurfaceSet([("home".to_owned(), surface(good).expect(good))].into());
            surfaces.validate().expect(good);
        }
        for (json, said) in [
            (
                r#"{"limit": 0}"#,
                "surfaces.home.limit is 0, but must be from 1 to 2000",
            ),
            (
                r#"{"limit": 2001}"#,
                "surfaces.home.limit is 2001, but must be from 1 to 2000",
            ),
            (
                r#"{"limit": 51, "max_limit": 50}"#,
                "surfaces.home.limit is 51, but must be from 1 to 50",
            ),
            (
                r#"{"max_limit": 0}"#,
                "surfaces.home.max_limit is 0, but must be from 1 to 2000",
            ),
            (
                r#"{"max_limit": 2001}"#,
                "surfaces.home.max_limit is 2001, but must be from 1 to 2000",
            ),
            (
                r#"{"medoids": 0}"#,
                "surfaces.home.medoids is 0, but must be from 1 to 20",
            ),
            (
                r#"{"medoids": 21}"#,
                "surfaces.home.medoids is 21, but must be from 1 to 20",
            ),
            (
                r#"{"top_medoids": 4}"#,
                "surfaces.home.top_medoids is 4, but must be from 0 to 3",
            ),
            (
                r#"{"filter": {"must": [{"attribute": "a", "any_of": []}]}}"#,
                "surfaces.home.filter.must[0].any_of is a list of 0 words, but must be of 1 to 1000",
            ),
            (
                r#"{"filter": {"must_not": [{"attribute": "a", "range": {"gt": 1, "gte": 1}}]}}"#,
                "surfaces.home.filter.must_not[0].range.gt is refused, but must be allowed: it stands \
                 beside gte, and one of the two may be",
            ),
            (
                r#"{"popularity": 3}"#,
                "surfaces.home.popularity is refused, but must be allowed: it is 3, 0 to 2 may be",
            ),
            (
                r#"{"boosts": [{"weight": 1, "decay": {"attribute": "a", "half_life": "1day"}},
                    {"weight": 0, "condition": {"attribute": "a", "is": true}}]}"#,
                "surfaces.home.boosts[1].weight is refused, but must be allowed: it is 0, -2 to 2 \
                 and not 0 may be",
            ),
            (
                r#"{"boosts": [{"weight": 1, "condition": {"attribute": "a", "any_of": []}}]}"#,
                "surfaces.home.boosts[0].condition.any_of is a list of 0 words, but must be of 1 to 1000",
            ),
        ] {
            assert_eq!(refusal(json), said);
        }
        let long = format!(
            r#"{{"filter": {{"must": [{{"attribute": "a", "any_of": ["{}"]}}]}}}}"#,
            "x".repeat(257)
        );
        assert!(refusal(&long).contains("a word of 257 bytes"));
        let conditions = [r#"{"attribute": "a", "is": true}"#; 33].join(",");
        let many = format!(r#"{{"filter": {{"must": [{conditions}]}}}}"#);
        assert!(refusal(&many).starts_with("surfaces.home.filter is a filter of 33 conditions"));
    }

    #[test]
    fn unknown_words_are_refused() {
        for bad in [
            r#"{"limits": 3}"#,
            r#"{"merge": "shuffle"}"#,
            r#"{"may_override": ["user_id"]}"#,
            r#"{"filter": {"should": []}}"#,
        ] {
            surface(bad).expect_err(bad);
        }
    }

    #[test]
    fn names_and_their_number_are_limited() {
        let named = |names: &mut dyn Iterator<Item = String>| {
            SurfaceSet(names.map(|name| (name, SurfaceParams::default())).collect()).validate()
        };
        named(&mut (0..256).map(|n| format!("s-{n}"))).expect("as many as may be");
        let many = named(&mut (0..257).map(|n| format!("s-{n}"))).expect_err("too many");
        assert!(many.to_string().contains("257 surfaces"), "{many}");
        let bad = named(&mut ["home feed".to_owned()].into_iter()).expect_err("a blank");
        assert_eq!(
            bad.to_string(),
            "surfaces is a table with the name \"home feed\", but must be named by 1 to 64 of \
             a-z A-Z 0-9 _ - ."
        );
    }

    #[test]
    fn a_surface_lets_all_be_set_or_what_it_lists() {
        let open = SurfaceParams::default();
        assert!(RequestField::ALL.iter().all(|&field| open.lets_set(field)));
        let listed = surface(r#"{"may_override": ["merge_strategy"]}"#).expect("a surface");
        for field in RequestField::ALL {
            assert_eq!(listed.lets_set(field), field.name() == "merge_strategy");
            let named: RequestField = serde_json::from_value(field.name().into()).expect("a field");
            assert_eq!(named, field);
        }
    }
}
