//! A model: where the representatives of a user come from, and how they are asked for
//! candidates.

use std::fmt;

use crate::recommend::MergeStrategy;

/// Number of medoids that are sampled where a name does not say.
const DEFAULT_MEDOIDS: usize = 3;

/// What the representatives of a user come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    /// The clusters of the user's actions.
    Clusters(Method),
    /// The pin of the user's last action.
    LastPin,
    /// The mean of the user's actions, in which newer ones weigh more.
    DecayAverage,
    /// The pins that all users acted on most.
    Popularity,
    /// Pins in a random order.
    Random,
}

impl Source {
    /// Whether it ranks pins regardless of what the user did.
    pub(crate) fn is_ranking(self) -> bool {
        matches!(self, Self::Popularity | Self::Random)
    }
}

/// How actions become clusters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Method {
    /// Ward's method, as in profiles.
    Ward,
    /// K-means with this number of centers.
    KMeans(usize),
    /// The cells of the catalog in which the pins of the actions lie. The number of cells
    /// is that of all users.
    GlobalClusters(usize),
    /// Complete linkage, cut at `alpha`. Without an `alpha` it makes as many clusters as
    /// Ward, so that the linkage is compared and not the number of clusters.
    CompleteLinkage,
}

/// What represents a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Representative {
    Medoid,
    Centroid,
}

/// How candidates are shared among clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    Importance,
    Equal,
}

/// A model, as [`str::parse`] makes it from its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name, as it was written.
    pub(crate) name: String,
    pub(crate) source: Source,
    /// Maximum number of representatives that are asked for candidates.
    pub(crate) medoids: usize,
    /// How many of them are the most important ones; the others are sampled.
    pub(crate) top: usize,
    /// Number of parts in which the list is requested, one after the other. Each part has
    /// a draw of its own and leaves out what the parts before it showed.
    pub(crate) pages: usize,
    /// Replaces `profiles.alpha`.
    pub(crate) alpha: Option<f64>,
    /// Exponent with which alpha grows with the number of actions; 0 for no growth.
    pub(crate) growth: f64,
    /// Replaces `recommend.popularity`.
    pub(crate) popularity: Option<f32>,
    /// Replaces `profiles.lambda_per_day`.
    pub(crate) lambda_per_day: Option<f64>,
    pub(crate) merge: MergeStrategy,
    pub(crate) quota: Quota,
    pub(crate) representative: Representative,
    /// Age of the representatives in days.
    pub(crate) stale_days: u32,
    /// Whether the actions of these days are folded in.
    pub(crate) fold_in: bool,
    /// Name of the filter of its requests.
    pub(crate) filter: Option<String>,
    /// Name of the reranking rules of its requests.
    pub(crate) rerank: Option<String>,
}

impl Model {
    /// The model `name` of a source, without any keys.
    pub(super) fn with_defaults(name: &str, source: Source) -> Self {
        Self {
            name: name.to_owned(),
            source,
            medoids: DEFAULT_MEDOIDS,
            top: 0,
            pages: 1,
            alpha: None,
            growth: 0.0,
            popularity: None,
            lambda_per_day: None,
            merge: MergeStrategy::Interleave,
            quota: Quota::Importance,
            representative: Representative::Medoid,
            stale_days: 0,
            fold_in: false,
            filter: None,
            rerank: None,
        }
    }

    /// Whether its requests have a filter or reranking rules.
    pub fn is_shaped(&self) -> bool {
        self.filter.is_some() || self.rerank.is_some()
    }

    /// The same model with the filter and the rules of these names. What ranks pins regardless
    /// of the user takes no rules. None where nothing is left to take.
    #[must_use]
    pub fn shaped(&self, filter: Option<&str>, rerank: Option<&str>) -> Option<Self> {
        let rerank = rerank.filter(|_| !self.source.is_ranking());
        let mut shaped = self.clone();
        for (key, name) in [("filter", filter), ("rerank", rerank)] {
            if let Some(name) = name {
                shaped.name.push_str(&format!(":{key}={name}"));
            }
        }
        shaped.filter = filter.map(str::to_owned);
        shaped.rerank = rerank.map(str::to_owned);
        shaped.is_shaped().then_some(shaped)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
