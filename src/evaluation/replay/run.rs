//! A whole replay, from files to sums of measures.

use std::io::Write;
use std::sync::Arc;

use super::blocks::{empty_coverage, replay_blocks};
use super::checkpoint::{self, Checkpoint};
use super::input;
use super::model_index::SearchedIndex;
use super::outcome::{DetailLines, Measured};
use super::replayer::Replayer;
use super::shapes::{ShapeParts, Shapes};
use crate::evaluation::error::EvaluateError;
use crate::evaluation::metrics::categories_of_pins;
use crate::evaluation::models::{ModelContext, free_ids, global_clusters_for};
use crate::evaluation::params::{EvaluateParams, ReplayFiles};
use crate::index::{Approximate, Catalog, Exact};
use crate::progress::Progress;

/// Replays the actions in `files` over their catalog. Every answer becomes a line of
/// `details`.
pub(crate) fn replay(
    files: &ReplayFiles<'_>,
    params: &EvaluateParams,
    details: Option<&mut dyn Write>,
    progress: Progress,
) -> Result<Measured, EvaluateError> {
    let days = input::days(params)?;
    let catalog = Arc::new(Catalog::open(files.catalog)?);
    catalog.check_mapped()?;
    let lines = if details.is_some() {
        DetailLines::Written
    } else {
        DetailLines::Omitted
    };
    let parts = ShapeParts::new(params, &catalog)?;
    let checkpoint = open_checkpoint(files, &catalog, params, lines)?;
    let pins = &catalog.pins;
    let input = input::read(files.actions, pins, params, &days, progress)?;
    let index = open_index(&catalog, params.ef_search);
    let shapes = Shapes::new(params, &parts, &catalog, &index)?;
    let categories = categories_of_pins(pins);
    let covered = empty_coverage(params, pins);
    let replayer = Replayer {
        params,
        context: ModelContext {
            pins,
            cluster: params.cluster,
            fold_in: params.fold_in,
            rankings: &input.rankings,
            global_clusters: &global_clusters_for(&params.models, pins.vectors(), params.seed),
            free_ids: &free_ids(pins, params.max_actions.max(1)),
        },
        shapes: &shapes,
        categories: &categories,
        days: &days,
        lines,
        covered: &covered,
    };
    let mut users = replay_blocks(&input, &replayer, checkpoint.as_ref(), details, progress)?;
    if users.is_empty() {
        return Err(EvaluateError::NoTargets);
    }
    users.sort_unstable_by(|a, b| a.activity.total_cmp(&b.activity).then(a.user.cmp(&b.user)));
    Ok(Measured {
        users,
        covered,
        pins: shapes.pins(pins.ids().len()),
        has_categories: categories.iter().any(|&category| category != 0),
        has_spacing: !shapes.spacing.is_empty(),
        has_times: params.timing,
    })
}

fn open_checkpoint(
    files: &ReplayFiles<'_>,
    catalog: &Catalog,
    params: &EvaluateParams,
    lines: DetailLines,
) -> Result<Option<Checkpoint>, EvaluateError> {
    let Some(directory) = files.checkpoint else {
        return Ok(None);
    };
    let version = &catalog.manifest().version;
    let parameters = checkpoint::parameters(files, version, params, lines)?;
    Ok(Some(Checkpoint::open(directory, &parameters)?))
}

/// The graph search with `ef_search`, or else the exact scan.
fn open_index(catalog: &Arc<Catalog>, ef_search: Option<usize>) -> SearchedIndex<'_> {
    match ef_search {
        Some(ef_search) => SearchedIndex::Graph(Approximate::new(catalog.clone(), ef_search)),
        None => SearchedIndex::Scan(Exact(&catalog.pins)),
    }
}
