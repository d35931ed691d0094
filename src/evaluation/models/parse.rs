//! Names of models: `name`, or `name:key=value:key=value`.
//!
//! A name is a base with its own defaults, or a shorthand for a base with some keys. A
//! key that means nothing for a base is refused, so that no row of a table claims more
//! than was done.

use std::str::FromStr;

use super::model::{Method, Model, Quota, Representative, Source};
use crate::recommend::MergeStrategy;

/// The models that are compared where a command names none.
pub const DEFAULT_MODELS: [&str; 8] = [
    "pinnersage",
    "pinnersage_1",
    "last_pin",
    "decay_average",
    "kmeans_5",
    "complete_linkage",
    "ward_centroid",
    "popularity",
];

/// Number of centers of k-means, and of global clusters, where a name does not say.
const DEFAULT_CENTERS: usize = 5;
const DEFAULT_GLOBAL_CLUSTERS: usize = 100;
/// Maximum of medoids, pages, centers and days.
const MAX_COUNT: usize = 1_000;

/// A name for a base with keys.
struct Shorthand {
    name: &'static str,
    base: &'static str,
    keys: &'static str,
}

const fn shorthand(name: &'static str, base: &'static str, keys: &'static str) -> Shorthand {
    Shorthand { name, base, keys }
}

const SHORTHANDS: [Shorthand; 9] = [
    shorthand("pinnersage_1", "pinnersage", "medoids=1"),
    shorthand("pinnersage_2", "pinnersage", "medoids=2"),
    shorthand("pinnersage_5", "pinnersage", "medoids=5"),
    shorthand("pinnersage_10", "pinnersage", "medoids=10"),
    shorthand("kmeans_5", "kmeans", "k=5"),
    shorthand("ward_centroid", "pinnersage", "of=centroid"),
    shorthand("global_top", "pinnersage", "merge=global_top"),
    shorthand("equal_quota", "pinnersage", "quota=equal"),
    shorthand("knn_embed", "global_clusters", "of=centroid"),
];

/// A kind of model.
struct Base {
    name: &'static str,
    source: Source,
    /// Its keys beside those that it shares with other bases.
    keys: &'static [&'static str],
}

const fn base(name: &'static str, source: Source, keys: &'static [&'static str]) -> Base {
    Base { name, source, keys }
}

const BASES: [Base; 8] = [
    base(
        "pinnersage",
        Source::Clusters(Method::Ward),
        &["alpha", "growth", "fold_in"],
    ),
    base(
        "kmeans",
        Source::Clusters(Method::KMeans(DEFAULT_CENTERS)),
        &["k"],
    ),
    base(
        "complete_linkage",
        Source::Clusters(Method::CompleteLinkage),
        &["alpha"],
    ),
    base(
        "global_clusters",
        Source::Clusters(Method::GlobalClusters(DEFAULT_GLOBAL_CLUSTERS)),
        &["k"],
    ),
    base("last_pin", Source::LastPin, &[]),
    base("decay_average", Source::DecayAverage, &["lambda"]),
    base("popularity", Source::Popularity, &[]),
    base("random", Source::Random, &[]),
];

/// The keys of all bases that cluster.
const KEYS_OF_CLUSTERS: [&str; 6] = ["medoids", "top", "lambda", "merge", "quota", "of"];

/// Why a text does not name a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// No model has this name.
    #[error("model {model:?} is not known; there are {}", names().join(", "))]
    Name {
        /// The unknown name.
        model: String,
    },
    /// The model does not have this key.
    #[error("model {model:?} has no key {key:?}; it has {}", keys.join(", "))]
    Key {
        /// The model.
        model: String,
        /// The key.
        key: String,
        /// The keys of the model.
        keys: Vec<&'static str>,
    },
    /// The key does not take this value.
    #[error("model {model:?}: {key} is {value:?}, but must be {rule}")]
    Value {
        /// The model.
        model: String,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The values that are allowed.
        rule: &'static str,
    },
    /// Recent actions cannot be folded into centroids.
    #[error("model {model:?}: fold_in=on needs of=medoid, as a centroid is no pin")]
    FoldIn {
        /// The model.
        model: String,
    },
}

fn names() -> Vec<&'static str> {
    let bases = BASES.iter().map(|base| base.name);
    bases
        .chain(SHORTHANDS.iter().map(|shorthand| shorthand.name))
        .collect()
}

impl Base {
    fn find(name: &str) -> Option<&'static Self> {
        BASES.iter().find(|base| base.name == name)
    }

    /// All keys of the base.
    fn all_keys(&self) -> Vec<&'static str> {
        let mut keys = self.keys.to_vec();
        if matches!(self.source, Source::Clusters(_)) {
            keys.extend(KEYS_OF_CLUSTERS);
        }
        if self.source != Source::Random {
            keys.push("stale");
        }
        if !self.source.is_ranking() {
            keys.extend(["pages", "popularity", "rerank"]);
        }
        keys.push("filter");
        keys
    }
}

impl FromStr for Model {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let (name, written) = text.split_once(':').unwrap_or((text, ""));
        let shorthand = SHORTHANDS.iter().find(|shorthand| shorthand.name == name);
        let (base, implied) = shorthand.map_or((name, ""), |long| (long.base, long.keys));
        let base = Base::find(base).ok_or_else(|| ModelError::Name {
            model: name.to_owned(),
        })?;
        let keys = base.all_keys();
        let mut model = Self::with_defaults(text, base.source);
        let pairs = implied.split(':').chain(written.split(':'));
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !keys.contains(&key) {
                return Err(unknown_key(name, key, keys));
            }
            model
                .set(key, value)
                .map_err(|rule| bad_value(name, key, value, rule))?;
        }
        if model.fold_in && model.representative == Representative::Centroid {
            return Err(ModelError::FoldIn { model: model.name });
        }
        Ok(model)
    }
}

fn unknown_key(model: &str, key: &str, keys: Vec<&'static str>) -> ModelError {
    ModelError::Key {
        model: model.to_owned(),
        key: key.to_owned(),
        keys,
    }
}

fn bad_value(model: &str, key: &str, value: &str, rule: &'static str) -> ModelError {
    ModelError::Value {
        model: model.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
        rule,
    }
}

impl Model {
    /// Sets a key that the model has. The error is the rule that `value` breaks.
    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "medoids" => self.medoids = count(value)?,
            "top" => self.top = count(value)?,
            "pages" => self.pages = count(value)?,
            "k" => self.set_k(count(value)?),
            "alpha" => self.alpha = Some(number(value)?),
            "growth" => self.growth = number(value)?,
            "popularity" => self.popularity = Some(number(value)? as f32),
            "lambda" => self.lambda_per_day = Some(number(value)?),
            "merge" => self.merge = merge(value)?,
            "quota" => self.quota = quota(value)?,
            "of" => self.representative = representative(value)?,
            "stale" => self.stale_days = days(value)?,
            "filter" => self.filter = Some(label(value)?),
            "rerank" => self.rerank = Some(label(value)?),
            _ => self.fold_in = one_of(value, [("on", true), ("off", false)], "on or off")?,
        }
        Ok(())
    }

    fn set_k(&mut self, k: usize) {
        let global = matches!(self.source, Source::Clusters(Method::GlobalClusters(_)));
        self.source = Source::Clusters(if global {
            Method::GlobalClusters(k)
        } else {
            Method::KMeans(k)
        });
    }
}

fn count(text: &str) -> Result<usize, &'static str> {
    let count = text.parse().ok();
    let count = count.filter(|count| (1..=MAX_COUNT).contains(count));
    count.ok_or("a number from 1 to 1000")
}

fn days(text: &str) -> Result<u32, &'static str> {
    let days = text.parse().ok().filter(|days| *days <= MAX_COUNT as u32);
    days.ok_or("a number of days, at most 1000")
}

/// The name that a command gave to a filter or to rules.
fn label(text: &str) -> Result<String, &'static str> {
    let label = Some(text).filter(|text| !text.is_empty());
    label.map(str::to_owned).ok_or("a name")
}

fn number(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok();
    let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or("a number of at least 0")
}

fn merge(text: &str) -> Result<MergeStrategy, &'static str> {
    let values = [
        ("interleave", MergeStrategy::Interleave),
        ("global_top", MergeStrategy::GlobalTop),
    ];
    one_of(text, values, "interleave or global_top")
}

fn quota(text: &str) -> Result<Quota, &'static str> {
    let values = [("importance", Quota::Importance), ("equal", Quota::Equal)];
    one_of(text, values, "importance or equal")
}

fn representative(text: &str) -> Result<Representative, &'static str> {
    let values = [
        ("medoid", Representative::Medoid),
        ("centroid", Representative::Centroid),
    ];
    one_of(text, values, "medoid or centroid")
}

fn one_of<T: Copy>(
    text: &str,
    values: [(&str, T); 2],
    rule: &'static str,
) -> Result<T, &'static str> {
    let value = values.iter().find(|(name, _)| *name == text);
    value.map(|&(_, value)| value).ok_or(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Model {
        text.parse().expect(text)
    }

    #[test]
    fn every_name_is_a_model() {
        names().into_iter().chain(DEFAULT_MODELS).for_each(|name| {
            assert_eq!(model(name).to_string(), name);
        });
    }

    #[test]
    fn a_shorthand_is_its_long_form_and_takes_further_keys() {
        let named = |text: &str, name: &str| Model {
            name: name.to_owned(),
            ..model(text)
        };
        assert_eq!(model("pinnersage_5").medoids, 5);
        assert_eq!(
            named("ward_centroid:lambda=0.1", "x"),
            named("pinnersage:lambda=0.1:of=centroid", "x")
        );
        assert_eq!(
            model("kmeans:k=9").source,
            Source::Clusters(Method::KMeans(9))
        );
        assert_eq!(
            model("knn_embed:k=9").source,
            Source::Clusters(Method::GlobalClusters(9))
        );
        let stale = model("pinnersage:stale=7:fold_in=on:top=2:quota=equal:pages=5");
        assert_eq!((stale.stale_days, stale.fold_in), (7, true));
        assert_eq!((stale.top, stale.quota, stale.pages), (2, Quota::Equal, 5));
    }

    #[test]
    fn a_shaped_model_is_the_one_that_its_name_says() {
        for (text, filter, rerank) in [
            ("pinnersage", Some("cheap"), Some("spaced")),
            ("kmeans_5:top=2", Some("on"), None),
            ("last_pin", None, Some("on")),
            ("random", Some("on"), None),
        ] {
            let shaped = model(text).shaped(filter, rerank).expect(text);
            assert_eq!(shaped, model(&shaped.name));
            let names = (shaped.filter.as_deref(), shaped.rerank.as_deref());
            assert_eq!(names, (filter, rerank));
            assert!(shaped.is_shaped() && !model(text).is_shaped());
        }
        // Its order is its own, so rules have nothing to say.
        let popularity = model("popularity");
        assert_eq!(popularity.shaped(None, Some("on")), None);
        let filtered = popularity.shaped(Some("on"), Some("on")).expect("a filter");
        assert_eq!(filtered, model("popularity:filter=on"));
    }

    #[test]
    fn what_is_not_known_is_named_with_what_is() {
        let refused = |text: &str, parts: &[&str]| {
            let error = text.parse::<Model>().expect_err(text).to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        refused(
            "pinersage",
            &["\"pinersage\"", "pinnersage_10", "popularity"],
        );
        refused("", &["\"\""]);
        refused(
            "last_pin:alpha=3",
            &["last_pin", "\"alpha\"", "it has stale, pages, popularity"],
        );
        refused("kmeans:q=3", &["\"q\"", "k, medoids"]);
        refused("popularity:popularity=1", &["it has stale"]);
        refused("kmeans:growth=1", &["\"growth\""]);
        refused("pinnersage:medoids=0", &["medoids is \"0\"", "from 1"]);
        refused("pinnersage:alpha=nan", &["alpha is \"nan\"", "at least 0"]);
        refused("pinnersage:merge=best", &["interleave or global_top"]);
        refused("pinnersage:stale=-1", &["stale is \"-1\""]);
        refused("pinnersage:filter", &["filter is \"\"", "a name"]);
        refused("random:rerank=on", &["\"rerank\"", "it has filter"]);
        refused("ward_centroid:fold_in=on", &["ward_centroid", "of=medoid"]);
    }
}
