//! Settings of the index: how it is built and searched, and its neighbor lists.

use bytesize::ByteSize;
use serde::Deserialize;

use super::GraphParams;
use crate::setting_rules::{InvalidSetting, require_in_range};

/// The section `index` of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexParams {
    /// Nodes of the graph that a search finds at least.
    pub ef_search: usize,
    /// Nodes considered for the links of a new node.
    pub ef_construction: usize,
    /// Seed of the order in which the graph is built.
    pub seed: u64,
}

/// The section `neighbors` of the settings: lists that answer without a search.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NeighborParams {
    /// Neighbors in each list.
    pub depth: usize,
    /// Bytes of all lists that a catalog has in files.
    pub budget: ByteSize,
    /// Bytes of the lists that a server computes on demand and keeps in memory.
    pub cache: ByteSize,
}

/// The section `filters` of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterParams {
    /// Bytes of the pins that filters select, which a server keeps in memory: a quarter of a
    /// byte a pin and filter.
    pub cache: ByteSize,
}

impl IndexParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        require_in_range("index.ef_search", self.ef_search, 1..=100_000)?;
        require_in_range("index.ef_construction", self.ef_construction, 1..=10_000)
    }

    /// The part of the settings that a graph is built with.
    #[must_use]
    pub fn graph(&self) -> GraphParams {
        GraphParams {
            ef_construction: self.ef_construction,
            seed: self.seed,
        }
    }
}

impl NeighborParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        require_in_range("neighbors.depth", self.depth, 1..=10_000)
    }
}
