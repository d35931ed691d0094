//! The external sort of profiles by user: each partition is written as a sorted run, and
//! all runs are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::PathBuf;

use bytemuck::Pod;

use super::error::BatchError;
use crate::model::UserId;
use crate::snapshot::SnapshotError;
use crate::store::ProfileRecord;

/// Bytes of the buffer of each run: all runs are open while they are merged.
const BUFFER: usize = 1 << 14;

/// Numbers before each profile: the user, and how long each of its parts is.
const HEADER: usize = 6;

/// A run while it is written: profiles by ascending user.
pub(super) struct RunWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

/// A run while it is read: profiles by ascending user.
pub(super) struct Run {
    path: PathBuf,
    file: BufReader<File>,
}

impl RunWriter {
    pub(super) fn create(path: PathBuf) -> Result<Self, BatchError> {
        let file = File::create_new(&path).map_err(SnapshotError::io(&path))?;
        Ok(Self {
            path,
            file: BufWriter::with_capacity(BUFFER, file),
        })
    }

    /// Appends a profile. Users must come by ascending id.
    pub(super) fn append(&mut self, profile: &ProfileRecord) -> Result<(), BatchError> {
        let ProfileRecord {
            user,
            key,
            medoids,
            history,
            identities,
            hidden,
        } = profile;
        let lengths = [
            key.len(),
            medoids.len(),
            history.len(),
            identities.len(),
            hidden.len(),
        ];
        let [
            key_bytes,
            medoid_count,
            history_bytes,
            identity_count,
            hidden_count,
        ] = lengths.map(|length| length as u64);
        let header: [u64; HEADER] = [
            user.0,
            key_bytes,
            medoid_count,
            history_bytes,
            identity_count,
            hidden_count,
        ];
        self.file
            .write_all(bytemuck::cast_slice(&header))
            .and_then(|()| self.file.write_all(key.as_bytes()))
            .and_then(|()| self.file.write_all(bytemuck::cast_slice(medoids)))
            .and_then(|()| self.file.write_all(history))
            .and_then(|()| self.file.write_all(bytemuck::cast_slice(identities)))
            .and_then(|()| self.file.write_all(bytemuck::cast_slice(hidden)))
            .map_err(|e| SnapshotError::io(&self.path)(e).into())
    }

    /// The run, ready to be read.
    pub(super) fn finish(self) -> Result<Run, BatchError> {
        let Self { path, file } = self;
        file.into_inner()
            .map_err(|e| SnapshotError::io(&path)(e.into_error()))?;
        let file = File::open(&path).map_err(SnapshotError::io(&path))?;
        Ok(Run {
            path,
            file: BufReader::with_capacity(BUFFER, file),
        })
    }
}

impl Run {
    /// The next profile; none at the end of the run.
    fn read_next(&mut self) -> Result<Option<ProfileRecord>, BatchError> {
        let mut header = [0u64; HEADER];
        let read = self.file.read_exact(bytemuck::cast_slice_mut(&mut header));
        match read {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(SnapshotError::io(&self.path))?,
        }
        let [user, key, medoids, history, identities, hidden] = header;
        let key = String::from_utf8(self.read_records(key)?);
        let invalid =
            |e| SnapshotError::io(&self.path)(std::io::Error::new(ErrorKind::InvalidData, e));
        Ok(Some(ProfileRecord {
            user: UserId(user),
            key: key.map_err(invalid)?,
            medoids: self.read_records(medoids)?,
            history: self.read_records(history)?,
            identities: self.read_records(identities)?,
            hidden: self.read_records(hidden)?,
        }))
    }

    fn read_records<T: Pod>(&mut self, count: u64) -> Result<Vec<T>, BatchError> {
        let mut records = vec![T::zeroed(); count as usize];
        let read = self.file.read_exact(bytemuck::cast_slice_mut(&mut records));
        read.map_err(SnapshotError::io(&self.path))?;
        Ok(records)
    }
}

/// Gives the profiles of all `runs` to `accept`, by ascending user.
pub(super) fn merge(
    mut runs: Vec<Run>,
    mut accept: impl FnMut(&ProfileRecord) -> Result<(), BatchError>,
) -> Result<(), BatchError> {
    let mut heads: Vec<Option<ProfileRecord>> = runs
        .iter_mut()
        .map(Run::read_next)
        .collect::<Result<_, _>>()?;
    let mut queue: BinaryHeap<Reverse<(UserId, usize)>> = heads
        .iter()
        .enumerate()
        .filter_map(|(run, head)| Some(Reverse((head.as_ref()?.user, run))))
        .collect();
    while let Some(Reverse((_, run))) = queue.pop() {
        let next = runs[run].read_next()?;
        if let Some(next) = &next {
            queue.push(Reverse((next.user, run)));
        }
        if let Some(profile) = std::mem::replace(&mut heads[run], next) {
            accept(&profile)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActionId, ActionIdentity, Medoid, PinId, Timestamp};

    #[test]
    fn runs_are_merged_by_user() {
        let directory = tempfile::tempdir().expect("a directory");
        let profile = |user: u64| {
            let medoid = Medoid {
                pin: PinId(user * 10),
                importance: 1.0,
                last_action_time: Timestamp::from_micros(5),
                size: 1,
                dislikes: 0,
            };
            let user_id = UserId(user);
            ProfileRecord {
                user: user_id,
                key: "k".repeat(user as usize % 3),
                medoids: vec![medoid; 2],
                history: vec![7; user as usize],
                identities: vec![ActionIdentity::from_id(ActionId([7; 16])); 3],
                hidden: vec![PinId(user)],
            }
        };
        let runs = [vec![1, 4, 9], vec![], vec![2, 3, 5]]
            .into_iter()
            .enumerate();
        let runs = runs.map(|(at, users)| {
            let profiles: Vec<ProfileRecord> = users.into_iter().map(profile).collect();
            let path = directory.path().join(at.to_string());
            let mut run = RunWriter::create(path).expect("a run");
            profiles
                .iter()
                .for_each(|profile| run.append(profile).expect("a profile"));
            run.finish().expect("a run")
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
