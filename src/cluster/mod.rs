//! The offline core: from a user's actions to a profile (Algorithm 2 of the
//! PinnerSage paper, KDD 2020). Pure: `as_of` is passed in, nothing is read.
//!
//! [`build_profile`] is the whole of it: Ward's clusters, the medoid of each, the
//! importance of each. [`fold_in`] brings a profile up to date with what the user
//! did since.

mod profile;

mod assign;
mod draft;
mod fold_in;
mod lower;

mod distances;
mod medoid;
mod ward;

mod decay;
mod importance;
mod interest;
mod params;
mod point;
mod scratch;

pub use decay::Decay;
pub use fold_in::{FoldInParams, FoldInResult, RecentActions, StoredProfile, fold_in};
pub use interest::Interest;
pub use lower::{NegativeActions, lower_clusters};
pub use params::Params;
pub use point::Point;
pub use profile::{
    Cluster, build_profile, cluster_points, describe_clusters, partition_points, summarize_cluster,
};
pub use scratch::ClusterScratch;
