//! Parameters of the graph, which its catalog states in the manifest.

use serde::{Deserialize, Serialize};

/// Parameters that a graph is built with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphParams {
    /// Number of near nodes considered for the links of each new node: more is
    /// slower to build and better to search. At least 1.
    pub ef_construction: usize,
    /// Seed of the order of insertion.
    pub seed: u64,
}
