//! Erasing a user from the files of the archive: each that has the user is replaced by one
//! without, under the same name.

use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch};

use super::directory::files;
use super::error::ArchiveError;
use super::table::{read_rows, write_actions};
use crate::durable::{Erasure, Log, UserDigest};
use crate::model::{Timestamp, UserId};

/// What was erased from an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErasedFromArchive {
    /// Files that were replaced.
    pub files: u64,
    /// Actions that are in them no more.
    pub actions: u64,
}

/// Users whom a log has erased, of whom it has the digests alone.
pub(super) struct ErasedUsers<'a> {
    log: &'a Log,
    /// By ascending digest.
    erasures: Vec<(UserDigest, Erasure)>,
    /// One of them who is known, and the digest.
    known: Option<(UserId, UserDigest)>,
    /// Whether there is no other.
    is_alone: bool,
}

impl<'a> ErasedUsers<'a> {
    /// The users of `erasures`, which are in the order in which `log` has them. One of them may
    /// be known.
    pub(super) fn new(
        log: &'a Log,
        erasures: Vec<(UserDigest, Erasure)>,
        known: Option<(UserId, UserDigest)>,
    ) -> Self {
        let known_digest = known.map(|(_, digest)| digest);
        Self {
            is_alone: matches!(erasures[..], [(user, _)] if known_digest == Some(user)),
            log,
            erasures,
            known,
        }
    }

    /// When `user` was erased; none for others.
    pub(super) fn erased_at(&self, user: UserId) -> Option<Timestamp> {
        // Digests take time, and mostly there is but one user.
        let digest = match self.known {
            Some((known, digest)) if known == user => digest,
            Some(_) if self.is_alone => return None,
            _ => self.log.digest(user),
        };
        let erasures = &self.erasures;
        let found = erasures.binary_search_by_key(&digest, |&(user, _)| user);
        found.ok().map(|at| erasures[at].1.erased_at)
    }
}

/// Erases the actions of users for whom `erased_at` gives a moment, if they were recorded up
/// to it, or done before it, from all files of the archive `root`, also from those of other
/// stores. A file of which nothing is left stays without rows: its name says what was
/// archived.
pub(super) fn erase(
    root: &Path,
    erased_at: impl Fn(UserId) -> Option<Timestamp>,
) -> Result<ErasedFromArchive, ArchiveError> {
    erase_in(&files(root)?, erased_at, &mut Vec::new())
}

/// The same, but from the files `paths` alone. Adds those that are replaced to `replaced`, also
/// before an error.
pub(super) fn erase_in(
    paths: &[PathBuf],
    erased_at: impl Fn(UserId) -> Option<Timestamp>,
    replaced: &mut Vec<PathBuf>,
) -> Result<ErasedFromArchive, ArchiveError> {
    let mut erased = ErasedFromArchive::default();
    for path in paths {
        let is_erased = |rows: &RecordBatch, row| is_erased(rows, row, &erased_at);
        let mut count = 0;
        for rows in read_rows(path)? {
            let rows = rows?;
            count += (0..rows.num_rows())
                .filter(|&row| is_erased(&rows, row))
                .count();
        }
        if count > 0 {
            let mut kept = Vec::new();
            let all = read_rows(path)?;
            let schema = all.schema();
            for rows in all {
                let rows = rows?;
                kept.extend(runs(&rows, |row| !is_erased(&rows, row)).map(Ok));
            }
            replaced.push(path.clone());
            write_actions(path, schema, kept)?;
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
