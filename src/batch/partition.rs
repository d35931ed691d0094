//! Grouping by user without holding all actions: records are spread over
//! partition files by user, so that each file fits in memory and holds all of
//! its users whole.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::BatchError;
use super::actions::ActionRecord;
use crate::snapshot::SnapshotError;

/// Buffer of each file: there may be as many as partitions at a time.
pub(super) const BUFFER: usize = 1 << 14;
/// Most partition files: each is an open file and a buffer.
const MAX_PARTITIONS: u64 = 1_000;

/// Records, spread over files by user.
pub(super) struct Partitions {
    files: Vec<(PathBuf, BufWriter<File>)>,
}

impl Partitions {
    /// Partitions in `directory` for `records` records, such that one of them
    /// takes about `bytes` of memory.
    pub(super) fn create(directory: &Path, records: u64, bytes: u64) -> Result<Self, BatchError> {
        let all = records.saturating_mul(size_of::<ActionRecord>() as u64);
        let count = all.div_ceil(bytes.max(1)).clamp(1, MAX_PARTITIONS);
        let create = |number| {
            let path = directory.join(format!("actions-{number}"));
            let file = File::create_new(&path).map_err(SnapshotError::io(&path))?;
            Ok((path, BufWriter::with_capacity(BUFFER, file)))
        };
        Ok(Self {
            files: (0..count)
                .map(create)
                .collect::<Result<_, SnapshotError>>()?,
        })
    }

    /// Appends a record to the partition of its user.
    pub(super) fn push(&mut self, record: ActionRecord) -> Result<(), BatchError> {
        let hash = xxhash_rust::xxh3::xxh3_64(&record.user.0.to_le_bytes());
        let at = (hash % self.files.len() as u64) as usize;
        let (path, file) = &mut self.files[at];
        let written = file.write_all(bytemuck::bytes_of(&record));
        written.map_err(|e| SnapshotError::io(path)(e).into())
    }

    /// The partitions, ready to be read.
    pub(super) fn close(self) -> Result<Vec<PathBuf>, BatchError> {
        let close = |(path, file): (PathBuf, BufWriter<File>)| match file.into_inner() {
            Ok(_) => Ok(path),
            Err(e) => Err(SnapshotError::io(&path)(e.into_error()).into()),
        };
        self.files.into_iter().map(close).collect()
    }
}

/// The records of a partition, sorted, with the `most` most recent of each user;
/// and how many were cut.
///
/// Memory stays near `bytes` however long one user's history is: whenever the
/// records outgrow it, histories are cut before more is read.
pub(super) fn load(
    path: &Path,
    most: usize,
    bytes: u64,
) -> Result<(Vec<ActionRecord>, u64), BatchError> {
    let failed = || SnapshotError::io(path);
    let mut file = BufReader::with_capacity(BUFFER, File::open(path).map_err(failed())?);
    let mut records: Vec<ActionRecord> = Vec::new();
    let mut cut = 0;
    let mut full = bytes as usize / size_of::<ActionRecord>();
    while let Some(record) = read_record(&mut file).map_err(failed())? {
        records.push(record);
        if records.len() >= full {
            cut += keep_most_recent(&mut records, most);
            // Many short histories cannot be cut; then the partition is as
            // large as it is.
            full = full.max(records.len() * 2);
        }
    }
    cut += keep_most_recent(&mut records, most);
    Ok((records, cut))
}

fn read_record(file: &mut impl Read) -> std::io::Result<Option<ActionRecord>> {
    let mut record: ActionRecord = bytemuck::Zeroable::zeroed();
    match file.read_exact(bytemuck::bytes_of_mut(&mut record)) {
        Ok(()) => Ok(Some(record)),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sorts `records`, keeps the last `most` of each user and returns how many went.
fn keep_most_recent(records: &mut Vec<ActionRecord>, most: usize) -> u64 {
    records.sort_unstable();
    let before = records.len();
    let mut kept = 0;
    let mut begin = 0;
    while begin < records.len() {
        let user = records[begin].user;
        let end = begin + records[begin..].partition_point(|record| record.user == user);
        let first = begin.max(end.saturating_sub(most));
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
            let (records, gone) = load(&path, 10, room).expect("a partition");
            assert!(records.capacity() <= 256, "{}", records.capacity());
            all.extend(records);
            cut += gone;
        }
        assert_eq!(cut, 990);
        all.sort_unstable();
        let expected: Vec<ActionRecord> = (990..1_000)
            .map(|t| record(1, t))
            .chain((0..5).map(|t| record(2, t)))
            .collect();
        assert_eq!(all, expected);
    }
}
