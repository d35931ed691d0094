//! Reading a version, checked.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytemuck::Pod;
use xxhash_rust::xxh3::Xxh3;

use super::{CURRENT, Facts, MANIFEST, Manifest, SnapshotError, version_of};

/// One version of a versioned directory, opened.
#[derive(Debug)]
pub struct Reader<F> {
    path: PathBuf,
    manifest: Manifest<F>,
}

impl<F: Facts> Reader<F> {
    /// Opens the current version of the versioned directory `path`, or the
    /// version that `path` itself is.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let path = version_directory(path)?;
        let manifest = read_manifest(&path.join(MANIFEST))?;
        Ok(Self { path, manifest })
    }

    /// What the snapshot states of itself.
    pub fn manifest(&self) -> &Manifest<F> {
        &self.manifest
    }

    /// Gives up the reader for its manifest.
    pub fn into_manifest(self) -> Manifest<F> {
        self.manifest
    }

    /// When the version was written, by the clock of the file system.
    pub fn written_at(&self) -> Result<SystemTime, SnapshotError> {
        let path = self.path.join(MANIFEST);
        fs::metadata(&path)
            .and_then(|meta| meta.modified())
            .map_err(SnapshotError::io(&path))
    }

    /// Reads the file `name` as records of `T`, and checks length and checksum.
    pub fn records<T: Pod>(&self, name: &str) -> Result<Vec<T>, SnapshotError> {
        let path = self.path.join(name);
        let entry = self.manifest.files.iter().find(|entry| entry.name == name);
        let Some(entry) = entry else {
            return Err(self.damaged(MANIFEST, format!("does not list {name}")));
        };
        let mut file = File::open(&path).map_err(SnapshotError::io(&path))?;
        let found = file.metadata().map_err(SnapshotError::io(&path))?.len();
        if found != entry.bytes {
            let reason = format!("has {found} bytes, the manifest says {}", entry.bytes);
            return Err(SnapshotError::damaged(&path, reason));
        }
        let count = usize::try_from(found)
            .ok()
            .filter(|bytes| bytes % size_of::<T>() == 0);
        let Some(count) = count.map(|bytes| bytes / size_of::<T>()) else {
            let reason = format!("{found} bytes are no whole number of records");
            return Err(SnapshotError::damaged(&path, reason));
        };
        let mut records = vec![T::zeroed(); count];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut records);
        file.read_exact(bytes).map_err(SnapshotError::io(&path))?;
        let sum = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes));
        if sum != entry.xxh3 {
            return Err(SnapshotError::damaged(&path, "the checksum does not match"));
        }
        Ok(records)
    }

    /// Checks length and checksum of every file, without holding one in memory.
    pub fn check_files(&self) -> Result<(), SnapshotError> {
        let mut buffer = vec![0; 1 << 18];
        for entry in &self.manifest.files {
            let path = self.path.join(&entry.name);
            let mut file = File::open(&path).map_err(SnapshotError::io(&path))?;
            let (mut bytes, mut hash) = (0, Xxh3::new());
            loop {
                let read = file.read(&mut buffer).map_err(SnapshotError::io(&path))?;
                if read == 0 {
                    break;
                }
                bytes += read as u64;
                hash.update(&buffer[..read]);
            }
            let sum = format!("{:032x}", hash.digest128());
            if (bytes, &sum) != (entry.bytes, &entry.xxh3) {
                return Err(SnapshotError::damaged(&path, "is not what was written"));
            }
        }
        Ok(())
    }

    /// Reads the file `name`, which must hold exactly `count` records of `T`.
    pub fn exactly<T: Pod>(&self, name: &str, count: usize) -> Result<Vec<T>, SnapshotError> {
        let records = self.records(name)?;
        if records.len() != count {
            let reason = format!(
                "holds {} records where there should be {count}",
                records.len()
            );
            return Err(self.damaged(name, reason));
        }
        Ok(records)
    }

    /// Says that the file `name` of this version is not what was written.
    pub fn damaged(&self, name: &str, reason: impl Into<String>) -> SnapshotError {
        SnapshotError::damaged(&self.path.join(name), reason)
    }
}

fn version_directory(path: &Path) -> Result<PathBuf, SnapshotError> {
    if path.join(MANIFEST).exists() {
        return Ok(path.to_owned());
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
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(SnapshotError::damaged(
            &current,
            "does not hold the name of a version",
        ));
    }
    Ok(path.join(version))
}

fn read_manifest<F: Facts>(path: &Path) -> Result<Manifest<F>, SnapshotError> {
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
    let manifest: Manifest<F> = serde_json::from_slice(&text).map_err(damaged)?;
    if version_of(&manifest.facts, &manifest.files).map_err(damaged)? != manifest.version {
        return Err(SnapshotError::damaged(
            path,
            "its version does not match what it states",
        ));
    }
    Ok(manifest)
}
