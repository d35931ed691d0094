//! `pinnersage neighbors`.

use std::path::PathBuf;

use clap::Args;

use super::build_steps;
use crate::config::Settings;
use crate::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct NeighborsArgs {
    /// Catalog that the lists are computed from and stored with.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Profiles whose medoids get lists.
    #[arg(long, value_name = "DIR")]
    profiles: PathBuf,
}

pub(super) fn run(args: &NeighborsArgs, settings: &Settings) -> anyhow::Result<()> {
    build_steps::neighbor_lists(
        &args.catalog,
        &args.profiles,
        settings.neighbors,
        Progress::for_stderr(),
    )
}
