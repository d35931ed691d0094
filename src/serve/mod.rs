//! The online shell. [`run`] serves until it is told to stop.

mod actions;
mod admin;
mod catalog;
mod convert;
mod live;
mod observe;
mod ops;
mod pins;
mod recommendation;
mod status;
mod user;
mod versions;
mod workers;

pub use live::{DataParams, LoadError, Loaded, Parts, Source};
pub use user::RecentParams;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::actions::Actions;
use crate::model::Timestamp;
use crate::snapshot::SnapshotError;
use crate::wire::DESCRIPTORS;
use crate::wire::v1::action_service_server::ActionServiceServer;
use crate::wire::v1::admin_service_server::AdminServiceServer;
use crate::wire::v1::catalog_service_server::CatalogServiceServer;
use crate::wire::v1::recommendation_service_server::RecommendationServiceServer;
use live::Live;

/// How often actions that are too old are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
/// Largest call that records actions, in bytes: a thousand of the longest have less.
/// Small ones take many times their size once they are read.
const MAX_ACTIONS_SIZE: usize = 256 << 10;
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
    /// Largest request that is read, in bytes.
    pub max_request_size: usize,
    /// How long calls in flight may take to end.
    pub drain_timeout: Duration,
    /// Where `/metrics` comes from; none answers with an empty page.
    pub metrics: Option<PrometheusHandle>,
    /// Tells the time of an answer.
    pub clock: fn() -> Timestamp,
    /// How far ahead of the clock an action may be, in days.
    pub max_ahead_days: f64,
    /// How recent actions change what is answered.
    pub recent: RecentParams,
    /// How often to look for new versions; none for never.
    pub watch: Option<Duration>,
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
    /// The sockets or the threads of the server failed.
    #[error("serving failed")]
    Transport(#[from] tonic::transport::Error),
    /// The port for metrics and probes failed.
    #[error("serving metrics and probes failed")]
    Ops(#[from] io::Error),
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
/// After `shutdown` calls in flight have `drain_timeout` to end.
pub async fn run<E: Send + 'static>(
    listeners: Listeners,
    params: ServeParams,
    source: Source,
    load: impl FnOnce(&Source) -> Result<Parts, E> + Send + 'static,
    ready: impl FnOnce(&Loaded, Option<&Actions>),
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError<E>> {
    let live = Arc::new(Live::default());
    let (mut health, health_service) = tonic_health::server::health_reporter();
    announce(&health, ServingStatus::NotServing).await;
    let (stop, stopped) = watch::channel(false);

    let recommendations = recommendation::Service {
        live: live.clone(),
        workers: workers::Workers::new()?,
        clock: params.clock,
        recent: params.recent,
    };
    let actions = actions::Service {
        live: live.clone(),
        clock: params.clock,
        max_ahead_days: params.max_ahead_days,
    };
    let versions = versions::Versions::new(live.clone(), source.clone(), params.clock)?;
    let versions = Arc::new(versions);
    let administration = admin::Service {
        live: live.clone(),
        versions: versions.clone(),
    };
    let server = Server::builder()
        .layer(observe::ObserveLayer)
        .add_service(health_service)
        .add_service(reflection_v1())
        .add_service(reflection_v1alpha())
        .add_service(
            RecommendationServiceServer::new(recommendations)
                .max_decoding_message_size(params.max_request_size),
        )
        .add_service(AdminServiceServer::new(administration))
        .add_service(
            CatalogServiceServer::new(catalog::Service { live: live.clone() })
                .max_decoding_message_size(params.max_request_size),
        )
        .add_service(
            ActionServiceServer::new(actions)
                .max_decoding_message_size(params.max_request_size.min(MAX_ACTIONS_SIZE)),
        );
    // Without this an answer in two segments waits 40 ms for the client's delayed
    // acknowledgement; the option of the builder is for listeners of its own.
    let incoming = TcpIncoming::from(listeners.grpc).with_nodelay(Some(true));
    let serving = server.serve_with_incoming_shutdown(incoming, told(stopped.clone()));
    let mut serving = tokio::spawn(serving);
    let ops = ops::serve(listeners.ops, live.clone(), params.metrics, told(stopped));
    let mut ops = tokio::spawn(ops);

    let until_told = async {
        let mut shutdown = std::pin::pin!(shutdown);
        tokio::select! {
            loaded = tokio::task::spawn_blocking(move || load(&source)) => {
                let Parts { loaded, kept } = loaded?.map_err(ServeError::Load)?;
                let loaded = Arc::new(loaded);
                if let Some((actions, changed_pins)) = kept {
                    live.keep(Arc::new(actions), Arc::new(changed_pins));
                }
                live.serve(loaded.clone());
                announce(&health, ServingStatus::Serving).await;
                ready(&loaded, live.actions().map(Arc::as_ref));
                let mut checking = tokio::task::spawn_blocking(move || loaded.check_mapped());
                let watching = async {
                    match params.watch {
                        Some(every) => versions.watch(every).await,
                        None => std::future::pending().await,
                    }
                };
                let damaged = async {
                    match (&mut checking).await? {
                        Ok(()) => std::future::pending().await,
                        Err(damage) => Err::<(), _>(ServeError::Damaged(damage)),
                    }
                };
                let forgetting = forget(live.actions().cloned(), params.clock);
                tokio::select! {
                    ended = damaged => ended?,
                    () = forgetting => {}
                    () = watching => {}
                    () = &mut shutdown => {}
                }
            }
            () = &mut shutdown => {}
        }
        Ok::<(), ServeError<E>>(())
    };
    let (ended, grpc_ended) = tokio::select! {
        told = until_told => (told, false),
        failed = &mut serving => (flat(failed), true),
        failed = &mut ops => (flat(failed), false),
    };
    // From here on in this order whatever has ended, so that nothing is left behind.
    announce(&health, ServingStatus::NotServing).await;
    // Nobody listens any more only when both servers have failed already.
    let _ = stop.send(true);
    // Clients that watch health have been told; their streams would never end.
    for name in HEALTH_NAMES {
        health.clear_service_status(name).await;
    }
    let mut drained = Ok(());
    if !grpc_ended {
        match tokio::time::timeout(params.drain_timeout, &mut serving).await {
            Ok(served) => drained = flat(served),
            Err(_) => {
                tracing::warn!("calls in flight did not end in time and are given up");
                serving.abort();
            }
        }
    }
    ops.abort();
    ended.and(drained)
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

async fn told(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a reason to stop too.
    let _ = stopped.wait_for(|&stopped| stopped).await;
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

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

fn reflection_v1() -> tonic_reflection::server::v1::ServerReflectionServer<
    impl tonic_reflection::server::v1::ServerReflection,
> {
    reflection()
        .build_v1()
        .expect("the descriptors were made by the compiler of the protos")
}

fn reflection_v1alpha() -> tonic_reflection::server::v1alpha::ServerReflectionServer<
    impl tonic_reflection::server::v1alpha::ServerReflection,
> {
    reflection()
        .build_v1alpha()
        .expect("the descriptors were made by the compiler of the protos")
}
