//! The gRPC port: accepts connections within their limit, and closes them in good order.
//!
//! Stands in for the server of tonic, which has its timeout outside of our layers,
//! answers it CANCELLED, never ends the handshake of a silent client, and lets all
//! connections of one second grow old in one second.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Gauge, counter, gauge};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::ServiceExt;

use super::connection::{ConnectionContext, ConnectionParams};
use super::drain::{Phase, set_closing_header, wait_for_phase};
use crate::metrics as names;
use crate::serve::middleware::GrpcService;
use crate::serve::security::ReloadableTls;

/// Pause when the system has no further descriptor for a connection.
const NO_DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// The socket of the gRPC port, its certificates and its limits.
pub(crate) struct ListenerParts {
    pub(crate) listener: TcpListener,
    /// None for plain text.
    pub(crate) tls: Option<Arc<ReloadableTls>>,
    pub(crate) params: ConnectionParams,
}

/// Serves connections until the phase is [`Phase::Closing`], then lets the open ones end.
/// How long that may take is up to the caller: dropping this future closes them.
pub(crate) async fn serve_connections(
    parts: ListenerParts,
    service: impl GrpcService,
    phases: watch::Receiver<Phase>,
) {
    let slots = Arc::new(Semaphore::new(parts.params.max));
    let service = {
        let phases = phases.clone();
        service.map_response(move |response| set_closing_header(&phases, response))
    };
    let context = ConnectionContext {
        tls: parts.tls,
        service,
        params: Arc::new(parts.params),
        phases: phases.clone(),
    };
    let mut connections = JoinSet::new();
    let mut closing = pin!(wait_for_phase(phases, Phase::Closing));
    loop {
        let (stream, address) = tokio::select! {
            accepted = accept(&parts.listener) => accepted,
            // A connection that panicked has been logged by the panic itself.
            Some(_) = connections.join_next() => continue,
            () = &mut closing => break,
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            counter!(names::CONNECTIONS_REFUSED, "reason" => "too_many").increment(1);
            continue;
        };
        connections.spawn(serve_connection(context.clone(), stream, address, slot));
    }
    drop(parts.listener);
    while connections.join_next().await.is_some() {}
}

/// Accepts the next connection, after any failures.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_client_error(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "connection could not be accepted");
                sleep(NO_DESCRIPTOR_PAUSE).await;
            }
        }
    }
}

/// Tells whether the client ended a connection while it was accepted.
fn is_client_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

/// Serves a connection, which keeps its slot until it ends.
async fn serve_connection<S: GrpcService>(
    context: ConnectionContext<S>,
    stream: TcpStream,
    address: SocketAddr,
    slot: OwnedSemaphorePermit,
) {
    let guard = OpenConnectionGuard::new();
    if let Err(refusal) = context.serve_tcp(stream, address).await {
        counter!(names::CONNECTIONS_REFUSED, "reason" => refusal.label()).increment(1);
        // A scan of the port must not fill the log.
        tracing::debug!(%address, %refusal, "connection closed before its first call");
    }
    drop((guard, slot));
}

/// An open connection. It counts until this is dropped.
struct OpenConnectionGuard(Gauge);

impl OpenConnectionGuard {
    fn new() -> Self {
        let connections = gauge!(names::CONNECTIONS);
        connections.increment(1.0);
        Self(connections)
    }
}

impl Drop for OpenConnectionGuard {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::http::{Request, Response};
    use bytesize::ByteSize;
    use hyper::body::Incoming;
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;
    use tonic::body::Body;
    use tower::service_fn;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn connections_above_the_limit_are_closed_and_closing_ends_the_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let params = ConnectionParams {
            max: 1,
            handshake_timeout: 10 * MINUTE,
            max_age: None,
            keepalive_interval: MINUTE,
            keepalive_timeout: MINUTE,
            max_concurrent_streams: 10,
            max_header_size: ByteSize::kib(16),
        };
        let service = service_fn(async |_: Request<Incoming>| {
            Ok::<_, Infallible>(Response::new(Body::default()))
        });
        let parts = ListenerParts {
            listener,
            tls: None,
            params,
        };
        let (phase, phases) = watch::channel(Phase::Open);
        let serving = tokio::spawn(serve_connections(parts, service, phases));
        // Connections are accepted in the order in which they come.
        let mut first = TcpStream::connect(address).await.expect("a connection");
        let mut second = TcpStream::connect(address).await.expect("a connection");
        let read = timeout(MINUTE, second.read(&mut [0])).await;
        assert!(matches!(read.expect("an end in time"), Ok(0) | Err(_)));

        phase.send(Phase::Closing).expect("a receiver");
        let read = timeout(MINUTE, first.read(&mut [0])).await;
        assert!(matches!(read.expect("an end in time"), Ok(0) | Err(_)));
        timeout(MINUTE, serving)
            .await
            .expect("an end in time")
            .expect("no panic");
        TcpStream::connect(address)
            .await
            .expect_err("the port is closed");
    }
}
