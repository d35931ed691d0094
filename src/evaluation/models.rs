//! The names of models: `name`, or `name:key=value:key=value`.
//!
//! A name is a base with its own defaults, or a shorthand for one with some keys. A
//! key that means nothing for a base is refused, so that no row of a table says more
//! than was done.

use std::fmt;
use std::str::FromStr;

use crate::recommend::MergeStrategy;

/// The models that are compared when nobody says which.
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

/// Names that stand for a base with keys.
const SHORTHANDS: [(&str, &str); 9] = [
    ("pinnersage_1", "pinnersage:medoids=1"),
    ("pinnersage_2", "pinnersage:medoids=2"),
    ("pinnersage_5", "pinnersage:medoids=5"),
    ("pinnersage_10", "pinnersage:medoids=10"),
    ("kmeans_5", "kmeans:k=5"),
    ("ward_centroid", "pinnersage:of=centroid"),
    ("global_top", "pinnersage:merge=global_top"),
    ("equal_quota", "pinnersage:quota=equal"),
    ("knn_embed", "global_clusters:of=centroid"),
];

/// Medoids that are sampled, centers of k-means, and global clusters, where a name does
/// not say.
const MEDOIDS: usize = 3;
const CENTRES: usize = 5;
const CELLS: usize = 100;
/// Number of actions with which alpha is what it is, whatever its growth.
pub(super) const ORDINARY: f64 = 100.0;
/// Most of each.
const MOST: usize = 1_000;

const OF_CLUSTERS: [&str; 6] = ["medoids", "top", "lambda", "merge", "quota", "of"];

/// The bases, and the keys that each has beside those that all have but `random` or
/// rankings.
const BASES: [(&str, Source, &[&str]); 8] = [
    (
        "pinnersage",
        Source::Clusters(Method::Ward),
        &["alpha", "growth", "fold_in"],
    ),
    ("kmeans", Source::Clusters(Method::KMeans(CENTRES)), &["k"]),
    (
        "complete_linkage",
        Source::Clusters(Method::CompleteLinkage),
        &["alpha"],
    ),
    (
        "global_clusters",
        Source::Clusters(Method::GlobalClusters(CELLS)),
        &["k"],
    ),
    ("last_pin", Source::LastPin, &[]),
    ("decay_average", Source::DecayAverage, &["lambda"]),
    ("popularity", Source::Popularity, &[]),
    ("random", Source::Random, &[]),
];

/// What the representatives of a user come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Source {
    /// The clusters of the user's actions.
    Clusters(Method),
    /// The pin of the user's last action.
    LastPin,
    /// The mean of the user's actions, newer ones weighing more.
    DecayAverage,
    /// What all users acted on most.
    Popularity,
    /// Chance.
    Random,
}

impl Source {
    /// Whether it puts pins in an order of its own, whatever the user did.
    pub(super) fn is_ranking(self) -> bool {
        matches!(self, Self::Popularity | Self::Random)
    }
}

/// How actions become clusters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    /// As in profiles.
    Ward,
    /// With so many centers.
    KMeans(usize),
    /// By the cells of the catalog that their pins lie in, so many for all users.
    GlobalClusters(usize),
    /// Cut at `alpha`, or into as many clusters as Ward makes where that is not given:
    /// then the linkage is compared, not the number of clusters.
    CompleteLinkage,
}

/// What stands for a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Representative {
    Medoid,
    Centroid,
}

/// How candidates are shared among clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quota {
    Importance,
    Equal,
}

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// As it was written.
    pub(super) name: String,
    pub(super) source: Source,
    /// Most representatives that are asked for candidates.
    pub(super) medoids: usize,
    /// How many of them are the most important ones; the others are sampled.
    pub(super) top: usize,
    /// In how many parts the list is asked for, one after the other, each with a draw of
    /// its own and without what is in those before.
    pub(super) pages: usize,
    /// In place of that of the settings.
    pub(super) alpha: Option<f64>,
    /// To which power of the number of actions, over [`ORDINARY`], alpha grows.
    pub(super) growth: f64,
    /// What popularity is worth, in place of that of the settings.
    pub(super) popularity: Option<f32>,
    /// In place of that of the settings.
    pub(super) lambda_per_day: Option<f64>,
    pub(super) merge: MergeStrategy,
    pub(super) quota: Quota,
    pub(super) of: Representative,
    /// How many days old the representatives are.
    pub(super) stale_days: u32,
    /// Whether what the user did in these days is folded in.
    pub(super) fold_in: bool,
}

/// Why a text is no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// There is no such model.
    #[error("model {model:?} is not known; there are {}", names().join(", "))]
    Name {
        /// What was asked for.
        model: String,
    },
    /// The model has no such key.
    #[error("model {model:?} has no key {key:?}; it has {}", keys.join(", "))]
    Key {
        /// The model.
        model: String,
        /// The key.
        key: String,
        /// The keys that it has.
        keys: Vec<&'static str>,
    },
    /// The key has no such value.
    #[error("model {model:?}: {key} is {value:?}, but must be {rule}")]
    Value {
        /// The model.
        model: String,
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// Nothing to fold recent actions into.
    #[error("model {model:?}: fold_in=on needs of=medoid, as a centroid is no pin")]
    FoldIn {
        /// The model.
        model: String,
    },
}

fn names() -> Vec<&'static str> {
    let bases = BASES.iter().map(|&(name, ..)| name);
    bases
        .chain(SHORTHANDS.iter().map(|&(name, _)| name))
        .collect()
}

impl FromStr for Model {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let shorthand = SHORTHANDS.iter().find(|&&(short, _)| short == name);
        let (base, given) = match shorthand {
            Some((_, long)) => long.split_once(':').unwrap_or((long, "")),
            None => (name, ""),
        };
        let found = BASES.iter().find(|&&(name, ..)| name == base);
        let &(_, source, own) = found.ok_or_else(|| ModelError::Name {
            model: name.to_owned(),
        })?;
        let mut keys = own.to_vec();
        if matches!(source, Source::Clusters(_)) {
            keys.extend(OF_CLUSTERS);
        }
        if source != Source::Random {
            keys.push("stale");
        }
        if !source.is_ranking() {
            keys.extend(["pages", "popularity"]);
        }
        let mut model = Self {
            name: text.to_owned(),
            source,
            medoids: MEDOIDS,
            top: 0,
            pages: 1,
            alpha: None,
            growth: 0.0,
            popularity: None,
            lambda_per_day: None,
            merge: MergeStrategy::Interleave,
            quota: Quota::Importance,
            of: Representative::Medoid,
            stale_days: 0,
            fold_in: false,
        };
        let pairs = given.split(':').chain(rest.split(':'));
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !keys.contains(&key) {
                return Err(ModelError::Key {
                    model: name.to_owned(),
                    key: key.to_owned(),
                    keys,
                });
            }
            let set = model.set(key, value);
            set.map_err(|rule| ModelError::Value {
                model: name.to_owned(),
                key: key.to_owned(),
                value: value.to_owned(),
                rule,
            })?;
        }
        if model.fold_in && model.of == Representative::Centroid {
            return Err(ModelError::FoldIn { model: model.name });
        }
        Ok(model)
    }
}

impl Model {
    /// What popularity is worth, where that of the settings is `usual`.
    pub(super) fn popularity(&self, usual: f32) -> f32 {
        match self.source.is_ranking() {
            true => 0.0,
            false => self.popularity.unwrap_or(usual),
        }
    }

    /// Sets a key that the model has; fails with what is allowed.
    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        match key {
            "medoids" => self.medoids = count(value)?,
            "top" => self.top = count(value)?,
            "pages" => self.pages = count(value)?,
            "k" => {
                let k = count(value)?;
                let of_cells = matches!(self.source, Source::Clusters(Method::GlobalClusters(_)));
                self.source = Source::Clusters(match of_cells {
                    true => Method::GlobalClusters(k),
                    false => Method::KMeans(k),
                });
            }
            "alpha" => self.alpha = Some(number(value)?),
            "growth" => self.growth = number(value)?,
            "popularity" => self.popularity = Some(number(value)? as f32),
            "lambda" => self.lambda_per_day = Some(number(value)?),
            "merge" => {
                self.merge = one_of(
                    value,
                    [
                        ("interleave", MergeStrategy::Interleave),
                        ("global_top", MergeStrategy::GlobalTop),
                    ],
                    "interleave or global_top",
                )?;
            }
            "quota" => {
                let values = [("importance", Quota::Importance), ("equal", Quota::Equal)];
                self.quota = one_of(value, values, "importance or equal")?;
            }
            "of" => {
                let values = [
                    ("medoid", Representative::Medoid),
                    ("centroid", Representative::Centroid),
                ];
                self.of = one_of(value, values, "medoid or centroid")?;
            }
            "stale" => {
                let days = value.parse().ok().filter(|days| *days <= MOST as u32);
                self.stale_days = days.ok_or("a number of days, at most 1000")?;
            }
            _ => self.fold_in = one_of(value, [("on", true), ("off", false)], "on or off")?,
        }
        Ok(())
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn count(text: &str) -> Result<usize, &'static str> {
    let count = text.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or("a number from 1 to 1000")
}

fn number(text: &str) -> Result<f64, &'static str> {
    let number = text.parse().ok();
    let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or("a number of at least 0")
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
        refused("ward_centroid:fold_in=on", &["ward_centroid", "of=medoid"]);
    }
}
