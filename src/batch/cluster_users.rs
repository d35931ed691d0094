//! Clusters the users of all partitions.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::action_reader::{ActionRecord, Filter};
use super::error::BatchError;
use super::external_sort::{Run, RunWriter};
use super::known_actions::{KnownActions, UserInput};
use super::profile_input::ProfileInput;
use super::profile_params::ProfileParams;
use super::user_histories::{self, HistoryLimits, LoadedPartition};
use super::user_keys::{KeysOfUsers, UserKeys};
use crate::cluster::{self, ClusterScratch, Decay, NegativeActions, Point};
use crate::index::PinTable;
use crate::model::{ActionIdentity, Medoid, PinId, Timestamp};
use crate::pool::Pool;
use crate::progress::{Progress, Stage};
use crate::snapshot::SnapshotError;
use crate::store::{ActionCounts, HistoryFilter, ProfileRecord};

/// Users whose profiles are in memory at a time.
const USERS_AT_A_TIME: usize = 4_096;

/// The actions that have a weight, in the order of [`ActionRecord::action`]: positive ones
/// before negative ones.
pub(super) struct Actions {
    names: Vec<String>,
    /// What they add or take away; above 0.
    weights: Vec<f64>,
    first_negative: usize,
}

/// Clusters users.
pub(super) struct Clustering<'a> {
    pub(super) input: &'a ProfileInput<'a>,
    pub(super) params: &'a ProfileParams,
    pub(super) pins: &'a PinTable,
    pub(super) actions: &'a Actions,
    /// First moment of actions whose identities the profiles keep.
    pub(super) identified_from: Timestamp,
    /// None where users are called by numbers.
    pub(super) user_keys: Option<&'a UserKeys>,
    pub(super) scratches: Pool<ClusterScratch>,
    pub(super) progress: Progress,
}

/// Profiles of all users.
pub(super) struct Clustered {
    /// Each by ascending user.
    pub(super) runs: Vec<Run>,
    /// Outcome of each action.
    pub(super) counts: ActionCounts,
    /// Number of positive actions by the position of their pin.
    pub(super) actions_by_position: Vec<u64>,
}

impl Actions {
    pub(super) fn new(params: &ProfileParams) -> Self {
        let (positive, negative) = (params.positive_weights(), params.negative_weights());
        let first_negative = positive.len();
        let all = positive.into_iter().chain(negative);
        let (names, weights) = all.map(|(name, weight)| (name, weight.abs())).unzip();
        Self {
            names,
            weights,
            first_negative,
        }
    }

    /// Accepts these actions on `pins` before the end of the window, positive ones since its
    /// beginning, but of no erased user.
    pub(super) fn filter<'a>(
        &'a self,
        pins: &'a PinTable,
        input: &ProfileInput<'a>,
        window_days: f64,
    ) -> Filter<'a> {
        Filter {
            pins,
            erased: input.erased_users,
            from: input.as_of.minus_days(window_days),
            as_of: input.as_of,
            names: self.names.iter().map(String::as_str).collect(),
            first_negative: self.first_negative,
        }
    }
}

impl Clustering<'_> {
    /// Clusters the users of each partition into a run of profiles. Of all `rows` that were
    /// read, `counts` has the refused ones.
    pub(super) fn cluster_partitions(
        &self,
        partitions: Vec<PathBuf>,
        counts: ActionCounts,
        rows: u64,
    ) -> Result<Clustered, BatchError> {
        let accepted = rows - counts.refused() - counts.impressions - counts.erased;
        let stage = self.progress.stage("clustering actions", accepted);
        let mut clustered = Clustered {
            runs: Vec::with_capacity(partitions.len()),
            counts,
            actions_by_position: vec![0; self.pins.ids().len()],
        };
        for (number, path) in partitions.into_iter().enumerate() {
            let mut keys = match self.user_keys {
                None => KeysOfUsers::default(),
                Some(keys) => keys.of_partition(number)?,
            };
            let run = self.cluster_partition(&path, &mut keys, &mut clustered, &stage)?;
            clustered.runs.push(run);
        }
        Ok(clustered)
    }

    fn cluster_partition(
        &self,
        path: &Path,
        keys: &mut KeysOfUsers,
        clustered: &mut Clustered,
        stage: &Stage,
    ) -> Result<Run, BatchError> {
        let limits = HistoryLimits {
            max_actions: self.params.max_actions,
            bytes: self.params.memory.as_u64() / 2,
            duplicates: self.input.duplicates,
        };
        let first_negative = u32::try_from(self.actions.first_negative).unwrap_or(u32::MAX);
        let mut known = KnownActions::new(self.identified_from, first_negative);
        let LoadedPartition {
            records,
            cut,
            duplicates,
        } = user_histories::load(path, limits, |record| {
            let is_positive = known.note(record);
            clustered.actions_by_position[record.pin as usize] += u64::from(is_positive);
            is_positive
        })?;
        fs::remove_file(path).map_err(SnapshotError::io(path))?;
        let counts = &mut clustered.counts;
        counts.used += records.len() as u64;
        counts.negative += known.negative_count();
        counts.cut += cut;
        counts.duplicates += duplicates;
        stage.advance(cut + duplicates + known.negative_count());
        let run = RunWriter::create(path.with_extension("profiles"))?;
        self.cluster_users_into(run, known.by_user(&records), keys, stage)
    }

    /// Clusters `users`, who come by ascending id, into `run`.
    fn cluster_users_into<'u>(
        &self,
        mut run: RunWriter,
        users: impl Iterator<Item = UserInput<'u>>,
        keys: &mut KeysOfUsers,
        stage: &Stage,
    ) -> Result<Run, BatchError> {
        let mut users = users.peekable();
        while users.peek().is_some() {
            let some: Vec<UserInput<'_>> = users.by_ref().take(USERS_AT_A_TIME).collect();
            for profile in self.cluster_users(&some) {
                let profile = profile?;
                let key = keys.take(profile.user);
                run.append(&ProfileRecord { key, ..profile })?;
            }
            stage.advance(some.iter().map(|user| user.positive.len() as u64).sum());
        }
        run.finish()
    }

    /// The profiles of some users, in their order.
    fn cluster_users(&self, users: &[UserInput<'_>]) -> Vec<Result<ProfileRecord, BatchError>> {
        users
            .par_iter()
            // A heavy user costs a thousand times a light one, so an idle thread must be
            // able to take over any single user.
            .with_max_len(1)
            .map(|user| {
                self.scratches
                    .with(|scratch| self.cluster_user(user, scratch))
            })
            .collect()
    }

    fn cluster_user(
        &self,
        user: &UserInput<'_>,
        scratch: &mut ClusterScratch,
    ) -> Result<ProfileRecord, BatchError> {
        let points: Vec<Point> = user.positive.iter().map(|one| self.point(one)).collect();
        let history = if self.params.history_filter && !points.is_empty() {
            history_filter(&points).ok_or(BatchError::History(user.user))?
        } else {
            Vec::new()
        };
        let mut identities: Vec<ActionIdentity> = user
            .identities
            .iter()
            .map(|&(_, identity)| identity)
            .collect();
        identities.dedup();
        Ok(ProfileRecord {
            user: user.user,
            // Only whoever writes the profile knows it.
            key: String::new(),
            medoids: self.medoids(&points, user.negative, scratch),
            history,
            identities,
            hidden: self.hidden_pins(user.negative),
        })
    }

    /// The interests in `points`, from which the most recent `negative` actions take
    /// importance.
    fn medoids(
        &self,
        points: &[Point],
        negative: &[ActionRecord],
        scratch: &mut ClusterScratch,
    ) -> Vec<Medoid> {
        if points.is_empty() {
            return Vec::new();
        }
        let (vectors, as_of) = (self.pins.vectors(), self.input.as_of);
        let params = self.params.cluster();
        let clusters = cluster::cluster_points(points, vectors, &params, as_of, scratch);
        let first = negative
            .len()
            .saturating_sub(self.input.negative.most_recent);
        let lowering: Vec<Point> = negative[first..]
            .iter()
            .map(|one| self.point(one))
            .collect();
        let lowering = NegativeActions {
            points: &lowering,
            alpha: params.alpha,
        };
        let decay = Decay {
            lambda_per_day: params.lambda_per_day,
            as_of,
        };
        cluster::lower_clusters(&clusters, points, lowering, vectors, decay)
    }

    fn point(&self, action: &ActionRecord) -> Point {
        Point {
            row: self.pins.node(action.pin as usize),
            pin: self.pins.ids()[action.pin as usize],
            time: action.time,
            weight: self.actions.weights[action.action as usize],
        }
    }

    /// The pins of `negative` actions, ascending, each once.
    fn hidden_pins(&self, negative: &[ActionRecord]) -> Vec<PinId> {
        let pins = negative.iter().map(|one| self.pins.ids()[one.pin as usize]);
        sorted_once(pins.collect())
    }
}

/// The bytes of a filter over all pins of a user's history.
fn history_filter(points: &[Point]) -> Option<Vec<u8>> {
    HistoryFilter::encode(&sorted_once(points.iter().map(|point| point.pin).collect()))
}

/// `pins`, ascending, each once.
fn sorted_once(mut pins: Vec<PinId>) -> Vec<PinId> {
    pins.sort_unstable();
    pins.dedup();
    pins
}
