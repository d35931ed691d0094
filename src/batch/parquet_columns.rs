//! Typed columns of Parquet files.
//!
//! A file is opened with the names of its columns; the others are not read.
//! A column that is missing or of another type is an error of the file. Within a
//! column, a value is `None` where the file says null.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::error::BatchError;
use crate::model::{ActionId, Timestamp};

const BATCH_ROWS: usize = 8_192;

/// A Parquet file of which some columns are read.
pub(super) struct Table {
    path: PathBuf,
    schema: SchemaRef,
    rows: u64,
    reader: ParquetRecordBatchReader,
}

impl Table {
    /// Opens the file at `path` for those of the columns `names` that it has.
    pub(super) fn open(path: &Path, names: &[&str]) -> Result<Self, BatchError> {
        let failed = |e: &dyn std::fmt::Display| BatchError::file(path, e);
        let file = File::open(path).map_err(|e| failed(&e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|e| failed(&format!("not a readable Parquet file: {e}")))?;
        let schema = builder.schema().clone();
        let indices = (0..schema.fields().len())
            .filter(|&index| names.contains(&schema.field(index).name().as_str()));
        let mask = ProjectionMask::roots(builder.parquet_schema(), indices);
        let rows = builder.metadata().file_metadata().num_rows();
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|e| failed(&e))?;
        Ok(Self {
            path: path.to_owned(),
            schema,
            rows: rows.max(0).cast_unsigned(),
            reader,
        })
    }

    /// Number of rows of the file.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether the file has the column `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.schema.column_with_name(name).is_some()
    }

    /// Refuses the file unless its column `name` is there and of a type that
    /// `accepts`, which the error calls `expected`.
    pub(super) fn require(
        &self,
        name: &str,
        expected: &str,
        accepts: fn(&DataType) -> bool,
    ) -> Result<(), BatchError> {
        match self.schema.field_with_name(name) {
            Err(_) => Err(BatchError::file(
                &self.path,
                format!("column {name} is missing"),
            )),
            Ok(field) if accepts(field.data_type()) => Ok(()),
            Ok(field) => {
                let found = field.data_type();
                let reason = format!("column {name} is {found}, where it should be {expected}");
                Err(BatchError::file(&self.path, reason))
            }
        }
    }

    /// The next rows, and the number of the first of them.
    pub(super) fn batches(self) -> impl Iterator<Item = Result<(u64, RecordBatch), BatchError>> {
        let Self { path, reader, .. } = self;
        let mut next = 0;
        reader.map(move |batch| {
            let batch = batch.map_err(|e| BatchError::file(&path, e))?;
            let first = next;
            next += batch.num_rows() as u64;
            Ok((first, batch))
        })
    }
}

/// The column `name` of a batch, if the file has it.
pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    batch.column_by_name(name)
}

pub(super) fn is_id(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::UInt64)
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// Whether values may be ids of actions: 16 bytes, or strings that spell them.
pub(super) fn is_action_id(data_type: &DataType) -> bool {
    let is_bytes = matches!(
        data_type,
        DataType::FixedSizeBinary(16)
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    );
    is_bytes || is_text(data_type)
}

pub(super) fn is_float(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64)
}

pub(super) fn is_vector(data_type: &DataType) -> bool {
    let (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)) =
        data_type
    else {
        return false;
    };
    *item.data_type() == DataType::Float32
}

pub(super) fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(..) | DataType::Int64)
}

/// The id in `row`. Null and negative numbers are no ids.
pub(super) fn id(column: &ArrayRef, row: usize) -> Result<u64, &'static str> {
    if column.is_null(row) {
        return Err("is null");
    }
    match column.as_primitive_opt::<UInt64Type>() {
        Some(ids) => Ok(ids.value(row)),
        None => {
            u64::try_from(column.as_primitive::<Int64Type>().value(row)).map_err(|_| "is negative")
        }
    }
}

/// The string in `row`.
pub(super) fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    if column.is_null(row) {
        return None;
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return Some(texts.value(row));
    }
    if let Some(texts) = column.as_string_opt::<i64>() {
        return Some(texts.value(row));
    }
    column.as_string_view_opt().map(|texts| texts.value(row))
}

/// The id of an action in `row`; none where the file says null. It is 16 bytes, or a
/// string of 32 hexadecimal digits, with or without the hyphens of a UUID.
pub(super) fn action_id(column: &ArrayRef, row: usize) -> Result<Option<ActionId>, &'static str> {
    if column.is_null(row) {
        return Ok(None);
    }
    let id = match text(column, row) {
        Some(text) => raw_action_id(text.as_bytes()).or_else(|| spelled_action_id(text)),
        None => raw_action_id(bytes(column, row)),
    };
    id.map(Some).ok_or("is neither 16 bytes nor a UUID")
}

fn raw_action_id(bytes: &[u8]) -> Option<ActionId> {
    bytes.try_into().ok().map(ActionId)
}

fn spelled_action_id(text: &str) -> Option<ActionId> {
    let digits = text.replace('-', "");
    let is_spelled = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u128::from_str_radix(&digits, 16).ok();
    id.filter(|_| is_spelled)
        .map(|id| ActionId(id.to_be_bytes()))
}

/// The bytes in `row`, which is not null.
fn bytes(column: &ArrayRef, row: usize) -> &[u8] {
    if let Some(bytes) = column.as_binary_opt::<i32>() {
        return bytes.value(row);
    }
    if let Some(bytes) = column.as_binary_opt::<i64>() {
        return bytes.value(row);
    }
    match column.as_binary_view_opt() {
        Some(bytes) => bytes.value(row),
        None => column.as_fixed_size_binary().value(row),
    }
}

/// The number in `row`.
pub(super) fn float(column: &ArrayRef, row: usize) -> Option<f64> {
    if column.is_null(row) {
        return None;
    }
    match column.as_primitive_opt::<Float32Type>() {
        Some(floats) => Some(f64::from(floats.value(row))),
        None => Some(column.as_primitive::<Float64Type>().value(row)),
    }
}

/// Replaces `out` by the vector in `row`.
pub(super) fn vector(
    column: &ArrayRef,
    row: usize,
    out: &mut Vec<f32>,
) -> Result<(), &'static str> {
    out.clear();
    if column.is_null(row) {
        return Err("is null");
    }
    let items = if let Some(lists) = column.as_list_opt::<i32>() {
        lists.value(row)
    } else if let Some(lists) = column.as_list_opt::<i64>() {
        lists.value(row)
    } else {
        column.as_fixed_size_list().value(row)
    };
    if items.null_count() > 0 {
        return Err("has a null component");
    }
    out.extend_from_slice(items.as_primitive::<Float32Type>().values());
    Ok(())
}

/// The time in `row`: a timestamp of any unit, or seconds since 1970.
pub(super) fn time(column: &ArrayRef, row: usize) -> Result<Timestamp, &'static str> {
    const RANGE: &str = "is out of range";
    if column.is_null(row) {
        return Err("is null");
    }
    let DataType::Timestamp(unit, _) = column.data_type() else {
        let seconds = column.as_primitive::<Int64Type>().value(row);
        return Timestamp::from_seconds(seconds).ok_or(RANGE);
    };
    match unit {
        TimeUnit::Second => {
            let seconds = column.as_primitive::<TimestampSecondType>().value(row);
            Timestamp::from_seconds(seconds).ok_or(RANGE)
        }
        TimeUnit::Millisecond => {
            let millis = column.as_primitive::<TimestampMillisecondType>().value(row);
            millis
                .checked_mul(1_000)
                .map(Timestamp::from_micros)
                .ok_or(RANGE)
        }
        TimeUnit::Microsecond => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            Ok(Timestamp::from_micros(micros))
        }
        TimeUnit::Nanosecond => {
            let nanos = column.as_primitive::<TimestampNanosecondType>().value(row);
            Ok(Timestamp::from_micros(nanos.div_euclid(1_000)))
        }
    }
}

/// The bits of the integer in `row`, whatever its sign.
pub(super) fn bits(column: &ArrayRef, row: usize) -> Option<u64> {
    if column.is_null(row) {
        return None;
    }
    match column.as_primitive_opt::<UInt64Type>() {
        Some(bits) => Some(bits.value(row)),
        None => Some(
            column
                .as_primitive::<Int64Type>()
                .value(row)
                .cast_unsigned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, BinaryViewArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array,
        Float64Array, Int64Array, LargeBinaryArray, LargeListArray, LargeStringArray, ListArray,
        StringArray, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
        TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
    };

    use super::*;

    #[test]
    fn ids_are_of_both_signs_and_never_negative_or_null() {
        let signed: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(-1), None]));
        assert_eq!(id(&signed, 0), Ok(7));
        assert_eq!(id(&signed, 1), Err("is negative"));
        assert_eq!(id(&signed, 2), Err("is null"));
        assert_eq!(bits(&signed, 1), Some(u64::MAX));
        assert_eq!(bits(&signed, 2), None);
        let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert_eq!(id(&unsigned, 0), Ok(u64::MAX));
        assert_eq!(bits(&unsigned, 0), Some(u64::MAX));
    }

    #[test]
    fn times_of_every_unit_are_the_same_moment() {
        let columns: [ArrayRef; 5] = [
            Arc::new(Int64Array::from(vec![3])),
            Arc::new(TimestampSecondArray::from(vec![3])),
            Arc::new(TimestampMillisecondArray::from(vec![3_000])),
            Arc::new(TimestampMicrosecondArray::from(vec![3_000_000])),
            Arc::new(TimestampNanosecondArray::from(vec![3_000_000_999])),
        ];
        for column in &columns {
            assert!(is_time(column.data_type()));
            assert_eq!(time(column, 0), Ok(Timestamp::from_micros(3_000_000)));
        }
        let too_late: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![i64::MAX]));
        assert_eq!(time(&too_late, 0), Err("is out of range"));
    }

    #[test]
    fn strings_and_floats_of_every_width_are_read() {
        let strings: [ArrayRef; 3] = [
            Arc::new(StringArray::from(vec![Some("tea"), None])),
            Arc::new(LargeStringArray::from(vec![Some("tea"), None])),
            Arc::new(StringViewArray::from(vec![Some("tea"), None])),
        ];
        for column in &strings {
            assert!(is_text(column.data_type()));
            assert_eq!((text(column, 0), text(column, 1)), (Some("tea"), None));
        }
        let floats: [ArrayRef; 2] = [
            Arc::new(Float32Array::from(vec![Some(0.5), None])),
            Arc::new(Float64Array::from(vec![Some(0.5), None])),
        ];
        for column in &floats {
            assert!(is_float(column.data_type()));
            assert_eq!((float(column, 0), float(column, 1)), (Some(0.5), None));
        }
    }

    #[test]
    fn ids_of_actions_are_16_bytes_or_spelled() {
        let expected = Ok(Some(ActionId(*b"0123456789abcdef")));
        let raw = || Some(&b"0123456789abcdef"[..]);
        let columns: [ArrayRef; 6] = [
            Arc::new(BinaryArray::from(vec![raw(), None, Some(b"1")])),
            Arc::new(LargeBinaryArray::from(vec![raw(), None, Some(b"1")])),
            Arc::new(BinaryViewArray::from(vec![raw(), None, Some(b"1")])),
            Arc::new(StringArray::from(vec![
                Some("0123456789abcdef"),
                None,
                Some("1"),
            ])),
            Arc::new(StringArray::from(vec![
                Some("30313233343536373839616263646566"),
                None,
                Some("+0313233343536373839616263646566"),
            ])),
            Arc::new(StringArray::from(vec![
                Some("30313233-3435-3637-3839-616263646566"),
                None,
                Some("evt-1"),
            ])),
        ];
        for column in &columns {
            assert!(is_action_id(column.data_type()));
            assert_eq!(action_id(column, 0), expected);
            assert_eq!(action_id(column, 1), Ok(None));
            let error = action_id(column, 2).expect_err("no id");
            assert_eq!(error, "is neither 16 bytes nor a UUID");
        }
        let fixed: ArrayRef = Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size([raw(), None].into_iter(), 16)
                .expect("an array"),
        );
        assert!(is_action_id(fixed.data_type()));
        assert_eq!(action_id(&fixed, 0), expected);
        assert_eq!(action_id(&fixed, 1), Ok(None));
    }

    #[test]
    fn vectors_of_every_list_type_are_read() {
        let rows = || vec![Some(vec![Some(1.0), Some(2.0)]), None];
        let columns: [ArrayRef; 3] = [
            Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows())),
            Arc::new(LargeListArray::from_iter_primitive::<Float32Type, _, _>(
                rows(),
            )),
            Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows(), 2)),
        ];
        let mut found = vec![9.0];
        for column in &columns {
            assert!(is_vector(column.data_type()));
            assert_eq!(vector(column, 0, &mut found), Ok(()));
            assert_eq!(found, [1.0, 2.0]);
            assert_eq!(vector(column, 1, &mut found), Err("is null"));
        }
        let with_null = vec![Some(vec![Some(1.0), None])];
        let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(
            with_null,
        ));
        assert_eq!(vector(&column, 0, &mut found), Err("has a null component"));
    }
}
