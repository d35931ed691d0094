//! Writing profiles as Parquet, so that a warehouse can read them.

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::builder::{TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};

use super::atomic_parquet::{time_type, write_parquet_atomically};
use super::error::BatchError;
use super::export_vectors::{self, VectorColumns, VectorSource};
use super::ids::USER;
use crate::index::{Catalog, CatalogManifest, PinTable};
use crate::model::{Medoid, Timestamp, UserId};
use crate::progress::Progress;
use crate::snapshot::SnapshotManifest;
use crate::store::{Profile, ProfileManifest, ProfilesReader};

const BATCH_USERS: usize = 4_096;
/// Components of vectors after which a batch of users ends: 16 MiB.
const BATCH_COMPONENTS: usize = 4 << 20;
/// Bytes of a row group, which stays in memory until it is written.
const ROW_GROUP_BYTES: usize = 128 << 20;
const MEDOID_PIN_KEYS: &str = "medoid_pin_keys";
const HIDDEN_PIN_KEYS: &str = "hidden_pin_keys";

/// What an export takes from a catalog.
#[derive(Clone, Copy, Debug)]
pub struct CatalogColumns<'a> {
    /// The catalog. It has the keys of pins, where these are called by strings.
    pub catalog: &'a Path,
    /// Also the vectors of medoids; none for keys alone.
    pub vectors: Option<ExportedVectors>,
}

/// Which vectors count for one vector of a user.
#[derive(Clone, Copy, Debug)]
pub struct ExportedVectors {
    /// Number of negative actions that silence an interest, which then does not count; 0
    /// for never.
    pub silenced_by: usize,
}

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportCounts {
    /// Users.
    pub users: u64,
    /// Medoids of all users.
    pub medoids: u64,
    /// Those of them whose vector is null: the catalog does not have their pins.
    pub without_vector: u64,
}

/// Writes the profiles in `profiles` to the Parquet file `out`: `user_id`,
/// `as_of`, `medoids`, a list of structs by falling importance, `complete_through`, and
/// `hidden_pins`, ascending. Where users have keys, `user_key` follows; where the pins of
/// the catalog have, `medoid_pin_keys` and `hidden_pin_keys`, lists in the order of the pins,
/// null for a pin that the catalog does not have. With vectors, there are further
/// `medoid_vectors`, a list as well, `aggregate`, which is that of
/// [`mean_by_importance`](crate::recommend::mean_by_importance) over the medoids that a server
/// would sample, and `embedding_version`.
///
/// # Errors
///
/// Vectors of another model than that of the profiles are refused.
pub fn export_profiles(
    profiles: &Path,
    columns: Option<CatalogColumns<'_>>,
    out: &Path,
    progress: Progress,
) -> Result<ExportCounts, BatchError> {
    let profiles = ProfilesReader::open(profiles)?;
    let facts = &profiles.manifest().facts;
    let catalog = match columns {
        Some(columns) => Some(Catalog::open_pins(columns.catalog)?),
        None => None,
    };
    let vectors = columns.and_then(|columns| columns.vectors);
    let source = match (&catalog, vectors) {
        (Some(catalog), Some(vectors)) => Some(vector_source(catalog, facts, vectors)?),
        _ => None,
    };
    let pins = catalog.as_ref().map(|(_, pins)| pins);
    let pins = pins.filter(|pins| pins.has_keys());
    let stage = progress.stage("exporting profiles", facts.users);
    let schema = schema(facts.string_user_ids, pins.is_some(), source.is_some());
    let mut counts = ExportCounts::default();
    write_parquet_atomically(out, schema.clone(), |writer| {
        let marks = Marks {
            as_of: facts.as_of,
            complete_through: facts.complete_through,
        };
        let mut users = profiles.iter().enumerate().peekable();
        while users.peek().is_some() {
            let mut batch = Batch::new(pins, source);
            for (position, (user, profile)) in users.by_ref().take(BATCH_USERS) {
                batch.push(user, marks, profile)?;
                batch.push_keys(profiles.key(position), profile);
                counts.users += 1;
                counts.medoids += profile.medoids.len() as u64;
                stage.advance(1);
                if batch.is_full() {
                    break;
                }
            }
            counts.without_vector += batch.without_vector();
            writer.write(&batch.finish(&schema)?)?;
            if writer.in_progress_size() > ROW_GROUP_BYTES {
                writer.flush()?;
            }
        }
        Ok(())
    })?;
    Ok(counts)
}

/// The vectors of `catalog`, if they are of the model of the profiles.
fn vector_source<'a>(
    (catalog, pins): &'a (SnapshotManifest<CatalogManifest>, PinTable),
    profiles: &ProfileManifest,
    vectors: ExportedVectors,
) -> Result<VectorSource<'a>, BatchError> {
    let embedding_version = catalog.facts.embedding_version.as_str();
    if embedding_version != profiles.embedding_version {
        return Err(BatchError::EmbeddingVersion {
            catalog: embedding_version.to_owned(),
            profiles: profiles.embedding_version.clone(),
        });
    }
    Ok(VectorSource {
        pins,
        embedding_version,
        silenced_by: vectors.silenced_by,
    })
}

fn medoid_fields() -> Fields {
    Fields::from(vec![
        Field::new("pin_id", DataType::UInt64, false),
        Field::new("importance", DataType::Float64, false),
        Field::new("size", DataType::UInt32, false),
        Field::new("last_action_time", time_type(), false),
        Field::new("dislikes", DataType::UInt32, false),
    ])
}

/// Moments that hold for all profiles.
#[derive(Clone, Copy)]
struct Marks {
    as_of: Timestamp,
    complete_through: Timestamp,
}

fn hidden_item() -> Field {
    Field::new("item", DataType::UInt64, false)
}

fn medoid_item() -> Field {
    Field::new("item", DataType::Struct(medoid_fields()), false)
}

fn key_item() -> Field {
    Field::new("item", DataType::Utf8, true)
}

fn schema(has_user_keys: bool, has_pin_keys: bool, has_vectors: bool) -> Arc<Schema> {
    let mut fields = vec![
        Field::new("user_id", DataType::UInt64, false),
        Field::new("as_of", time_type(), false),
        Field::new("medoids", DataType::List(Arc::new(medoid_item())), false),
        Field::new("complete_through", time_type(), false),
        Field::new(
            "hidden_pins",
            DataType::List(Arc::new(hidden_item())),
            false,
        ),
    ];
    if has_user_keys {
        fields.push(Field::new(USER.key, DataType::Utf8, true));
    }
    if has_pin_keys {
        for name in [MEDOID_PIN_KEYS, HIDDEN_PIN_KEYS] {
            let keys = DataType::List(Arc::new(key_item()));
            fields.push(Field::new(name, keys, false));
        }
    }
    if has_vectors {
        fields.extend(export_vectors::fields());
    }
    Arc::new(Schema::new(fields))
}

/// The columns of one batch of users while they are filled.
struct Batch<'a> {
    /// The pins, where these have keys.
    pins: Option<&'a PinTable>,
    users: UInt64Builder,
    as_of: TimestampMicrosecondBuilder,
    medoids: ListBuilder<StructBuilder>,
    complete_through: TimestampMicrosecondBuilder,
    hidden_pins: ListBuilder<UInt64Builder>,
    user_keys: StringBuilder,
    medoid_keys: ListBuilder<StringBuilder>,
    hidden_keys: ListBuilder<StringBuilder>,
    vectors: Option<VectorColumns<'a>>,
}

impl<'a> Batch<'a> {
    fn new(pins: Option<&'a PinTable>, source: Option<VectorSource<'a>>) -> Self {
        let keys = || ListBuilder::new(StringBuilder::new()).with_field(key_item());
        let medoids = StructBuilder::from_fields(medoid_fields(), 0);
        Self {
            pins,
            users: UInt64Builder::new(),
            as_of: TimestampMicrosecondBuilder::new().with_data_type(time_type()),
            medoids: ListBuilder::new(medoids).with_field(medoid_item()),
            complete_through: TimestampMicrosecondBuilder::new().with_data_type(time_type()),
            hidden_pins: ListBuilder::new(UInt64Builder::new()).with_field(hidden_item()),
            user_keys: StringBuilder::new(),
            medoid_keys: keys(),
            hidden_keys: keys(),
            vectors: source.map(VectorColumns::new),
        }
    }

    fn push(&mut self, user: UserId, marks: Marks, profile: Profile<'_>) -> Result<(), ArrowError> {
        self.users.append_value(user.0);
        self.as_of.append_value(marks.as_of.micros());
        let complete_through = marks.complete_through.micros();
        self.complete_through.append_value(complete_through);
        for pin in profile.hidden {
            self.hidden_pins.values().append_value(pin.0);
        }
        self.hidden_pins.append(true);
        for medoid in profile.medoids {
            push_medoid(self.medoids.values(), medoid).ok_or_else(|| {
                ArrowError::SchemaError(
                    "the columns of a medoid are not those of its schema".into(),
                )
            })?;
        }
        self.medoids.append(true);
        if let Some(vectors) = &mut self.vectors {
            vectors.push(profile);
        }
        Ok(())
    }

    /// Whether vectors fill the batch before it has all its users.
    fn is_full(&self) -> bool {
        let vectors = self.vectors.as_ref();
        vectors.is_some_and(|vectors| vectors.components >= BATCH_COMPONENTS)
    }

    /// Number of medoids whose vector is null.
    fn without_vector(&self) -> u64 {
        self.vectors.as_ref().map_or(0, |vectors| vectors.missing)
    }

    /// What the caller calls the user, and the pins of the profile.
    fn push_keys(&mut self, user: Option<&str>, profile: Profile<'_>) {
        self.user_keys.append_option(user);
        if let Some(pins) = self.pins {
            let medoids = profile.medoids.iter();
            let medoids = medoids.map(|medoid| pins.key(medoid.pin));
            self.medoid_keys.append_value(medoids);
            let hidden = profile.hidden.iter().map(|&pin| pins.key(pin));
            self.hidden_keys.append_value(hidden);
        }
    }

    fn finish(mut self, schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.users.finish()),
            Arc::new(self.as_of.finish()),
            Arc::new(self.medoids.finish()),
            Arc::new(self.complete_through.finish()),
            Arc::new(self.hidden_pins.finish()),
        ];
        if schema.column_with_name(USER.key).is_some() {
            columns.push(Arc::new(self.user_keys.finish()));
        }
        if self.pins.is_some() {
            columns.push(Arc::new(self.medoid_keys.finish()));
            columns.push(Arc::new(self.hidden_keys.finish()));
        }
        if let Some(vectors) = &mut self.vectors {
            columns.extend(vectors.finish());
        }
        RecordBatch::try_new(schema.clone(), columns)
    }
}

fn push_medoid(columns: &mut StructBuilder, medoid: &Medoid) -> Option<()> {
    columns
        .field_builder::<UInt64Builder>(0)?
        .append_value(medoid.pin.0);
    columns
        .field_builder::<Float64Builder>(1)?
        .append_value(medoid.importance);
    columns
        .field_builder::<UInt32Builder>(2)?
        .append_value(medoid.size);
    let last = medoid.last_action_time.micros();
    columns
        .field_builder::<TimestampMicrosecondBuilder>(3)?
        .append_value(last);
    columns
        .field_builder::<UInt32Builder>(4)?
        .append_value(medoid.dislikes);
    columns.append(true);
    Some(())
}
