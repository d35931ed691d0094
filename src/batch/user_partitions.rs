//! Grouping actions by user without holding all of them in memory: records are spread
//! over partition files by user, so that each file fits in memory and holds all records
//! of its users.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::action_reader::{ActionFiles, ActionRecord, Filter, InputFacts, ReadActions};
use super::bad_rows::BadRowParams;
use super::error::BatchError;
use super::user_keys::{UserKeyWriter, UserKeys, partition_of};
use crate::model::UserId;
use crate::progress::Stage;
use crate::snapshot::SnapshotError;
use crate::store::ActionCounts;

/// Bytes of the buffer of each file: there may be as many as partitions at a time.
const BUFFER: usize = 1 << 14;
/// Most partition files: each is an open file and a buffer, and a process may often have no
/// more than 1,024 files open.
const MAX_PARTITIONS: u64 = 960;

/// Records, spread over files by user.
pub(super) struct Partitions {
    directory: PathBuf,
    files: Vec<PartitionFile>,
    /// None before the first key.
    user_keys: Option<UserKeyWriter>,
}

struct PartitionFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

/// Partition files that hold all accepted actions.
pub(super) struct FilledPartitions {
    pub(super) paths: Vec<PathBuf>,
    /// Outcome of each action; the accepted ones are not counted yet.
    pub(super) counts: ActionCounts,
    pub(super) facts: InputFacts,
    /// Keys of the users; none where they are called by numbers.
    pub(super) user_keys: Option<UserKeys>,
}

impl Partitions {
    /// Partitions in `directory` for `records` records, such that each takes about
    /// `bytes` of memory.
    pub(super) fn create(directory: &Path, records: u64, bytes: u64) -> Result<Self, BatchError> {
        let all = records.saturating_mul(size_of::<ActionRecord>() as u64);
        let count = all.div_ceil(bytes.max(1)).clamp(1, MAX_PARTITIONS);
        let create = |number| {
            let path = directory.join(format!("actions-{number}"));
            let file = File::create_new(&path).map_err(SnapshotError::io(&path))?;
            let writer = BufWriter::with_capacity(BUFFER, file);
            Ok(PartitionFile { path, writer })
        };
        let files: Result<Vec<PartitionFile>, SnapshotError> = (0..count).map(create).collect();
        let files = files?;
        Ok(Self {
            directory: directory.to_owned(),
            files,
            user_keys: None,
        })
    }

    /// Reads the actions of `files` that `filter` accepts into the partitions.
    pub(super) fn fill(
        mut self,
        files: &ActionFiles,
        filter: &Filter<'_>,
        bad_rows: &BadRowParams,
        stage: &Stage,
    ) -> Result<FilledPartitions, BatchError> {
        let ReadActions { counts, facts } =
            files.read(filter, bad_rows, stage, |record, user_key| {
                user_key.map_or(Ok(()), |key| self.push_key(record.user, key))?;
                self.push(record)
            })?;
        let Self {
            files, user_keys, ..
        } = self;
        Ok(FilledPartitions {
            paths: close(files)?,
            counts,
            facts,
            user_keys: user_keys.map(UserKeyWriter::finish).transpose()?,
        })
    }

    /// Notes the key of a user.
    fn push_key(&mut self, user: UserId, key: &str) -> Result<(), BatchError> {
        let partitions = self.files.len();
        let writer = match &mut self.user_keys {
            Some(writer) => writer,
            none => none.insert(UserKeyWriter::create(&self.directory, partitions)?),
        };
        writer.push(user, key)
    }

    /// Appends a record to the partition of its user.
    pub(super) fn push(&mut self, record: ActionRecord) -> Result<(), BatchError> {
        let number = partition_of(record.user, self.files.len());
        let PartitionFile { path, writer } = &mut self.files[number];
        let written = writer.write_all(bytemuck::bytes_of(&record));
        written.map_err(|e| SnapshotError::io(path)(e).into())
    }

    /// The paths of the partitions, ready to be read.
    #[cfg(test)]
    pub(super) fn close(self) -> Result<Vec<PathBuf>, BatchError> {
        close(self.files)
    }
}

fn close(files: Vec<PartitionFile>) -> Result<Vec<PathBuf>, BatchError> {
    let close = |PartitionFile { path, writer }| match writer.into_inner() {
        Ok(_) => Ok(path),
        Err(e) => Err(SnapshotError::io(&path)(e.into_error()).into()),
    };
    files.into_iter().map(close).collect()
}

#[cfg(test)]
mod tests {
    use super::super::user_histories::{Duplicates, HistoryLimits, load};
    use super::*;
    use crate::model::{ActionIdentity, PinId, Timestamp, UserId};

    fn record(user: u64, time: i64) -> ActionRecord {
        let (user, time) = (UserId(user), Timestamp::from_micros(time * 1_000));
        ActionRecord {
            user,
            time,
            pin: 0,
            action: 0,
            identity: ActionIdentity::from_content(user, PinId(0), time, "save"),
        }
    }

    #[test]
    fn all_records_of_a_user_are_in_one_partition() {
        let directory = tempfile::tempdir().expect("a directory");
        let bytes = 10 * size_of::<ActionRecord>() as u64;
        let mut partitions = Partitions::create(directory.path(), 100, bytes).expect("files");
        let records: Vec<ActionRecord> = (0..100).map(|i| record(i % 20, i as i64)).collect();
        for &record in &records {
            partitions.push(record).expect("a record");
        }
        let paths = partitions.close().expect("files");
        assert_eq!(paths.len(), 10);
        let everything = HistoryLimits {
            max_actions: usize::MAX,
            bytes: u64::MAX,
            duplicates: Duplicates::Drop,
        };
        let mut seen = std::collections::HashSet::new();
        let mut total = 0;
        for path in paths {
            let loaded = load(&path, everything, |_| true).expect("a partition");
            assert!(loaded.records.is_sorted());
            total += loaded.records.len();
            for user in loaded.records.chunk_by(|a, b| a.user == b.user) {
                assert!(seen.insert(user[0].user), "{:?}", user[0].user);
            }
        }
        assert_eq!((total, seen.len()), (100, 20));
    }
}
