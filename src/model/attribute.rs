//! Attributes of pins: typed values beside the vector, which filters and scores go by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Greatest length of the name of an attribute, in bytes. The least is 1.
pub const MAX_ATTRIBUTE_NAME: usize = 64;
/// Greatest length of a word, in bytes. The least is 1.
pub const MAX_WORD: usize = 256;
/// Greatest number of words that one pin has in one attribute.
pub const MAX_WORDS_OF_PIN: usize = 256;
/// Greatest number of bytes of all attributes of one pin, by [`PinAttributes::bytes`].
pub const MAX_ATTRIBUTE_BYTES: usize = 8_192;
/// Numbers from 0 to this one, and their negatives, are exact and the only ones that are
/// spelled so: 2^53 - 1.
const MAX_EXACT_INTEGER: f64 = 9_007_199_254_740_991.0;

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeKind {
    /// One word of a vocabulary, such as a language.
    Keyword,
    /// Any number of words, such as the countries where an item is sold.
    Keywords,
    /// Yes or no.
    Bool,
    /// A whole number of at most 53 bits.
    Int,
    /// A finite number.
    Float,
    /// A moment, in seconds since 1970.
    Timestamp,
}

/// An attribute that the pins of a catalog may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeDefinition {
    /// Its name: that of the column that it was read from.
    pub name: String,
    /// The type of its values.
    pub kind: AttributeKind,
}

/// The value of one attribute of one pin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// Of [`AttributeKind::Bool`].
    Bool(bool),
    /// Of [`AttributeKind::Int`], [`AttributeKind::Float`] and
    /// [`AttributeKind::Timestamp`], finite.
    Number(f64),
    /// Of [`AttributeKind::Keyword`], then one, and of [`AttributeKind::Keywords`], then any
    /// number but 0: ascending, each once.
    Words(Vec<String>),
}

/// The attributes of one pin, by ascending name; those that it lacks are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<(String, AttributeValue)>")]
pub struct PinAttributes(Vec<(String, AttributeValue)>);

/// Why a value is none of an attribute.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidAttribute {
    /// A word of a length that is not allowed.
    #[error("a word has {0} bytes, from 1 to {MAX_WORD} may be")]
    WordLength(usize),
    /// Too many words.
    #[error("has {0} words, at most {MAX_WORDS_OF_PIN} may be")]
    TooManyWords(usize),
    /// Several words, or none, where one should be.
    #[error("has {0} words where a keyword is one")]
    NotOneWord(usize),
    /// A number that is not finite.
    #[error("{0} is not finite")]
    NotFinite(f64),
    /// A number that is no whole number, or too large to be exact.
    #[error("{0} is no whole number of at most 53 bits")]
    NotWhole(f64),
    /// A value of another type.
    #[error("is {found}, and the attribute is {expected}")]
    Kind {
        /// What the value is.
        found: &'static str,
        /// The type of the attribute.
        expected: AttributeKind,
    },
}

impl AttributeKind {
    /// All types, by name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("keyword", Self::Keyword),
        ("keywords", Self::Keywords),
        ("bool", Self::Bool),
        ("int", Self::Int),
        ("float", Self::Float),
        ("timestamp", Self::Timestamp),
    ];

    /// Whether values are words.
    pub fn has_words(self) -> bool {
        matches!(self, Self::Keyword | Self::Keywords)
    }

    /// Whether values are numbers.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Timestamp)
    }

    /// Refuses `value` unless it is one of this type.
    pub fn check(self, value: &AttributeValue) -> Result<(), InvalidAttribute> {
        let is_whole = |number: f64| number.fract() == 0.0 && number.abs() <= MAX_EXACT_INTEGER;
        match (self, value) {
            (Self::Keyword | Self::Keywords, AttributeValue::Words(words)) => {
                self.check_words(words)
            }
            (Self::Bool, AttributeValue::Bool(_)) => Ok(()),
            (Self::Int | Self::Float | Self::Timestamp, &AttributeValue::Number(number)) => {
                if !number.is_finite() {
                    return Err(InvalidAttribute::NotFinite(number));
                }
                if self == Self::Int && !is_whole(number) {
                    return Err(InvalidAttribute::NotWhole(number));
                }
                Ok(())
            }
            (expected, value) => Err(InvalidAttribute::Kind {
                found: value.describe(),
                expected,
            }),
        }
    }

    fn check_words(self, words: &[String]) -> Result<(), InvalidAttribute> {
        if self == Self::Keyword && words.len() != 1 {
            return Err(InvalidAttribute::NotOneWord(words.len()));
        }
        if words.len() > MAX_WORDS_OF_PIN {
            return Err(InvalidAttribute::TooManyWords(words.len()));
        }
        let lengths = words.iter().map(String::len);
        match lengths
            .into_iter()
            .find(|length| !(1..=MAX_WORD).contains(length))
        {
            Some(length) => Err(InvalidAttribute::WordLength(length)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for AttributeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(_, kind)| kind == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl FromStr for AttributeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.iter().find(|(name, _)| *name == text);
        named.map(|&(_, kind)| kind).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            format!("{text:?} is no type of an attribute: {names}")
        })
    }
}

/// `NAME:TYPE`, such as `language:keyword`.
impl AttributeDefinition {
    /// Why `name` is refused, which is none of `definitions`.
    pub(super) fn unknown(name: &str, definitions: &[Self]) -> String {
        let names: Vec<&str> = definitions.iter().map(|one| one.name.as_str()).collect();
        let known = match &*names {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        format!("{name:?} is no attribute of the catalog, which has {known}")
    }
}

impl FromStr for AttributeDefinition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, kind) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("{text:?} is not NAME:TYPE"))?;
        if !(1..=MAX_ATTRIBUTE_NAME).contains(&name.len()) {
            return Err(format!(
                "the name {name:?} has {} bytes, from 1 to {MAX_ATTRIBUTE_NAME} may be",
                name.len()
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            kind: kind.parse()?,
        })
    }
}

impl AttributeValue {
    /// Words in any order; those that stand there twice count once.
    pub fn words(mut words: Vec<String>) -> Self {
        words.sort_unstable();
        words.dedup();
        Self::Words(words)
    }

    /// Bytes of its words, or of another value.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bool(_) | Self::Number(_) => size_of::<f64>(),
            Self::Words(words) => words.iter().map(String::len).sum(),
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a bool",
            Self::Number(_) => "a number",
            Self::Words(_) => "words",
        }
    }
}

impl From<Vec<(String, AttributeValue)>> for PinAttributes {
    fn from(attributes: Vec<(String, AttributeValue)>) -> Self {
        Self::new(attributes)
    }
}

impl PinAttributes {
    /// Attributes in any order. Of several of one name the last counts.
    pub fn new(attributes: impl IntoIterator<Item = (String, AttributeValue)>) -> Self {
        let by_name: std::collections::BTreeMap<_, _> = attributes.into_iter().collect();
        Self(by_name.into_iter().collect())
    }

    /// Whether the pin has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of names, words and other values.
    pub fn bytes(&self) -> usize {
        let bytes = |(name, value): &(String, AttributeValue)| name.len() + value.bytes();
        self.0.iter().map(bytes).sum()
    }

    /// The value of the attribute `name`; none where the pin lacks it.
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        let at = self.0.binary_search_by(|(own, _)| own.as_str().cmp(name));
        at.ok().map(|at| &self.0[at].1)
    }

    /// Those that a pin of a catalog of these `definitions` can have.
    #[must_use]
    pub fn fitting(&self, definitions: &[AttributeDefinition]) -> Self {
        let fits = |(name, value): &&(String, AttributeValue)| {
            let mut defined = definitions.iter().filter(|one| one.name == *name);
            defined.any(|one| one.kind.check(value).is_ok())
        };
        Self(self.0.iter().filter(fits).cloned().collect())
    }

    /// All of them, by ascending name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_a_name_and_a_type() {
        let parsed: AttributeDefinition = "shop:price:float".parse().expect("a definition");
        let expected = AttributeDefinition {
            name: "shop:price".to_owned(),
            kind: AttributeKind::Float,
        };
        assert_eq!(parsed, expected);
        for (text, reason) in [
            ("price", "\"price\" is not NAME:TYPE"),
            (":int", "the name \"\" has 0 bytes, from 1 to 64 may be"),
            (
                "price:double",
                "\"double\" is no type of an attribute: keyword, keywords, bool, int, float, \
                 timestamp",
            ),
        ] {
            assert_eq!(text.parse::<AttributeDefinition>(), Err(reason.to_owned()));
        }
    }

    #[test]
    fn values_that_are_none_of_their_type_are_refused() {
        let words = |words: &[&str]| {
            AttributeValue::words(words.iter().map(|&word| word.to_owned()).collect())
        };
        let many: Vec<String> = (0..257).map(|word| word.to_string()).collect();
        let refused = [
            (
                AttributeKind::Keyword,
                words(&["a", "b"]),
                "has 2 words where a keyword is one",
            ),
            (
                AttributeKind::Keyword,
                words(&[""]),
                "a word has 0 bytes, from 1 to 256 may be",
            ),
            (
                AttributeKind::Keywords,
                AttributeValue::words(many),
                "has 257 words, at most 256 may be",
            ),
            (
                AttributeKind::Bool,
                AttributeValue::Number(1.0),
                "is a number, and the attribute is bool",
            ),
            (
                AttributeKind::Float,
                AttributeValue::Number(f64::INFINITY),
                "inf is not finite",
            ),
            (
                AttributeKind::Int,
                AttributeValue::Number(0.5),
                "0.5 is no whole number of at most 53 bits",
            ),
        ];
        for (kind, value, reason) in refused {
            let error = kind.check(&value).expect_err("a reason");
            assert_eq!(error.to_string(), reason);
        }
        let allowed = [
            (AttributeKind::Keyword, words(&["a"])),
            (AttributeKind::Keywords, words(&["b", "a", "b"])),
            (AttributeKind::Bool, AttributeValue::Bool(false)),
            (AttributeKind::Int, AttributeValue::Number(-7.0)),
            (AttributeKind::Timestamp, AttributeValue::Number(0.5)),
        ];
        for (kind, value) in allowed {
            assert_eq!(kind.check(&value), Ok(()));
        }
    }

    #[test]
    fn attributes_of_a_pin_are_found_by_name_and_spelled_as_json() {
        let attributes = PinAttributes::new([
            ("size".to_owned(), AttributeValue::Number(0.1)),
            (
                "brand".to_owned(),
                AttributeValue::words(vec!["b".to_owned()]),
            ),
            ("safe".to_owned(), AttributeValue::Bool(true)),
        ]);
        assert_eq!(attributes.get("size"), Some(&AttributeValue::Number(0.1)));
        assert_eq!(attributes.get("color"), None);
        let text = serde_json::to_string(&attributes).expect("attributes");
        assert_eq!(text, r#"[["brand",["b"]],["safe",true],["size",0.1]]"#);
        let read: PinAttributes = serde_json::from_str(&text).expect("attributes");
        assert_eq!(read, attributes);
    }
}
