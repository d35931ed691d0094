//! Reading a version, with every file checked.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytemuck::Pod;
use xxhash_rust::xxh3::Xxh3;

use super::error::SnapshotError;
use super::layout::version_directory;
use super::manifest::{FileEntry, ManifestFacts, SnapshotManifest, format_checksum, read_manifest};
use super::names::MANIFEST;
use crate::memory::{Mapped, Pages};

/// One version of a versioned directory, opened.
#[derive(Debug)]
pub struct Reader<F> {
    path: PathBuf,
    manifest: SnapshotManifest<F>,
}

impl<F: ManifestFacts> Reader<F> {
    /// Opens the current version of the versioned directory `path`, or the
    /// version that `path` itself is.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let path = version_directory(path)?;
        let manifest = read_manifest(&path.join(MANIFEST))?;
        Ok(Self { path, manifest })
    }

    /// The manifest of the snapshot.
    pub fn manifest(&self) -> &SnapshotManifest<F> {
        &self.manifest
    }

    /// Turns the reader into its manifest.
    pub fn into_manifest(self) -> SnapshotManifest<F> {
        self.manifest
    }

    /// When the version was written, by the clock of the file system.
    pub fn written_at(&self) -> Result<SystemTime, SnapshotError> {
        let path = self.path.join(MANIFEST);
        fs::metadata(&path)
            .and_then(|meta| meta.modified())
            .map_err(SnapshotError::io(&path))
    }

    /// Reads the file `name`, which must hold exactly `count` records of `T`, and
    /// checks length and checksum.
    pub fn read_records<T: Pod>(&self, name: &str, count: usize) -> Result<Vec<T>, SnapshotError> {
        let mut records = vec![T::zeroed(); self.checked_count::<T>(name, Some(count))?];
        self.fill(name, bytemuck::cast_slice_mut(&mut records))?;
        Ok(records)
    }

    /// Reads the file `name` as records of `T`, and checks length and checksum.
    pub fn read_all_records<T: Pod>(&self, name: &str) -> Result<Vec<T>, SnapshotError> {
        self.read_records(name, self.checked_count::<T>(name, None)?)
    }

    /// Like [`Reader::read_records`], into huge pages.
    pub fn read_pages<T: Pod>(&self, name: &str, count: usize) -> Result<Pages<T>, SnapshotError> {
        let count = self.checked_count::<T>(name, Some(count))?;
        let mut records = Pages::zeroed(count).map_err(SnapshotError::io(&self.path.join(name)))?;
        self.fill(name, bytemuck::cast_slice_mut(&mut records))?;
        Ok(records)
    }

    /// Maps the file `name`, which must hold exactly `count` records of `T`. Its
    /// length is checked; its checksum is not, see [`Reader::check`].
    pub fn map_records<T: Pod>(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Mapped<T>, SnapshotError> {
        self.checked_count::<T>(name, Some(count))?;
        let path = self.path.join(name);
        let file = File::open(&path).map_err(SnapshotError::io(&path))?;
        Mapped::new(&file).map_err(SnapshotError::io(&path))
    }

    /// Like [`Reader::map_records`], however many records there are.
    pub fn map_all_records<T: Pod>(&self, name: &str) -> Result<Mapped<T>, SnapshotError> {
        self.map_records(name, self.checked_count::<T>(name, None)?)
    }

    /// Number of records of `T` in the file `name`. Its length must be the one in the
    /// manifest, and the number `expected` where that is given.
    fn checked_count<T: Pod>(
        &self,
        name: &str,
        expected: Option<usize>,
    ) -> Result<usize, SnapshotError> {
        let path = self.path.join(name);
        let listed = self.entry(name)?.bytes;
        let found = fs::metadata(&path).map_err(SnapshotError::io(&path))?.len();
        if found != listed {
            let reason = format!("has {found} bytes, the manifest says {listed}");
            return Err(SnapshotError::damaged(&path, reason));
        }
        let whole = usize::try_from(found)
            .ok()
            .filter(|bytes| bytes % size_of::<T>() == 0);
        let Some(count) = whole.map(|bytes| bytes / size_of::<T>()) else {
            let reason = format!("{found} bytes are no whole number of records");
            return Err(SnapshotError::damaged(&path, reason));
        };
        if let Some(expected) = expected.filter(|&expected| expected != count) {
            let reason = format!("holds {count} records where there should be {expected}");
            return Err(SnapshotError::damaged(&path, reason));
        }
        Ok(count)
    }

    /// Reads the file `name` into `bytes`, and checks its checksum.
    fn fill(&self, name: &str, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        let path = self.path.join(name);
        let mut file = File::open(&path).map_err(SnapshotError::io(&path))?;
        file.read_exact(bytes).map_err(SnapshotError::io(&path))?;
        let checksum = format_checksum(xxhash_rust::xxh3::xxh3_128(bytes));
        if checksum != self.entry(name)?.xxh3 {
            return Err(SnapshotError::damaged(&path, "the checksum does not match"));
        }
        Ok(())
    }

    fn entry(&self, name: &str) -> Result<&FileEntry, SnapshotError> {
        let entry = self.manifest.files.iter().find(|entry| entry.name == name);
        entry.ok_or_else(|| self.damaged(MANIFEST, format!("does not list {name}")))
    }

    /// Checks length and checksum of the file `name`, without holding it in memory.
    pub fn check(&self, name: &str) -> Result<(), SnapshotError> {
        let entry = self.entry(name)?;
        let path = self.path.join(name);
        let mut file = File::open(&path).map_err(SnapshotError::io(&path))?;
        let mut buffer = vec![0; 1 << 18];
        let (mut bytes, mut hash) = (0, Xxh3::new());
        loop {
            let read = file.read(&mut buffer).map_err(SnapshotError::io(&path))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            hash.update(&buffer[..read]);
        }
        if (bytes, format_checksum(hash.digest128())) != (entry.bytes, entry.xxh3.clone()) {
            return Err(SnapshotError::damaged(&path, "the checksum does not match"));
        }
        Ok(())
    }

    /// Checks every file, as [`Reader::check`] does.
    pub fn check_files(&self) -> Result<(), SnapshotError> {
        let mut files = self.manifest.files.iter();
        files.try_for_each(|entry| self.check(&entry.name))
    }

    /// The error for facts of this version that cannot be true.
    pub fn invalid_facts(&self, reason: impl Into<String>) -> SnapshotError {
        self.damaged(MANIFEST, reason)
    }

    /// The error for a file `name` of this version that is not what was written.
    pub fn damaged(&self, name: &str, reason: impl Into<String>) -> SnapshotError {
        SnapshotError::damaged(&self.path.join(name), reason)
    }
}
