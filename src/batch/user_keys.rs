//! The keys of users while their actions are grouped: spread over a few files like the
//! actions, and looked up when these are clustered.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::BatchError;
use crate::model::{MAX_KEY, UserId};
use crate::snapshot::SnapshotError;

/// Most files: they are open beside those of the actions.
const MAX_FILES: usize = 16;
/// Users whose last written key is remembered, so that it is not written for each action.
const REMEMBERED: usize = 1 << 16;
/// Seed of the hash by which a remembered key is told from another one of the same id.
const CHECK_SEED: u64 = 1;

/// Keys of users while they are written.
pub(super) struct UserKeyWriter {
    files: Vec<KeyFile>,
    /// By the low bits of the id: the user, and a second hash of the key.
    remembered: Vec<Option<(UserId, u64)>>,
}

struct KeyFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

/// Keys of the users of all partitions.
pub(super) struct UserKeys {
    paths: Vec<PathBuf>,
}

/// Keys of the users of one partition.
#[derive(Debug, Default)]
pub(super) struct KeysOfUsers(HashMap<UserId, String>);

impl UserKeyWriter {
    /// No keys yet, in `directory`, for as many partitions.
    pub(super) fn create(directory: &Path, partitions: usize) -> Result<Self, BatchError> {
        let create = |number| {
            let path = directory.join(format!("user-keys-{number}"));
            let file = File::create_new(&path).map_err(SnapshotError::io(&path))?;
            let writer = BufWriter::new(file);
            Ok(KeyFile { path, writer })
        };
        let files = 0..partitions.min(MAX_FILES);
        Ok(Self {
            files: files.map(create).collect::<Result<_, SnapshotError>>()?,
            remembered: vec![None; REMEMBERED],
        })
    }

    /// Notes the key of a user of the partition of this number.
    pub(super) fn push(
        &mut self,
        partition: usize,
        user: UserId,
        key: &str,
    ) -> Result<(), BatchError> {
        let noted = Some((user, xxh3_64_with_seed(key.as_bytes(), CHECK_SEED)));
        let slot = &mut self.remembered[user.0 as usize % REMEMBERED];
        if *slot == noted {
            return Ok(());
        }
        *slot = noted;
        let file = partition % self.files.len();
        let KeyFile { path, writer } = &mut self.files[file];
        // A key of the input has at most MAX_KEY bytes.
        let length = key.len().min(MAX_KEY) as u16;
        writer
            .write_all(&user.0.to_le_bytes())
            .and_then(|()| writer.write_all(&length.to_le_bytes()))
            .and_then(|()| writer.write_all(key.as_bytes()))
            .map_err(|e| SnapshotError::io(path)(e).into())
    }

    /// The keys, ready to be read.
    pub(super) fn finish(self) -> Result<UserKeys, BatchError> {
        let close = |KeyFile { path, writer }| match writer.into_inner() {
            Ok(_) => Ok(path),
            Err(e) => Err(SnapshotError::io(&path)(e.into_error())),
        };
        let paths: Result<_, SnapshotError> = self.files.into_iter().map(close).collect();
        Ok(UserKeys { paths: paths? })
    }
}

impl UserKeys {
    /// The keys of the users of the partition of this number, to which `belongs` holds. Two
    /// keys of one user are an error: they have one hash.
    pub(super) fn of_partition(
        &self,
        partition: usize,
        belongs: impl Fn(UserId) -> bool,
    ) -> Result<KeysOfUsers, BatchError> {
        let path = &self.paths[partition % self.paths.len()];
        let mut file = BufReader::new(File::open(path).map_err(SnapshotError::io(path))?);
        let mut keys = HashMap::new();
        while let Some((user, key)) = read_next(&mut file).map_err(SnapshotError::io(path))? {
            if !belongs(user) {
                continue;
            }
            let kept = keys.entry(user).or_insert_with(|| key.clone());
            if *kept != key {
                let [first, second] = if *kept < key {
                    [kept.clone(), key]
                } else {
                    [key, kept.clone()]
                };
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

    fn keys(pushed: &[(usize, u64, &str)]) -> (tempfile::TempDir, UserKeys) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut writer = UserKeyWriter::create(directory.path(), 40).expect("files");
        for &(partition, user, key) in pushed {
            writer.push(partition, UserId(user), key).expect("a key");
        }
        (directory, writer.finish().expect("files"))
    }

    #[test]
    fn each_partition_has_the_keys_of_its_users_however_often_they_came() {
        // Partitions 1 and 17 share a file, and users 5 and 5 + 2^16 a slot.
        let far = 5 + REMEMBERED as u64;
        let pushed = [(1, 5, "ann"), (1, far, "bob"), (1, 5, "ann"), (17, 6, "茶")];
        let (_directory, keys) = keys(&pushed);
        let mut first = keys.of_partition(1, |user| user.0 != 6).expect("keys");
        assert_eq!(first.take(UserId(5)), "ann");
        assert_eq!(first.take(UserId(far)), "bob");
        assert_eq!(first.take(UserId(6)), "");
        let mut other = keys.of_partition(17, |user| user.0 == 6).expect("keys");
        assert_eq!(other.take(UserId(6)), "茶");
    }

    #[test]
    fn two_keys_of_one_id_are_named() {
        let (_directory, keys) = keys(&[(0, 5, "bob"), (0, 7, "eve"), (0, 5, "ann")]);
        let error = keys.of_partition(0, |_| true).expect_err("one id");
        let text = error.to_string();
        assert!(
            text.contains("\"ann\"") && text.contains("\"bob\""),
            "{text}"
        );
        assert!(keys.of_partition(0, |user| user.0 == 7).is_ok());
    }
}
