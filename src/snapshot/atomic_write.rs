//! Writing a version: side name, sync, rename.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::{
    CURRENT, FileEntry, MANIFEST, ManifestFacts, Reader, SnapshotError, SnapshotManifest, checksum,
    version_of,
};

/// Writes one version into a versioned directory. Dropped before
/// [`Writer::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    side: PathBuf,
    files: Vec<FileEntry>,
}

/// One file of a version while it is written: sums up what goes through.
pub struct FileWriter {
    path: PathBuf,
    name: String,
    out: BufWriter<File>,
    bytes: u64,
    hash: Xxh3,
}

impl Writer {
    /// Begins a version in `root`, which is created when it is not there.
    pub fn create(root: &Path) -> Result<Self, SnapshotError> {
        let side = root.join(format!(".partial-{}", std::process::id()));
        fs::create_dir_all(root).map_err(SnapshotError::io(root))?;
        if side.exists() {
            // Left by a killed process that had the same number.
            fs::remove_dir_all(&side).map_err(SnapshotError::io(&side))?;
        }
        fs::create_dir(&side).map_err(SnapshotError::io(&side))?;
        Ok(Self {
            root: root.to_owned(),
            side,
            files: Vec::new(),
        })
    }

    /// A place for files that are of use only while the version is written.
    pub fn scratch(&self) -> Result<PathBuf, SnapshotError> {
        let path = self.side.join("scratch");
        fs::create_dir_all(&path).map_err(SnapshotError::io(&path))?;
        Ok(path)
    }

    /// Begins the file `name`; give it to [`Writer::close`] at its end.
    pub fn file(&self, name: &str) -> Result<FileWriter, SnapshotError> {
        let path = self.side.join(name);
        let file = File::create_new(&path).map_err(SnapshotError::io(&path))?;
        Ok(FileWriter {
            path,
            name: name.to_owned(),
            out: BufWriter::with_capacity(1 << 18, file),
            bytes: 0,
            hash: Xxh3::new(),
        })
    }

    /// Syncs a file and enters it into the manifest.
    pub fn close(&mut self, file: FileWriter) -> Result<(), SnapshotError> {
        let FileWriter {
            path,
            name,
            out,
            bytes,
            hash,
        } = file;
        let file = out
            .into_inner()
            .map_err(|e| SnapshotError::io(&path)(e.into_error()))?;
        file.sync_all().map_err(SnapshotError::io(&path))?;
        self.files.push(FileEntry {
            name,
            bytes,
            xxh3: checksum(hash.digest128()),
        });
        Ok(())
    }

    /// Writes the file `name` as a whole.
    pub fn write(&mut self, name: &str, contents: &[u8]) -> Result<(), SnapshotError> {
        let mut file = self.file(name)?;
        file.append(contents)?;
        self.close(file)
    }

    /// Writes the manifest, gives the version its name and makes it the current
    /// one.
    pub fn finish<F: ManifestFacts>(self, facts: F) -> Result<SnapshotManifest<F>, SnapshotError> {
        let root = self.root.clone();
        let manifest = self.seal(facts)?;
        let current = format!("{}\n", manifest.version);
        replace_file(&root.join(CURRENT), current.as_bytes())?;
        Ok(manifest)
    }

    /// Writes the manifest and gives the version its name, in a directory whose
    /// versions are all in use together.
    pub fn seal<F: ManifestFacts>(
        mut self,
        facts: F,
    ) -> Result<SnapshotManifest<F>, SnapshotError> {
        let files = std::mem::take(&mut self.files);
        let path = self.side.join(MANIFEST);
        let invalid = |e: serde_json::Error| SnapshotError::io(&path)(e.into());
        let version = version_of(&facts, &files).map_err(invalid)?;
        let manifest = SnapshotManifest {
            format: F::FORMAT.to_owned(),
            version,
            facts,
            files,
        };
        let mut text = serde_json::to_vec_pretty(&manifest).map_err(invalid)?;
        text.push(b'\n');
        write_synced(&path, &text)?;

        let scratch = self.side.join("scratch");
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(SnapshotError::io(&scratch))?;
        }
        sync_directory(&self.side)?;
        let place = self.root.join(&manifest.version);
        if Reader::<F>::open(&place)
            .and_then(|reader| reader.check_files())
            .is_err()
        {
            self.replace(&place)?;
        }
        sync_directory(&self.root)?;
        Ok(manifest)
    }
}

impl Writer {
    /// Gives the side name the name of its version. Whatever bears that name is
    /// damaged: an intact one would have been kept.
    fn replace(&self, place: &Path) -> Result<(), SnapshotError> {
        let aside = self.side.with_extension("damaged");
        if aside.exists() {
            // Left by a process that was killed right here.
            fs::remove_dir_all(&aside).map_err(SnapshotError::io(&aside))?;
        }
        if place.exists() {
            fs::rename(place, &aside).map_err(SnapshotError::io(place))?;
        }
        fs::rename(&self.side, place).map_err(SnapshotError::io(place))?;
        // The version is in place; what is left of the damaged one is only litter.
        let _ = fs::remove_dir_all(&aside);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After a rename the side name is gone; otherwise there is nobody left
        // to tell that it could not be removed.
        let _ = fs::remove_dir_all(&self.side);
    }
}

impl FileWriter {
    /// Appends `bytes`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out
            .write_all(bytes)
            .map_err(SnapshotError::io(&self.path))
    }

    /// Number of bytes appended so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter")
            .field("path", &self.path)
            .field("bytes", &self.bytes)
            .finish()
    }
}

/// Gives the file at `path` these contents: whoever reads it sees the old ones or all of
/// the new ones, also after a crash.
pub fn replace_file(path: &Path, contents: &[u8]) -> Result<(), SnapshotError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let side = directory.join(format!(".{name}-{}", std::process::id()));
    write_synced(&side, contents)?;
    fs::rename(&side, path).map_err(SnapshotError::io(path))?;
    sync_directory(directory)
}

fn write_synced(path: &Path, contents: &[u8]) -> Result<(), SnapshotError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(contents)?;
        file.sync_all()
    };
    write().map_err(SnapshotError::io(path))
}

fn sync_directory(path: &Path) -> Result<(), SnapshotError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(SnapshotError::io(path))
}
