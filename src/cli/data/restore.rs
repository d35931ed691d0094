//! `pinnersage data restore`.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;

use super::backup_files::BackupFiles;
use crate::cli::output;
use crate::durable::LogRestore;
use crate::progress::Progress;

/// Where the data are made, in the directory that they are for: that may be a mount point,
/// which cannot be renamed.
const PARTIAL: &str = "restoring.partial";
/// What an empty file system has.
const LOST_AND_FOUND: &str = "lost+found";

#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// Directory of backups, of which the last is taken, or one of them.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Directory to make; it may be there if it is empty.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// A directory while it is filled; what was made is removed unless it is finished.
struct Partial {
    data: PathBuf,
    path: PathBuf,
}

pub(super) fn run(args: &RestoreArgs) -> anyhow::Result<()> {
    let backup = BackupFiles::open(&args.from)?;
    backup.check()?;
    let partial = Partial::create(&args.data)?;
    restore_log(&backup, &partial.path)?;
    for name in &backup.manifest().facts.files {
        let path = partial.path.join(name);
        let write = || -> anyhow::Result<()> {
            fs::write(&path, backup.file(name)?)?;
            Ok(File::open(&path)?.sync_all()?)
        };
        write().with_context(|| path.display().to_string())?;
    }
    partial.finish()?;
    let data = args.data.display();
    output::print(&format!("{}, restored to {data}", backup.summary()))
}

/// Makes the log of `backup` in `directory`, and compares what it has then.
fn restore_log(backup: &BackupFiles, directory: &Path) -> anyhow::Result<()> {
    let expected = &backup.manifest().facts.records;
    let stage = Progress::for_stderr().stage("restore records", expected.values().sum());
    let mut restore = LogRestore::create(directory)?;
    for keyspace in expected.keys() {
        restore.begin(keyspace)?;
        backup.for_each(keyspace, |key, value| {
            stage.advance(1);
            Ok(restore.insert(keyspace, key, value)?)
        })?;
    }
    let found = restore.finish()?;
    ensure!(
        found == *expected,
        "{found:?} records are there, not {expected:?}"
    );
    Ok(())
}

impl Partial {
    /// Begins to fill `data`, which must be empty or not there.
    fn create(data: &Path) -> anyhow::Result<Self> {
        let name = || data.display().to_string();
        if !data.exists() {
            fs::create_dir_all(data).with_context(name)?;
        }
        for entry in fs::read_dir(data).with_context(name)? {
            let entry = entry.with_context(name)?.file_name();
            let is_empty = entry == LOST_AND_FOUND || entry == PARTIAL;
            ensure!(
                is_empty,
                "{}: holds {} and more: give an empty directory",
                name(),
                entry.display()
            );
        }
        let path = data.join(PARTIAL);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(name);
            }
            // What a killed restore left behind is gone.
            _ => {}
        }
        fs::create_dir(&path).with_context(name)?;
        Ok(Self {
            data: data.to_owned(),
            path,
        })
    }

    /// Moves what was made to its place. The log comes last: a server that starts before
    /// it is there finds fewer records than were acknowledged, and refuses.
    fn finish(self) -> anyhow::Result<()> {
        let name = || self.data.display().to_string();
        let entries = fs::read_dir(&self.path).with_context(name)?;
        let entries = entries.collect::<Result<Vec<_>, _>>().with_context(name)?;
        let (directories, files): (Vec<_>, Vec<_>) =
            entries.iter().partition(|entry| entry.path().is_dir());
        for entry in files.into_iter().chain(directories) {
            let to = self.data.join(entry.file_name());
            fs::rename(entry.path(), &to).with_context(|| to.display().to_string())?;
        }
        fs::remove_dir(&self.path).with_context(name)?;
        let private = Permissions::from_mode(0o700);
        // A mount point may belong to somebody else.
        let _ = fs::set_permissions(&self.data, private);
        let sync = || File::open(&self.data)?.sync_all();
        sync().with_context(name)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After `finish` it is gone; otherwise an error is being reported already.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_something_is_refused_and_nothing_is_left_behind() {
        let data = tempfile::tempdir().expect("a directory");
        fs::create_dir(data.path().join(LOST_AND_FOUND)).expect("a directory");
        let partial = Partial::create(data.path()).expect("an empty directory");
        assert!(partial.path.exists());
        drop(partial);
        assert!(!data.path().join(PARTIAL).exists());
        fs::write(data.path().join("mine"), "").expect("a file");
        let error = Partial::create(data.path())
            .err()
            .expect("no empty directory");
        assert!(error.to_string().contains("mine"), "{error}");
    }
}
