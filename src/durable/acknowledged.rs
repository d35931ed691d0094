//! The number of records acknowledged so far, in a file beside the store.
//!
//! The lock on this file also keeps a second process away from the directory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::LogError;

/// Name of the file in the directory of the log.
pub(super) const FILE: &str = "acknowledged";

/// The file with the number of acknowledged records, locked for this process.
#[derive(Debug)]
pub(super) struct AcknowledgedCount {
    path: PathBuf,
    file: File,
}

impl AcknowledgedCount {
    /// Opens and locks the file in `directory`, which is created when it is not there.
    pub(super) fn lock(directory: &Path) -> Result<Self, LogError> {
        let path = directory.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(LogError::io(&path))?;
        if file.try_lock().is_err() {
            let cause = io::Error::other("another process uses it");
            return Err(LogError::io(directory)(cause));
        }
        Ok(Self { path, file })
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The count; 0 in a new file.
    pub(super) fn read(&self) -> u64 {
        let mut count = [0; 8];
        match self.file.read_exact_at(&mut count, 0) {
            Ok(()) => u64::from_le_bytes(count),
            Err(_) => 0,
        }
    }

    /// Replaces the count, without a sync: after a crash it may be too low, and then
    /// fewer records are missed, but never one that is there is reported lost.
    pub(super) fn write(&self, count: u64) -> io::Result<()> {
        self.file.write_all_at(&count.to_le_bytes(), 0)
    }
}
