//! Building profiles. [`build_profiles`] is the whole offline flow:
//! read -> group by user -> cluster -> write.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::actions::{ActionRecord, Filter};
use super::partition::{self, Partitions};
use super::runs::{self, RunWriter};
use super::{BatchError, actions};
use crate::cluster::{self, ClusterScratch, Params, Point};
use crate::index::{Catalog, PinTable};
use crate::model::{PinId, Timestamp};
use crate::pool::Pool;
use crate::progress::Progress;
use crate::snapshot::SnapshotManifest;
use crate::store::{
    ActionCounts, FALSE_POSITIVE_RATE, HistoryFilter, PinActions, ProfileManifest, ProfileRecord,
    ProfilesWriter,
};

/// Users whose profiles are in memory at a time.
const USERS_AT_A_TIME: usize = 4_096;

/// How profiles are built.
#[derive(Clone, Debug)]
pub struct ProfileParams {
    /// The moment at which importances hold and the window ends.
    pub as_of: Timestamp,
    /// Length of the window in days: as_of - window <= time < as_of.
    pub window_days: f64,
    /// What shapes the clusters.
    pub cluster: Params,
    /// Number of most recent actions of a user that are clustered at most.
    pub max_actions: usize,
    /// What an action adds to importance at its own moment, by its name.
    pub action_weights: BTreeMap<String, f64>,
    /// Whether profiles carry a filter over the pins of the user's history.
    pub history_filter: bool,
    /// Bytes of actions and profiles that may be in memory at a time, beside the
    /// vectors of the catalog and m^2 numbers a thread for a user of m actions.
    pub memory: u64,
}

/// Builds profiles from `files` over the catalog in `catalog`, as the current
/// version of `root`.
///
/// The same input gives the same bytes, in whatever order its rows come.
pub fn build_profiles(
    files: &[PathBuf],
    catalog: &Path,
    root: &Path,
    params: &ProfileParams,
    progress: Progress,
) -> Result<SnapshotManifest<ProfileManifest>, BatchError> {
    let rows = actions::count(files)?;
    let (catalog, pins) = Catalog::open_pins(catalog)?;
    let weights: Vec<f64> = params.action_weights.values().copied().collect();
    let mut counts = ActionCounts::default();
    let mut writer = ProfilesWriter::create(root)?;
    let scratch = writer.scratch()?;
    // By the place of the pin.
    let mut acted_on = vec![0u64; pins.ids().len()];

    let partitions = {
        let stage = progress.stage("reading actions", rows);
        // A partition is held beside the profiles made from it; half of the
        // memory is left for partitions that turn out larger than the average.
        let mut partitions = Partitions::create(&scratch, rows, params.memory / 4)?;
        let filter = Filter {
            pins: &pins,
            from: params.as_of.minus_days(params.window_days),
            as_of: params.as_of,
            names: params.action_weights.keys().map(String::as_str).collect(),
        };
        actions::read(files, &filter, &mut counts, &stage, |record| {
            acted_on[record.pin as usize] += 1;
            partitions.push(record)
        })?;
        partitions.close()?
    };

    let mut runs = Vec::with_capacity(partitions.len());
    let scratches = Pool::default();
    {
        let taken = rows - counts.refused();
        let stage = progress.stage("clustering actions", taken);
        for path in partitions {
            let (records, cut) = partition::load(&path, params.max_actions, params.memory / 2)?;
            std::fs::remove_file(&path).map_err(crate::snapshot::SnapshotError::io(&path))?;
            counts.used += records.len() as u64;
            counts.cut += cut;
            stage.advance(cut);
            let mut run = RunWriter::create(path.with_extension("profiles"))?;
            let mut users = records.chunk_by(|a, b| a.user == b.user);
            loop {
                let some: Vec<&[ActionRecord]> = users.by_ref().take(USERS_AT_A_TIME).collect();
                if some.is_empty() {
                    break;
                }
                for profile in cluster_users(&some, &pins, &weights, params, &scratches) {
                    run.append(&profile?)?;
                }
                stage.advance(some.iter().map(|actions| actions.len() as u64).sum());
            }
            runs.push(run.finish()?);
        }
    }
    runs::merge(runs, |profile| Ok(writer.append(profile)?))?;

    let (users, medoids) = writer.counts();
    if users == 0 {
        return Err(BatchError::NoProfiles(counts));
    }
    let facts = ProfileManifest {
        embedding_version: catalog.facts.embedding_version,
        dimension: catalog.facts.dimension,
        catalog_version: catalog.version,
        as_of: params.as_of,
        window_days: params.window_days,
        alpha: params.cluster.alpha,
        lambda_per_day: params.cluster.lambda_per_day,
        max_actions: params.max_actions,
        action_weights: params.action_weights.clone(),
        history_false_positive_rate: params.history_filter.then_some(FALSE_POSITIVE_RATE),
        users,
        medoids,
        actions: counts,
    };
    let acted_on = pins.ids().iter().zip(acted_on);
    let acted_on = acted_on.filter(|&(_, actions)| actions > 0);
    let acted_on: Vec<PinActions> = acted_on
        .map(|(&pin, actions)| PinActions { pin, actions })
        .collect();
    Ok(writer.finish(facts, &acted_on)?)
}

/// The profiles of some users, in their order.
fn cluster_users(
    users: &[&[ActionRecord]],
    pins: &PinTable,
    weights: &[f64],
    params: &ProfileParams,
    scratches: &Pool<ClusterScratch>,
) -> Vec<Result<ProfileRecord, BatchError>> {
    users
        .par_iter()
        // A heavy user costs a thousand times a light one, so a thread that has
        // nothing left must be able to take over any single one.
        .with_max_len(1)
        .map(|actions| {
            scratches.with(|scratch| profile_record(actions, pins, weights, params, scratch))
        })
        .collect()
}

fn profile_record(
    actions: &[ActionRecord],
    pins: &PinTable,
    weights: &[f64],
    params: &ProfileParams,
    scratch: &mut ClusterScratch,
) -> Result<ProfileRecord, BatchError> {
    let user = actions[0].user;
    let point = |action: &ActionRecord| Point {
        row: pins.node(action.pin as usize),
        pin: pins.ids()[action.pin as usize],
        time: action.time,
        weight: weights[action.action as usize],
    };
    let points: Vec<Point> = actions.iter().map(point).collect();
    let medoids = cluster::build_profile(
        &points,
        pins.vectors(),
        &params.cluster,
        params.as_of,
        scratch,
    );
    let mut history = Vec::new();
    if params.history_filter {
        let mut acted_on: Vec<PinId> = points.iter().map(|point| point.pin).collect();
        acted_on.sort_unstable();
        acted_on.dedup();
        history = HistoryFilter::encode(&acted_on).ok_or(BatchError::History(user))?;
    }
    Ok(ProfileRecord {
        user,
        medoids,
        history,
    })
}
