//! `pinnersage catalog`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::out;
use crate::batch::{CatalogParams, build_catalog};
use crate::config::Settings;
use crate::index::{CatalogFacts, GraphParams};
use crate::progress::Progress;
use crate::snapshot::Manifest;

#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    /// Build a catalogue from Parquet files of pins.
    ///
    /// Columns: pin_id (int64 or uint64), embedding (list of float32), and
    /// optionally title (string), quality (float), signature (uint64).
    Build(BuildArgs),
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Parquet files of pins.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pins: Vec<PathBuf>,
    /// Directory that holds the versions of the catalogue.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the model that made the embeddings. Profiles of another one are
    /// not served with this catalogue.
    #[arg(long, value_name = "NAME", default_value = "default")]
    embedding_version: String,
    /// Leave out pins of a lower quality, and those without one.
    #[arg(long, value_name = "Q")]
    min_quality: Option<f64>,
}

pub(super) fn run(command: CatalogCommand, settings: &Settings) -> anyhow::Result<()> {
    let CatalogCommand::Build(args) = command;
    let params = CatalogParams {
        embedding_version: args.embedding_version,
        min_quality: args.min_quality,
        graph: graph_params(settings),
    };
    let manifest = build_catalog(&args.pins, &args.out, &params, Progress::for_stderr())?;
    out::print(&summary(&manifest, &args.out))
}

pub(super) fn graph_params(settings: &Settings) -> GraphParams {
    GraphParams {
        ef_construction: settings.index.ef_construction,
        seed: settings.index.seed,
    }
}

/// What became of the pins, for a person.
pub(super) fn summary(manifest: &Manifest<CatalogFacts>, root: &Path) -> String {
    let Manifest { version, facts, .. } = manifest;
    let CatalogFacts {
        embedding_version,
        read,
        low_quality,
        near_duplicates,
        ..
    } = facts;
    let CatalogFacts {
        pins,
        nodes,
        dimension,
        ..
    } = facts;
    format!(
        "catalogue {version}, embedding version {embedding_version}, in {}
  {read} pins read
  {low_quality} dropped: quality too low
  {near_duplicates} dropped: near-duplicates of a better pin
  {pins} pins indexed: {nodes} distinct vectors of {dimension} dimensions",
        root.display()
    )
}
