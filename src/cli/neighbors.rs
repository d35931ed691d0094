//! `pinnersage neighbors`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::out;
use crate::batch::{NeighborCounts, NeighborParams, build_neighbors};
use crate::config::{NeighborSettings, Settings};
use crate::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct NeighborsArgs {
    /// Catalog that the lists are made from and kept with.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Profiles whose medoids get lists.
    #[arg(long, value_name = "DIR")]
    profiles: PathBuf,
}

pub(super) fn run(args: &NeighborsArgs, settings: &Settings) -> anyhow::Result<()> {
    make(
        &args.catalog,
        &args.profiles,
        &settings.neighbors,
        Progress::for_stderr(),
    )
}

/// Makes the lists that are missing, and says what became of them.
pub(super) fn make(
    catalog: &Path,
    profiles: &Path,
    settings: &NeighborSettings,
    progress: Progress,
) -> anyhow::Result<()> {
    let params = NeighborParams {
        depth: settings.depth,
        budget: settings.budget.as_u64(),
    };
    let NeighborCounts {
        medoid_pins,
        kept,
        made,
        over_budget,
    } = build_neighbors(catalog, profiles, params, progress)?;
    out::print(&format!(
        "neighbor lists of {medoid_pins} medoid pins: {made} made, {kept} were there, \
         {over_budget} left out (neighbors.budget is {})",
        settings.budget
    ))
}
