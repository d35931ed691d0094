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
use super::{catalog, explain, neighbors, out, profiles, recommend, serve};
use crate::actions::Actions;
use crate::batch::{CatalogParams, ChangeFiles, build_catalog, build_profiles};
use crate::config::Settings;
use crate::index::Catalog;
use crate::model::Timestamp;
use crate::progress::Progress;
use crate::serve::{InitialState, Listeners, Loaded, ServeParams, ServingSource, Startup};
use crate::store::ProfilesReader;

/// Where the sample data lies in a checkout.
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/complete-journey");
/// The embeddings of the sample were made from what happened before this day.
const AS_OF: &str = "2017-10-01";
const EMBEDDING_VERSION: &str = "complete-journey-64";
/// A user with this many interests makes a good example.
const MANY_INTERESTS: usize = 8;
const CANDIDATES_SHOWN: u32 = 15;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Show this user [default: the first with 8 interests or more].
    #[arg(long, value_name = "ID")]
    user: Option<u64>,
    /// Directory with pins.parquet and actions_300_users.parquet.
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,
    /// Where catalog and profiles are kept [default: the user's cache].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Where to serve gRPC [default: serve.listen].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where to serve /metrics, /livez and /readyz [default: serve.ops_listen].
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<SocketAddr>,
}

pub(super) fn run(args: DemoArgs, settings: &Settings) -> anyhow::Result<()> {
    let pins = args.data.join("pins.parquet");
    let actions = args.data.join("actions_300_users.parquet");
    let cache = match args.cache {
        Some(cache) => cache,
        None => default_cache(),
    };
    let place = cache.join(key(&[&pins, &actions], settings)?);
    let (catalog, profiles) = (place.join("catalog"), place.join("profiles"));
    if Catalog::open(&catalog).is_err() || ProfilesReader::open(&profiles).is_err() {
        build(pins, actions, &catalog, &profiles, settings)?;
    }
    let reader = ProfilesReader::open(&profiles)?;
    let user = args
        .user
        .or_else(|| example_user(&reader))
        .context("the sample has no users")?;
    drop(reader);

    let metrics = crate::metrics::install().context("metrics")?;
    super::block_on(async {
        let grpc = args.listen.unwrap_or(settings.serve.listen);
        let ops = args.ops_listen.unwrap_or(settings.serve.ops_listen);
        let listeners = Listeners::bind(grpc, ops).await?;
        let (grpc, ops) = (listeners.grpc_address()?, listeners.ops_address()?);
        let source = ServingSource {
            catalog,
            profiles,
            index: serve::index_params(settings),
            popularity: settings.recommend.popularity,
        };
        let data = Some(serve::data_params(place.join("data"), settings));
        let load = move |source: &ServingSource| InitialState::open(source, data, serve::now());
        let on_ready = |_: &Loaded, _: Option<&Actions>| {
            tokio::spawn(async move {
                if let Err(error) = show(user, grpc, ops).await {
                    tracing::error!("{error:#}");
                }
            });
        };
        let params = ServeParams {
            // Nobody has to notice the end but who sits in front of it.
            drain_delay: Duration::ZERO,
            ..serve::serve_params(settings, metrics)?
        };
        let startup = Startup {
            source,
            load,
            on_ready,
        };
        crate::serve::run(listeners, params, startup, serve::stop_signal()?).await?;
        Ok(())
    })
}

fn build(
    pins: PathBuf,
    actions: PathBuf,
    catalog: &Path,
    profiles: &Path,
    settings: &Settings,
) -> anyhow::Result<()> {
    let params = CatalogParams {
        embedding_version: EMBEDDING_VERSION.to_owned(),
        min_quality: None,
        changes: ChangeFiles::default(),
        graph: catalog::graph_params(settings),
    };
    let progress = Progress::for_stderr();
    let manifest = build_catalog(&[pins], catalog, &params, progress)?;
    out::print(&catalog::summary(&manifest, catalog))?;
    let as_of: Timestamp = AS_OF.parse()?;
    let mut params = profiles::profile_params(&settings.profiles, as_of);
    // People buy the same groceries again: what they had is no worse for that.
    params.history_filter = false;
    let manifest = build_profiles(&[actions], catalog, profiles, &params, progress)?;
    out::print(&profiles::summary(&manifest, profiles))?;
    neighbors::make(catalog, profiles, &settings.neighbors, progress)?;
    out::print(&"")
}

/// The place for things that can be made again, by the conventions of the
/// desktop, else beside the other temporary files.
fn default_cache() -> PathBuf {
    let named = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    named
        .or_else(home)
        .unwrap_or_else(env::temp_dir)
        .join("pinnersage")
}

/// A name for what is built from these files with these settings.
fn key(files: &[&Path], settings: &Settings) -> anyhow::Result<String> {
    let mut hash = Xxh3::new();
    for path in files {
        let contents = fs::read(path);
        hash.update(&contents.with_context(|| path.display().to_string())?);
    }
    let Settings {
        index,
        neighbors,
        profiles,
        recommend: _,
        actions: _,
        feedback: _,
        serve: _,
        connections: _,
        tls: _,
        auth: _,
        overload: _,
        log: _,
        trace: _,
    } = settings;
    hash.write(
        format!(
            "{index:?} {neighbors:?} {profiles:?} {}",
            env!("CARGO_PKG_VERSION")
        )
        .as_bytes(),
    );
    Ok(format!("demo-{:016x}", hash.digest()))
}

fn example_user(profiles: &ProfilesReader) -> Option<u64> {
    let many = profiles
        .iter()
        .find(|(_, profile)| profile.medoids.len() >= MANY_INTERESTS);
    many.or_else(|| profiles.iter().next())
        .map(|(user, _)| user.0)
}

async fn show(user: u64, grpc: SocketAddr, ops: SocketAddr) -> anyhow::Result<()> {
    let url = format!("http://{grpc}");
    let server = ServerArgs::new(url.clone());
    explain::show(user, &server).await?;
    out::print(&"")?;
    recommend::show(user, CANDIDATES_SHOWN, &server).await?;
    let command = env::args()
        .next()
        .unwrap_or_else(|| "pinnersage".to_owned());
    out::print(&format!(
        "
Serving at {grpc} until ctrl-c. In another terminal:
  {command} recommend --user {user} --server {url}
  {command} explain --user {user} --server {url}
  {command} record --user {user} --pin PIN --server {url}
  grpcurl -plaintext -d '{{\"user_id\": {user}, \"limit\": 5}}' {grpc} \\
    pinnersage.v1.RecommendationService/Recommend
  curl http://{ops}/metrics"
    ))
}
