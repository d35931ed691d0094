//! Counts and times every call, whatever becomes of it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::{Request, Response};
use metrics::{Gauge, counter, gauge, histogram};
use tonic::Code;
use tower::{Layer, Service};

use crate::metrics as names;

/// Wraps the whole server, so that no call is missed.
#[derive(Clone, Debug)]
pub(super) struct ObserveLayer;

/// See [`ObserveLayer`].
#[derive(Clone, Debug)]
pub(super) struct Observe<S>(S);

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
        let call = Call::begin(method(request.uri().path()));
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await;
            // A failed call says so in its headers; a call that succeeds so far
            // has its status in trailers.
            let status = answer
                .as_ref()
                .ok()
                .map(|answer| answer.headers().get("grpc-status"));
            call.end(match status {
                Some(Some(status)) => Code::from_bytes(status.as_bytes()),
                Some(None) => Code::Ok,
                None => Code::Unknown,
            });
            answer
        })
    }
}

/// One call; counted when it is dropped, which it also is when the client leaves.
struct Call {
    method: &'static str,
    code: Code,
    begun: Instant,
    in_flight: Gauge,
}

impl Call {
    fn begin(method: &'static str) -> Self {
        let in_flight = gauge!(names::IN_FLIGHT);
        in_flight.increment(1.0);
        Self {
            method,
            code: Code::Cancelled,
            begun: Instant::now(),
            in_flight,
        }
    }

    fn end(mut self, code: Code) {
        self.code = code;
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
const METHODS: [&str; 7] = [
    "pinnersage.v1.RecommendationService/Recommend",
    "pinnersage.v1.RecommendationService/BatchRecommend",
    "pinnersage.v1.RecommendationService/ExplainUser",
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
