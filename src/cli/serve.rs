//! `pinnersage serve`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context;
use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::{ServeSettings, Settings};
use crate::index::IndexParams;
use crate::model::Timestamp;
use crate::serve::{Listeners, Loaded, ServeParams};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Catalogue to serve.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Profiles to serve, of the same embedding version.
    #[arg(long, value_name = "DIR")]
    profiles: PathBuf,
    /// Where to serve gRPC [default: serve.listen].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where to serve /metrics, /livez and /readyz [default: serve.ops_listen].
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<SocketAddr>,
}

pub(super) fn run(args: ServeArgs, settings: &Settings) -> anyhow::Result<()> {
    let serve = &settings.serve;
    let metrics = crate::metrics::install().context("metrics")?;
    super::block_on(async {
        let grpc = args.listen.unwrap_or(serve.listen);
        let ops = args.ops_listen.unwrap_or(serve.ops_listen);
        let listeners = Listeners::bind(grpc, ops).await?;
        let (grpc, ops) = (listeners.grpc_address()?, listeners.ops_address()?);
        tracing::info!(%grpc, %ops, "listening");
        let index = index_params(settings);
        let load = move || Loaded::open(&args.catalog, &args.profiles, index);
        let ready = |loaded: &Loaded| {
            let catalog = loaded.catalog().manifest();
            let profiles = loaded.profiles().manifest();
            tracing::info!(
                catalog = catalog.version,
                pins = catalog.facts.pins,
                profiles = profiles.version,
                users = profiles.facts.users,
                neighbor_lists = loaded.index().lists().len(),
                "ready"
            );
        };
        let params = serve_params(serve, metrics);
        crate::serve::run(listeners, params, load, ready, stop_signal()?).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

pub(super) fn serve_params(settings: &ServeSettings, metrics: PrometheusHandle) -> ServeParams {
    ServeParams {
        max_request_size: settings.max_request_size.as_u64() as usize,
        drain_timeout: settings.drain_timeout,
        metrics: Some(metrics),
        clock: now,
    }
}

pub(super) fn index_params(settings: &Settings) -> IndexParams {
    IndexParams {
        ef_search: settings.index.ef_search,
        depth: settings.neighbors.depth,
        cache_bytes: settings.neighbors.cache.as_u64(),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Done when the process is told to stop, by SIGTERM or ctrl-c.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}
