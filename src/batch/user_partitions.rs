//! Grouping actions by user without holding all of them in memory: records are spread
//! over partition files by user, so that each file fits in memory and holds all records
//! of its users.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::action_reader::{self, ActionRecord, Filter};
use super::error::BatchError;
use crate::progress::Stage;
use crate::snapshot::SnapshotError;
use crate::store::ActionCounts;

/// Bytes of the buffer of each file: there may be as many as partitions at a time.
const BUFFER: usize = 1 << 14;
/// Most partition files: each is an open file and a buffer.
const MAX_PARTITIONS: u64 = 1_000;

/// Records, spread over files by user.
pub(super) struct Partitions {
    files: Vec<PartitionFile>,
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
}

/// The records of one partition, by user, then by time, then by pin.
pub(super) struct LoadedPartition {
    pub(super) records: Vec<ActionRecord>,
    /// Number of records that were left out because a user had too many.
    pub(super) cut: u64,
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
        Ok(Self {
            files: (0..count)
                .map(create)
                .collect::<Result<_, SnapshotError>>()?,
        })
    }

    /// Reads the actions of `files` that `filter` accepts into the partitions. Each of
    /// them is shown to `visit`, in the order of the files.
    pub(super) fn fill(
        mut self,
        files: &[PathBuf],
        filter: &Filter<'_>,
        stage: &Stage,
        mut visit: impl FnMut(&ActionRecord),
    ) -> Result<FilledPartitions, BatchError> {
        let counts = action_reader::read(files, filter, stage, |record| {
            visit(&record);
            self.push(record)
        })?;
        let paths = self.close()?;
        Ok(FilledPartitions { paths, counts })
    }

    /// Appends a record to the partition of its user.
    fn push(&mut self, record: ActionRecord) -> Result<(), BatchError> {
        let hash = xxhash_rust::xxh3::xxh3_64(&record.user.0.to_le_bytes());
        let number = (hash % self.files.len() as u64) as usize;
        let PartitionFile { path, writer } = &mut self.files[number];
        let written = writer.write_all(bytemuck::bytes_of(&record));
        written.map_err(|e| SnapshotError::io(path)(e).into())
    }

    /// The paths of the partitions, ready to be read.
    fn close(self) -> Result<Vec<PathBuf>, BatchError> {
        let close = |PartitionFile { path, writer }| match writer.into_inner() {
            Ok(_) => Ok(path),
            Err(e) => Err(SnapshotError::io(&path)(e.into_error()).into()),
        };
        self.files.into_iter().map(close).collect()
    }
}

/// The records of a partition, with the `max_actions` most recent of each user.
///
/// Memory stays near `bytes` however long one user's history is: whenever the
/// records outgrow it, histories are cut before more is read.
pub(super) fn load(
    path: &Path,
    max_actions: usize,
    bytes: u64,
) -> Result<LoadedPartition, BatchError> {
    let failed = || SnapshotError::io(path);
    let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(failed())?);
    let mut records: Vec<ActionRecord> = Vec::new();
    let mut cut = 0;
    let mut capacity = bytes as usize / size_of::<ActionRecord>();
    while let Some(record) = read_record(&mut file).map_err(failed())? {
        records.push(record);
        if records.len() >= capacity {
            cut += keep_most_recent(&mut records, max_actions);
            // Many short histories cannot be cut; then the partition is as
            // large as it is.
            capacity = capacity.max(records.len() * 2);
        }
    }
    cut += keep_most_recent(&mut records, max_actions);
    Ok(LoadedPartition { records, cut })
}

fn read_record(file: &mut impl Read) -> std::io::Result<Option<ActionRecord>> {
    let mut record: ActionRecord = bytemuck::Zeroable::zeroed();
    match file.read_exact(bytemuck::bytes_of_mut(&mut record)) {
        Ok(()) => Ok(Some(record)),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sorts `records`, keeps the last `max_actions` of each user, and returns the number of
/// those that were removed.
fn keep_most_recent(records: &mut Vec<ActionRecord>, max_actions: usize) -> u64 {
    records.sort_unstable();
    let before = records.len();
    let mut kept = 0;
    let mut begin = 0;
    while begin < records.len() {
        let user = records[begin].user;
        let end = begin + records[begin..].partition_point(|record| record.user == user);
        let first = begin.max(end.saturating_sub(max_actions));
        records.copy_within(first..end, kept);
        kept += end - first;
        begin = end;
    }
    records.truncate(kept);
    (before - kept) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Timestamp, UserId};

    fn record(user: u64, time: i64) -> ActionRecord {
        let time = Timestamp::from_micros(time);
        ActionRecord {
            user: UserId(user),
            time,
            pin: 0,
            action: 0,
        }
    }

    #[test]
    fn a_history_is_cut_to_its_most_recent_even_when_it_outgrows_memory() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut partitions = Partitions::create(directory.path(), 1, 1).expect("partitions");
        // Times come in a shuffled order.
        (0..1_000).for_each(|i| {
            partitions
                .push(record(1, i * 617 % 1_000))
                .expect("a record")
        });
        (0..5).for_each(|time| partitions.push(record(2, time)).expect("a record"));
        let paths = partitions.close().expect("files");
        let room = 100 * size_of::<ActionRecord>() as u64;
        let mut cut = 0;
        let mut all: Vec<ActionRecord> = Vec::new();
        for path in paths {
            let loaded = load(&path, 10, room).expect("a partition");
            let capacity = loaded.records.capacity();
            assert!(capacity <= 256, "{capacity}");
            all.extend(loaded.records);
            cut += loaded.cut;
        }
        assert_eq!(cut, 990);
        all.sort_unstable();
        let expected: Vec<ActionRecord> = (990..1_000)
            .map(|t| record(1, t))
            .chain((0..5).map(|t| record(2, t)))
            .collect();
        assert_eq!(all, expected);
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
        let mut seen = std::collections::HashSet::new();
        let mut total = 0;
        for path in paths {
            let loaded = load(&path, usize::MAX, u64::MAX).expect("a partition");
            assert!(loaded.records.is_sorted());
            total += loaded.records.len();
            for user in loaded.records.chunk_by(|a, b| a.user == b.user) {
                assert!(seen.insert(user[0].user), "{:?}", user[0].user);
            }
        }
        assert_eq!((total, seen.len()), (100, 20));
    }
}
