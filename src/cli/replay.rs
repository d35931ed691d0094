//! The arguments of commands that replay what users did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::switch::Switch;
use crate::config::Settings;
use crate::evaluation::{EvaluateParams, FoldInLimits, Model, ReplayFiles};
use crate::model::Timestamp;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Files of actions (Parquet, .csv or .jsonl), directories or globs of them, in any
    /// order. An action that is there more than once counts once.
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub(super) actions: Vec<PathBuf>,
    /// Catalog whose pins are recommended.
    #[arg(long, value_name = "DIR")]
    pub(super) catalog: PathBuf,
    /// First day that is judged: 2017-10-01.
    #[arg(long, value_name = "DATE")]
    pub(super) from: Timestamp,
    /// The day after the last one.
    #[arg(long, value_name = "DATE")]
    pub(super) to: Timestamp,
    /// Candidates in a list.
    #[arg(long, value_name = "N", default_value_t = 400,
          value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Days for which what a user does counts.
    #[arg(long, value_name = "DAYS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    horizon: u32,
    /// Days from one that is judged to the next.
    #[arg(long, value_name = "DAYS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    every: u32,
    /// Least cosine of a relevant candidate to what the user acted on.
    #[arg(long, value_name = "COSINE", default_value_t = 0.8, value_parser = cosine)]
    relevant: f32,
    /// Recommend and count pins of a user's own window
    /// [default: off where profiles.history_filter is on].
    #[arg(long, value_name = "SWITCH")]
    repeats: Option<Switch>,
    /// Look at every pin instead of walking the graph.
    #[arg(long)]
    exact: bool,
    /// Only so many users, chosen by hash.
    #[arg(long, value_name = "N")]
    users: Option<usize>,
    /// Seed of all draws.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
}

impl ReplayArgs {
    /// The files to replay, with a checkpoint where there is one.
    pub(super) fn files<'a>(&'a self, checkpoint: Option<&'a Path>) -> ReplayFiles<'a> {
        ReplayFiles {
            actions: &self.actions,
            catalog: &self.catalog,
            checkpoint,
        }
    }

    /// The parameters of a replay of `models`.
    pub(super) fn params(&self, settings: &Settings, models: Vec<Model>) -> EvaluateParams {
        let profiles = &settings.profiles;
        EvaluateParams {
            from: self.from,
            to: self.to,
            every_days: self.every,
            horizon_days: self.horizon,
            window_days: profiles.window_days,
            cluster: profiles.cluster(),
            max_actions: profiles.max_actions,
            fold_in: FoldInLimits {
                recent: settings.actions.limits.positive,
                clustered: settings.actions.limits.clustered,
            },
            action_weights: profiles.positive_weights(),
            repeats: match self.repeats {
                Some(switch) => switch.is_on(),
                None => !profiles.history_filter,
            },
            popularity: settings.recommend.popularity,
            models,
            limit: usize::from(self.limit),
            relevant: self.relevant,
            ef_search: (!self.exact).then_some(settings.index.ef_search),
            users: self.users,
            seed: self.seed,
            memory: profiles.memory.as_u64(),
            filters: BTreeMap::new(),
            rerank: BTreeMap::new(),
            timing: false,
        }
    }
}

fn cosine(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(cosine) if (-1.0..=1.0).contains(&cosine) => Ok(cosine),
        Ok(_) => Err("must be from -1 to 1".to_owned()),
        Err(error) => Err(format!("{error}")),
    }
}
