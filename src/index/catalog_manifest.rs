//! The manifest of a catalog: its model, its sizes, and how it was built.

use serde::{Deserialize, Serialize};

use super::GraphParams;
use crate::snapshot::ManifestFacts;

/// Facts in the manifest of a catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogManifest {
    /// Name of the model that made the vectors. Profiles and a catalog are served
    /// together only when they name the same model.
    pub embedding_version: String,
    /// Length of every vector.
    pub dimension: usize,
    /// Rows that were read: pins that were kept and pins that were dropped.
    pub read: u64,
    /// Pins dropped for a quality below `min_quality`.
    pub low_quality: u64,
    /// Lowest quality that was kept; none when quality did not matter.
    pub min_quality: Option<f64>,
    /// Pins dropped as near-duplicates of a better one.
    pub near_duplicates: u64,
    /// Pins that were upserted on a server since the rows were made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub upserted: u64,
    /// Pins that were deleted on a server since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// Number of pins.
    pub pins: usize,
    /// Number of distinct vectors, each one node of the graph.
    pub nodes: usize,
    /// Parameters that the graph was built with.
    pub graph: GraphParams,
}

/// Whether a count is left out of the manifest. A manifest without changes is then
/// byte-equal to one written before these counts existed, and has the same version.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl ManifestFacts for CatalogManifest {
    const FORMAT: &'static str = "pinnersage-catalog/3";
}
