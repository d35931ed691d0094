//! `pinnersage actions`: what a running server has recorded, out of it and into it.

mod erase;
mod export;
mod import;
mod parts;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum ActionsCommand {
    /// Erase what a running server keeps of a user, from memory and from the disk.
    Erase(erase::EraseArgs),
    /// Write the actions that a running server keeps as a Parquet file.
    ///
    /// The file has the columns of the archive. It appears when it is complete; an export
    /// that was interrupted goes on where it was when the same command runs again.
    Export(export::ExportArgs),
    /// Record the actions of files on a running server, whatever their age.
    ///
    /// Reads the columns of `profiles build`, and action_id and medoid_pin_id where they
    /// are. Every action counts once, however often it is imported.
    Import(import::ImportArgs),
}

pub(super) fn run(command: ActionsCommand) -> anyhow::Result<()> {
    match command {
        ActionsCommand::Erase(args) => erase::run(&args),
        ActionsCommand::Export(args) => export::run(&args),
        ActionsCommand::Import(args) => import::run(&args),
    }
}
