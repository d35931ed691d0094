//! `pinnersage simulate`.

use std::path::PathBuf;

use clap::Args;

use super::output;
use crate::evaluation::simulate::{Activity, SimulateParams, Simulated, WorldParams, write_world};
use crate::model::Timestamp;
use crate::progress::Progress;

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// Directory to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of pins.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pins: u32,
    /// Number of users.
    #[arg(long, value_name = "N", default_value_t = 5_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    users: u32,
    /// Number of topics that pins are about.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    topics: u32,
    /// For how many days users act.
    #[arg(long, value_name = "DAYS", default_value_t = 180,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    days: u32,
    /// Dimension of the embeddings.
    #[arg(long, value_name = "D", default_value_t = 64)]
    dimension: usize,
    /// The day after the last one.
    #[arg(long, value_name = "DATE", default_value = "2026-01-01")]
    until: Timestamp,
    /// Seed of all draws.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Share of actions that are on any pin.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    noise: f64,
    /// Median number of actions of a user.
    #[arg(long, value_name = "N", default_value_t = 130.0)]
    median_actions: f64,
    /// How uneven users are: standard deviation of the logarithm of their actions.
    #[arg(long, value_name = "SPREAD", default_value_t = 0.95)]
    activity_spread: f64,
    /// Minimum number of actions of a user.
    #[arg(long, value_name = "N", default_value_t = 30)]
    min_actions: u32,
    /// Maximum number of actions of a user.
    #[arg(long, value_name = "N", default_value_t = 3_000)]
    max_actions: u32,
}

pub(super) fn run(args: &SimulateArgs) -> anyhow::Result<()> {
    let params = SimulateParams {
        world: WorldParams {
            pins: args.pins,
            topics: args.topics,
            dimension: args.dimension,
            days: args.days,
            until: args.until,
            noise: args.noise,
            activity: Activity {
                median_actions: args.median_actions,
                spread: args.activity_spread,
                min_actions: args.min_actions,
                max_actions: args.max_actions,
            },
        },
        users: args.users,
        seed: args.seed,
    };
    let simulated = write_world(&args.out, &params, Progress::for_stderr())?;
    output::print(&summary(args, &params, &simulated))
}

/// The counts of the world, for a person.
fn summary(args: &SimulateArgs, params: &SimulateParams, simulated: &Simulated) -> String {
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let (actions, interests) = (simulated.actions, simulated.interests);
    let tenths = |[a, b, c]: [usize; 3]| format!("{a} / {b} / {c}");
    let lines = [
        format!(
            "a world from {} to {}, in {}",
            params.world.from(),
            args.until,
            args.out.display()
        ),
        format!(
            "{} pins of {} topics around {} themes",
            args.pins, args.topics, simulated.themes
        ),
        format!(
            "{} users, {actions} actions: {:.1} % noise, {:.1} % on a pin acted on before",
            args.users,
            percent(simulated.noise, actions),
            percent(simulated.repeated, actions)
        ),
        format!(
            "{interests} interests, {:.1} % of them come back after a break",
            percent(simulated.returning, interests)
        ),
        format!(
            "a user's actions {}, interests {} (at most, of 10 / 50 / 90 % of users)",
            tenths(simulated.actions_per_user),
            tenths(simulated.interests_per_user)
        ),
    ];
    lines.join("\n  ")
}
