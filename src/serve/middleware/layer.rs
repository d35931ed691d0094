//! The one tower layer of this server: it puts a [`CallPolicy`] around the calls of the
//! service within.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{Request, Response};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::{Layer, Service};

use crate::serve::status::CallError;

/// The answer to a call, once it is there. It costs one allocation a layer.
pub(crate) type ResponseFuture<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

/// What happens around a call: before it, after it, or in its place.
pub(crate) trait CallPolicy: Clone {
    /// Answers `request` by `inner`, or refuses it with [`refuse`].
    fn call<S, B>(&self, inner: &mut S, request: Request<B>) -> ResponseFuture<S::Error>
    where
        S: Service<Request<B>, Response = Response<Body>, Future: Send + 'static>;
}

/// Layer that puts a policy around a service.
#[derive(Clone, Debug)]
pub(crate) struct PolicyLayer<P>(pub(crate) P);

/// A service with a policy around its calls.
#[derive(Clone, Debug)]
pub(crate) struct PolicyService<P, S> {
    policy: P,
    inner: S,
}

impl<P: Clone, S> Layer<S> for PolicyLayer<P> {
    type Service = PolicyService<P, S>;

    fn layer(&self, inner: S) -> Self::Service {
        PolicyService {
            policy: self.0.clone(),
            inner,
        }
    }
}

impl<P, S, B> Service<Request<B>> for PolicyService<P, S>
where
    P: CallPolicy,
    S: Service<Request<B>, Response = Response<Body>, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.policy.call(&mut self.inner, request)
    }
}

impl<P, S: NamedService> NamedService for PolicyService<P, S> {
    const NAME: &'static str = S::NAME;
}

/// Answers a call with the status of `error`.
pub(crate) fn refuse<E>(error: CallError) -> ResponseFuture<E> {
    let response = Status::from(error).into_http();
    Box::pin(async { Ok(response) })
}

/// A service that answers the calls of connections: all services behind their layers.
pub(crate) trait GrpcService:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> GrpcService for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Refuses calls of a path, and marks the answers to all others.
    #[derive(Clone)]
    struct Marking;

    impl CallPolicy for Marking {
        fn call<S, B>(&self, inner: &mut S, request: Request<B>) -> ResponseFuture<S::Error>
        where
            S: Service<Request<B>, Response = Response<Body>, Future: Send + 'static>,
        {
            if request.uri().path() == "/refused" {
                return refuse(CallError::OutOfTime);
            }
            let response = inner.call(request);
            Box::pin(async {
                let mut response = response.await?;
                response.extensions_mut().insert(Marking);
                Ok(response)
            })
        }
    }

    async fn call(path: &str) -> Response<Body> {
        let inner =
            service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::default())));
        let service = PolicyLayer(Marking).layer(inner);
        let request = Request::builder().uri(path).body(());
        let response = service.oneshot(request.expect("a request"));
        response.await.unwrap_or_else(|never| match never {})
    }

    #[tokio::test]
    async fn a_policy_acts_after_a_call_or_in_its_place() {
        let answered = call("/answered").await;
        assert!(answered.extensions().get::<Marking>().is_some());
        assert!(Status::from_header_map(answered.headers()).is_none());
        let refused = call("/refused").await;
        assert!(refused.extensions().get::<Marking>().is_none());
        let status = Status::from_header_map(refused.headers()).expect("a status");
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    }
}
