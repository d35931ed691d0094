//! The life of a server: start, load, serve, drain, in [`run`].

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tonic_health::pb::health_server::{Health, HealthServer};

use super::health::ServiceHealth;
use super::overload::{Limiter, Workers};
use super::security::Credentials;
use super::state::{InitialState, Live, Loaded, Probe, ServingSource, VersionManager};
use super::surfaces::Surfaces;
use super::transport::{ListenerParts, OpsParts, Phase, serve_connections, serve_ops};
use super::{
    Listeners, ServeError, ServeParams, archiving, maintenance, replica, rpc, surface_watch,
};
use crate::actions::Actions;

/// What a server loads, and how.
#[derive(Debug)]
pub struct Startup<L, R> {
    /// Where the catalog and the profiles lie. New versions are looked for here, too.
    pub source: ServingSource,
    /// Opens what is in the source.
    pub load: L,
    /// Called once everything is loaded and warmed, and calls are answered.
    pub on_ready: R,
}

/// A server that accepts connections.
struct Server {
    live: Arc<Live>,
    versions: Arc<VersionManager>,
    credentials: Credentials,
    surfaces: Arc<Surfaces>,
    health: ServiceHealth,
    phase: watch::Sender<Phase>,
    params: ServeParams,
}

/// Tasks that answer the two ports.
struct PortTasks {
    grpc: JoinHandle<()>,
    ops: JoinHandle<io::Result<()>>,
}

/// Why a server stops serving.
enum Stopped<E> {
    /// It was told to, or what it serves failed.
    Serving(Result<(), ServeError<E>>),
    /// The task that answers gRPC ended, which it never should.
    Grpc(Result<(), JoinError>),
    /// The task that answers operators ended, which it never should.
    Ops(Result<io::Result<()>, JoinError>),
}

/// Serves what `startup` loads, and what is published in its source later, until
/// `shutdown` is done.
///
/// Both ports answer at once: health says NOT_SERVING and calls are answered
/// UNAVAILABLE until everything is loaded and warmed. Files that are only mapped are
/// checked while it serves already; it stops when one of them is damaged.
///
/// After `shutdown` health says NOT_SERVING, and the server goes on for `drain_delay`
/// so that everybody can notice; then connections are told to go, and calls in flight
/// have `drain_timeout` to end.
pub async fn run<E, L, R>(
    listeners: Listeners,
    params: ServeParams,
    startup: Startup<L, R>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError<E>>
where
    E: Send + 'static,
    L: FnOnce(&ServingSource) -> Result<InitialState, E> + Send + 'static,
    R: FnOnce(&Loaded, Option<&Actions>),
{
    let (server, mut tasks) = Server::start(listeners, params, startup.source.clone()).await?;
    let stopped = tokio::select! {
        ended = server.load_and_serve(startup, shutdown) => Stopped::Serving(ended),
        ended = &mut tasks.grpc => Stopped::Grpc(ended),
        ended = &mut tasks.ops => Stopped::Ops(ended),
    };
    server.drain(stopped, tasks).await
}

impl Server {
    /// Answers both ports from now on, with nothing loaded.
    async fn start<E>(
        listeners: Listeners,
        params: ServeParams,
        source: ServingSource,
    ) -> Result<(Self, PortTasks), ServeError<E>> {
        let credentials = Credentials::open(params.security.clone())?;
        let live = Arc::new(Live::default());
        let (health, health_service) = ServiceHealth::new().await;
        let versions = VersionManager::new(live.clone(), source, params.clock)?;
        let surfaces = Surfaces::new(&params.surfaces.surfaces, params.overload.rate_burst);
        let server = Self {
            live,
            versions: Arc::new(versions),
            credentials,
            surfaces: Arc::new(surfaces),
            health,
            phase: watch::Sender::new(Phase::Open),
            params,
        };
        let tasks = server.spawn_ports(listeners, health_service)?;
        Ok((server, tasks))
    }

    fn spawn_ports<E, H: Health>(
        &self,
        listeners: Listeners,
        health_service: HealthServer<H>,
    ) -> Result<PortTasks, ServeError<E>> {
        let params = &self.params;
        let workers = Workers::new()?;
        let limiter = Limiter::new(params.overload.clone(), workers.count(), Instant::now());
        let limiter = Arc::new(limiter);
        let route_parts = rpc::RouteParts {
            probe: Arc::new(Probe::new(&params.server)?),
            live: self.live.clone(),
            workers,
            limiter: limiter.clone(),
            versions: self.versions.clone(),
            surfaces: self.surfaces.clone(),
            access: self.credentials.access(),
            server: params.server.clone(),
            overload: params.overload.clone(),
            answers: params.answers,
            max_wait: params.replica.max_wait,
            clock: params.clock,
        };
        let service = rpc::service(route_parts, health_service);
        let listener_parts = ListenerParts {
            listener: listeners.grpc,
            tls: self.credentials.tls(),
            params: params.connections.clone(),
        };
        let grpc = serve_connections(listener_parts, service, self.phase.subscribe());
        let ops_parts = OpsParts {
            live: self.live.clone(),
            limiter,
            phases: self.phase.subscribe(),
            clock: params.clock,
            metrics: params.metrics.clone(),
        };
        Ok(PortTasks {
            grpc: tokio::spawn(grpc),
            ops: tokio::spawn(serve_ops(listeners.ops, ops_parts)),
        })
    }

    /// Loads what `startup` says and serves it until `shutdown` is done.
    async fn load_and_serve<E, L, R>(
        &self,
        startup: Startup<L, R>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError<E>>
    where
        E: Send + 'static,
        L: FnOnce(&ServingSource) -> Result<InitialState, E> + Send + 'static,
        R: FnOnce(&Loaded, Option<&Actions>),
    {
        let mut shutdown = std::pin::pin!(shutdown);
        let Startup {
            source,
            load,
            on_ready,
        } = startup;
        let loaded = tokio::select! {
            loaded = spawn_blocking(move || load(&source)) => loaded?.map_err(ServeError::Load)?,
            () = &mut shutdown => return Ok(()),
        };
        let loaded = self.begin_serving(loaded).await;
        on_ready(&loaded, self.live.actions().map(Arc::as_ref));
        tokio::select! {
            damaged = maintenance::check_mapped(loaded) => damaged,
            () = maintenance::forget_old_actions(&self.live, self.params.clock) => Ok(()),
            () = archiving::archive_actions(&self.live, self.params.clock) => Ok(()),
            () = maintenance::keep_recording(&self.live, &self.health) => Ok(()),
            () = replica::follow(&self.live, &self.health, self.params.replica, self.params.clock) => Ok(()),
            () = maintenance::watch_versions(&self.versions, self.params.server.watch) => Ok(()),
            () = self.credentials.watch() => Ok(()),
            () = self.watch_surfaces() => Ok(()),
            () = &mut shutdown => Ok(()),
        }
    }

    /// Reads the surfaces again, as often as the credentials. Never ends.
    async fn watch_surfaces(&self) {
        let (reader, interval) = (
            &self.params.surfaces.reader,
            self.params.security.auth.reload,
        );
        surface_watch::watch(&self.surfaces, &self.live, reader.as_ref(), interval).await;
    }

    /// Answers calls from `state` from now on.
    async fn begin_serving(&self, state: InitialState) -> Arc<Loaded> {
        let InitialState {
            loaded,
            durable,
            pin,
        } = state;
        self.versions.start_with(pin);
        let loaded = Arc::new(loaded);
        if let Some(durable) = durable {
            self.live.set_durable(durable);
        }
        self.live.serve(loaded.clone());
        let now = (self.params.clock)();
        self.live.warn_of_forgotten_actions(&loaded, now);
        if !self.live.is_replica() {
            self.health.serve().await;
        }
        loaded
    }

    /// Ends what still runs, in this order whatever has ended, so that nothing is left
    /// behind.
    async fn drain<E>(
        mut self,
        stopped: Stopped<E>,
        mut tasks: PortTasks,
    ) -> Result<(), ServeError<E>> {
        let grpc_ended = matches!(stopped, Stopped::Grpc(_));
        let ended = stopped.into_result();
        self.health.stop_serving().await;
        // Nobody listens any more only when both ports have failed already.
        let _ = self.phase.send(Phase::Draining);
        if ended.is_ok() && self.live.get().is_some() {
            tokio::time::sleep(self.params.server.drain_delay).await;
        }
        let _ = self.phase.send(Phase::Closing);
        // Clients that watch health have been notified; their streams would never end.
        self.health.end().await;
        let drained = if grpc_ended {
            Ok(())
        } else {
            end_calls(&mut tasks.grpc, self.params.server.drain_timeout).await
        };
        archiving::archive_rest(&self.live, self.params.clock).await;
        tasks.ops.abort();
        ended.and(drained.map_err(ServeError::from))
    }
}

impl<E> Stopped<E> {
    fn into_result(self) -> Result<(), ServeError<E>> {
        match self {
            Self::Serving(ended) => ended,
            Self::Grpc(ended) => Ok(ended?),
            Self::Ops(ended) => Ok(ended??),
        }
    }
}

/// Waits until the calls in flight have ended, and gives them up after `timeout`.
async fn end_calls(grpc: &mut JoinHandle<()>, timeout: Duration) -> Result<(), JoinError> {
    match tokio::time::timeout(timeout, &mut *grpc).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!("gave up calls in flight that did not end in time");
            grpc.abort();
            Ok(())
        }
    }
}
