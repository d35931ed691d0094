//! One connection, from its first byte to its last: handshake, calls, old age.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use bytesize::ByteSize;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rand::RngExt;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::drain::{Phase, wait_for_phase};
use super::prefixed_io::{Refusal, read_preface};
use crate::serve::middleware::GrpcService;
use crate::serve::security::ReloadableTls;
use crate::serve::security::identity::{Certificate, Peer};
use crate::setting_rules::{
    InvalidSetting, days, require_duration_in_range, require_in_range, zero_as_never,
};

/// Longest time for which calls may go on after their connection was told to go.
const GRACE: Duration = Duration::from_secs(300);
/// Share of the maximum age by which connections differ from one another.
const AGE_JITTER: f64 = 0.1;

/// The section `connections` of the settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionParams {
    /// Most connections at a time; further ones are closed at once.
    pub max: usize,
    /// How long a client may take until it speaks HTTP/2.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// Age at which a connection is told to go, give or take a tenth; none for never.
    #[serde(deserialize_with = "zero_as_never")]
    pub max_age: Option<Duration>,
    /// Silence after which a connection is sent a keepalive ping.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// How long a connection may take to answer a ping.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// Most calls at a time on one connection.
    pub max_concurrent_streams: usize,
    /// Most bytes in the headers of a call.
    pub max_header_size: ByteSize,
}

impl ConnectionParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let (millis, seconds) = (Duration::from_millis, Duration::from_secs);
        require_in_range("connections.max", self.max, 1..=1_000_000)?;
        let handshakes = millis(1)..=seconds(600);
        let handshake = self.handshake_timeout;
        require_duration_in_range("connections.handshake_timeout", handshake, handshakes)?;
        if let Some(max_age) = self.max_age {
            require_duration_in_range("connections.max_age", max_age, seconds(1)..=days(30))?;
        }
        let (interval, intervals) = (self.keepalive_interval, seconds(1)..=seconds(3_600));
        require_duration_in_range("connections.keepalive_interval", interval, intervals)?;
        let (timeout, timeouts) = (self.keepalive_timeout, millis(100)..=seconds(3_600));
        require_duration_in_range("connections.keepalive_timeout", timeout, timeouts)?;
        let streams = self.max_concurrent_streams;
        require_in_range("connections.max_concurrent_streams", streams, 1..=100_000)?;
        let sizes = ByteSize::kib(1)..=ByteSize::mib(1);
        require_in_range("connections.max_header_size", self.max_header_size, sizes)
    }
}

/// What every connection shares.
#[derive(Clone)]
pub(super) struct ConnectionContext<S> {
    /// None for plain text.
    pub(super) tls: Option<Arc<ReloadableTls>>,
    pub(super) service: S,
    pub(super) params: Arc<ConnectionParams>,
    pub(super) phases: watch::Receiver<Phase>,
}

/// A byte stream that can carry HTTP/2.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for T {}

impl<S: GrpcService> ConnectionContext<S> {
    /// Serves a connection until it ends.
    pub(super) async fn serve_tcp(
        self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<(), Refusal> {
        // Without this an answer in two segments waits 40 ms for the client's delayed
        // acknowledgement.
        stream.set_nodelay(true)?;
        self.serve(stream, address).await
    }

    async fn serve(self, stream: impl Transport, address: SocketAddr) -> Result<(), Refusal> {
        let peer = |certificate| Peer {
            address,
            certificate: Arc::new(certificate),
        };
        let limit = self.params.handshake_timeout;
        let closing = wait_for_phase(self.phases.clone(), Phase::Closing);
        let Some(tls) = self.tls.clone() else {
            let stream = handshake(limit, closing, read_preface(stream)).await?;
            self.serve_http2(stream, peer(Certificate::Absent)).await;
            return Ok(());
        };
        let accepting = async {
            let (stream, certificate) = tls.accept(stream).await.map_err(Refusal::Tls)?;
            Ok((read_preface(stream).await?, certificate))
        };
        let (stream, certificate) = handshake(limit, closing, accepting).await?;
        self.serve_http2(stream, peer(certificate)).await;
        Ok(())
    }

    /// Answers the calls of a connection until it ends.
    async fn serve_http2(self, stream: impl Transport, peer: Peer) {
        let Self {
            service,
            params,
            phases,
            ..
        } = self;
        let service = service.map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request
        });
        let service = TowerToHyperService::new(service);
        let builder = http2_builder(&params);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            // A client that breaks the protocol or leaves is no failure of the server.
            _ = &mut connection => return,
            () = wait_for_age(params.max_age) => {}
            () = wait_for_phase(phases, Phase::Closing) => {}
        }
        connection.as_mut().graceful_shutdown();
        // Calls in flight end first, but a stream without an end does not keep the
        // connection for ever.
        let _ = timeout(GRACE, connection).await;
    }
}

/// Awaits a handshake, unless it takes longer than `limit` or the server closes.
async fn handshake<T>(
    limit: Duration,
    closing: impl Future<Output = ()>,
    outcome: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::select! {
        outcome = timeout(limit, outcome) => outcome.unwrap_or(Err(Refusal::TooSlow)),
        () = closing => Err(Refusal::Closing),
    }
}

fn http2_builder(params: &ConnectionParams) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(params.keepalive_interval)
        .keep_alive_timeout(params.keepalive_timeout)
        .max_concurrent_streams(params.max_concurrent_streams as u32)
        .max_header_list_size(params.max_header_size.as_u64() as u32);
    builder
}

/// Waits until a connection is old enough to be told to go. Connections of one moment go
/// at different ones, so that their clients do not all come back at once.
async fn wait_for_age(max_age: Option<Duration>) {
    match max_age {
        Some(age) => {
            let factor = rand::rng().random_range(1.0 - AGE_JITTER..1.0 + AGE_JITTER);
            sleep(age.mul_f64(factor)).await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::Response;
    use hyper::client::conn::http2::{SendRequest, handshake as client_handshake};
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;
    use tonic::body::Body;
    use tower::service_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The server's end of a connection whose calls are answered one per permit.
    struct Server {
        /// Has a permit for each call that has reached its service.
        begun: Arc<Semaphore>,
        permits: Arc<Semaphore>,
        phases: watch::Sender<Phase>,
        connection: JoinHandle<Result<(), Refusal>>,
    }

    fn start(max_age: Option<Duration>) -> (DuplexStream, Server) {
        let (client, stream) = duplex(64 << 10);
        let (phases, receiver) = watch::channel(Phase::Open);
        let (begun, permits) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let shared = (begun.clone(), permits.clone());
        let service = service_fn(move |_: Request<Incoming>| {
            let (begun, permits) = shared.clone();
            async move {
                begun.add_permits(1);
                permits.acquire().await.expect("an open semaphore").forget();
                Ok::<_, Infallible>(Response::new(Body::default()))
            }
        });
        let params = ConnectionParams {
            max: 1,
            handshake_timeout: 10 * SECOND,
            max_age,
            keepalive_interval: 30 * SECOND,
            keepalive_timeout: 10 * SECOND,
            max_concurrent_streams: 10,
            max_header_size: ByteSize::kib(16),
        };
        let context = ConnectionContext {
            tls: None,
            service,
            params: Arc::new(params),
            phases: receiver,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let server = Server {
            begun,
            permits,
            phases,
            connection: tokio::spawn(context.serve(stream, address)),
        };
        (client, server)
    }

    impl Server {
        /// Waits until the connection has ended. Returns its refusal, if it was refused.
        async fn ended(self) -> Option<Refusal> {
            let ended = timeout(1_000 * SECOND, self.connection).await;
            ended.expect("an end in time").expect("no panic").err()
        }
    }

    /// Speaks HTTP/2 with the server, in the background.
    async fn connect(stream: DuplexStream) -> SendRequest<Body> {
        let client = client_handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = client.expect("a handshake");
        tokio::spawn(connection);
        sender
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_send_the_preface_in_time_is_refused() {
        let begun = Instant::now();
        let (mut client, server) = start(None);
        client.write_all(b"PRI * HTTP/2.0").await.expect("a reader");
        assert!(matches!(server.ended().await, Some(Refusal::TooSlow)));
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_speaks_another_protocol_is_refused_at_once() {
        let begun = Instant::now();
        let (mut client, server) = start(None);
        client.write_all(b"GET / HTTP/1.1").await.expect("a reader");
        assert!(matches!(server.ended().await, Some(Refusal::NotHttp2)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_ends_when_the_server_closes() {
        let begun = Instant::now();
        let (_client, server) = start(None);
        server.phases.send(Phase::Draining).expect("a receiver");
        server.phases.send(Phase::Closing).expect("a receiver");
        assert!(matches!(server.ended().await, Some(Refusal::Closing)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_told_to_go_at_its_age() {
        let begun = Instant::now();
        let (client, server) = start(Some(100 * SECOND));
        let _sender = connect(client).await;
        assert!(server.ended().await.is_none());
        let age = begun.elapsed();
        assert!((90 * SECOND..=111 * SECOND).contains(&age), "{age:?}");
    }

    #[tokio::test]
    async fn a_call_in_flight_is_answered_after_the_server_began_to_close() {
        let (client, server) = start(None);
        let mut sender = connect(client).await;
        let calling = tokio::spawn(sender.send_request(Request::new(Body::default())));
        let begun = timeout(60 * SECOND, server.begun.acquire()).await;
        begun
            .expect("a call in time")
            .expect("an open semaphore")
            .forget();
        server.phases.send(Phase::Closing).expect("a receiver");
        server.permits.add_permits(1);
        let response = timeout(60 * SECOND, calling)
            .await
            .expect("an answer in time");
        let response = response.expect("no panic").expect("an answer");
        assert_eq!(response.status(), 200);
        assert!(server.ended().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_one_moment_grow_old_at_different_ones() {
        let begun = Instant::now();
        let mut ages = Vec::new();
        for _ in 0..20 {
            let before = begun.elapsed();
            wait_for_age(Some(100 * SECOND)).await;
            ages.push((begun.elapsed() - before).as_secs());
        }
        assert!(ages.iter().all(|age| (90..=110).contains(age)), "{ages:?}");
        ages.sort_unstable();
        ages.dedup();
        assert!(ages.len() > 5, "{ages:?}");
    }
}
