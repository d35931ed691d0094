//! Recorded actions as rows of a Parquet file.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, RecordBatch, RecordBatchReader, StringArray,
    TimestampMicrosecondArray, UInt64Array, new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::error::ArchiveError;
use crate::durable::PlacedAction;
use crate::model::{ActionId, ActionKeys, Timestamp};
use crate::snapshot::{SnapshotError, write_file};

/// Bytes of the id of an action.
const ID_BYTES: i32 = size_of::<ActionId>() as i32;
const UTC: &str = "UTC";

/// Columns of a file in which an action has keys, behind those of every file.
const KEY_COLUMNS: [&str; 3] = ["user_key", "pin_key", "medoid_pin_key"];

/// The columns of recorded actions, of which some may have keys.
#[must_use]
pub fn schema(has_keys: bool) -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    let mut columns = vec![
        Field::new("action_id", DataType::FixedSizeBinary(ID_BYTES), false),
        Field::new("user_id", DataType::UInt64, false),
        Field::new("pin_id", DataType::UInt64, false),
        Field::new("time", time(), false),
        Field::new("action", DataType::Utf8, false),
        Field::new("medoid_pin_id", DataType::UInt64, true),
        Field::new("recorded_at", time(), false),
    ];
    if has_keys {
        let column = |name| Field::new(name, DataType::Utf8, true);
        columns.extend(KEY_COLUMNS.map(column));
    }
    Arc::new(Schema::new(columns))
}

/// The columns of a file that has all the rows of `files`.
#[must_use]
pub fn joined_schema(files: &[FileRows]) -> SchemaRef {
    let has_keys = |file: &FileRows| {
        let columns = file.schema();
        KEY_COLUMNS.iter().any(|key| columns.index_of(key).is_ok())
    };
    schema(files.iter().any(has_keys))
}

/// `rows` with the columns of `schema`, empty where `rows` have none.
pub fn with_columns_of(schema: &SchemaRef, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |field: &Arc<Field>| {
        let column = rows.column_by_name(field.name()).cloned();
        column.unwrap_or_else(|| new_null_array(field.data_type(), rows.num_rows()))
    };
    let columns = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(schema.clone(), columns)
}

/// Writes `batches`, which have the columns of `schema`, to the Parquet file `path`, which
/// appears when it is complete and durable.
pub fn write_actions(
    path: &Path,
    schema: SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch, ArchiveError>>,
) -> Result<(), ArchiveError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    write_file(path, |file| {
        let failed = |error: parquet::errors::ParquetError| ArchiveError::parquet(path, &error);
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(failed)?;
        for batch in batches {
            writer.write(&batch?).map_err(failed)?;
        }
        writer.into_inner().map_err(failed)
    })
}

/// The rows of a file, in batches.
pub struct FileRows {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl fmt::Debug for FileRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = f.debug_struct("FileRows");
        rows.field("path", &self.path).finish_non_exhaustive()
    }
}

impl FileRows {
    /// The columns of the file.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.reader.schema()
    }
}

impl Iterator for FileRows {
    type Item = Result<RecordBatch, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.reader.next()?;
        Some(rows.map_err(|error| ArchiveError::parquet(&self.path, &error)))
    }
}

/// The rows of a file that [`write_actions`] has written.
pub fn read_rows(path: &Path) -> Result<FileRows, ArchiveError> {
    let file = File::open(path).map_err(SnapshotError::io(path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| ArchiveError::parquet(path, &error))?;
    Ok(FileRows {
        path: path.to_owned(),
        reader,
    })
}

/// The rows of `actions`, with columns of keys where an action has any.
pub fn rows(actions: &[PlacedAction]) -> Result<RecordBatch, ArrowError> {
    let ids = actions.iter().map(|recorded| recorded.action.id.0);
    let numbers = |number: fn(&PlacedAction) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(actions.iter().map(number)))
    };
    let times = |time: fn(&PlacedAction) -> Timestamp| -> ArrayRef {
        let micros = actions.iter().map(|recorded| time(recorded).micros());
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone(UTC))
    };
    let names = actions.iter().map(|recorded| &recorded.action.name);
    let medoids = actions.iter().map(|recorded| recorded.action.medoid);
    let medoids = medoids.map(|medoid| medoid.map(|pin| pin.0));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeBinaryArray::try_from_iter(ids)?),
        numbers(|recorded| recorded.action.user.0),
        numbers(|recorded| recorded.action.pin.0),
        times(|recorded| recorded.action.time),
        Arc::new(StringArray::from_iter_values(names)),
        Arc::new(medoids.collect::<UInt64Array>()),
        times(|recorded| recorded.place.recorded_at),
    ];
    let has_keys = actions
        .iter()
        .any(|recorded| recorded.action.keys.is_some());
    if has_keys {
        columns.extend(key_columns(actions));
    }
    RecordBatch::try_new(schema(has_keys), columns)
}

/// The columns [`KEY_COLUMNS`] of `actions`.
fn key_columns(actions: &[PlacedAction]) -> [ArrayRef; KEY_COLUMNS.len()] {
    let column = |key: fn(&ActionKeys) -> Option<&str>| -> ArrayRef {
        let keys = actions
            .iter()
            .map(|recorded| recorded.action.keys.as_deref());
        Arc::new(keys.map(|keys| key(keys?)).collect::<StringArray>())
    };
    [
        column(|keys| keys.user.as_deref()),
        column(|keys| keys.pin.as_deref()),
        column(|keys| keys.medoid.as_deref()),
    ]
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;

    use super::*;
    use crate::durable::Place;
    use crate::model::{Action, PinId, UserId};

    /// An action of the user with this key; none for a user called by a number.
    fn action(sequence: u64, user_key: Option<&str>) -> PlacedAction {
        let keys = ActionKeys {
            user: user_key.map(str::to_owned),
            ..ActionKeys::default()
        };
        PlacedAction {
            place: Place {
                sequence,
                recorded_at: Timestamp::from_micros(sequence as i64),
            },
            action: Action {
                id: ActionId([7; 16]),
                user: user_key.map_or(UserId(7), UserId::of_key),
                pin: PinId(1),
                name: "save".to_owned(),
                time: Timestamp::from_micros(3),
                medoid: None,
                keys: keys.some(),
            },
        }
    }

    fn user_keys(rows: &RecordBatch) -> Vec<Option<&str>> {
        let keys = rows.column_by_name("user_key").expect("a column");
        keys.as_string::<i32>().iter().collect()
    }

    #[test]
    fn only_rows_with_keys_have_columns_of_them() {
        let without = rows(&[action(1, None)]).expect("rows");
        assert_eq!(
            (without.schema(), without.num_columns()),
            (schema(false), 7)
        );
        let with = rows(&[action(1, None), action(2, Some("user-1"))]).expect("rows");
        assert_eq!((with.schema(), with.num_columns()), (schema(true), 10));
        assert_eq!(user_keys(&with), [None, Some("user-1")]);
        for column in ["pin_key", "medoid_pin_key"] {
            let keys = with.column_by_name(column).expect("a column");
            assert_eq!(keys.null_count(), 2, "{column}");
        }
    }

    #[test]
    fn files_of_both_kinds_become_one_with_keys() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, action: PlacedAction| {
            let path = directory.path().join(name);
            let rows = rows(&[action]).expect("rows");
            write_actions(&path, rows.schema(), [Ok(rows)]).expect("a file");
            read_rows(&path).expect("a file")
        };
        let files = [
            write("1", action(1, None)),
            write("2", action(2, Some("tea"))),
        ];
        assert_eq!(files[0].schema(), schema(false));
        assert_eq!(joined_schema(&files[..1]), schema(false));
        let joined = joined_schema(&files);
        assert_eq!(joined, schema(true));
        let all = files.into_iter().flatten();
        let all = all.map(|rows| with_columns_of(&joined, &rows.expect("rows")).expect("rows"));
        let all: Vec<RecordBatch> = all.collect();
        let keys: Vec<_> = all.iter().flat_map(user_keys).collect();
        assert_eq!(keys, [None, Some("tea")]);
    }
}
