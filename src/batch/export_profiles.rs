//! Writing profiles as Parquet, so that a warehouse can read them.

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::builder::{TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};

use super::atomic_parquet::{time_type, write_parquet_atomically};
use super::error::BatchError;
use super::ids::USER;
use crate::index::{Catalog, PinTable};
use crate::model::{Medoid, Timestamp, UserId};
use crate::progress::Progress;
use crate::store::{Profile, ProfilesReader};

const BATCH_USERS: usize = 4_096;
const MEDOID_PIN_KEYS: &str = "medoid_pin_keys";
const HIDDEN_PIN_KEYS: &str = "hidden_pin_keys";

/// Writes the profiles in `profiles` to the Parquet file `out`: `user_id`,
/// `as_of`, `medoids`, a list of structs by falling importance, `complete_through`, and
/// `hidden_pins`, ascending. Where users have keys, `user_key` follows; where the pins of
/// `catalog` have, `medoid_pin_keys` and `hidden_pin_keys`, lists in the order of the pins,
/// null for a pin that the catalog does not have. Returns the number of users.
pub fn export_profiles(
    profiles: &Path,
    catalog: Option<&Path>,
    out: &Path,
    progress: Progress,
) -> Result<u64, BatchError> {
    let profiles = ProfilesReader::open(profiles)?;
    let pins = match catalog {
        Some(catalog) => Some(Catalog::open_pins(catalog)?.1),
        None => None,
    };
    let pins = pins.filter(PinTable::has_keys);
    let facts = &profiles.manifest().facts;
    let stage = progress.stage("exporting profiles", facts.users);
    let schema = schema(facts.string_user_ids, pins.is_some());
    let mut count = 0;
    write_parquet_atomically(out, schema.clone(), |writer| {
        let marks = Marks {
            as_of: facts.as_of,
            complete_through: facts.complete_through,
        };
        let mut users = profiles.iter().enumerate().peekable();
        while users.peek().is_some() {
            let mut batch = Batch::new(pins.as_ref());
            for (position, (user, profile)) in users.by_ref().take(BATCH_USERS) {
                batch.push(user, marks, profile)?;
                batch.push_keys(profiles.key(position), profile);
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

fn key_item() -> Field {
    Field::new("item", DataType::Utf8, true)
}

fn schema(has_user_keys: bool, has_pin_keys: bool) -> Arc<Schema> {
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
}

impl<'a> Batch<'a> {
    fn new(pins: Option<&'a PinTable>) -> Self {
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
