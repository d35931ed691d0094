//! Writing profiles as Parquet, so that a warehouse can read them.

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, ListBuilder, StructBuilder};
use arrow_array::builder::{TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};

use super::atomic_parquet::{time_type, write_parquet_atomically};
use super::error::BatchError;
use crate::model::{Medoid, Timestamp, UserId};
use crate::progress::Progress;
use crate::store::ProfilesReader;

const BATCH_USERS: usize = 4_096;

/// Writes the profiles in `profiles` to the Parquet file `out`: `user_id`,
/// `as_of`, and `medoids`, a list of structs by falling importance. Returns the
/// number of users.
pub fn export_profiles(profiles: &Path, out: &Path, progress: Progress) -> Result<u64, BatchError> {
    let profiles = ProfilesReader::open(profiles)?;
    let facts = &profiles.manifest().facts;
    let stage = progress.stage("exporting profiles", facts.users);
    let schema = schema();
    write_parquet_atomically(out, schema.clone(), |writer| {
        let mut users = profiles.iter().peekable();
        while users.peek().is_some() {
            let mut batch = Batch::new();
            for (user, profile) in users.by_ref().take(BATCH_USERS) {
                batch.push(user, facts.as_of, profile.medoids)?;
                stage.advance(1);
            }
            writer.write(&batch.finish(&schema)?)?;
        }
        Ok(())
    })?;
    Ok(facts.users)
}

fn medoid_fields() -> Fields {
    Fields::from(vec![
        Field::new("pin_id", DataType::UInt64, false),
        Field::new("importance", DataType::Float64, false),
        Field::new("size", DataType::UInt32, false),
        Field::new("last_action_time", time_type(), false),
    ])
}

fn medoid_item() -> Field {
    Field::new("item", DataType::Struct(medoid_fields()), false)
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("user_id", DataType::UInt64, false),
        Field::new("as_of", time_type(), false),
        Field::new("medoids", DataType::List(Arc::new(medoid_item())), false),
    ]))
}

/// The columns of one batch of users while they are filled.
struct Batch {
    users: UInt64Builder,
    as_of: TimestampMicrosecondBuilder,
    medoids: ListBuilder<StructBuilder>,
}

impl Batch {
    fn new() -> Self {
        let medoids = StructBuilder::from_fields(medoid_fields(), 0);
        Self {
            users: UInt64Builder::new(),
            as_of: TimestampMicrosecondBuilder::new().with_data_type(time_type()),
            medoids: ListBuilder::new(medoids).with_field(medoid_item()),
        }
    }

    fn push(
        &mut self,
        user: UserId,
        as_of: Timestamp,
        medoids: &[Medoid],
    ) -> Result<(), ArrowError> {
        self.users.append_value(user.0);
        self.as_of.append_value(as_of.micros());
        for medoid in medoids {
            push_medoid(self.medoids.values(), medoid).ok_or_else(|| {
                ArrowError::SchemaError(
                    "the columns of a medoid are not those of its schema".into(),
                )
            })?;
        }
        self.medoids.append(true);
        Ok(())
    }

    fn finish(mut self, schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.users.finish()),
            Arc::new(self.as_of.finish()),
            Arc::new(self.medoids.finish()),
        ];
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
    columns.append(true);
    Some(())
}
