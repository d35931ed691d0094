//! The histories of the users of one partition: repeats of an action are dropped, and long
//! histories cut, in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::action_reader::ActionRecord;
use super::error::BatchError;
use crate::model::{ActionIdentity, UserId};
use crate::snapshot::SnapshotError;

/// Bytes of the buffer of each file.
const BUFFER: usize = 1 << 14;

/// What becomes of actions that the input has more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duplicates {
    /// Each row counts.
    Keep,
    /// An action counts once, at the earliest time that a row gives it.
    #[default]
    Drop,
}

/// How much of each history is loaded.
#[derive(Clone, Copy, Debug)]
pub(super) struct HistoryLimits {
    /// Number of most recent actions of a user that are kept at most.
    pub(super) max_actions: usize,
    /// Bytes of records in memory at a time, as long as histories can be cut to that.
    pub(super) bytes: u64,
    pub(super) duplicates: Duplicates,
}

/// The records of one partition, by user, then by time, then by pin.
pub(super) struct LoadedPartition {
    pub(super) records: Vec<ActionRecord>,
    /// Number of records that were left out because a user had too many.
    pub(super) cut: u64,
    /// Number of records that were left out because they repeat another one.
    pub(super) duplicates: u64,
}

/// The records of the partition at `path` that `keep` accepts, with the most recent of each
/// user. Each record that is no repeat is shown to `keep`, also where it is then cut.
///
/// Memory stays near [`HistoryLimits::bytes`] however long one user's history is: a
/// partition that outgrows it is sorted beside its file, and histories are cut while it
/// is merged. The outcome is the same.
pub(super) fn load(
    path: &Path,
    limits: HistoryLimits,
    mut keep: impl FnMut(&ActionRecord) -> bool,
) -> Result<LoadedPartition, BatchError> {
    let mut file = RecordFile::open(path.to_owned())?;
    let capacity = (limits.bytes / size_of::<ActionRecord>() as u64).max(1);
    let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
    let mut records = file.read_up_to(capacity)?;
    if records.len() == capacity {
        let runs = sorted_runs(records, file, capacity)?;
        return merge(runs, capacity, limits, keep);
    }
    records.sort_unstable_by_key(by_identity);
    let duplicates = match limits.duplicates {
        Duplicates::Keep => 0,
        Duplicates::Drop => drop_repeats(&mut records),
    };
    records.retain(&mut keep);
    let cut = keep_most_recent(&mut records, limits.max_actions);
    Ok(LoadedPartition {
        records,
        cut,
        duplicates,
    })
}

/// Repeats stand beside each other in this order, and the earliest is the first of them.
fn by_identity(record: &ActionRecord) -> (UserId, ActionIdentity, ActionRecord) {
    (record.user, record.identity, *record)
}

fn is_repeat(record: &ActionRecord, earlier: &ActionRecord) -> bool {
    (record.user, record.identity) == (earlier.user, earlier.identity)
}

/// Drops all but the first of equal actions of `records`, which are sorted by identity,
/// and returns how many.
fn drop_repeats(records: &mut Vec<ActionRecord>) -> u64 {
    let before = records.len();
    records.dedup_by(|record, earlier| is_repeat(record, earlier));
    (before - records.len()) as u64
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

/// Sorts `first` and the rest of `file` by identity into files of at most `capacity`
/// records beside it.
fn sorted_runs(
    first: Vec<ActionRecord>,
    mut file: RecordFile,
    capacity: usize,
) -> Result<Vec<RecordFile>, BatchError> {
    let mut runs = Vec::new();
    let mut records = first;
    while !records.is_empty() {
        records.sort_unstable_by_key(by_identity);
        let path = file.path.with_extension(format!("run-{}", runs.len()));
        runs.push(RecordFile::write(path, &records)?);
        // The old ones go before the next ones come.
        drop(records);
        records = file.read_up_to(capacity)?;
    }
    Ok(runs)
}

/// What [`load`] returns, of records in files that are sorted by identity. The files are
/// removed.
fn merge(
    mut runs: Vec<RecordFile>,
    capacity: usize,
    limits: HistoryLimits,
    mut keep: impl FnMut(&ActionRecord) -> bool,
) -> Result<LoadedPartition, BatchError> {
    let mut histories = Histories::new(capacity, limits.max_actions);
    let mut queue = BinaryHeap::new();
    for (number, run) in runs.iter_mut().enumerate() {
        let head = run.read_next()?;
        queue.extend(head.map(|record| Reverse((by_identity(&record), number))));
    }
    let (mut duplicates, mut previous) = (0, None);
    while let Some(Reverse(((.., record), number))) = queue.pop() {
        let next = runs[number].read_next()?;
        queue.extend(next.map(|record| Reverse((by_identity(&record), number))));
        let is_repeat = previous.is_some_and(|previous| is_repeat(&record, &previous));
        previous = Some(record);
        if is_repeat && limits.duplicates == Duplicates::Drop {
            duplicates += 1;
        } else if keep(&record) {
            histories.push(record);
        }
    }
    for run in runs {
        fs::remove_file(&run.path).map_err(SnapshotError::io(&run.path))?;
    }
    let (records, cut) = histories.finish();
    Ok(LoadedPartition {
        records,
        cut,
        duplicates,
    })
}

/// Records in memory, with the most recent of each user.
struct Histories {
    records: Vec<ActionRecord>,
    capacity: usize,
    max_actions: usize,
    cut: u64,
}

impl Histories {
    fn new(capacity: usize, max_actions: usize) -> Self {
        Self {
            records: Vec::new(),
            capacity,
            max_actions,
            cut: 0,
        }
    }

    fn push(&mut self, record: ActionRecord) {
        self.records.push(record);
        if self.records.len() >= self.capacity {
            self.cut += keep_most_recent(&mut self.records, self.max_actions);
            // Many short histories cannot be cut; then the partition is as large as it is.
            self.capacity = self.capacity.max(self.records.len() * 2);
        }
    }

    /// The sorted records, and the number of those that were cut.
    fn finish(mut self) -> (Vec<ActionRecord>, u64) {
        self.cut += keep_most_recent(&mut self.records, self.max_actions);
        (self.records, self.cut)
    }
}

/// A file of records while it is read.
struct RecordFile {
    path: PathBuf,
    file: BufReader<File>,
}

impl RecordFile {
    fn open(path: PathBuf) -> Result<Self, BatchError> {
        let file = File::open(&path).map_err(SnapshotError::io(&path))?;
        let file = BufReader::with_capacity(BUFFER, file);
        Ok(Self { path, file })
    }

    /// A new file of `records`.
    fn write(path: PathBuf, records: &[ActionRecord]) -> Result<Self, BatchError> {
        write(&path, records)?;
        Self::open(path)
    }

    /// At most `count` records.
    fn read_up_to(&mut self, count: usize) -> Result<Vec<ActionRecord>, BatchError> {
        let mut records = Vec::new();
        while records.len() < count
            && let Some(record) = self.read_next()?
        {
            records.push(record);
        }
        Ok(records)
    }

    /// The next record; none at the end.
    fn read_next(&mut self) -> Result<Option<ActionRecord>, BatchError> {
        let mut record: ActionRecord = bytemuck::Zeroable::zeroed();
        match self.file.read_exact(bytemuck::bytes_of_mut(&mut record)) {
            Ok(()) => Ok(Some(record)),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(SnapshotError::io(&self.path)(e).into()),
        }
    }
}

/// Replaces the file at `path` by one of `records`.
pub(super) fn write(path: &Path, records: &[ActionRecord]) -> Result<(), BatchError> {
    let write = || {
        let mut file = BufWriter::with_capacity(BUFFER, File::create(path)?);
        file.write_all(bytemuck::cast_slice(records))?;
        file.flush()
    };
    write().map_err(|e| SnapshotError::io(path)(e).into())
}

#[cfg(test)]
mod tests {
    use super::super::user_partitions::Partitions;
    use super::*;
    use crate::model::{PinId, Timestamp};

    const RECORD: u64 = size_of::<ActionRecord>() as u64;

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

    fn limits(max_actions: usize, bytes: u64) -> HistoryLimits {
        HistoryLimits {
            max_actions,
            bytes,
            duplicates: Duplicates::Drop,
        }
    }

    fn partition(directory: &Path, records: &[ActionRecord]) -> PathBuf {
        let mut partitions = Partitions::create(directory, 1, 1_000).expect("a partition");
        for &record in records {
            partitions.push(record).expect("a record");
        }
        partitions.close().expect("a file").remove(0)
    }

    #[test]
    fn a_history_is_cut_to_its_most_recent_even_when_it_outgrows_memory() {
        let directory = tempfile::tempdir().expect("a directory");
        // Times come in a shuffled order.
        let shuffled = (0..1_000).map(|i| record(1, i * 617 % 1_000));
        let records: Vec<ActionRecord> = shuffled.chain((0..5).map(|t| record(2, t))).collect();
        let path = partition(directory.path(), &records);
        let loaded = load(&path, limits(10, 100 * RECORD), |_| true).expect("a partition");
        assert!(loaded.records.capacity() <= 256);
        assert_eq!((loaded.cut, loaded.duplicates), (990, 0));
        let expected: Vec<ActionRecord> = (990..1_000)
            .map(|t| record(1, t))
            .chain((0..5).map(|t| record(2, t)))
            .collect();
        assert_eq!(loaded.records, expected);
        let left = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(left, 1, "the partition only");
    }

    #[test]
    fn repeats_are_dropped_the_same_way_in_any_memory() {
        let directory = tempfile::tempdir().expect("a directory");
        let late = |time| ActionRecord {
            time: Timestamp::from_micros(5_000_000),
            ..record(1, time)
        };
        // Three times the same thousand, far apart, and the oldest once more, as the newest.
        let records: Vec<ActionRecord> = (0..3_000)
            .map(|i| record(1 + i as u64 % 2, i * 617 % 1_000))
            .chain([late(0)])
            .collect();
        let path = partition(directory.path(), &records);
        let whole = |duplicates| HistoryLimits {
            duplicates,
            ..limits(20, u64::MAX)
        };
        let mut outcomes = Vec::new();
        for limits in [whole(Duplicates::Drop), limits(20, 100 * RECORD)] {
            let mut seen = 0;
            let loaded = load(&path, limits, |_| {
                seen += 1;
                true
            })
            .expect("a partition");
            outcomes.push((seen, loaded.cut, loaded.duplicates, loaded.records));
        }
        assert_eq!(outcomes[0], outcomes[1]);
        let (seen, cut, duplicates, records) = &outcomes[0];
        assert_eq!((*seen, *cut, *duplicates), (1_000, 960, 2_001));
        let last: Vec<ActionRecord> = (0..20).map(|i| record(2, 961 + 2 * i)).collect();
        assert_eq!(records[20..], last);
        let kept = load(&path, whole(Duplicates::Keep), |_| true).expect("a partition");
        assert_eq!((kept.duplicates, kept.cut), (0, 2_961));
    }
}
