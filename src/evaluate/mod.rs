//! Walk-forward replay: what would have been recommended on each day from what was
//! known before it, measured by what users did then. [`evaluate`] is the whole flow:
//! read -> for each user and day: interests of each model -> recommend -> measure ->
//! report.
//!
//! All models go through [`crate::recommend::recommend`], the code that serves; they
//! differ in the medoids that they hand to it. Users are independent of each other,
//! so they are replayed in parallel, and no result depends on their order.

mod bootstrap;
mod categories;
mod cells;
mod details;
mod history;
mod html;
mod input;
mod interests;
mod kmeans;
mod linkage;
mod measures;
mod models;
mod popularity;
mod replay;
mod report;
mod seeds;
mod stand_ins;
mod svg;
mod table;

pub use bootstrap::Interval;
pub use html::{Page, html};
pub use models::{DEFAULT_MODELS, Model, ModelError};
pub use report::{ModelReport, Segment, Segments};
pub use table::Table;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::batch::{ActionRecord, BatchError};
use crate::cluster::Params;
use crate::index::{Approximate, Catalog, Exact, RetrieveNear};
use crate::model::Timestamp;
use crate::pool::Pool;
use crate::progress::{Progress, Stage};
use crate::snapshot::SnapshotError;
use history::History;
use input::Input;
use interests::World;
use replay::{Covered, Replay, Replayed, Scratch};

/// Users whose lines of details are in memory at a time.
const USERS_AT_A_TIME: usize = 64;

/// What is replayed, and how.
#[derive(Clone, Debug)]
pub struct EvaluateParams {
    /// First moment of the first day.
    pub from: Timestamp,
    /// No day begins at this moment or later.
    pub to: Timestamp,
    /// From one day that is judged to the next; at least 1.
    pub every_days: u32,
    /// For how many days what users do counts; at least 1.
    pub horizon_days: u32,
    /// Length of the window in days.
    pub window_days: f64,
    /// What shapes clusters where a model does not say.
    pub cluster: Params,
    /// Number of most recent actions of a window that are clustered at most.
    pub max_actions: usize,
    /// Most recent actions that are folded in, and how many of them are clustered.
    pub folded: (usize, usize),
    /// What an action adds to importance at its own moment, by its name.
    pub action_weights: BTreeMap<String, f64>,
    /// Whether pins of a user's own window are recommended, and count as targets.
    pub repeats: bool,
    /// What is compared.
    pub models: Vec<Model>,
    /// Candidates in a list; at least 1.
    pub limit: usize,
    /// Least cosine of a relevant candidate to a target.
    pub relevant: f32,
    /// Nodes that a walk looks for at least; none for the exact scan.
    pub ef_search: Option<usize>,
    /// Only so many users, chosen by hash.
    pub users: Option<usize>,
    /// Seed of all draws.
    pub seed: u64,
    /// Bytes of actions in memory at a time.
    pub memory: u64,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The period is empty.
    #[error("no day begins at {from} or later and before {to}")]
    Period {
        /// Its first moment.
        from: Timestamp,
        /// The first one after it.
        to: Timestamp,
    },
    /// Nobody can be judged.
    #[error(
        "no user acted in the period, on pins that count, after having acted in the window \
         before it"
    )]
    NoTargets,
    /// Actions cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalog(#[from] SnapshotError),
    /// Details cannot be written.
    #[error("details cannot be written")]
    Details(#[source] std::io::Error),
}

/// Replays the actions in `files` over the catalogue in `catalog`: one report for each
/// model. Every answer becomes a line of `details`.
pub fn evaluate(
    files: &[PathBuf],
    catalog: &Path,
    params: &EvaluateParams,
    details: Option<&mut dyn Write>,
    progress: Progress,
) -> Result<Vec<ModelReport>, EvaluateError> {
    let days = input::days(params)?;
    let catalog = Arc::new(Catalog::open(catalog)?);
    catalog.check_mapped()?;
    let pins = &catalog.pins;
    let input = input::read(files, pins, params, &days, progress)?;
    let index: Box<dyn RetrieveNear + Sync> = match params.ef_search {
        Some(ef_search) => Box::new(Approximate::new(catalog.clone(), ef_search)),
        None => Box::new(Exact(pins)),
    };
    let categories = categories::of_pins(pins);
    let covered = params
        .models
        .iter()
        .map(|_| Covered::none_of(pins.ids().len()));
    let covered: Vec<Covered> = covered.collect();
    let replay = Replay {
        params,
        world: World {
            pins,
            cluster: params.cluster,
            folded: params.folded,
            popular: &input.popular,
            cells: &cells::for_models(&params.models, pins.vectors(), params.seed),
            free_ids: &stand_ins::free_ids(pins, params.max_actions.max(1)),
        },
        index: &*index,
        categories: &categories,
        days: &days,
        details: details.is_some(),
        covered: &covered,
    };
    let users = replay_all(&input, &replay, details, progress)?;
    if users.is_empty() {
        return Err(EvaluateError::NoTargets);
    }
    let has_categories = categories.iter().any(|&category| category != 0);
    let of_catalog = (pins.ids().len(), has_categories);
    Ok(report::report(&params.models, users, &covered, of_catalog))
}

/// All users for whom there is a day to judge by. Their lines go to `details`.
fn replay_all(
    input: &Input,
    replay: &Replay<'_>,
    mut details: Option<&mut dyn Write>,
    progress: Progress,
) -> Result<Vec<Replayed>, EvaluateError> {
    let weights: Vec<f64> = replay.params.action_weights.values().copied().collect();
    let scratches = Pool::default();
    let stage = progress.stage("replaying actions", input.users.values().sum());
    let mut all = Vec::new();
    for part in input.actions.parts() {
        let part = part?;
        let users = part.chunk_by(|a, b| a.user == b.user);
        let mut users = users.filter(|actions| input.users.contains_key(&actions[0].user));
        loop {
            let some: Vec<&[ActionRecord]> = users.by_ref().take(USERS_AT_A_TIME).collect();
            if some.is_empty() {
                break;
            }
            for mut replayed in replay_some(&some, &weights, replay, &scratches, &stage) {
                if let Some(details) = &mut details {
                    let lines = std::mem::take(&mut replayed.lines);
                    let written = details.write_all(lines.as_bytes());
                    written.map_err(EvaluateError::Details)?;
                }
                all.push(replayed);
            }
        }
    }
    Ok(all)
}

/// Those of some users for whom there is a day to judge by, in their order.
fn replay_some(
    users: &[&[ActionRecord]],
    weights: &[f64],
    replay: &Replay<'_>,
    scratches: &Pool<Scratch>,
    stage: &Stage,
) -> Vec<Replayed> {
    // A heavy user costs many times a light one, so each may go to any thread.
    let replayed = users.par_iter().with_max_len(1).map(|actions| {
        let params = replay.params;
        let (window_days, most) = (params.window_days, params.max_actions);
        let history = History::of(actions, replay.world.pins, weights, window_days, most);
        let user = actions[0].user;
        let replayed = scratches.lend(|scratch| replay.user(user, &history, scratch));
        stage.advance(actions.len() as u64);
        replayed
    });
    let replayed: Vec<Option<Replayed>> = replayed.collect();
    replayed.into_iter().flatten().collect()
}
