//! `pinnersage serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;

use super::clock::now;
use super::runtime::block_on;
use super::server_parts::{data_params, keep_files_private, serve_params, source, surfaces};
use super::stop_signal::stop_signal;
use crate::actions::Actions;
use crate::config::Settings;
use crate::durable::ActionLogKind;
use crate::serve::{InitialState, Listeners, Loaded, ServingSource, Startup};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Catalog to serve.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Profiles to serve, of the same embedding version.
    #[arg(long, value_name = "DIR")]
    profiles: PathBuf,
    /// Directory of actions and changed pins; without it the server accepts none.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address to serve gRPC on [default: serve.listen].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address to serve /metrics, /livez and /readyz on [default: serve.ops_listen].
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<SocketAddr>,
}

/// Serves with `settings`, which are from `file` where there is one.
pub(super) fn run(
    args: ServeArgs,
    settings: &Settings,
    file: Option<PathBuf>,
) -> anyhow::Result<()> {
    let metrics = crate::metrics::install().context("metrics")?;
    block_on(async {
        let grpc = args.listen.unwrap_or(settings.serve.listen);
        let ops = args.ops_listen.unwrap_or(settings.serve.ops_listen);
        let listeners = Listeners::bind(grpc, ops).await?;
        let (grpc, ops) = (listeners.grpc_address()?, listeners.ops_address()?);
        tracing::info!(%grpc, %ops, "listening");
        ensure!(
            args.data.is_some() || settings.actions.archive.directory.is_none(),
            "actions.archive is set, but without --data nothing is recorded"
        );
        ensure!(
            args.data.is_some() || settings.actions.log.kind == ActionLogKind::Embedded,
            "actions.log.kind is set, but without --data there is no place for a checkpoint"
        );
        let source = source(args.catalog, args.profiles, settings);
        if args.data.is_some() {
            keep_files_private();
        }
        let data = args.data.map(|data| data_params(data, settings));
        let load = move |source: &ServingSource| InitialState::open(source, data, now());
        let params = serve_params(settings, surfaces(settings, file), metrics);
        if !grpc.ip().is_loopback() && params.security.lets_everybody_call() {
            tracing::warn!(%grpc, "whoever reaches the port may call: set auth.callers or tls.client_ca");
        }
        let startup = Startup {
            source,
            load,
            on_ready: log_ready,
        };
        crate::serve::run(listeners, params, startup, stop_signal()?).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

fn log_ready(loaded: &Loaded, actions: Option<&Actions>) {
    let catalog = loaded.catalog().manifest();
    let profiles = loaded.profiles().manifest();
    tracing::info!(
        catalog = catalog.version,
        pins = catalog.facts.pins,
        profiles = profiles.version,
        users = profiles.facts.users,
        neighbor_lists = loaded.index().lists().len(),
        takes_actions = actions.is_some(),
        "ready"
    );
}
