//! Erasing a user from the files of the archive: each that has the user is replaced by one
//! without, under the same name.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch};

use super::directory::files;
use super::error::ArchiveError;
use super::table::{read_rows, write_actions};
use crate::model::{Timestamp, UserId};

/// What was erased from an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErasedFromArchive {
    /// Files that were replaced.
    pub files: u64,
    /// Actions that are in them no more.
    pub actions: u64,
}

/// Erases the actions of users for whom `erased_at` gives a moment, if they were recorded up
/// to it, or done before it, from all files of the archive `root`, also from those of other
/// stores. A file of which nothing is left stays without rows: its name says what was
/// archived.
pub(super) fn erase(
    root: &Path,
    erased_at: impl Fn(UserId) -> Option<Timestamp>,
) -> Result<ErasedFromArchive, ArchiveError> {
    let mut erased = ErasedFromArchive::default();
    for path in files(root)? {
        let is_erased = |rows: &RecordBatch, row| is_erased(rows, row, &erased_at);
        let mut count = 0;
        for rows in read_rows(&path)? {
            let rows = rows?;
            count += (0..rows.num_rows())
                .filter(|&row| is_erased(&rows, row))
                .count();
        }
        if count > 0 {
            let mut kept = Vec::new();
            let all = read_rows(&path)?;
            let schema = all.schema();
            for rows in all {
                let rows = rows?;
                kept.extend(runs(&rows, |row| !is_erased(&rows, row)).map(Ok));
            }
            write_actions(&path, schema, kept)?;
            erased.files += 1;
            erased.actions += count as u64;
        }
    }
    Ok(erased)
}

/// The rows for which `is_kept` holds, those that stand together as one batch.
fn runs(rows: &RecordBatch, is_kept: impl Fn(usize) -> bool) -> impl Iterator<Item = RecordBatch> {
    let kept: Vec<usize> = (0..rows.num_rows()).filter(|&row| is_kept(row)).collect();
    let runs = kept.chunk_by(|&a, &b| a + 1 == b);
    let runs = runs.map(|run| rows.slice(run[0], run.len()));
    runs.collect::<Vec<_>>().into_iter()
}

/// Whether the action in `row` is one of those to erase. A file with other columns has none.
fn is_erased(
    rows: &RecordBatch,
    row: usize,
    erased_at: impl Fn(UserId) -> Option<Timestamp>,
) -> bool {
    let column = |name| {
        rows.column_by_name(name)
            .filter(|column| !column.is_null(row))
    };
    let users = column("user_id").and_then(|column| column.as_primitive_opt::<UInt64Type>());
    let time = |name| {
        let times = column(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        Some(Timestamp::from_micros(times.value(row)))
    };
    let erased_at = users.and_then(|users| erased_at(UserId(users.value(row))));
    erased_at.is_some_and(|erased_at| {
        time("recorded_at").is_some_and(|time| time <= erased_at)
            || time("time").is_some_and(|time| time < erased_at)
    })
}
