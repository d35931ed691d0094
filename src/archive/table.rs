//! Recorded actions as rows of a Parquet file.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::error::ArchiveError;
use crate::durable::PlacedAction;
use crate::model::{ActionId, Timestamp};
use crate::snapshot::{SnapshotError, write_file};

/// Bytes of the id of an action.
const ID_BYTES: i32 = size_of::<ActionId>() as i32;
const UTC: &str = "UTC";

/// The columns of recorded actions.
#[must_use]
pub fn schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    Arc::new(Schema::new(vec![
        Field::new("action_id", DataType::FixedSizeBinary(ID_BYTES), false),
        Field::new("user_id", DataType::UInt64, false),
        Field::new("pin_id", DataType::UInt64, false),
        Field::new("time", time(), false),
        Field::new("action", DataType::Utf8, false),
        Field::new("medoid_pin_id", DataType::UInt64, true),
        Field::new("recorded_at", time(), false),
    ]))
}

/// Writes `batches` of [`schema`] to the Parquet file `path`, which appears when it is
/// complete and durable.
pub fn write_actions(
    path: &Path,
    batches: impl IntoIterator<Item = Result<RecordBatch, ArchiveError>>,
) -> Result<(), ArchiveError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    write_file(path, |file| {
        let failed = |error: parquet::errors::ParquetError| ArchiveError::parquet(path, &error);
        let mut writer = ArrowWriter::try_new(file, schema(), Some(properties)).map_err(failed)?;
        for batch in batches {
            writer.write(&batch?).map_err(failed)?;
        }
        writer.into_inner().map_err(failed)
    })
}

/// The rows of a file that [`write_actions`] has written.
pub fn read_rows(
    path: &Path,
) -> Result<impl Iterator<Item = Result<RecordBatch, ArchiveError>>, ArchiveError> {
    let file = File::open(path).map_err(SnapshotError::io(path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| ArchiveError::parquet(path, &error))?;
    let path = path.to_owned();
    Ok(reader.map(move |rows| rows.map_err(|error| ArchiveError::parquet(&path, &error))))
}

/// The rows of `actions`.
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
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(FixedSizeBinaryArray::try_from_iter(ids)?),
            numbers(|recorded| recorded.action.user.0),
            numbers(|recorded| recorded.action.pin.0),
            times(|recorded| recorded.action.time),
            Arc::new(StringArray::from_iter_values(names)),
            Arc::new(medoids.collect::<UInt64Array>()),
            times(|recorded| recorded.place.recorded_at),
        ],
    )
}
