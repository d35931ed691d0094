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
mod checkpoint;
mod details;
mod global_clusters;
mod history;
mod html;
mod input;
mod interests;
mod kmeans;
mod linkage;
mod measures;
mod models;
mod popularity;
mod query_vectors;
mod replay;
mod report;
mod seeds;
pub mod simulate;
mod svg;
mod table;
mod tune;

pub use bootstrap::Interval;
pub use html::{Page, html};
pub use models::{DEFAULT_MODELS, Model, ModelError};
pub use report::{ModelReport, Segment, Segments};
pub use table::Table;
pub use tune::{Grid, Step, Trial, Tuned, tune};

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::batch::{ActionRecord, BatchError};
use crate::cluster::Params;
use crate::index::{Approximate, Catalog, Exact, RetrieveByVector};
use crate::model::Timestamp;
use crate::pool::Pool;
use crate::progress::{Progress, Stage};
use crate::snapshot::SnapshotError;
use checkpoint::{Block, Checkpoint};
use history::History;
use input::Input;
use interests::World;
use replay::{Covered, Replay, Replayed, Scratch};

/// Users of a block: their lines of details are in memory at a time, and what became of
/// them is kept as a whole.
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
    /// What the popularity of a pin is worth beside its nearness, as a difference of
    /// cosines, where a model does not say; 0 for nothing.
    pub popularity: f32,
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
    /// The catalog cannot be read, or a block cannot be read or kept.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What is kept is not what is asked for.
    #[error(
        "{}: holds a replay with {key} {kept}, but {key} is {asked} now: go on with the \
         former, or take another directory", directory.display()
    )]
    OtherReplay {
        /// Where it is kept.
        directory: PathBuf,
        /// The first parameter that differs.
        key: String,
        /// Its value when the replay began.
        kept: String,
        /// Its value now.
        asked: String,
    },
    /// Something else lies where blocks would be kept.
    #[error("{}: is not empty and holds no replay", .0.display())]
    NoReplay(PathBuf),
    /// Details cannot be written.
    #[error("details cannot be written")]
    Details(#[source] std::io::Error),
}

/// Replays the actions in `files` over the catalog in `catalog`: one report for each
/// model. Every answer becomes a line of `details`. Where `resume` names a directory,
/// blocks of users are kept in it as they are done, and those that are there already are
/// not replayed; the result is the same to the byte.
pub fn evaluate(
    files: &[PathBuf],
    catalog: &Path,
    params: &EvaluateParams,
    details: Option<&mut dyn Write>,
    resume: Option<&Path>,
    progress: Progress,
) -> Result<Vec<ModelReport>, EvaluateError> {
    let measured = measure(files, catalog, params, details, resume, progress)?;
    Ok(report::report(&params.models, &measured))
}

/// What became of all users for whom there was a day to judge by.
#[derive(Debug)]
struct Measured {
    /// By rising activity, then by user.
    users: Vec<Replayed>,
    /// By model: what was recommended to anybody.
    covered: Vec<Covered>,
    /// Pins of the catalog.
    pins: usize,
    /// Whether any of them has a category.
    has_categories: bool,
}

/// Replays for [`evaluate`].
fn measure(
    files: &[PathBuf],
    catalog: &Path,
    params: &EvaluateParams,
    details: Option<&mut dyn Write>,
    resume: Option<&Path>,
    progress: Progress,
) -> Result<Measured, EvaluateError> {
    let days = input::days(params)?;
    let catalog = Arc::new(Catalog::open(catalog)?);
    catalog.check_mapped()?;
    let pins = &catalog.pins;
    let kept = match resume {
        Some(directory) => {
            let version = &catalog.manifest().version;
            let parameters = checkpoint::parameters(files, version, params, details.is_some())?;
            Some(Checkpoint::open(directory, &parameters)?)
        }
        None => None,
    };
    let input = input::read(files, pins, params, &days, progress)?;
    let index: Box<dyn RetrieveByVector + Sync> = match params.ef_search {
        Some(ef_search) => Box::new(Approximate::new(catalog.clone(), ef_search)),
        None => Box::new(Exact(pins)),
    };
    let categories = categories::of_pins(pins);
    let covered = covered_nothing(params, pins.ids().len());
    let replay = Replay {
        params,
        world: World {
            pins,
            cluster: params.cluster,
            folded: params.folded,
            popular: &input.popular,
            cells: &global_clusters::for_models(&params.models, pins.vectors(), params.seed),
            free_ids: &query_vectors::free_ids(pins, params.max_actions.max(1)),
        },
        index: &*index,
        categories: &categories,
        days: &days,
        details: details.is_some(),
        covered: &covered,
    };
    let mut users = replay_all(&input, &replay, kept.as_ref(), details, progress)?;
    if users.is_empty() {
        return Err(EvaluateError::NoTargets);
    }
    users.sort_unstable_by(|a, b| a.activity.total_cmp(&b.activity).then(a.user.cmp(&b.user)));
    Ok(Measured {
        users,
        covered,
        pins: pins.ids().len(),
        has_categories: categories.iter().any(|&category| category != 0),
    })
}

fn covered_nothing(params: &EvaluateParams, pins: usize) -> Vec<Covered> {
    let models = params.models.iter();
    models.map(|_| Covered::none_of(pins)).collect()
}

/// All users for whom there is a day to judge by, block by block: from what was kept, or
/// by a replay. Their lines go to `details`.
fn replay_all(
    input: &Input,
    replay: &Replay<'_>,
    kept: Option<&Checkpoint>,
    mut details: Option<&mut dyn Write>,
    progress: Progress,
) -> Result<Vec<Replayed>, EvaluateError> {
    let weights: Vec<f64> = replay.params.action_weights.values().copied().collect();
    let scratches = Pool::default();
    let stage = progress.stage("replaying actions", input.users.values().sum());
    let mut all = Vec::new();
    let mut numbers = 0..;
    for part in input.actions.parts() {
        let part = part?;
        let users = part.chunk_by(|a, b| a.user == b.user);
        let mut users = users.filter(|actions| input.users.contains_key(&actions[0].user));
        loop {
            let some: Vec<&[ActionRecord]> = users.by_ref().take(USERS_AT_A_TIME).collect();
            if some.is_empty() {
                break;
            }
            let number = numbers.next().unwrap_or(usize::MAX);
            let before = kept.map(|kept| kept.read(number)).transpose()?.flatten();
            let block = match before {
                Some(block) => {
                    stage.advance(some.iter().map(|actions| actions.len() as u64).sum());
                    block
                }
                None => {
                    let block = replay_block(&some, &weights, replay, &scratches, &stage);
                    kept.map(|kept| kept.write(number, &block)).transpose()?;
                    block
                }
            };
            for (covered, words) in replay.covered.iter().zip(&block.covered) {
                covered.add_words(words);
            }
            for mut replayed in block.users {
                let lines = std::mem::take(&mut replayed.lines);
                if let Some(details) = &mut details {
                    let written = details.write_all(lines.as_bytes());
                    written.map_err(EvaluateError::Details)?;
                }
                all.push(replayed);
            }
        }
    }
    Ok(all)
}

/// What becomes of some users: of those for whom there is a day to judge by, in their
/// order.
fn replay_block(
    users: &[&[ActionRecord]],
    weights: &[f64],
    replay: &Replay<'_>,
    scratches: &Pool<Scratch>,
    stage: &Stage,
) -> Block {
    let params = replay.params;
    let covered = covered_nothing(params, replay.world.pins.ids().len());
    let replay = Replay {
        covered: &covered,
        ..*replay
    };
    // A heavy user costs many times a light one, so each may go to any thread.
    let replayed = users.par_iter().with_max_len(1).map(|actions| {
        let (window_days, most) = (params.window_days, params.max_actions);
        let history = History::of(actions, replay.world.pins, weights, window_days, most);
        let user = actions[0].user;
        let replayed = scratches.with(|scratch| replay.user(user, &history, scratch));
        stage.advance(actions.len() as u64);
        replayed
    });
    let replayed: Vec<Option<Replayed>> = replayed.collect();
    Block {
        users: replayed.into_iter().flatten().collect(),
        covered: covered.iter().map(Covered::words).collect(),
    }
}
