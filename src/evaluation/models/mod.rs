//! The models that a replay compares, and the interests that each derives from a user's
//! history.

mod clustering;
mod context;
mod global_clusters;
mod interest_builder;
mod interests;
mod kmeans;
mod linkage;
mod model;
mod parse;
mod popularity;
mod query_vectors;

pub use context::FoldInLimits;
pub(crate) use context::ModelContext;
pub(crate) use global_clusters::for_models as global_clusters_for;
pub(crate) use interest_builder::InterestBuilder;
pub(crate) use interests::ModelInterests;
pub use model::Model;
pub(crate) use model::Source;
pub use parse::{DEFAULT_MODELS, ModelError};
pub(crate) use popularity::{DayCounts, Ranking};
pub(crate) use query_vectors::{IndexWithQueries, free_ids};
