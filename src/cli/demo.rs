//! `pinnersage demo`: the whole pipeline on the sample data.

use std::hash::Hasher;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use anyhow::Context;
use clap::Args;
use xxhash_rust::xxh3::Xxh3;

use super::client::ServerArgs;
use super::clock::now;
use super::id_or_key::IdOrKey;
use super::runtime::block_on;
use super::server_parts::{data_params, keep_files_private, serve_params, source, surfaces};
use super::stop_signal::stop_signal;
use super::{build_steps, interest_list, output, recommendation};
use crate::actions::Actions;
use crate::batch::{
    AttributeColumns, BadRowParams, CatalogParams, ChangeFiles, Duplicates, NegativeLimits,
    ProfileInput, ProfileParams, TextIds, shift_actions,
};
use crate::config::Settings;
use crate::index::Catalog;
use crate::model::Timestamp;
use crate::progress::Progress;
use crate::serve::{InitialState, Listeners, Loaded, ServingSource, Startup};
use crate::store::{ErasedThrough, ProfilesReader};

/// Directory of the sample data in a checkout.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/complete-journey");
const EMBEDDING_VERSION: &str = "complete-journey-64";
/// A user with this many interests makes a good example.
const MANY_INTERESTS: usize = 8;
const CANDIDATES_SHOWN: u32 = 15;
/// An attribute of the sample's pins, and a filter by it to try.
const EXAMPLE_ATTRIBUTE: &str = "department";
const EXAMPLE_FILTER: &str = r#"{"must": [{"attribute": "department", "any_of": ["Produce"]}]}"#;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// User to show [default: the first with 8 interests or more].
    #[arg(long, value_name = "ID")]
    user: Option<u64>,
    /// Directory with pins.parquet and actions_300_users.parquet.
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,
    /// Directory for the catalog and the profiles [default: the user's cache].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Address to serve gRPC on [default: serve.listen].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address to serve /metrics, /livez and /readyz on [default: serve.ops_listen].
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<SocketAddr>,
}

/// Files of the sample data.
struct SampleFiles {
    pins: PathBuf,
    actions: PathBuf,
}

/// Directories that are built from the sample data.
struct BuiltSample {
    /// The actions of the sample, moved to the present.
    actions: PathBuf,
    catalog: PathBuf,
    profiles: PathBuf,
    /// Actions that are recorded while the demo runs.
    data: PathBuf,
}

/// Builds and serves with `settings`, which are from `file` where there is one.
pub(super) fn run(
    args: DemoArgs,
    settings: &Settings,
    file: Option<PathBuf>,
) -> anyhow::Result<()> {
    keep_files_private();
    let files = SampleFiles {
        pins: args.data.join("pins.parquet"),
        actions: args.data.join("actions_300_users.parquet"),
    };
    let cache = args.cache.unwrap_or_else(default_cache);
    let directory = cache.join(cache_key(&files, settings)?);
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let built = BuiltSample::new(&directory);
    built.build(&files, settings, now().day_start())?;
    let user = match args.user {
        Some(user) => user,
        None => example_user(&built.profiles)?,
    };
    let surfaces = surfaces(settings, file);
    let mut settings = settings.clone();
    settings.serve.listen = args.listen.unwrap_or(settings.serve.listen);
    settings.serve.ops_listen = args.ops_listen.unwrap_or(settings.serve.ops_listen);
    // Only the person in front of it has to notice the end.
    settings.serve.drain_delay = Duration::ZERO;
    let metrics = crate::metrics::install().context("metrics")?;
    let params = serve_params(&settings, surfaces, metrics);
    block_on(async {
        let listeners = Listeners::bind(params.server.listen, params.server.ops_listen).await?;
        let (grpc, ops) = (listeners.grpc_address()?, listeners.ops_address()?);
        let source = source(built.catalog, built.profiles, &settings);
        let data = Some(data_params(built.data, &settings));
        let load = move |source: &ServingSource| InitialState::open(source, data, now());
        let startup = Startup {
            source,
            load,
            on_ready: |loaded: &Loaded, _: Option<&Actions>| {
                show_in_background(user, grpc, ops, example_filter(loaded));
            },
        };
        crate::serve::run(listeners, params, startup, stop_signal()?).await?;
        Ok(())
    })
}

impl BuiltSample {
    fn new(directory: &Path) -> Self {
        Self {
            actions: directory.join("actions.parquet"),
            catalog: directory.join("catalog"),
            profiles: directory.join("profiles"),
            data: directory.join("data"),
        }
    }

    /// Builds what is missing. The profiles are as of `today`, the first moment of a day,
    /// and the last day of the sample is the day before, so that what is recorded while the
    /// demo runs stands beside the old interests.
    fn build(
        &self,
        files: &SampleFiles,
        settings: &Settings,
        today: Timestamp,
    ) -> anyhow::Result<()> {
        let yesterday = today.minus_days(1.0);
        let days = shift_actions(&files.actions, &self.actions, yesterday)?;
        output::print(&format!(
            "The times of the sample are {days} days later here: its last day is yesterday.\n"
        ))?;
        let has_catalog = Catalog::open(&self.catalog).is_ok();
        let is_of_today = |profiles: ProfilesReader| profiles.manifest().facts.as_of == today;
        if has_catalog && ProfilesReader::open(&self.profiles).is_ok_and(is_of_today) {
            return Ok(());
        }
        if !has_catalog {
            self.build_catalog(files, settings)?;
        }
        self.build_profiles(settings, today)?;
        output::print(&"")
    }

    fn build_catalog(&self, files: &SampleFiles, settings: &Settings) -> anyhow::Result<()> {
        let params = CatalogParams {
            embedding_version: EMBEDDING_VERSION.to_owned(),
            min_quality: None,
            attributes: AttributeColumns::Auto,
            attribute_limits: settings.attributes,
            changes: ChangeFiles::default(),
            text_ids: TextIds::Auto,
            bad_rows: BadRowParams::default(),
            graph: settings.index.graph(),
        };
        let pins = std::slice::from_ref(&files.pins);
        build_steps::catalog(pins, &self.catalog, &params, Progress::for_stderr())
    }

    /// Builds profiles, and the neighbor lists of their medoids.
    fn build_profiles(&self, settings: &Settings, as_of: Timestamp) -> anyhow::Result<()> {
        let progress = Progress::for_stderr();
        let input = ProfileInput {
            actions: std::slice::from_ref(&self.actions),
            catalog: &self.catalog,
            text_ids: TextIds::Auto,
            as_of,
            complete_through: None,
            erased_users: None,
            erased_through: &ErasedThrough::default(),
            duplicates: Duplicates::Drop,
            bad_rows: &BadRowParams::default(),
            negative: NegativeLimits::from(&settings.actions.limits),
        };
        let params = ProfileParams {
            // People buy the same groceries again.
            history_filter: false,
            ..settings.profiles.clone()
        };
        build_steps::profiles(&input, &self.profiles, &params, progress)?;
        build_steps::neighbor_lists(&self.catalog, &self.profiles, settings.neighbors, progress)
    }
}

/// The directory for files that can be built again, by the conventions of the desktop,
/// else beside the other temporary files.
fn default_cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let in_home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache
        .or_else(in_home)
        .unwrap_or_else(env::temp_dir)
        .join("pinnersage")
}

/// A name for what is built from these files with these settings.
fn cache_key(files: &SampleFiles, settings: &Settings) -> anyhow::Result<String> {
    let mut hash = Xxh3::new();
    for path in [&files.pins, &files.actions] {
        let contents = fs::read(path);
        hash.update(&contents.with_context(|| path.display().to_string())?);
    }
    // Destructured, so that a new section that shapes the files cannot be forgotten.
    let Settings {
        index,
        neighbors,
        // They only refuse.
        attributes: _,
        filters: _,
        profiles,
        recommend: _,
        actions: _,
        feedback: _,
        serve: _,
        connections: _,
        tls: _,
        auth: _,
        overload: _,
        surfaces: _,
        log: _,
        trace: _,
    } = settings;
    let version = env!("CARGO_PKG_VERSION");
    hash.write(format!("{index:?} {neighbors:?} {profiles:?} {version}").as_bytes());
    Ok(format!("demo-{:016x}", hash.digest()))
}

fn example_user(profiles: &Path) -> anyhow::Result<u64> {
    let profiles = ProfilesReader::open(profiles)?;
    let many = profiles
        .iter()
        .find(|(_, profile)| profile.medoids.len() >= MANY_INTERESTS);
    let user = many.or_else(|| profiles.iter().next());
    let (user, _) = user.context("the sample has no users")?;
    Ok(user.0)
}

/// A filter to try, if the pins have the attribute that it goes by: other data may not.
fn example_filter(loaded: &Loaded) -> Option<&'static str> {
    let definitions = loaded.catalog().attributes.definitions();
    let is_there = definitions.iter().any(|one| one.name == EXAMPLE_ATTRIBUTE);
    is_there.then_some(EXAMPLE_FILTER)
}

fn show_in_background(user: u64, grpc: SocketAddr, ops: SocketAddr, filter: Option<&'static str>) {
    tokio::spawn(async move {
        if let Err(error) = show(user, grpc, ops, filter).await {
            tracing::error!("{error:#}");
        }
    });
}

async fn show(
    user: u64,
    grpc: SocketAddr,
    ops: SocketAddr,
    filter: Option<&str>,
) -> anyhow::Result<()> {
    let url = format!("http://{grpc}");
    let (server, called) = (ServerArgs::new(url.clone()), IdOrKey::Id(user));
    output::print(&interest_list::fetch(&called, &server).await?)?;
    output::print(&"")?;
    let request = recommendation::request(Some(&called), CANDIDATES_SHOWN);
    let shown = recommendation::fetch(Some(&called), request, &server).await?;
    output::print(&shown)?;
    let command = env::args()
        .next()
        .unwrap_or_else(|| "pinnersage".to_owned());
    let filtered = filter.map_or_else(String::new, |filter| {
        format!("  {command} recommend --user {user} --filter '{filter}' --server {url}\n")
    });
    let similar = shown.first_pin().map_or_else(String::new, |pin| {
        format!("  {command} similar --pin {pin} --server {url}\n")
    });
    output::print(&format!(
        "
Serving at {grpc} until ctrl-c. In another terminal:
  {command} recommend --user {user} --server {url}
  {command} recommend --user {user} --limit 5 --pages 2 --server {url}
{filtered}{similar}  {command} explain --user {user} --server {url}
  {command} record --user {user} --pin PIN --server {url}
  grpcurl -plaintext -d '{{\"user_id\": {user}, \"limit\": 5}}' {grpc} \\
    pinnersage.v1.RecommendationService/Recommend
  curl http://{ops}/metrics"
    ))
}
