//! `pinnersage catalog`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::client::{ServerArgs, told};
use super::out;
use crate::batch::{
    CatalogParams, ChangeFiles, CheckParams, UpsertedPin, build_catalog, check_catalog,
    write_changes,
};
use crate::config::Settings;
use crate::index::{CatalogManifest, GraphParams};
use crate::model::PinId;
use crate::progress::Progress;
use crate::snapshot::SnapshotManifest;
use crate::wire::v1;

#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    /// Build a catalog from Parquet files of pins.
    ///
    /// Columns: pin_id (int64 or uint64), embedding (list of float32), and
    /// optionally title (string), quality (float), signature (uint64).
    Build(BuildArgs),
    /// Check the files of a catalog, and measure recall against speed.
    ///
    /// Asks for the neighbors of sampled pins, each without itself, and compares
    /// them with the exact ones: one line for each effort, which is the number of
    /// nodes of the graph that a walk expands.
    Check(CheckArgs),
    /// Ask a running server for the pins that changed on it, for the next catalog.
    Changes(ChangesArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The catalog.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Neighbors to find.
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = positive)]
    k: usize,
    /// Pins whose neighbors are asked for.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = positive)]
    queries: usize,
    /// Threads that ask.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    threads: usize,
    /// Efforts to measure: nodes that a walk expands.
    #[arg(long, value_name = "E", value_delimiter = ',', value_parser = positive,
          default_values_t = [64, 96, 128, 192, 256, 384])]
    effort: Vec<usize>,
    /// Seed of the choice of the pins.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Parquet files of pins.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pins: Vec<PathBuf>,
    /// Directory that holds the versions of the catalog.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the model that made the embeddings. Profiles of another one are
    /// not served with this catalog.
    #[arg(long, value_name = "NAME", default_value = "default")]
    embedding_version: String,
    /// Leave out pins of a lower quality, and those without one.
    #[arg(long, value_name = "Q")]
    min_quality: Option<f64>,
    /// What changed on a server, as `catalog changes` has written it.
    #[arg(long, value_name = "DIR")]
    changes: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ChangesArgs {
    /// Directory to write to: upserted.parquet and deleted.parquet.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(command: CatalogCommand, settings: &Settings) -> anyhow::Result<()> {
    match command {
        CatalogCommand::Build(args) => build(args, settings),
        CatalogCommand::Check(args) => check(args),
        CatalogCommand::Changes(args) => changes(&args),
    }
}

fn build(args: BuildArgs, settings: &Settings) -> anyhow::Result<()> {
    let params = CatalogParams {
        embedding_version: args.embedding_version,
        min_quality: args.min_quality,
        changes: args.changes.map_or_else(ChangeFiles::default, |directory| {
            ChangeFiles::of(&directory)
        }),
        graph: graph_params(settings),
    };
    let manifest = build_catalog(&args.pins, &args.out, &params, Progress::for_stderr())?;
    out::print(&summary(&manifest, &args.out))
}

fn changes(args: &ChangesArgs) -> anyhow::Result<()> {
    let (mut upserted, mut deleted) = (Vec::new(), Vec::new());
    super::block_on(async {
        let mut client = args.server.connect_for_pins().await?;
        let request = v1::ListChangesRequest {};
        let stream = client.list_changes(request).await;
        let mut stream = stream.map_err(|status| told(&status))?.into_inner();
        while let Some(part) = stream.message().await.map_err(|status| told(&status))? {
            upserted.extend(part.upserted.into_iter().map(|pin| UpsertedPin {
                id: PinId(pin.pin_id.unwrap_or_default()),
                vector: pin.embedding,
                title: pin.title,
            }));
            deleted.extend(part.deleted_pin_ids.into_iter().map(PinId));
        }
        Ok(())
    })?;
    write_changes(&args.out, &upserted, &deleted)?;
    let (upserted, deleted, out) = (upserted.len(), deleted.len(), args.out.display());
    out::print(&format!(
        "{upserted} pins upserted and {deleted} deleted, in {out}"
    ))
}

fn check(args: CheckArgs) -> anyhow::Result<()> {
    let params = CheckParams {
        k: args.k,
        queries: args.queries,
        threads: args.threads,
        efforts: args.effort,
        seed: args.seed,
    };
    let progress = match args.json {
        true => Progress::Silent,
        false => Progress::for_stderr(),
    };
    let curve = check_catalog(&args.catalog, &params, progress)?;
    if args.json {
        for point in &curve {
            out::print(&serde_json::to_string(point)?)?;
        }
        return Ok(());
    }
    out::print(&format!(
        "{:>6} {:>10} {:>12} {:>8} {:>8} {:>14} {:>12}",
        "effort",
        format!("recall@{}", args.k),
        "answers/s",
        "p50 us",
        "p99 us",
        "resident B/pin",
        "cached B/pin",
    ))?;
    for point in &curve {
        out::print(&format!(
            "{:>6} {:>10.4} {:>12.0} {:>8.0} {:>8.0} {:>14.0} {:>12.0}",
            point.effort,
            point.recall,
            point.queries_per_second,
            point.p50_us,
            point.p99_us,
            point.resident_bytes_per_pin,
            point.cached_bytes_per_pin,
        ))?;
    }
    Ok(())
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn graph_params(settings: &Settings) -> GraphParams {
    GraphParams {
        ef_construction: settings.index.ef_construction,
        seed: settings.index.seed,
    }
}

/// What became of the pins, for a person.
pub(super) fn summary(manifest: &SnapshotManifest<CatalogManifest>, root: &Path) -> String {
    let SnapshotManifest { version, facts, .. } = manifest;
    let CatalogManifest {
        embedding_version,
        read,
        low_quality,
        near_duplicates,
        upserted,
        deleted,
        ..
    } = facts;
    let CatalogManifest {
        pins,
        nodes,
        dimension,
        ..
    } = facts;
    format!(
        "catalog {version}, embedding version {embedding_version}, in {}
  {read} pins read
  {low_quality} dropped: quality too low
  {near_duplicates} dropped: near-duplicates of a better pin
  {upserted} came or changed on a server, {deleted} went
  {pins} pins indexed: {nodes} distinct vectors of {dimension} dimensions",
        root.display()
    )
}
