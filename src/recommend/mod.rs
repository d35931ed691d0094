//! The online core. [`Recommender::recommend`] is the whole flow:
//! look up -> sample -> retrieve -> merge.
//!
//! Pure but for the seams that the shell fills: [`Retrieve`], where the index answers;
//! [`StageObserver`], where stages are timed; and [`Deadline`]. Randomness is passed in,
//! and nothing depends on a clock.

mod flow;

mod fallback;
mod rounds;
mod sample;

mod context;

mod inclusion;
mod orders;
mod quadrature;
mod rates;

mod quota;
mod retrieval;
mod targets;

mod arrange;
mod merge;
mod neighbor_list;
mod turns;

mod blocked_pins;
mod bonus;
mod excluded_pins;
mod pin_set;

mod deadline;
mod merge_params;
mod params;
mod recommendation;
mod request;
mod rerank;
mod retrieve;
mod seeds;
mod stage;
mod user;
mod user_features;

pub use bonus::Bonus;
pub use context::Context;
pub use deadline::Deadline;
pub use fallback::Fallback;
pub use flow::{RecommendScratch, Recommender};
pub use merge_params::MergeStrategy;
pub use params::RankingParams;
pub use recommendation::{Recommendation, SampledMedoid, Shortage};
pub use request::Request;
pub use rerank::{Diversity, PinVectors, Rerank, Spacing};
pub use retrieve::{NotCached, Retrieve, Retrieved, SearchParams};
pub use seeds::{Seed, SeedMode, Seeds, Target};
pub use stage::{Stage, StageObserver, Unobserved};
pub use user::{MedoidSources, Origin, User, UserMedoids};
pub use user_features::{MedoidVector, UserFeatures, mean_by_importance};
