//! Moving actions by whole days, so that a sample of some years ago ends yesterday.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};

use super::action_columns::{TIME, open};
use super::atomic_parquet::{time_type, write_parquet_atomically};
use super::bad_rows::{BadRowParams, BadRows};
use super::columns::time;
use super::error::BatchError;
use super::input_files::InputFile;
use super::input_table::column;
use crate::model::Timestamp;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Rows of a file of actions, and their times.
struct Rows {
    batch: RecordBatch,
    times: Vec<Timestamp>,
}

/// Writes the actions of the Parquet file `from` to `to`, each later by the same number of
/// whole days, so that the newest of them falls on the day of `last_day`; their times of
/// day stay. Returns that number, which is negative when they become earlier.
///
/// Fails when `from` has no actions or bad rows, and when a file cannot be read or written.
pub fn shift_actions(from: &Path, to: &Path, last_day: Timestamp) -> Result<i64, BatchError> {
    let rows = read(from)?;
    let newest = rows.iter().flat_map(|rows| &rows.times).max();
    let Some(newest) = newest else {
        return Err(BatchError::file(from, "has no actions"));
    };
    let days = last_day.day() - newest.day();
    let schema = shifted_schema(&rows[0].batch.schema());
    write_parquet_atomically(to, schema.clone(), |writer| {
        for rows in &rows {
            writer.write(&rows.shifted(&schema, days)?)?;
        }
        Ok(())
    })?;
    Ok(days)
}

/// Reads the columns of actions, and all times.
fn read(path: &Path) -> Result<Vec<Rows>, BatchError> {
    let file = InputFile::new(path.to_owned())?;
    let mut read = Vec::new();
    let mut bad = BadRows::new(&BadRowParams::default())?;
    for rows in open(&file, &[])?.batches() {
        let rows = rows?;
        let Some(column) = column(&rows.batch, TIME) else {
            continue;
        };
        let mut times = Vec::with_capacity(rows.batch.num_rows());
        for row in 0..rows.batch.num_rows() {
            match time(column, row) {
                Ok(time) => times.push(time),
                Err(reason) => bad.push(path, rows.first + row as u64, format!("{TIME} {reason}")),
            }
        }
        read.push(Rows {
            batch: rows.batch,
            times,
        });
    }
    bad.require_none()?;
    Ok(read)
}

/// The same columns, with times in microseconds.
fn shifted_schema(schema: &Schema) -> SchemaRef {
    let shifted = |field: &Arc<Field>| match field.name() == TIME {
        true => Arc::new(Field::new(TIME, time_type(), false)),
        false => field.clone(),
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(shifted).collect();
    Arc::new(Schema::new(fields))
}

impl Rows {
    fn shifted(&self, schema: &SchemaRef, days: i64) -> Result<RecordBatch, ArrowError> {
        let shift = |time: &Timestamp| time.micros().saturating_add(days * MICROS_PER_DAY);
        let times = TimestampMicrosecondArray::from_iter_values(self.times.iter().map(shift));
        let times: ArrayRef = Arc::new(times.with_data_type(time_type()));
        let mut columns = self.batch.columns().to_vec();
        columns[schema.index_of(TIME)?] = times;
        RecordBatch::try_new(schema.clone(), columns)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;

    use arrow_array::{Int64Array, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    const DAY: i64 = 86_400;
    const NOON: i64 = DAY / 2;

    /// A file with one action at each of these seconds.
    fn file(directory: &Path, seconds: Vec<Option<i64>>) -> PathBuf {
        let path = directory.join("actions.parquet");
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..seconds.len() as i64));
        let names = StringArray::from_iter_values(seconds.iter().map(|_| "click"));
        let columns: [(&str, ArrayRef); 5] = [
            ("user_id", ids.clone()),
            ("price", ids.clone()),
            (TIME, Arc::new(Int64Array::from(seconds))),
            ("pin_id", ids),
            ("action", Arc::new(names)),
        ];
        let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let out = File::create(&path).expect("a file");
        let mut writer = ArrowWriter::try_new(out, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("a batch");
        writer.close().expect("a footer");
        path
    }

    fn day(number: i64) -> Timestamp {
        Timestamp::from_seconds(number * DAY + 77).expect("a time")
    }

    #[test]
    fn the_newest_action_falls_on_the_last_day_at_its_time_of_day() {
        let directory = tempfile::tempdir().expect("a directory");
        let seconds = [5 * DAY + NOON, 9 * DAY + 1, 7 * DAY - 1];
        let from = file(directory.path(), seconds.map(Some).to_vec());
        let to = directory.path().join("shifted.parquet");
        for last_day in [9, 3_000, 2] {
            let days = shift_actions(&from, &to, day(last_day)).expect("shifted actions");
            assert_eq!(days, last_day - 9);
            let [rows] = &read(&to).expect("actions")[..] else {
                panic!("one batch");
            };
            let micros: Vec<i64> = rows.times.iter().map(|time| time.micros()).collect();
            let expected = seconds.map(|second| (second + days * DAY) * 1_000_000);
            assert_eq!(micros, expected);
            let [original] = &read(&from).expect("actions")[..] else {
                panic!("one batch");
            };
            for name in ["user_id", "pin_id", "action"] {
                assert_eq!(column(&rows.batch, name), column(&original.batch, name));
            }
            assert_eq!(column(&rows.batch, "price"), None, "no column of actions");
        }
    }

    #[test]
    fn a_file_without_actions_or_with_a_bad_time_is_refused_by_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let to = directory.path().join("shifted.parquet");
        for (seconds, reason) in [
            (vec![], "has no actions"),
            (vec![Some(1), None], "row 1: time"),
        ] {
            let from = file(directory.path(), seconds);
            let error = shift_actions(&from, &to, day(1))
                .expect_err(reason)
                .to_string();
            assert!(
                error.contains("actions.parquet") && error.contains(reason),
                "{error}"
            );
            assert!(!to.exists());
        }
    }
}
