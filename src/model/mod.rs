//! The nouns of the field. Their constructors hold the invariants, so
//! that nothing behind them checks again.

mod action;
mod action_identity;
mod attribute;
mod candidate;
mod embedding;
mod filter;
mod ids;
mod profile;
mod reranking;
mod time;

pub use action::{
    Action, ActionId, ActionKeys, ActionKind, ActionWeights, IMPRESSION, MAX_ACTION_NAME,
    RecordedAction,
};
pub use action_identity::ActionIdentity;
pub use attribute::{
    AttributeDefinition, AttributeKind, AttributeValue, InvalidAttribute, MAX_ATTRIBUTE_BYTES,
    MAX_ATTRIBUTE_NAME, MAX_WORD, MAX_WORDS_OF_PIN, PinAttributes,
};
pub use candidate::{Candidate, Neighbor};
pub use embedding::{EmbeddingError, Embeddings, MAX_DIMENSION, MIN_DIMENSION, check_dimension};
pub use filter::{Condition, Filter, InvalidFilter, Range, Test};
#[cfg(test)]
pub(crate) use ids::SAME_HASH;
pub use ids::{MAX_KEY, MAX_TITLE, PinId, UserId, id_of_key};
pub use profile::Medoid;
pub use reranking::{
    Boost, BoostBy, Decay, DiversityRule, InvalidReranking, MAX_AMONG, MAX_BOOST, MAX_BOOSTS,
    MAX_HALF_LIFE, MAX_PLACES, MAX_SPACING_RULES, RerankRules, SpacingRule,
};
pub use time::{ParseTimestampError, Timestamp};
