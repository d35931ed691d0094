//! Building profiles. [`build_profiles`] is the whole offline flow:
//! read -> group by user -> cluster -> merge -> write.

use std::path::Path;

use super::action_reader::{ActionFiles, ActionIds};
use super::cluster_users::{Actions, Clustered, Clustering};
use super::complete_through::Completeness;
use super::error::BatchError;
use super::external_sort;
use super::profile_input::ProfileInput;
use super::profile_params::ProfileParams;
use super::user_partitions::{FilledPartitions, Partitions};
use crate::index::{Catalog, CatalogManifest, PinTable};
use crate::pool::Pool;
use crate::progress::Progress;
use crate::snapshot::SnapshotManifest;
use crate::store::{
    ActionCounts, FALSE_POSITIVE_RATE, PinActions, ProfileManifest, ProfilesWriter,
};

/// Builds profiles from `input` as the current version of `root`.
///
/// The same input gives the same bytes, in whatever order its rows come.
pub fn build_profiles(
    input: &ProfileInput<'_>,
    root: &Path,
    params: &ProfileParams,
    progress: Progress,
) -> Result<SnapshotManifest<ProfileManifest>, BatchError> {
    let (catalog, pins) = Catalog::open_pins(input.catalog)?;
    let ids = ActionIds::beside(&pins, input.text_ids);
    let files = ActionFiles::open(input.actions, ids, progress)?;
    let rows = files.rows();
    let mut writer = ProfilesWriter::create(root, input.negative.silenced_by)?;
    let actions = Actions::new(params);
    let filled = {
        let stage = progress.stage("reading actions", rows);
        // A partition is held beside the profiles made from it; half of the
        // memory is left for partitions that turn out larger than the average.
        let bytes = params.memory.as_u64() / 4;
        let partitions = Partitions::create(&writer.scratch()?, rows, bytes)?;
        let filter = actions.filter(&pins, input, params.window_days);
        partitions.fill(&files, &filter, input.bad_rows, &stage)?
    };
    let FilledPartitions {
        paths,
        counts,
        facts,
        user_keys,
    } = filled;
    if user_keys.is_some() {
        writer.keep_keys()?;
    }
    let completeness = Completeness::new(input, params, facts)?;
    let clustering = Clustering {
        input,
        params,
        pins: &pins,
        actions: &actions,
        identified_from: completeness.identified_from,
        user_keys: user_keys.as_ref(),
        scratches: Pool::default(),
        progress,
    };
    let Clustered {
        runs,
        counts,
        actions_by_position,
    } = clustering.cluster_partitions(paths, counts, rows)?;
    external_sort::merge(runs, |profile| Ok(writer.append(profile)?))?;
    let (users, medoids) = writer.counts();
    if users == 0 {
        return Err(BatchError::NoProfiles(counts));
    }
    let manifest = ProfileManifest {
        string_user_ids: user_keys.is_some(),
        users,
        medoids,
        actions: counts,
        ..empty_manifest(catalog, input, params, completeness)
    };
    Ok(writer.finish(manifest, &actions_of_pins(&pins, &actions_by_position))?)
}

/// Facts of the profiles, before anything was counted.
fn empty_manifest(
    catalog: SnapshotManifest<CatalogManifest>,
    input: &ProfileInput<'_>,
    params: &ProfileParams,
    completeness: Completeness,
) -> ProfileManifest {
    let has_history = params.history_filter;
    ProfileManifest {
        embedding_version: catalog.facts.embedding_version,
        dimension: catalog.facts.dimension,
        catalog_version: catalog.version,
        as_of: input.as_of,
        complete_through: completeness.complete_through,
        identified_from: completeness.identified_from,
        oldest_action: completeness.oldest_action,
        newest_action: completeness.newest_action,
        erased_through: input.erased_through.clone(),
        window_days: params.window_days,
        alpha: params.alpha,
        lambda_per_day: params.lambda_per_day,
        max_actions: params.max_actions,
        action_weights: params.action_weights.clone(),
        history_false_positive_rate: has_history.then_some(FALSE_POSITIVE_RATE),
        string_user_ids: false,
        users: 0,
        medoids: 0,
        actions: ActionCounts::default(),
    }
}

/// Number of actions on each pin that has any, by ascending pin.
fn actions_of_pins(pins: &PinTable, actions_by_position: &[u64]) -> Vec<PinActions> {
    let counted = pins.ids().iter().zip(actions_by_position);
    counted
        .filter(|&(_, &actions)| actions > 0)
        .map(|(&pin, &actions)| PinActions { pin, actions })
        .collect()
}
