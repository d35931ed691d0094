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
mod params;
mod table;

pub use archiver::{Archived, Archiver, Backlog};
pub use directory::{ArchiveDirectory, erased_through, files};
pub use erase::ErasedFromArchive;
pub use error::ArchiveError;
pub use params::ArchiveParams;
pub use table::{FileRows, joined_schema, read_rows, rows, schema, with_columns_of, write_actions};
