//! Reading a version, checked.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytemuck::Pod;
use xxhash_rust::xxh3::Xxh3;

use super::{
    CURRENT, FileEntry, MANIFEST, ManifestFacts, SnapshotError, SnapshotManifest, checksum,
    version_of,
};
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

    /// What the snapshot states of itself.
    pub fn manifest(&self) -> &SnapshotManifest<F> {
        &self.manifest
    }

    /// Gives up the reader for its manifest.
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
    pub fn exactly<T: Pod>(&self, name: &str, count: usize) -> Result<Vec<T>, SnapshotError> {
        let mut records = vec![T::zeroed(); self.count::<T>(name, Some(count))?];
        self.fill(name, bytemuck::cast_slice_mut(&mut records))?;
        Ok(records)
    }

    /// Reads the file `name` as records of `T`, and checks length and checksum.
    pub fn records<T: Pod>(&self, name: &str) -> Result<Vec<T>, SnapshotError> {
        self.exactly(name, self.count::<T>(name, None)?)
    }

    /// Like [`Reader::exactly`], into huge pages.
    pub fn pages<T: Pod>(&self, name: &str, count: usize) -> Result<Pages<T>, SnapshotError> {
        let count = self.count::<T>(name, Some(count))?;
        let mut records = Pages::zeroed(count).map_err(SnapshotError::io(&self.path.join(name)))?;
        self.fill(name, bytemuck::cast_slice_mut(&mut records))?;
        Ok(records)
    }

    /// Maps the file `name`, which must hold exactly `count` records of `T`. Its
    /// length is checked; its checksum is not, see [`Reader::check`].
    pub fn map<T: Pod>(&self, name: &str, count: usize) -> Result<Mapped<T>, SnapshotError> {
        self.count::<T>(name, Some(count))?;
        let path = self.path.join(name);
        let file = File::open(&path).map_err(SnapshotError::io(&path))?;
        Mapped::new(&file).map_err(SnapshotError::io(&path))
    }

    /// Like [`Reader::map`], however many records there are.
    pub fn map_all<T: Pod>(&self, name: &str) -> Result<Mapped<T>, SnapshotError> {
        self.map(name, self.count::<T>(name, None)?)
    }

    /// Number of records of `T` in the file `name`: what the manifest says, which
    /// must be what is there and, where it is given, `expected`.
    fn count<T: Pod>(&self, name: &str, expected: Option<usize>) -> Result<usize, SnapshotError> {
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
        match checksum(xxhash_rust::xxh3::xxh3_128(bytes)) == self.entry(name)?.xxh3 {
            true => Ok(()),
            false => Err(SnapshotError::damaged(&path, "the checksum does not match")),
        }
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
        if (bytes, checksum(hash.digest128())) != (entry.bytes, entry.xxh3.clone()) {
            return Err(SnapshotError::damaged(&path, "the checksum does not match"));
        }
        Ok(())
    }

    /// Checks every file, as [`Reader::check`] does.
    pub fn check_files(&self) -> Result<(), SnapshotError> {
        let mut files = self.manifest.files.iter();
        files.try_for_each(|entry| self.check(&entry.name))
    }

    /// Says that the facts of this version cannot be true.
    pub fn misstated(&self, reason: impl Into<String>) -> SnapshotError {
        self.damaged(MANIFEST, reason)
    }

    /// Says that the file `name` of this version is not what was written.
    pub fn damaged(&self, name: &str, reason: impl Into<String>) -> SnapshotError {
        SnapshotError::damaged(&self.path.join(name), reason)
    }
}

/// The name of the current version of the versioned directory `path`; none when
/// `path` is itself a version.
pub fn current_version(path: &Path) -> Result<Option<String>, SnapshotError> {
    if path.join(MANIFEST).exists() {
        return Ok(None);
    }
    let current = path.join(CURRENT);
    let version = match fs::read_to_string(&current) {
        Ok(version) => version,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(SnapshotError::NoSnapshot(path.to_owned()));
        }
        Err(e) => return Err(SnapshotError::io(&current)(e)),
    };
    let version = version.trim_end();
    if !is_version(version) {
        return Err(SnapshotError::damaged(
            &current,
            "does not hold the name of a version",
        ));
    }
    Ok(Some(version.to_owned()))
}

/// The names of all versions in the versioned directory `path`, ascending.
pub fn versions(path: &Path) -> Result<Vec<String>, SnapshotError> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(path).map_err(SnapshotError::io(path))? {
        let entry = entry.map_err(SnapshotError::io(path))?;
        if let Ok(name) = entry.file_name().into_string()
            && is_version(&name)
            && entry.path().join(MANIFEST).exists()
        {
            versions.push(name);
        }
    }
    versions.sort_unstable();
    Ok(versions)
}

/// Whether `name` can be that of a version.
pub fn is_version(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn version_directory(path: &Path) -> Result<PathBuf, SnapshotError> {
    let current = current_version(path)?;
    Ok(current.map_or_else(|| path.to_owned(), |version| path.join(version)))
}

fn read_manifest<F: ManifestFacts>(path: &Path) -> Result<SnapshotManifest<F>, SnapshotError> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: String,
    }
    let text = fs::read(path).map_err(SnapshotError::io(path))?;
    let damaged = |e: serde_json::Error| SnapshotError::damaged(path, e.to_string());
    let Head { format } = serde_json::from_slice(&text).map_err(damaged)?;
    if format != F::FORMAT {
        return Err(SnapshotError::WrongFormat {
            path: path.to_owned(),
            found: format,
            expected: F::FORMAT,
        });
    }
    let manifest: SnapshotManifest<F> = serde_json::from_slice(&text).map_err(damaged)?;
    if version_of(&manifest.facts, &manifest.files).map_err(damaged)? != manifest.version {
        return Err(SnapshotError::damaged(
            path,
            "its version does not match what it states",
        ));
    }
    Ok(manifest)
}
