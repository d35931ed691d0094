//! Connections: accepted, kept within their limits, closed in good order.
//!
//! Stands in for the server of tonic, which has its timeout outside of our layers,
//! answers it CANCELLED, never ends the handshake of a client that does not speak,
//! and lets all connections of one second grow old in one second.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics::{Gauge, counter, gauge};
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::body::Body;
use tower::Service;

use super::drain::{self, Phase};
use crate::metrics as names;

/// What a client of HTTP/2 says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long to wait when the system has no further descriptor for a connection.
const NO_DESCRIPTOR: Duration = Duration::from_millis(50);
/// How long calls may go on after their connection was told to go.
const GRACE: Duration = Duration::from_secs(300);
/// Share of their greatest age by which connections differ from one another.
const JITTER: f64 = 0.1;

/// Limits of connections.
#[derive(Clone, Debug)]
pub struct ConnectionParams {
    /// Most connections at a time; further ones are closed at once.
    pub max_connections: usize,
    /// How long a client may take until it speaks HTTP/2.
    pub handshake_timeout: Duration,
    /// Age at which a connection is told to go, give or take a tenth; none for never.
    pub max_age: Option<Duration>,
    /// How often a connection that says nothing is asked whether it is there.
    pub keepalive_interval: Duration,
    /// How long it may take to answer that.
    pub keepalive_timeout: Duration,
    /// Most calls at a time on one connection.
    pub max_concurrent_streams: u32,
    /// Most bytes in the headers of a call.
    pub max_header_size: u32,
}

/// What answers the calls of a connection.
pub(super) trait Answers:
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

/// Why a connection was not served.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the client did not speak in time")]
    TooSlow,
    #[error("the client does not speak HTTP/2")]
    NotHttp2,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Serves connections until the phase is to close, then lets those that are open end;
/// does not wait for that longer than its caller does.
pub(super) async fn serve(
    listener: TcpListener,
    service: impl Answers,
    params: ConnectionParams,
    phases: watch::Receiver<Phase>,
) {
    let params = Arc::new(params);
    let free = Arc::new(Semaphore::new(params.max_connections));
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
        let stream = match accepted {
            Ok((stream, _)) => stream,
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
        let phases = phases.clone();
        open.spawn(async move {
            let counted = Counted::new();
            if let Err(refusal) = connection(stream, service, &params, phases).await {
                tracing::debug!(%refusal, "a connection was closed");
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
    stream: TcpStream,
    service: impl Answers,
    params: &ConnectionParams,
    phases: watch::Receiver<Phase>,
) -> Result<(), Refusal> {
    // Without this an answer in two segments waits 40 ms for the client's delayed
    // acknowledgement.
    stream.set_nodelay(true)?;
    let opened = timeout(params.handshake_timeout, prefaced(stream));
    let stream = opened.await.map_err(|_| Refusal::TooSlow);
    let stream = stream.flatten().inspect_err(|refusal| {
        let reason = match refusal {
            Refusal::TooSlow => "too_slow",
            Refusal::NotHttp2 => "not_http2",
            Refusal::Io(_) => "io",
        };
        counter!(names::CONNECTIONS_REFUSED, "reason" => reason).increment(1);
    })?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(params.keepalive_interval)
        .keep_alive_timeout(params.keepalive_timeout)
        .max_concurrent_streams(params.max_concurrent_streams)
        .max_header_list_size(params.max_header_size);
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
        _ = &mut served => return Ok(()),
        () = &mut told => served.as_mut().graceful_shutdown(),
    }
    // Calls in flight end first; a stream without an end does not keep it for ever.
    let _ = timeout(GRACE, served).await;
    Ok(())
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

/// Reads the preface of HTTP/2, so that nobody who does not speak it costs more than
/// a descriptor, and not even that for long.
async fn prefaced<S: AsyncRead + Unpin>(mut stream: S) -> Result<Prefaced<S>, Refusal> {
    let mut said = [0; PREFACE.len()];
    let mut length = 0;
    while length < said.len() {
        match stream.read(&mut said[length..]).await? {
            0 => return Err(Refusal::NotHttp2),
            read => length += read,
        }
        if said[..length] != PREFACE[..length] {
            return Err(Refusal::NotHttp2);
        }
    }
    Ok(Prefaced { given: 0, stream })
}

/// A stream whose preface was read already, and is given again.
struct Prefaced<S> {
    /// Bytes of the preface that were given.
    given: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefaced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &PREFACE[self.given..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let given = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..given]);
        self.given += given;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefaced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
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
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_preface_in_pieces_is_given_again_before_what_follows() {
        let (mut client, server) = tokio::io::duplex(64);
        let said = async {
            for piece in PREFACE.chunks(5).chain([&b"more"[..]]) {
                client.write_all(piece).await.expect("a reader");
            }
            drop(client);
        };
        let (opened, ()) = tokio::join!(prefaced(server), said);
        let mut heard = Vec::new();
        let mut stream = opened.map_err(|_| "refused").expect("a preface");
        stream.read_to_end(&mut heard).await.expect("all of it");
        assert_eq!(heard, [&PREFACE[..], b"more"].concat());
    }

    #[tokio::test]
    async fn what_is_no_preface_is_refused_at_its_first_wrong_byte() {
        for said in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/3", b"PRI", b""] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(said).await.expect("a reader");
            // Left open where a byte is wrong: it must not be waited for.
            let open = (!PREFACE.starts_with(said)).then_some(client);
            let opened = prefaced(server).await;
            assert!(matches!(opened, Err(Refusal::NotHttp2)), "{said:?}");
            drop(open);
        }
    }

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
