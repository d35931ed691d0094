//! `pinnersage profiles`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{neighbors, out};
use crate::batch::{ProfileParams, build_profiles, export_profiles};
use crate::cluster::Params;
use crate::config::{ProfileSettings, Settings};
use crate::model::Timestamp;
use crate::progress::Progress;
use crate::snapshot::SnapshotManifest;
use crate::store::ProfileManifest;

#[derive(Debug, Subcommand)]
pub(super) enum ProfilesCommand {
    /// Build the profiles of all users from Parquet files of actions.
    ///
    /// Columns: user_id and pin_id (int64 or uint64), time (timestamp, or int64
    /// seconds), and optionally action (string, "save" when missing).
    Build(BuildArgs),
    /// Write profiles as Parquet.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Parquet files of actions, in any order.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    actions: Vec<PathBuf>,
    /// Catalog whose vectors are clustered.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Directory that holds the versions of the profiles.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// End of the window: 2017-10-01 or 2017-10-01T06:00:00Z.
    #[arg(long, value_name = "TIME")]
    as_of: Timestamp,
    /// Length of the window in days [default: profiles.window_days].
    #[arg(long, value_name = "DAYS")]
    window_days: Option<f64>,
    /// Greatest Ward distance of a merge [default: profiles.alpha].
    #[arg(long, value_name = "A")]
    alpha: Option<f64>,
    /// Decay of importance a day [default: profiles.lambda_per_day].
    #[arg(long, value_name = "L")]
    lambda_per_day: Option<f64>,
    /// Leave pins of a user's own history out of the answers
    /// [default: profiles.history_filter].
    #[arg(long, value_name = "SWITCH")]
    history_filter: Option<Switch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Profiles to export.
    #[arg(long, value_name = "DIR")]
    profiles: PathBuf,
    /// Parquet file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(command: ProfilesCommand, settings: Settings) -> anyhow::Result<()> {
    match command {
        ProfilesCommand::Build(args) => build(&args, settings),
        ProfilesCommand::Export(args) => {
            let users = export_profiles(&args.profiles, &args.out, Progress::for_stderr())?;
            out::print(&format!("{users} profiles in {}", args.out.display()))
        }
    }
}

fn build(args: &BuildArgs, mut settings: Settings) -> anyhow::Result<()> {
    let profiles = &mut settings.profiles;
    profiles.window_days = args.window_days.unwrap_or(profiles.window_days);
    profiles.alpha = args.alpha.unwrap_or(profiles.alpha);
    profiles.lambda_per_day = args.lambda_per_day.unwrap_or(profiles.lambda_per_day);
    if let Some(switch) = args.history_filter {
        profiles.history_filter = switch == Switch::On;
    }
    settings.check()?;
    let params = profile_params(&settings.profiles, args.as_of);
    let progress = Progress::for_stderr();
    let manifest = build_profiles(&args.actions, &args.catalog, &args.out, &params, progress)?;
    out::print(&summary(&manifest, &args.out))?;
    neighbors::make(&args.catalog, &args.out, &settings.neighbors, progress)
}

pub(super) fn profile_params(settings: &ProfileSettings, as_of: Timestamp) -> ProfileParams {
    ProfileParams {
        as_of,
        window_days: settings.window_days,
        cluster: Params {
            alpha: settings.alpha,
            lambda_per_day: settings.lambda_per_day,
        },
        max_actions: settings.max_actions,
        // What people do not want is applied where it holds for good: by the server.
        action_weights: settings
            .action_weights
            .iter()
            .filter(|&(_, &weight)| weight > 0.0)
            .map(|(name, &weight)| (name.clone(), weight))
            .collect(),
        history_filter: settings.history_filter,
        memory: settings.memory.as_u64(),
    }
}

/// What became of the actions, for a person.
pub(super) fn summary(manifest: &SnapshotManifest<ProfileManifest>, root: &Path) -> String {
    let SnapshotManifest { version, facts, .. } = manifest;
    let ProfileManifest {
        as_of,
        window_days,
        actions,
        users,
        medoids,
        ..
    } = facts;
    let mut lines = vec![
        format!("profiles {version} as of {as_of}, in {}", root.display()),
        format!("{} actions read", actions.read()),
        format!("{} refused: pin not in the catalog", actions.unknown_pin),
        format!(
            "{} refused: before the window of {window_days} days",
            actions.before_window
        ),
        format!("{} refused: at or after {as_of}", actions.after_as_of),
    ];
    for (name, count) in &actions.unknown_action {
        lines.push(format!("{count} refused: action {name:?} has no weight"));
    }
    if actions.unknown_action_unlisted > 0 {
        let unlisted = actions.unknown_action_unlisted;
        lines.push(format!(
            "{unlisted} refused: actions of yet other names have no weight"
        ));
    }
    lines.push(format!(
        "{} cut: beyond the {} most recent of a user",
        actions.cut, facts.max_actions
    ));
    lines.push(format!("{} clustered", actions.used));
    let a_user = *medoids as f64 / (*users).max(1) as f64;
    lines.push(format!(
        "{users} users, {medoids} medoids, {a_user:.1} a user"
    ));
    lines.join("\n  ")
}
