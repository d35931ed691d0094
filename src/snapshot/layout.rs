//! The layout of a versioned directory: which versions it holds and which is current.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::SnapshotError;
use super::names::{CURRENT, MANIFEST};

/// The name of the current version of the versioned directory `path`; none when
/// `path` is itself a version.
pub fn current_version(path: &Path) -> Result<Option<String>, SnapshotError> {
    if path.join(MANIFEST).exists() {
        return Ok(None);
    }
    let current = path.join(CURRENT);
    let version = match fs::read_to_string(&current) {
        Ok(version) => version,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(SnapshotError::NoSnapshot(path.to_owned()));
        }
        Err(e) => return Err(SnapshotError::io(&current)(e)),
    };
    let version = version.trim_end();
    if !is_version(version) {
        return Err(SnapshotError::damaged(
            &current,
            "does not hold the name of a version",
        ));
    }
    Ok(Some(version.to_owned()))
}

/// The names of all versions in the versioned directory `path`, ascending.
pub fn versions(path: &Path) -> Result<Vec<String>, SnapshotError> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(path).map_err(SnapshotError::io(path))? {
        let entry = entry.map_err(SnapshotError::io(path))?;
        if let Ok(name) = entry.file_name().into_string()
            && is_version(&name)
            && entry.path().join(MANIFEST).exists()
        {
            versions.push(name);
        }
    }
    versions.sort_unstable();
    Ok(versions)
}

/// Whether `name` has the form of the name of a version: 16 hexadecimal digits.
pub fn is_version(name: &str) -> bool {
    name.len() == 16
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The directory of the current version of `path`, or `path` when it is itself a version.
pub(super) fn version_directory(path: &Path) -> Result<PathBuf, SnapshotError> {
    let current = current_version(path)?;
    Ok(current.map_or_else(|| path.to_owned(), |version| path.join(version)))
}
