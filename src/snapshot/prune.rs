//! Removing old versions from a versioned directory.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::error::SnapshotError;
use super::layout::{current_version, versions};
use super::names::MANIFEST;

/// Versions that are always there: the current one, and the one before it, which servers
/// roll back to.
const MIN_KEPT: usize = 2;

/// Removes all versions of the versioned directory `root` but for the newest `keep`, and
/// returns their names. The current one, the newest before it and the one that is `pinned`
/// always stay.
pub fn prune(root: &Path, keep: usize, pinned: Option<&str>) -> Result<Vec<String>, SnapshotError> {
    let current = current_version(root)?;
    let mut newest_first = Vec::new();
    for version in versions(root)? {
        let is_current = Some(&version) == current.as_ref();
        newest_first.push((is_current, written_at(&root.join(&version))?, version));
    }
    newest_first.sort_unstable_by(|a, b| b.cmp(a));
    let old = newest_first.into_iter().skip(keep.max(MIN_KEPT));
    let old = old.map(|(_, _, version)| version);
    let old: Vec<String> = old
        .filter(|version| Some(version.as_str()) != pinned)
        .collect();
    for version in &old {
        let path = root.join(version);
        fs::remove_dir_all(&path).map_err(SnapshotError::io(&path))?;
    }
    Ok(old)
}

fn written_at(version: &Path) -> Result<SystemTime, SnapshotError> {
    let manifest = version.join(MANIFEST);
    let metadata = fs::metadata(&manifest).and_then(|metadata| metadata.modified());
    metadata.map_err(SnapshotError::io(&manifest))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;
    use crate::snapshot::names::CURRENT;

    /// A directory with versions of these numbers, written in their order.
    fn written(numbers: std::ops::Range<u64>, current: u64) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for number in numbers {
            let version = root.path().join(name(number));
            fs::create_dir(&version).expect("a version");
            let manifest = File::create(version.join(MANIFEST)).expect("a manifest");
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(number);
            manifest.set_modified(time).expect("a time");
        }
        fs::write(root.path().join(CURRENT), name(current)).expect("a name");
        root
    }

    fn name(number: u64) -> String {
        format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[track_caller]
    fn assert_left(root: &Path, mut expected: Vec<String>) {
        expected.sort();
        assert_eq!(versions(root).expect("versions"), expected);
    }

    #[test]
    fn the_newest_stay_and_the_current_one_with_its_predecessor_always() {
        let root = written(0..9, 8);
        assert_eq!(prune(root.path(), 3, None).expect("a disk").len(), 6);
        assert_left(root.path(), [6, 7, 8].map(name).into());
        prune(root.path(), 0, None).expect("a disk");
        assert_left(root.path(), [7, 8].map(name).into());
        // An operator has made an old version the current one.
        let root = written(0..9, 1);
        prune(root.path(), 3, None).expect("a disk");
        assert_left(root.path(), [1, 7, 8].map(name).into());
    }

    #[test]
    fn the_pinned_one_stays_however_old_it_is() {
        let root = written(0..9, 8);
        prune(root.path(), 2, Some(&name(3))).expect("a disk");
        assert_left(root.path(), [3, 7, 8].map(name).into());
        // It is one of those that stay anyway, or none of this directory.
        for pinned in [7, 99] {
            prune(root.path(), 2, Some(&name(pinned))).expect("a disk");
            assert_left(root.path(), [7, 8].map(name).into());
        }
    }
}
