//! The manifest of a snapshot: its kind, version, facts and files.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::SnapshotError;

/// The manifest of a snapshot with the facts `F` of its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotManifest<F> {
    /// Kind and format version, such as `pinnersage-catalog/1`.
    pub format: String,
    /// Name of this version: made from the checksums of facts and files.
    pub version: String,
    /// Facts of this kind of snapshot.
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
pub trait ManifestFacts: Sized + Serialize + for<'de> Deserialize<'de> {
    /// Kind and format version, written to every manifest.
    const FORMAT: &'static str;

    /// Facts of the format before, which is read as well; `Self` where there is none.
    type Before: ManifestFacts + Into<Self>;
}

impl<F> SnapshotManifest<F> {
    /// The same with facts of another type.
    fn convert<G>(self) -> SnapshotManifest<G>
    where
        F: Into<G>,
    {
        SnapshotManifest {
            format: self.format,
            version: self.version,
            facts: self.facts.into(),
            files: self.files,
        }
    }
}

/// The checksum of a file as a manifest spells it.
pub(super) fn format_checksum(sum: u128) -> String {
    format!("{sum:032x}")
}

/// Names the version of a snapshot with these facts and files: 16 hexadecimal digits.
pub(super) fn version_name<F: ManifestFacts>(
    facts: &F,
    files: &[FileEntry],
) -> serde_json::Result<String> {
    let hashed = serde_json::to_vec(&(F::FORMAT, facts, files))?;
    Ok(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&hashed)))
}

/// Reads the manifest at `path`, which must be of the kind of `F` and intact.
pub(super) fn read_manifest<F: ManifestFacts>(
    path: &Path,
) -> Result<SnapshotManifest<F>, SnapshotError> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
    }
    let text = fs::read(path).map_err(SnapshotError::io(path))?;
    let damaged = |e: serde_json::Error| SnapshotError::damaged(path, e.to_string());
    // The format is read first: the facts of another kind would not parse.
    let Head { format } = serde_json::from_slice(&text).map_err(damaged)?;
    if format == F::FORMAT {
        parse_manifest(path, &text)
    } else if format == F::Before::FORMAT {
        let before: SnapshotManifest<F::Before> = parse_manifest(path, &text)?;
        Ok(before.convert())
    } else {
        Err(SnapshotError::WrongFormat {
            path: path.to_owned(),
            found: format,
            expected: F::FORMAT,
        })
    }
}

/// Reads the manifest `text`, whose format is that of `F`, of the file at `path`.
fn parse_manifest<F: ManifestFacts>(
    path: &Path,
    text: &[u8],
) -> Result<SnapshotManifest<F>, SnapshotError> {
    let damaged = |e: serde_json::Error| SnapshotError::damaged(path, e.to_string());
    let manifest: SnapshotManifest<F> = serde_json::from_slice(text).map_err(damaged)?;
    if version_name(&manifest.facts, &manifest.files).map_err(damaged)? != manifest.version {
        return Err(SnapshotError::damaged(
            path,
            "its version does not match what it states",
        ));
    }
    Ok(manifest)
}
