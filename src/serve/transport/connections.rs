//! Connections: accepted, kept within their limits, closed in good order.
//!
//! Stands in for the server of tonic, which has its timeout outside of our layers,
//! answers it CANCELLED, never ends the handshake of a client that does not serve_http2,
//! and lets all connections of one second grow old in one second.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Response};
use bytesize::ByteSize;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics::{Gauge, counter, gauge};
use rand::RngExt;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::body::Body;
use tower::{Service, ServiceExt};

use crate::metrics as names;
use crate::serve::security::tls::{Certificate, Tls};
use crate::serve::transport::drain::{self, Phase};
use crate::serve::transport::prefixed_io::{Refusal, read_preface};
use crate::setting_rules::{
    InvalidSetting, days, require_duration_in_range, require_in_range, zero_as_never,
};

/// How long to wait when the system has no further descriptor for a connection.
const NO_DESCRIPTOR: Duration = Duration::from_millis(50);
/// How long calls may go on after their connection was told to go.
const GRACE: Duration = Duration::from_secs(300);
/// Share of their greatest age by which connections differ from one another.
const JITTER: f64 = 0.1;

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

/// What answers the calls of a connection.
pub(crate) trait Answers:
    Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = std::convert::Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Answers for S where
    S: Service<
            Request<Incoming>,
            Response = Response<Body>,
            Error = std::convert::Infallible,
            Future: Send,
        > + Clone
        + Send
        + 'static
{
}

/// Where connections come in, and what they must keep to.
pub(crate) struct ListenerParts {
    pub(crate) listener: TcpListener,
    /// None for plain text.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) params: ConnectionParams,
}

/// Who is at the other end of a connection; every call of it carries this.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: Arc<Certificate>,
}

/// Serves connections until the phase is to close, then lets those that are open end;
/// does not wait for that longer than its caller does.
pub(crate) async fn serve(
    listener_parts: ListenerParts,
    service: impl Answers,
    phases: watch::Receiver<Phase>,
) {
    let ListenerParts {
        listener,
        tls,
        params,
    } = listener_parts;
    let params = Arc::new(params);
    let free = Arc::new(Semaphore::new(params.max));
    // Whoever drops this future closes them.
    let mut open = JoinSet::new();
    let mut closing = pin!(drain::reached(phases.clone(), Phase::Closing));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // One that panicked has said so itself.
            Some(_) = open.join_next() => continue,
            () = &mut closing => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_client(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(NO_DESCRIPTOR).await;
                continue;
            }
        };
        let Ok(place) = free.clone().try_acquire_owned() else {
            counter!(names::CONNECTIONS_REFUSED, "reason" => "too_many").increment(1);
            continue;
        };
        let (params, service) = (params.clone(), service.clone());
        let (phases, tls) = (phases.clone(), tls.clone());
        open.spawn(async move {
            let counted = Counted::new();
            let connection = connection((stream, address), tls, service, &params, phases);
            if let Err(refusal) = connection.await {
                counter!(names::CONNECTIONS_REFUSED, "reason" => refusal.label()).increment(1);
                // Whoever scans the port must not fill the log.
                tracing::debug!(%address, %refusal, "a connection was closed");
            }
            drop((counted, place));
        });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// Whether a connection failed while it was accepted, which is not ours to mend.
fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Serves one connection from its first byte to its last.
async fn connection(
    (stream, address): (TcpStream, SocketAddr),
    tls: Option<Arc<Tls>>,
    service: impl Answers,
    params: &ConnectionParams,
    phases: watch::Receiver<Phase>,
) -> Result<(), Refusal> {
    // Without this an answer in two segments waits 40 ms for the client's delayed
    // acknowledgement.
    stream.set_nodelay(true)?;
    let in_time = params.handshake_timeout;
    let closing = drain::reached(phases.clone(), Phase::Closing);
    let peer = |certificate| Peer {
        address,
        certificate: Arc::new(certificate),
    };
    let Some(tls) = tls else {
        let stream = before(closing, in_time, read_preface(stream)).await?;
        serve_http2(stream, peer(Certificate::None), service, params, phases).await;
        return Ok(());
    };
    let opening = async {
        let (stream, certificate) = tls.accept(stream).await.map_err(Refusal::Tls)?;
        Ok((read_preface(stream).await?, certificate))
    };
    let (stream, certificate) = before(closing, in_time, opening).await?;
    serve_http2(stream, peer(certificate), service, params, phases).await;
    Ok(())
}

/// What a handshake comes to, unless it takes too long or the server closes.
async fn before<T>(
    closing: impl Future<Output = ()>,
    in_time: Duration,
    opening: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    tokio::select! {
        opened = timeout(in_time, opening) => opened.unwrap_or(Err(Refusal::TooSlow)),
        () = closing => Err(Refusal::Closing),
    }
}

/// Answers the calls of a connection until it ends.
async fn serve_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    service: impl Answers,
    params: &ConnectionParams,
    phases: watch::Receiver<Phase>,
) {
    let service = service.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(params.keepalive_interval)
        .keep_alive_timeout(params.keepalive_timeout)
        .max_concurrent_streams(params.max_concurrent_streams as u32)
        .max_header_list_size(params.max_header_size.as_u64() as u32);
    let service = TowerToHyperService::new(service);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut told = pin!(async {
        tokio::select! {
            () = aged(params.max_age) => {}
            () = drain::reached(phases, Phase::Closing) => {}
        }
    });
    tokio::select! {
        // A client that breaks the protocol or leaves is no failure of ours.
        _ = &mut served => return,
        () = &mut told => served.as_mut().graceful_shutdown(),
    }
    // Calls in flight end first; a stream without an end does not keep it for ever.
    let _ = timeout(GRACE, served).await;
}

/// Done when a connection is old enough to be told to go. Connections of one moment
/// go at different ones, so that their clients do not all come back at once.
async fn aged(max_age: Option<Duration>) {
    match max_age {
        Some(age) => {
            let factor = rand::rng().random_range(1.0 - JITTER..1.0 + JITTER);
            sleep(age.mul_f64(factor)).await;
        }
        None => std::future::pending().await,
    }
}

/// A connection that is open.
struct Counted(Gauge);

impl Counted {
    fn new() -> Self {
        let connections = gauge!(names::CONNECTIONS);
        connections.increment(1.0);
        Self(connections)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_of_one_moment_grow_old_at_different_ones() {
        let begun = tokio::time::Instant::now();
        let mut ages = Vec::new();
        for _ in 0..20 {
            let before = begun.elapsed();
            aged(Some(Duration::from_secs(100))).await;
            ages.push((begun.elapsed() - before).as_secs());
        }
        assert!(ages.iter().all(|age| (90..=110).contains(age)), "{ages:?}");
        ages.sort_unstable();
        ages.dedup();
        assert!(ages.len() > 5, "{ages:?}");
    }
}
