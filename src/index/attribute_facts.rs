//! What the manifest of a catalog says of an attribute.

use serde::{Deserialize, Serialize};

use crate::model::AttributeKind;

/// Facts of one attribute in the manifest of a catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeFacts {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: AttributeKind,
    /// Number of pins that have it.
    pub pins: usize,
    /// Number of different words; 0 for numbers.
    pub words: usize,
}
