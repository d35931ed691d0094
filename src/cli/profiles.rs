//! `pinnersage profiles`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::bad_row_args::BadRowArgs;
use super::clock::now;
use super::switch::Switch;
use super::text_id_args::TextIdArgs;
use super::{build_steps, output, user_requests};
use crate::batch::{
    CatalogColumns, Duplicates, ExportedVectors, NegativeLimits, ProfileInput, ProfileParams,
    export_profiles,
};
use crate::config::Settings;
use crate::model::{Timestamp, UserId};
use crate::progress::Progress;
use crate::store::ErasedThrough;

#[derive(Debug, Subcommand)]
pub(super) enum ProfilesCommand {
    /// Build the profiles of all users from files of actions.
    ///
    /// Columns: user_id and pin_id (integers, strings or UUIDs), time (timestamp, date, string with a
    /// zone, or integer seconds), and optionally action (string, "save" when missing) and action_id (16
    /// bytes or a UUID).
    Build(BuildArgs),
    /// Write profiles as Parquet.
    Export(ExportArgs),
}

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Files of actions (Parquet, .csv or .jsonl), directories or globs of them, in any
    /// order. A folder named action=hide above a file is a column of its rows.
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
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
    /// The moment before which the files have all actions [default: that of the newest
    /// one]. The server folds in what its log has since then.
    #[arg(long, value_name = "TIME")]
    complete_through: Option<Timestamp>,
    /// File of users whose actions are left out, one a line: a number, or {"user_key": "..."}
    /// for one whom you call by a string. Or a JSON array of such objects.
    #[arg(long, value_name = "FILE")]
    erased: Option<PathBuf>,
    /// The files have nothing any more of what users did before they were erased, for users
    /// who were erased up to this moment [default: nobody knows]. The server then serves the
    /// profiles of those who came back.
    #[arg(long, value_name = "TIME")]
    erased_through: Option<Timestamp>,
    /// Take an --as-of after the present moment.
    #[arg(long)]
    allow_future_as_of: bool,
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
    /// What becomes of actions that are there more than once: rows with the same
    /// action_id, or, where they have none, with the same user, pin, action and time to
    /// the millisecond.
    #[arg(long, value_name = "CHOICE", default_value = "drop")]
    duplicates: DuplicateChoice,
    #[command(flatten)]
    text_ids: TextIdArgs,
    #[command(flatten)]
    bad_rows: BadRowArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DuplicateChoice {
    /// Each row counts.
    Keep,
    /// An action counts once.
    Drop,
}

impl From<DuplicateChoice> for Duplicates {
    fn from(choice: DuplicateChoice) -> Self {
        match choice {
            DuplicateChoice::Keep => Self::Keep,
            DuplicateChoice::Drop => Self::Drop,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Profiles to export.
    #[arg(long, value_name = "DIR")]
    profiles: PathBuf,
    /// Catalog to take the keys of pins from, where pins are called by strings, and vectors.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Write vectors of the catalog as well: that of each medoid, and for each user the mean of
    /// those that can be sampled, weighted by importance.
    #[arg(long, requires = "catalog")]
    vectors: bool,
    /// Parquet file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(command: ProfilesCommand, settings: Settings) -> anyhow::Result<()> {
    match command {
        ProfilesCommand::Build(args) => build(&args, settings),
        ProfilesCommand::Export(args) => export(&args, &settings),
    }
}

fn export(args: &ExportArgs, settings: &Settings) -> anyhow::Result<()> {
    let vectors = args.vectors.then_some(ExportedVectors {
        silenced_by: settings.actions.limits.silenced_by,
    });
    let catalog = args.catalog.as_deref();
    let columns = catalog.map(|catalog| CatalogColumns { catalog, vectors });
    let progress = Progress::for_stderr();
    let counts = export_profiles(&args.profiles, columns, &args.out, progress)?;
    if counts.without_vector > 0 {
        output::warn(&format!(
            "{} of {} medoids have no vector: the catalog does not have their pins",
            counts.without_vector, counts.medoids
        ));
    }
    output::print(&format!(
        "{} profiles in {}",
        counts.users,
        args.out.display()
    ))
}

fn build(args: &BuildArgs, mut settings: Settings) -> anyhow::Result<()> {
    args.override_settings(&mut settings.profiles);
    settings.validate()?;
    if !args.allow_future_as_of {
        check_as_of(args.as_of, now())?;
    }
    let erased_through = args.erased_through(now())?;
    let erased_users = args.erased.as_deref().map(read_users).transpose()?;
    let bad_rows = args.bad_rows.params();
    let input = ProfileInput {
        actions: &args.actions,
        catalog: &args.catalog,
        text_ids: args.text_ids.text_ids(),
        as_of: args.as_of,
        complete_through: args.complete_through,
        erased_users: erased_users.as_ref(),
        erased_through: &erased_through,
        duplicates: args.duplicates.into(),
        bad_rows: &bad_rows,
        negative: NegativeLimits::from(&settings.actions.limits),
    };
    let progress = Progress::for_stderr();
    build_steps::profiles(&input, &args.out, &settings.profiles, progress)?;
    build_steps::neighbor_lists(&args.catalog, &args.out, settings.neighbors, progress)
}

/// The ids of the users in the file `path`.
fn read_users(path: &Path) -> anyhow::Result<HashSet<UserId>> {
    let users = user_requests::read(path)?;
    Ok(users.iter().map(|user| UserId(user.id())).collect())
}

/// Refuses an end of the window that lies ahead of `now`: actions until then would be taken
/// for actions in the profiles.
pub(super) fn check_as_of(as_of: Timestamp, now: Timestamp) -> anyhow::Result<()> {
    anyhow::ensure!(
        as_of <= now,
        "--as-of {as_of} is in the future: it is {now}; --allow-future-as-of takes it all the \
         same"
    );
    Ok(())
}

impl BuildArgs {
    /// What is stated of erased users at `now`. Who is erased later is in the files.
    fn erased_through(&self, now: Timestamp) -> anyhow::Result<ErasedThrough> {
        if let Some(stated) = self.erased_through {
            anyhow::ensure!(
                stated <= now,
                "--erased-through {stated} is in the future: it is {now}"
            );
        }
        Ok(ErasedThrough {
            stated: self.erased_through,
            ..ErasedThrough::default()
        })
    }

    fn override_settings(&self, profiles: &mut ProfileParams) {
        profiles.window_days = self.window_days.unwrap_or(profiles.window_days);
        profiles.alpha = self.alpha.unwrap_or(profiles.alpha);
        profiles.lambda_per_day = self.lambda_per_day.unwrap_or(profiles.lambda_per_day);
        if let Some(switch) = self.history_filter {
            profiles.history_filter = switch.is_on();
        }
    }
}
