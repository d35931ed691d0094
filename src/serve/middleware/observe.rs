//! Counts and times every call, whatever becomes of it, and says why it failed.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::{Request, Response};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use metrics::{Gauge, counter, gauge, histogram};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use crate::metrics as names;
use crate::serve::middleware::trace;
use crate::serve::transport::connections::Peer;

/// Failed calls that are logged in a second: what sheds a flood must not log one.
const MOST_SAID: NonZeroU32 = NonZeroU32::new(10).expect("above 0");

/// Wraps the whole server, so that no call is missed.
#[derive(Clone, Debug)]
pub(crate) struct ObserveLayer;

/// See [`ObserveLayer`].
#[derive(Clone, Debug)]
pub(crate) struct Observe<S>(S);

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe(inner)
    }
}

impl<S, B, C> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>();
        let call = Call::begin(method(request.uri().path()), peer.map(|peer| peer.address));
        let span = trace::call(call.method, request.headers());
        let answer = span.in_scope(|| self.0.call(request));
        let answering = async move {
            let answer = answer.await;
            // A failed call says so in its headers; a call that succeeds so far
            // has its status in trailers.
            let failed = match &answer {
                Ok(answer) if answer.headers().contains_key("grpc-status") => {
                    Status::from_header_map(answer.headers())
                }
                Ok(_) => None,
                Err(_) => Some(Status::unknown("the service failed")),
            };
            let code = failed.as_ref().map_or(Code::Ok, Status::code);
            trace::end(&Span::current(), code);
            call.end(code, failed);
            answer
        };
        Box::pin(answering.instrument(span))
    }
}

/// One call; counted when it is dropped, which it also is when the client leaves.
struct Call {
    method: &'static str,
    peer: Option<SocketAddr>,
    code: Code,
    begun: Instant,
    in_flight: Gauge,
}

impl Call {
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

    /// The call was answered with `code`, and this status where it failed.
    fn end(mut self, code: Code, failed: Option<Status>) {
        self.code = code;
        if let Some(failed) = failed.filter(|_| code != Code::Ok) {
            self.log(&failed);
        }
    }

    /// Says why the call failed, unless too much is said already.
    fn log(&self, failed: &Status) {
        static SAID: LazyLock<DefaultDirectRateLimiter> =
            LazyLock::new(|| RateLimiter::direct(Quota::per_second(MOST_SAID)));
        static UNSAID: AtomicU64 = AtomicU64::new(0);
        if SAID.check().is_err() {
            UNSAID.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unsaid = UNSAID.swap(0, Ordering::Relaxed);
        let (method, code) = (self.method, code(self.code));
        let peer = self.peer.map(tracing::field::display);
        let took_ms = self.begun.elapsed().as_secs_f64() * 1e3;
        let reason = failed.message();
        if matches!(self.code, Code::Internal | Code::Unknown | Code::DataLoss) {
            tracing::error!(method, code, peer, took_ms, reason, unsaid, "a call failed");
        } else {
            tracing::warn!(
                method,
                code,
                peer,
                took_ms,
                reason,
                unsaid,
                "a call was refused"
            );
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.in_flight.decrement(1.0);
        let code = code(self.code);
        counter!(names::REQUESTS, "method" => self.method, "code" => code).increment(1);
        histogram!(names::REQUEST_DURATION, "method" => self.method).record(self.begun.elapsed());
    }
}

/// The methods that are labels of their own. Anybody can call any path, so the
/// others share one.
const METHODS: [&str; 16] = [
    "pinnersage.v1.RecommendationService/Recommend",
    "pinnersage.v1.RecommendationService/BatchRecommend",
    "pinnersage.v1.RecommendationService/ExplainUser",
    "pinnersage.v1.ActionService/RecordActions",
    "pinnersage.v1.ActionService/FeedActions",
    "pinnersage.v1.CatalogService/UpsertPins",
    "pinnersage.v1.CatalogService/DeletePins",
    "pinnersage.v1.CatalogService/ListChanges",
    "pinnersage.v1.AdminService/GetStatus",
    "pinnersage.v1.AdminService/ListVersions",
    "pinnersage.v1.AdminService/LoadVersions",
    "pinnersage.v1.AdminService/Rollback",
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

fn method(path: &str) -> &'static str {
    let path = path.strip_prefix('/').unwrap_or(path);
    METHODS
        .into_iter()
        .find(|&method| method == path)
        .unwrap_or("other")
}

/// The name of a code in the specification of gRPC.
fn code(code: Code) -> &'static str {
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
