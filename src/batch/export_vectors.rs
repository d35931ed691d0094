//! Columns of vectors beside exported profiles: that of each medoid, one for each user, and
//! the model that they come from.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder};
use arrow_schema::{DataType, Field};

use crate::index::PinTable;
use crate::recommend::{MedoidVector, mean_by_importance};
use crate::store::Profile;

const MEDOID_VECTORS: &str = "medoid_vectors";
const AGGREGATE: &str = "aggregate";
const EMBEDDING_VERSION: &str = "embedding_version";

/// Where vectors come from, and which of them count.
#[derive(Clone, Copy)]
pub(super) struct VectorSource<'a> {
    pub(super) pins: &'a PinTable,
    pub(super) embedding_version: &'a str,
    /// Number of negative actions that silence an interest; 0 for never.
    pub(super) silenced_by: usize,
}

/// The columns while they are filled: `medoid_vectors`, a list of vectors in the order of
/// the medoids, null for a pin that the catalog does not have; `aggregate`, the mean by
/// importance of those that a server would sample, null where there are none; and
/// `embedding_version`.
pub(super) struct VectorColumns<'a> {
    source: VectorSource<'a>,
    medoid_vectors: ListBuilder<ListBuilder<Float32Builder>>,
    aggregates: ListBuilder<Float32Builder>,
    versions: StringBuilder,
    /// Components of vectors so far.
    pub(super) components: usize,
    /// Medoids without a vector.
    pub(super) missing: u64,
}

fn component() -> Field {
    Field::new("item", DataType::Float32, false)
}

fn vector_type() -> DataType {
    DataType::List(Arc::new(component()))
}

fn vector_item() -> Field {
    Field::new("item", vector_type(), true)
}

/// The fields of the columns.
pub(super) fn fields() -> [Field; 3] {
    [
        Field::new(
            MEDOID_VECTORS,
            DataType::List(Arc::new(vector_item())),
            false,
        ),
        Field::new(AGGREGATE, vector_type(), true),
        Field::new(EMBEDDING_VERSION, DataType::Utf8, false),
    ]
}

impl<'a> VectorColumns<'a> {
    pub(super) fn new(source: VectorSource<'a>) -> Self {
        let vectors = || ListBuilder::new(Float32Builder::new()).with_field(component());
        Self {
            source,
            medoid_vectors: ListBuilder::new(vectors()).with_field(vector_item()),
            aggregates: vectors(),
            versions: StringBuilder::new(),
            components: 0,
            missing: 0,
        }
    }

    /// Appends the row of a user.
    pub(super) fn push(&mut self, profile: Profile<'_>) {
        let VectorSource {
            pins,
            silenced_by,
            embedding_version,
        } = self.source;
        let mut active = Vec::new();
        for &medoid in profile.medoids {
            let vector = pins.vector(medoid.pin);
            append(self.medoid_vectors.values(), vector);
            self.components += vector.map_or(0, <[f32]>::len);
            self.missing += u64::from(vector.is_none());
            let active_vector = vector.filter(|_| medoid.is_active(silenced_by));
            active.extend(active_vector.map(|vector| MedoidVector { medoid, vector }));
        }
        self.medoid_vectors.append(true);
        append(&mut self.aggregates, mean_by_importance(&active).as_deref());
        self.versions.append_value(embedding_version);
    }

    /// The columns, in the order of [`fields`].
    pub(super) fn finish(&mut self) -> [ArrayRef; 3] {
        [
            Arc::new(self.medoid_vectors.finish()),
            Arc::new(self.aggregates.finish()),
            Arc::new(self.versions.finish()),
        ]
    }
}

fn append(column: &mut ListBuilder<Float32Builder>, vector: Option<&[f32]>) {
    column.values().append_slice(vector.unwrap_or_default());
    column.append(vector.is_some());
}
