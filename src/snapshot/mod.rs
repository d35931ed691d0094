//! Versioned directories: how catalogs and profiles lie on disk.
//!
//! ```text
//! DIR/CURRENT                the name of the version in use
//! DIR/<version>/manifest.json  what it is, and length and checksum of each file
//! DIR/<version>/...            the files
//! ```
//!
//! A version is written to a side name, synced, renamed, and only then named by
//! `CURRENT`, which is itself replaced by a rename: a reader sees the old version
//! or the new one, never a mixture. The name is made from the checksums, so equal
//! contents are one version. Every file is checked against its checksum when it
//! is read, or later when it is only mapped, and a damaged one is refused by name.
//!
//! Numbers in binary files are little endian, in records without padding.

mod atomic_write;
mod error;
mod read;

pub use atomic_write::{FileWriter, Writer, replace_file};
pub use error::SnapshotError;
pub use read::{Reader, current_version, is_version, versions};

use serde::{Deserialize, Serialize};

const MANIFEST: &str = "manifest.json";
const CURRENT: &str = "CURRENT";

#[cfg(target_endian = "big")]
compile_error!("the files hold little-endian numbers that are used in place");

/// What every manifest says, beside the facts `F` of its kind of snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotManifest<F> {
    /// Kind and format version, such as `pinnersage-catalog/1`.
    pub format: String,
    /// Name of this version: made from the checksums of facts and files.
    pub version: String,
    /// What this kind of snapshot states of itself.
    pub facts: F,
    /// The files, in the order in which they were written.
    pub files: Vec<FileEntry>,
}

/// One file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Name inside the directory of the version.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// XXH3-128 of the contents, in hexadecimal.
    pub xxh3: String,
}

/// The facts of one kind of snapshot.
pub trait ManifestFacts: Serialize + for<'de> Deserialize<'de> {
    /// Kind and format version, written to and demanded of every manifest.
    const FORMAT: &'static str;
}

/// How a checksum stands in a manifest.
fn checksum(sum: u128) -> String {
    format!("{sum:032x}")
}

/// The version of a snapshot with these facts and files: 16 hexadecimal digits.
fn version_of<F: ManifestFacts>(facts: &F, files: &[FileEntry]) -> serde_json::Result<String> {
    let named = serde_json::to_vec(&(F::FORMAT, facts, files))?;
    Ok(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&named)))
}

#[cfg(test)]
mod tests;
