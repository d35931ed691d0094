//! `pinnersage serve`.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::actions::{ActionParams, Actions, StateParams};
use crate::config::{OverloadSettings, Settings, SettingsError};
use crate::index::IndexParams;
use crate::model::{ActionWeights, Timestamp};
use crate::serve::{
    AdmissionParams, AnswerParams, ConnectionParams, DataParams, InitialState, Listeners, Loaded,
    OverloadParams, ProbeParams, RateParams, SecurityParams, ServeParams, ServingSource, Startup,
    TlsParams,
};

/// Exit code of a server that was told twice to stop.
const TOLD_TWICE: i32 = 70;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Catalog to serve.
    #[arg(long, value_name = "DIR")]
    catalog: PathBuf,
    /// Profiles to serve, of the same embedding version.
    #[arg(long, value_name = "DIR")]
    profiles: PathBuf,
    /// Where actions and changed pins are kept; without it the server takes none.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
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
        let source = ServingSource {
            catalog: args.catalog,
            profiles: args.profiles,
            index: index_params(settings),
            popularity: settings.recommend.popularity,
        };
        let data = args.data.map(|data| data_params(data, settings));
        let load = move |source: &ServingSource| InitialState::open(source, data, now());
        let on_ready = |loaded: &Loaded, actions: Option<&Actions>| {
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
        };
        let params = serve_params(settings, metrics)?;
        let startup = Startup {
            source,
            load,
            on_ready,
        };
        crate::serve::run(listeners, params, startup, stop_signal()?).await?;
        tracing::info!("stopped");
        Ok(())
    })
}

pub(super) fn serve_params(
    settings: &Settings,
    metrics: PrometheusHandle,
) -> anyhow::Result<ServeParams> {
    let Settings {
        serve,
        connections,
        overload,
        actions,
        feedback,
        ..
    } = settings;
    Ok(ServeParams {
        max_request_size: serve.max_request_size.as_u64() as usize,
        connections: ConnectionParams {
            max_connections: connections.max,
            handshake_timeout: connections.handshake_timeout,
            max_age: Some(connections.max_age).filter(|age| !age.is_zero()),
            keepalive_interval: connections.keepalive_interval,
            keepalive_timeout: connections.keepalive_timeout,
            max_concurrent_streams: connections.max_concurrent_streams as u32,
            max_header_size: connections.max_header_size.as_u64() as u32,
        },
        security: security_params(settings),
        max_deadline: serve.max_deadline,
        gate: AdmissionParams {
            max_calls: overload.max_calls,
            rate: rate_params(overload)?,
        },
        overload: OverloadParams {
            min_in_flight: overload.min_in_flight,
            max_in_flight: overload.max_in_flight,
            queue: overload.queue,
            target_wait: overload.target_wait,
            min_effort: overload.min_effort,
        },
        probe: ProbeParams {
            one_in: serve.probe_one_in,
            cpu: serve.probe_cpu,
        },
        drain_delay: serve.drain_delay,
        drain_timeout: serve.drain_timeout,
        metrics: Some(metrics),
        clock: now,
        max_ahead_days: days(actions.max_ahead),
        answers: AnswerParams {
            seen_days: days(actions.seen_life),
            clustered: actions.clustered,
            silenced_by: actions.silenced_by,
            feedback_prior: feedback.enabled.then_some(feedback.prior),
        },
        watch: Some(serve.watch).filter(|every| !every.is_zero()),
    })
}

fn security_params(settings: &Settings) -> SecurityParams {
    let Settings { tls, auth, .. } = settings;
    let given = |path: &PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
    let certified = given(&tls.certificate).zip(given(&tls.key));
    SecurityParams {
        tls: certified.map(|(certificate, key)| TlsParams {
            certificate,
            key,
            client_ca: given(&tls.client_ca),
        }),
        callers: given(&auth.callers),
        reload: auth.reload,
    }
}

fn rate_params(overload: &OverloadSettings) -> Result<Option<RateParams>, SettingsError> {
    let name = &overload.rate_key_header;
    let refused = || SettingsError::Value {
        key: "overload.rate_key_header",
        value: name.clone(),
        rule: "the name of a header".to_owned(),
    };
    let header = name.to_lowercase().parse().map_err(|_| refused())?;
    let limits = NonZeroU32::new(overload.rate_limit).zip(NonZeroU32::new(overload.rate_burst));
    Ok(limits.map(|(rate, burst)| RateParams {
        rate,
        burst,
        header,
    }))
}

pub(super) fn data_params(directory: PathBuf, settings: &Settings) -> DataParams {
    let Settings {
        actions, profiles, ..
    } = settings;
    let actions = ActionParams {
        weights: ActionWeights::new(profiles.action_weights.clone()),
        state: StateParams {
            positive: actions.positive,
            negative: actions.negative,
            seen: actions.seen,
            engaged: actions.engaged,
        },
        retention_days: days(actions.retention),
    };
    DataParams {
        directory,
        actions,
        max_changed_pins: settings.serve.max_changed_pins,
    }
}

fn days(duration: Duration) -> f64 {
    duration.as_secs_f64() / 86_400.0
}

pub(super) fn index_params(settings: &Settings) -> IndexParams {
    IndexParams {
        ef_search: settings.index.ef_search,
        depth: settings.neighbors.depth,
        cache_bytes: settings.neighbors.cache.as_u64(),
    }
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Done when the process is told to stop, by SIGTERM or ctrl-c. Being told twice ends
/// it at once: what was acknowledged is on disk already.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut told = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(async move {
        told().await;
        tracing::info!("stopping: a second signal ends it at once");
        tokio::spawn(async move {
            told().await;
            tracing::warn!("told twice to stop: ending at once");
            std::process::exit(TOLD_TWICE);
        });
    })
}
