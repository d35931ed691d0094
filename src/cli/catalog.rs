//! `pinnersage catalog`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::bad_row_args::BadRowArgs;
use super::client::ServerArgs;
use super::filter_arg::FilterArg;
use super::pins::fetch_changes;
use super::runtime::block_on;
use super::text_id_args::TextIdArgs;
use super::{build_steps, output};
use crate::batch::{
    AttributeColumns, CatalogParams, ChangeFiles, CheckParams, CurvePoint, FilteredSearches,
    check_catalog, write_changes,
};
use crate::config::Settings;
use crate::progress::Progress;

#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    /// Build a catalog from files of pins.
    ///
    /// Columns: pin_id (integer, string or the 16 bytes of a UUID), embedding (list of floats), and optionally title
    /// (string), quality (number), signature (integer); further columns become attributes
    /// by --attributes.
    Build(BuildArgs),
    /// Check the files of a catalog, and measure recall against speed.
    ///
    /// Searches the neighbors of sampled pins, each without itself, and compares them
    /// with the exact ones. Prints one line for each effort: the number of nodes of the
    /// graph that a search expands.
    Check(CheckArgs),
    /// Fetch the pins that changed on a running server, for the next catalog.
    Changes(ChangesArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Catalog to check.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Number of neighbors of a search.
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = positive)]
    k: usize,
    /// Number of pins whose neighbors are searched.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = positive)]
    queries: usize,
    /// Number of threads that search.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    threads: usize,
    /// Efforts to measure: nodes that a search expands.
    #[arg(long, value_name = "E", value_delimiter = ',', value_parser = positive,
          default_values_t = [64, 96, 128, 192, 256, 384])]
    effort: Vec<usize>,
    /// Seed of the draw of the pins.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    filter: FilterArg,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Files of pins (Parquet or .jsonl), directories or globs of them.
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pins: Vec<PathBuf>,
    /// Directory that holds the versions of the catalog.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the model that computed the embeddings. Profiles of another model are
    /// not served with this catalog.
    #[arg(long, value_name = "NAME", default_value = "default")]
    embedding_version: String,
    /// Leave out pins of a lower quality, and pins without a quality.
    #[arg(long, value_name = "Q")]
    min_quality: Option<f64>,
    /// Columns that become attributes, which filters go by: NAME:TYPE, separated by commas,
    /// where TYPE is keyword, keywords, bool, int, float or timestamp; `auto` takes all other
    /// columns by their types.
    #[arg(long, value_name = "COLUMNS", value_parser = attribute_columns)]
    attributes: Option<AttributeColumns>,
    /// Directory of changes on a server, written by `catalog changes`.
    #[arg(long, value_name = "DIR")]
    changes: Option<PathBuf>,
    #[command(flatten)]
    text_ids: TextIdArgs,
    #[command(flatten)]
    bad_rows: BadRowArgs,
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
        attributes: args.attributes.unwrap_or_default(),
        attribute_limits: settings.attributes,
        changes: args.changes.map_or_else(ChangeFiles::default, |directory| {
            ChangeFiles::in_directory(&directory)
        }),
        text_ids: args.text_ids.text_ids(),
        bad_rows: args.bad_rows.params(),
        graph: settings.index.graph(),
    };
    build_steps::catalog(&args.pins, &args.out, &params, Progress::for_stderr())
}

fn changes(args: &ChangesArgs) -> anyhow::Result<()> {
    let changes = block_on(fetch_changes(&args.server))?;
    write_changes(&args.out, &changes.upserted, &changes.deleted)?;
    let (upserted, deleted) = (changes.upserted.len(), changes.deleted.len());
    let out = args.out.display();
    output::print(&format!(
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
        filter: args.filter.filter(),
    };
    let progress = if args.json {
        Progress::Silent
    } else {
        Progress::for_stderr()
    };
    let curve = check_catalog(&args.catalog, &params, progress)?;
    if args.json {
        return curve
            .iter()
            .try_for_each(|point| output::print_json(&serde_json::to_string(point)?));
    }
    print_curve(&curve, args.k)
}

fn print_curve(curve: &[CurvePoint], k: usize) -> anyhow::Result<()> {
    if let Some(filtered) = curve.first().and_then(|point| point.filtered) {
        let FilteredSearches {
            selected_pins,
            plan,
        } = filtered;
        output::print(&format!(
            "the filter selects {selected_pins} pins; plan: {plan}"
        ))?;
    }
    output::print(&format!(
        "{:>6} {:>10} {:>12} {:>8} {:>8} {:>14} {:>12}",
        "effort",
        format!("recall@{k}"),
        "answers/s",
        "p50 us",
        "p99 us",
        "resident B/pin",
        "cached B/pin",
    ))?;
    curve.iter().try_for_each(|point| {
        output::print(&format!(
            "{:>6} {:>10.4} {:>12.0} {:>8.0} {:>8.0} {:>14.0} {:>12.0}",
            point.effort,
            point.recall,
            point.queries_per_second,
            point.p50_us,
            point.p99_us,
            point.resident_bytes_per_pin,
            point.cached_bytes_per_pin,
        ))
    })
}

fn attribute_columns(text: &str) -> Result<AttributeColumns, String> {
    match text {
        "auto" => Ok(AttributeColumns::Auto),
        text => {
            let definitions = text.split(',').map(str::parse);
            Ok(AttributeColumns::These(
                definitions.collect::<Result<_, _>>()?,
            ))
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}
