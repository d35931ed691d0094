//! Grouping by user without holding all actions: records are spread over
//! partition files by user, so that each file fits in memory and holds all of
//! its users whole.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use std::cmp::Reverse;

use super::BatchError;
use super::actions::ActionRecord;
use crate::model::{Medoid, UserId};
use crate::snapshot::SnapshotError;
use crate::store::ProfileRecord;

/// Buffer of each partition file.
const BUFFER: usize = 1 << 16;
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

/// Profiles of one partition, on disk, by ascending user.
pub(super) struct Run {
    path: PathBuf,
    file: BufReader<File>,
}

impl Run {
    /// Writes `profiles`, which must be sorted by user, to `path`.
    pub(super) fn write(path: PathBuf, profiles: &[ProfileRecord]) -> Result<Self, BatchError> {
        let write = || {
            let mut file = BufWriter::with_capacity(BUFFER, File::create_new(&path)?);
            for profile in profiles {
                file.write_all(&profile.user.0.to_le_bytes())?;
                file.write_all(&(profile.medoids.len() as u64).to_le_bytes())?;
                file.write_all(&(profile.history.len() as u64).to_le_bytes())?;
                file.write_all(bytemuck::cast_slice(&profile.medoids))?;
                file.write_all(&profile.history)?;
            }
            file.flush()?;
            File::open(&path)
        };
        let file = write().map_err(SnapshotError::io(&path))?;
        Ok(Self {
            path,
            file: BufReader::with_capacity(BUFFER, file),
        })
    }

    fn next(&mut self) -> Result<Option<ProfileRecord>, BatchError> {
        let mut head = [0u64; 3];
        let head_read = self.file.read_exact(bytemuck::cast_slice_mut(&mut head));
        match head_read {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(SnapshotError::io(&self.path))?,
        }
        let mut medoids: Vec<Medoid> = vec![bytemuck::Zeroable::zeroed(); head[1] as usize];
        let mut history = vec![0; head[2] as usize];
        self.file
            .read_exact(bytemuck::cast_slice_mut(&mut medoids))
            .and_then(|()| self.file.read_exact(&mut history))
            .map_err(SnapshotError::io(&self.path))?;
        Ok(Some(ProfileRecord {
            user: UserId(head[0]),
            medoids,
            history,
        }))
    }
}

/// Gives the profiles of all `runs` to `take`, by ascending user.
pub(super) fn merge(
    mut runs: Vec<Run>,
    mut take: impl FnMut(&ProfileRecord) -> Result<(), BatchError>,
) -> Result<(), BatchError> {
    let mut heads: Vec<Option<ProfileRecord>> =
        runs.iter_mut().map(Run::next).collect::<Result<_, _>>()?;
    let mut queue: BinaryHeap<Reverse<(UserId, usize)>> = heads
        .iter()
        .enumerate()
        .filter_map(|(at, head)| Some(Reverse((head.as_ref()?.user, at))))
        .collect();
    while let Some(Reverse((_, at))) = queue.pop() {
        let next = runs[at].next()?;
        if let Some(next) = &next {
            queue.push(Reverse((next.user, at)));
        }
        if let Some(profile) = std::mem::replace(&mut heads[at], next) {
            take(&profile)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PinId, Timestamp};

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

    #[test]
    fn runs_are_merged_by_user() {
        let directory = tempfile::tempdir().expect("a directory");
        let profile = |user: u64| {
            let medoid = Medoid {
                pin: PinId(user * 10),
                importance: 1.0,
                last_action_time: Timestamp::from_micros(5),
                size: 1,
                reserved: 0,
            };
            let user_id = UserId(user);
            ProfileRecord {
                user: user_id,
                medoids: vec![medoid; 2],
                history: vec![7; user as usize],
            }
        };
        let runs = [vec![1, 4, 9], vec![], vec![2, 3, 5]]
            .into_iter()
            .enumerate();
        let runs = runs.map(|(at, users)| {
            let profiles: Vec<ProfileRecord> = users.into_iter().map(profile).collect();
            Run::write(directory.path().join(at.to_string()), &profiles).expect("a run")
        });
        let mut merged = Vec::new();
        merge(runs.collect(), |profile| {
            merged.push(profile.clone());
            Ok(())
        })
        .expect("a merge");
        assert_eq!(merged, [1, 2, 3, 4, 5, 9].map(profile));
    }
}
