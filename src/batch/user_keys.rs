//! The keys of users while their actions are grouped: noted as they come, and looked up
//! when the actions of a partition are clustered.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::error::BatchError;
use crate::model::{MAX_KEY, UserId};
use crate::snapshot::SnapshotError;

/// Most files while the input is read: they are open beside those of the actions.
const MAX_FILES: usize = 16;
/// Users whose last written key is remembered, so that it is not written for each action.
const REMEMBERED: usize = 1 << 20;
/// Seed of the hash by which a remembered key is told from another one of the same id.
const CHECK_SEED: u64 = 1;

/// Keys of users while they are noted. Each file has the keys of some partitions that stand
/// together.
pub(super) struct UserKeyWriter {
    directory: PathBuf,
    partitions: usize,
    files: Vec<KeyFile>,
    remembered: Remembered,
}

/// By the low bits of the id: a user, and a second hash of the key.
struct Remembered(Vec<Option<(UserId, u64)>>);

struct KeyFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

/// Keys of the users of all partitions: one file each.
pub(super) struct UserKeys {
    paths: Vec<PathBuf>,
}

/// Keys of the users of one partition.
#[derive(Debug, Default)]
pub(super) struct KeysOfUsers(HashMap<UserId, String>);

/// The number of the partition of `user`, of so many.
pub(super) fn partition_of(user: UserId, partitions: usize) -> usize {
    let hash = xxh3_64(&user.0.to_le_bytes());
    (hash % partitions.max(1) as u64) as usize
}

impl UserKeyWriter {
    /// No keys yet, in `directory`, for as many partitions.
    pub(super) fn create(directory: &Path, partitions: usize) -> Result<Self, BatchError> {
        let files = 0..partitions.min(MAX_FILES);
        let create = |number| KeyFile::create(directory.join(format!("noted-keys-{number}")));
        Ok(Self {
            directory: directory.to_owned(),
            partitions,
            files: files.map(create).collect::<Result<_, BatchError>>()?,
            remembered: Remembered::new(),
        })
    }

    /// Notes the key of a user.
    pub(super) fn push(&mut self, user: UserId, key: &str) -> Result<(), BatchError> {
        if !self.remembered.is_new(user, key) {
            return Ok(());
        }
        let partition = partition_of(user, self.partitions);
        let file = partition * self.files.len() / self.partitions;
        self.files[file].write(user, key)
    }

    /// The keys by partition.
    pub(super) fn finish(self) -> Result<UserKeys, BatchError> {
        let Self {
            directory,
            partitions,
            files,
            ..
        } = self;
        let count = files.len();
        let noted: Result<Vec<PathBuf>, BatchError> =
            files.into_iter().map(KeyFile::finish).collect();
        let mut paths = Vec::with_capacity(partitions);
        for (number, path) in noted?.into_iter().enumerate() {
            // The partitions for which `partition * count / partitions` is this number.
            let first = |number: usize| (number * partitions).div_ceil(count);
            let range = first(number)..first(number + 1);
            paths.extend(spread(&path, &directory, range, partitions)?);
            fs::remove_file(&path).map_err(SnapshotError::io(&path))?;
        }
        Ok(UserKeys { paths })
    }
}

/// Writes the keys noted in `path` to files of the partitions in `range`, of `partitions`.
fn spread(
    path: &Path,
    directory: &Path,
    range: Range<usize>,
    partitions: usize,
) -> Result<Vec<PathBuf>, BatchError> {
    let create = |number| KeyFile::create(directory.join(format!("user-keys-{number}")));
    let mut files: Vec<KeyFile> = range.clone().map(create).collect::<Result<_, _>>()?;
    let mut remembered = Remembered::new();
    let mut noted = BufReader::new(File::open(path).map_err(SnapshotError::io(path))?);
    while let Some((user, key)) = read_next(&mut noted).map_err(SnapshotError::io(path))? {
        if remembered.is_new(user, &key) {
            files[partition_of(user, partitions) - range.start].write(user, &key)?;
        }
    }
    files.into_iter().map(KeyFile::finish).collect()
}

impl Remembered {
    fn new() -> Self {
        Self(vec![None; REMEMBERED])
    }

    /// Whether `key` is not the last of its user, or the user is forgotten.
    fn is_new(&mut self, user: UserId, key: &str) -> bool {
        let noted = Some((user, xxh3_64_with_seed(key.as_bytes(), CHECK_SEED)));
        let slot = &mut self.0[user.0 as usize % REMEMBERED];
        std::mem::replace(slot, noted) != noted
    }
}

impl KeyFile {
    fn create(path: PathBuf) -> Result<Self, BatchError> {
        let file = File::create_new(&path).map_err(SnapshotError::io(&path))?;
        let writer = BufWriter::new(file);
        Ok(Self { path, writer })
    }

    fn write(&mut self, user: UserId, key: &str) -> Result<(), BatchError> {
        debug_assert!(key.len() <= MAX_KEY, "keys are checked where they come in");
        self.writer
            .write_all(&user.0.to_le_bytes())
            .and_then(|()| self.writer.write_all(&(key.len() as u16).to_le_bytes()))
            .and_then(|()| self.writer.write_all(key.as_bytes()))
            .map_err(|e| SnapshotError::io(&self.path)(e).into())
    }

    fn finish(self) -> Result<PathBuf, BatchError> {
        let Self { path, writer } = self;
        match writer.into_inner() {
            Ok(_) => Ok(path),
            Err(e) => Err(SnapshotError::io(&path)(e.into_error()).into()),
        }
    }
}

impl UserKeys {
    /// The keys of the users of the partition of this number. Two keys of one user are an
    /// error: they have one hash.
    pub(super) fn of_partition(&self, partition: usize) -> Result<KeysOfUsers, BatchError> {
        let path = &self.paths[partition];
        let mut file = BufReader::new(File::open(path).map_err(SnapshotError::io(path))?);
        let mut keys = HashMap::new();
        while let Some((user, key)) = read_next(&mut file).map_err(SnapshotError::io(path))? {
            let kept = keys.entry(user).or_insert_with(|| key.clone());
            if *kept != key {
                let mut both = [kept.clone(), key];
                both.sort_unstable();
                let [first, second] = both;
                return Err(BatchError::SameHash { first, second });
            }
        }
        Ok(KeysOfUsers(keys))
    }
}

impl KeysOfUsers {
    /// Takes the key of `user`; empty for a user who has none.
    pub(super) fn take(&mut self, user: UserId) -> String {
        self.0.remove(&user).unwrap_or_default()
    }
}

/// The next user and key; none at the end of the file.
fn read_next(file: &mut impl Read) -> std::io::Result<Option<(UserId, String)>> {
    let mut user = [0; 8];
    match file.read_exact(&mut user) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut length = [0; 2];
    file.read_exact(&mut length)?;
    let mut key = vec![0; usize::from(u16::from_le_bytes(length))];
    file.read_exact(&mut key)?;
    let key = String::from_utf8(key).map_err(|e| std::io::Error::new(ErrorKind::InvalidData, e))?;
    Ok(Some((UserId(u64::from_le_bytes(user)), key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(partitions: usize, pushed: &[(u64, &str)]) -> (tempfile::TempDir, UserKeys) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut writer = UserKeyWriter::create(directory.path(), partitions).expect("files");
        for &(user, key) in pushed {
            writer.push(UserId(user), key).expect("a key");
        }
        (directory, writer.finish().expect("files"))
    }

    #[test]
    fn each_partition_has_the_keys_of_its_users_however_often_they_came() {
        for partitions in [1, 3, 16, 17, 40] {
            // Users 5 and 5 + 2^20 have one place in what is remembered.
            let far = 5 + REMEMBERED as u64;
            let names: Vec<String> = (0..100).map(|user| format!("user-{user}")).collect();
            let mut pushed: Vec<(u64, &str)> =
                (0..).zip(names.iter().map(String::as_str)).collect();
            pushed.extend([(far, "茶"), (5, "user-5"), (far, "茶")]);
            let (_directory, keys) = keys(partitions, &pushed);
            assert_eq!(keys.paths.len(), partitions);
            for (user, key) in pushed {
                let user = UserId(user);
                for partition in 0..partitions {
                    let mut of_partition = keys.of_partition(partition).expect("keys");
                    let is_own = partition == partition_of(user, partitions);
                    let expected = if is_own { key } else { "" };
                    assert_eq!(of_partition.take(user), expected, "{partitions}");
                }
            }
        }
    }

    #[test]
    fn two_keys_of_one_id_are_named() {
        let (_directory, keys) = keys(1, &[(5, "bob"), (7, "eve"), (5, "ann")]);
        let error = keys.of_partition(0).expect_err("one id").to_string();
        assert!(error.contains("\"ann\" and \"bob\""), "{error}");
    }
}
