//! The online shell. [`run`] serves until it is told to stop.

mod middleware;
mod overload;
mod params;
mod rpc;
mod security;
mod state;
mod status;
mod transport;

pub use overload::params::OverloadParams;
pub use params::ServerParams;
pub use security::callers::CallersError;
pub use security::credentials::{AuthParams, SecurityParams};
pub use security::tls::{TlsError, TlsParams};
pub use state::live::{DataParams, LoadError, Loaded, Parts, Source};
pub use state::user_context::AnswerParams;
pub use transport::connections::ConnectionParams;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::actions::Actions;
use crate::model::Timestamp;
use crate::snapshot::SnapshotError;
use overload::limiter::Limiter;
use overload::workers::Workers;
use security::credentials::Secrets;
use state::live::Live;
use state::recall_probe::Probe;
use state::reload::Versions;
use transport::drain::Phase;

/// How often actions that are too old are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
/// Candidates of a request that does not say how many.
const DEFAULT_LIMIT: usize = 400;
/// Medoids to sample for a request that does not say how many.
const DEFAULT_MEDOIDS: usize = 3;

/// The sockets that a server listens on.
#[derive(Debug)]
pub struct Listeners {
    grpc: TcpListener,
    ops: TcpListener,
}

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct ServeParams {
    /// Settings of the server; its addresses are those of [`Listeners`].
    pub server: ServerParams,
    /// Limits of connections.
    pub connections: ConnectionParams,
    /// Certificates and callers.
    pub security: SecurityParams,
    /// Limits of calls and searches.
    pub overload: OverloadParams,
    /// Where `/metrics` comes from; none answers with an empty page.
    pub metrics: Option<PrometheusHandle>,
    /// Tells the time of an answer.
    pub clock: fn() -> Timestamp,
    /// What shapes an answer beside the request.
    pub answers: AnswerParams,
}

/// Why a server stopped, other than being told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError<E> {
    /// What should be served could not be loaded.
    #[error(transparent)]
    Load(E),
    /// What is served turned out to be damaged, once all of it was read.
    #[error(transparent)]
    Damaged(SnapshotError),
    /// The port for metrics and probes failed.
    #[error("serving metrics and probes failed")]
    Ops(#[from] io::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The list of callers cannot be used.
    #[error(transparent)]
    Callers(#[from] CallersError),
    /// The workers could not be started.
    #[error("the threads of the workers could not be started")]
    Workers(#[from] rayon::ThreadPoolBuildError),
    /// A part of the server died, which is a defect of ours.
    #[error("a part of the server died")]
    Died(#[from] tokio::task::JoinError),
}

impl Listeners {
    /// Binds both sockets; port 0 takes any free one. The error names the address.
    pub async fn bind(grpc: SocketAddr, ops: SocketAddr) -> io::Result<Self> {
        let bind = async |address: SocketAddr| {
            let named = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
            TcpListener::bind(address).await.map_err(named)
        };
        Ok(Self {
            grpc: bind(grpc).await?,
            ops: bind(ops).await?,
        })
    }

    /// Where gRPC is served.
    pub fn grpc_address(&self) -> io::Result<SocketAddr> {
        self.grpc.local_addr()
    }

    /// Where metrics and probes are served.
    pub fn ops_address(&self) -> io::Result<SocketAddr> {
        self.ops.local_addr()
    }
}

/// Serves what `load` makes of `source`, and what is published there later, until
/// `shutdown` is done.
///
/// Both ports answer at once: health says NOT_SERVING and calls are answered
/// UNAVAILABLE until everything is loaded and warmed; `ready` is called then. Files
/// that are only mapped are checked while it serves already; it stops when one of
/// them is damaged.
///
/// After `shutdown` health says NOT_SERVING, and the server goes on for `drain_delay`
/// so that everybody can notice; then connections are told to go, and calls in flight
/// have `drain_timeout` to end.
pub async fn run<E: Send + 'static>(
    listeners: Listeners,
    params: ServeParams,
    source: Source,
    load: impl FnOnce(&Source) -> Result<Parts, E> + Send + 'static,
    ready: impl FnOnce(&Loaded, Option<&Actions>),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError<E>> {
    let secrets = Secrets::open(params.security.clone())?;
    let live = Arc::new(Live::default());
    let (mut health, health_service) = tonic_health::server::health_reporter();
    announce(&health, ServingStatus::NotServing).await;
    let (phase, phases) = watch::channel(Phase::Open);

    let workers = Workers::new()?;
    let limiter = Limiter::new(params.overload.clone(), workers.count(), Instant::now());
    let limiter = Arc::new(limiter);
    let versions = Versions::new(live.clone(), source.clone(), params.clock)?;
    let versions = Arc::new(versions);
    let parts = rpc::routes::Parts {
        probe: Probe::new(&params.server)?,
        live: live.clone(),
        workers,
        limiter: limiter.clone(),
        versions: versions.clone(),
        guard: secrets.guard(),
        phases: phases.clone(),
    };
    let service = rpc::routes::service(parts, health_service, &params);
    let listener_parts = transport::connections::ListenerParts {
        listener: listeners.grpc,
        tls: secrets.tls(),
        params: params.connections.clone(),
    };
    let mut serving = tokio::spawn(transport::connections::serve(
        listener_parts,
        service,
        phases.clone(),
    ));
    let operators = transport::ops::Parts {
        live: live.clone(),
        limiter,
        phases,
        metrics: params.metrics.clone(),
    };
    let mut ops = tokio::spawn(transport::ops::serve(listeners.ops, operators));

    let until_told = async {
        let mut shutdown = std::pin::pin!(shutdown);
        let loading = tokio::task::spawn_blocking(move || load(&source));
        let loaded = tokio::select! {
            loaded = loading => loaded?.map_err(ServeError::Load)?,
            () = &mut shutdown => return Ok(()),
        };
        let Parts { loaded, kept } = loaded;
        let loaded = Arc::new(loaded);
        if let Some((actions, changed_pins)) = kept {
            live.keep(Arc::new(actions), Arc::new(changed_pins));
        }
        live.serve(loaded.clone());
        announce(&health, ServingStatus::Serving).await;
        ready(&loaded, live.actions().map(Arc::as_ref));
        tokio::select! {
            damaged = check(loaded) => damaged,
            () = forget(live.actions().cloned(), params.clock) => Ok(()),
            () = watch(versions, params.server.watch) => Ok(()),
            () = secrets.watch() => Ok(()),
            () = &mut shutdown => Ok(()),
        }
    };
    let (ended, grpc_ended) = tokio::select! {
        told = until_told => (told, false),
        died = &mut serving => (died.map_err(ServeError::from), true),
        failed = &mut ops => (flat(failed), false),
    };
    // From here on in this order whatever has ended, so that nothing is left behind.
    announce(&health, ServingStatus::NotServing).await;
    // Nobody listens any more only when both servers have failed already.
    let _ = phase.send(Phase::Draining);
    if ended.is_ok() && live.get().is_some() {
        tokio::time::sleep(params.server.drain_delay).await;
    }
    let _ = phase.send(Phase::Closing);
    // Clients that watch health have been told; their streams would never end.
    for name in HEALTH_NAMES {
        health.clear_service_status(name).await;
    }
    let mut drained = Ok(());
    if !grpc_ended {
        match tokio::time::timeout(params.server.drain_timeout, &mut serving).await {
            Ok(served) => drained = served.map_err(ServeError::from),
            Err(_) => {
                tracing::warn!("calls in flight did not end in time and are given up");
                serving.abort();
            }
        }
    }
    ops.abort();
    ended.and(drained)
}

/// Checks what is only mapped. Ends when that is damaged.
async fn check<E>(loaded: Arc<Loaded>) -> Result<(), ServeError<E>> {
    match tokio::task::spawn_blocking(move || loaded.check_mapped()).await? {
        Ok(()) => std::future::pending().await,
        Err(damage) => Err(ServeError::Damaged(damage)),
    }
}

/// Takes over new versions, if it should. Never ends.
async fn watch(versions: Arc<Versions>, every: Option<Duration>) {
    match every {
        Some(every) => versions.watch(every).await,
        None => std::future::pending().await,
    }
}

/// Forgets what is too old, every so often. Never ends.
async fn forget(actions: Option<Arc<Actions>>, clock: fn() -> Timestamp) {
    let Some(actions) = actions else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval(FORGET_EVERY);
    // The first is at once, when it has just been done.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let actions = actions.clone();
        match tokio::task::spawn_blocking(move || actions.forget(clock())).await {
            Ok(Ok(forgotten)) => tracing::info!(forgotten, "forgot actions that are too old"),
            Ok(Err(error)) => tracing::warn!(%error, "old actions could not be forgotten"),
            // A panic has said so itself.
            Err(_) => {}
        }
    }
}

/// How a part of the server ended.
fn flat<E, F>(ended: Result<Result<(), F>, tokio::task::JoinError>) -> Result<(), ServeError<E>>
where
    ServeError<E>: From<F>,
{
    Ok(ended??)
}

/// What health is asked about: the whole server, and each service.
const HEALTH_NAMES: [&str; 3] = [
    "",
    crate::wire::v1::action_service_server::SERVICE_NAME,
    crate::wire::v1::recommendation_service_server::SERVICE_NAME,
];

async fn announce(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}
