//! What a catalog states of itself.

use serde::{Deserialize, Serialize};

use super::GraphParams;
use crate::snapshot::ManifestFacts;

/// The facts in the manifest of a catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogManifest {
    /// Name of the model that made the vectors. Profiles and catalogs are
    /// served together only when theirs are equal.
    pub embedding_version: String,
    /// Length of every vector.
    pub dimension: usize,
    /// Rows that were read: the pins, and those that were dropped.
    pub read: u64,
    /// Pins dropped for a quality below `min_quality`.
    pub low_quality: u64,
    /// The least quality that was kept; none when quality did not matter.
    pub min_quality: Option<f64>,
    /// Pins dropped as near-duplicates of a better one.
    pub near_duplicates: u64,
    /// Pins that came or changed on a server since the rows were made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub upserted: u64,
    /// Pins that went there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Number of pins.
    pub pins: usize,
    /// Number of distinct vectors, each one node of the graph.
    pub nodes: usize,
    /// With what the graph was built.
    pub graph: GraphParams,
}

/// A manifest says nothing of what did not happen, as those did that were written
/// before it could.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl ManifestFacts for CatalogManifest {
    const FORMAT: &'static str = "pinnersage-catalog/3";
}
