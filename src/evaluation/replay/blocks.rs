//! The replay of all users in blocks. What checkpoints hold is not replayed again.

use std::io::Write;

use rayon::prelude::*;

use super::checkpoint::Checkpoint;
use super::coverage::CoveredPins;
use super::input::Input;
use super::outcome::{Block, ReplayedUser};
use super::replayer::Replayer;
use super::user::Scratch;
use crate::batch::ActionRecord;
use crate::evaluation::error::EvaluateError;
use crate::evaluation::history::{History, HistoryParams};
use crate::evaluation::params::EvaluateParams;
use crate::index::PinTable;
use crate::pool::Pool;
use crate::progress::{Progress, Stage};

/// Users of a block. Their lines of details are in memory at the same time, and a
/// checkpoint keeps their outcome as a whole.
const USERS_PER_BLOCK: usize = 64;

/// No pins, for each model.
pub(super) fn empty_coverage(params: &EvaluateParams, pins: &PinTable) -> Vec<CoveredPins> {
    let models = params.models.iter();
    models
        .map(|_| CoveredPins::empty(pins.ids().len()))
        .collect()
}

/// Replays all users for whom there is a day to judge, block by block, or reads their
/// outcome from the checkpoint. Their lines go to `details`.
pub(super) fn replay_blocks(
    input: &Input,
    replayer: &Replayer<'_>,
    checkpoint: Option<&Checkpoint>,
    mut details: Option<&mut dyn Write>,
    progress: Progress,
) -> Result<Vec<ReplayedUser>, EvaluateError> {
    let blocks = Blocks {
        replayer,
        checkpoint,
        history: history_params(replayer.params),
        scratches: Pool::default(),
        stage: progress.stage("replaying actions", input.users.values().sum()),
    };
    let mut replayed = Vec::new();
    let mut numbers = 0..;
    for part in input.actions.parts() {
        let part = part?;
        let users = part.chunk_by(|a, b| a.user == b.user);
        let mut users = users.filter(|actions| input.users.contains_key(&actions[0].user));
        loop {
            let block: Vec<&[ActionRecord]> = users.by_ref().take(USERS_PER_BLOCK).collect();
            if block.is_empty() {
                break;
            }
            let number = numbers.next().unwrap_or(usize::MAX);
            let block = blocks.read_or_replay(number, &block)?;
            replayer.merge_coverage(&block);
            for mut user in block.users {
                write_lines(&mut user, &mut details)?;
                replayed.push(user);
            }
        }
    }
    Ok(replayed)
}

fn history_params(params: &EvaluateParams) -> HistoryParams {
    HistoryParams {
        weights: params.action_weights.values().copied().collect(),
        window_days: params.window_days,
        max_actions: params.max_actions,
    }
}

/// Moves the lines of a user to `details`.
fn write_lines(
    user: &mut ReplayedUser,
    details: &mut Option<&mut dyn Write>,
) -> Result<(), EvaluateError> {
    let lines = std::mem::take(&mut user.lines);
    match details {
        Some(details) => {
            let written = details.write_all(lines.as_bytes());
            written.map_err(EvaluateError::Details)
        }
        None => Ok(()),
    }
}

/// What the replay of a block needs.
struct Blocks<'a> {
    replayer: &'a Replayer<'a>,
    checkpoint: Option<&'a Checkpoint>,
    history: HistoryParams,
    scratches: Pool<Scratch>,
    stage: Stage,
}

impl Blocks<'_> {
    /// The outcome of block `number`, which has the actions of `users`.
    fn read_or_replay(
        &self,
        number: usize,
        users: &[&[ActionRecord]],
    ) -> Result<Block, EvaluateError> {
        let Some(checkpoint) = self.checkpoint else {
            return Ok(self.replay(users));
        };
        if let Some(block) = checkpoint.read(number)? {
            let actions = users.iter().map(|actions| actions.len() as u64);
            self.stage.advance(actions.sum());
            return Ok(block);
        }
        let block = self.replay(users);
        checkpoint.write(number, &block)?;
        Ok(block)
    }

    /// Replays `users`. Those without a day to judge are left out; the others keep their
    /// order.
    fn replay(&self, users: &[&[ActionRecord]]) -> Block {
        let pins = self.replayer.context.pins;
        let covered = empty_coverage(self.replayer.params, pins);
        let replayer = Replayer {
            covered: &covered,
            ..*self.replayer
        };
        // A heavy user costs many times a light one, so each may go to any thread.
        let replayed = users.par_iter().with_max_len(1).map(|actions| {
            let history = History::new(actions, pins, &self.history);
            let user = actions[0].user;
            let replayed = self
                .scratches
                .with(|scratch| replayer.replay(user, &history, scratch));
            self.stage.advance(actions.len() as u64);
            replayed
        });
        let replayed: Vec<Option<ReplayedUser>> = replayed.collect();
        Block {
            users: replayed.into_iter().flatten().collect(),
            covered: covered.iter().map(CoveredPins::words).collect(),
        }
    }
}
