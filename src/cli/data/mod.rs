//! `pinnersage data`: backups of what a server keeps below `--data`.

mod backup;
mod backup_files;
mod restore;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::backup_files::BackupFiles;
use super::output;
use super::server_parts::keep_files_private;

#[derive(Debug, Subcommand)]
pub(super) enum DataCommand {
    /// Copy what a running server keeps, as of one moment.
    ///
    /// The directory holds all backups that were written to it; CURRENT names the last.
    /// It is read back and checked before it gets its name.
    Backup(backup::BackupArgs),
    /// Make a directory for `serve --data` from a backup.
    Restore(restore::RestoreArgs),
    /// Check that a backup is whole: lengths, checksums and counts.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Directory of backups, of which the last is taken, or one of them.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
}

pub(super) fn run(command: DataCommand) -> anyhow::Result<()> {
    // Before any file is made: users' actions are nobody else's to read.
    keep_files_private();
    match command {
        DataCommand::Backup(args) => backup::run(&args),
        DataCommand::Restore(args) => restore::run(&args),
        DataCommand::Check(args) => check(&args),
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let backup = BackupFiles::open(&args.from)?;
    backup.check()?;
    output::print(&format!("{}: whole", backup.summary()))
}
