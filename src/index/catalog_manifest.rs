//! The manifest of a catalog: its model, its sizes, and how it was built.

use serde::{Deserialize, Serialize};

#[cfg(test)]
use super::PinTable;
use super::{AttributeFacts, GraphParams};
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
    /// Rows that were left out because they are no pins.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bad: u64,
    /// Titles that were cut to their limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut_titles: u64,
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
    /// Whether pins have keys: the caller calls them by strings.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub string_ids: bool,
    /// Number of pins.
    pub pins: usize,
    /// Number of distinct vectors, each one node of the graph.
    pub nodes: usize,
    /// Parameters that the graph was built with.
    pub graph: GraphParams,
    /// The attributes that pins may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<AttributeFacts>,
}

#[cfg(test)]
impl CatalogManifest {
    /// The manifest of a catalog that has all pins that were read.
    pub(crate) fn of_table(table: &PinTable, embedding_version: &str, graph: GraphParams) -> Self {
        Self {
            embedding_version: embedding_version.to_owned(),
            dimension: table.vectors().dimension(),
            read: table.ids().len() as u64,
            bad: 0,
            cut_titles: 0,
            low_quality: 0,
            min_quality: None,
            near_duplicates: 0,
            upserted: 0,
            deleted: 0,
            string_ids: table.has_keys(),
            pins: table.ids().len(),
            nodes: table.vectors().len(),
            graph,
            attributes: Vec::new(),
        }
    }
}

/// Whether a count is left out of the manifest. A manifest without changes is then
/// byte-equal to one written before these counts existed, and has the same version.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl ManifestFacts for CatalogManifest {
    const FORMAT: &'static str = "pinnersage-catalog/3";

    type Before = Self;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> CatalogManifest {
        CatalogManifest {
            embedding_version: "model-1".to_owned(),
            dimension: 64,
            read: 10,
            bad: 0,
            cut_titles: 0,
            low_quality: 1,
            min_quality: Some(0.1),
            near_duplicates: 2,
            upserted: 0,
            deleted: 0,
            string_ids: false,
            pins: 7,
            nodes: 6,
            graph: GraphParams {
                ef_construction: 128,
                seed: 3,
            },
            attributes: Vec::new(),
        }
    }

    #[test]
    fn a_manifest_without_changes_is_spelled_as_before_changes_existed() {
        let text = serde_json::to_string(&manifest()).expect("a manifest");
        let expected = concat!(
            r#"{"embedding_version":"model-1","dimension":64,"read":10,"low_quality":1,"#,
            r#""min_quality":0.1,"near_duplicates":2,"pins":7,"nodes":6,"#,
            r#""graph":{"ef_construction":128,"seed":3}}"#,
        );
        assert_eq!(text, expected);
        let read: CatalogManifest = serde_json::from_str(&text).expect("a manifest");
        assert_eq!(read, manifest());
    }

    #[test]
    fn changes_are_kept_and_unknown_facts_refused() {
        let changed = CatalogManifest {
            upserted: 4,
            deleted: 5,
            ..manifest()
        };
        let text = serde_json::to_string(&changed).expect("a manifest");
        let read: CatalogManifest = serde_json::from_str(&text).expect("a manifest");
        assert_eq!(read, changed);
        let text = text.replace("\"upserted\"", "\"inserted\"");
        assert!(serde_json::from_str::<CatalogManifest>(&text).is_err());
    }
}
