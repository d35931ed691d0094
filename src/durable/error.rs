//! Errors of the durable log.

use std::io;
use std::path::{Path, PathBuf};

/// Why the log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system failed.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its error, which the message has already: it is no source.
        cause: io::Error,
    },
    /// The store failed.
    #[error("{}: {cause:?}", path.display())]
    Store {
        /// Its directory.
        path: PathBuf,
        /// Its error.
        cause: fjall::Error,
    },
    /// A write failed, and nothing is written until the store is opened again.
    #[error("{}: nothing is written until it is opened again: {reason}", path.display())]
    NotWritable {
        /// The directory of the store.
        path: PathBuf,
        /// The failure.
        reason: String,
    },
    /// The store is closed, and will be open again in a moment: an erasure removes what is in no
    /// record any more from its files.
    #[error(
        "{}: closed for a moment, while what was erased is removed from its files",
        path.display()
    )]
    Closed {
        /// The directory of the store.
        path: PathBuf,
    },
    /// The file system has too little space to open the store again.
    #[error(
        "{}: {} are free, and {} are needed to write again",
        path.display(), bytesize::ByteSize(*free), bytesize::ByteSize(*needed)
    )]
    NoSpace {
        /// The directory of the store.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// The store cannot read its files.
    #[error(
        "{}: its files are damaged: {reason} (the journals are kept as they were found in {kept})",
        path.display()
    )]
    Unreadable {
        /// The directory of the store.
        path: PathBuf,
        /// Its error.
        reason: String,
        /// Directory of a copy of the journals as they were found.
        kept: String,
    },
    /// A record cannot be decoded.
    #[error("{}: the record of {what} {key} is damaged", path.display())]
    Damaged {
        /// The directory of the store.
        path: PathBuf,
        /// Kind of the record.
        what: &'static str,
        /// Its key, in hexadecimal.
        key: String,
    },
    /// Acknowledged records are gone.
    #[error(
        "{}: {found} records are there, but {acknowledged} were acknowledged: the store has \
         lost some, most likely because {kept} is damaged (kept as it was found); \
         to go on with what is left, delete {}",
        path.display(), marker.display()
    )]
    Lost {
        /// The directory of the store.
        path: PathBuf,
        /// Records that the store has counted.
        found: u64,
        /// Records that were acknowledged.
        acknowledged: u64,
        /// Directory of a copy of the journals as they were found.
        kept: String,
        /// The file with the number of acknowledged records.
        marker: PathBuf,
    },
    /// No node of a shared log answers, or none takes what is appended.
    #[error("the action log at {url}: {reason}")]
    Unreachable {
        /// Addresses of the nodes.
        url: String,
        /// What failed last.
        reason: String,
    },
    /// A shared log cannot be written at present.
    #[error("the action log: {0}")]
    NotReached(String),
    /// What was appended to a shared log has not come back yet.
    #[error("the action log has it, but has not brought it back yet")]
    NotRead,
    /// A shared log is not the one that the settings or the directory ask for.
    #[error("the action log at {url}: {what} is {found}, but {expected} is expected")]
    Mismatch {
        /// Addresses of the nodes.
        url: String,
        /// A stream, and what of it.
        what: String,
        /// What it is.
        found: String,
        /// What the settings or the directory say.
        expected: String,
    },
}

impl LogError {
    /// Adds the path to an error of the file system.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io {
            path: path.to_owned(),
            cause,
        }
    }
}
