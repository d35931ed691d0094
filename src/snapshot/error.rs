//! Errors of reading and writing a versioned directory.

use std::io;
use std::path::{Path, PathBuf};

use super::names::{CURRENT, MANIFEST};

/// Why a snapshot could not be read or written. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its error.
        cause: io::Error,
    },
    /// The directory holds no version.
    #[error("{}: holds neither {CURRENT} nor {MANIFEST}: no snapshot was written here", .0.display(), CURRENT = CURRENT, MANIFEST = MANIFEST)]
    NoSnapshot(PathBuf),
    /// The contents are not what was written.
    #[error("{}: damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The difference that was found.
        reason: String,
    },
    /// The snapshot is of another kind or format version.
    #[error("{}: is a {found:?}, not a {expected:?}", path.display())]
    WrongFormat {
        /// The manifest.
        path: PathBuf,
        /// The format that it states.
        found: String,
        /// The format that is read here.
        expected: &'static str,
    },
}

impl SnapshotError {
    /// Adds the path to an error of the operating system.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |cause| Self::Io { path, cause }
    }

    /// The error for a file at `path` that is not what was written.
    pub fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}
