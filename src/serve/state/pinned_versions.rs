//! Versions that an operator chose. They stay until published ones are followed again,
//! also after a restart where the server has a directory for its data.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::serve::state::snapshot_source::VersionPair;
use crate::snapshot::{self, SnapshotError};

/// Name of the file in the directory of a server's data.
const FILE: &str = "pinned-versions.json";

/// Versions that are served whatever is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PinnedVersions {
    pub(crate) versions: VersionPair,
    /// When they were chosen.
    pub(crate) since: Timestamp,
}

/// How long a choice of versions stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// After a restart, too.
    Kept,
    /// Until the server stops: it has no directory for it, or cannot write to it.
    UntilRestart,
}

/// The file that keeps pinned versions; none on a server without a directory for data.
#[derive(Clone, Debug, Default)]
pub(crate) struct PinFile(Option<PathBuf>);

impl PinFile {
    /// The file in the directory `data`.
    pub(crate) fn in_directory(data: &Path) -> Self {
        Self(Some(data.join(FILE)))
    }

    /// The versions that are kept; none where there are none.
    pub(crate) fn read(&self) -> Result<Option<PinnedVersions>, SnapshotError> {
        let Some(path) = &self.0 else {
            return Ok(None);
        };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SnapshotError::io(path)(error)),
        };
        let pinned = serde_json::from_slice(&text);
        let damaged = |e: serde_json::Error| SnapshotError::damaged(path, e.to_string());
        let pinned: PinnedVersions = pinned.map_err(damaged)?;
        // The names become paths.
        let VersionPair { catalog, profiles } = &pinned.versions;
        if !snapshot::is_version(catalog) || !snapshot::is_version(profiles) {
            return Err(SnapshotError::damaged(path, "holds no names of versions"));
        }
        Ok(Some(pinned))
    }

    /// Keeps `pinned`, or nothing. A failure is in the log.
    pub(crate) fn replace(&self, pinned: Option<&PinnedVersions>) -> Persistence {
        let written = match (&self.0, pinned) {
            (Some(path), Some(pinned)) => write(path, pinned),
            (Some(path), None) => remove(path),
            (None, Some(_)) => return Persistence::UntilRestart,
            (None, None) => return Persistence::Kept,
        };
        match written {
            Ok(()) => Persistence::Kept,
            Err(error) => {
                tracing::warn!(%error, "the choice of versions is lost with a restart");
                Persistence::UntilRestart
            }
        }
    }
}

/// The version of the profiles that is pinned on the server whose directory is `data`; none
/// while it follows what is published.
///
/// # Errors
///
/// When the file that names it cannot be read.
pub fn pinned_profiles(data: &Path) -> Result<Option<String>, SnapshotError> {
    let pinned = PinFile::in_directory(data).read()?;
    Ok(pinned.map(|pinned| pinned.versions.profiles))
}

fn write(path: &Path, pinned: &PinnedVersions) -> Result<(), SnapshotError> {
    let text = serde_json::to_vec_pretty(pinned);
    let mut text = text.map_err(|e| SnapshotError::io(path)(e.into()))?;
    text.push(b'\n');
    snapshot::replace_file(path, &text)
}

fn remove(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(SnapshotError::io(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(catalog: &str) -> PinnedVersions {
        PinnedVersions {
            versions: VersionPair {
                catalog: catalog.to_owned(),
                profiles: "0123456789abcdef".to_owned(),
            },
            since: Timestamp::from_micros(7),
        }
    }

    #[test]
    fn versions_are_kept_until_there_are_none() {
        let data = tempfile::tempdir().expect("a directory");
        let file = PinFile::in_directory(data.path());
        assert_eq!(file.read().expect("no file"), None);
        for catalog in ["00000000000000aa", "00000000000000bb"] {
            let pinned = pinned(catalog);
            assert_eq!(file.replace(Some(&pinned)), Persistence::Kept);
            assert_eq!(file.read().expect("a file"), Some(pinned.clone()));
            let profiles = pinned_profiles(data.path()).expect("a file");
            assert_eq!(profiles, Some(pinned.versions.profiles));
        }
        for _ in 0..2 {
            assert_eq!(file.replace(None), Persistence::Kept);
            assert_eq!(file.read().expect("no file"), None);
        }
    }

    #[test]
    fn without_a_directory_a_choice_ends_with_the_server() {
        let file = PinFile::default();
        let kept = file.replace(Some(&pinned("00000000000000aa")));
        assert_eq!(kept, Persistence::UntilRestart);
        assert_eq!(file.read().expect("no file"), None);
        assert_eq!(file.replace(None), Persistence::Kept);
        let nowhere = PinFile::in_directory(Path::new("/proc/none"));
        let kept = nowhere.replace(Some(&pinned("00000000000000aa")));
        assert_eq!(kept, Persistence::UntilRestart);
    }

    #[test]
    fn a_file_that_holds_no_versions_is_an_error() {
        let data = tempfile::tempdir().expect("a directory");
        let file = PinFile::in_directory(data.path());
        for text in [
            "",
            "{}",
            &serde_json::to_string(&pinned("../x")).expect("JSON"),
        ] {
            fs::write(data.path().join(FILE), text).expect("a file");
            let error = file.read().expect_err("no versions").to_string();
            assert!(error.contains(FILE), "{error}");
        }
    }
}
