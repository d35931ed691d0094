//! A server in this process, on free ports, and clients for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use metrics_exporter_prometheus::PrometheusHandle;
use pinnersage::actions::{ActionLimits, ActionParams, Actions, FeedbackParams};
use pinnersage::archive::ArchiveParams;
use pinnersage::config::Settings;
use pinnersage::durable::ActionLogParams;
use pinnersage::index::{FilterParams, NeighborParams};
use pinnersage::model::{ActionWeights, Timestamp};
use pinnersage::serve::{
    AnswerParams, AuthParams, ConnectionParams, DataParams, InitialState, Listeners, LoadError,
    Loaded, OverloadParams, ReplicaParams, SecurityParams, ServeError, ServeParams, ServerParams,
    ServingSource, Startup, SurfaceSource, run,
};
use pinnersage::wire::v1;
use pinnersage::wire::v1::action_service_client::ActionServiceClient;
use pinnersage::wire::v1::admin_service_client::AdminServiceClient;
use pinnersage::wire::v1::catalog_service_client::CatalogServiceClient;
use pinnersage::wire::v1::recommendation_service_client::RecommendationServiceClient;
use prost::bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::World;
use super::engine::Engine;
use super::raw::Raw;
use super::wait::{PATIENCE, POLL, within};

pub(crate) const RECOMMEND: &str = "/pinnersage.v1.RecommendationService/Recommend";
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const NEIGHBORS: NeighborParams = NeighborParams {
    depth: 50,
    budget: ByteSize::mib(1),
    cache: ByteSize::mib(1),
};
const FILTERS: FilterParams = FilterParams {
    cache: ByteSize::mib(1),
};
const DAY: Duration = Duration::from_secs(86_400);
const LIMITS: ActionLimits = ActionLimits {
    retention: Duration::from_secs(10 * DAY.as_secs()),
    max_ahead: Duration::from_secs(DAY.as_secs() / 2),
    clustered: 20,
    positive: 60,
    negative: 20,
    silenced_by: 3,
    seen: 100,
    seen_life: Duration::from_secs(7 * DAY.as_secs()),
    engaged: 10,
};

/// The time that servers tell, in seconds.
pub(crate) const NOW: i64 = 1_800_000_000;

/// The recorder belongs to the whole process, so all servers of a test binary
/// share it.
static METRICS: LazyLock<Option<PrometheusHandle>> =
    LazyLock::new(|| Some(pinnersage::metrics::install().expect("no other recorder")));

pub(crate) type Client = RecommendationServiceClient<Channel>;

/// A running server. It stops when it is told to.
pub(crate) struct Server {
    pub(crate) grpc: SocketAddr,
    pub(crate) ops: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), ServeError<LoadError>>>,
}

/// Opens what a server needs. A server of this process that has stopped holds its log until
/// the last of its background threads ends.
fn open_when_released(
    source: &ServingSource,
    data: Option<&DataParams>,
) -> Result<InitialState, LoadError> {
    let begun = Instant::now();
    loop {
        let opened = InitialState::open(source, data.cloned(), clock());
        let is_held = |error: &LoadError| error.to_string().contains("another process uses it");
        if !opened.as_ref().is_err_and(is_held) || begun.elapsed() > PATIENCE {
            return opened;
        }
        std::thread::sleep(POLL);
    }
}

impl Server {
    /// Serves the built world and waits until it is ready.
    pub(crate) async fn start(world: &World) -> Self {
        Self::start_ready(source(world), None, params()).await
    }

    /// The same, looking for new versions all the time.
    pub(crate) async fn start_watching(world: &World) -> Self {
        let mut params = params();
        params.server.watch = Some(Duration::from_millis(1));
        Self::start_with(world, params).await
    }

    /// The same, from a source of its own.
    pub(crate) async fn start_from(source: ServingSource) -> Self {
        Self::start_ready(source, None, params()).await
    }

    /// The same, with these parameters.
    pub(crate) async fn start_with(world: &World, params: ServeParams) -> Self {
        Self::start_ready(source(world), None, params).await
    }

    /// The same, with actions recorded in the directory `data` of the world.
    pub(crate) async fn start_recording(world: &World) -> Self {
        Self::start_ready(source(world), Some(world.path("data")), params()).await
    }

    /// The same, with these parameters.
    pub(crate) async fn start_recording_with(world: &World, params: ServeParams) -> Self {
        Self::start_ready(source(world), Some(world.path("data")), params).await
    }

    /// The same, with medoids drawn by engagement as well.
    pub(crate) async fn start_with_feedback(world: &World) -> Self {
        let mut params = params();
        params.answers.feedback.enabled = true;
        Self::start_ready(source(world), Some(world.path("data")), params).await
    }

    /// The same, where the popularity of a pin is worth so much beside its nearness.
    pub(crate) async fn start_with_popularity(world: &World, popularity: f32) -> Self {
        let source = ServingSource {
            popularity,
            ..source(world)
        };
        Self::start_from(source).await
    }

    /// The same, with actions archived in the directory `archive` of the world.
    pub(crate) async fn start_archiving(world: &World, every: Duration) -> Self {
        let data = DataParams {
            archive: ArchiveParams {
                directory: Some(world.path("archive")),
                every,
            },
            ..data_params(world.path("data"))
        };
        Self::start_keeping(source(world), Some(data), params()).await
    }

    /// The same, as the replica `name` of those that share the log at `urls`. Returns before it
    /// is ready, but answers.
    pub(crate) async fn start_replica(world: &World, engine: &dyn Engine, name: &str) -> Self {
        let data = DataParams {
            log: ActionLogParams {
                kind: engine.kind(),
                url: engine.urls(),
                append_timeout: Duration::from_secs(3),
                ..log_params()
            },
            ..data_params(world.path(name))
        };
        let mut params = params();
        // Brokers of Kafka that have nothing answer late here.
        params.replica.max_wait = Duration::from_secs(1);
        Self::start_keeping(source(world), Some(data), params).await
    }

    pub(crate) async fn start_ready(
        source: ServingSource,
        data: Option<PathBuf>,
        params: ServeParams,
    ) -> Self {
        Self::start_keeping(source, data.map(data_params), params).await
    }

    async fn start_keeping(
        source: ServingSource,
        data: Option<DataParams>,
        params: ServeParams,
    ) -> Self {
        let (ready, is_ready) = oneshot::channel();
        let load = move |source: &ServingSource| open_when_released(source, data.as_ref());
        let server = Self::start_unready(source, load, ready, params).await;
        let loaded = within("a loaded server", PATIENCE, is_ready).await;
        loaded.expect("a loaded server");
        server
    }

    /// Serves what `load` returns, and tells `ready` when it has.
    pub(crate) async fn start_loading(
        source: ServingSource,
        load: impl FnOnce(&ServingSource) -> Result<InitialState, LoadError> + Send + 'static,
        ready: oneshot::Sender<()>,
    ) -> Self {
        Self::start_unready(source, load, ready, params()).await
    }

    async fn start_unready(
        source: ServingSource,
        load: impl FnOnce(&ServingSource) -> Result<InitialState, LoadError> + Send + 'static,
        ready: oneshot::Sender<()>,
        params: ServeParams,
    ) -> Self {
        let listeners = Listeners::bind(ANY_PORT, ANY_PORT)
            .await
            .expect("free ports");
        let grpc = listeners.grpc_address().expect("an address");
        let ops = listeners.ops_address().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let told = async { _ = stopped.await };
        let on_ready = |_: &Loaded, _: Option<&Actions>| ready.send(()).expect("a waiting test");
        let startup = Startup {
            source,
            load,
            on_ready,
        };
        let done = tokio::spawn(async { run(listeners, params, startup, told).await });
        Self {
            grpc,
            ops,
            stop,
            done,
        }
    }

    /// Stops the server and returns how it ended.
    pub(crate) async fn stop(self) -> Result<(), ServeError<LoadError>> {
        // A server that failed to load listens to nobody.
        let _ = self.stop.send(());
        let ended = within("the end of the server", PATIENCE, self.done).await;
        ended.expect("no panic")
    }

    /// How a server ends that nobody stops.
    pub(crate) async fn ended(self) -> Result<(), ServeError<LoadError>> {
        let ended = within("the end of the server", PATIENCE, self.done).await;
        ended.expect("no panic")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    pub(crate) async fn channel(&self) -> Channel {
        connect(&self.url()).await.expect("a server")
    }

    pub(crate) async fn client(&self) -> Client {
        RecommendationServiceClient::new(self.channel().await)
    }

    pub(crate) async fn action_client(&self) -> ActionServiceClient<Channel> {
        ActionServiceClient::new(self.channel().await)
    }

    pub(crate) async fn admin_client(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel().await)
    }

    pub(crate) async fn pin_client(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel().await)
    }

    /// Calls Recommend with `bytes` as its message, and gives back the bytes of
    /// the answer.
    pub(crate) async fn call_raw(&self, bytes: &[u8]) -> Result<Bytes, Status> {
        self.call_method_raw(RECOMMEND, bytes).await
    }

    /// The same of another method.
    pub(crate) async fn call_method_raw(&self, path: &str, bytes: &[u8]) -> Result<Bytes, Status> {
        let mut client = Grpc::new(self.channel().await);
        client.ready().await.expect("a connection");
        let request = Request::new(Bytes::copy_from_slice(bytes));
        let path = path.parse().expect("a path");
        client
            .unary(request, path, Raw)
            .await
            .map(tonic::Response::into_inner)
    }
}

/// How servers of tests behave, unless a test says otherwise.
pub(crate) fn params() -> ServeParams {
    ServeParams {
        server: ServerParams {
            listen: ANY_PORT,
            ops_listen: ANY_PORT,
            max_request_size: ByteSize::mib(2),
            watch: None,
            max_changed_pins: 50,
            max_deadline: Duration::from_secs(60),
            probe_one_in: 0,
            probe_cpu: 1.0,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
        },
        connections: ConnectionParams {
            max: 100,
            handshake_timeout: Duration::from_secs(10),
            max_age: None,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(30),
            max_concurrent_streams: 100,
            max_header_size: ByteSize::kib(16),
        },
        security: SecurityParams {
            tls: None,
            auth: AuthParams {
                callers: None,
                reload: Duration::from_secs(60),
            },
        },
        overload: OverloadParams {
            max_calls: 1_000,
            min_in_flight: 0,
            max_in_flight: 64,
            queue: 256,
            target_wait: Duration::from_millis(2),
            min_effort: 1.0,
            rate_limit: 0,
            rate_burst: 1,
            rate_key_header: "x-caller".parse().expect("a name"),
        },
        metrics: METRICS.clone(),
        surfaces: SurfaceSource::default(),
        clock,
        replica: ReplicaParams {
            max_wait: Duration::from_millis(50),
            max_ready_lag: Duration::from_secs(2),
            max_ready_messages: 10_000,
            serve_stale: false,
        },
        answers: AnswerParams {
            limits: LIMITS,
            feedback: FeedbackParams {
                enabled: false,
                prior: 10.0,
            },
        },
    }
}

/// Connects to a server; no call may last longer than a test is ready to wait.
pub(crate) async fn connect(url: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Channel::from_shared(url.to_owned()).expect("an address");
    let endpoint = endpoint.timeout(PATIENCE).connect_timeout(PATIENCE);
    endpoint.connect().await
}

/// Gets a page of the port for probes and metrics, with its status line and headers.
pub(crate) async fn http_get(address: &str, path: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("a port");
        let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    };
    within(path, PATIENCE, exchange).await
}

/// Calls Recommend, which must succeed.
pub(crate) async fn recommend(
    client: &mut Client,
    request: v1::RecommendRequest,
) -> v1::RecommendResponse {
    let answer = client.recommend(request).await;
    answer.expect("an answer").into_inner()
}

/// Calls ExplainUser, which must succeed.
pub(crate) async fn explain(client: &mut Client, user: u64) -> v1::ExplainUserResponse {
    let request = v1::ExplainUserRequest {
        user_id: Some(user),
        ..Default::default()
    };
    let answer = client.explain_user(request).await;
    answer.expect("an answer").into_inner()
}

/// A save by a user on a pin; the number makes its id, the time is in seconds.
pub(crate) fn save(number: u128, user: u64, pin: u64, time: i64) -> v1::Action {
    v1::Action {
        action_id: number.to_be_bytes().to_vec(),
        user_id: Some(user),
        pin_id: Some(pin),
        action: "save".to_owned(),
        time: Some(prost_types::Timestamp {
            seconds: time,
            nanos: 0,
        }),
        medoid_pin_id: None,
        ..Default::default()
    }
}

pub(crate) fn source(world: &World) -> ServingSource {
    ServingSource {
        catalog: world.path("catalog"),
        profiles: world.path("profiles"),
        ef_search: 100,
        neighbors: NEIGHBORS,
        filters: FILTERS,
        popularity: 0.0,
    }
}

fn data_params(directory: PathBuf) -> DataParams {
    DataParams {
        directory,
        actions: action_params(),
        log: log_params(),
        archive: ArchiveParams {
            directory: None,
            every: DAY,
        },
        max_changed_pins: 50,
    }
}

/// The embedded log, as it is shipped, but for a single node where there are some.
pub(crate) fn log_params() -> ActionLogParams {
    let settings = Settings::load(None).expect("the defaults");
    ActionLogParams {
        replicas: 1,
        ..settings.actions.log
    }
}

pub(crate) fn action_params() -> ActionParams {
    let weights = [("save", 1.0), ("click", 0.5), ("hide", -1.0)];
    let weights = weights.map(|(name, weight)| (name.to_owned(), weight));
    ActionParams {
        weights: ActionWeights::new(weights.into()),
        limits: LIMITS,
    }
}

pub(crate) fn clock() -> Timestamp {
    Timestamp::from_seconds(NOW).expect("a time")
}

pub(crate) fn ask(user: u64) -> v1::RecommendRequest {
    v1::RecommendRequest {
        user_id: Some(user),
        ..Default::default()
    }
}
