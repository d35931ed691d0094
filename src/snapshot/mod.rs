//! Versioned directories: the layout of catalogs and profiles on disk.
//!
//! ```text
//! DIR/CURRENT                the name of the version in use
//! DIR/<version>/manifest.json  its facts, and length and checksum of each file
//! DIR/<version>/...            the files
//! ```
//!
//! A version is written to a temporary directory, synced, renamed, and only then
//! named by `CURRENT`, which is itself replaced by a rename: a reader sees the old
//! version or the new one, never a mixture. The name is made from the checksums, so
//! equal contents are one version. Every file is checked against its checksum when it
//! is read, or later when it is only mapped. An error names the damaged file.
//!
//! Numbers in binary files are little endian, in records without padding.

mod atomic_write;
mod error;
mod layout;
mod manifest;
mod names;
mod prune;
mod read;
mod texts;

pub use atomic_write::{FileWriter, Writer, create_directories, replace_file, write_file};
pub use error::SnapshotError;
pub use layout::{current_version, is_version, versions};
pub use manifest::{FileEntry, ManifestFacts, SnapshotManifest};
pub use prune::prune;
pub use read::Reader;
pub use texts::Texts;

#[cfg(target_endian = "big")]
compile_error!("the files hold little-endian numbers that are used in place");

#[cfg(test)]
mod tests;
