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

mod archiver;
mod directory;
mod erase;
mod error;
mod params;
mod table;

pub use archiver::{Archived, Archiver, Backlog};
pub use directory::{ArchiveDirectory, files};
pub use erase::ErasedFromArchive;
pub use error::ArchiveError;
pub use params::ArchiveParams;
pub use table::{FileRows, joined_schema, read_rows, rows, schema, with_columns_of, write_actions};
