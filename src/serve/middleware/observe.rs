//! Counts and times every call, whatever its outcome, and logs why it failed.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::http::{Request, Response};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics::{Gauge, counter, gauge, histogram};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;
use tracing::{Instrument, Span};

use super::layer::{CallPolicy, ResponseFuture};
use super::methods::method_label;
use super::trace;
use crate::metrics as names;
use crate::serve::security::identity::Peer;

/// Failed calls that are logged in a second: a server that sheds a flood of calls must
/// not make a flood of log lines of them.
const MAX_LOGGED_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("above 0");

/// Observes calls. It wraps the whole server, so that no call is missed.
#[derive(Clone, Debug)]
pub(crate) struct Observe;

impl CallPolicy for Observe {
    fn call<S, B>(&self, inner: &mut S, request: Request<B>) -> ResponseFuture<S::Error>
    where
        S: Service<Request<B>, Response = Response<Body>, Future: Send + 'static>,
    {
        let peer = request.extensions().get::<Peer>();
        let method = method_label(request.uri().path());
        let call = ObservedCall::begin(method, peer.map(|peer| peer.address));
        let span = trace::call_span(method, request.headers());
        let response = span.in_scope(|| inner.call(request));
        let observed = async move {
            let response = response.await;
            let failure = failure(&response);
            let code = failure.as_ref().map_or(Code::Ok, Status::code);
            trace::record_code(&Span::current(), code);
            call.end(code, failure);
            response
        };
        Box::pin(observed.instrument(span))
    }
}

/// Returns the status of a failed call.
fn failure<E>(response: &Result<Response<Body>, E>) -> Option<Status> {
    match response {
        // A failed call has its status in its headers; a call that succeeded so far
        // has it in trailers.
        Ok(response) if response.headers().contains_key("grpc-status") => {
            Status::from_header_map(response.headers())
        }
        Ok(_) => None,
        Err(_) => Some(Status::unknown("the service failed")),
    }
}

/// A call that is being answered. It is counted when this is dropped, which also happens
/// when the client leaves.
struct ObservedCall {
    method: &'static str,
    peer: Option<SocketAddr>,
    code: Code,
    begun: Instant,
    in_flight: Gauge,
}

impl ObservedCall {
    fn begin(method: &'static str, peer: Option<SocketAddr>) -> Self {
        let in_flight = gauge!(names::IN_FLIGHT);
        in_flight.increment(1.0);
        Self {
            method,
            peer,
            code: Code::Cancelled,
            begun: Instant::now(),
            in_flight,
        }
    }

    /// Ends the call with `code`, and with its status where it failed.
    fn end(mut self, code: Code, failure: Option<Status>) {
        self.code = code;
        if let Some(failure) = failure.filter(|_| code != Code::Ok) {
            self.log(&failure);
        }
    }

    /// Logs why the call failed, unless too many failures are logged already.
    fn log(&self, failure: &Status) {
        if matches!(self.code, Code::InvalidArgument | Code::NotFound) {
            let (method, code) = (self.method, code_label(self.code));
            // The caller's fault, and the caller was told: counted, not reported.
            tracing::debug!(method, code, reason = failure.message(), "call refused");
            return;
        }
        static LOGGED: LazyLock<DefaultDirectRateLimiter> =
            LazyLock::new(|| RateLimiter::direct(Quota::per_second(MAX_LOGGED_PER_SECOND)));
        static SUPPRESSED: AtomicU64 = AtomicU64::new(0);
        if LOGGED.check().is_err() {
            SUPPRESSED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let suppressed = SUPPRESSED.swap(0, Ordering::Relaxed);
        let (method, code) = (self.method, code_label(self.code));
        let peer = self.peer.map(tracing::field::display);
        let took_ms = self.begun.elapsed().as_secs_f64() * 1e3;
        let reason = failure.message();
        if matches!(self.code, Code::Internal | Code::Unknown | Code::DataLoss) {
            tracing::error!(
                method,
                code,
                peer,
                took_ms,
                reason,
                suppressed,
                "call failed"
            );
        } else {
            tracing::warn!(
                method,
                code,
                peer,
                took_ms,
                reason,
                suppressed,
                "call refused"
            );
        }
    }
}

impl Drop for ObservedCall {
    fn drop(&mut self) {
        self.in_flight.decrement(1.0);
        let code = code_label(self.code);
        counter!(names::REQUESTS, "method" => self.method, "code" => code).increment(1);
        histogram!(names::REQUEST_DURATION, "method" => self.method).record(self.begun.elapsed());
    }
}

/// Returns the name of a code in the specification of gRPC.
fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn a_call_that_nobody_ends_is_counted_as_canceled() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            drop(ObservedCall::begin("left", None));
            ObservedCall::begin("answered", None).end(Code::Ok, None);
            let failure = Status::not_found("no such user");
            ObservedCall::begin("failed", None).end(failure.code(), Some(failure));
        });
        let page = recorder.handle().render();
        for (method, code) in [
            ("left", "CANCELLED"),
            ("answered", "OK"),
            ("failed", "NOT_FOUND"),
        ] {
            let line = format!(
                "{}{{method=\"{method}\",code=\"{code}\"}} 1",
                names::REQUESTS
            );
            assert!(page.contains(&line), "{line} is not in {page}");
        }
        assert!(page.contains(&format!("{} 0", names::IN_FLIGHT)), "{page}");
    }

    #[test]
    fn a_failure_is_read_from_headers() {
        let failed = Status::unavailable("not loaded").into_http::<Body>();
        let failed = failure(&Ok::<_, Infallible>(failed)).expect("a status");
        assert_eq!(
            (failed.code(), failed.message()),
            (Code::Unavailable, "not loaded")
        );
        let answered = Response::new(Body::default());
        assert!(failure(&Ok::<_, Infallible>(answered)).is_none());
        let broken = failure(&Err("broken")).expect("a status");
        assert_eq!(broken.code(), Code::Unknown);
    }
}
