//! Atomic writes: contents are written to a temporary name, synced, and renamed.
//!
//! [`Writer`] writes a version of a snapshot so, [`replace_file`] and [`write_file`] a single file.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::error::SnapshotError;
use super::manifest::{FileEntry, ManifestFacts, SnapshotManifest, format_checksum, version_name};
use super::names::{CURRENT, MANIFEST};
use super::read::Reader;

/// Name of the directory for files that are of use only while a version is written.
const SCRATCH: &str = "scratch";

/// Writes one version into a versioned directory. Dropped before
/// [`Writer::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    root: PathBuf,
    /// Where the version is written before it is renamed.
    temporary: PathBuf,
    files: Vec<FileEntry>,
}

/// One file of a version while it is written; computes its checksum on the way.
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
        let temporary = root.join(format!(".partial-{}", std::process::id()));
        fs::create_dir_all(root).map_err(SnapshotError::io(root))?;
        if temporary.exists() {
            // A killed process that had the same number left it behind.
            fs::remove_dir_all(&temporary).map_err(SnapshotError::io(&temporary))?;
        }
        fs::create_dir(&temporary).map_err(SnapshotError::io(&temporary))?;
        Ok(Self {
            root: root.to_owned(),
            temporary,
            files: Vec::new(),
        })
    }

    /// A directory for files that are of use only while the version is written.
    pub fn scratch(&self) -> Result<PathBuf, SnapshotError> {
        let path = self.temporary.join(SCRATCH);
        fs::create_dir_all(&path).map_err(SnapshotError::io(&path))?;
        Ok(path)
    }

    /// Begins the file `name`; [`Writer::close`] takes it at its end.
    pub fn file(&self, name: &str) -> Result<FileWriter, SnapshotError> {
        let path = self.temporary.join(name);
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
            xxh3: format_checksum(hash.digest128()),
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
        let path = self.temporary.join(MANIFEST);
        let invalid = |e: serde_json::Error| SnapshotError::io(&path)(e.into());
        let version = version_name(&facts, &files).map_err(invalid)?;
        let manifest = SnapshotManifest {
            format: F::FORMAT.to_owned(),
            version,
            facts,
            files,
        };
        let mut text = serde_json::to_vec_pretty(&manifest).map_err(invalid)?;
        text.push(b'\n');
        write_synced(&path, &text)?;

        let scratch = self.temporary.join(SCRATCH);
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(SnapshotError::io(&scratch))?;
        }
        sync_directory(&self.temporary)?;
        let version = self.root.join(&manifest.version);
        // An intact version of this name has the same contents, and readers may have
        // mapped its files: it stays.
        let intact = Reader::<F>::open(&version).and_then(|reader| reader.check_files());
        if intact.is_err() {
            self.replace(&version)?;
        }
        sync_directory(&self.root)?;
        Ok(manifest)
    }

    /// Renames the temporary directory to that of its version. Whatever has that name
    /// is damaged: an intact version would have been kept.
    fn replace(&self, version: &Path) -> Result<(), SnapshotError> {
        let aside = self.temporary.with_extension("damaged");
        if aside.exists() {
            // A process that was killed right here left it behind.
            fs::remove_dir_all(&aside).map_err(SnapshotError::io(&aside))?;
        }
        if version.exists() {
            fs::rename(version, &aside).map_err(SnapshotError::io(version))?;
        }
        fs::rename(&self.temporary, version).map_err(SnapshotError::io(version))?;
        // The version is complete now, so a failure to remove the damaged one is harmless.
        let _ = fs::remove_dir_all(&aside);
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After a rename the temporary directory is gone; otherwise no caller is left that
        // could be told that it was not removed.
        let _ = fs::remove_dir_all(&self.temporary);
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

/// Replaces the contents of the file at `path`: a reader sees the old ones or all of the
/// new ones, also after a crash.
pub fn replace_file(path: &Path, contents: &[u8]) -> Result<(), SnapshotError> {
    write_file(path, |mut file| {
        let written = file.write_all(contents);
        written.map(|()| file).map_err(SnapshotError::io(path))
    })
}

/// Writes the file at `path` by `fill`, which gets an empty file and returns it full: a
/// reader sees what was there or all that is new, also after a crash.
pub fn write_file<E: From<SnapshotError>>(
    path: &Path,
    fill: impl FnOnce(File) -> Result<File, E>,
) -> Result<(), E> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Servers on other machines may write to the same directory, by the same process id.
    let (process, random) = (std::process::id(), rand::random::<u32>());
    let temporary = directory.join(format!(".{name}-{process}-{random:08x}"));
    let file = File::create(&temporary).map_err(SnapshotError::io(&temporary))?;
    let written = fill(file).and_then(|file| {
        file.sync_all().map_err(SnapshotError::io(&temporary))?;
        fs::rename(&temporary, path).map_err(SnapshotError::io(path))?;
        Ok(())
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    Ok(sync_directory(directory)?)
}

/// Creates the directory `path` and those that it lies in, durably.
pub fn create_directories(path: &Path) -> Result<(), SnapshotError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_directories(parent)?;
    }
    fs::create_dir_all(path).map_err(SnapshotError::io(path))?;
    parent.map_or(Ok(()), sync_directory)
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
