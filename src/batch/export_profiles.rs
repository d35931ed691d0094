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
use crate::store::{Profile, ProfilesReader};

const BATCH_USERS: usize = 4_096;

/// Writes the profiles in `profiles` to the Parquet file `out`: `user_id`,
/// `as_of`, `medoids`, a list of structs by falling importance, `complete_through`, and
/// `hidden_pins`, ascending. Returns the number of users.
pub fn export_profiles(profiles: &Path, out: &Path, progress: Progress) -> Result<u64, BatchError> {
    let profiles = ProfilesReader::open(profiles)?;
    let facts = &profiles.manifest().facts;
    let stage = progress.stage("exporting profiles", facts.users);
    let schema = schema();
    let mut count = 0;
    write_parquet_atomically(out, schema.clone(), |writer| {
        let marks = Marks {
            as_of: facts.as_of,
            complete_through: facts.complete_through,
        };
        let mut users = profiles.iter().peekable();
        while users.peek().is_some() {
            let mut batch = Batch::new();
            for (user, profile) in users.by_ref().take(BATCH_USERS) {
                batch.push(user, marks, profile)?;
                count += 1;
                stage.advance(1);
            }
            writer.write(&batch.finish(&schema)?)?;
        }
        Ok(())
    })?;
    Ok(count)
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

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("user_id", DataType::UInt64, false),
        Field::new("as_of", time_type(), false),
        Field::new("medoids", DataType::List(Arc::new(medoid_item())), false),
        Field::new("complete_through", time_type(), false),
        Field::new(
            "hidden_pins",
            DataType::List(Arc::new(hidden_item())),
            false,
        ),
    ]))
}

/// The columns of one batch of users while they are filled.
struct Batch {
    users: UInt64Builder,
    as_of: TimestampMicrosecondBuilder,
    medoids: ListBuilder<StructBuilder>,
    complete_through: TimestampMicrosecondBuilder,
    hidden_pins: ListBuilder<UInt64Builder>,
}

impl Batch {
    fn new() -> Self {
        let medoids = StructBuilder::from_fields(medoid_fields(), 0);
        Self {
            users: UInt64Builder::new(),
            as_of: TimestampMicrosecondBuilder::new().with_data_type(time_type()),
            medoids: ListBuilder::new(medoids).with_field(medoid_item()),
            complete_through: TimestampMicrosecondBuilder::new().with_data_type(time_type()),
            hidden_pins: ListBuilder::new(UInt64Builder::new()).with_field(hidden_item()),
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
        Ok(())
    }

    fn finish(mut self, schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.users.finish()),
            Arc::new(self.as_of.finish()),
            Arc::new(self.medoids.finish()),
            Arc::new(self.complete_through.finish()),
            Arc::new(self.hidden_pins.finish()),
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
    columns
        .field_builder::<UInt32Builder>(4)?
        .append_value(medoid.dislikes);
    columns.append(true);
    Some(())
}
