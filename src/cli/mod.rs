//! The command line: one file a subcommand, and the files that commands share.

mod actions;
mod bad_row_args;
mod build_steps;
mod candidate;
mod catalog;
mod client;
mod clock;
mod daily;
mod data;
mod demo;
mod diff;
#[cfg(feature = "evaluation")]
mod evaluate;
mod explain;
mod filter_arg;
mod health;
mod id_or_key;
mod importance_bar;
mod interest_list;
mod json_arg;
#[cfg(feature = "evaluation")]
mod named_json;
mod neighbors;
mod output;
#[cfg(feature = "evaluation")]
mod output_file;
mod page_of_session;
mod pins;
mod profiles;
mod recommend;
mod recommendation;
mod record;
#[cfg(feature = "evaluation")]
mod replay;
mod rerank_arg;
mod runtime;
mod serve;
mod server_parts;
mod similar;
#[cfg(feature = "evaluation")]
mod simulate;
mod status;
mod stop_signal;
mod surface_args;
mod switch;
mod table;
mod text_id_args;
mod times;
#[cfg(feature = "evaluation")]
mod tune;
mod user_requests;
mod users;
mod versions;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Settings, SettingsError};
use crate::telemetry;
use crate::terminal::printable_lines;

/// Exit code for settings that are refused (EX_USAGE of sysexits.h).
const BAD_SETTINGS: u8 = 64;
/// Exit code of a nightly job that has nothing to build from.
const NOTHING_TO_BUILD: u8 = 3;

/// Personalized candidate lists from user actions.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// Settings in TOML that change the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build a catalog: the index over all pins.
    #[command(subcommand)]
    Catalog(catalog::CatalogCommand),
    /// Build or export profiles: the interests of all users.
    #[command(subcommand)]
    Profiles(profiles::ProfilesCommand),
    /// Build profiles from the archive of a server: the nightly job of a small site.
    ///
    /// Builds profiles as of now and the neighbor lists that are missing, and removes old
    /// versions of the profiles. Exit code 3: the archive has no actions yet.
    Daily(daily::DailyArgs),
    /// Compute the neighbor lists of medoids that are missing.
    ///
    /// `profiles build` does so at its end; this resumes it after it was stopped.
    Neighbors(neighbors::NeighborsArgs),
    /// Replay recorded actions, and measure what would have been recommended.
    ///
    /// For each day, candidates from actions before it are compared with the actions
    /// from then on: the share of them that is near a candidate (relevance) or is one
    /// (recall), and the diversity of the candidates.
    #[cfg(feature = "evaluation")]
    Evaluate(evaluate::EvaluateArgs),
    /// Propose alpha, lambda and the merge strategy for a data set.
    ///
    /// Compares their values by replays of a validation period, as `evaluate` does, and
    /// writes settings. A present value that is not evidently behind the best one stays.
    #[cfg(feature = "evaluation")]
    Tune(tune::TuneArgs),
    /// Generate pins, and actions of users, in a world whose truth is known.
    ///
    /// Writes pins.parquet and actions.parquet for `catalog build` and `evaluate`, and
    /// truth.parquet: each period in which a user was interested in a topic.
    #[cfg(feature = "evaluation")]
    Simulate(simulate::SimulateArgs),
    /// Serve recommendations over gRPC.
    Serve(serve::ServeArgs),
    /// Fetch candidates for a user from a running server.
    Recommend(recommend::RecommendArgs),
    /// Fetch pins like others from a running server.
    Similar(similar::SimilarArgs),
    /// Fetch the interests of a user from a running server.
    Explain(explain::ExplainArgs),
    /// Record actions of a user on a running server.
    Record(record::RecordArgs),
    /// Export the actions that a running server keeps, or import others.
    #[command(subcommand)]
    Actions(actions::ActionsCommand),
    /// Send the same requests to two servers, and show how their answers differ.
    Diff(diff::DiffArgs),
    /// Write requests for a load test.
    Users(users::UsersArgs),
    /// Show what a running server serves.
    Status(status::StatusArgs),
    /// List the versions that a running server has, and what is known of each.
    Versions(versions::VersionsArgs),
    /// Serve other versions on a running server, until it follows again.
    ///
    /// They are pinned: what is published waits until `load --follow`.
    Load(versions::LoadArgs),
    /// Serve what a running server served before its last change.
    ///
    /// It is pinned: what is published waits until `load --follow`.
    Rollback(versions::RollbackArgs),
    /// Add, replace, delete or list single pins of a running server.
    #[command(subcommand)]
    Pins(pins::PinsCommand),
    /// Back up what a running server keeps below --data, and restore it.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Check whether a server serves.
    Health(health::HealthArgs),
    /// Build and serve the sample data, and show the candidates of a user.
    Demo(demo::DemoArgs),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Cli { config, command } = Cli::parse();
    let done = Settings::load(config.as_deref())
        .map_err(Into::into)
        .and_then(|settings| {
            // Spans are exported until it is dropped.
            let _exporting = telemetry::init(&settings.log, &settings.trace)?;
            run(command, settings, config)
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", printable_lines(&format!("{error:#}")));
            if error.is::<SettingsError>() {
                ExitCode::from(BAD_SETTINGS)
            } else if error.is::<daily::NothingToBuild>() {
                ExitCode::from(NOTHING_TO_BUILD)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command: Command, settings: Settings, config: Option<PathBuf>) -> anyhow::Result<()> {
    match command {
        Command::Catalog(command) => catalog::run(command, &settings),
        Command::Profiles(command) => profiles::run(command, settings),
        Command::Daily(args) => daily::run(&args, &settings),
        Command::Neighbors(args) => neighbors::run(&args, &settings),
        #[cfg(feature = "evaluation")]
        Command::Evaluate(args) => evaluate::run(args, &settings),
        #[cfg(feature = "evaluation")]
        Command::Tune(args) => tune::run(args, &settings),
        #[cfg(feature = "evaluation")]
        Command::Simulate(args) => simulate::run(&args),
        Command::Serve(args) => serve::run(args, &settings, config),
        Command::Recommend(args) => recommend::run(args),
        Command::Similar(args) => similar::run(args),
        Command::Explain(args) => explain::run(&args),
        Command::Record(args) => record::run(&args),
        Command::Actions(command) => actions::run(command),
        Command::Diff(args) => diff::run(&args),
        Command::Users(args) => users::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Versions(args) => versions::list(&args),
        Command::Load(args) => versions::load(args),
        Command::Rollback(args) => versions::roll_back(&args),
        Command::Pins(command) => pins::run(command),
        Command::Data(command) => data::run(command),
        Command::Health(args) => health::run(args),
        Command::Demo(args) => demo::run(args, &settings, config),
    }
}
