//! Filters: which pins an answer may contain, by their attributes.

use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::attribute::{AttributeDefinition, AttributeKind, AttributeValue, PinAttributes};

/// Which pins an answer may contain: those for which all of `must` hold, and none of
/// `must_not`. Without conditions all pins may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// All of these hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must: Vec<Condition>,
    /// None of these holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must_not: Vec<Condition>,
}

/// What one attribute of a pin must be. It does not hold for a pin that lacks the
/// attribute, but for [`Test::Exists`] of false.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "SpelledCondition", into = "SpelledCondition")]
pub struct Condition {
    /// Name of the attribute.
    pub attribute: String,
    /// What its value must be.
    pub test: Test,
}

/// What the value of an attribute must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// One of its words is one of these: ascending, each once.
    AnyOf(Vec<String>),
    /// It is a number in this range.
    Range(Range),
    /// It is this bool.
    Is(bool),
    /// The pin has the attribute, or lacks it.
    Exists(bool),
}

/// A range of numbers; those of a timestamp are seconds since 1970. Without any bound
/// it holds every number.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// At least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gte: Option<f64>,
    /// Above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gt: Option<f64>,
    /// At most this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lte: Option<f64>,
    /// Below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lt: Option<f64>,
}

/// A filter that does not fit the attributes of a catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidFilter {
    /// The part of the filter, such as `must[1].attribute`.
    pub field: String,
    /// What is allowed.
    pub reason: String,
}

impl Filter {
    /// Whether all pins may be.
    pub fn is_empty(&self) -> bool {
        self.must.is_empty() && self.must_not.is_empty()
    }

    /// Bytes of memory that it takes, nearly.
    pub fn bytes(&self) -> usize {
        let bytes = |condition: &Condition| {
            let words = match &condition.test {
                Test::AnyOf(words) => words
                    .iter()
                    .map(|word| size_of::<String>() + word.len())
                    .sum(),
                Test::Range(_) | Test::Is(_) | Test::Exists(_) => 0,
            };
            size_of::<Condition>() + condition.attribute.len() + words
        };
        self.must.iter().chain(&self.must_not).map(bytes).sum()
    }

    /// The pins for which one condition holds.
    pub fn of(condition: Condition) -> Self {
        Self {
            must: vec![condition],
            must_not: Vec::new(),
        }
    }

    /// Whether a pin of these attributes may be.
    pub fn selects(&self, attributes: &PinAttributes) -> bool {
        let holds = |condition: &Condition| condition.holds(attributes);
        self.must.iter().all(holds) && !self.must_not.iter().any(holds)
    }

    /// Refuses conditions on attributes that are not among `definitions`, or are of a
    /// type that has no such test, by the first of them.
    pub fn check(&self, definitions: &[AttributeDefinition]) -> Result<(), InvalidFilter> {
        let must = self.must.iter().enumerate().map(|one| ("must", one));
        let must_not = self
            .must_not
            .iter()
            .enumerate()
            .map(|one| ("must_not", one));
        must.chain(must_not)
            .try_for_each(|(list, (at, condition))| {
                let invalid = |(part, reason)| InvalidFilter {
                    field: format!("{list}[{at}].{part}"),
                    reason,
                };
                condition.check(definitions).map_err(invalid)
            })
    }
}

impl Condition {
    /// Whether it holds for a pin of these attributes.
    pub fn holds(&self, attributes: &PinAttributes) -> bool {
        let value = attributes.get(&self.attribute);
        match (&self.test, value) {
            (Test::Exists(exists), value) => *exists == value.is_some(),
            (Test::AnyOf(any), Some(AttributeValue::Words(words))) => {
                words.iter().any(|word| any.binary_search(word).is_ok())
            }
            (Test::Range(range), Some(AttributeValue::Number(number))) => range.contains(*number),
            (Test::Is(is), Some(AttributeValue::Bool(value))) => is == value,
            (Test::AnyOf(_) | Test::Range(_) | Test::Is(_), _) => false,
        }
    }

    /// The part that does not fit `definitions`, and why.
    pub(super) fn check(
        &self,
        definitions: &[AttributeDefinition],
    ) -> Result<(), (&'static str, String)> {
        let Self { attribute, test } = self;
        let defined = definitions.iter().find(|one| one.name == *attribute);
        let Some(AttributeDefinition { kind, .. }) = defined else {
            let reason = AttributeDefinition::unknown(attribute, definitions);
            return Err(("attribute", reason));
        };
        let (part, fits) = match test {
            Test::AnyOf(_) => ("any_of", kind.has_words()),
            Test::Range(_) => ("range", kind.is_number()),
            Test::Is(_) => ("is", *kind == AttributeKind::Bool),
            Test::Exists(_) => ("exists", true),
        };
        if !fits {
            let reason = format!("does not go with {attribute:?}, which is {kind}");
            return Err((part, reason));
        }
        self.check_range()
    }

    /// Refuses a range that fits no catalog: the bound, and why.
    pub fn check_range(&self) -> Result<(), (&'static str, String)> {
        match &self.test {
            Test::Range(range) => range
                .check()
                .map_err(|(bound, reason)| (bound, reason.to_owned())),
            Test::AnyOf(_) | Test::Is(_) | Test::Exists(_) => Ok(()),
        }
    }
}

impl Test {
    /// Words in any order; those that stand there twice count once.
    pub fn any_of(mut words: Vec<String>) -> Self {
        words.sort_unstable();
        words.dedup();
        Self::AnyOf(words)
    }
}

impl Range {
    /// Whether `number` is in it.
    pub fn contains(&self, number: f64) -> bool {
        self.gte.is_none_or(|bound| number >= bound)
            && self.gt.is_none_or(|bound| number > bound)
            && self.lte.is_none_or(|bound| number <= bound)
            && self.lt.is_none_or(|bound| number < bound)
    }

    /// Refuses a bound that is no number, and two bounds of one end.
    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let Self { gte, gt, lte, lt } = *self;
        let named = [
            ("range.gte", gte),
            ("range.gt", gt),
            ("range.lte", lte),
            ("range.lt", lt),
        ];
        let no_number = named
            .into_iter()
            .find(|(_, bound)| bound.is_some_and(f64::is_nan));
        if let Some((part, _)) = no_number {
            return Err((part, "is not a number"));
        }
        if gte.is_some() && gt.is_some() {
            return Err(("range.gt", "stands beside gte, and one of the two may be"));
        }
        if lte.is_some() && lt.is_some() {
            return Err(("range.lt", "stands beside lte, and one of the two may be"));
        }
        Ok(())
    }

    /// The bounds as bits, which tell ranges apart.
    fn bits(&self) -> [Option<u64>; 4] {
        [self.gte, self.gt, self.lte, self.lt].map(|bound| bound.map(f64::to_bits))
    }
}

impl PartialEq for Range {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Range {}

impl Hash for Range {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

/// A condition as JSON has it: one of the tests beside the attribute.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpelledCondition {
    attribute: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    any_of: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<Range>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exists: Option<bool>,
}

impl TryFrom<SpelledCondition> for Condition {
    type Error = String;

    fn try_from(spelled: SpelledCondition) -> Result<Self, String> {
        let SpelledCondition {
            attribute,
            any_of,
            range,
            is,
            exists,
        } = spelled;
        let tests = [
            any_of.map(Test::any_of),
            range.map(Test::Range),
            is.map(Test::Is),
            exists.map(Test::Exists),
        ];
        let mut tests = tests.into_iter().flatten();
        match (tests.next(), tests.next()) {
            (Some(test), None) => Ok(Self { attribute, test }),
            _ => Err(format!(
                "the condition on {attribute:?} needs one of any_of, range, is, exists"
            )),
        }
    }
}

impl From<Condition> for SpelledCondition {
    fn from(Condition { attribute, test }: Condition) -> Self {
        let mut spelled = Self {
            attribute,
            any_of: None,
            range: None,
            is: None,
            exists: None,
        };
        match test {
            Test::AnyOf(words) => spelled.any_of = Some(words),
            Test::Range(range) => spelled.range = Some(range),
            Test::Is(is) => spelled.is = Some(is),
            Test::Exists(exists) => spelled.exists = Some(exists),
        }
        spelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions() -> Vec<AttributeDefinition> {
        ["language:keyword", "price:float", "safe:bool"]
            .map(|text| text.parse().expect("a definition"))
            .to_vec()
    }

    fn filter(text: &str) -> Filter {
        serde_json::from_str(text).expect("a filter")
    }

    #[test]
    fn a_filter_is_spelled_as_json_and_selects() {
        let text = concat!(
            r#"{"must":[{"attribute":"language","any_of":["de","fr"]},"#,
            r#"{"attribute":"price","range":{"gte":1.0,"lt":2.0}}],"#,
            r#""must_not":[{"attribute":"safe","is":false}]}"#,
        );
        let filter = filter(text);
        assert_eq!(serde_json::to_string(&filter).expect("a filter"), text);
        filter.check(&definitions()).expect("a filter that fits");
        let pin = |language: &str, price: f64, safe: Option<bool>| {
            let safe = safe.map(|safe| ("safe".to_owned(), AttributeValue::Bool(safe)));
            let others = [
                (
                    "language".to_owned(),
                    AttributeValue::words(vec![language.to_owned()]),
                ),
                ("price".to_owned(), AttributeValue::Number(price)),
            ];
            PinAttributes::new(others.into_iter().chain(safe))
        };
        assert!(filter.selects(&pin("de", 1.0, None)));
        assert!(filter.selects(&pin("fr", 1.5, Some(true))));
        assert!(!filter.selects(&pin("fr", 1.5, Some(false))));
        assert!(!filter.selects(&pin("en", 1.5, None)));
        assert!(!filter.selects(&pin("de", 2.0, None)));
        assert!(!filter.selects(&PinAttributes::default()));
        assert!(Filter::default().selects(&PinAttributes::default()));
    }

    #[test]
    fn what_a_pin_lacks_holds_for_no_test_but_that() {
        let lacking = PinAttributes::default();
        let lacks = r#"{"must":[{"attribute":"price","exists":false}]}"#;
        assert!(filter(lacks).selects(&lacking));
        assert!(!filter(&lacks.replace("false", "true")).selects(&lacking));
        let any_price = r#"{"must":[{"attribute":"price","range":{}}]}"#;
        assert!(!filter(any_price).selects(&lacking));
    }

    #[test]
    fn a_filter_that_does_not_fit_the_catalog_is_refused_by_its_part() {
        for (text, reason) in [
            (
                r#"{"must":[{"attribute":"safe","is":true},{"attribute":"brand","is":true}]}"#,
                "must[1].attribute: \"brand\" is no attribute of the catalog, which has \
                 language, price, safe",
            ),
            (
                r#"{"must_not":[{"attribute":"price","any_of":["1"]}]}"#,
                "must_not[0].any_of: does not go with \"price\", which is float",
            ),
            (
                r#"{"must":[{"attribute":"price","range":{"gt":1,"gte":1}}]}"#,
                "must[0].range.gt: stands beside gte, and one of the two may be",
            ),
        ] {
            let error = filter(text).check(&definitions()).expect_err("a reason");
            assert_eq!(error.to_string(), reason);
        }
    }

    #[test]
    fn a_condition_has_one_test_and_no_unknown_part() {
        for text in [
            r#"{"must":[{"attribute":"safe"}]}"#,
            r#"{"must":[{"attribute":"safe","is":true,"exists":true}]}"#,
            r#"{"must":[{"attribute":"safe","iss":true}]}"#,
            r#"{"should":[]}"#,
        ] {
            assert!(serde_json::from_str::<Filter>(text).is_err(), "{text}");
        }
    }
}
