//! Who may read the log: its owner alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::error::LogError;

/// Bits of a mode that let others than the owner do something.
const OTHERS: u32 = 0o077;

/// Takes all that is in `directory`, and itself, away from everybody but the owner, and
/// says how much there was. What is made later has the mode that the process gives it.
pub(super) fn make_private(directory: &Path) -> Result<(), LogError> {
    let mut tightened = 0;
    let error = LogError::io(directory);
    tighten(directory, &mut tightened).map_err(error)?;
    if tightened > 0 {
        let directory = directory.display();
        tracing::info!(%directory, tightened, "files that others could read are the owner's alone now");
    }
    Ok(())
}

/// Takes `path` and all below it away from others, and counts how much that changed.
fn tighten(path: &Path, count: &mut u64) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS != 0 {
        match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
            Ok(()) => *count += 1,
            // A volume may belong to somebody else than the process that writes to it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let path = path.display();
                tracing::warn!(%path, %error, "others can read it, and it belongs to somebody else");
            }
            Err(error) => return Err(error),
        }
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            tighten(&entry?.path(), count)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_could_read_is_the_owners_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let inner = directory.path().join("inner");
        let file = inner.join("file");
        fs::create_dir(&inner).expect("a directory");
        fs::write(&file, b"x").expect("a file");
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
        set(&file, 0o644).expect("a mode");
        set(&inner, 0o755).expect("a mode");
        make_private(directory.path()).expect("a directory");
        let mode = |path: &Path| fs::metadata(path).expect("a path").mode() & 0o777;
        assert_eq!((mode(&inner), mode(&file)), (0o700, 0o600));
    }
}
