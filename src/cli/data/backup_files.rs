//! The files of a backup: a version of a versioned directory, with one file of records for
//! each part of the log, and the files beside the log.
//!
//! A record is the lengths of key and value in 4 bytes each, in little endian, then both.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::snapshot::{FileWriter, ManifestFacts, Reader, SnapshotManifest, Writer};

/// Prefix of the files of records.
const RECORDS: &str = "records-";
/// Prefix of the files that lay beside the log.
const FILE: &str = "file-";
/// Longest key or value that is read; the log has no longer ones.
const MAX_LENGTH: u32 = 64 << 20;

/// Facts in the manifest of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupManifest {
    /// When it was begun, by the clock of the server.
    pub(super) time: Timestamp,
    /// The random number of the log, in hexadecimal.
    pub(super) store_id: String,
    /// Version and commit of the server.
    pub(super) build: String,
    /// Records of each part of the log.
    pub(super) records: BTreeMap<String, u64>,
    /// Names of the files beside the log.
    pub(super) files: Vec<String>,
}

impl ManifestFacts for BackupManifest {
    const FORMAT: &'static str = "pinnersage-backup/1";

    type Before = Self;
}

/// The files of a backup while they are written.
pub(super) struct BackupWriter {
    writer: Writer,
    /// The part of the log that is being written, its file, and its records so far.
    open: Option<OpenKeyspace>,
    records: BTreeMap<String, u64>,
    files: Vec<String>,
}

struct OpenKeyspace {
    name: String,
    file: FileWriter,
    records: u64,
}

/// A backup on disk.
pub(super) struct BackupFiles {
    reader: Reader<BackupManifest>,
    directory: PathBuf,
}

/// What a server says of a backup.
pub(super) struct BackupOrigin {
    pub(super) time: Timestamp,
    pub(super) store_id: u64,
    pub(super) build: String,
}

impl BackupWriter {
    /// Begins a backup in the directory `root` of backups.
    pub(super) fn create(root: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            writer: Writer::create(root)?,
            open: None,
            records: BTreeMap::new(),
            files: Vec::new(),
        })
    }

    /// Appends a record. Those of one part of the log must come together.
    pub(super) fn push(&mut self, keyspace: &str, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
        self.begin(keyspace)?;
        let open = self.open.as_mut().context("a part was begun")?;
        for length in [key.len(), value.len()] {
            let length = u32::try_from(length).ok().filter(|&l| l <= MAX_LENGTH);
            let length = length.with_context(|| format!("a record of {keyspace} is too long"))?;
            open.file.append(&length.to_le_bytes())?;
        }
        open.file.append(key)?;
        open.file.append(value)?;
        open.records += 1;
        Ok(())
    }

    /// Begins the part `keyspace`, unless it is the one that is being written.
    pub(super) fn begin(&mut self, keyspace: &str) -> anyhow::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.name == keyspace) {
            return Ok(());
        }
        self.end()?;
        ensure!(
            is_plain_name(keyspace),
            "{keyspace:?} is no name of a part of a log"
        );
        ensure!(
            !self.records.contains_key(keyspace),
            "{keyspace} comes in two parts"
        );
        self.open = Some(OpenKeyspace {
            name: keyspace.to_owned(),
            file: self.writer.file(&format!("{RECORDS}{keyspace}"))?,
            records: 0,
        });
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if let Some(open) = self.open.take() {
            self.writer.close(open.file)?;
            self.records.insert(open.name, open.records);
        }
        Ok(())
    }

    /// Adds a file that lay beside the log.
    pub(super) fn add_file(&mut self, name: &str, contents: &[u8]) -> anyhow::Result<()> {
        self.end()?;
        ensure!(is_plain_name(name), "{name:?} is no name of a file");
        self.writer.write(&format!("{FILE}{name}"), contents)?;
        self.files.push(name.to_owned());
        Ok(())
    }

    /// Number of records of each part so far.
    pub(super) fn counts(&mut self) -> anyhow::Result<&BTreeMap<String, u64>> {
        self.end()?;
        Ok(&self.records)
    }

    /// Syncs the backup, reads it back and checks it, and makes it the current one of its
    /// directory.
    pub(super) fn finish(mut self, origin: BackupOrigin) -> anyhow::Result<String> {
        self.end()?;
        let facts = BackupManifest {
            time: origin.time,
            store_id: format!("{:016x}", origin.store_id),
            build: origin.build,
            records: self.records,
            files: self.files,
        };
        Ok(self.writer.finish(facts)?.version)
    }
}

impl BackupFiles {
    /// Opens the last backup in the directory `path` of backups, or the one that it is.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let reader = Reader::<BackupManifest>::open(path)?;
        let inner = path.join(&reader.manifest().version);
        let directory = if inner.is_dir() {
            inner
        } else {
            path.to_owned()
        };
        Ok(Self { reader, directory })
    }

    /// The manifest.
    pub(super) fn manifest(&self) -> &SnapshotManifest<BackupManifest> {
        self.reader.manifest()
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let SnapshotManifest {
            version,
            facts,
            files,
            ..
        } = self.manifest();
        let records: u64 = facts.records.values().sum();
        let bytes = files.iter().map(|file| file.bytes).sum();
        let size = bytesize::ByteSize(bytes).display().iec();
        let (time, actions) = (facts.time, facts.records.get("actions").unwrap_or(&0));
        format!("backup {version} of {time}: {actions} actions, {records} records in all, {size}")
    }

    /// Checks lengths, checksums and counts of all files.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.reader.check_files()?;
        for (keyspace, &expected) in &self.manifest().facts.records {
            let mut found = 0;
            self.for_each(keyspace, |_, _| {
                found += 1;
                Ok(())
            })?;
            ensure!(
                found == expected,
                "{keyspace}: {found} records, not {expected}"
            );
        }
        for name in &self.manifest().facts.files {
            self.file(name)?;
        }
        Ok(())
    }

    /// Passes all records of `keyspace` to `visit`.
    pub(super) fn for_each(
        &self,
        keyspace: &str,
        mut visit: impl FnMut(&[u8], &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        ensure!(
            is_plain_name(keyspace),
            "{keyspace:?} is no name of a part of a log"
        );
        let path = self.directory.join(format!("{RECORDS}{keyspace}"));
        let name = || path.display().to_string();
        let file = File::open(&path).with_context(name)?;
        let mut left = file.metadata().with_context(name)?.len();
        let mut file = BufReader::with_capacity(1 << 18, file);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        while left > 0 {
            let mut lengths = [[0; 4]; 2];
            file.read_exact(lengths.as_flattened_mut())
                .with_context(name)?;
            for (length, bytes) in lengths.into_iter().zip([&mut key, &mut value]) {
                let length = u32::from_le_bytes(length);
                ensure!(length <= MAX_LENGTH, "{}: a record is damaged", name());
                bytes.resize(length as usize, 0);
                file.read_exact(bytes).with_context(name)?;
                left = left.saturating_sub(4 + u64::from(length));
            }
            visit(&key, &value)?;
        }
        Ok(())
    }

    /// The contents of a file beside the log.
    pub(super) fn file(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        ensure!(is_plain_name(name), "{name:?} is no name of a file");
        let path = self.directory.join(format!("{FILE}{name}"));
        fs::read(&path).with_context(|| path.display().to_string())
    }
}

/// Whether `name` stays in its directory, on any file system.
fn is_plain_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> BackupOrigin {
        BackupOrigin {
            time: Timestamp::from_micros(5),
            store_id: 7,
            build: "1".to_owned(),
        }
    }

    fn written(root: &Path) -> BackupFiles {
        let mut writer = BackupWriter::create(root).expect("a directory");
        writer.push("actions", b"k1", b"").expect("a record");
        writer.push("actions", b"k2", b"value").expect("a record");
        writer.begin("pins").expect("a part");
        writer.add_file("pinned.json", b"{}").expect("a file");
        writer.finish(origin()).expect("a backup");
        BackupFiles::open(root).expect("a backup")
    }

    #[test]
    fn records_and_files_are_read_as_they_were_written() {
        let root = tempfile::tempdir().expect("a directory");
        let backup = written(root.path());
        backup.check().expect("a whole backup");
        let mut records = Vec::new();
        let push = |key: &[u8], value: &[u8]| {
            records.push((key.to_vec(), value.to_vec()));
            Ok(())
        };
        backup.for_each("actions", push).expect("records");
        let expected = [
            (b"k1".to_vec(), b"".to_vec()),
            (b"k2".to_vec(), b"value".to_vec()),
        ];
        assert_eq!(records, expected);
        assert_eq!(backup.file("pinned.json").expect("a file"), b"{}");
        let facts = &backup.manifest().facts;
        assert_eq!(
            facts.records,
            [("actions".to_owned(), 2), ("pins".to_owned(), 0)].into()
        );
        assert!(
            backup.summary().contains("2 actions"),
            "{}",
            backup.summary()
        );
        let one = root.path().join(&backup.manifest().version);
        BackupFiles::open(&one)
            .expect("a backup")
            .check()
            .expect("a whole backup");
    }

    #[test]
    fn a_changed_byte_and_a_missing_file_are_found() {
        let root = tempfile::tempdir().expect("a directory");
        let backup = written(root.path());
        let path = backup.directory.join("records-actions");
        let mut bytes = fs::read(&path).expect("a file");
        *bytes.last_mut().expect("a byte") ^= 1;
        fs::write(&path, bytes).expect("a file");
        let error = format!("{:#}", backup.check().expect_err("damage"));
        assert!(error.contains("records-actions"), "{error}");
        fs::remove_file(&path).expect("a file");
        assert!(backup.check().is_err());
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        let root = tempfile::tempdir().expect("a directory");
        let mut writer = BackupWriter::create(root.path()).expect("a directory");
        for name in ["", "..", "a/b", "/etc/passwd", ".hidden", "a\0"] {
            assert!(writer.push(name, b"", b"").is_err(), "{name:?}");
            assert!(writer.add_file(name, b"").is_err(), "{name:?}");
        }
    }
}
