//! Building profiles. [`build_profiles`] is the whole offline flow:
//! read -> group by user -> cluster -> merge -> write.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::action_reader::{ActionFiles, ActionRecord, Filter};
use super::bad_rows::BadRowParams;
use super::error::BatchError;
use super::external_sort::{self, Run, RunWriter};
use super::profile_params::ProfileParams;
use super::user_histories::{self, Duplicates, HistoryLimits, LoadedPartition};
use super::user_partitions::{FilledPartitions, Partitions};
use crate::cluster::{self, ClusterScratch, Point};
use crate::index::{Catalog, CatalogManifest, PinTable};
use crate::model::{PinId, Timestamp};
use crate::pool::Pool;
use crate::progress::{Progress, Stage};
use crate::snapshot::{SnapshotError, SnapshotManifest};
use crate::store::{
    ActionCounts, FALSE_POSITIVE_RATE, HistoryFilter, PinActions, ProfileManifest, ProfileRecord,
    ProfilesWriter,
};

/// Users whose profiles are in memory at a time.
const USERS_AT_A_TIME: usize = 4_096;

/// Input of a batch of profiles.
#[derive(Clone, Copy, Debug)]
pub struct ProfileInput<'a> {
    /// Files of actions, directories or globs of them, in any order.
    pub actions: &'a [PathBuf],
    /// Directory of the catalog whose vectors are clustered.
    pub catalog: &'a Path,
    /// End of the window, and the moment at which importances hold.
    pub as_of: Timestamp,
    /// What becomes of actions that the input has more than once.
    pub duplicates: Duplicates,
    /// How many bad rows are left out.
    pub bad_rows: &'a BadRowParams,
}

/// Builds profiles from `input` as the current version of `root`.
///
/// The same input gives the same bytes, in whatever order its rows come.
pub fn build_profiles(
    input: &ProfileInput<'_>,
    root: &Path,
    params: &ProfileParams,
    progress: Progress,
) -> Result<SnapshotManifest<ProfileManifest>, BatchError> {
    let files = ActionFiles::open(input.actions, progress)?;
    let rows = files.rows();
    let (catalog, pins) = Catalog::open_pins(input.catalog)?;
    let mut writer = ProfilesWriter::create(root)?;
    let batch = Batch {
        input,
        params,
        pins: &pins,
        weights: params.positive_weights().into_values().collect(),
        scratches: Pool::default(),
        progress,
    };
    let FilledPartitions {
        paths, mut counts, ..
    } = batch.group_by_user(&files, &writer.scratch()?)?;
    let mut actions_by_position = vec![0u64; pins.ids().len()];
    let runs = batch.cluster_partitions(paths, rows, &mut counts, &mut actions_by_position)?;
    external_sort::merge(runs, |profile| Ok(writer.append(profile)?))?;
    let (users, medoids) = writer.counts();
    if users == 0 {
        return Err(BatchError::NoProfiles(counts));
    }
    let manifest = ProfileManifest {
        users,
        medoids,
        actions: counts,
        ..batch.manifest(catalog)
    };
    let actions_of_pins = actions_of_pins(&pins, &actions_by_position);
    Ok(writer.finish(manifest, &actions_of_pins)?)
}

/// One batch of profiles while it is built.
struct Batch<'a> {
    input: &'a ProfileInput<'a>,
    params: &'a ProfileParams,
    pins: &'a PinTable,
    /// Weights of actions, in the order of [`ActionRecord::action`].
    weights: Vec<f64>,
    scratches: Pool<ClusterScratch>,
    progress: Progress,
}

impl Batch<'_> {
    /// Spreads the accepted actions of `files` over partition files in `directory`.
    fn group_by_user(
        &self,
        files: &ActionFiles,
        directory: &Path,
    ) -> Result<FilledPartitions, BatchError> {
        let rows = files.rows();
        let stage = self.progress.stage("reading actions", rows);
        // A partition is held beside the profiles made from it; half of the
        // memory is left for partitions that turn out larger than the average.
        let partition_bytes = self.params.memory.as_u64() / 4;
        let partitions = Partitions::create(directory, rows, partition_bytes)?;
        let weights = self.params.positive_weights();
        let filter = Filter {
            pins: self.pins,
            from: self.input.as_of.minus_days(self.params.window_days),
            as_of: self.input.as_of,
            names: weights.keys().map(String::as_str).collect(),
        };
        partitions.fill(files, &filter, self.input.bad_rows, &stage)
    }

    /// Clusters the users of each partition into a run of profiles, and counts the
    /// actions of these users, of all `rows` that were read, also by the position of their
    /// pin.
    fn cluster_partitions(
        &self,
        partitions: Vec<PathBuf>,
        rows: u64,
        counts: &mut ActionCounts,
        actions_by_position: &mut [u64],
    ) -> Result<Vec<Run>, BatchError> {
        let accepted = rows - counts.refused();
        let stage = self.progress.stage("clustering actions", accepted);
        let mut runs = Vec::with_capacity(partitions.len());
        for path in partitions {
            let limits = HistoryLimits {
                max_actions: self.params.max_actions,
                bytes: self.params.memory.as_u64() / 2,
                duplicates: self.input.duplicates,
            };
            let LoadedPartition {
                records,
                cut,
                duplicates,
            } = user_histories::load(&path, limits, |record| {
                actions_by_position[record.pin as usize] += 1;
            })?;
            fs::remove_file(&path).map_err(SnapshotError::io(&path))?;
            counts.used += records.len() as u64;
            counts.cut += cut;
            counts.duplicates += duplicates;
            stage.advance(cut + duplicates);
            let run = RunWriter::create(path.with_extension("profiles"))?;
            runs.push(self.cluster_users_into(run, &records, &stage)?);
        }
        Ok(runs)
    }

    /// Clusters the users of `records`, which are sorted by user, into `run`.
    fn cluster_users_into(
        &self,
        mut run: RunWriter,
        records: &[ActionRecord],
        stage: &Stage,
    ) -> Result<Run, BatchError> {
        let mut users = records.chunk_by(|a, b| a.user == b.user).peekable();
        while users.peek().is_some() {
            let some: Vec<&[ActionRecord]> = users.by_ref().take(USERS_AT_A_TIME).collect();
            for profile in self.cluster_users(&some) {
                run.append(&profile?)?;
            }
            stage.advance(some.iter().map(|actions| actions.len() as u64).sum());
        }
        run.finish()
    }

    /// The profiles of some users, in their order.
    fn cluster_users(&self, users: &[&[ActionRecord]]) -> Vec<Result<ProfileRecord, BatchError>> {
        users
            .par_iter()
            // A heavy user costs a thousand times a light one, so an idle thread must be
            // able to take over any single user.
            .with_max_len(1)
            .map(|actions| {
                self.scratches
                    .with(|scratch| self.cluster_user(actions, scratch))
            })
            .collect()
    }

    fn cluster_user(
        &self,
        actions: &[ActionRecord],
        scratch: &mut ClusterScratch,
    ) -> Result<ProfileRecord, BatchError> {
        let user = actions[0].user;
        let point = |action: &ActionRecord| Point {
            row: self.pins.node(action.pin as usize),
            pin: self.pins.ids()[action.pin as usize],
            time: action.time,
            weight: self.weights[action.action as usize],
        };
        let points: Vec<Point> = actions.iter().map(point).collect();
        let medoids = cluster::build_profile(
            &points,
            self.pins.vectors(),
            &self.params.cluster(),
            self.input.as_of,
            scratch,
        );
        let history = if self.params.history_filter {
            history_filter(&points).ok_or(BatchError::History(user))?
        } else {
            Vec::new()
        };
        Ok(ProfileRecord {
            user,
            medoids,
            history,
        })
    }

    /// Facts of the profiles, before anything was counted.
    fn manifest(&self, catalog: SnapshotManifest<CatalogManifest>) -> ProfileManifest {
        let has_history = self.params.history_filter;
        ProfileManifest {
            embedding_version: catalog.facts.embedding_version,
            dimension: catalog.facts.dimension,
            catalog_version: catalog.version,
            as_of: self.input.as_of,
            window_days: self.params.window_days,
            alpha: self.params.alpha,
            lambda_per_day: self.params.lambda_per_day,
            max_actions: self.params.max_actions,
            action_weights: self.params.positive_weights(),
            history_false_positive_rate: has_history.then_some(FALSE_POSITIVE_RATE),
            users: 0,
            medoids: 0,
            actions: ActionCounts::default(),
        }
    }
}

/// The bytes of a filter over all pins of a user's history.
fn history_filter(points: &[Point]) -> Option<Vec<u8>> {
    let mut acted_on: Vec<PinId> = points.iter().map(|point| point.pin).collect();
    acted_on.sort_unstable();
    acted_on.dedup();
    HistoryFilter::encode(&acted_on)
}

/// Number of actions on each pin that has any, by ascending pin.
fn actions_of_pins(pins: &PinTable, actions_by_position: &[u64]) -> Vec<PinActions> {
    let counted = pins.ids().iter().zip(actions_by_position);
    counted
        .filter(|&(_, &actions)| actions > 0)
        .map(|(&pin, &actions)| PinActions { pin, actions })
        .collect()
}
