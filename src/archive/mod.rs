//! The archive: what users did, as Parquet files by the hour in which it was recorded.
//!
//! ```text
//! DIR/date=2026-11-28/hour=08/<store>-<first>-<last>.parquet
//! ```
//!
//! A file has the actions of one store from the number `first` to the number `last`, and
//! appears when it is complete. Where the caller calls users or pins by strings, it has them
//! in columns beside those of the ids. Each action is in one file, also across crashes: the log
//! holds the last number that was archived, and the names of the files say what was
//! written after that. Nothing is forgotten by the log before it is archived.
//!
//! Replicas of a shared log write to one directory, one at a time. A file has the actions of
//! one stream of the log; the numbers in its name are those that actions may have in the
//! messages that one claim on the archive is of. So it has the same name and the same rows
//! whichever replica writes it, and is written again by none that finds it. The log holds the
//! last claim, and says so to all.
//!
//! ```text
//! DIR/_erased-through-<store>
//! ```
//!
//! has the moment of the last erasure of a user by that store. The files that are read after
//! it have nothing any more of what the store had erased up to then.

mod archiver;
mod directory;
mod erase;
mod error;
mod log_archiver;
mod params;
mod progress;
mod replica;
mod table;
mod unsettled;

pub use archiver::Archiver;
pub use directory::{ArchiveDirectory, erased_through, files};
pub use erase::ErasedFromArchive;
pub use error::ArchiveError;
pub use log_archiver::LogArchiver;
pub use params::ArchiveParams;
pub use progress::{Archived, Backlog};
pub use replica::ReplicaArchiver;
pub use table::{FileRows, joined_schema, read_rows, rows, schema, with_columns_of, write_actions};
